//! What will happen in a run, spelled out: a seed expands into a scenario, and a scenario runs.
//!
//! Nothing is drawn while a scenario runs except by streams of the seed that each host has for
//! itself, so a scenario can be printed, kept, and made smaller without disturbing the rest.

mod alternatives;
mod archive;
mod check;
mod class;
mod company;
mod conditions;
mod control;
mod disk_low;
mod divergence;
mod draw;
mod faults;
mod flow;
mod gangs;
mod gpus;
mod ground;
mod large;
mod membership;
mod old_image;
mod pages;
mod preemption;
mod promise;
mod rebalance;
mod region_loss;
mod reports;
mod reservations;
mod restarts;
mod restore;
pub(crate) mod rivals;
#[cfg(test)]
pub(crate) mod sample;
mod scopes;
mod settings;
pub(crate) mod shrink;
mod size;
mod sub_runs;
mod timeouts;
mod transfers;
mod upgrade;
mod upkeep;
mod workload;

use serde::{Deserialize, Serialize};

pub(crate) use alternatives::Other;
pub(crate) use check::check;
pub(crate) use class::Class;
pub(crate) use company::CompanyPlan;
pub(crate) use conditions::{Condition, Facts, ZONE};
pub(crate) use control::Control;
pub(crate) use draw::draw;
pub(crate) use flow::{FLOW_PARAM, Fan, FlowPlan, Part};
pub(crate) use gangs::{GangPlan, Together};
pub(crate) use gpus::{GpuPart, Gpus};
pub(crate) use ground::{Demands, Ground, TAINT};
pub(crate) use pages::Listing;
pub(crate) use preemption::Preempts;
pub(crate) use promise::Promise;
pub(crate) use rebalance::RebalancePlan;
pub(crate) use region_loss::RegionLoss;
pub(crate) use reports::{Says, Speech};
pub(crate) use reservations::ReservationPlan;
pub(crate) use settings::Tunables;
pub(crate) use size::Size;
pub(crate) use sub_runs::SubPlan;
pub(crate) use upkeep::{Chore, Then};

/// What kind of run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Nothing goes wrong.
    FaultFree,
    /// One class of faults, so that what it brings about can be told apart.
    Single,
    /// Several classes.
    Swarm,
    /// The cluster is lost in the middle, and another one goes on with its data.
    Restore,
}

/// All that is decided before a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// Where it came from, and what hosts draw from.
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// Classes that are in it, sorted.
    pub(crate) classes: Vec<Class>,
    pub(crate) network: Network,
    pub(crate) settings: Tunables,
    pub(crate) replicas: Vec<ReplicaPlan>,
    pub(crate) racks: Vec<RackPlan>,
    pub(crate) sessions: Vec<SessionPlan>,
    /// In order of their time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rebalances: Vec<RebalancePlan>,
    /// In order of their time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reservations: Vec<ReservationPlan>,
    /// In order of their time.
    pub(crate) faults: Vec<FaultPlan>,
    /// A fault waits while a quorum could not do without the replicas that it would strike: then somebody
    /// else leads while a leader is cut off, which too many faults at once prevent.
    pub(crate) spares_quorum: bool,
    /// When all faults have ended, and from when on things must go well; unless the run has not shown
    /// yet what it is for, which puts the heal off.
    pub(crate) heal_ms: u64,
    /// The run ends not before, or so much later as the heal came later.
    pub(crate) end_ms: u64,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    /// The simulation's step.
    pub(crate) tick_ms: u64,
    /// One way, within a region.
    pub(crate) latency_ms: (u64, u64),
    /// One way, between regions.
    pub(crate) region_latency_ms: (u64, u64),
}

/// A host's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClockPlan {
    /// How long it had been up.
    pub(crate) booted_before_ms: u64,
    /// How wrong its time of day is.
    pub(crate) wall_ahead_ms: u64,
    /// How much faster its clocks run than true time.
    pub(crate) drift_ppm: i64,
}

/// A replica of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplicaPlan {
    pub(crate) region: String,
    /// When it first starts; the first one founds the cluster.
    pub(crate) start_ms: u64,
    /// Starts before this are those of an older version, which has no features.
    #[serde(default)]
    pub(crate) older_until_ms: u64,
    pub(crate) clock: ClockPlan,
    /// How long its disk takes to sync.
    pub(crate) sync_us: u64,
    /// Its store is a real RocksDB.
    pub(crate) rocksdb: bool,
}

/// A machine that runs agents: they share its power, its network and its clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RackPlan {
    pub(crate) region: String,
    pub(crate) clock: ClockPlan,
    pub(crate) agents: Vec<AgentPlan>,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgentPlan {
    pub(crate) node: String,
    pub(crate) cluster: String,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    /// How long its executor takes to start something.
    pub(crate) start_ms: u64,
    /// How long it takes until something killed is gone; below the lease's kill bound.
    pub(crate) kill_ms: u64,
    /// What its label [`POOL`] says; without it, it has no label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
    #[serde(default, skip_serializing_if = "Gpus::is_none")]
    pub(crate) gpus: Gpus,
    #[serde(default, skip_serializing_if = "Ground::is_plain")]
    pub(crate) ground: Ground,
    /// What its label [`ZONE`] says; without it, it has no such label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
}

/// The label that jobs may ask for.
pub(crate) const POOL: &str = "pool";

/// A client that does one thing after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionPlan {
    /// Its host; several sessions may share one.
    pub(crate) host: usize,
    pub(crate) when: When,
    pub(crate) steps: Vec<OperationPlan>,
}

/// In which part of a run a session does its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum When {
    /// At their times.
    Always,
    /// At their times, for as long as the heal is put off: so that the log goes on.
    UntilHealed,
    /// As long after the heal as their times are after the planned one.
    Healed,
}

/// Something a client does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OperationPlan {
    /// Not before.
    pub(crate) at_ms: u64,
    pub(crate) what: Ask,
}

/// See [`OperationPlan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    Submit(JobPlan),
    /// The submit of this job once more, with the same request id, whoever sent the first.
    Resubmit(JobPlan),
    Cancel {
        job: String,
    },
    /// The same, and nothing is undone or comes at its end.
    Abandon {
        job: String,
    },
    /// A run is paused or resumed, or gets another priority. A resume is asked for until it is known what became of it.
    Control {
        job: String,
        what: Control,
    },
    /// A job's latest run is tried a second time once it has ended, from these tasks on; so long after the answer the same
    /// request is sent again.
    Restart {
        job: String,
        from: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_ms: Option<u64>,
    },
    Get {
        job: String,
    },
    List,
    Tasks {
        job: String,
    },
    Attempts {
        job: String,
    },
    /// From its beginning to its end, or as long as the run lasts; goes on beside what follows.
    Watch {
        job: String,
    },
    /// A list from its first page to its last, of so many rows each.
    Pages {
        of: Listing,
        size: u32,
    },
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobPlan {
    /// Unique in the run, but for other editions.
    pub(crate) name: String,
    /// Editions of a job are its versions, each submitted by a request of its own.
    #[serde(default)]
    pub(crate) edition: u32,
    pub(crate) priority: u8,
    pub(crate) cancel_on_failure: bool,
    /// No run of it takes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    /// What its run is told, as JSON; only of a job that has a flow, which can be told [`FLOW_PARAM`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) args: Option<String>,
    /// What comes out of its runs, by name, as JSON with references; only of a job that has a flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) result: Vec<(String, String)>,
    pub(crate) tasks: Vec<TaskPlan>,
}

/// A task of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskPlan {
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
    pub(crate) count: u32,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) promise: Promise,
    pub(crate) attempts: u32,
    pub(crate) backoff_ms: u64,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) regions: Vec<String>,
    pub(crate) clusters: Vec<String>,
    /// What its node's label [`POOL`] must say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
    /// How an attempt behaves once it runs.
    pub(crate) runs_ms: u64,
    /// Attempts with a number up to this one fail.
    pub(crate) fails: u32,
    /// What fails does so in every other run only, so that a second try can go on.
    #[serde(default)]
    pub(crate) by_run: bool,
    /// It takes no notice of being asked to end.
    pub(crate) stubborn: bool,
    /// It takes its agent down when it starts.
    pub(crate) poison: bool,
    /// What an attempt says of its end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) says: Option<Says>,
    /// Nobody waits longer for its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queued_ms: Option<u64>,
    /// It may say nothing for so long, and what it says while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) speech: Option<Speech>,
    /// What it is in the flow of its job.
    #[serde(default, skip_serializing_if = "FlowPlan::is_plain")]
    pub(crate) flow: FlowPlan,
    /// It is no process, but a run of another job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<SubPlan>,
    #[serde(default, skip_serializing_if = "GpuPart::is_none")]
    pub(crate) gpu: GpuPart,
    /// What it is content with in the place of all that, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<Other>,
    #[serde(default, skip_serializing_if = "Demands::is_plain")]
    pub(crate) demands: Demands,
    /// What must hold of its node beside all that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<Condition>,
    /// What it says of others.
    #[serde(default, skip_serializing_if = "CompanyPlan::is_plain")]
    pub(crate) company: CompanyPlan,
    /// Its elements are a gang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gang: Option<GangPlan>,
    /// What becomes of it when its region is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region_loss: Option<RegionLoss>,
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FaultPlan {
    pub(crate) at_ms: u64,
    /// How long it lasts.
    pub(crate) for_ms: u64,
    pub(crate) class: Class,
    pub(crate) what: FaultWhat,
}

/// Whom a fault strikes, decided when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// Whoever leads; the first replica when nobody does.
    Leader,
    /// The so-manieth that does not lead.
    Follower(usize),
    /// By position.
    Replica(usize),
}

/// See [`FaultPlan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultWhat {
    /// All messages, out of a million.
    Loss {
        per_million: u64,
    },
    /// Between two hosts (replicas first, then racks, then clients).
    LinkLoss {
        one: usize,
        other: usize,
        per_million: u64,
    },
    SlowLink {
        one: usize,
        other: usize,
        latency_ms: u64,
    },
    /// These hosts from all others, as positions like above. `one_way`: only what they send is lost;
    /// `deaf`: only what they should receive.
    Isolate {
        hosts: Vec<usize>,
        way: Way,
    },
    /// The leader and so many followers from the other replicas; agents and clients reach both sides.
    LeaderMinority {
        with: usize,
        way: Way,
    },
    /// The leader and a rack from the other replicas: they have each other, and nobody else. The rack
    /// is the one on which most `fenced` attempts run, or this one where none do.
    LeaderWithRack {
        rack: usize,
    },
    /// A target from all others.
    IsolateReplica {
        target: Target,
        way: Way,
    },
    /// A region from all others.
    IsolateRegion {
        region: String,
        way: Way,
    },
    /// A rack from all replicas.
    IsolateRack {
        rack: usize,
        way: Way,
    },
    /// The rack on which most `fenced` attempts run, or this one where none do, from all replicas.
    IsolateFenced {
        rack: usize,
        way: Way,
    },
    /// Two replicas from each other; both reach the rest.
    Bridge {
        one: usize,
        other: usize,
        way: Way,
    },
    /// Whoever receives a snapshot next, from all replicas, once so many of its pieces are there; or its
    /// process ends then.
    BreakTransfer {
        pieces: u64,
        crash: bool,
    },
    Hold {
        target: Target,
    },
    /// `kept_percent` of what was not synced survives, from the front.
    Crash {
        target: Target,
        kept_percent: u64,
    },
    /// Away until the log that it lacks is cut off so many snapshots later, at most `for_ms`.
    Absence {
        target: Target,
        snapshots: u64,
    },
    /// The whole cluster but so many.
    QuorumLoss {
        spared: usize,
        kept_percent: u64,
    },
    Pause {
        target: Target,
    },
    Handover {
        target: Target,
    },
    /// An operator removes a replica; once that has ended, another one joins in its place.
    Replace {
        target: Target,
        /// It joins as a learner, and the operator promotes it.
        learner: bool,
        amid: Amid,
    },
    /// The disk is copied; after a new start of which all others have heard, the copy is put back in its place. Whoever
    /// starts with it must stop, and be replaced.
    OldImage {
        target: Target,
        /// The one in its place joins as a learner, and the operator promotes it.
        learner: bool,
    },
    /// While it is away, its history becomes another one.
    Diverge {
        target: Target,
        /// An operator passes leadership on to it, once it is back.
        leads: bool,
    },
    /// An operator takes a backup.
    Backup,
    /// All replicas are lost, but for one perhaps, and after a while a cluster goes on from the backup, or
    /// from that one.
    Destroy {
        survivor: Option<usize>,
    },
    /// An operator passes leadership on.
    Transfer {
        target: Target,
    },
    AgentKill {
        rack: usize,
        agent: usize,
    },
    RackCrash {
        rack: usize,
    },
    RackPause {
        rack: usize,
    },
    /// Of a host, forward or backward.
    ClockJump {
        host: usize,
        by_ms: i64,
    },
    SlowDisk {
        target: Target,
        sync_ms: u64,
    },
    /// Of the next writes or syncs, after so many.
    DiskError {
        target: Target,
        after: u64,
        on_sync: bool,
    },
    DiskFull {
        target: Target,
    },
    DiskLow {
        target: Target,
    },
    /// An operator sees to the node of an agent.
    Upkeep {
        rack: usize,
        agent: usize,
        chore: Chore,
    },
    /// Marks what the workload holds, so that it counts as a fault when it happens.
    Workload,
}

/// What else happens while a replica is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Amid {
    /// Nothing that belongs to it.
    Nothing,
    /// It loses power before, and comes back when it belongs to nobody any more.
    ItsCrash,
    /// The leader loses power when the change is half way.
    TheLeadersCrash,
    /// Others lose power before, so many that the rest needs it: the leader must refuse.
    Scarcity,
}

/// Which direction is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    Both,
    /// What they send is lost.
    Mute,
    /// What is sent to them is lost.
    Deaf,
}

impl Scenario {
    /// Names of the replicas' hosts, by position.
    pub(crate) fn replica_host(position: usize) -> String {
        format!("r{}", position + 1)
    }

    /// Names of the racks' hosts, by position.
    pub(crate) fn rack_host(position: usize) -> String {
        format!("m{}", position + 1)
    }

    /// Names of the clients' hosts, by position.
    pub(crate) fn client_host(position: usize) -> String {
        format!("c{}", position + 1)
    }

    /// How many hosts clients have.
    pub(crate) fn client_hosts(&self) -> usize {
        self.sessions.iter().map(|session| session.host + 1).max().unwrap_or(0)
    }

    /// Names of all hosts in the order in which faults number them.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let replicas = (0..self.replicas.len()).map(Self::replica_host);
        let racks = (0..self.racks.len()).map(Self::rack_host);
        let clients = (0..self.client_hosts()).map(Self::client_host);
        replicas.chain(racks).chain(clients).collect()
    }
}

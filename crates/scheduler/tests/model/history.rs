//! What a case consists of: nodes, jobs, and steps whose numbers choose among what exists when they
//! are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use quorate_state::{
    Alternative, Driver, GangSpec, JobName, JobSpec, Namespace, Offer, OnFailure, OnNodeLoss, OnRegionLoss, Place,
    Resources, Retry, Role, Spread, TaskName, TaskSpec, Within,
};

/// Regions and their clusters. The first has most nodes, so that its brake can work.
pub(crate) const CLUSTERS: [(&str, &str); 3] = [("eu", "eu-1"), ("eu", "eu-2"), ("us", "us-1")];
/// The exit code that no job tries again.
pub(crate) const NEVER_RETRIED: i32 = 2;

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) nodes: Vec<NodeShape>,
    pub(crate) jobs: Vec<Arc<JobSpec>>,
    pub(crate) steps: Vec<Step>,
}

/// A node: which of [`CLUSTERS`], and thousandths of a core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeShape {
    pub(crate) cluster: usize,
    pub(crate) cpu: u64,
    /// It is gone for good when the faults end.
    pub(crate) dies: bool,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A client submits a job, perhaps under a request id.
    Submit { job: u8, request: Option<u8> },
    /// A client cancels a run.
    Cancel { run: u8 },
    /// The leader steps those controllers whose bit is set and that wait for nothing.
    Lead { desks: u16, budget: u32, twice: bool },
    /// Some of what is on its way becomes one entry: first decisions or first mail.
    Commit { flights: u8, mails: u8, mail_first: bool },
    /// A decision comes to nothing.
    Fail { flight: u8 },
    /// Something that was proposed once is proposed again.
    Again { pick: u8 },
    /// Whoever it is plans two placements, of tasks that are ready, by chance; `stale`, of tasks as
    /// they were before.
    Place { picks: [u8; 2], stale: bool },
    /// Another replica leads, after a time without a leader; what the old one had proposed is
    /// committed or not.
    NewLeader { gap_ms: u16, carried: bool },
    /// Something happens to a node.
    Node { node: u8, act: Act },
    /// Something happens to a copy on a node.
    Copy { pick: u8, act: CopyAct },
    /// A node says what it has to say; `twice`, and it arrives twice.
    Tell { node: u8, twice: bool, forged: bool },
    /// A normal moment: everyone does what is next.
    Round { seconds: u8 },
    /// Time passes.
    Wait { ms: u16 },
}

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Nothing it says arrives, and it hears nothing.
    Silence,
    /// It can be heard again.
    Return,
    /// It asks for a lease, though it may hold one.
    Register,
    /// It hears what it should run.
    Sync,
    /// Its agent starts again; its processes end, except those that cannot be killed.
    Restart { survivors: bool },
    /// Its agent starts again without its journal, and knows nothing of what ran.
    Wipe,
    /// Its agent starts again with another size, in thousandths of a core.
    Resize { cpu: u16 },
    /// Another agent claims its name, from a cluster of its own.
    Intrude,
    /// An operator drains it, or all of its cluster or region; what runs there may go on for so long, in milliseconds, and with an end
    /// so long after that.
    Drain { of: Of, wait_ms: u16, rest_ms: Option<u16> },
    /// An operator lets it take work again.
    Undrain { of: Of },
    /// An operator has work moved to better places, so many moves at a time and in all and for so long, in milliseconds; for none: no more.
    Rebalance { at_once: u8, moves_max: u8, for_ms: u16 },
    /// An operator sets it aside for what nobody asks for, in so long and for so long, in milliseconds; for none: no more.
    Reserve { wait_ms: u16, for_ms: u16 },
}

/// What an operator speaks of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Node,
    Cluster,
    Region,
}

impl Of {
    fn drawn(number: u8) -> Self {
        [Self::Node, Self::Node, Self::Cluster, Self::Region][usize::from(number % 4)]
    }
}

/// What happens to a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CopyAct {
    /// It begins to run, or is found gone.
    Proceed,
    /// It is told to end, if somebody wants that.
    Heed,
    /// It ends by itself.
    Exit { code: u8, gone: bool },
    /// It cannot be started, or ends with its node's troubles.
    Lose,
}

pub(crate) fn history(steps: usize) -> impl Strategy<Value = History> {
    let node = (prop::sample::select(vec![0_usize, 0, 1, 2]), 1_u64..5, any::<u8>())
        .prop_map(|(cluster, cpu, fate)| NodeShape { cluster, cpu: cpu * 500, dies: fate >= 192 });
    let nodes = prop_oneof![
        9 => prop::collection::vec(node, 1..5),
        1 => (5..8_usize).prop_map(|count| vec![NodeShape { cluster: 0, cpu: 500, dies: false }; count]),
    ];
    (nodes, prop::collection::vec(job(), 1..4), prop::collection::vec(step(), 1..=steps)).prop_map(
        |(nodes, jobs, steps)| {
            let jobs = jobs.into_iter().enumerate().map(|(at, job)| Arc::new(job.spec(at))).collect();
            History { nodes, jobs, steps }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    // One draw for the kind and one for the rest: a strategy per kind costs more than carrying it out.
    (0_u8..=255, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(kind, a, b, c)| match kind {
        0..24 => Step::Round { seconds: a % 4 },
        24..48 => Step::Submit { job: a, request: (b % 4 == 0).then_some(c % 3) },
        48..56 => Step::Cancel { run: a },
        56..84 => Step::Lead {
            desks: if b < 128 { u16::MAX } else { u16::from(a) | u16::from(c & 8) << 5 },
            budget: [1, 2, 5, 200_000][usize::from(c % 4)],
            twice: b % 32 == 0,
        },
        84..116 => Step::Commit { flights: a % 8, mails: b % 4, mail_first: c % 2 == 0 },
        116..120 => Step::Fail { flight: a },
        120..123 => Step::Again { pick: a },
        123..126 => Step::Place { picks: [a, b], stale: c % 4 == 0 },
        126..134 => Step::NewLeader { gap_ms: u16::from(a) * 80, carried: b % 2 == 0 },
        134..176 => Step::Node {
            node: a,
            act: match b % 16 {
                0..2 => Act::Silence,
                2..5 => Act::Return,
                5 => Act::Register,
                6..12 => Act::Sync,
                12..14 => Act::Restart { survivors: c % 2 == 0 },
                14 => Act::Wipe,
                _ if c >= 200 => Act::Intrude,
                _ => Act::Resize { cpu: u16::from(c % 5) * 500 },
            },
        },
        176..212 => Step::Copy {
            pick: a,
            act: match b % 8 {
                0..3 => CopyAct::Proceed,
                3 => CopyAct::Heed,
                4..7 => CopyAct::Exit { code: if c % 2 == 0 { 0 } else { 1 + c / 2 % 2 }, gone: c % 8 < 6 },
                _ => CopyAct::Lose,
            },
        },
        212..236 => Step::Tell { node: a, twice: b % 8 == 0, forged: b % 8 == 1 },
        236..242 => {
            let (wait_ms, rest_ms) = (u16::from(b) / 128 * u16::from(c) * 16, u16::from(b) * 64 + 1);
            Step::Node {
                node: a,
                act: Act::Drain { of: Of::drawn(c / 2), wait_ms, rest_ms: (c % 2 == 1).then_some(rest_ms) },
            }
        }
        242..246 => Step::Node { node: a, act: Act::Undrain { of: Of::drawn(c) } },
        246..250 => Step::Node {
            node: a,
            act: Act::Rebalance { at_once: b % 3 + 1, moves_max: b / 3 % 6 + 1, for_ms: u16::from(c / 8) * 500 },
        },
        250..252 => {
            let (wait_ms, for_ms) = (u16::from(b) / 64 * 4_000, u16::from(c / 16) * 1_000);
            Step::Node { node: a, act: Act::Reserve { wait_ms, for_ms } }
        }
        252..=255 => Step::Wait { ms: if a % 2 == 0 { u16::from(b) * 8 } else { u16::from(b) * 80 } },
    })
}

/// A job before it has its names.
#[derive(Clone, Copy, Debug)]
struct JobShape {
    priority: u8,
    cancels: bool,
    tasks: [TaskShape; 3],
    steps: usize,
}

#[derive(Clone, Copy, Debug)]
struct TaskShape {
    count: u8,
    cpu: u8,
    /// Bit n: it needs the task at position n, if that is not itself or before it in `order`.
    needs: u8,
    attempts: u8,
    promise: u8,
    place: u8,
    timeout: u8,
}

fn job() -> impl Strategy<Value = JobShape> {
    let task = (any::<[u8; 7]>()).prop_map(|[count, cpu, needs, attempts, promise, place, timeout]| TaskShape {
        count,
        cpu,
        needs,
        attempts,
        promise,
        place,
        timeout,
    });
    ([task.clone(), task.clone(), task], 1..4_usize, 0..3_u8, any::<bool>())
        .prop_map(|(tasks, steps, priority, cancels)| JobShape { priority, cancels, tasks, steps })
}

impl JobShape {
    fn spec(&self, number: usize) -> JobSpec {
        let mut tasks: Vec<TaskSpec> = (0..self.steps).map(|at| self.tasks[at].spec(at)).collect();
        // Needs may point forward.
        if number % 2 == 1 {
            tasks.reverse();
        }
        JobSpec {
            namespace: namespace(),
            name: JobName::new(&format!("job-{number}")).expect("a name"),
            priority: 40 + self.priority * 10,
            labels: BTreeMap::new(),
            on_failure: if self.cancels { OnFailure::Cancel } else { OnFailure::Finish },
            timeout_ms: None,
            tasks,
            params: std::collections::BTreeMap::new(),
            result: std::collections::BTreeMap::new(),
        }
    }
}

/// Conditions on nodes, and what they say: a fast disk, or a price below a thousandth.
const FAST_OR_CHEAP: &str = "node.labels.disk == 'ssd' || node.price < 100";
/// Not in the first cluster of the first region, and of a price.
const ELSEWHERE: &str = "!(node.cluster == 'eu-1') && (has(node.price) || node.pool != 'default')";

/// Whether a condition of a task holds for a node of a cluster, by its words.
pub(crate) fn holds(task: &TaskSpec, cluster: &str, labels: &BTreeMap<String, String>, offer: &Offer) -> bool {
    match task.place.condition.as_ref().map(|condition| condition.as_str()) {
        None => true,
        Some(FAST_OR_CHEAP) => {
            labels.get("disk").is_some_and(|disk| disk == "ssd") || offer.price.is_some_and(|price| price.0 < 100)
        }
        Some(ELSEWHERE) => cluster != "eu-1" && (offer.price.is_some() || !offer.pool.is_default()),
        Some(other) => panic!("nobody knows what {other} says"),
    }
}

impl TaskShape {
    fn spec(&self, at: usize) -> TaskSpec {
        let promise = match self.promise % 3 {
            0 => OnNodeLoss::AtLeastOnce,
            1 => OnNodeLoss::Fenced,
            _ => OnNodeLoss::AtMostOnce,
        };
        let attempts = if promise == OnNodeLoss::AtMostOnce { 1 } else { 1 + u32::from(self.attempts % 3) };
        let mut place = Place {
            spread: [Spread::Pack, Spread::Node, Spread::Cluster][usize::from(self.place / 8 % 3)],
            ..Place::default()
        };
        match self.place % 8 {
            5 => place.regions = vec!["eu".parse().expect("a name")],
            6 => place.regions = vec!["us".parse().expect("a name")],
            4 => drop(place.labels.insert("disk".into(), if self.place % 16 < 8 { "ssd" } else { "*" }.into())),
            7 => place.clusters = vec!["eu-1".parse().expect("a name"), "us-1".parse().expect("a name")],
            _ => {}
        }
        // Most may go everywhere, or there would be little to see; few say nothing and keep to the default pool.
        if !self.place.is_multiple_of(5) {
            place.pools = ["default", "far"].map(|pool| pool.parse().expect("a name")).into();
            place.tolerate.insert("spot".into(), if self.place.is_multiple_of(3) { "yes" } else { "*" }.into());
            place.cheap = u32::from(self.place % 4);
        }
        let text =
            [FAST_OR_CHEAP, ELSEWHERE].get(usize::from(self.place % 9)).filter(|_| !self.place.is_multiple_of(5));
        place.condition = text.map(|text| Arc::new(text.parse().expect("a condition")));
        let is_gang = promise != OnNodeLoss::AtMostOnce && self.count >= 192;
        let gpu_milli = [0, 0, 0, 0, 400, 500, 1_000, 2_000][usize::from(self.cpu / 8 % 8)];
        TaskSpec {
            gpu_models: vec![],
            alternatives: self.others().filter(|_| !is_gang).into_iter().collect(),
            name: task_name(at),
            driver: Driver::Noop,
            argv: Vec::new(),
            env: BTreeMap::new(),
            needs: (0..at).filter(|need| self.needs >> need & 1 == 1).map(task_name).collect(),
            count: 1 + u32::from(self.count % 3),
            // Mostly small ones; few are larger than most nodes.
            resources: Resources { cpu_milli: u64::from(1 + self.cpu % 8) * 200, memory_bytes: 1 << 20, gpu_milli },
            retry: Retry { attempts, first_ms: 1_000, never: vec![NEVER_RETRIED], ..Retry::default() },
            run_timeout_ms: self.timeout.is_multiple_of(4).then_some(5_000),
            queued_timeout_ms: None,
            silent_timeout_ms: None,
            place,
            on_node_loss: promise,
            role: Role::Work,
            templated: false,
            when: None,
            each: None,
            on_region_loss: self.region_loss().filter(|_| !is_gang),
            accept_failed: 0,
            sub_run: None,
            gang: is_gang.then(|| GangSpec {
                within: [None, Some(Within::Cluster), Some(Within::Region)][usize::from(self.timeout % 3)].clone(),
                start_ms: self.timeout.is_multiple_of(2).then_some(4_000),
            }),
            preemptible: true,
        }
    }
}

impl TaskShape {
    /// A quarter of those that take a GPU are content with many cores.
    fn others(&self) -> Option<Alternative> {
        let resources = Resources { cpu_milli: 1_800, memory_bytes: 1 << 20, gpu_milli: 0 };
        let takes_gpu = self.cpu / 8 % 8 > 3;
        (takes_gpu && self.cpu % 8 < 4).then_some(Alternative { resources, gpu_models: vec![] })
    }

    /// Half say nothing of it.
    fn region_loss(&self) -> Option<OnRegionLoss> {
        let spill: &[&str] = match self.timeout / 4 % 4 {
            0 => &["us"],
            1 => &["us", "eu"],
            _ => &[],
        };
        // What is named must be allowed.
        let spill = if matches!(self.place % 8, 5 | 6) { &[] } else { spill };
        match self.attempts / 4 % 4 {
            2 => Some(OnRegionLoss::Stay),
            3 => Some(OnRegionLoss::MoveAfter {
                after_ms: u64::from(self.timeout % 16) * 1_500,
                spill: spill.iter().map(|region| region.parse().expect("a name")).collect(),
            }),
            _ => None,
        }
    }
}

fn task_name(at: usize) -> TaskName {
    TaskName::new(&format!("t{at}")).expect("a name")
}

pub(crate) fn namespace() -> Namespace {
    Namespace::new("acme").expect("a name")
}

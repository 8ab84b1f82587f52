//! A small scenario for unit tests, with something of everything.

use super::{
    AgentPlan, Ask, Class, ClockPlan, CompanyPlan, Demands, FaultPlan, FaultWhat, FlowPlan, GpuPart, Gpus, Ground,
    JobPlan, Kind, Network, OperationPlan, Promise, RackPlan, ReplicaPlan, Scenario, SessionPlan, Target, TaskPlan,
    Tunables, Way, When,
};

/// Replicas 0, 1, 2; racks 3, 4; clients 5, 6.
pub(crate) fn sample() -> Scenario {
    Scenario {
        seed: 7,
        kind: Kind::Swarm,
        classes: vec![
            Class::Partition,
            Class::Crash,
            Class::AgentKill,
            Class::RackCrash,
            Class::Clock,
            Class::Duplicates,
            Class::Poison,
        ],
        network: Network { tick_ms: 1, latency_ms: (1, 9), region_latency_ms: (10, 90) },
        settings: Tunables {
            heartbeat_ms: 100,
            election_ms: (500, 1_000),
            snapshot_entries: 50,
            keep_entries: 0,
            snapshot_chunk_bytes: 4_096,
            digest_every: 10,
            lease_server_ms: 9_000,
            lease_agent_ms: 6_000,
            lease_kill_ms: 1_000,
            lease_margin_ms: 500,
            lease_rho_ppm: 500,
            node_losses_max: 3,
            unknown_ms_max: 60_000,
            event_revisions_max: 1_000,
            memory_runs_max: None,
            preempts: None,
            stop_grace_ms: 5_000,
            ready_ahead: None,
        },
        replicas: ["a", "a", "b"].into_iter().map(replica).collect(),
        racks: vec![rack("a", &["n1", "n2"]), rack("b", &["n3"])],
        sessions: vec![
            session(0, vec![submit(job("one", 3)), ask(Ask::Get { job: "two".to_owned() })]),
            session(1, vec![submit(job("two", 2)), ask(Ask::Resubmit(job("two", 2))), ask(Ask::List)]),
            session(1, vec![ask(Ask::Resubmit(job("one", 3))), ask(Ask::Cancel { job: "one".to_owned() })]),
        ],
        rebalances: vec![],
        reservations: vec![],
        faults: vec![
            fault(1, Class::Crash, FaultWhat::Crash { target: Target::Replica(2), kept_percent: 50 }),
            fault(2, Class::Partition, FaultWhat::Isolate { hosts: vec![1, 3, 5, 6], way: Way::Both }),
            fault(3, Class::Partition, FaultWhat::LeaderMinority { with: 0, way: Way::Mute }),
            fault(4, Class::AgentKill, FaultWhat::AgentKill { rack: 1, agent: 0 }),
            fault(5, Class::RackCrash, FaultWhat::RackCrash { rack: 0 }),
            fault(6, Class::Clock, FaultWhat::ClockJump { host: 6, by_ms: -500 }),
            fault(7, Class::Poison, FaultWhat::Workload),
        ],
        spares_quorum: false,
        heal_ms: 20_000,
        end_ms: 50_000,
    }
}

fn replica(region: &str) -> ReplicaPlan {
    ReplicaPlan {
        region: region.to_owned(),
        start_ms: 0,
        older_until_ms: 0,
        clock: clock(),
        sync_us: 100,
        rocksdb: false,
    }
}

fn rack(region: &str, nodes: &[&str]) -> RackPlan {
    let agent = |node: &&str| AgentPlan {
        node: (*node).to_owned(),
        cluster: format!("{region}-1"),
        cpu_milli: 4_000,
        memory_bytes: 1 << 30,
        start_ms: 10,
        kill_ms: 100,
        pool: None,
        gpus: Gpus::default(),
        ground: Ground::default(),
        zone: None,
    };
    RackPlan { region: region.to_owned(), clock: clock(), agents: nodes.iter().map(agent).collect() }
}

fn clock() -> ClockPlan {
    ClockPlan { booted_before_ms: 5_000, wall_ahead_ms: 30, drift_ppm: 100 }
}

fn session(host: usize, steps: Vec<OperationPlan>) -> SessionPlan {
    SessionPlan { host, when: When::Always, steps }
}

fn submit(job: JobPlan) -> OperationPlan {
    ask(Ask::Submit(job))
}

fn ask(what: Ask) -> OperationPlan {
    OperationPlan { at_ms: 1_000, what }
}

/// Each task needs the one before; the last one can run in region b only and takes its agent down.
fn job(name: &str, tasks: usize) -> JobPlan {
    let task = |number: usize| TaskPlan {
        name: format!("t{number}"),
        needs: number.checked_sub(1).map(|before| format!("t{before}")).into_iter().collect(),
        count: 1,
        cpu_milli: 1_000,
        memory_bytes: 1 << 20,
        promise: Promise::Fenced,
        attempts: 2,
        backoff_ms: 100,
        timeout_ms: None,
        regions: if number + 1 == tasks { vec!["b".to_owned()] } else { vec![] },
        clusters: vec![],
        pool: None,
        gpu: GpuPart::default(),
        others: vec![],
        demands: Demands::default(),
        condition: None,
        company: CompanyPlan::default(),
        gang: None,
        region_loss: None,
        runs_ms: 1_000,
        fails: 0,
        by_run: false,
        stubborn: false,
        poison: number + 1 == tasks,
        says: None,
        queued_ms: None,
        speech: None,
        flow: FlowPlan::default(),
        sub: None,
    };
    JobPlan {
        edition: 0,
        result: vec![],
        name: name.to_owned(),
        priority: 1,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        tasks: (0..tasks).map(task).collect(),
    }
}

fn fault(second: u64, class: Class, what: FaultWhat) -> FaultPlan {
    FaultPlan { at_ms: second * 1_000, for_ms: 500, class, what }
}

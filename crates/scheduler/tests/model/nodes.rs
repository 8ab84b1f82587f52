//! The nodes: agents as they behave, and what really runs, whatever anybody believes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptClaim, AttemptId, AttemptPhase, AttemptReport, Choice, Epoch, Exit, GpuHold, NodeName, Offer,
    OnNodeLoss, Price, Registration, Resources, Revision, State, TaskId, Token, Usage, Uuid,
};

use crate::history::{CLUSTERS, CopyAct, NodeShape};

/// A copy's name: attempts of one name from two leases never share a token.
pub(crate) type CopyId = (AttemptId, Token);

/// All nodes, and what has really happened on them.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    pub(crate) agents: Vec<Agent>,
    started: BTreeMap<TaskId, u32>,
    ran: BTreeSet<CopyId>,
    succeeded: BTreeSet<CopyId>,
}

/// An agent and its node.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: NodeName,
    pub(crate) shape: NodeShape,
    pub(crate) cpu: u64,
    uuid: Uuid,
    journal: Uuid,
    /// Counts its starts; what an earlier life sent is not answered to a later one.
    pub(crate) life: u32,
    /// It can be heard and hears.
    pub(crate) connected: bool,
    /// The lease it believes to hold.
    pub(crate) epoch: Option<Epoch>,
    /// When that lease is over on its side; fenced copies are dead a kill bound later.
    deadline: u64,
    kill_ms: u64,
    seen: Revision,
    copies: BTreeMap<AttemptId, Copy>,
    /// What still runs though the journal that knew of it is lost, and until when.
    forgotten: BTreeMap<CopyId, u64>,
}

#[derive(Clone, Debug)]
struct Copy {
    token: Token,
    gpus: GpuHold,
    choice: Choice,
    promise: OnNodeLoss,
    stage: Stage,
    /// Its processes are gone.
    gone: bool,
    asked: bool,
    ran: bool,
    running_told: bool,
    refused: bool,
    /// Its lease is over: when it is dead.
    killed_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Running,
    Over { exit: Option<Exit>, lost: bool, stopped: bool },
}

impl Ground {
    pub(crate) fn new(nodes: &[NodeShape]) -> Self {
        let agents = nodes.iter().zip(0_u128..).map(|(shape, at)| Agent {
            name: format!("node-{at}").parse().expect("a name"),
            shape: *shape,
            cpu: shape.cpu,
            uuid: Uuid(at),
            journal: Uuid(at << 32),
            life: 0,
            connected: true,
            epoch: None,
            deadline: 0,
            kill_ms: 0,
            seen: Revision(0),
            copies: BTreeMap::new(),
            forgotten: BTreeMap::new(),
        });
        Self { agents: agents.collect(), ..Self::default() }
    }

    /// Some copy of the task runs, or may run.
    pub(crate) fn is_alive(&self, task: TaskId) -> bool {
        self.agents.iter().any(|agent| agent.alive().any(|(attempt, _)| attempt.task == task))
    }

    pub(crate) fn is_copy_alive(&self, attempt: AttemptId, token: Token) -> bool {
        self.agents.iter().any(|agent| agent.alive().any(|copy| copy == (attempt, token)))
    }

    pub(crate) fn has_run(&self, attempt: AttemptId, token: Token) -> bool {
        self.ran.contains(&(attempt, token))
    }

    pub(crate) fn has_succeeded(&self, attempt: AttemptId, token: Token) -> bool {
        self.succeeded.contains(&(attempt, token))
    }

    /// What leases that are over do on the nodes.
    pub(crate) fn on_time(&mut self, clock: u64) {
        for agent in &mut self.agents {
            if agent.deadline <= clock {
                agent.epoch = None;
                agent.end_fenced();
            }
            agent.forgotten.retain(|_, dead_at| *dead_at > clock);
            for copy in agent.copies.values_mut() {
                if copy.killed_at.is_some_and(|at| at <= clock) && !copy.gone {
                    copy.gone = true;
                    if !copy.is_over() {
                        copy.stage = Stage::Over { exit: None, lost: true, stopped: true };
                    }
                }
            }
        }
    }

    /// The agent hears what is on it: all that is not confirmed gone, and what of it must end.
    pub(crate) fn sync(&mut self, at: usize, view: &State, clock: u64) {
        let Some(agent) = self.agents.get(at) else { return };
        if !agent.connected || agent.epoch.is_none() || agent.deadline <= clock {
            return;
        }
        let wanted: Vec<_> = view.attempts_on(&agent.name).cloned().collect();
        for attempt in &wanted {
            let spec = &view.run(attempt.id.task.run).expect("a run").spec.tasks[attempt.id.task.step as usize];
            let promise = spec.on_node_loss;
            let must_stop = attempt.stop.is_some() || attempt.state.is_terminal();
            match self.agents[at].copies.get_mut(&attempt.id) {
                Some(copy) => copy.asked |= must_stop,
                None if must_stop => {
                    let over = Stage::Over { exit: None, lost: false, stopped: true };
                    let copy = Copy {
                        stage: over,
                        gone: true,
                        ..Copy::new(attempt.token, promise, (attempt.gpus, attempt.choice))
                    };
                    self.agents[at].copies.insert(attempt.id, copy);
                }
                None => self.start(at, attempt, promise),
            }
        }
        let agent = &mut self.agents[at];
        agent.seen = agent.seen.max(view.revision());
        for (id, copy) in &mut agent.copies {
            copy.asked |= !wanted.iter().any(|attempt| attempt.id == *id && attempt.token == copy.token);
        }
    }

    /// P2b and P2d, where they matter: at the start of a process.
    fn start(&mut self, at: usize, attempt: &Attempt, promise: OnNodeLoss) {
        let id = attempt.id;
        let started = self.started.entry(id.task).or_default();
        *started += 1;
        assert!(promise != OnNodeLoss::AtMostOnce || *started == 1, "{id:?} is at_most_once and starts again");
        assert!(promise != OnNodeLoss::Fenced || !self.is_alive(id.task), "{id:?} starts beside a fenced copy");
        self.agents[at].copies.insert(id, Copy::new(attempt.token, promise, (attempt.gpus, attempt.choice)));
    }

    /// Copies that something can happen to.
    pub(crate) fn copies(&self) -> Vec<(usize, AttemptId)> {
        let all = self.agents.iter().zip(0..).flat_map(|(agent, at)| agent.copies.iter().map(move |copy| (at, copy)));
        all.filter(|(_, (_, copy))| !copy.gone).map(|(at, (id, _))| (at, *id)).collect()
    }

    pub(crate) fn act(&mut self, at: usize, id: AttemptId, act: CopyAct) {
        let Some(copy) = self.agents[at].copies.get_mut(&id) else { return };
        let name = (id, copy.token);
        match (act, &copy.stage) {
            (CopyAct::Proceed, Stage::Starting) => {
                copy.stage = Stage::Running;
                copy.ran = true;
                self.ran.insert(name);
            }
            (CopyAct::Proceed, Stage::Over { .. }) => copy.gone = true,
            (CopyAct::Heed, Stage::Starting | Stage::Running) if copy.asked => {
                copy.stage = Stage::Over { exit: Some(Exit::Signal(15)), lost: false, stopped: true };
                copy.gone = true;
            }
            // By itself: before it heard of any stop.
            (CopyAct::Exit { code, gone }, Stage::Running) => {
                copy.stage = Stage::Over { exit: Some(Exit::Code(code.into())), lost: false, stopped: false };
                copy.gone = gone;
                if code == 0 {
                    self.succeeded.insert(name);
                }
            }
            (CopyAct::Lose, Stage::Starting) => {
                copy.stage = Stage::Over { exit: None, lost: true, stopped: false };
                copy.gone = true;
            }
            (CopyAct::Proceed, Stage::Running) | (CopyAct::Heed | CopyAct::Lose | CopyAct::Exit { .. }, _) => {}
        }
    }
}

impl Agent {
    fn alive(&self) -> impl Iterator<Item = CopyId> {
        let known = self.copies.iter().filter(|(_, copy)| !copy.gone).map(|(id, copy)| (*id, copy.token));
        known.chain(self.forgotten.keys().copied())
    }

    /// The lease is over: what is fenced is killed, and dead a kill bound later.
    fn end_fenced(&mut self) {
        let dead_at = self.deadline + self.kill_ms;
        for copy in self.copies.values_mut().filter(|copy| copy.promise == OnNodeLoss::Fenced && !copy.gone) {
            copy.killed_at = Some(copy.killed_at.map_or(dead_at, |at| at.min(dead_at)));
        }
    }

    pub(crate) fn restart(&mut self, survivors: bool) {
        self.life += 1;
        self.epoch = None;
        let dead_at = self.deadline + self.kill_ms;
        for copy in self.copies.values_mut() {
            if !copy.is_over() {
                copy.stage = Stage::Over { exit: None, lost: true, stopped: false };
                copy.gone = !survivors;
            }
            if copy.promise == OnNodeLoss::Fenced {
                copy.killed_at.get_or_insert(dead_at);
            }
        }
    }

    /// The journal is lost, with all that it said of what ran. What is fenced may go on until its lease
    /// kills it, the rest is gone.
    pub(crate) fn wipe(&mut self) {
        let dead_at = self.deadline + self.kill_ms;
        for (id, copy) in self.copies.iter().filter(|(_, copy)| copy.promise == OnNodeLoss::Fenced && !copy.gone) {
            self.forgotten.insert((*id, copy.token), copy.killed_at.map_or(dead_at, |at| at.min(dead_at)));
        }
        self.life += 1;
        self.epoch = None;
        self.journal = Uuid(self.journal.0 + 1);
        self.seen = Revision(0);
        self.copies.clear();
    }

    pub(crate) fn registration(&self) -> Registration {
        let (region, cluster) = CLUSTERS[self.shape.cluster];
        let proven_lost = |copy: &Copy| copy.gone && matches!(copy.stage, Stage::Over { lost: true, .. });
        let known = self.copies.iter().filter(|(_, copy)| !proven_lost(copy) && !copy.refused);
        Registration {
            // Every other node has some.
            gpus: std::iter::repeat_n("T4".parse().expect("a model"), 2 * (self.shape.cluster % 2)).collect(),
            node: self.name.clone(),
            uuid: self.uuid,
            journal: self.journal,
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: region.parse().expect("a name"),
            cluster: cluster.parse().expect("a name"),
            capacity: Resources { cpu_milli: self.cpu, memory_bytes: 1 << 30, gpu_milli: 0 },
            labels: labels(self.shape.cluster),
            offer: Arc::new(offer(self.shape.cluster)),
            attempts: known
                .map(|(id, copy)| AttemptClaim {
                    attempt: *id,
                    token: copy.token,
                    gpus: copy.gpus,
                    choice: copy.choice,
                })
                .collect(),
            seen: self.seen,
        }
    }

    /// A lease was granted to a request that was sent at `asked`.
    pub(crate) fn welcome(&mut self, epoch: Epoch, asked: u64, agent_ms: u64, kill_ms: u64) {
        self.epoch = Some(epoch);
        (self.deadline, self.kill_ms) = (asked + agent_ms, kill_ms);
        self.copies.values_mut().for_each(|copy| copy.running_told = false);
    }

    /// A renewal that was sent now is confirmed.
    pub(crate) fn renewed(&mut self, clock: u64, agent_ms: u64) {
        self.deadline = clock + agent_ms;
    }

    /// What there is to tell.
    pub(crate) fn reports(&mut self) -> Vec<AttemptReport> {
        let mut reports = Vec::new();
        for (id, copy) in self.copies.iter_mut().filter(|(_, copy)| !copy.refused) {
            let report = AttemptReport {
                attempt: *id,
                token: copy.token,
                phase: AttemptPhase::Running,
                gone: false,
                exit: None,
                message: None,
                usage: Usage::default(),
                stopped: false,
                outcome: None,
                silent: false,
                payloads: None,
            };
            if copy.ran && !copy.running_told {
                copy.running_told = true;
                reports.push(report.clone());
            }
            match copy.stage {
                Stage::Starting | Stage::Running => {}
                Stage::Over { exit, lost, stopped } => {
                    let phase = if lost { AttemptPhase::Lost } else { AttemptPhase::Ended };
                    reports.push(AttemptReport { phase, gone: copy.gone, exit, stopped, ..report });
                }
            }
        }
        reports
    }

    /// A report was answered.
    pub(crate) fn answered(&mut self, report: &AttemptReport, accepted: bool) {
        let Some(copy) = self.copies.get_mut(&report.attempt).filter(|copy| copy.token == report.token) else { return };
        if accepted {
            if report.gone && copy.gone {
                self.copies.remove(&report.attempt);
            }
        } else {
            copy.refused = true;
            copy.asked = true;
            if copy.gone {
                self.copies.remove(&report.attempt);
            }
        }
    }
}

impl Copy {
    fn new(token: Token, promise: OnNodeLoss, (gpus, choice): (GpuHold, Choice)) -> Self {
        Self {
            token,
            gpus,
            choice,
            promise,
            stage: Stage::Starting,
            gone: false,
            asked: false,
            ran: false,
            running_told: false,
            refused: false,
            killed_at: None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. })
    }
}

/// Whom nodes of a cluster keep away, which pool they are in, and what they cost.
pub(crate) fn offer(cluster: usize) -> Offer {
    let taint = ("spot".to_owned(), "yes".to_owned());
    match cluster {
        0 => Offer { price: Some(Price(50_000)), ..Offer::default() },
        1 => Offer { taints: [taint].into(), price: Some(Price(1_000)), ..Offer::default() },
        _ => Offer { pool: "far".parse().expect("a name"), ..Offer::default() },
    }
}

/// What nodes of a cluster say of themselves: some have fast disks.
pub(crate) fn labels(cluster: usize) -> BTreeMap<String, String> {
    (0..cluster % 2).map(|_| ("disk".to_owned(), "ssd".to_owned())).collect()
}

//! Carries a history out: clients, a log, a leader, nodes, and the mail between them. Every entry is
//! judged as it is written.

use std::collections::{BTreeMap, BTreeSet};

use quorate_scheduler::{Decision, controllers};
use quorate_state::{
    Applied, AttemptReport, Choice, Command, Digest, DrainTime, Entry, Epoch, Feature, Goal, GpuHold, Item, NodeName,
    NodeStatus, Placement, PlacementOutcome, Preemption, Principal, Reach, RebalanceOrder, RebalanceTerms,
    Registration, Rejection, Reply, ReportOutcome, RequestId, RequestKey, ReservationName, Retention, Revision, RunId,
    Scope, Settings, State, TaskId, Timer, Token, Uuid, apply,
};

use crate::history::{Act, CLUSTERS, History, Of, Step, namespace};
use crate::leader::{Asked, Leader};
use crate::nodes::Ground;
use crate::oracle::{Scene, judge};
use crate::rows::Rows;

/// The state is checked as a whole after every so many entries: that costs more than all the rest.
const CHECK_EVERY: u64 = 8;
/// The snapshot that a replay begins with is taken at this entry.
const SNAPSHOT_AT: u64 = 24;
/// Commands remembered, to be proposed again.
const AGAIN_MAX: usize = 64;
/// The data directory of an agent that has no name of its own.
const INTRUDER: Uuid = Uuid(u128::MAX);

pub(crate) struct World {
    history: History,
    pub(crate) state: State,
    rows: Rows,
    revision: u64,
    /// True time, in milliseconds.
    pub(crate) clock: u64,
    pub(crate) leader: Leader,
    pub(crate) flights: Vec<Flight>,
    pub(crate) mail: Vec<Mail>,
    pub(crate) ground: Ground,
    again: Vec<Command>,
    cancelled: BTreeMap<RunId, u64>,
    runs: u64,
    snapshot: Rows,
    tail: Vec<(Revision, Entry)>,
}

/// A decision on its way into the log.
pub(crate) struct Flight {
    desk: usize,
    term: u64,
    view: Revision,
    commands: Vec<Command>,
}

/// Something that an agent says, on its way into the log.
#[derive(Clone)]
pub(crate) enum Mail {
    Register { at: usize, life: u32, sent: u64, registration: Box<Registration> },
    Report { at: usize, life: u32, epoch: Epoch, reports: Vec<AttemptReport>, forged: bool },
}

/// Where an item came from, and so what its answer means.
enum Origin {
    Client,
    Desk { desk: usize, term: u64, fresh: bool },
    Mail(Mail),
}

impl World {
    pub(crate) fn new(history: &History) -> Self {
        let mut world = Self {
            history: history.clone(),
            state: State::default(),
            rows: Rows::default(),
            revision: 0,
            clock: 10_000,
            leader: Leader::new(1, 10_000),
            flights: Vec::new(),
            mail: Vec::new(),
            ground: Ground::new(&history.nodes),
            again: Vec::new(),
            cancelled: BTreeMap::new(),
            runs: 0,
            snapshot: Rows::default(),
            tail: Vec::new(),
        };
        let settings = Box::new(Settings {
            node_losses_max: 2,
            unknown_ms_max: 60_000,
            runs_unfinished_max: 6,
            request_window_ms: 20_000,
            requests_max: 2,
            request_expiries_max: 1,
            event_revisions_max: 16,
            retention: Some(Retention {
                memory_runs_max: 2,
                memory_rows_max: 24,
                archive_runs_max: 3,
                archive_ms_max: 0,
                history_revisions_max: 1 << 40,
                segment_runs_max: 2,
            }),
            ..Settings::default()
        });
        let bootstrap = Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings };
        let namespace = Command::CreateNamespace { namespace: namespace() };
        let features = Feature::ALL.map(|feature| Command::EnableFeature { feature, term: 1 });
        let preemption = Preemption { by_priority: true, gap: 10, spare_ms: 300, times_max: 3, ..Preemption::OFF };
        let policy = Command::SetPreemption { preemption };
        let commands = [bootstrap, namespace].into_iter().chain(features).chain([policy]);
        world.commit(commands.map(|command| (Origin::Client, None, command)).collect());
        for at in 0..history.nodes.len() {
            world.register(at);
        }
        world.deliver(usize::MAX, usize::MAX, true);
        world
    }

    pub(crate) fn carry_out(&mut self, step: Step) {
        match step {
            Step::Submit { job, request } => self.submit(job, request),
            Step::Cancel { run } => {
                let run = RunId(1 + u64::from(run) % self.runs.max(1));
                self.commit(vec![(Origin::Client, None, Command::CancelRun { run })]);
            }
            Step::Lead { desks, budget, twice } => {
                for desk in 0..self.leader.desks.len() {
                    if desks >> desk & 1 == 1 && !self.leader.desks[desk].waiting {
                        self.lead(desk, budget, twice);
                    }
                }
            }
            Step::Commit { flights, mails, mail_first } => self.deliver(flights.into(), mails.into(), mail_first),
            Step::Fail { flight } => {
                if !self.flights.is_empty() {
                    let flight = self.flights.remove(usize::from(flight) % self.flights.len());
                    self.fail(flight);
                }
            }
            Step::Again { pick } => {
                if !self.again.is_empty() {
                    let command = self.again[usize::from(pick) % self.again.len()].clone();
                    self.commit(vec![(Origin::Client, None, command)]);
                }
            }
            Step::Place { picks, stale } => self.place(picks, stale),
            Step::NewLeader { gap_ms, carried } => self.change_leader(gap_ms.into(), carried),
            Step::Node { node, act } => self.act(usize::from(node) % self.ground.agents.len(), act),
            Step::Copy { pick, act } => {
                let copies = self.ground.copies();
                if !copies.is_empty() {
                    let (at, id) = copies[usize::from(pick) % copies.len()];
                    self.ground.act(at, id, act);
                }
            }
            Step::Tell { node, twice, forged } => {
                self.tell(usize::from(node) % self.ground.agents.len(), twice, forged);
            }
            Step::Round { seconds } => self.round(u64::from(seconds) * 1_000),
            Step::Wait { ms } => self.wait(ms.into()),
        }
    }

    fn submit(&mut self, job: u8, request: Option<u8>) {
        let job = usize::from(job) % self.history.jobs.len();
        self.runs += 1;
        let digest = Digest([u8::try_from(job).expect("few jobs"); 32]);
        let key = request.map(|id| RequestKey {
            id: RequestId(["r0", "r1", "r2"][usize::from(id)].into()),
            namespace: Some(namespace()),
            digest,
        });
        let spec = self.history.jobs[job].clone();
        let command = Command::SubmitJob { run: RunId(self.runs), spec, spec_digest: digest };
        self.commit(vec![(Origin::Client, key, command)]);
    }

    /// A plan that nobody in his right mind would make: the state itself must refuse what is wrong.
    fn place(&mut self, picks: [u8; 2], stale: bool) {
        let ready: Vec<_> = self.state.ready().map(|key| key.task).collect();
        let nodes: Vec<_> = self.state.nodes().map(|node| (node.name.clone(), node.epoch)).collect();
        if ready.is_empty() {
            return;
        }
        let placements = picks.map(|pick| {
            let task = ready[usize::from(pick) % ready.len()];
            let (node, epoch) = nodes[usize::from(pick) / 8 % nodes.len()].clone();
            let generation = self.state.task(task).expect("a task").generation.wrapping_sub(u32::from(stale));
            Placement { choice: Choice::FIRST, gpus: GpuHold::NONE, task, generation, node, epoch }
        });
        self.commit(vec![(Origin::Client, None, Command::CommitPlan { placements: placements.into() })]);
    }

    /// Steps a controller, and sends off what it decides.
    pub(crate) fn lead(&mut self, desk: usize, budget: u32, twice: bool) {
        let (asked, decision) = self.leader.step(desk, &self.state, self.clock, budget);
        let sooner = decision.wake_at.filter(|at| *at <= asked.now.served);
        assert!(!decision.commands.is_empty() || sooner.is_none(), "desk {desk} has nothing to do, and no rest");
        if twice {
            self.check_repeats(desk, &asked, &decision);
        }
        if !decision.commands.is_empty() {
            self.leader.desks[desk].waiting = true;
            let (term, view) = (self.leader.term, self.state.revision());
            self.flights.push(Flight { desk, term, view, commands: decision.commands });
        }
    }

    /// The same question has the same answer: on a replica that has read its rows from a disk, and
    /// in a thread whose hash maps have other keys.
    fn check_repeats(&self, desk: usize, asked: &Asked, decision: &Decision) {
        let decision = &of_this_step(decision.clone());
        let loaded = self.rows.load();
        let again = of_this_step(asked.of(&mut *controllers()[desk], &loaded));
        assert_eq!(*decision, again, "desk {desk} decides otherwise from rows");
        let elsewhere = std::thread::scope(|scope| {
            scope.spawn(|| asked.of(&mut *controllers()[desk], &self.state)).join().expect("a decision")
        });
        let elsewhere = of_this_step(elsewhere);
        assert_eq!(*decision, elsewhere, "desk {desk} decides otherwise in another thread");
    }

    /// Makes one entry of the first decisions and the first mail.
    pub(crate) fn deliver(&mut self, flights: usize, mails: usize, mail_first: bool) {
        let flights: Vec<Flight> = self.flights.drain(..flights.min(self.flights.len())).collect();
        let mails: Vec<Mail> = self.mail.drain(..mails.min(self.mail.len())).collect();
        let is_fresh = |flight: &Flight| flight.view == self.state.revision() && (!mail_first || mails.is_empty());
        let mut fresh = flights.first().is_some_and(is_fresh);
        let mut decided = Vec::new();
        for Flight { desk, term, view: _, commands } in flights {
            for command in commands {
                decided.push((Origin::Desk { desk, term, fresh }, None, command));
            }
            // What is first in its entry may change what the others looked at.
            fresh = false;
        }
        let said = mails.into_iter().map(|mail| {
            let command = mail.command(&self.ground);
            (Origin::Mail(mail), None, command)
        });
        let items: Vec<_> =
            if mail_first { said.chain(decided).collect() } else { decided.into_iter().chain(said).collect() };
        if !items.is_empty() {
            self.commit(items);
        }
    }

    fn fail(&mut self, flight: Flight) {
        if flight.term == self.leader.term {
            self.leader.desks[flight.desk].waiting = false;
        }
        // A lease whose expiry came to nothing may be renewed by the next leader: that expiry is never heard of again.
        let harmless = |command: &Command| !matches!(command, Command::ExpireLeases { .. });
        self.remember(flight.commands.into_iter().filter(harmless));
    }

    fn remember(&mut self, commands: impl IntoIterator<Item = Command>) {
        // A name that nobody holds any more would go to the intruder, and the node be shut out by right.
        let intrudes = |command: &Command| matches!(command, Command::RegisterNode(it) if it.uuid == INTRUDER);
        self.again.extend(commands.into_iter().filter(|command| !intrudes(command)));
        let surplus = self.again.len().saturating_sub(AGAIN_MAX);
        self.again.drain(..surplus);
    }

    fn change_leader(&mut self, gap_ms: u64, carried: bool) {
        if carried {
            self.deliver(usize::MAX, 0, false);
        }
        for flight in std::mem::take(&mut self.flights) {
            self.fail(flight);
        }
        // Nobody renews anything meanwhile.
        self.clock += gap_ms;
        self.ground.on_time(self.clock);
        self.leader = Leader::new(self.leader.term + 1, self.clock);
    }

    fn act(&mut self, at: usize, act: Act) {
        match act {
            Act::Silence => self.ground.agents[at].connected = false,
            Act::Return => {
                self.ground.agents[at].connected = true;
                self.renew(at);
            }
            Act::Register => self.register(at),
            Act::Sync => self.ground.sync(at, &self.state, self.clock),
            Act::Restart { survivors } => self.ground.agents[at].restart(survivors),
            Act::Wipe => self.ground.agents[at].wipe(),
            Act::Intrude => {
                let mut registration = self.ground.agents[at].registration();
                registration.uuid = INTRUDER;
                registration.cluster = "elsewhere".parse().expect("a name");
                // Let in, it would be another node from then on.
                if self.state.node(&registration.node).is_some_and(|node| node.status == NodeStatus::Up) {
                    self.commit(vec![(Origin::Client, None, Command::RegisterNode(Box::new(registration)))]);
                    assert!(self.state.nodes().all(|node| node.uuid != INTRUDER), "a name was taken from its holder");
                }
            }
            Act::Drain { of, wait_ms, rest_ms } => {
                let node = self.ground.agents[at].name.clone();
                let (wait_ms, reason) = (u64::from(wait_ms), "a new disk".into());
                let for_ms = rest_ms.map(|rest_ms| wait_ms + u64::from(rest_ms));
                let drain = Some(DrainTime { wait_ms, for_ms });
                let command = match (self.scope(at, of), for_ms) {
                    (Some(scope), _) => Command::WithdrawScope { scope, drain, reason },
                    (None, None) => Command::DrainNode { node, wait_ms, reason },
                    (None, Some(for_ms)) => Command::MaintainNode { node, wait_ms, for_ms, reason },
                };
                self.commit(vec![(Origin::Client, None, command)]);
            }
            Act::Undrain { of } => self.undrain(at, of),
            Act::Rebalance { at_once, moves_max, for_ms } => {
                let terms = RebalanceTerms {
                    goal: Goal::Spread,
                    reach: Reach::Everywhere,
                    moves_max: moves_max.into(),
                    at_once: at_once.into(),
                    share_percent: 50,
                    margin: 1,
                    for_ms: for_ms.into(),
                };
                let order = if for_ms == 0 { RebalanceOrder::Stop } else { RebalanceOrder::Start(terms) };
                self.commit(vec![(Origin::Client, None, Command::SetRebalance { order })]);
            }
            Act::Reserve { wait_ms, for_ms } => {
                let node = self.ground.agents[at].name.clone();
                let reservation: ReservationName = node.as_str().parse().expect("a name");
                let (wait_ms, for_ms, nodes) = (u64::from(wait_ms), u64::from(for_ms), BTreeSet::from([node]));
                let command = match for_ms {
                    0 => Command::EndReservation { reservation },
                    _ => Command::Reserve { reservation, namespace: namespace(), nodes, wait_ms, for_ms },
                };
                self.commit(vec![(Origin::Client, None, command)]);
            }
            Act::Resize { cpu } => {
                self.ground.agents[at].restart(false);
                self.ground.agents[at].cpu = cpu.into();
            }
        }
    }

    pub(crate) fn undrain(&mut self, at: usize, of: Of) {
        let node = self.ground.agents[at].name.clone();
        let command = match self.scope(at, of) {
            None => Command::CordonNode { node, cordoned: false },
            Some(scope) => Command::RestoreScope { scope },
        };
        self.commit(vec![(Origin::Client, None, command)]);
    }

    fn scope(&self, at: usize, of: Of) -> Option<Scope> {
        let (region, cluster) = CLUSTERS[self.ground.agents[at].shape.cluster];
        match of {
            Of::Node => None,
            Of::Cluster => Some(Scope::Cluster(cluster.parse().expect("a name"))),
            Of::Region => Some(Scope::Region(region.parse().expect("a name"))),
        }
    }

    /// An agent renews its lease, or asks for one.
    pub(crate) fn renew(&mut self, at: usize) {
        let agent = &mut self.ground.agents[at];
        if !agent.connected {
            return;
        }
        let Some(epoch) = agent.epoch else { return self.register(at) };
        if self.leader.renew(&self.state, &agent.name, epoch, self.clock) {
            let lease = self.state.node(&agent.name).expect("a node").lease;
            agent.renewed(self.clock, lease.agent_ms);
        } else {
            agent.epoch = None;
            self.register(at);
        }
    }

    fn register(&mut self, at: usize) {
        let agent = &self.ground.agents[at];
        if agent.connected {
            let registration = Box::new(agent.registration());
            self.mail.push(Mail::Register { at, life: agent.life, sent: self.clock, registration });
        }
    }

    pub(crate) fn tell(&mut self, at: usize, twice: bool, forged: bool) {
        let agent = &mut self.ground.agents[at];
        let Some(epoch) = agent.epoch.filter(|_| agent.connected) else { return };
        let mut reports = agent.reports();
        if reports.is_empty() {
            // The next renewal says as much.
            let name = agent.name.clone();
            return self.leader.reported(&name, epoch);
        }
        if forged {
            reports.iter_mut().for_each(|report| report.token = Token(report.token.0 - 1));
        }
        let mail = Mail::Report { at, life: agent.life, epoch, reports, forged };
        if twice {
            // The copy arrives with what comes later.
            self.mail.push(mail.clone());
        }
        self.mail.insert(self.mail.len() / 2, mail);
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.clock += ms;
        for at in 0..self.ground.agents.len() {
            // Renewed all the while, and just now.
            let agent = &self.ground.agents[at];
            if agent.connected && agent.epoch.is_some() {
                self.renew(at);
            }
        }
        self.ground.on_time(self.clock);
    }

    fn round(&mut self, ms: u64) {
        self.wait(ms);
        for at in 0..self.ground.agents.len() {
            if self.ground.agents[at].epoch.is_none() && !self.mail.iter().any(|mail| mail.is_registration_of(at)) {
                self.renew(at);
            }
            self.ground.sync(at, &self.state, self.clock);
            self.tell(at, false, false);
        }
        self.deliver(0, usize::MAX, true);
        for desk in 0..self.leader.desks.len() {
            if !self.leader.desks[desk].waiting {
                self.lead(desk, quorate_scheduler::Budget::STEPS_DEFAULT, false);
            }
        }
        self.deliver(usize::MAX, 0, false);
    }

    /// Applies an entry, judges it and hears its answers.
    fn commit(&mut self, items: Vec<(Origin, Option<RequestKey>, Command)>) {
        self.revision += 1;
        let mut origins = Vec::new();
        let mut entry = Entry { stamp: self.leader.stamp(self.clock), items: Vec::new() };
        for (origin, request, command) in items {
            origins.push(origin);
            entry.items.push(Item { principal: Principal::controller(), request, command });
        }
        let Applied { next, changes, replies, events } = apply(&self.state, Revision(self.revision), &entry);
        let scene = Scene {
            revision: self.revision,
            served: next.meta().served,
            cancelled: &self.cancelled,
            ground: &self.ground,
        };
        for change in &changes {
            judge(&self.rows, change, &scene);
            self.rows.write(change);
        }
        assert!(events.iter().zip(0..).all(|(row, at)| row.revision.0 == self.revision && row.sequence == at));
        assert_eq!(replies.len(), entry.items.len());
        let before = std::mem::replace(&mut self.state, next);
        if self.revision.is_multiple_of(CHECK_EVERY) {
            assert_eq!(self.state.check(), Vec::<String>::new());
        }
        let quiet = changes.len() == 1;
        for ((origin, item), reply) in origins.into_iter().zip(&entry.items).zip(&replies) {
            assert!(!matches!(reply, Err(Rejection::Invariant(_))), "{reply:?}");
            match (&item.command, reply) {
                (Command::CancelRun { run }, Ok(Reply::Cancelling { .. })) => {
                    self.cancelled.entry(*run).or_insert(self.revision);
                }
                (Command::CommitPlan { placements }, Ok(Reply::PlanCommitted(outcomes))) => {
                    for (placement, outcome) in placements.iter().zip(outcomes) {
                        let is_placed = matches!(outcome, PlacementOutcome::Placed(_));
                        let generation = before.task(placement.task).map(|task| task.generation);
                        assert!(
                            !is_placed || generation == Some(placement.generation),
                            "planned on an older {placement:?}"
                        );
                    }
                }
                (Command::ReportAttempts { node, epoch, .. }, Ok(_)) => {
                    let known = before.node(node).map(|node| node.epoch);
                    assert!(known <= Some(*epoch), "the word of {node} counts under a lease that is over");
                }
                _ => {}
            }
            self.hear(origin, &item.command, reply, quiet);
        }
        self.remember(entry.items.iter().map(|item| item.command.clone()));
        self.tail.push((Revision(self.revision), entry));
        if self.revision == SNAPSHOT_AT {
            self.snapshot = self.rows.clone();
            self.tail.clear();
        }
    }

    fn hear(&mut self, origin: Origin, command: &Command, reply: &Result<Reply, Rejection>, quiet: bool) {
        match origin {
            Origin::Client => {}
            Origin::Desk { desk, term, fresh } => {
                // A decision from the state as it is must take effect, or it would be made for ever.
                assert!(!fresh || took_effect(command, reply), "{command:?} came to {reply:?}");
                assert!(!fresh || !quiet, "{command:?} changed nothing");
                if term == self.leader.term {
                    self.leader.desks[desk].waiting = false;
                    self.leader.desks[desk].seen = None;
                }
            }
            Origin::Mail(Mail::Register { at, life, sent, registration: _ }) => {
                let agent = &mut self.ground.agents[at];
                if let Ok(Reply::Registered { epoch, lease }) = reply
                    && agent.life == life
                    && agent.connected
                    && agent.epoch.is_none_or(|held| held < *epoch)
                {
                    agent.welcome(*epoch, sent, lease.agent_ms, lease.kill_ms);
                    let name = agent.name.clone();
                    self.leader.renew(&self.state, &name, *epoch, self.clock);
                    self.ground.on_time(self.clock);
                }
            }
            Origin::Mail(Mail::Report { at, life, epoch, reports, forged }) => {
                let Ok(Reply::Reported(outcomes)) = reply else { return };
                let refused = outcomes.iter().all(|outcome| *outcome == ReportOutcome::Refused);
                assert!(!forged || refused, "a report with an old token counts");
                let agent = &mut self.ground.agents[at];
                if agent.life == life && !forged {
                    for (report, outcome) in reports.iter().zip(outcomes) {
                        agent.answered(report, *outcome == ReportOutcome::Accepted);
                    }
                    let name: NodeName = agent.name.clone();
                    self.leader.reported(&name, epoch);
                }
            }
        }
    }

    /// What is checked once a history: C6, and every row and index.
    pub(crate) fn check_whole(&self) {
        assert_eq!(self.state.check(), Vec::<String>::new());
        let loaded = self.rows.load();
        assert_eq!(loaded, self.state, "the rows are not the state");
        let mut replayed = self.snapshot.load();
        for (revision, entry) in &self.tail {
            replayed = apply(&replayed, *revision, entry).next;
        }
        assert_eq!(replayed, self.state, "a snapshot and the entries after it are not the state");
    }
}

impl Mail {
    fn command(&self, ground: &Ground) -> Command {
        match self {
            Self::Register { registration, .. } => Command::RegisterNode(registration.clone()),
            Self::Report { at, epoch, reports, .. } => {
                let node = ground.agents[*at].name.clone();
                Command::ReportAttempts { node, epoch: *epoch, reports: reports.clone() }
            }
        }
    }

    fn is_registration_of(&self, node: usize) -> bool {
        matches!(self, Self::Register { at, .. } if *at == node)
    }
}

/// Every part of the command did what it was for.
fn took_effect(command: &Command, reply: &Result<Reply, Rejection>) -> bool {
    match (command, reply) {
        (Command::CommitPlan { .. }, Ok(Reply::PlanCommitted(outcomes))) => {
            outcomes.iter().all(|outcome| matches!(outcome, PlacementOutcome::Placed(_)))
        }
        (Command::CommitGang { .. }, reply) => reply.is_ok(),
        (Command::FireTimers { timers }, Ok(Reply::Counted(count))) => {
            // What stops a whole gang is all that stops its members.
            let starts = |of: TaskId| {
                timers.iter().any(
                    |timer| matches!(timer, Timer::GangStart { run, step, .. } if (*run, *step) == (of.run, of.step)),
                )
            };
            let is_void = |timer: &&Timer| matches!(timer, Timer::RunTimeout { attempt, .. } if starts(attempt.task));
            let void = timers.iter().filter(is_void).count();
            (timers.len() - void..=timers.len()).contains(&(*count as usize))
        }
        (Command::ExpireLeases { leases }, Ok(Reply::Counted(count))) => *count as usize == leases.len(),
        (_, Ok(Reply::Counted(count))) => *count > 0,
        (_, _) => false,
    }
}

/// A decision without what its controller has counted since it leads, which another one does not know.
fn of_this_step(mut decision: Decision) -> Decision {
    let is_since = |name: &str| {
        name.starts_with("starts_")
            || name.starts_with("attempts_preempted")
            || name == "claims_used"
            || name == "claims_let_go"
    };
    decision.report.counts.retain(|(name, _)| !is_since(name));
    decision
}

//! P6: attempts, tasks, runs and leases move only along their tables, what has ended stays as it ended,
//! and each move is told in one event of its revision. An outcome follows from what the agent said and
//! why it was asked to stop, and an agent's word counts exactly for what its node holds under that token.
//! What ran to its own end, unasked, has that outcome, whatever was decided about it meanwhile; and no agent calls lost
//! what it saw end.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptId, AttemptState, Change, Command, Epoch, Event, Exit, Item, Moved, Node, NodeName, NodeStatus,
    Outcome, Preempted, Principal, Rejection, Reply, ReportOutcome, Rest, Run, RunId, RunState, Scope, Step as StepRow,
    StopReason, Task, TaskId, TaskState, Token,
};

use super::flow::{Flow, has_flow};
use super::history::{attempt_name, task_name};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Looks at each step by itself, knowing what ended how.
#[derive(Default)]
pub(crate) struct Transitions {
    /// Attempts that were asked to end, or killed.
    asked: BTreeSet<AttemptId>,
    /// Attempts that ended by themselves before anybody asked.
    unasked: BTreeSet<AttemptId>,
    /// Attempts that ended with a code, which is their own doing.
    ends: BTreeMap<AttemptId, End>,
}

/// The end of an attempt, as its executor has it.
struct End {
    at: Duration,
    node: NodeName,
    token: Token,
    exit: Exit,
    /// When the agent that saw it was gone, once it is.
    agent_gone: Option<Duration>,
}

/// An agent has written down how an attempt ended after so long (`COMPANY_WAIT` of its journal, and some room).
const NOTED_WITHIN: Duration = Duration::from_millis(200);

impl End {
    /// True when its agent was gone before it can have written the end down.
    fn may_be_forgotten(&self, known: &Known<'_>) -> bool {
        let Some(gone) = self.agent_gone else { return false };
        let stood_still = known.rack_of(&self.node).is_none_or(|rack| known.stood_still(rack, self.at, gone));
        gone < self.at + NOTED_WITHIN || stood_still
    }
}

impl Oracle for Transitions {
    fn id(&self) -> &'static str {
        "P6"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        match fact {
            Fact::Execution(Execution { attempt, node, token, what, .. }) => match what {
                Happening::Asked | Happening::Killed => {
                    self.asked.insert(*attempt);
                }
                Happening::Ended { exit: Some(exit @ Exit::Code(_)) } => {
                    if !self.asked.contains(attempt) {
                        self.unasked.insert(*attempt);
                    }
                    let end = End { at, node: node.clone(), token: *token, exit: *exit, agent_gone: None };
                    self.ends.insert(*attempt, end);
                }
                Happening::Started | Happening::Ended { .. } => {}
            },
            Fact::AgentGone { node } | Fact::AgentStopped { node, .. } => {
                for end in self.ends.values_mut().filter(|end| end.node == *node) {
                    end.agent_gone.get_or_insert(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let mut rows = Rows::new(step);
        for change in &step.changes {
            match change {
                Change::Attempt(attempt) => {
                    rows.on_attempt(attempt)?;
                    self.check_own_end(attempt)?;
                    self.check_word(attempt, step, known)?;
                }
                Change::Task(task) => rows.on_task(task)?,
                Change::Run(run) => rows.on_run(run)?,
                Change::Step(row) => rows.on_step(row)?,
                Change::Node(node) => rows.on_node(node)?,
                Change::NodeGone(node) => {
                    let epoch = step.before.node(node).map_or(Epoch(0), |before| before.epoch);
                    rows.moves.push(Event::NodeForgotten { node: node.clone(), epoch });
                    rows.nodes.remove(node);
                    rows.forgotten.insert(node);
                }
                Change::Scope(row) => {
                    let (scope, drains) = (row.scope.clone(), row.withdrawal.drain.is_some());
                    rows.moves.push(Event::ScopeWithdrawn { scope, drains, by: row.withdrawal.by.clone() });
                }
                Change::ScopeGone(scope) => {
                    let by = restorer(step, scope).unwrap_or_else(Principal::anonymous_local);
                    rows.moves.push(Event::ScopeRestored { scope: scope.clone(), by });
                }
                Change::Feature(row) => rows.moves.push(Event::FeatureEnabled { feature: row.feature }),
                Change::Annotation(row) => {
                    rows.moves.push(Event::RunAnnotated { run: row.run, key: row.key.clone() });
                }
                _ => {}
            }
        }
        check_told(step, rows.moves)?;
        check_reports(step)
    }
}

impl Transitions {
    fn check_own_end(&self, row: &Attempt) -> Verdict {
        let by_stop = matches!(row.state, AttemptState::Cancelled | AttemptState::TimedOut | AttemptState::Preempted);
        if by_stop && self.unasked.contains(&row.id) {
            return Err(format!(
                "{} ran to its own end before it was asked to stop, and is {:?} with {:?}",
                attempt_name(row.id),
                row.state,
                row.exit
            ));
        }
        Ok(())
    }

    /// An agent says, by a report or by what it claims when it registers, that an attempt is gone and nobody can know
    /// how it ended. Leases and deadlines say only that it is lost; an operator who forgets the node says both for it.
    fn check_word(&self, row: &Attempt, step: &Step, known: &Known<'_>) -> Verdict {
        let was_open = step.before.attempt(row.id).is_some_and(|before| !before.state.is_terminal());
        let is_forgotten = |change: &Change| matches!(change, Change::NodeGone(node) if *node == row.node);
        let by_operator = step.changes.iter().any(is_forgotten);
        let is_said = was_open && row.state == AttemptState::Lost && row.gone && row.exit.is_none() && !by_operator;
        let Some(end) = self.ends.get(&row.id).filter(|end| is_said && end.node == row.node && end.token == row.token)
        else {
            return Ok(());
        };
        if end.may_be_forgotten(known) {
            return Ok(());
        }
        Err(format!(
            "{} ended on {} with {:?} at {:?}, and is lost by the word of the agent that saw it",
            attempt_name(row.id),
            end.node,
            end.exit,
            end.at
        ))
    }
}

/// Rows as they are in the middle of a step, and the events that their moves call for.
struct Rows<'a> {
    step: &'a Step,
    attempts: BTreeMap<AttemptId, &'a Arc<Attempt>>,
    tasks: BTreeMap<TaskId, &'a Arc<Task>>,
    steps: BTreeMap<(RunId, u32), &'a Arc<StepRow>>,
    runs: BTreeMap<RunId, &'a Arc<Run>>,
    nodes: BTreeMap<&'a NodeName, &'a Arc<Node>>,
    /// What comes after that is another one.
    forgotten: BTreeSet<&'a NodeName>,
    moves: Vec<Event>,
}

impl<'a> Rows<'a> {
    fn new(step: &'a Step) -> Self {
        Self {
            step,
            attempts: BTreeMap::new(),
            tasks: BTreeMap::new(),
            steps: BTreeMap::new(),
            runs: BTreeMap::new(),
            nodes: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            moves: vec![],
        }
    }

    fn on_attempt(&mut self, row: &'a Arc<Attempt>) -> Verdict {
        let name = attempt_name(row.id);
        let before = self.attempts.insert(row.id, row).or_else(|| self.step.before.attempt(row.id));
        let moves = before.is_none_or(|before| before.state != row.state);
        match before {
            None if row.state != AttemptState::Assigned => {
                return Err(format!("{name} began as {:?}", row.state));
            }
            None => {}
            Some(before) => {
                if moves && !table::attempt_may(before, row.state) {
                    return Err(format!("{name} went from {:?} to {:?}", before.state, row.state));
                }
                if before.stop.is_some() && before.stop != row.stop {
                    return Err(format!("{name} was to stop for {:?}, then for {:?}", before.stop, row.stop));
                }
                let ends_again = before.ended_at != row.ended_at || (before.exit.is_some() && before.exit != row.exit);
                if before.state.is_terminal() && ends_again {
                    return Err(format!("{name} had ended with {:?} and ended again: {:?}", before.exit, row.exit));
                }
            }
        }
        let was_preempted = before.is_some_and(|before| before.preempted.is_some());
        if let Some(Preempted { by, priority, share }) = row.preempted.filter(|_| !was_preempted) {
            self.moves.push(Event::AttemptPreempted { attempt: row.id, node: row.node.clone(), by, priority, share });
        }
        let was_moved = before.is_some_and(|before| before.moved.is_some());
        if let Some(Moved { rebalance, to }) = row.moved.clone().filter(|_| !was_moved) {
            self.moves.push(Event::AttemptRebalanced { attempt: row.id, node: row.node.clone(), to, rebalance });
        }
        if moves {
            check_outcome(row)?;
            self.moves.push(Event::AttemptMoved {
                attempt: row.id,
                node: row.node.clone(),
                token: row.token,
                state: row.state,
                exit: row.exit,
            });
        }
        Ok(())
    }

    fn on_task(&mut self, row: &'a Arc<Task>) -> Verdict {
        let name = task_name(row.id);
        let Some(before) = self.tasks.insert(row.id, row).or_else(|| self.step.before.task(row.id)) else {
            let begins = matches!(row.state, TaskState::Waiting(_) | TaskState::Ready);
            // Those of a submit are told with it; others come when it is their turn.
            if self.step.before.run(row.id.run).is_some() {
                self.moves.push(Event::TaskMoved { task: row.id, state: row.state.clone() });
            }
            return if begins { Ok(()) } else { Err(format!("{name} began as {:?}", row.state)) };
        };
        if !table::task_may(before, row) {
            return Err(format!("{name} went from {:?} to {:?}", before.state, row.state));
        }
        if row.generation != before.generation + 1 {
            return Err(format!("{name} moved from generation {} to {}", before.generation, row.generation));
        }
        self.moves.push(Event::TaskMoved { task: row.id, state: row.state.clone() });
        Ok(())
    }

    /// What is decided of a step is told, and when all ends that has no rows.
    fn on_step(&mut self, row: &'a Arc<StepRow>) -> Verdict {
        let (run, step) = (row.run, row.step);
        let before = self.steps.insert((run, step), row).or_else(|| self.step.before.step(run, step));
        // What a second try of a run begins with was told of the first.
        let is_new = self.step.before.run(run).is_some() && before.is_none_or(|before| before.decision.is_none());
        if let Some(decided) = row.decision.clone().filter(|_| is_new) {
            self.moves.push(Event::StepDecided { run, step, decided, elements: row.elements });
        }
        let Some(before) = before.filter(|before| before.rest != row.rest) else { return Ok(()) };
        if before.rest != Rest::Waiting {
            return Err(format!(
                "what is left of step {step} of run {run} was {:?}, and is {:?}",
                before.rest, row.rest
            ));
        }
        let rows = self.step.after.tasks_of_step(run, step).count();
        let first = u32::try_from(rows).unwrap_or(u32::MAX);
        let (count, state) = (row.elements.saturating_sub(first), row.rest.state());
        self.moves.push(Event::RestEnded { run, step, first, count, state });
        Ok(())
    }

    fn on_run(&mut self, row: &'a Arc<Run>) -> Verdict {
        let Some(before) = self.runs.insert(row.id, row).or_else(|| self.step.before.run(row.id)) else {
            let (namespace, job) = (row.spec.namespace.clone(), row.spec.name.clone());
            self.moves.push(Event::RunSubmitted { run: row.id, namespace, job });
            let begins = row.state == RunState::Pending && !row.cancelling && !row.abandoned;
            return if begins { Ok(()) } else { Err(format!("run {} began as {:?}", row.id, row.state)) };
        };
        if before.state.is_terminal() {
            return Err(format!("run {} was written after it had ended as {:?}", row.id, before.state));
        }
        if before.cancelling && !row.cancelling {
            return Err(format!("run {} is not cancelled any more", row.id));
        }
        if before.state != row.state {
            if !table::run_may(before.state, row.state) {
                return Err(format!("run {} went from {:?} to {:?}", row.id, before.state, row.state));
            }
            if row.state.is_terminal() {
                self.check_end(row)?;
                self.moves.push(Event::RunEnded { run: row.id, state: row.state });
            } else {
                self.moves.push(Event::RunStarted { run: row.id });
            }
        }
        self.on_control(before, row)?;
        if row.abandoned && !before.abandoned {
            self.moves.push(Event::RunAbandoned { run: row.id });
        }
        if row.cancelling && !before.cancelling {
            self.moves.push(Event::RunCancelRequested { run: row.id });
        }
        Ok(())
    }

    /// What a run is paused for, and its priority, change by somebody's word alone; its end makes an end of the pause.
    fn on_control(&mut self, before: &Run, row: &Run) -> Verdict {
        let (run, items) = (row.id, self.step.entry.iter().flat_map(|entry| &entry.items));
        let says = |item: &&Item| match (&item.command, before.paused.is_some(), row.paused.is_some()) {
            (Command::PauseRun { run: of, .. }, false, true) | (Command::ResumeRun { run: of }, true, false) => {
                *of == run
            }
            _ => false,
        };
        let sets = |item: &&Item| {
            matches!(item.command, Command::SetRunPriority { run: of, priority }
                if of == run && row.priority_set == Some(priority))
        };
        if before.paused.is_some() != row.paused.is_some() && !row.state.is_terminal() {
            let by = items.clone().find(says).map(|item| item.principal.clone());
            let by = by.ok_or_else(|| format!("run {run} is {:?}, by nobody's word", row.paused))?;
            let is_paused = row.paused.is_some();
            self.moves.push(if is_paused { Event::RunPaused { run, by } } else { Event::RunResumed { run, by } });
        }
        if let Some(priority) = row.priority_set.filter(|_| before.priority_set != row.priority_set) {
            let by = items.clone().find(sets).map(|item| item.principal.clone());
            let by = by.ok_or_else(|| format!("run {run} has priority {priority}, by nobody's word"))?;
            self.moves.push(Event::RunPrioritySet { run, priority, by });
        }
        Ok(())
    }

    /// A run ends as its tasks did, which have all ended. What that is in one with a flow is P26.
    fn check_end(&self, run: &Run) -> Verdict {
        let flow = Flow::of(&self.step.after, run);
        if has_flow(run) {
            let open = flow.steps().find(|step| !flow.has_ended(*step));
            return open.map_or(Ok(()), |step| Err(format!("run {} ended, step {step} has not", run.id)));
        }
        let rows = self.step.after.tasks_of(run.id).map(|task| task.state.clone());
        let tasks: Vec<TaskState> = rows.chain(flow.steps().filter_map(|step| flow.rest(step))).collect();
        let has = |which: fn(&TaskState) -> bool| tasks.iter().any(which);
        let failed = has(|state| matches!(state, TaskState::Failed(_)));
        let cancelled = has(|state| *state == TaskState::Cancelled);
        let all_well = tasks.iter().all(|state| *state == TaskState::Succeeded);
        let is_right = match run.state {
            RunState::Succeeded => all_well,
            RunState::Cancelled => !failed && cancelled && run.cancelling,
            RunState::Failed => failed || run.timed_out,
            RunState::Pending | RunState::Running => false,
        };
        if is_right && tasks.iter().all(TaskState::is_terminal) {
            return Ok(());
        }
        Err(format!("run {} ended as {:?}, its tasks are {tasks:?}", run.id, run.state))
    }

    fn on_node(&mut self, row: &'a Arc<Node>) -> Verdict {
        let was = self.step.before.node(&row.name).filter(|_| !self.forgotten.contains(&row.name));
        let before = self.nodes.insert(&row.name, row).or(was);
        let (node, epoch, revision) = (row.name.clone(), row.epoch, self.step.revision);
        let is_new = before.is_none_or(|before| before.epoch != epoch);
        if before.is_some_and(|before| before.cordoned != row.cordoned) {
            self.moves.push(Event::NodeCordoned { node: node.clone(), cordoned: row.cordoned });
        }
        match row.status {
            NodeStatus::Up if is_new => {
                if epoch.0 != revision.0 || before.is_some_and(|before| before.epoch > epoch) {
                    return Err(format!("node {node} was granted epoch {epoch} at revision {revision}"));
                }
                self.moves.push(Event::NodeRegistered { node, epoch });
            }
            NodeStatus::Up if before.is_some_and(|before| before.status != NodeStatus::Up) => {
                return Err(format!("epoch {epoch} of node {node} was over and is not any more"));
            }
            NodeStatus::Up => {}
            NodeStatus::Lost { .. } if is_new => {
                return Err(format!("node {node} got epoch {epoch} and lost it in one move"));
            }
            NodeStatus::Lost { .. } => {
                if before.is_some_and(|before| before.status == NodeStatus::Up) {
                    self.moves.push(Event::NodeLost { node, epoch });
                }
            }
        }
        Ok(())
    }
}

/// How an attempt ended fits what was said of it.
fn check_outcome(row: &Attempt) -> Verdict {
    let fits = match row.state {
        AttemptState::Succeeded => row.exit == Some(Exit::Code(0)),
        AttemptState::Failed => {
            row.exit != Some(Exit::Code(0)) || matches!(row.outcome.as_deref(), Some(Outcome::Error(_)))
        }
        AttemptState::Cancelled => row.stop == Some(StopReason::Cancelled),
        AttemptState::TimedOut => matches!(row.stop, Some(StopReason::TimedOut | StopReason::Silent)),
        AttemptState::Preempted => {
            let moves = [StopReason::Preempted, StopReason::Drained, StopReason::Gang, StopReason::Rebalanced];
            row.stop.is_some_and(|stop| moves.contains(&stop))
        }
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Running
        | AttemptState::Stopping
        | AttemptState::Unknown
        | AttemptState::Lost => true,
    };
    if fits {
        return Ok(());
    }
    Err(format!("{} is {:?} with {:?}, stopped for {:?}", attempt_name(row.id), row.state, row.exit, row.stop))
}

/// Each move has its one event, and no event tells of what did not move.
fn check_told(step: &Step, mut moves: Vec<Event>) -> Verdict {
    let mut told: Vec<Event> = step.events.iter().map(|row| row.event.clone()).collect();
    // What is told of a whole rebalance is P31's, and of reservations P12's.
    let is_elsewhere = |event: &Event| match event {
        Event::NamespaceCreated { .. } | Event::ReservationMoved { .. } => true,
        event => matches!(event, Event::RebalanceStarted { .. } | Event::RebalanceEnded { .. }),
    };
    told.retain(|event| !is_elsewhere(event));
    // A submit writes its rows first and tells of them last.
    moves.sort_by_key(kind);
    told.sort_by_key(kind);
    if moves == told {
        return Ok(());
    }
    let differs = moves.iter().zip(&told).find(|(moved, told)| moved != told);
    Err(format!("revision {}: {} moves, {} events; they differ in {differs:?}", step.revision, moves.len(), told.len()))
}

/// Order counts within a kind only.
fn kind(event: &Event) -> u8 {
    match event {
        Event::NamespaceCreated { .. } => 0,
        Event::RunSubmitted { .. } => 1,
        Event::RunStarted { .. } => 2,
        Event::RunCancelRequested { .. } => 3,
        Event::RunEnded { .. } => 4,
        Event::TaskMoved { .. } => 5,
        Event::AttemptMoved { .. } => 6,
        Event::NodeRegistered { .. } => 7,
        Event::NodeLost { .. } => 8,
        Event::RunAnnotated { .. } => 9,
        Event::NodeCordoned { .. } => 10,
        Event::FeatureEnabled { .. } => 11,
        Event::NodeForgotten { .. } => 12,
        Event::RunPaused { .. } | Event::RunResumed { .. } => 17,
        Event::RunPrioritySet { .. } => 18,
        Event::NodeAdmissionSet { .. } => 13,
        Event::JoinTokenCreated { .. } => 14,
        Event::JoinTokenUsed { .. } => 15,
        Event::JoinTokenRevoked { .. } => 16,
        Event::RunAbandoned { .. } => 19,
        Event::StepDecided { .. } => 20,
        Event::RestEnded { .. } => 21,
        Event::ScopeWithdrawn { .. } => 22,
        Event::ScopeRestored { .. } => 23,
        Event::AttemptPreempted { .. } => 24,
        Event::AttemptRebalanced { .. } => 25,
        Event::RebalanceStarted { .. } | Event::RebalanceEnded { .. } => 26,
        Event::ReservationMoved { .. } => 27,
    }
}

/// Who gave a cluster or a region back.
fn restorer(step: &Step, scope: &Scope) -> Option<Principal> {
    let items = step.entry.iter().flat_map(|entry| &entry.items);
    let gives_back = |item: &&Item| match &item.command {
        Command::RestoreScope { scope: restored } => restored == scope,
        Command::EndScopeDrains { drains } => drains.iter().any(|(ended, _)| ended == scope),
        _ => false,
    };
    items.into_iter().find(gives_back).map(|item| item.principal.clone())
}

/// An agent's word counts under its live lease, for attempts of its node with their tokens.
fn check_reports(step: &Step) -> Verdict {
    let Some(entry) = &step.entry else { return Ok(()) };
    for (item, reply) in entry.items.iter().zip(&step.replies) {
        let Command::ReportAttempts { node, epoch, reports } = &item.command else { continue };
        let held = |row: Option<&Arc<Node>>| row.is_some_and(|row| row.epoch == *epoch && row.status == NodeStatus::Up);
        let (was, is) = (held(step.before.node(node)), held(step.after.node(node)));
        let outcomes = match reply {
            Ok(Reply::Reported(outcomes)) if was || is => outcomes,
            Err(Rejection::EpochOver { .. }) if !was || !is => continue,
            _ => return Err(format!("a report of {node} under epoch {epoch} was answered with {reply:?}")),
        };
        for (report, outcome) in reports.iter().zip(outcomes) {
            let row = step.after.attempt(report.attempt);
            let right = row.is_some_and(|row| row.node == *node && row.token == report.token);
            // Of a run that is archived nothing is known any more: it is heard that something is gone, which it was, and that
            // something runs is not, which a machine may say that was given up.
            let run = report.attempt.task.run;
            let has_left = step.after.run(run).is_some() && step.held.run(run).is_none();
            let is_accepted = *outcome == ReportOutcome::Accepted;
            if is_accepted != right && !(has_left && is_accepted == report.gone) {
                let name = attempt_name(report.attempt);
                return Err(format!("a report of {node} of {name} with token {} was {outcome:?}", report.token));
            }
        }
    }
    Ok(())
}

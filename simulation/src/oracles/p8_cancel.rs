//! P8: once a cancel is answered with a revision, nothing of the run is placed later and nothing placed
//! later starts; what runs of it is asked to end; after the faults it ends within a bound, and the run
//! with it. What undoes the work, and what comes at the end in any case, goes on, until the run is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{AttemptId, AttemptState, Command, Exit, Reply, Run, RunId, State, Task, TaskId};

use super::calm::agent_back;
use super::executions::Executions;
use super::flow::{Flow, comes_after, has_flow};
use super::history::{attempt_name, placed};
use super::{Known, Oracle, Verdict};
use crate::facts::{Answer, Execution, Fact, Happening, Operation, Outcome};
use crate::ledger::Step;
use crate::scenario::Kind;

/// For the workflow controller's steps, the way to the agent, and the way back.
const SLACK: Duration = Duration::from_secs(5);

/// Where nothing ever disturbs them, agents have asked what they run of a cancelled run to end by then.
pub(super) const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// Follows cancelled runs.
#[derive(Default)]
pub(crate) struct Cancels {
    /// When the history had it, and the revision of it.
    cancelled: BTreeMap<RunId, (Duration, u64)>,
    /// The same of runs that are given up.
    abandoned: BTreeMap<RunId, (Duration, u64)>,
    /// The newest placement of every run: of its work, and of anything.
    placed_work: BTreeMap<RunId, u64>,
    placed: BTreeMap<RunId, u64>,
    executions: Executions,
    /// What was asked to end, or killed.
    asked: BTreeSet<AttemptId>,
    /// The newest.
    state: State,
}

impl Oracle for Cancels {
    fn id(&self) -> &'static str {
        "P8"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Operation(operation) => self.on_answer(operation)?,
            Fact::Execution(execution) => self.on_execution(at, execution, known)?,
            _ => {}
        }
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        for attempt in placed(step) {
            let task = attempt.id.task;
            if let Some((_, cancelled)) = self.to_end(task).filter(|(_, at)| *at < step.revision.0) {
                let name = attempt_name(attempt.id);
                return Err(format!("{name} was placed, its run had been cancelled at revision {cancelled}"));
            }
            self.placed.insert(task.run, attempt.token.0);
            if !self.comes_after(task) {
                self.placed_work.insert(task.run, attempt.token.0);
            }
        }
        let Some(entry) = &step.entry else { return Ok(()) };
        for (item, reply) in entry.items.iter().zip(&step.replies) {
            let Ok(Reply::Cancelling { ended_before: false, revision }) = reply else { continue };
            match item.command {
                Command::CancelRun { run } => {
                    self.cancelled.entry(run).or_insert((step.at, revision.0));
                }
                Command::AbandonRun { run } => {
                    self.cancelled.entry(run).or_insert((step.at, revision.0));
                    self.abandoned.entry(run).or_insert((step.at, revision.0));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        for run in self.cancelled.keys() {
            for alive in self.executions.of_run(*run) {
                let due = self.to_end(alive.attempt.task).filter(|(cancelled, _)| at > bound(*cancelled, known));
                if let Some((_, revision)) = due {
                    let name = attempt_name(alive.attempt);
                    return Err(format!("{name} still runs on {}, its run was cancelled at {revision}", alive.node));
                }
            }
            // The one start of such a task may still succeed: it is waited for, longer than this.
            let is_unknown = self.state.attempts_of_run(*run).any(|attempt| attempt.state == AttemptState::Unknown);
            // What runs within it may have to undo what it did.
            let waits = is_unknown || self.state.tasks_of(*run).any(|task| self.goes_on_within(task));
            let Some(row) = self.state.run(*run).filter(|row| !row.state.is_terminal() && !waits) else { continue };
            let due = self.run_to_end(row).filter(|(cancelled, _)| at > bound(*cancelled, known));
            if let Some((_, revision)) = due {
                return Err(format!("run {run} was cancelled at revision {revision} and is {:?}", row.state));
            }
        }
        Ok(())
    }
}

impl Cancels {
    /// It is a run that has not ended, which is P29's.
    fn goes_on_within(&self, task: &Task) -> bool {
        task.sub_run.and_then(|run| self.state.run(run)).is_some_and(|run| !run.state.is_terminal())
    }

    fn comes_after(&self, task: TaskId) -> bool {
        self.state.run(task.run).is_some_and(|run| comes_after(run, task.step))
    }

    /// Since when nothing of a task is to be placed or run: what comes after the work is ended with all of its run alone.
    fn to_end(&self, task: TaskId) -> Option<(Duration, u64)> {
        let ended = if self.comes_after(task) { &self.abandoned } else { &self.cancelled };
        ended.get(&task.run).copied()
    }

    /// Since when a run that has not ended is to: one whose work has ended has only what comes after it to do.
    fn run_to_end(&self, run: &Run) -> Option<(Duration, u64)> {
        let goes_on = has_flow(run) && !Flow::of(&self.state, run).has_open_work();
        let ended = if goes_on { &self.abandoned } else { &self.cancelled };
        ended.get(&run.id).copied()
    }

    fn on_answer(&self, operation: &Operation) -> Verdict {
        let (run_id, revision, ended, placed) = match &operation.outcome {
            Outcome::Answered(Answer::Cancelled(v1::CancelRunResponse { run_id, ended_before: false, revision })) => {
                (run_id, revision, &self.cancelled, &self.placed_work)
            }
            Outcome::Answered(Answer::Abandoned(v1::AbandonRunResponse { run_id, ended_before: false, revision })) => {
                (run_id, revision, &self.abandoned, &self.placed)
            }
            _ => return Ok(()),
        };
        let Ok(run) = run_id.parse::<RunId>() else {
            return Err(format!("a cancel was answered with run id {run_id:?}"));
        };
        match (ended.get(&run), placed.get(&run)) {
            (None, _) => Err(format!("the cancel of run {run} was answered with {revision} and is in no log")),
            (Some(_), Some(placed)) if placed > revision => Err(format!(
                "the cancel of run {run} was answered with {revision}, something of it was placed at {placed}"
            )),
            (Some((_, cancelled)), _) if cancelled > revision => {
                Err(format!("the cancel of run {run} at {cancelled} was answered with revision {revision}"))
            }
            (Some(_), _) => Ok(()),
        }
    }

    fn on_execution(&mut self, at: Duration, execution: &Execution, known: &Known<'_>) -> Verdict {
        if matches!(execution.what, Happening::Asked | Happening::Killed) {
            self.asked.insert(execution.attempt);
        }
        let Some((cancelled, revision)) = self.to_end(execution.attempt.task) else { return Ok(()) };
        let (name, node) = (attempt_name(execution.attempt), &execution.node);
        match execution.what {
            Happening::Started if execution.token.0 > revision => {
                Err(format!("{name} started on {node}, its run had been cancelled at revision {revision}"))
            }
            Happening::Ended { .. } if at > bound(cancelled, known) => Err(format!(
                "{name} on {node} ended no earlier than at {at:?}, its run had been cancelled at {cancelled:?}"
            )),
            Happening::Ended { exit: Some(Exit::Code(_)) }
                if at > cancelled + ASKED_WITHIN
                    && known.scenario.kind == Kind::FaultFree
                    && !self.asked.contains(&execution.attempt) =>
            {
                Err(format!(
                    "{name} on {node} ran to its own end at {at:?}, its run had been cancelled at {cancelled:?}"
                ))
            }
            Happening::Started | Happening::Asked | Happening::Killed | Happening::Ended { .. } => Ok(()),
        }
    }
}

/// By when what runs of a run cancelled at `cancelled` has ended: a leader is there, the agent's lease
/// is over or it is told, it asks, it kills.
pub(super) fn bound(cancelled: Duration, known: &Known<'_>) -> Duration {
    let Some(healed) = known.healed else { return Duration::MAX };
    let settings = &known.scenario.settings;
    let lease = Duration::from_millis(settings.lease_server_ms + settings.lease_kill_ms);
    let grace = Duration::from_millis(settings.stop_grace_ms);
    cancelled.max(healed) + agent_back(known) + lease + grace + SLACK
}

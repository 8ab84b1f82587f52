//! P8: once a cancel is answered with a revision, nothing of the run is placed later and nothing placed
//! later starts; what runs of it is asked to end; after the faults it ends within a bound, and the run
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{AttemptId, AttemptState, Command, Exit, Reply, RunId, State};

use super::calm::agent_back;
use super::executions::Executions;
use super::history::{attempt_name, placed};
use super::{Known, Oracle, Verdict};
use crate::facts::{Answer, Execution, Fact, Happening, Operation, Outcome};
use crate::ledger::Step;
use crate::scenario::Kind;

/// For the workflow controller's steps, the way to the agent, and the way back.
const SLACK: Duration = Duration::from_secs(5);

/// Where nothing ever disturbs them, agents have asked what they run of a cancelled run to end by then.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// Follows cancelled runs.
#[derive(Default)]
pub(crate) struct Cancels {
    /// When the history had it, and the revision of it.
    cancelled: BTreeMap<RunId, (Duration, u64)>,
    /// The newest placement of every run.
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
            let run = attempt.id.task.run;
            if let Some((_, cancelled)) = self.cancelled.get(&run).filter(|(_, at)| *at < step.revision.0) {
                let name = attempt_name(attempt.id);
                return Err(format!("{name} was placed, its run had been cancelled at revision {cancelled}"));
            }
            self.placed.insert(run, attempt.token.0);
        }
        let Some(entry) = &step.entry else { return Ok(()) };
        for (item, reply) in entry.items.iter().zip(&step.replies) {
            if let (Command::CancelRun { run }, Ok(Reply::Cancelling { ended_before: false, revision })) =
                (&item.command, reply)
            {
                self.cancelled.entry(*run).or_insert((step.at, revision.0));
            }
        }
        Ok(())
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        for (run, (cancelled, revision)) in &self.cancelled {
            if at <= bound(*cancelled, known) {
                continue;
            }
            if let Some(alive) = self.executions.of_run(*run).next() {
                let name = attempt_name(alive.attempt);
                return Err(format!("{name} still runs on {}, its run was cancelled at {revision}", alive.node));
            }
            // The one start of such a task may still succeed: it is waited for, longer than this.
            let waits = self.state.attempts_of_run(*run).any(|attempt| attempt.state == AttemptState::Unknown);
            let row = self.state.run(*run).filter(|row| !row.state.is_terminal() && !waits);
            if let Some(row) = row {
                return Err(format!("run {run} was cancelled at revision {revision} and is {:?}", row.state));
            }
        }
        Ok(())
    }
}

impl Cancels {
    fn on_answer(&self, operation: &Operation) -> Verdict {
        let Outcome::Answered(Answer::Cancelled(answer)) = &operation.outcome else { return Ok(()) };
        let v1::CancelRunResponse { run_id, ended_before: false, revision } = answer else { return Ok(()) };
        let Ok(run) = run_id.parse::<RunId>() else {
            return Err(format!("a cancel was answered with run id {run_id:?}"));
        };
        match (self.cancelled.get(&run), self.placed.get(&run)) {
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
        let Some((cancelled, revision)) = self.cancelled.get(&execution.attempt.task.run) else { return Ok(()) };
        let (name, node) = (attempt_name(execution.attempt), &execution.node);
        match execution.what {
            Happening::Started if execution.token.0 > *revision => {
                Err(format!("{name} started on {node}, its run had been cancelled at revision {revision}"))
            }
            Happening::Ended { .. } if at > bound(*cancelled, known) => Err(format!(
                "{name} on {node} ended no earlier than at {at:?}, its run had been cancelled at {cancelled:?}"
            )),
            Happening::Ended { exit: Some(Exit::Code(_)) }
                if at > *cancelled + ASKED_WITHIN
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
fn bound(cancelled: Duration, known: &Known<'_>) -> Duration {
    let Some(healed) = known.healed else { return Duration::MAX };
    let settings = &known.scenario.settings;
    let lease = Duration::from_millis(settings.lease_server_ms + settings.lease_kill_ms);
    let grace = Duration::from_millis(settings.stop_grace_ms);
    cancelled.max(healed) + agent_back(known) + lease + grace + SLACK
}

//! C8: what was acknowledged is in the history, stays there, and every member has it in the end.
//!
//! etcd #14370: a write was acknowledged and lost in a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{Event, Run, RunId, State};

use super::quorum::{Members, name};
use super::{Known, Oracle, Verdict};
use crate::facts::{Answer, Fact, Operation, Outcome, Request};
use crate::ledger::RaftRows as _;
use crate::scenario::Control;

/// See the module.
#[derive(Default)]
pub(crate) struct Acked {
    members: Members,
    /// Replicas whose process runs.
    up: BTreeSet<usize>,
    /// Runs and their jobs' names.
    submitted: BTreeMap<RunId, String>,
    cancelled: BTreeSet<RunId>,
    abandoned: BTreeSet<RunId>,
    /// The newest revision at which something was acknowledged.
    newest: Option<u64>,
}

impl Oracle for Acked {
    fn id(&self) -> &'static str {
        "C8"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::ReplicaStarted { replica, .. } => {
                self.up.insert(*replica);
            }
            Fact::ReplicaGone { replica, .. } | Fact::ReplicaStopped { replica, .. } => {
                self.up.remove(replica);
            }
            Fact::Operation(operation) => return self.operation(operation, known),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _: Duration, known: &Known<'_>) -> Verdict {
        let Some(state) = known.ledger.state() else { return Ok(()) };
        for (run, job) in &self.submitted {
            is_there(state, *run, job).map_err(|what| format!("the submit of {job} was acknowledged; {what}"))?;
        }
        for run in &self.cancelled {
            let row = state.run(*run).ok_or_else(|| format!("run {run}, whose cancel was acknowledged, is gone"))?;
            if !row.cancelling && !row.state.is_terminal() {
                return Err(format!("the cancel of run {run} was acknowledged, in the end nothing is known of it"));
            }
        }
        for run in &self.abandoned {
            let row =
                state.run(*run).ok_or_else(|| format!("run {run}, which was given up as acknowledged, is gone"))?;
            if !row.abandoned && !row.state.is_terminal() {
                return Err(format!("that run {run} is given up was acknowledged, in the end nothing is known of it"));
            }
        }
        let newest = known.ledger.steps().last().map_or(0, |step| step.index);
        for replica in known.ledger.voters_at(newest).iter().flatten() {
            let Some(position) = self.members.position(*replica, known.ledger) else { continue };
            let applied = known.ledger.shadows()[position].live().applied();
            if self.up.contains(&position) && applied < self.newest {
                return Err(format!(
                    "{} has applied {applied:?} in the end, but revision {:?} was acknowledged",
                    name(position),
                    self.newest
                ));
            }
        }
        Ok(())
    }
}

impl Acked {
    fn operation(&mut self, operation: &Operation, known: &Known<'_>) -> Verdict {
        let Outcome::Answered(answer) = &operation.outcome else { return Ok(()) };
        match (&operation.request, answer) {
            (Request::Submit { spec, .. }, Answer::Submitted(answer)) => {
                let run = submitted(&spec.name, answer, known);
                let run = run.map_err(|what| format!("the submit of {} was acknowledged, but {what}", spec.name))?;
                self.submitted.insert(run, spec.name.clone());
            }
            (Request::Restart { job, .. }, Answer::Submitted(answer)) => {
                let run = submitted(job, answer, known);
                let run = run.map_err(|what| format!("a second try of {job} was acknowledged, but {what}"))?;
                self.submitted.insert(run, job.clone());
            }
            (Request::Cancel { job, .. }, Answer::Cancelled(answer)) => {
                let v1::CancelRunResponse { run_id, ended_before, revision } = answer;
                let run = ended(job, (run_id, *ended_before, *revision), |row| row.cancelling, known);
                self.cancelled.insert(run.map_err(|what| format!("the cancel of {job} was acknowledged, but {what}"))?);
            }
            (Request::Abandon { job, .. }, Answer::Abandoned(answer)) => {
                let v1::AbandonRunResponse { run_id, ended_before, revision } = answer;
                let run = ended(job, (run_id, *ended_before, *revision), |row| row.abandoned, known);
                let run = run.map_err(|what| format!("that {job} is given up was acknowledged, but {what}"))?;
                self.abandoned.insert(run);
            }
            (Request::Control { job, what, .. }, Answer::Controlled { run_id, revision }) => {
                controlled(job, *what, run_id, *revision, known)
                    .map_err(|words| format!("{what:?} of {job} was acknowledged, but {words}"))?;
            }
            _ => return Ok(()),
        }
        self.newest = self.newest.max(Some(answer.revision()));
        Ok(())
    }
}

/// The run that was submitted, if it was.
fn submitted(job: &str, answer: &v1::SubmitJobResponse, known: &Known<'_>) -> Result<RunId, String> {
    let run: RunId = answer.run_id.parse().map_err(|_| format!("{:?} is no run id", answer.run_id))?;
    let revision = answer.revision;
    let step = known.ledger.at(revision).ok_or_else(|| format!("nobody has applied revision {revision}"))?;
    let is_event = |event: &Event| matches!(event, Event::RunSubmitted { run: other, .. } if *other == run);
    if !step.events.iter().any(|row| is_event(&row.event)) {
        return Err(format!("revision {revision} does not say that run {run} was submitted"));
    }
    is_there(&step.after, run, job)?;
    Ok(run)
}

/// The run that was cancelled or given up, if it was.
fn ended(
    job: &str,
    (run_id, ended_before, revision): (&str, bool, u64),
    is_to_end: impl Fn(&Run) -> bool,
    known: &Known<'_>,
) -> Result<RunId, String> {
    let run: RunId = run_id.parse().map_err(|_| format!("{run_id:?} is no run id"))?;
    let step = known.ledger.at(revision).ok_or_else(|| format!("nobody has applied revision {revision}"))?;
    let row = is_there(&step.after, run, job)?;
    let is_so = if ended_before { row.state.is_terminal() } else { is_to_end(row) };
    if is_so { Ok(run) } else { Err(format!("run {run} is {:?} after revision {revision}", row.state)) }
}

/// The history says of the run what was acknowledged.
fn controlled(job: &str, what: Control, run_id: &str, revision: u64, known: &Known<'_>) -> Verdict {
    let run: RunId = run_id.parse().map_err(|_| format!("{run_id:?} is no run id"))?;
    let step = known.ledger.at(revision).ok_or_else(|| format!("nobody has applied revision {revision}"))?;
    let row = is_there(&step.after, run, job)?;
    // What ends in the same entry is paused no more.
    let is_so = match what {
        _ if row.state.is_terminal() => true,
        Control::Pause => row.paused.is_some(),
        Control::Resume => row.paused.is_none(),
        Control::Priority(priority) => row.priority_set.unwrap_or(row.spec.priority) == priority,
    };
    let (paused, priority) = (&row.paused, row.priority_set);
    if is_so { Ok(()) } else { Err(format!("run {run} has {paused:?} and {priority:?} after revision {revision}")) }
}

fn is_there<'a>(state: &'a State, run: RunId, job: &str) -> Result<&'a Run, String> {
    let row = state.run(run).ok_or_else(|| format!("there is no run {run} at revision {}", state.revision()))?;
    let is_of = row.spec.name.as_str();
    if is_of == job { Ok(row) } else { Err(format!("run {run} is one of {is_of}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    #[test]
    fn a_submit_that_is_not_in_the_history_is_caught() {
        let mut trial = Trial::new(1);
        let mut oracle = Acked::default();
        trial.found(&mut oracle).unwrap();
        let run = trial.submit(&mut oracle, "job-1").unwrap();
        let answer =
            |run: RunId, revision| v1::SubmitJobResponse { run_id: run.to_string(), revision, ..Default::default() };
        let good = Answer::Submitted(answer(run, trial.newest()));
        trial.operate(&mut oracle, 0, 1, Trial::submits("job-1"), Outcome::Answered(good)).unwrap();
        for (run, revision) in [(run, 99), (run, 1), (RunId(9), trial.newest())] {
            let bad = Outcome::Answered(Answer::Submitted(answer(run, revision)));
            assert!(trial.operate(&mut oracle, 0, 1, Trial::submits("job-1"), bad).is_err(), "{run} {revision}");
        }
    }

    #[test]
    fn a_cancel_must_have_cancelled() {
        let mut trial = Trial::new(1);
        let mut oracle = Acked::default();
        trial.found(&mut oracle).unwrap();
        let run = trial.submit(&mut oracle, "job-1").unwrap();
        let answer = v1::CancelRunResponse { run_id: run.to_string(), ended_before: false, revision: trial.newest() };
        let request = Request::Cancel { request_id: "c".into(), job: "job-1".into() };
        let outcome = Outcome::Answered(Answer::Cancelled(answer));
        assert!(trial.operate(&mut oracle, 0, 1, request, outcome).is_err());
    }
}

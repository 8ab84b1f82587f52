//! C9: a request whose outcome is unknown is carried out once or not at all, however often it is
//! sent; one that was refused by everybody is not carried out.
//!
//! FoundationDB's `commit_unknown_result`: counters that were raised twice.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::{Command, Digest, Event, Reply, RunId};

use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::facts::{Answer, Fact, Outcome, Request};
use crate::ledger::Step;
use crate::scenario::{Ask, Scenario};

/// See the module.
#[derive(Default)]
pub(crate) struct AtMostOnce {
    /// Runs by job name and edition. Each is submitted under one request id; second tries of its runs are none of these, nor
    /// are runs within others.
    accepted: BTreeMap<String, BTreeMap<Digest, RunId>>,
    /// Second tries, by request id.
    restarted: BTreeMap<String, RunId>,
    /// What was answered, by request id.
    answered: BTreeMap<String, (String, u64)>,
    /// By job name.
    heard: BTreeMap<String, Heard>,
    /// Of second tries, by request id.
    heard_of_restarts: BTreeMap<String, Heard>,
}

/// What became of the submits of a job, or of the requests of one id.
#[derive(Default)]
struct Heard {
    refused: usize,
    otherwise: usize,
}

/// How often a scenario submits a job.
pub(super) fn submits_of(scenario: &Scenario, job: &str) -> usize {
    let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
    steps.filter(|step| matches!(&step.what, Ask::Submit(plan) | Ask::Resubmit(plan) if plan.name == job)).count()
}

impl Oracle for AtMostOnce {
    fn id(&self) -> &'static str {
        "C9"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for row in &step.events {
            let Event::RunSubmitted { run, job, .. } = &row.event else { continue };
            let Some(row) = step.after.run(*run) else { continue };
            if row.restart_of.is_some() || row.parent.is_some() {
                continue;
            }
            if let Some(before) = self.accepted.entry(job.to_string()).or_default().insert(row.spec_digest, *run) {
                return Err(format!(
                    "{job} was accepted twice: as run {before}, and at revision {} as {run}",
                    step.revision
                ));
            }
        }
        for (item, reply) in answered(step) {
            let (Command::RestartRun { .. }, Some(request)) = (&item.command, &item.request) else { continue };
            let Ok(Reply::Submitted { run, .. }) = reply else { continue };
            let first = *self.restarted.entry(request.id.0.to_string()).or_insert(*run);
            if first != *run {
                let (id, at) = (&request.id.0, step.revision);
                return Err(format!(
                    "request {id} was carried out twice: as run {first}, and at revision {at} as {run}"
                ));
            }
        }
        Ok(())
    }

    fn fact(&mut self, _: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        let Fact::Operation(operation) = fact else { return Ok(()) };
        let (request_id, heard) = match &operation.request {
            Request::Submit { request_id, spec, .. } => (request_id, self.heard.entry(spec.name.clone()).or_default()),
            Request::Restart { request_id, .. } => {
                (request_id, self.heard_of_restarts.entry(request_id.clone()).or_default())
            }
            _ => return Ok(()),
        };
        match &operation.outcome {
            Outcome::Refused(_) => heard.refused += 1,
            Outcome::Unknown(_) => heard.otherwise += 1,
            Outcome::Answered(answer) => {
                heard.otherwise += 1;
                let Answer::Submitted(answer) = answer else { return Ok(()) };
                let answer = (answer.run_id.clone(), answer.revision);
                let first = self.answered.entry(request_id.clone()).or_insert_with(|| answer.clone());
                if *first != answer {
                    return Err(format!("request {request_id} was answered with {first:?}, and again with {answer:?}"));
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, _: Duration, known: &Known<'_>) -> Verdict {
        for (job, heard) in &self.heard {
            // One that was never heard of may be under way still.
            let is_refused = heard.otherwise == 0 && heard.refused >= submits_of(known.scenario, job);
            let accepted = self.accepted.get(job).and_then(|runs| runs.values().next());
            if let Some(run) = accepted.filter(|_| is_refused) {
                return Err(format!("every submit of {job} was refused, and run {run} was accepted"));
            }
        }
        // One session sends all of one id, one after the other.
        for (id, _) in self.heard_of_restarts.iter().filter(|(_, heard)| heard.otherwise == 0) {
            if let Some(run) = self.restarted.get(id) {
                return Err(format!("request {id} was refused whenever it was sent, and run {run} was accepted"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::v1;

    use super::*;
    use crate::oracles::trial::Trial;

    #[test]
    fn a_job_that_is_accepted_twice_is_caught() {
        let mut trial = Trial::new(1);
        let mut oracle = AtMostOnce::default();
        trial.found(&mut oracle).unwrap();
        trial.submit(&mut oracle, "job-1").unwrap();
        trial.submit(&mut oracle, "job-2").unwrap();
        assert!(trial.submit(&mut oracle, "job-1").unwrap_err().contains("accepted twice"));
    }

    #[test]
    fn what_everybody_was_refused_must_not_have_happened() {
        let refused = || Outcome::Refused("the limit".into());
        for (outcomes, expected) in
            [(vec![refused()], false), (vec![refused(), Outcome::Unknown("silence".into())], true)]
        {
            let mut trial = Trial::new(1);
            let mut oracle = AtMostOnce::default();
            trial.found(&mut oracle).unwrap();
            trial.submit(&mut oracle, "job-1").unwrap();
            for outcome in outcomes {
                trial.operate(&mut oracle, 0, 1, Trial::submits("job-1"), outcome).unwrap();
            }
            assert_eq!(trial.end(&mut oracle).is_ok(), expected);
        }
    }

    #[test]
    fn one_request_has_one_answer() {
        let mut trial = Trial::new(1);
        let mut oracle = AtMostOnce::default();
        let answer = |revision| {
            let answer = v1::SubmitJobResponse { run_id: "run".into(), revision, ..Default::default() };
            Outcome::Answered(Answer::Submitted(answer))
        };
        trial.operate(&mut oracle, 0, 1, Trial::submits("job-1"), answer(5)).unwrap();
        trial.operate(&mut oracle, 1, 1, Trial::submits("job-1"), answer(5)).unwrap();
        assert!(trial.operate(&mut oracle, 1, 1, Trial::submits("job-1"), answer(6)).is_err());
    }
}

//! R1: every answer is true at the revision that it names, and no request shows less than what
//! anybody had been told before it was called.
//!
//! The revision is the witness: the requests put in the order of their revisions are a legal history
//! that keeps the order of real time, so nothing has to be searched for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{Event, Reply, Run, RunId, State};

use super::c9_at_most_once::submits_of;
use super::{Known, Oracle, Verdict, told};
use crate::facts::{Answer, Fact, Operation, Outcome, Page, Request, Watched};
use crate::ledger::Step;
use crate::scenario::Listing;

/// What the API says of what it does not find.
const ABSENT: &str = "does not exist";

/// See the module.
#[derive(Default)]
pub(crate) struct Linearizable {
    /// Each job's runs and the revisions at which they were submitted, in that order.
    runs: BTreeMap<String, Vec<(RunId, u64)>>,
    /// The newest revision that anybody had been told of by a time; both rise.
    told: Vec<(Duration, u64)>,
    /// Request ids of changes.
    requests: BTreeSet<String>,
}

impl Oracle for Linearizable {
    fn id(&self) -> &'static str {
        "R1"
    }

    fn outlives(&self) -> bool {
        true
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        if step.index == 0 {
            // What a life of the data begins with.
            let mut known: Vec<&Run> = step.after.runs_newest_first(None).map(|run| &**run).collect();
            known.reverse();
            self.runs.clear();
            known.into_iter().for_each(|run| self.begins(run.spec.name.as_str(), run.id, run.submitted_revision.0));
        }
        for row in &step.events {
            if let Event::RunSubmitted { run, job, .. } = &row.event {
                self.begins(job.as_str(), *run, step.revision.0);
            }
        }
        Ok(())
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Operation(operation) => self.operation(at, operation, known),
            Fact::Watch(watch) => {
                if let Watched::Message(message) = &watch.what {
                    self.tell(at, message.revision);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Linearizable {
    fn begins(&mut self, job: &str, run: RunId, revision: u64) {
        self.runs.entry(job.to_owned()).or_default().push((run, revision));
    }

    fn operation(&mut self, at: Duration, operation: &Operation, known: &Known<'_>) -> Verdict {
        let before = self.told_before(operation.called);
        let words =
            || format!("{:?} of session {}, called at {:?}", operation.request, operation.session, operation.called);
        let is_repeat = self.is_repeat(&operation.request, known);
        match &operation.outcome {
            Outcome::Answered(answer) => {
                let revision = answer.revision();
                // A request that was carried out before is answered with the revision of that.
                if revision < before && !is_repeat {
                    return Err(format!(
                        "{}: answered with revision {revision}, but {before} had been told of before",
                        words()
                    ));
                }
                self.check(&operation.request, answer, known).map_err(|what| format!("{}: {what}", words()))?;
                self.tell(at, revision);
            }
            Outcome::Refused(why) => {
                let Some(job) = job_read(&operation.request).filter(|_| why.contains(ABSENT)) else { return Ok(()) };
                let first = self.runs.get(job).and_then(|runs| runs.first());
                if let Some((run, revision)) = first.filter(|(_, revision)| *revision <= before) {
                    return Err(format!(
                        "{}: {why}; but run {run} is of revision {revision}, and {before} had been told of before",
                        words()
                    ));
                }
            }
            Outcome::Unknown(_) => {}
        }
        Ok(())
    }

    /// The newest revision that had been told of before a time.
    fn told_before(&self, time: Duration) -> u64 {
        let place = self.told.partition_point(|(at, _)| *at < time);
        place.checked_sub(1).and_then(|place| self.told.get(place)).map_or(0, |(_, revision)| *revision)
    }

    fn tell(&mut self, at: Duration, revision: u64) {
        if self.told.last().is_none_or(|(_, newest)| revision > *newest) {
            // Hosts report with a step's precision: the time of the list must rise all the same.
            let at = self.told.last().map_or(at, |(last, _)| at.max(*last));
            self.told.push((at, revision));
        }
    }

    /// True when another request with the same id may have been carried out before this one was called.
    fn is_repeat(&mut self, request: &Request, known: &Known<'_>) -> bool {
        match request {
            Request::Submit { request_id, spec, .. } => {
                !self.requests.insert(request_id.clone()) || submits_of(known.scenario, &spec.name) > 1
            }
            Request::Cancel { request_id, .. }
            | Request::Abandon { request_id, .. }
            | Request::Restart { request_id, .. }
            | Request::Control { request_id, .. } => !self.requests.insert(request_id.clone()),
            Request::Get { .. }
            | Request::List
            | Request::Tasks { .. }
            | Request::Attempts { .. }
            | Request::Page(_) => false,
        }
    }

    /// Holds an answer against the history at its revision.
    fn check(&self, request: &Request, answer: &Answer, known: &Known<'_>) -> Verdict {
        let revision = answer.revision();
        // An answer from the life before this one: whoever judges it is gone with that.
        if revision < known.ledger.base() {
            return Ok(());
        }
        let step = known.ledger.at(revision).ok_or_else(|| format!("nobody has applied revision {revision}"))?;
        let state = &step.after;
        let judged = match (request, answer) {
            (Request::Submit { .. } | Request::Restart { .. }, Answer::Submitted(answer)) => {
                let is_reply = |reply: &Reply| {
                    matches!(reply, Reply::Submitted { run, version, revision, window_ms }
                        if run.to_string() == answer.run_id && *version == answer.version
                            && revision.0 == answer.revision && *window_ms == answer.request_window_ms)
                };
                has_reply(step, is_reply)
            }
            (Request::Cancel { .. }, Answer::Cancelled(v1::CancelRunResponse { ended_before, revision: at, .. }))
            | (Request::Abandon { .. }, Answer::Abandoned(v1::AbandonRunResponse { ended_before, revision: at, .. })) =>
            {
                let is_reply = |reply: &Reply| {
                    matches!(reply, Reply::Cancelling { ended_before: before, revision }
                        if before == ended_before && revision.0 == *at)
                };
                let job = match request {
                    Request::Cancel { job, .. } | Request::Abandon { job, .. } => Some(job),
                    _ => None,
                };
                // Of a run that is archived nothing is written down: it is answered by what is read.
                let row = job.and_then(|job| self.run(job, state).ok());
                let is_archived = row.is_some_and(|row| row.state.is_terminal() && step.held.run(row.id).is_none());
                if *ended_before && is_archived { Ok(()) } else { has_reply(step, is_reply) }
            }
            (Request::Control { .. }, Answer::Controlled { revision: told, .. }) => {
                has_reply(step, |reply| matches!(reply, Reply::Controlled { revision } if revision.0 == *told))
            }
            (Request::Get { job }, Answer::Run(answer)) => {
                let told = answer.run.as_ref().ok_or("it has no run")?;
                let run = self.run(job, state)?;
                if told::run(told, state)? != run.id {
                    return Err(format!("run {} is not the latest of {job} at revision {revision}", told.id));
                }
                told::steps(&answer.steps, run, state)
            }
            (Request::List, Answer::Runs(answer)) => {
                told::runs(&answer.runs, answer.next_page_token.is_empty(), None, state)
            }
            (Request::Tasks { job }, Answer::Tasks(answer)) => {
                told::tasks(&answer.tasks, answer.next_page_token.is_empty(), None, self.run(job, state)?, state)
            }
            (Request::Attempts { job }, Answer::Attempts(answer)) => {
                told::attempts(&answer.attempts, answer.next_page_token.is_empty(), None, self.run(job, state)?, state)
            }
            (Request::Page(page), answer) => self.check_page(page, answer, state),
            _ => Err("the answer is one to another request".into()),
        };
        judged.map_err(|what| format!("at revision {revision}, {what}"))
    }

    /// A page holds the rows that follow the last one of the page before, as they are now.
    fn check_page(&self, page: &Page, answer: &Answer, state: &State) -> Verdict {
        let (after, is_last) = (page.after.as_deref(), answer.next_page().is_none());
        let (rows, judged) = match (&page.of, answer) {
            (Listing::Runs, Answer::Runs(answer)) => {
                (answer.runs.len(), told::runs(&answer.runs, is_last, after, state))
            }
            (Listing::Tasks { job }, Answer::Tasks(answer)) => {
                (answer.tasks.len(), told::tasks(&answer.tasks, is_last, after, self.run(job, state)?, state))
            }
            (Listing::Attempts { job }, Answer::Attempts(answer)) => {
                (answer.attempts.len(), told::attempts(&answer.attempts, is_last, after, self.run(job, state)?, state))
            }
            _ => return Err("the answer is one to another request".into()),
        };
        judged?;
        let size = page.size;
        if rows > size as usize { Err(format!("a page of {size} has {rows} rows")) } else { Ok(()) }
    }

    /// A job's latest run as a state has it.
    fn run<'a>(&self, job: &str, state: &'a State) -> Result<&'a Run, String> {
        let until = state.revision().0;
        let runs = self.runs.get(job).into_iter().flatten();
        let run = runs.rev().find(|(_, revision)| *revision <= until).and_then(|(run, _)| state.run(*run));
        run.map(|run| &**run).ok_or_else(|| format!("{job} has no run at revision {}", state.revision()))
    }
}

fn has_reply(step: &Step, is_reply: impl Fn(&Reply) -> bool) -> Verdict {
    if step.replies.iter().flatten().any(is_reply) {
        Ok(())
    } else {
        Err(format!("the history answers {:?}", step.replies))
    }
}

/// The job whose run a request looks for.
fn job_read(request: &Request) -> Option<&str> {
    match request {
        Request::Get { job }
        | Request::Tasks { job }
        | Request::Attempts { job }
        | Request::Cancel { job, .. }
        | Request::Abandon { job, .. }
        | Request::Control { job, .. } => Some(job),
        Request::Page(page) => page.of.job(),
        Request::Submit { .. } | Request::Restart { .. } | Request::List => None,
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::run as convert;

    use super::*;
    use crate::oracles::trial::Trial;

    fn list(trial: &Trial, revision: u64) -> Outcome {
        let state = &trial.ledger.at(revision).unwrap().after;
        let runs = state.runs_newest_first(None).map(|run| convert::run_to_wire(run, state));
        Outcome::Answered(Answer::Runs(v1::ListRunsResponse { runs: runs.collect(), revision, ..Default::default() }))
    }

    /// A trial with two jobs, the second of which is at the newest revision.
    fn two_jobs() -> (Trial, Linearizable) {
        let mut trial = Trial::new(1);
        let mut oracle = Linearizable::default();
        trial.found(&mut oracle).unwrap();
        trial.submit(&mut oracle, "job-1").unwrap();
        trial.submit(&mut oracle, "job-2").unwrap();
        (trial, oracle)
    }

    #[test]
    fn a_read_that_was_called_after_an_answer_shows_it() {
        let (mut trial, mut oracle) = two_jobs();
        let newest = trial.newest();
        let (new, old) = (list(&trial, newest), list(&trial, newest - 1));
        // Called before the newer answer came: either may have been first.
        let called = trial.now;
        trial.operate(&mut oracle, 0, 1, Request::List, new).unwrap();
        trial.operate_since(&mut oracle, called, 1, Request::List, old.clone()).unwrap();
        let what = trial.operate(&mut oracle, 1, 1, Request::List, old).unwrap_err();
        assert!(what.contains("had been told of before"), "{what}");
    }

    #[test]
    fn an_absent_run_that_was_told_of_is_caught() {
        let (mut trial, mut oracle) = two_jobs();
        let get = || Request::Get { job: "job-2".into() };
        let absent = || Outcome::Refused("job default/job-2 does not exist".into());
        trial.operate(&mut oracle, 0, 1, get(), absent()).unwrap();
        let all = list(&trial, trial.newest());
        trial.operate(&mut oracle, 0, 1, Request::List, all).unwrap();
        trial.operate(&mut oracle, 0, 1, get(), absent()).unwrap_err();
    }

    #[test]
    fn a_page_holds_what_follows_the_one_before() {
        let (mut trial, mut oracle) = two_jobs();
        let Outcome::Answered(Answer::Runs(all)) = list(&trial, trial.newest()) else { unreachable!() };
        let page = |after: Option<&str>, runs: &[v1::Run], token: &str| {
            let page = Page { of: Listing::Runs, size: 1, token: String::new(), after: after.map(str::to_owned) };
            let answer =
                v1::ListRunsResponse { runs: runs.to_vec(), next_page_token: token.into(), revision: all.revision };
            (Request::Page(page), Outcome::Answered(Answer::Runs(answer)))
        };
        let first = all.runs[0].id.as_str();
        for ((request, outcome), is_good) in [
            (page(None, &all.runs[..1], "more"), true),
            (page(Some(first), &all.runs[1..], ""), true),
            (page(Some(first), &[], ""), false),
            (page(Some(first), &all.runs[..1], ""), false),
            (page(Some("nobody"), &all.runs[1..], ""), false),
            (page(None, &all.runs, ""), false),
        ] {
            let words = format!("{request:?}");
            assert_eq!(trial.operate(&mut oracle, 0, 1, request, outcome).is_ok(), is_good, "{words}");
        }
    }

    #[test]
    fn an_answer_that_is_not_what_the_history_says_is_caught() {
        let (mut trial, mut oracle) = two_jobs();
        let newest = trial.newest();
        let spoil: [fn(&mut v1::ListRunsResponse); 4] = [
            |answer| answer.runs.truncate(1),
            |answer| answer.runs.reverse(),
            |answer| answer.runs[0].cancelling = true,
            |answer| answer.revision += 100,
        ];
        for spoil in spoil {
            let Outcome::Answered(Answer::Runs(mut answer)) = list(&trial, newest) else { unreachable!() };
            spoil(&mut answer);
            let outcome = Outcome::Answered(Answer::Runs(answer));
            trial.operate(&mut oracle, 0, 1, Request::List, outcome).unwrap_err();
        }
        let good = list(&trial, newest);
        trial.operate(&mut oracle, 0, 1, Request::List, good).unwrap();
    }
}

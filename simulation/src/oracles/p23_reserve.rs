//! P23: while the leader's disk has less free than the reserve, it takes no new work, and does all else as before; once
//! there is room again, it takes new work. The disks of others have no say in that.
//!
//! Whoever fills the disk of the replica that leads with work that can wait has none left to end any.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::raft::v1 as pb;
use quorate_state::Event;

use super::c9_at_most_once::submits_of;
use super::quorum::{id_of, name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::{Answer, Fact, Operation, Outcome, Request};
use crate::ledger::Step;

/// A replica has looked at the room on its disk after so long.
pub(crate) const LOOKS_WITHIN: Duration = Duration::from_millis(1_100);
/// Who has led not long ago may not know that it does not any more.
const LED_LATELY: Duration = Duration::from_secs(20);
/// The name of the limit, as everybody who is refused for it is told.
const LIMIT: &str = "server.disk_reserve";

/// See the module.
#[derive(Default)]
pub(crate) struct Reserve {
    /// By term.
    leaders: BTreeMap<u64, usize>,
    /// Until when each replica has led, of those that lead no more.
    led_until: BTreeMap<usize, Duration>,
    /// By the ids of runs.
    accepted: BTreeMap<String, Accepted>,
    /// When a submit, or what asks for a second try, was called first, by request id.
    called: BTreeMap<String, Duration>,
}

/// A run that is in the history.
struct Accepted {
    at: Duration,
    by: usize,
    /// Since when its disk had been low then.
    low_since: Option<Duration>,
}

impl Oracle for Reserve {
    fn id(&self) -> &'static str {
        "P23"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let Some(by) = self.leaders.get(&step.term).copied() else { return Ok(()) };
        for row in &step.events {
            let Event::RunSubmitted { run, .. } = &row.event else { continue };
            let low_since = known.rooms.get(by).and_then(|room| room.low_since);
            self.accepted.insert(run.to_string(), Accepted { at: step.at, by, low_since });
        }
        Ok(())
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Wrote { replica, batch, .. } => {
                let vote = record_in::<pb::Vote>(batch, b"vote").filter(|vote| vote.committed);
                let own = id_of(known.ledger.shadows()[*replica].live());
                if let Some(vote) = vote.filter(|vote| Some(vote.replica) == own) {
                    let before = self.leaders.last_key_value().map(|(_, before)| *before);
                    self.led_until.extend(before.map(|before| (before, at)));
                    self.leaders.insert(vote.term, *replica);
                }
                Ok(())
            }
            Fact::Operation(operation) => {
                if let Some((request_id, _)) = new_work(&operation.request) {
                    self.called.entry(request_id.to_owned()).or_insert(operation.called);
                }
                match &operation.outcome {
                    Outcome::Answered(Answer::Submitted(answer)) => {
                        self.accepted(&operation.request, &answer.run_id, known)
                    }
                    Outcome::Refused(why) if why.contains(LIMIT) => self.refused(at, operation, known),
                    Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Unknown(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Reserve {
    /// It was asked, and took it in, between its call and its place in the history.
    fn accepted(&self, request: &Request, run: &str, known: &Known<'_>) -> Verdict {
        let Some((request_id, job)) = new_work(request) else { return Ok(()) };
        let (Some(accepted), Some(called)) = (self.accepted.get(run), self.called.get(request_id)) else {
            return Ok(());
        };
        // One that several clients send may have been asked for by another of them, before.
        let is_alone = matches!(request, Request::Restart { .. }) || submits_of(known.scenario, job) == 1;
        let is_sure = accepted.at >= *called && is_alone;
        match accepted.low_since.filter(|since| is_sure && *since + LOOKS_WITHIN < *called) {
            Some(since) => Err(format!(
                "{job} was submitted at {called:?} and accepted by {}, whose disk had been low since {since:?}",
                name(accepted.by)
            )),
            None => Ok(()),
        }
    }

    /// It was refused for want of room.
    fn refused(&self, at: Duration, operation: &Operation, known: &Known<'_>) -> Verdict {
        let Operation { called, request, .. } = operation;
        let Some((_, job)) = new_work(request) else {
            return Err(format!("{request:?} was refused at {at:?} for want of room, which only new work is"));
        };
        let is_low = |position: usize| {
            let low_at = known.rooms.get(position).and_then(|room| room.low_at);
            low_at.is_some_and(|low| low + LOOKS_WITHIN >= *called)
        };
        let newest = self.leaders.last_key_value().map(|(_, newest)| *newest);
        let lately = self.led_until.iter().filter(|(_, until)| **until + LED_LATELY >= *called);
        if newest.into_iter().chain(lately.map(|(position, _)| *position)).any(is_low) {
            return Ok(());
        }
        let low = (0..known.rooms.len()).find(|position| is_low(*position));
        let whose = low.map_or_else(|| "nobody".to_owned(), name);
        Err(format!(
            "{job}, submitted at {called:?}, was refused for want of room: of those who lead, the disk of none was low, \
             of the others that of {whose}"
        ))
    }
}

/// The id of a request that brings new work, and its job.
fn new_work(request: &Request) -> Option<(&str, &str)> {
    match request {
        Request::Submit { request_id, spec, .. } => Some((request_id, &spec.name)),
        Request::Restart { request_id, job, .. } => Some((request_id, job)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::v1;

    use super::*;
    use crate::oracles::Room;
    use crate::oracles::trial::Trial;

    /// A leader whose disk has been low since then, and was last then.
    fn led(low_since: Option<u64>, low_at: Option<u64>) -> (Trial, Reserve) {
        let mut trial = Trial::new(1);
        let mut oracle = Reserve::default();
        trial.now = Duration::from_secs(100);
        trial.rooms =
            vec![Room { low_since: low_since.map(Duration::from_secs), low_at: low_at.map(Duration::from_secs) }];
        trial.plan_submit("a");
        trial.vote(&mut oracle, 0, pb::Vote { term: 1, replica: 1, committed: true }).unwrap();
        trial.found(&mut oracle).unwrap();
        (trial, oracle)
    }

    /// What took so long is accepted, as a run of job `a`.
    fn accepts(request: Request, low_since: Option<u64>, took_ms: u64) -> Verdict {
        let (mut trial, mut oracle) = led(low_since, low_since);
        let run_id = trial.submit(&mut oracle, "a").unwrap().to_string();
        let answer = Answer::Submitted(v1::SubmitJobResponse { run_id, ..Default::default() });
        trial.operate(&mut oracle, 0, took_ms, request, Outcome::Answered(answer))
    }

    fn restart() -> Request {
        Request::Restart { request_id: "again".into(), job: "a".into(), run: "1".into(), from: vec![] }
    }

    /// A request is refused for want of room.
    fn refuses(low_at: Option<u64>, request: Request) -> Verdict {
        let (mut trial, mut oracle) = led(None, low_at);
        let why = format!("limit {LIMIT} reached");
        trial.operate(&mut oracle, 0, 100, request, Outcome::Refused(why))
    }

    #[test]
    fn below_the_reserve_no_new_work_is_taken() {
        for request in [Trial::submits("a"), restart()] {
            assert!(accepts(request.clone(), Some(90), 50).unwrap_err().contains("accepted by r1"));
            accepts(request.clone(), Some(90), 9_500).unwrap();
            accepts(request.clone(), Some(99), 500).unwrap();
            accepts(request, None, 50).unwrap();
        }
    }

    #[test]
    fn the_disks_of_those_who_do_not_lead_have_no_say() {
        for (led_until, is_right) in [(0, false), (99, true)] {
            let (mut trial, mut oracle) = led(None, Some(100));
            oracle.leaders.insert(2, 1);
            oracle.led_until.insert(0, Duration::from_secs(led_until));
            let why = format!("limit {LIMIT} reached");
            let told = trial.operate(&mut oracle, 0, 100, Trial::submits("a"), Outcome::Refused(why));
            assert_eq!(told.is_ok(), is_right, "{told:?}");
        }
    }

    #[test]
    fn only_new_work_is_refused_and_only_while_there_is_no_room() {
        refuses(Some(100), Trial::submits("a")).unwrap();
        refuses(Some(100), restart()).unwrap();
        assert!(refuses(Some(90), Trial::submits("a")).unwrap_err().contains("that of nobody"));
        assert!(refuses(None, Trial::submits("a")).is_err());
        let cancel = Request::Cancel { request_id: "c".into(), job: "a".into() };
        assert!(refuses(Some(100), cancel).unwrap_err().contains("only new work"));
    }
}

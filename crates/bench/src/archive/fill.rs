//! Submits the runs over the streaming API, never with too many unfinished ones, and waits until all have ended and all but
//! those that stay in memory are in the archive.
//!
//! Submits carry no request ids: a cluster remembers a million of them for an hour, and that memory is not what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_proto::v1::batches_client::BatchesClient;
use quorate_proto::v1::write_request::Change;
use quorate_proto::v1::write_response::Outcome;
use quorate_proto::{ApiError, status, v1};
use quorate_seams::{Clock as _, SystemClock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::drawn::Drawn;
use super::{Note, STAY_MAX, UNFINISHED_MAX, late};
use crate::Error;
use crate::cost::{metric_on, metrics_page};
use crate::load::{CALL_DEADLINE, channel};

/// Streams, each over a connection of its own.
const STREAMS: usize = 4;
/// Submits of one stream without an answer.
const WINDOW: usize = 256;
/// Between two looks at how many have ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Pause of a stream that may not submit, because too many runs are unfinished or it was refused for now.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two notes on how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// What the leader measures: runs that have not ended, and runs in the archive.
const UNFINISHED: &str = "quorate_runs_unfinished";
const ARCHIVED: &str = "quorate_runs_archived";

/// The runs as they were accepted.
pub(super) struct Filled {
    /// Their ids, by number.
    pub(super) ids: Vec<Box<str>>,
    /// From the first submit until the last was accepted,
    pub(super) accepted: Duration,
    /// until all had ended,
    pub(super) ended: Duration,
    /// and until no more of them went to the archive.
    pub(super) archived: Duration,
    /// How many are in the archive.
    pub(super) archived_runs: u64,
}

/// Where and what is submitted.
pub(super) struct Fill<'a> {
    pub(super) seed: u64,
    pub(super) runs: u64,
    /// The leader's API.
    pub(super) api: &'a str,
    /// Where it shows its metrics.
    pub(super) ops: &'a str,
    pub(super) until: Instant,
    /// How long that was in the beginning.
    pub(super) within: Duration,
}

/// What all streams see.
struct Gate {
    seed: u64,
    runs: u64,
    /// The number that is submitted next.
    next: AtomicU64,
    accepted: AtomicU64,
    /// At least so many have ended.
    ended: AtomicU64,
}

impl Gate {
    /// The next number, unless there is none or too many are unfinished.
    fn take(&self) -> Option<u64> {
        let begun = self.next.load(Ordering::Relaxed);
        if begun >= self.runs || begun.saturating_sub(self.ended.load(Ordering::Relaxed)) >= UNFINISHED_MAX {
            return None;
        }
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < self.runs)
    }

    fn has_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.runs
    }
}

impl Fill<'_> {
    /// Submits all and waits for them; `alive` fails when a process is gone.
    pub(super) async fn run(
        &self,
        alive: &mut (dyn FnMut() -> Result<(), Error> + Send),
        note: Note<'_>,
    ) -> Result<Filled, Error> {
        let (next, accepted, ended) = Default::default();
        let gate = Arc::new(Gate { seed: self.seed, runs: self.runs, next, accepted, ended });
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            streams.spawn(submit(gate.clone(), channel(self.api)?));
        }
        let begun = SystemClock.boot();
        let mut ids = vec![Box::<str>::default(); usize::try_from(self.runs).unwrap_or(usize::MAX)];
        let (mut accepted, mut ended) = (None, None);
        let mut noted = Instant::now();
        loop {
            alive()?;
            while let Some(stream) = streams.try_join_next() {
                let stream = stream.map_err(|error| Error::Outcome(format!("a stream ended early: {error}")))?;
                for (number, id) in stream? {
                    ids[usize::try_from(number).unwrap_or(usize::MAX)] = id;
                }
            }
            let accepted_before = gate.accepted.load(Ordering::Relaxed);
            let (unfinished, archived_runs) = match self.look().await {
                Ok(seen) => seen,
                // A leader that is too busy to say how far it is says it the next time; the deadline is the bound.
                Err(error) if Instant::now() < self.until => {
                    note(&format!("nothing says how far it is: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            gate.ended.fetch_max(accepted_before.saturating_sub(unfinished), Ordering::Relaxed);
            let elapsed = SystemClock.boot().since(begun);
            if streams.is_empty() {
                accepted.get_or_insert(elapsed);
            }
            if accepted.is_some() && accepted_before == self.runs && unfinished == 0 {
                ended.get_or_insert(elapsed);
            }
            if let (Some(accepted), Some(ended)) = (accepted, ended)
                && archived_runs.saturating_add(STAY_MAX) >= self.runs
            {
                return Ok(Filled { ids, accepted, ended, archived: elapsed, archived_runs });
            }
            let far = || {
                format!(
                    "{accepted_before} of {} accepted, {unfinished} unfinished, {archived_runs} archived",
                    self.runs
                )
            };
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                note(&far());
            }
            if Instant::now() >= self.until {
                return Err(late("all runs in memory or the archive", self.within, &far()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs that have not ended, and runs in the archive.
    async fn look(&self) -> Result<(u64, u64), Error> {
        let page = metrics_page(self.ops, UNFINISHED).await?;
        let gauge = |name| metric_on(&page, self.ops, name).map(|gauge| gauge.max(0.0) as u64);
        Ok((gauge(UNFINISHED)?, gauge(ARCHIVED)?))
    }
}

/// Submits over one stream until there is nothing more to submit: numbers of runs, and their ids.
async fn submit(gate: Arc<Gate>, connection: Channel) -> Result<Vec<(u64, Box<str>)>, Error> {
    let (requests, outgoing) = mpsc::channel(WINDOW);
    let answers = BatchesClient::new(connection).write(ReceiverStream::new(outgoing)).await;
    let mut answers = answers.map_err(|status| Error::Outcome(format!("no stream: {status}")))?.into_inner();
    let (mut accepted, mut refused, mut under_way) = (Vec::new(), Vec::new(), 0_usize);
    loop {
        while under_way < WINDOW {
            let Some(number) = refused.pop().or_else(|| gate.take()) else { break };
            let submit =
                v1::SubmitJobRequest { spec: Some(Drawn::of(gate.seed, number).spec()), request_id: String::new() };
            let request = v1::WriteRequest { sequence: number, change: Some(Change::SubmitJob(submit)) };
            requests.send(request).await.map_err(|_| broken("it takes no more"))?;
            under_way += 1;
        }
        if under_way == 0 {
            if !gate.has_more() {
                return Ok(accepted);
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let answer = tokio::time::timeout(CALL_DEADLINE, answers.message()).await;
        let answer = answer.map_err(|_| broken(&format!("no answer within {CALL_DEADLINE:?}")))?;
        let answer = answer.map_err(|status| broken(&status.to_string()))?.ok_or_else(|| broken("it has ended"))?;
        under_way -= 1;
        match answer.outcome {
            Some(Outcome::SubmitJob(answered)) => {
                gate.accepted.fetch_add(1, Ordering::Relaxed);
                accepted.push((answer.sequence, answered.run_id.into()));
            }
            Some(Outcome::Failure(failure)) if is_for_now(&failure) => {
                refused.push(answer.sequence);
                tokio::time::sleep(PAUSE).await;
            }
            other => return Err(Error::Outcome(format!("a submit was answered with {other:?}"))),
        }
    }
}

fn broken(why: &str) -> Error {
    Error::Outcome(format!("the stream of submits broke ({why}): nothing says which runs were accepted; measure again"))
}

/// A submit that was refused for now, and did not take place.
fn is_for_now(failure: &v1::WriteFailure) -> bool {
    let code = Code::from_i32(failure.code);
    let status = Status::with_details(code, failure.message.clone(), failure.details.clone());
    matches!(status::from_status(&status), ApiError::Overloaded { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(runs: u64) -> Gate {
        let (next, accepted, ended) = Default::default();
        Gate { seed: 1, runs, next, accepted, ended }
    }

    #[test]
    fn no_more_runs_are_begun_than_may_be_unfinished() {
        let gate = gate(2 * UNFINISHED_MAX);
        assert_eq!(std::iter::from_fn(|| gate.take()).count() as u64, UNFINISHED_MAX);
        gate.ended.store(10, Ordering::Relaxed);
        let numbers: Vec<u64> = std::iter::from_fn(|| gate.take()).collect();
        assert_eq!(numbers, (UNFINISHED_MAX..UNFINISHED_MAX + 10).collect::<Vec<_>>());
        assert!(gate.has_more());
    }

    #[test]
    fn each_number_is_taken_once_and_none_beyond_the_last() {
        let gate = gate(3);
        assert_eq!(std::iter::from_fn(|| gate.take()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!gate.has_more());
    }

    #[test]
    fn only_what_is_refused_for_now_is_submitted_again() {
        let failure = |error: &ApiError| {
            let status = status::to_status(error);
            v1::WriteFailure {
                code: status.code().into(),
                message: status.message().to_owned(),
                details: status.details().to_vec().into(),
            }
        };
        let full = ApiError::Overloaded { limit: "queue".into(), max: 1, advice: "later".into() };
        assert!(is_for_now(&failure(&full)));
        assert!(!is_for_now(&failure(&ApiError::OutcomeUnknown("who knows".into()))));
    }
}

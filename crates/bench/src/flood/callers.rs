//! The flood: callers that submit, and submit again as soon as they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_proto::v1::jobs_client::JobsClient;
use quorate_proto::{ApiError, status, v1};
use quorate_seams::{Clock as _, SystemClock};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use super::probes::nowhere;
use crate::Error;
use crate::load::{CALL_DEADLINE, channel};

/// Pause of a caller that was refused: far shorter than what it is asked to wait, because a flood does
/// not listen.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Callers under way.
pub(super) struct Flood {
    callers: JoinSet<Answers>,
    stop: Arc<AtomicBool>,
}

/// What callers were told.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Ids of runs.
    pub(super) accepted: Vec<String>,
    /// Microseconds to each of these answers.
    pub(super) latencies: Vec<u32>,
    pub(super) overloaded: u64,
    pub(super) unknown: u64,
}

impl Flood {
    pub(super) fn start(leader: &str, callers: usize, connections: usize) -> Result<Self, Error> {
        let channels: Result<Vec<Channel>, Error> = (0..connections.min(callers)).map(|_| channel(leader)).collect();
        let channels = channels?;
        let mut flood = Self { callers: JoinSet::new(), stop: Arc::default() };
        for caller in 0..callers {
            let jobs = JobsClient::new(channels[caller % channels.len()].clone());
            flood.callers.spawn(call(jobs, flood.stop.clone()));
        }
        Ok(flood)
    }

    /// Ends it, and returns when every request has an answer.
    pub(super) async fn stop(mut self) -> Result<Answers, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Answers::default();
        while let Some(ended) = self.callers.join_next().await {
            let one = ended.map_err(|error| Error::Outcome(format!("a caller ended early: {error}")))?;
            all.accepted.extend(one.accepted);
            all.latencies.extend(one.latencies);
            all.overloaded += one.overloaded;
            all.unknown += one.unknown;
        }
        Ok(all)
    }
}

async fn call(mut jobs: JobsClient<Channel>, stop: Arc<AtomicBool>) -> Answers {
    let mut answers = Answers::default();
    while !stop.load(Ordering::Relaxed) {
        let spec = Some(nowhere("flood"));
        let mut request = Request::new(v1::SubmitJobRequest { spec, request_id: String::new() });
        request.set_timeout(CALL_DEADLINE);
        let begun = SystemClock.boot();
        match jobs.submit_job(request).await {
            Ok(answer) => {
                let micros = SystemClock.boot().since(begun).as_micros();
                answers.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
                answers.accepted.push(answer.into_inner().run_id);
            }
            Err(refused) => {
                match status::from_status(&refused) {
                    ApiError::Overloaded { .. } | ApiError::Limit { .. } => answers.overloaded += 1,
                    _ => answers.unknown += 1,
                }
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
    answers
}

//! The renewals of all sessions that this replica passes on, brought to the leader together, on one stream.
//!
//! Nothing here confirms anything. A session hears of a renewal when the leader has said that a round of its quorum
//! confirmed the message that held it, and only then (ADR 0005, ADR 0042). When the stream breaks, or another replica leads, what was
//! under way stays unanswered, and agents ask again.

mod gathered;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_proto::v1::relays_client::RelaysClient;
use quorate_raft::Hint;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::relay::{CONNECT_DEADLINE, superseded};
use super::upstream::Seat;
use crate::core::Core;
use gathered::{Gathered, UnderWay};

/// Between two messages at least. So long a renewal may wait on top of what its way takes: little of the third of a lease
/// after which an agent gives its session up.
const MESSAGE_EVERY: Duration = Duration::from_millis(50);
/// Messages that are not answered yet; the next one waits, and so what is gathered grows. More than one, so that a long way
/// is not waited for twice.
pub(super) const MESSAGES_AHEAD_MAX: usize = 4;
/// The leader answers a message within this: the rest of a round, a pause and another round.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// After a stream broke, before another is opened.
const PAUSE: Duration = Duration::from_millis(100);

/// Renewals that wait for their way to the leader.
#[derive(Default)]
pub(crate) struct Gathering {
    gathered: Mutex<Gathered>,
    news: Notify,
}

/// A session whose renewals are gathered, until this is dropped.
pub(super) struct Gatherer<'a> {
    gathering: &'a Gathering,
    id: u64,
}

impl Gathering {
    /// A session begins that the leader knows under this name. What the leader confirms of it comes on the receiver,
    /// the newest only.
    pub(super) fn enter(&self, name: v1::SessionName) -> (Gatherer<'_>, watch::Receiver<Option<v1::Renewed>>) {
        let (id, confirmed) = self.lock().enter(name);
        (Gatherer { gathering: self, id }, confirmed)
    }

    /// Ends when there is something to bring.
    async fn has_any(&self) {
        while self.lock().is_empty() {
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gatherer<'_> {
    /// Takes a renewal in. False: it must go with the rest of its session.
    pub(super) fn takes(&self, renew: v1::Renew) -> bool {
        let taken = self.gathering.lock().takes(self.id, renew);
        if taken {
            self.gathering.news.notify_one();
        }
        taken
    }
}

impl Drop for Gatherer<'_> {
    fn drop(&mut self) {
        self.gathering.lock().leave(self.id);
    }
}

/// Brings what is gathered to whoever leads, until the replica stops.
pub(crate) async fn pass_renewals_on(core: Arc<Core>) {
    loop {
        core.gathering.has_any().await;
        if let Some(leader) = core.leader() {
            let status = Box::pin(exchange(&core, &leader)).await;
            tracing::debug!(leader = leader.id, why = status.message(), "renewals are not passed on");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One stream to a leader, until it breaks or that one leads no more.
async fn exchange(core: &Core, leader: &Hint) -> Status {
    let seat = match core.upstreams.take(&leader.agent, &core.seams.network) {
        Ok(seat) => seat,
        Err(status) => return status,
    };
    tokio::select! {
        biased;
        () = superseded(core, leader.id) => unavailable("the leader has changed"),
        status = bring(core, &seat) => status,
    }
}

async fn bring(core: &Core, seat: &Seat<'_>) -> Status {
    let (messages, outgoing) = mpsc::channel(MESSAGES_AHEAD_MAX);
    let mut client = RelaysClient::new(seat.channel.clone());
    let opening = client.renewals(ReceiverStream::new(outgoing));
    let mut answers = match tokio::time::timeout(CONNECT_DEADLINE, opening).await {
        Ok(Ok(answers)) => answers.into_inner(),
        Ok(Err(status)) => {
            seat.suspect_for(&status);
            return status;
        }
        Err(_) => {
            seat.suspect();
            return unavailable("the leader does not answer");
        }
    };
    let mut under_way: VecDeque<(Instant, UnderWay)> = VecDeque::new();
    let mut next = Instant::now();
    loop {
        let late = under_way.front().map(|(asked, _)| *asked + ANSWER_DEADLINE);
        let due = async {
            tokio::time::sleep_until(next).await;
            core.gathering.has_any().await;
        };
        tokio::select! {
            biased;
            said = answers.next() => {
                let Some(Ok(answer)) = said else { return ended(said) };
                let Some((_, asked)) = under_way.pop_front() else {
                    return unavailable("the leader answers what nobody asked");
                };
                core.gathering.lock().answered(&asked, &answer);
            }
            () = tokio::time::sleep_until(late.unwrap_or(next)), if late.is_some() => {
                seat.suspect();
                return unavailable("the leader does not answer in time");
            }
            () = due, if under_way.len() < MESSAGES_AHEAD_MAX => {
                let Some((message, asked)) = core.gathering.lock().take() else { continue };
                core.telemetry.passed_on(message.renewals.len());
                let now = Instant::now();
                next = now + MESSAGE_EVERY;
                under_way.push_back((now, asked));
                // There is room for as many as may be unanswered.
                if messages.try_send(message).is_err() {
                    return unavailable("the leader takes no more");
                }
            }
        }
    }
}

fn ended(said: Option<Result<v1::RelayedRenewalsAnswer, Status>>) -> Status {
    match said {
        Some(Err(status)) => status,
        Some(Ok(_)) | None => unavailable("the leader ended the stream"),
    }
}

fn unavailable(why: &str) -> Status {
    to_status(&ApiError::Unavailable(why.into()))
}

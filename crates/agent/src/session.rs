//! The conversation with the control plane: one session at a time, with any replica, for ever.
//!
//! This file knows when to connect, to whom and how soon again; what is said is not its business.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate_client::agent_link::session_error;
use quorate_proto::{ApiError, v1};
use quorate_seams::Entropy;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// A replica accepts a session within this. Shorter than a lease by far: with one replica gone and
/// silent there must be time for another.
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// First pause after a session ended; it doubles with every failure in a row.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Every replica is asked at least this often, however many of them are gone: the only one that is left after a
/// recovery must find its nodes again before their leases end. Also what a thousand agents spread their return over.
const ROUND_MAX: Duration = Duration::from_secs(2);

/// How a session is opened.
#[async_trait]
pub(crate) trait Dial: Send + Sync + 'static {
    /// Opens one with the replica at `address`, beginning with `hello`.
    async fn dial(&self, address: &str, hello: v1::Hello) -> Result<Link, Closed>;
}

/// An open session, both ways.
pub(crate) struct Link {
    pub(crate) sender: mpsc::Sender<v1::AgentMessage>,
    pub(crate) answers: Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, Status>> + Send>>,
}

/// Why there is no session (any more).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) cure: Cure,
    pub(crate) why: String,
}

/// What helps against the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Another session.
    Retry,
    /// Another session as well, but not soon: more agents come than the replicas take in at once.
    Later,
    /// Something that is wrong with this agent, or with the replicas it was pointed at, must be
    /// put right; another session will say the same.
    Correct,
    /// Another name: this one belongs to another agent.
    Rename,
}

impl Closed {
    pub(crate) fn lost(why: impl Into<String>) -> Self {
        Self { cure: Cure::Retry, why: why.into() }
    }
}

impl From<&ApiError> for Closed {
    fn from(error: &ApiError) -> Self {
        let cure = match error {
            ApiError::Exists { .. } => Cure::Rename,
            ApiError::Invalid(_)
            | ApiError::NotFound { .. }
            | ApiError::Precondition { .. }
            | ApiError::Denied(_)
            | ApiError::Unsupported(_) => Cure::Correct,
            ApiError::Overloaded { .. } => Cure::Later,
            ApiError::Stale(_)
            | ApiError::Limit { .. }
            | ApiError::NotLeader { .. }
            | ApiError::Unavailable(_)
            | ApiError::OutcomeUnknown(_)
            | ApiError::Compacted { .. }
            | ApiError::Cancelled(_)
            | ApiError::DeadlineExceeded(_)
            | ApiError::Internal { .. }
            | ApiError::Transport(_) => Cure::Retry,
        };
        Self { cure, why: error.to_string() }
    }
}

/// What a session does.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// It is time for the next one: [`Session::open`] it.
    Due,
    /// It is open.
    Opened { address: String },
    /// The control plane says something.
    Received(v1::ServerMessage),
    /// It is over, or did not come about; the next one is on its way.
    Closed(Closed),
}

/// The session, or the way to the next one.
pub(crate) struct Session {
    dial: Arc<dyn Dial>,
    entropy: Arc<dyn Entropy>,
    servers: Vec<String>,
    /// Which of them is next.
    turn: usize,
    /// Sessions in a row that did not get as far as a whole desired set.
    failures: u32,
    stage: Stage,
}

type Opening = Pin<Box<dyn Future<Output = Result<Link, Closed>> + Send>>;

enum Stage {
    Pausing(Instant),
    /// The pause is over; the owner was told.
    Due,
    Opening(Opening),
    Open(Link),
}

impl Session {
    /// Begins with any of `servers`, so that agents spread over them.
    pub(crate) fn new(servers: Vec<String>, dial: Arc<dyn Dial>, entropy: Arc<dyn Entropy>) -> Self {
        let turn = entropy.u64() as usize % servers.len().max(1);
        Self { dial, entropy, servers, turn, failures: 0, stage: Stage::Pausing(Instant::now()) }
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> SessionEvent {
        match &mut self.stage {
            Stage::Pausing(until) => {
                tokio::time::sleep_until(*until).await;
                self.stage = Stage::Due;
                SessionEvent::Due
            }
            Stage::Due => SessionEvent::Due,
            Stage::Opening(opening) => match opening.await {
                Ok(link) => {
                    self.stage = Stage::Open(link);
                    SessionEvent::Opened { address: self.address() }
                }
                Err(closed) => self.over(closed),
            },
            Stage::Open(link) => match link.answers.next().await {
                Some(Ok(message)) => SessionEvent::Received(message),
                Some(Err(status)) => self.over(Closed::from(&session_error(&status))),
                None => self.over(Closed::lost("the replica ended the session")),
            },
        }
    }

    /// Opens one with the replica whose turn it is.
    pub(crate) fn open(&mut self, hello: v1::Hello) {
        let (dial, address) = (self.dial.clone(), self.address());
        self.stage = Stage::Opening(Box::pin(async move {
            match tokio::time::timeout(OPEN_DEADLINE, dial.dial(&address, hello)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Closed::lost(format!("{address} does not answer"))),
            }
        }));
    }

    /// The session serves, its first desired set is here: the next failure is the first again.
    pub(crate) fn settled(&mut self) {
        self.failures = 0;
    }

    /// Gives the session up; another one follows.
    pub(crate) fn close(&mut self) {
        self.turn += 1;
        self.failures = self.failures.saturating_add(1);
        let longest = ROUND_MAX / u32::try_from(self.servers.len()).unwrap_or(u32::MAX).max(1);
        self.pause(PAUSE_MIN.saturating_mul(1 << (self.failures - 1).min(16)).min(longest));
    }

    fn pause(&mut self, pause: Duration) {
        // Between half and all of it, so that what ended together does not come back together.
        let share = (self.entropy.u64() % 512) as u32 + 512;
        self.stage = Stage::Pausing(Instant::now() + pause * share / 1_024);
    }

    /// Hands a message to the session if it takes one now. False: there is none, or it is busy.
    pub(crate) fn try_send(&self, message: v1::agent_message::Message) -> bool {
        let message = v1::AgentMessage { message: Some(message) };
        self.sender().is_some_and(|sender| sender.try_send(message).is_ok())
    }

    /// Where messages of the open session go in.
    pub(crate) fn sender(&self) -> Option<&mpsc::Sender<v1::AgentMessage>> {
        match &self.stage {
            Stage::Open(link) => Some(&link.sender),
            Stage::Pausing(_) | Stage::Due | Stage::Opening(_) => None,
        }
    }

    /// True while there is a session or one is being opened.
    pub(crate) fn is_under_way(&self) -> bool {
        match &self.stage {
            Stage::Opening(_) | Stage::Open(_) => true,
            Stage::Pausing(_) | Stage::Due => false,
        }
    }

    /// The replica whose turn it is.
    pub(crate) fn address(&self) -> String {
        self.servers.get(self.turn % self.servers.len().max(1)).cloned().unwrap_or_default()
    }

    fn over(&mut self, closed: Closed) -> SessionEvent {
        self.close();
        if closed.cure == Cure::Later {
            self.pause(ROUND_MAX);
        }
        SessionEvent::Closed(closed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use quorate_seams::SystemEntropy;

    use super::*;

    /// Refuses everyone and notes who was asked, and when.
    struct Refusing(Mutex<Vec<(String, Instant)>>);

    #[async_trait]
    impl Dial for Refusing {
        async fn dial(&self, address: &str, _hello: v1::Hello) -> Result<Link, Closed> {
            self.0.lock().unwrap().push((address.to_owned(), Instant::now()));
            Err(Closed::lost("refused"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_replica_is_tried_at_once_and_each_is_asked_again_within_a_bound() {
        let dial = Arc::new(Refusing(Mutex::default()));
        let servers = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
        let mut session = Session::new(servers, dial.clone(), Arc::new(SystemEntropy));
        for _ in 0..12 {
            assert!(matches!(session.next().await, SessionEvent::Due));
            session.open(v1::Hello::default());
            assert!(matches!(session.next().await, SessionEvent::Closed(_)));
        }
        let tried = dial.0.lock().unwrap().clone();
        for window in tried.windows(3) {
            let mut names: Vec<&str> = window.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["a:1", "b:1", "c:1"]);
        }
        let pauses: Vec<Duration> = tried.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        assert!(pauses[0] <= PAUSE_MIN + Duration::from_millis(1), "{pauses:?}");
        // Timers have a millisecond's grain.
        let mut rounds = pauses.windows(3).map(|round| round.iter().sum::<Duration>());
        assert!(rounds.clone().all(|round| round <= ROUND_MAX + Duration::from_millis(3)), "{pauses:?}");
        assert!(rounds.next_back().unwrap() >= ROUND_MAX / 2, "it is not asked all the time either: {pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_that_are_full_are_not_asked_again_soon_nor_by_all_at_once() {
        struct Full;
        #[async_trait]
        impl Dial for Full {
            async fn dial(&self, _address: &str, _hello: v1::Hello) -> Result<Link, Closed> {
                let (limit, advice) = ("HELLOS_MAX".into(), "connect again later".into());
                Err(Closed::from(&ApiError::Overloaded { limit, max: 1, advice }))
            }
        }
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let servers = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
            let mut session = Session::new(servers, Arc::new(Full), Arc::new(SystemEntropy));
            assert!(matches!(session.next().await, SessionEvent::Due));
            session.open(v1::Hello::default());
            assert!(matches!(session.next().await, SessionEvent::Closed(Closed { cure: Cure::Later, .. })));
            let began = Instant::now();
            assert!(matches!(session.next().await, SessionEvent::Due));
            pauses.push(began.elapsed());
        }
        assert!(pauses.iter().all(|pause| *pause >= ROUND_MAX / 2), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= ROUND_MAX + Duration::from_millis(1)), "{pauses:?}");
        assert!(pauses.iter().max() > pauses.iter().min(), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_replica_is_given_up() {
        struct Silent;
        #[async_trait]
        impl Dial for Silent {
            async fn dial(&self, _address: &str, _hello: v1::Hello) -> Result<Link, Closed> {
                std::future::pending().await
            }
        }
        let began = Instant::now();
        let mut session = Session::new(vec!["a:1".into()], Arc::new(Silent), Arc::new(SystemEntropy));
        assert!(matches!(session.next().await, SessionEvent::Due));
        session.open(v1::Hello::default());
        assert!(matches!(session.next().await, SessionEvent::Closed(_)));
        assert!(began.elapsed() <= OPEN_DEADLINE + Duration::from_millis(10));
    }
}

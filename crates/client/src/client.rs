//! The public API from any replica's address: finds the leader, follows it, and repeats what is safe to repeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_proto::staleness::{Staleness, Tolerance};
use quorate_proto::v1;
use quorate_seams::{Entropy, Network};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::channel::{Channels, Failure};
use crate::retry::Tries;
use crate::target::Targets;
use stale::StaleReads;

mod admin;
mod cluster;
mod jobs;
mod runs;

mod logs;
mod stale;
mod watch;

pub use admin::SnapshotPieces;
pub use logs::LogReader;
pub use watch::RunWatch;

/// How long a call is tried unless asked otherwise: several elections.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// How long one replica is given to answer unless asked otherwise.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long a cluster is taken to remember request ids before it has said so.
const REQUEST_WINDOW_ASSUMED: Duration = Duration::from_secs(300);
/// How long [`Client::discover`] may take.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// API addresses of replicas, `host:port`; one is enough, more are safer.
    pub addresses: Vec<String>,
    /// How long a call is tried.
    pub deadline: Duration,
    /// How long one replica is given to answer.
    pub attempt_timeout: Duration,
}

impl ClientConfig {
    /// The defaults, for a cluster at these addresses.
    pub fn new(addresses: Vec<String>) -> Self {
        Self { addresses, deadline: DEADLINE_DEFAULT, attempt_timeout: ATTEMPT_TIMEOUT_DEFAULT }
    }
}

/// Calls the public API. Cheap to clone; clones share connections and what is known about the cluster.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    /// What its reads may be answered with instead of the present.
    stale: Option<Arc<StaleReads>>,
}

pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) targets: Targets,
    pub(crate) channels: Channels,
    /// Milliseconds for which the cluster remembers a request id.
    request_window_ms: AtomicU64,
}

impl Client {
    /// A client that connects when it is first used.
    ///
    /// # Panics
    /// When the config has no address.
    pub fn new(config: ClientConfig, network: Arc<dyn Network>, entropy: Arc<dyn Entropy>) -> Self {
        // Clients that were given the same list begin in different places.
        let first = usize::try_from(entropy.u64() >> 33).unwrap_or(0);
        let targets = Targets::new(config.addresses.clone(), first);
        let window = u64::try_from(REQUEST_WINDOW_ASSUMED.as_millis()).unwrap_or(u64::MAX);
        let shared =
            Shared { config, entropy, targets, channels: Channels::new(network), request_window_ms: window.into() };
        Self { shared: Arc::new(shared), stale: None }
    }

    /// The same client, whose reads and watches take what the replica that is asked has: without a
    /// quorum, and without asking one. With `age_max`, nothing that may be behind by more.
    #[must_use]
    pub fn stale(&self, age_max: Option<Duration>) -> Self {
        let tolerance = age_max
            .map_or(Tolerance::Any, |max| Tolerance::AtMostMs(u64::try_from(max.as_millis()).unwrap_or(u64::MAX)));
        Self { shared: self.shared.clone(), stale: Some(Arc::new(StaleReads::new(tolerance))) }
    }

    /// What holds for all answers of [`Self::stale`] reads so far, of this client and its clones; none
    /// when there were none.
    pub fn staleness(&self) -> Option<Staleness> {
        self.stale.as_ref()?.told()
    }

    /// Asks the cluster for the addresses of all its replicas, so that it is found again when those
    /// given are gone. Worth it for a client that lives longer than one call.
    pub async fn discover(&self) {
        let found = tokio::time::timeout(DISCOVER_TIMEOUT, self.list_replicas(v1::ListReplicasRequest {})).await;
        match found {
            Ok(Ok(found)) => {
                self.shared.targets.learn(found.replicas.into_iter().map(|replica| replica.api_address));
            }
            Ok(Err(error)) => tracing::debug!(%error, "the other replicas' addresses are not known"),
            Err(_) => tracing::debug!("the other replicas' addresses are not known in time"),
        }
    }

    /// A request id that no other request has.
    pub fn mint_request_id(&self) -> String {
        format!("{:032x}", self.shared.entropy.u128())
    }

    fn mint_if_empty(&self, request_id: &mut String) {
        if request_id.is_empty() {
            *request_id = self.mint_request_id();
        }
    }

    /// A call that changes nothing, or nothing twice.
    async fn read<Asked, Answer, Sent>(
        &self,
        asked: Asked,
        send: impl Fn(Channel, Request<Asked>) -> Sent,
    ) -> Result<Answer, Error>
    where
        Asked: Clone,
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        self.call(asked, Tries::new(self.shared.config.deadline, None), self.stale.as_deref(), send).await
    }

    /// A call that changes something: all its tries carry the same request id, none is made after
    /// the cluster may have forgotten it.
    async fn change<Asked, Answer, Sent>(
        &self,
        asked: Asked,
        request_id: String,
        send: impl Fn(Channel, Request<Asked>) -> Sent,
    ) -> Result<Answer, Error>
    where
        Asked: Clone,
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        let window = Duration::from_millis(self.shared.request_window_ms.load(Ordering::Relaxed));
        let patience = self.shared.config.deadline.min(window);
        self.call(asked, Tries::new(patience, Some(request_id)), None, send).await
    }

    async fn call<Asked, Answer, Sent>(
        &self,
        asked: Asked,
        mut tries: Tries,
        stale: Option<&StaleReads>,
        send: impl Fn(Channel, Request<Asked>) -> Sent,
    ) -> Result<Answer, Error>
    where
        Asked: Clone,
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        loop {
            let address = self.shared.targets.pick();
            let channel = self.channel(&address)?;
            let patience = tries.time_left(self.shared.config.attempt_timeout);
            let mut request = Request::new(asked.clone());
            // So that the server too stops working on what nobody waits for.
            request.set_timeout(patience);
            if let Some(stale) = stale {
                stale.ask(request.metadata_mut());
            }
            let failure = match tokio::time::timeout(patience, send(channel, request)).await {
                Ok(Ok(answer)) => {
                    self.shared.targets.works(&address);
                    if let Some(stale) = stale {
                        stale.note(answer.metadata());
                    }
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => Failure::of(&status),
                Err(_) => Failure::silence(patience),
            };
            tries.again(&self.shared, &address, failure).await?;
        }
    }

    fn channel(&self, address: &str) -> Result<Channel, Error> {
        self.shared.channels.get(address)
    }
}

#[cfg(test)]
mod tests;

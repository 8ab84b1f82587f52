//! What operators have in common who ask for something at instants that are planned.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{ApiError, Client, ClientConfig, Error};

use super::client::{ATTEMPT_TIMEOUT, DEADLINE};
use super::{API_PORT, addresses};
use crate::net::SimNetwork;
use crate::scenario::Scenario;
use crate::seeded::{SimEntropy, Stream};

/// Between two looks at the time.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two times of asking for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// When the faults have ended, if they have.
pub(super) type Healed = Rc<Cell<Option<Duration>>>;

/// A client of an operator that draws from `stream`.
pub(super) fn client(scenario: &Scenario, stream: &'static str) -> Client {
    let entropy = SimEntropy::new(Stream::of(scenario.seed, stream));
    let addresses = addresses(scenario, API_PORT);
    let config = ClientConfig { deadline: DEADLINE, attempt_timeout: ATTEMPT_TIMEOUT, ..ClientConfig::new(addresses) };
    Client::new(config, Arc::new(SimNetwork), Arc::new(entropy))
}

/// Waits until then, or until the faults have ended.
pub(super) async fn wait_until(at_ms: u64, healed: &Healed) {
    let at = Duration::from_millis(at_ms);
    while healed.get().is_none() && turmoil::sim_elapsed().is_some_and(|now| now < at) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks until it is done, or refused, or `goes_on` says no.
pub(super) async fn until_known<F: Future<Output = Result<(), Error>>>(
    client: &Client,
    goes_on: impl Fn() -> bool,
    ask: impl Fn(Client) -> F,
) {
    while goes_on() {
        match ask(client.clone()).await {
            // Another one goes on, it is over, there is no such node, or it is not enabled yet.
            Ok(())
            | Err(Error::Api(
                ApiError::Precondition { .. }
                | ApiError::Limit { .. }
                | ApiError::Exists { .. }
                | ApiError::NotFound { .. },
            )) => return,
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

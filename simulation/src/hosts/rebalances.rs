//! An operator who has work moved to better places, at the instants that are planned: each order asked for again until it is known what
//! became of it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{ApiError, Client, ClientConfig, Error};
use quorate_proto::v1;

use super::client::{ATTEMPT_TIMEOUT, DEADLINE};
use super::{API_PORT, addresses};
use crate::net::SimNetwork;
use crate::scenario::{RebalancePlan, Scenario};
use crate::seeded::{SimEntropy, Stream};

/// Between two looks at the time.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two times of asking for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Gives all orders, until the faults have ended.
pub(super) async fn order(scenario: Rc<Scenario>, healed: Rc<Cell<Option<Duration>>>) {
    let entropy = SimEntropy::new(Stream::of(scenario.seed, "rebalances"));
    let addresses = addresses(&scenario, API_PORT);
    let config = ClientConfig { deadline: DEADLINE, attempt_timeout: ATTEMPT_TIMEOUT, ..ClientConfig::new(addresses) };
    let client = Client::new(config, Arc::new(SimNetwork), Arc::new(entropy));
    for (number, plan) in scenario.rebalances.iter().enumerate() {
        wait_until(plan.at_ms, &healed).await;
        let start = |client: Client| async move { start(&client, plan, number).await };
        until_known(&client, &healed, start).await;
        if let Some(stop_ms) = plan.stop_ms {
            wait_until(plan.at_ms + stop_ms, &healed).await;
            let stop = |client: Client| async move {
                let request = v1::StopRebalanceRequest { request_id: format!("rebalance-stop-{number}") };
                client.stop_rebalance(request).await.map(drop)
            };
            until_known(&client, &healed, stop).await;
        }
    }
}

async fn wait_until(at_ms: u64, healed: &Cell<Option<Duration>>) {
    let at = Duration::from_millis(at_ms);
    while healed.get().is_none() && turmoil::sim_elapsed().is_some_and(|now| now < at) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn start(client: &Client, plan: &RebalancePlan, number: usize) -> Result<(), Error> {
    let request_id = format!("rebalance-{number}");
    client.start_rebalance(v1::StartRebalanceRequest { terms: Some(plan.terms()), request_id }).await.map(drop)
}

/// Asks until it is done, or refused, or the faults have ended.
async fn until_known<F: Future<Output = Result<(), Error>>>(
    client: &Client,
    healed: &Cell<Option<Duration>>,
    ask: impl Fn(Client) -> F,
) {
    while healed.get().is_none() {
        match ask(client.clone()).await {
            // Another one goes on, or it is not enabled yet.
            Ok(()) | Err(Error::Api(ApiError::Precondition { .. } | ApiError::Limit { .. })) => return,
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

//! An operator who has work moved to better places, at the instants that are planned: each order asked for again until it is known what
//! became of it.

use std::rc::Rc;

use quorate_client::{Client, Error};
use quorate_proto::v1;

use super::orders::{Healed, client, until_known, wait_until};
use crate::scenario::{RebalancePlan, Scenario};

/// Gives all orders, until the faults have ended.
pub(super) async fn order(scenario: Rc<Scenario>, healed: Healed) {
    let client = client(&scenario, "rebalances");
    let is_open = || healed.get().is_none();
    for (number, plan) in scenario.rebalances.iter().enumerate() {
        wait_until(plan.at_ms, &healed).await;
        let start = |client: Client| async move { start(&client, plan, number).await };
        until_known(&client, is_open, start).await;
        if let Some(stop_ms) = plan.stop_ms {
            wait_until(plan.at_ms + stop_ms, &healed).await;
            let stop = |client: Client| async move {
                let request = v1::StopRebalanceRequest { request_id: format!("rebalance-stop-{number}") };
                client.stop_rebalance(request).await.map(drop)
            };
            until_known(&client, is_open, stop).await;
        }
    }
}

async fn start(client: &Client, plan: &RebalancePlan, number: usize) -> Result<(), Error> {
    let request_id = format!("rebalance-{number}");
    client.start_rebalance(v1::StartRebalanceRequest { terms: Some(plan.terms()), request_id }).await.map(drop)
}

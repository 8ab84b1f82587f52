//! An operator who sets nodes aside for a time, at the instants that are planned. When the faults have ended, so has that.

use std::rc::Rc;

use quorate_client::{Client, Error};
use quorate_proto::v1;

use super::job::NAMESPACE;
use super::orders::{Healed, client, until_known, wait_until};
use crate::scenario::Scenario;

/// Makes all reservations until the faults have ended, and ends them then.
pub(super) async fn reserve(scenario: Rc<Scenario>, healed: Healed) {
    let client = client(&scenario, "reservations");
    let is_open = || healed.get().is_none();
    for (number, plan) in scenario.reservations.iter().enumerate() {
        wait_until(plan.at_ms, &healed).await;
        let request = v1::CreateReservationRequest {
            request_id: format!("reservation-{number}"),
            name: name(number),
            namespace: NAMESPACE.to_owned(),
            nodes: plan.nodes.clone(),
            wait_ms: plan.wait_ms,
            for_ms: plan.for_ms,
        };
        let create = |client: Client| {
            let request = request.clone();
            async move { client.create_reservation(request).await.map(drop) }
        };
        until_known(&client, is_open, create).await;
        if let Some(end_ms) = plan.end_ms {
            wait_until(plan.at_ms + end_ms, &healed).await;
            until_known(&client, is_open, |client| end(client, number, "early")).await;
        }
    }
    wait_until(u64::MAX, &healed).await;
    for number in 0..scenario.reservations.len() {
        until_known(&client, || true, |client| end(client, number, "last")).await;
    }
}

fn name(number: usize) -> String {
    format!("reservation-{number}")
}

async fn end(client: Client, number: usize, when: &str) -> Result<(), Error> {
    let request = v1::EndReservationRequest { request_id: format!("reservation-{number}-{when}"), name: name(number) };
    client.end_reservation(request).await.map(drop)
}

//! An operator who says what the namespace of all jobs may hold, through the public API: in a part of the seeds, more and less in
//! turn, of it and of one above it; and nothing of it before the faults end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig};
use quorate_proto::v1;

use super::client::{ATTEMPT_TIMEOUT, DEADLINE};
use super::job::NAMESPACE;
use super::{API_PORT, addresses};
use crate::net::SimNetwork;
use crate::scenario::{Class, Kind, Scenario};
use crate::seeded::{SimEntropy, Stream};

/// The namespace above that of all jobs.
const ABOVE: &str = "above";
/// Seeds out of a hundred in which it is done.
const PERCENT: u64 = 30;
/// When it begins, at the earliest: by then a cluster has done its first work.
const BEGINS_MS: (u64, u64) = (1_500, 4_000);
/// Between two changes.
const BETWEEN_MS: (u64, u64) = (400, 5_000);
/// No task asks for more than the largest node has.
const LEAST_MILLI: u64 = 3_500;
/// So long before the faults end nothing is limited any more.
const LIFTED_BEFORE_HEAL_MS: u64 = 2_500;
/// Between two times of asking for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Whether it is done: where every replica knows what is meant, and one life of the data.
pub(super) fn are_kept(scenario: &Scenario) -> bool {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    let is_long = scenario.heal_ms > BEGINS_MS.1 + LIFTED_BEFORE_HEAL_MS;
    is_known && is_long && Stream::of(scenario.seed, "tenants").chance(PERCENT)
}

/// Does it, for as long as the run lasts.
pub(super) async fn keep(scenario: Rc<Scenario>) {
    let entropy = SimEntropy::new(Stream::of(scenario.seed, "landlord"));
    let addresses = addresses(&scenario, API_PORT);
    let config = ClientConfig { deadline: DEADLINE, attempt_timeout: ATTEMPT_TIMEOUT, ..ClientConfig::new(addresses) };
    let client = Client::new(config, Arc::new(SimNetwork), Arc::new(entropy));
    let mut dice = Stream::of(scenario.seed, "quotas");
    let all = scenario.racks.iter().flat_map(|rack| &rack.agents).map(|agent| agent.cpu_milli).sum::<u64>();
    let lifted = Duration::from_millis(scenario.heal_ms - LIFTED_BEFORE_HEAL_MS);
    let is_over = || turmoil::sim_elapsed().unwrap_or_default() >= lifted;
    tokio::time::sleep(Duration::from_millis(dice.within(BEGINS_MS.0, BEGINS_MS.1))).await;
    let made = |client: &Client| {
        let request = v1::CreateNamespaceRequest { namespace: ABOVE.into(), ..Default::default() };
        let client = client.clone();
        // Made before, it is there too.
        async move { client.create_namespace(request).await }
    };
    while !is_over() && made(&client).await.is_err_and(|error| !error.to_string().contains("exists already")) {
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    while !is_over() {
        let limit = dice.within(LEAST_MILLI, (all / 2).max(LEAST_MILLI + 1));
        let share = match dice.weighted(&[3, 3, 1, 1]) {
            0 => maximum(Some(limit)),
            1 => v1::ShareChange { parent: Some(ABOVE.into()), ..maximum(Some(limit)) },
            2 => v1::ShareChange { parent: Some(String::new()), ..Default::default() },
            _ => maximum(None),
        };
        let moves = share.parent.is_some();
        // What has become of it is seen in the log.
        let _ = set(&client, if moves || dice.chance(50) { NAMESPACE } else { ABOVE }, share).await;
        tokio::time::sleep(Duration::from_millis(dice.log_within(BETWEEN_MS.0, BETWEEN_MS.1))).await;
    }
    for namespace in [NAMESPACE, ABOVE] {
        // Where it was never made there is nothing to lift.
        while set(&client, namespace, maximum(None)).await.is_err_and(|error| !error.to_string().contains("not exist"))
        {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

fn maximum(cpu_milli: Option<u64>) -> v1::ShareChange {
    v1::ShareChange { maximum: Some(v1::Amounts { cpu_milli, ..Default::default() }), ..Default::default() }
}

async fn set(client: &Client, namespace: &str, share: v1::ShareChange) -> Result<(), quorate_client::Error> {
    let request = v1::SetNamespaceRequest { namespace: namespace.into(), share: Some(share), ..Default::default() };
    client.set_namespace(request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::draw;

    #[test]
    fn it_is_done_in_a_part_of_the_seeds() {
        let having = (0..300).filter(|seed| are_kept(&draw(*seed))).count();
        assert!((30..120).contains(&having), "{having} of 300");
    }
}

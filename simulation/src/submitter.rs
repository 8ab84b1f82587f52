//! A host that submits jobs and keeps a record of what it was told, to hold against what is there
//! after a disaster.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig};
use quorate_proto::v1;

use crate::net::SimNetwork;
use crate::seeded::{SimEntropy, Stream};
use crate::world::World;

/// For one request, retries included.
const DEADLINE: Duration = Duration::from_secs(5);
/// Runs on one page of a listing.
const PAGE: u32 = 100;

/// What the client was told.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Runs of which it was told "accepted".
    pub(crate) accepted: BTreeSet<String>,
    /// Submits whose answer never came: each may count once or not at all.
    pub(crate) unknown: u64,
    /// Set to stop submitting.
    pub(crate) enough: bool,
    /// Runs found afterwards.
    pub(crate) found: Option<BTreeSet<String>>,
}

/// A client on the simulated network, with a stream of its own.
pub(crate) fn client(addresses: Vec<String>, deadline: Duration, seed: u64, label: &str) -> Client {
    let entropy = SimEntropy::new(Stream::of(seed, label));
    Client::new(ClientConfig { deadline, ..ClientConfig::new(addresses) }, Arc::new(SimNetwork), Arc::new(entropy))
}

/// Starts the host: it submits until told that it is enough, then lists what is there.
pub(crate) fn start(world: &mut World, seed: u64) -> Rc<RefCell<Record>> {
    let record = Rc::new(RefCell::new(Record::default()));
    let (cell, addresses) = (record.clone(), world.api_addresses());
    let mut dice = Stream::of(seed, "submitter pace");
    world.sim.client("submitter", async move {
        let client = client(addresses, DEADLINE, seed, "submitter");
        for number in 0_u64.. {
            if cell.borrow().enough {
                break;
            }
            let request = v1::SubmitJobRequest { spec: Some(job(number)), request_id: format!("request-{number}") };
            match client.submit_job(request).await {
                Ok(answer) => {
                    cell.borrow_mut().accepted.insert(answer.run_id);
                }
                Err(_) => cell.borrow_mut().unknown += 1,
            }
            tokio::time::sleep(Duration::from_millis(dice.within(1, 40))).await;
        }
        let found = loop {
            if let Some(found) = list(&client).await {
                break found;
            }
        };
        cell.borrow_mut().found = Some(found);
        Ok(())
    });
    record
}

fn job(number: u64) -> v1::JobSpec {
    v1::JobSpec {
        namespace: "default".into(),
        name: format!("job-{number}"),
        priority: 50,
        on_failure: v1::OnFailure::Finish.into(),
        tasks: vec![v1::TaskSpec {
            name: "only".into(),
            driver: v1::Driver::Noop.into(),
            count: 1,
            resources: Some(v1::Resources { cpu_milli: 100, memory_bytes: 0 }),
            retry: Some(v1::Retry {
                attempts: 1,
                first_ms: 1_000,
                factor_milli: 2_000,
                cap_ms: 10_000,
                jitter_milli: 0,
                never: vec![],
            }),
            place: Some(v1::Place { spread: v1::Spread::Pack.into(), ..v1::Place::default() }),
            on_node_loss: v1::OnNodeLoss::AtLeastOnce.into(),
            ..v1::TaskSpec::default()
        }],
        ..v1::JobSpec::default()
    }
}

/// Every run there is, or nothing when any page could not be read.
async fn list(client: &Client) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRunsRequest { page_size: PAGE, page_token, ..v1::ListRunsRequest::default() };
        let answer = client.list_runs(request).await.ok()?;
        found.extend(answer.runs.into_iter().map(|run| run.id));
        if answer.next_page_token.is_empty() {
            return Some(found);
        }
        page_token = answer.next_page_token;
    }
}

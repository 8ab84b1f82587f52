//! A host that asks, as an operator would with `quorate replica list`, who leads and how far the
//! others have come.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quorate_proto::v1;

use crate::submitter::client;
use crate::world::World;

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(50);
/// For one question, retries included.
const DEADLINE: Duration = Duration::from_secs(1);

/// The last answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    term: u64,
    replicas: Vec<v1::ReplicaSummary>,
}

impl Observation {
    /// The leader's host and term.
    pub(crate) fn leader(&self) -> Option<(String, u64)> {
        let leader = self.replicas.iter().find(|replica| replica.leader)?;
        Some((host(leader).to_owned(), self.term))
    }

    /// How many replicas vote.
    pub(crate) fn voters(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.voter).count()
    }

    /// True when the replica on `name` has all that the leader has.
    pub(crate) fn has_caught_up(&self, name: &str) -> bool {
        let matched = |replica: &v1::ReplicaSummary| replica.matched_index;
        let leader = self.replicas.iter().find(|replica| replica.leader).and_then(matched);
        let follower = self.replicas.iter().find(|replica| host(replica) == name).and_then(matched);
        leader.is_some() && leader == follower
    }
}

fn host(replica: &v1::ReplicaSummary) -> &str {
    replica.api_address.split(':').next().unwrap_or_default()
}

/// Starts the host; what it learns appears in the cell.
pub(crate) fn start(world: &mut World, seed: u64) -> Rc<RefCell<Observation>> {
    let seen = Rc::new(RefCell::new(Observation::default()));
    let (cell, addresses) = (seen.clone(), world.api_addresses());
    world.sim.client("observer", async move {
        let client = client(addresses, DEADLINE, seed, "observer");
        loop {
            if let Ok(answer) = client.list_replicas(v1::ListReplicasRequest {}).await {
                *cell.borrow_mut() = Observation { term: answer.term, replicas: answer.replicas };
            }
            tokio::time::sleep(PERIOD).await;
        }
    });
    seen
}

//! Replicas of the control plane.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint, state};
use super::{Paint, View};

/// One replica.
#[derive(Debug, Serialize)]
pub(crate) struct Replica {
    id: u64,
    role: &'static str,
    region: String,
    api_address: String,
    agent_address: String,
    raft_address: String,
    store_uuid: String,
    matched_index: Option<u64>,
}

impl From<v1::ReplicaSummary> for Replica {
    fn from(replica: v1::ReplicaSummary) -> Self {
        Self {
            id: replica.id,
            role: match (replica.leader, replica.voter) {
                (true, _) => "leader",
                (false, true) => "follower",
                (false, false) => "learner",
            },
            region: replica.region,
            api_address: replica.api_address,
            agent_address: replica.agent_address,
            raft_address: replica.raft_address,
            store_uuid: replica.store_uuid,
            matched_index: replica.matched_index,
        }
    }
}

/// `replica list`.
#[derive(Debug, Serialize)]
pub(crate) struct ReplicaList {
    cluster_id: String,
    term: u64,
    replicas: Vec<Replica>,
    revision: u64,
}

impl From<v1::ListReplicasResponse> for ReplicaList {
    fn from(response: v1::ListReplicasResponse) -> Self {
        Self {
            cluster_id: response.cluster_id,
            term: response.term,
            replicas: response.replicas.into_iter().map(Into::into).collect(),
            revision: response.revision,
        }
    }
}

impl View for ReplicaList {
    const SCHEMA: &'static str = "quorate.v1.replica_list/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["REPLICA", "ROLE", "REGION", "API", "AGENT", "RAFT", "MATCHED"]);
        for replica in &self.replicas {
            rows.row(vec![
                entry(replica.id.to_string()),
                state(replica.role),
                entry(&replica.region),
                entry(&replica.api_address),
                faint(&replica.agent_address),
                faint(&replica.raft_address),
                entry(replica.matched_index.map_or("-".to_owned(), |index| index.to_string())),
            ]);
        }
        format!("Cluster {}, term {}, revision {}\n\n{}", self.cluster_id, self.term, self.revision, rows.text())
    }
}

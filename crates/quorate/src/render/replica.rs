//! Replicas of the control plane.

use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint, state, word};
use super::{Paint, View, time};

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
    silent_ms: Option<u64>,
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
            silent_ms: replica.silent_ms,
        }
    }
}

/// What not every version can do.
#[derive(Debug, Serialize)]
struct Feature {
    name: String,
    /// The revision that enabled it.
    since_revision: Option<u64>,
    /// Why it is not enabled.
    waits_for: Option<String>,
}

impl From<v1::FeatureSummary> for Feature {
    fn from(feature: v1::FeatureSummary) -> Self {
        let v1::FeatureSummary { name, since_revision, waits_for } = feature;
        Self { name, since_revision, waits_for: Some(waits_for).filter(|why| !why.is_empty()) }
    }
}

impl Feature {
    fn human(&self) -> String {
        match (self.since_revision, &self.waits_for) {
            (Some(since), _) => format!("Feature {}: enabled since revision {since}\n", self.name),
            (None, waits_for) => {
                format!("Feature {}: not enabled: {}\n", self.name, waits_for.as_deref().unwrap_or("nobody says why"))
            }
        }
    }
}

/// `replica list`.
#[derive(Debug, Serialize)]
pub(crate) struct ReplicaList {
    cluster_id: String,
    term: u64,
    replicas: Vec<Replica>,
    features: Vec<Feature>,
    revision: u64,
}

impl From<v1::ListReplicasResponse> for ReplicaList {
    fn from(response: v1::ListReplicasResponse) -> Self {
        Self {
            cluster_id: response.cluster_id,
            term: response.term,
            replicas: response.replicas.into_iter().map(Into::into).collect(),
            features: response.features.into_iter().map(Into::into).collect(),
            revision: response.revision,
        }
    }
}

impl View for ReplicaList {
    const SCHEMA: &'static str = "quorate.v1.replica_list/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["REPLICA", "ROLE", "REGION", "API", "AGENT", "RAFT", "MATCHED", "HEARD"]);
        for replica in &self.replicas {
            rows.row(vec![
                entry(replica.id.to_string()),
                state(replica.role),
                entry(&replica.region),
                entry(&replica.api_address),
                faint(&replica.agent_address),
                faint(&replica.raft_address),
                entry(number(replica.matched_index)),
                faint(replica.silent_ms.map_or("-".to_owned(), |ago| format!("{} ago", time::span(ago)))),
            ]);
        }
        let features: String = self.features.iter().map(Feature::human).collect();
        let Self { cluster_id, term, revision, .. } = self;
        format!("Cluster {cluster_id}, term {term}, revision {revision}\n\n{}\n\n{features}", rows.text())
    }
}

/// How a replica is added: it is its own machine that does it.
#[derive(Debug, Serialize)]
pub(crate) struct ReplicaAddition {
    /// Raft addresses of those who take part.
    peers: Vec<String>,
    learner: bool,
    /// What the new machine runs.
    command: String,
}

impl ReplicaAddition {
    pub(crate) fn of(response: v1::ListReplicasResponse, learner: bool) -> Self {
        let peers: Vec<String> = response.replicas.into_iter().map(|replica| replica.raft_address).collect();
        let vote = if learner { " --learner" } else { "" };
        Self { command: format!("quorate server join --peers {}{vote}", peers.join(",")), peers, learner }
    }
}

impl View for ReplicaAddition {
    const SCHEMA: &'static str = "quorate.v1.replica_addition/1";

    fn human(&self, _paint: Paint) -> String {
        let then = if self.learner {
            "it follows without a vote until 'quorate replica promote ID'"
        } else {
            "it votes once it has caught up"
        };
        format!(
            "Nothing has changed yet. On the new machine, with the others' configuration (TLS, election times), its own \
             addresses and an empty data directory, run\n\n  {}\n\nIt gets a number and takes the state; {then}. \
             'quorate replica list' shows it.\n",
            self.command
        )
    }
}

/// The new membership, or leader.
#[derive(Debug, Serialize)]
pub(crate) struct ReplicaChanged {
    replica: u64,
    change: &'static str,
}

impl ReplicaChanged {
    pub(crate) fn promoted(replica: u64) -> Self {
        Self { replica, change: "promoted" }
    }

    pub(crate) fn removed(replica: u64) -> Self {
        Self { replica, change: "removed" }
    }

    pub(crate) fn leads(replica: u64) -> Self {
        Self { replica, change: "leads" }
    }
}

impl View for ReplicaChanged {
    const SCHEMA: &'static str = "quorate.v1.replica_changed/1";

    fn human(&self, _paint: Paint) -> String {
        let Self { replica, change } = self;
        match *change {
            "promoted" => format!("Replica {replica} votes"),
            "removed" => format!("Replica {replica} is removed; it stops by itself"),
            _ => format!("Replica {replica} leads"),
        }
    }
}

/// What one replica says of itself.
#[derive(Debug, Serialize)]
struct ReplicaStatus {
    address: String,
    /// Why it did not answer.
    error: Option<String>,
    replica: Option<u64>,
    role: Option<String>,
    term: Option<u64>,
    leader: Option<u64>,
    version: Option<String>,
    applied_index: Option<u64>,
    last_index: Option<u64>,
    summary: Option<String>,
    quorum: bool,
    disk_free_bytes: Option<u64>,
    disk_reserve_bytes: Option<u64>,
    /// It accepts no new work for want of room.
    disk_is_low: bool,
    /// Microseconds to each other replica; none to one that does not answer.
    round_trip_us: BTreeMap<u64, Option<u64>>,
    warnings: Vec<String>,
}

/// `replica status`.
#[derive(Debug, Serialize)]
pub(crate) struct ReplicaStatusList {
    quorum: bool,
    replicas: Vec<ReplicaStatus>,
}

impl ReplicaStatusList {
    /// From what each address answered.
    pub(crate) fn new(answers: BTreeMap<String, Result<v1::GetReplicaStatusResponse, String>>) -> Self {
        let mut replicas: Vec<ReplicaStatus> =
            answers.into_iter().map(|(address, answer)| ReplicaStatus::new(address, answer)).collect();
        replicas.sort_by_key(|replica| replica.replica.unwrap_or(u64::MAX));
        let leads = |replica: &ReplicaStatus| replica.quorum && replica.leader == replica.replica;
        Self { quorum: replicas.iter().any(leads), replicas }
    }

    /// Somebody leads a quorum.
    pub(crate) fn quorum(&self) -> bool {
        self.quorum
    }
}

impl ReplicaStatus {
    fn new(address: String, answer: Result<v1::GetReplicaStatusResponse, String>) -> Self {
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let of = status.as_ref();
        Self {
            address,
            error,
            replica: of.map(|status| status.replica),
            role: of
                .and_then(|status| v1::ReplicaRole::try_from(status.role).ok())
                .map(|role| word("REPLICA_ROLE_", role.as_str_name())),
            term: of.map(|status| status.term),
            leader: of.and_then(|status| status.leader),
            version: of.map(|status| status.version.clone()),
            applied_index: of.and_then(|status| status.applied_index),
            last_index: of.and_then(|status| status.last_index),
            quorum: of.is_some_and(|status| status.quorum),
            disk_free_bytes: of.and_then(|status| status.disk_free_bytes),
            disk_reserve_bytes: of.map(|status| status.disk_reserve_bytes),
            disk_is_low: of.is_some_and(|status| status.disk_is_low),
            round_trip_us: of
                .into_iter()
                .flat_map(|status| &status.peers)
                .map(|peer| (peer.id, peer.round_trip_us))
                .collect(),
            warnings: of.map(|status| status.warnings.clone()).unwrap_or_default(),
            summary: status.map(|status| status.summary),
        }
    }
}

impl ReplicaStatus {
    /// A line about a disk that is nearly full.
    fn low_disk(&self) -> String {
        let mib = |bytes: Option<u64>| bytes.unwrap_or_default() >> 20;
        let (free, reserve) = (mib(self.disk_free_bytes), mib(self.disk_reserve_bytes));
        if !self.disk_is_low {
            return String::new();
        }
        format!(
            "{}: its disk has {free} MiB left, server.disk_reserve is {reserve} MiB: while it leads, no new work is \
             accepted; make room\n",
            self.address
        )
    }
}

impl View for ReplicaStatusList {
    const SCHEMA: &'static str = "quorate.v1.replica_status/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["REPLICA", "API", "ROLE", "TERM", "LEADER", "APPLIED", "LAST", "VERSION"]);
        for replica in &self.replicas {
            rows.row(vec![
                entry(number(replica.replica)),
                entry(&replica.address),
                state(replica.role.as_deref().unwrap_or("unreachable")),
                entry(number(replica.term)),
                entry(number(replica.leader)),
                entry(number(replica.applied_index)),
                entry(number(replica.last_index)),
                faint(replica.version.as_deref().unwrap_or("-")),
            ]);
        }
        let said = self.replicas.iter().map(|replica| match (&replica.summary, &replica.error) {
            (Some(summary), _) => format!("{}: {summary}\n{}", replica.address, replica.low_disk()),
            (None, error) => format!("{}: {}\n", replica.address, error.as_deref().unwrap_or("no answer")),
        });
        let warned = self.replicas.iter().flat_map(|replica| {
            replica.warnings.iter().map(|warning| format!("{}: warning: {warning}\n", replica.address))
        });
        format!("{}\n\n{}", rows.text(), said.chain(warned).collect::<String>())
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

//! Snapshots, and the lives of the data that begin from one or from a survivor.

use std::collections::BTreeMap;
use std::path::Path;

use quorate_proto::backup::Written;
use quorate_raft::{NewLife, Recovery, Summary};
use quorate_state::Uuid;
use serde::Serialize;

use super::{Paint, View, time};

/// `snapshot save`.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotSaved {
    file: String,
    cluster_id: String,
    incarnation: u64,
    revision: u64,
    taken_at_ms: u64,
    replica: u64,
    state_rows: u64,
    event_rows: u64,
    bytes: u64,
    digest: String,
}

impl SnapshotSaved {
    /// What was written to `file`.
    pub(crate) fn new(file: &Path, written: &Written) -> Self {
        let Written { header, end, digest, bytes } = written;
        let cluster = <[u8; 16]>::try_from(&header.cluster[..]).map_or(0, u128::from_be_bytes);
        Self {
            file: file.display().to_string(),
            cluster_id: Uuid(cluster).to_string(),
            incarnation: header.incarnation,
            revision: header.revision,
            taken_at_ms: header.taken_at_ms,
            replica: header.replica,
            state_rows: end.state_rows,
            event_rows: end.event_rows,
            bytes: *bytes,
            digest: digest.hex(),
        }
    }
}

impl View for SnapshotSaved {
    const SCHEMA: &'static str = "quorate.v1.snapshot_saved/1";

    fn human(&self, _: Paint) -> String {
        format!(
            "Saved {} ({})\ncluster {}, incarnation {}, revision {}, from replica {} at {}\n{} and {}\ndigest {}",
            self.file,
            time::bytes(self.bytes),
            self.cluster_id,
            self.incarnation,
            self.revision,
            self.replica,
            time::instant(self.taken_at_ms),
            time::count(self.state_rows, "row"),
            time::count(self.event_rows, "event"),
            self.digest
        )
    }
}

/// `snapshot inspect`.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotInspected {
    file: String,
    /// Every digest, row and relation between rows was checked: there is no other outcome.
    verified: bool,
    format: u32,
    version: String,
    cluster_id: String,
    incarnation: u64,
    base: u64,
    revision: u64,
    taken_at_ms: u64,
    replica: u64,
    counts: BTreeMap<&'static str, u64>,
    bytes: u64,
    digest: String,
    history: String,
}

impl SnapshotInspected {
    /// What is in `file`.
    pub(crate) fn new(file: &Path, summary: &Summary) -> Self {
        Self {
            file: file.display().to_string(),
            verified: true,
            format: summary.format,
            version: summary.version.clone(),
            cluster_id: summary.cluster.to_string(),
            incarnation: summary.incarnation,
            base: summary.base,
            revision: summary.revision.0,
            taken_at_ms: summary.taken_at_ms,
            replica: summary.replica,
            counts: summary.counts.iter().copied().collect(),
            bytes: summary.bytes,
            digest: summary.digest.clone(),
            history: summary.history.clone(),
        }
    }
}

impl View for SnapshotInspected {
    const SCHEMA: &'static str = "quorate.v1.snapshot_inspected/1";

    fn human(&self, _: Paint) -> String {
        let counts: Vec<String> = self.counts.iter().map(|(kind, rows)| format!("{rows} {kind}")).collect();
        format!(
            "{} is whole ({}, format {}, written by quorate {})\ncluster {}, incarnation {}, revision {}, from replica {} at {}\n{}\ndigest {}",
            self.file,
            time::bytes(self.bytes),
            self.format,
            super::plain(&self.version),
            self.cluster_id,
            self.incarnation,
            self.revision,
            self.replica,
            time::instant(self.taken_at_ms),
            counts.join(", "),
            self.digest
        )
    }
}

/// A cluster that goes on as a new one.
#[derive(Debug, Serialize)]
struct Begun {
    cluster_id: String,
    incarnation: u64,
    base: u64,
    replica: u64,
    store_uuid: String,
}

impl From<NewLife> for Begun {
    fn from(life: NewLife) -> Self {
        Self {
            cluster_id: life.identity.cluster.to_string(),
            incarnation: life.incarnation,
            base: life.base.0,
            replica: life.identity.replica,
            store_uuid: life.identity.store.to_string(),
        }
    }
}

impl Begun {
    fn human(&self, data_dir: &str) -> String {
        format!(
            "new cluster {}, incarnation {}, from revision {} on; its only replica is {}, store {}\nstart it with: quorate server run --data-dir {data_dir}",
            self.cluster_id, self.incarnation, self.base, self.replica, self.store_uuid
        )
    }
}

/// `snapshot restore`.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotRestored {
    data_dir: String,
    source_cluster_id: String,
    source_revision: u64,
    counts: BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    begun: Begun,
}

impl SnapshotRestored {
    /// What was made of a snapshot in `data_dir`.
    pub(crate) fn new(data_dir: &Path, source: &Summary, life: NewLife) -> Self {
        Self {
            data_dir: data_dir.display().to_string(),
            source_cluster_id: source.cluster.to_string(),
            source_revision: source.revision.0,
            counts: source.counts.iter().copied().filter(|(kind, _)| *kind != "events").collect(),
            begun: life.into(),
        }
    }
}

impl View for SnapshotRestored {
    const SCHEMA: &'static str = "quorate.v1.snapshot_restored/1";

    fn human(&self, _: Paint) -> String {
        format!(
            "Restored revision {} of cluster {} into {}\n{}",
            self.source_revision,
            self.source_cluster_id,
            self.data_dir,
            self.begun.human(&self.data_dir)
        )
    }
}

/// `server recover`.
#[derive(Debug, Serialize)]
pub(crate) struct ServerRecovered {
    data_dir: String,
    source_cluster_id: String,
    source_revision: u64,
    unconfirmed_entries: u64,
    lost_stores: Vec<String>,
    #[serde(flatten)]
    begun: Option<Begun>,
}

impl ServerRecovered {
    /// What was done, or would be, in `data_dir`.
    pub(crate) fn new(data_dir: &Path, recovery: &Recovery) -> Self {
        Self {
            data_dir: data_dir.display().to_string(),
            source_cluster_id: recovery.cluster.to_string(),
            source_revision: recovery.revision.0,
            unconfirmed_entries: recovery.unconfirmed,
            lost_stores: recovery.lost.iter().map(ToString::to_string).collect(),
            begun: recovery.life.map(Into::into),
        }
    }
}

impl View for ServerRecovered {
    const SCHEMA: &'static str = "quorate.v1.server_recovered/1";

    fn human(&self, _: Paint) -> String {
        let kept = format!(
            "revision {} of cluster {}, {} at its end not known to be committed",
            self.source_revision,
            self.source_cluster_id,
            if self.unconfirmed_entries == 1 {
                "1 entry".to_owned()
            } else {
                format!("{} entries", self.unconfirmed_entries)
            }
        );
        match &self.begun {
            Some(begun) => format!("Recovered {kept}\n{}", begun.human(&self.data_dir)),
            None => format!(
                "Would go on from {kept}.\nWhat only the lost stores {} had is gone for good, acknowledged work included.\nNothing was changed: repeat it with --yes-they-are-destroyed",
                self.lost_stores.join(", ")
            ),
        }
    }
}

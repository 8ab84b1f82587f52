//! `quorate snapshot`: backups of everything that the cluster knows.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate_client::snapshot_file;
use quorate_proto::v1;
use quorate_raft::{Addresses, Home, Loaded, RestoreError};
use quorate_state::ClusterId;

use super::Context;
use crate::exit::{Code, Error};
use crate::fresh_dir::FreshDir;
use crate::render::snapshot::{SnapshotInspected, SnapshotRestored, SnapshotSaved};
use crate::settings::{Flags, ServerSettings};
use crate::start;

/// `quorate snapshot`.
#[derive(Args, Debug)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Save a point in time of everything that the cluster knows
    Save(Save),
    /// Check a saved snapshot and say what is in it; needs no replica
    Inspect {
        /// The snapshot
        file: PathBuf,
    },
    /// Make the data directory of a new cluster's first replica from a snapshot; needs no replica
    Restore(Restore),
}

#[derive(Args, Debug)]
struct Save {
    /// Where to put it
    file: PathBuf,
    /// Take what the replica with this API address has, although it may be behind; needs no quorum
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<String>,
    /// Replace the file, once the new one is whole
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
struct Restore {
    /// The snapshot
    file: PathBuf,
    /// Directory to make; it must be empty or not there yet [key: server.data_dir]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Refuse a snapshot of any other cluster than this
    #[arg(long, value_name = "ID")]
    expect_cluster: Option<ClusterId>,
    /// Region the replica stands in [key: server.region]
    #[arg(long)]
    region: Option<String>,
    /// Listener for clients [key: server.listen.api]
    #[arg(long, value_name = "HOST:PORT")]
    listen_api: Option<String>,
    /// Listener for agents [key: server.listen.agent]
    #[arg(long, value_name = "HOST:PORT")]
    listen_agent: Option<String>,
    /// Listener for the other replicas [key: server.listen.raft]
    #[arg(long, value_name = "HOST:PORT")]
    listen_raft: Option<String>,
    /// Where clients reach the replica [key: server.advertise.api]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_api: Option<String>,
    /// Where agents reach the replica [key: server.advertise.agent]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_agent: Option<String>,
    /// Where the other replicas reach this one [key: server.advertise.raft]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_raft: Option<String>,
}

impl Snapshot {
    /// The settings given as flags.
    pub(crate) fn flags(&self) -> Flags {
        let Verb::Restore(restore) = &self.verb else { return Vec::new() };
        vec![
            ("server.data_dir", restore.data_dir.clone()),
            ("server.region", restore.region.clone()),
            ("server.listen.api", restore.listen_api.clone()),
            ("server.listen.agent", restore.listen_agent.clone()),
            ("server.listen.raft", restore.listen_raft.clone()),
            ("server.advertise.api", restore.advertise_api.clone()),
            ("server.advertise.agent", restore.advertise_agent.clone()),
            ("server.advertise.raft", restore.advertise_raft.clone()),
        ]
    }

    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Save(save) => {
                let client = match &save.from {
                    Some(address) => context.client_of(vec![address.clone()])?,
                    None => context.client()?,
                };
                let pieces = client.save_snapshot(v1::SaveSnapshotRequest { stale: save.from.is_some() }).await?;
                let written = snapshot_file::save(pieces, &save.file, save.force).await?;
                context.output.show(&SnapshotSaved::new(&save.file, &written))?;
            }
            Verb::Inspect { file } => {
                let loaded = load(&file)?;
                context.output.show(&SnapshotInspected::new(&file, loaded.summary()))?;
            }
            Verb::Restore(restore) => {
                let settings = ServerSettings::from(&context.settings)?;
                let restored = make(&restore.file, restore.expect_cluster, &settings).await?;
                context.output.show(&restored)?;
            }
        }
        Ok(Code::Ok)
    }
}

fn load(path: &Path) -> Result<Loaded, Error> {
    let file = File::open(path).map_err(|source| Error::Read { what: path.display().to_string(), source })?;
    Loaded::read(BufReader::new(file))
        .map_err(|source| Error::Snapshot { path: path.to_path_buf(), source: Box::new(source) })
}

/// Everything is read and found to be right before anything is made.
async fn make(path: &Path, expected: Option<ClusterId>, settings: &ServerSettings) -> Result<SnapshotRestored, Error> {
    let refuse = |source| Error::Snapshot { path: path.to_path_buf(), source: Box::new(source) };
    let fresh = FreshDir::begin(&settings.data_dir)?;
    let loaded = load(path)?;
    let summary = loaded.summary().clone();
    if let Some(expected) = expected.filter(|expected| *expected != summary.cluster) {
        return Err(refuse(RestoreError::OtherCluster { found: summary.cluster, expected }));
    }
    let home = Home {
        region: settings.region.clone(),
        addresses: Addresses {
            raft: settings.raft.advertise.clone(),
            api: settings.api.advertise.clone(),
            agent: settings.agent.advertise.clone(),
        },
    };
    let life = {
        // Closed again before the directory gets its name.
        let seams = start::replica_seams(fresh.path(), false)?;
        Box::pin(loaded.restore(home, &seams)).await.map_err(refuse)?
    };
    fresh.finish()?;
    Ok(SnapshotRestored::new(&settings.data_dir, &summary, life))
}

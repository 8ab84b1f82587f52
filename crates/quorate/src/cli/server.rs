//! `quorate server`: form, join, go on as or recover a replica of the control plane.

use clap::{Args, Subcommand};
use quorate_server::Formation;
use quorate_state::Uuid;

use super::Context;
use crate::exit::{Code, Error};
use crate::render::snapshot::ServerRecovered;
use crate::settings::{Flags, ServerSettings};
use crate::start;

/// `quorate server`.
#[derive(Args, Debug)]
pub(crate) struct Server {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Form a new cluster with this replica as its first; once in the life of a cluster
    Init(Start),
    /// Join the cluster that the peers belong to
    Join(Start),
    /// Go on as the replica whose data directory this is
    Run(Start),
    /// Go on alone from a stopped survivor when most replicas are destroyed for good: may lose work
    Recover(Recover),
}

#[derive(Args, Debug)]
struct Recover {
    /// Directory of the survivor's store [key: server.data_dir]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Store of a replica that is destroyed, as 'quorate replica list --json' showed it; once for each
    #[arg(long, value_name = "STORE_UUID")]
    lost: Vec<Uuid>,
    /// None of the stores named will ever run again, and what only they had may be lost
    #[arg(long)]
    yes_they_are_destroyed: bool,
}

#[derive(Args, Debug)]
struct Start {
    /// Directory of the replica's store [key: server.data_dir]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
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
    /// Listener for /metrics, /healthz and /readyz, or off [key: server.listen.ops]
    #[arg(long, value_name = "HOST:PORT")]
    listen_ops: Option<String>,
    /// Where clients reach this replica [key: server.advertise.api]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_api: Option<String>,
    /// Where agents reach this replica [key: server.advertise.agent]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_agent: Option<String>,
    /// Where the other replicas reach this one [key: server.advertise.raft]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_raft: Option<String>,
    /// Raft addresses of replicas to join, separated by commas [key: server.peers]
    #[arg(long, value_name = "HOST:PORT")]
    peers: Option<String>,
    /// Take part without a vote, until 'replica promote' [key: server.learner]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    learner: Option<String>,
    /// Listen beyond loopback without TLS [key: server.insecure]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    insecure: Option<String>,
    /// Room kept free on the disk, such as 2Gi, or off [key: server.disk_reserve]
    #[arg(long, value_name = "BYTES")]
    disk_reserve: Option<String>,
    /// lan or wan: times for one region, or for regions far apart [key: server.raft.profile]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Log entries between two snapshots [key: server.raft.snapshot_entries]
    #[arg(long, value_name = "COUNT", hide_short_help = true)]
    snapshot_entries: Option<String>,
    /// Log entries kept behind a snapshot [key: server.raft.keep_entries]
    #[arg(long, value_name = "COUNT", hide_short_help = true)]
    keep_entries: Option<String>,
    /// Silence after which a node is lost; written at init [key: server.lease.server]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    lease_server: Option<String>,
    /// Time an agent may work on without a renewal; written at init [key: server.lease.agent]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    lease_agent: Option<String>,
    /// Longest time that killing a task takes; written at init [key: server.lease.kill]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    lease_kill: Option<String>,
    /// Room for scheduling delays; written at init [key: server.lease.margin]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    lease_margin: Option<String>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Server {
    /// The settings given as flags.
    pub(crate) fn flags(&self) -> Flags {
        let start = match &self.verb {
            Verb::Init(start) | Verb::Join(start) | Verb::Run(start) => start,
            Verb::Recover(recover) => return vec![("server.data_dir", recover.data_dir.clone())],
        };
        vec![
            ("server.data_dir", start.data_dir.clone()),
            ("server.region", start.region.clone()),
            ("server.listen.api", start.listen_api.clone()),
            ("server.listen.agent", start.listen_agent.clone()),
            ("server.listen.raft", start.listen_raft.clone()),
            ("server.listen.ops", start.listen_ops.clone()),
            ("server.advertise.api", start.advertise_api.clone()),
            ("server.advertise.agent", start.advertise_agent.clone()),
            ("server.advertise.raft", start.advertise_raft.clone()),
            ("server.peers", start.peers.clone()),
            ("server.learner", start.learner.clone()),
            ("server.insecure", start.insecure.clone()),
            ("server.disk_reserve", start.disk_reserve.clone()),
            ("server.raft.profile", start.profile.clone()),
            ("server.raft.snapshot_entries", start.snapshot_entries.clone()),
            ("server.raft.keep_entries", start.keep_entries.clone()),
            ("server.lease.server", start.lease_server.clone()),
            ("server.lease.agent", start.lease_agent.clone()),
            ("server.lease.kill", start.lease_kill.clone()),
            ("server.lease.margin", start.lease_margin.clone()),
        ]
    }

    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let settings = ServerSettings::from(&context.settings)?;
        let (formation, start) = match self.verb {
            Verb::Init(start) => (Formation::Init, start),
            Verb::Join(start) => {
                if settings.peers.is_empty() {
                    let message = "server.peers is not set: name the raft address of a replica with --peers HOST:PORT";
                    return Err(Error::Usage(message.to_owned()));
                }
                (Formation::Join { peers: settings.peers.clone() }, start)
            }
            Verb::Run(start) => (Formation::Run, start),
            Verb::Recover(recover) => return Box::pin(recover.execute(&settings, context)).await,
        };
        let output = context.output;
        let tls = start::tls(&context.settings)?;
        if settings.insecure && tls.is_none() {
            output.note("insecure = true: listeners have no TLS, whoever reaches them controls the cluster");
        }
        let shutdown = start::stop_on_signals(start.stop_with_stdin)?;
        let seams = start::replica_seams(&settings.data_dir, tls.is_some())?;
        let ready = move |bound: quorate_server::Bound| {
            let ops = bound.ops.map_or_else(String::new, |ops| format!(", ops {ops}"));
            output.note(&format!("ready: clients {}, agents {}, raft {}{ops}", bound.api, bound.agent, bound.raft));
        };
        start::replica(&settings, tls, formation, seams, shutdown, ready).await?;
        Ok(Code::Ok)
    }
}

impl Recover {
    async fn execute(self, settings: &ServerSettings, context: &Context) -> Result<Code, Error> {
        if !settings.data_dir.join("store").is_dir() {
            return Err(Error::Missing(format!("there is no store of a replica in {}", settings.data_dir.display())));
        }
        let seams = start::replica_seams(&settings.data_dir, false)?;
        let recovery = quorate_raft::recover(&seams, &self.lost, self.yes_they_are_destroyed).await?;
        context.output.show(&ServerRecovered::new(&settings.data_dir, &recovery))?;
        // What was asked for has not been done.
        Ok(if self.yes_they_are_destroyed { Code::Ok } else { Code::Usage })
    }
}

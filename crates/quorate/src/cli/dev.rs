//! `quorate dev`: one replica and one agent in one process, to try things out.

use clap::Args;
use quorate_agent::driver::shim::OnExit;
use quorate_server::{Bound, Formation};
use tokio::sync::mpsc;

use super::Context;
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::settings::{AgentSettings, Flags, ServerSettings};
use crate::start;

/// `quorate dev`.
#[derive(Args, Debug)]
pub(crate) struct Dev {
    /// Directory for everything it keeps; remove it to start afresh [key: dev.data_dir]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Listener for clients [key: server.listen.api]
    #[arg(long, value_name = "HOST:PORT")]
    listen_api: Option<String>,
    /// Listener for agents [key: server.listen.agent]
    #[arg(long, value_name = "HOST:PORT")]
    listen_agent: Option<String>,
    /// Listener for other replicas [key: server.listen.raft]
    #[arg(long, value_name = "HOST:PORT")]
    listen_raft: Option<String>,
    /// Listener for /metrics, /healthz and /readyz, or off [key: server.listen.ops]
    #[arg(long, value_name = "HOST:PORT")]
    listen_ops: Option<String>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Dev {
    /// The settings given as flags.
    pub(crate) fn flags(&self) -> Flags {
        vec![
            ("dev.data_dir", self.data_dir.clone()),
            ("server.listen.api", self.listen_api.clone()),
            ("server.listen.agent", self.listen_agent.clone()),
            ("server.listen.raft", self.listen_raft.clone()),
            ("server.listen.ops", self.listen_ops.clone()),
        ]
    }

    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let data_dir = context.settings.dev_data_dir()?;
        let mut server = ServerSettings::from(&context.settings)?;
        server.data_dir = data_dir.join("replica");
        let mut agent = AgentSettings::from(&context.settings)?;
        agent.data_dir = data_dir.join("agent");
        agent.replicas = vec![server.agent.advertise.clone()];
        // What was only tried out leaves nothing running.
        agent.on_exit = OnExit::Kill;
        if context.settings.tls()?.is_some() {
            context.output.note("quorate dev has no TLS: tls.ca, tls.cert and tls.key are for the other commands");
        }
        let shutdown = start::stop_on_signals(self.stop_with_stdin)?;
        let seams = start::replica_seams(&server.data_dir, false)?;
        // Run first: only a store without an identity is a new one, and asking it is the one way to
        // know that cannot be wrong after a start that was cut short.
        let (bound, mut listening) = mpsc::channel(1);
        let output = context.output;
        let replica = async {
            // The first and only message: there is always room for it.
            let tell = |bound: mpsc::Sender<Bound>| move |bound_at| drop(bound.try_send(bound_at));
            let ready = tell(bound.clone());
            match start::replica(&server, None, Formation::Run, seams.clone(), shutdown.clone(), ready).await {
                Err(Error::Server(error)) if start::is_new_store(&error) => {
                    start::replica(&server, None, Formation::Init, seams, shutdown.clone(), tell(bound)).await
                }
                other => other,
            }
        };
        let node = async {
            if let Some(bound) = listening.recv().await {
                welcome(output, &bound, &data_dir);
            }
            start::agent(&agent, None, shutdown.clone()).await
        };
        // The failure of one is the end of both.
        tokio::try_join!(replica, node)?;
        Ok(Code::Ok)
    }
}

fn welcome(output: Output, bound: &Bound, data_dir: &std::path::Path) {
    output.note(&format!("quorate dev: clients {}, data in {}", bound.api, data_dir.display()));
    let servers = if bound.api == "127.0.0.1:7401" { String::new() } else { format!(" --servers {}", bound.api) };
    output.note(&format!(
        "in another terminal:\n  quorate{servers} job run job.toml --wait\n  quorate{servers} run list"
    ));
    output.note("Ctrl-C stops it; the data stays");
}

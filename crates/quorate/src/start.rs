//! The only wiring: real clock, entropy, network and disk handed to a replica or an agent.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_agent::driver::shim;
use quorate_disk::RocksDisk;
use quorate_seams::{
    BootInstant, Clock as _, DiskError, Network, Shutdown, ShutdownHandle, SystemClock, SystemEntropy, TcpNetwork,
};
use quorate_server::{Bound, Formation};
use quorate_tls::{Peer, PlainNetwork, Role, Tls, TlsNetwork};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::CLOSE_MAX;
use crate::exit::Error;
use crate::settings::{AgentSettings, ServerSettings, Settings};

/// Signals so close together are one request: `timeout` and terminals signal the process and its group.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// The TLS of this process, if it is to have any.
pub(crate) fn tls(settings: &Settings) -> Result<Option<Arc<Tls>>, Error> {
    let files = settings.tls()?;
    Ok(files.map(|files| Tls::open(files, Arc::new(SystemClock))).transpose()?)
}

/// The way to the replicas, for whoever is none.
pub(crate) fn network(tls: Option<Arc<Tls>>) -> Arc<dyn Network> {
    let tcp = Arc::new(TcpNetwork);
    match tls {
        Some(tls) => Arc::new(TlsNetwork::new(tls, tcp)),
        None => Arc::new(PlainNetwork::new(tcp)),
    }
}

/// Opens the store of a replica. With TLS the network is the one below it: a replica knows by itself
/// which of its listeners have it.
pub(crate) fn replica_seams(data_dir: &Path, with_tls: bool) -> Result<quorate_server::Seams, Error> {
    make_dir(data_dir)?;
    let unusable = |source| match source {
        DiskError::Corrupt(_) => Error::DamagedStore { path: data_dir.to_path_buf(), source },
        source => Error::DataDir { path: data_dir.to_path_buf(), source: Box::new(source) },
    };
    let disk = RocksDisk::open(data_dir.join("store")).map_err(unusable)?;
    Ok(quorate_server::Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        network: if with_tls { Arc::new(TcpNetwork) } else { network(None) },
        disk: Arc::new(disk),
    })
}

/// Runs a replica until it is asked to stop or cannot go on; `ready` is told where it listens.
pub(crate) async fn replica(
    settings: &ServerSettings,
    tls: Option<Arc<Tls>>,
    formation: Formation,
    seams: quorate_server::Seams,
    shutdown: Shutdown,
    ready: impl FnOnce(Bound) + Send + 'static,
) -> Result<(), Error> {
    let clients = Threads::start("clients")?;
    let config = quorate_server::Config { tls, clients: clients.handle(), ..settings.config(formation) };
    let ended = quorate_server::run(config, seams, shutdown, ready).await;
    clients.end().await;
    ended.map_err(|error| Error::Server(Box::new(error)))
}

/// A runtime beside the one that this runs on.
struct Threads(Option<Runtime>);

impl Threads {
    fn start(name: &str) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(name).build();
        Ok(Self(Some(runtime.map_err(Error::Setup)?)))
    }

    fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Ends what is left there, which may be the last to hold the store.
    async fn end(mut self) {
        if let Some(runtime) = self.0.take() {
            let _ = tokio::task::spawn_blocking(|| runtime.shutdown_timeout(CLOSE_MAX)).await;
        }
    }
}

impl Drop for Threads {
    /// Nobody waits for whoever is dropped half way, and a runtime must not be waited for on another's thread.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// True when a replica was told to go on with a store that has never been one.
pub(crate) fn is_new_store(error: &quorate_server::Error) -> bool {
    matches!(error, quorate_server::Error::Start(quorate_raft::Error::NoIdentity))
}

/// Runs an agent until it is asked to stop or cannot go on.
pub(crate) async fn agent(settings: &AgentSettings, tls: Option<Arc<Tls>>, shutdown: Shutdown) -> Result<(), Error> {
    let mut config = settings.config();
    if let Some(tls) = &tls {
        check_node(&tls.own(), settings)?;
        // What it says is for metrics and health alone.
        config.insecure = true;
        tokio::spawn(tls.clone().keep_fresh());
    }
    let seams = quorate_agent::Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        network: network(tls),
        // It makes the data directory.
        journal: Arc::new(quorate_agent::open_journal(&settings.data_dir)?),
        drivers: quorate_agent::driver::system(settings.groups(), shim::Options::new(settings.on_exit))?,
    };
    config.labels.extend(quorate_agent::attributes::detect(&settings.attributes()).await);
    quorate_agent::run(config, seams, shutdown).await.map_err(Error::from)
}

/// Refuses at once what every replica would refuse.
fn check_node(own: &Peer, settings: &AgentSettings) -> Result<(), Error> {
    if own.role() == Role::Node && own.name() == settings.node.as_str() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "tls.cert is the certificate of {own}, and agent.node is {}: an agent needs that of its node",
        settings.node
    )))
}

/// Asks for a stop at SIGTERM or SIGINT; another one, later than [`SAME_REQUEST`] after the first, ends
/// the process at once.
///
/// With `with_stdin` the end of standard input asks as well: whoever started this process holds
/// the other end of the pipe, and whatever happens to it, the kernel closes that.
pub(crate) fn stop_on_signals(with_stdin: bool) -> Result<Shutdown, Error> {
    let (handle, shutdown) = Shutdown::new();
    let handle: Arc<ShutdownHandle> = Arc::new(handle);
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Setup)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Setup)?;
    let asked = Arc::clone(&handle);
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! { biased; _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            match means(&mut first, SystemClock.boot()) {
                Meaning::Stop => {
                    tracing::info!("asked to stop");
                    asked.request();
                }
                Meaning::Again => {}
                Meaning::AtOnce => {
                    tracing::warn!("asked to stop twice: ending at once");
                    std::process::exit(i32::from(crate::exit::Code::Error as u8));
                }
            }
        }
    });
    if with_stdin {
        // A thread of its own: a blocked read would keep the runtime from ending.
        std::thread::spawn(move || {
            let mut sink = [0; 64];
            while !matches!(std::io::stdin().lock().read(&mut sink), Ok(0) | Err(_)) {}
            handle.request();
        });
    }
    Ok(shutdown)
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Stop,
    Again,
    AtOnce,
}

/// The meaning of a signal that comes now; `first` remembers when the first came.
fn means(first: &mut Option<BootInstant>, now: BootInstant) -> Meaning {
    match *first {
        None => {
            *first = Some(now);
            Meaning::Stop
        }
        Some(asked) if now.since(asked) < SAME_REQUEST => Meaning::Again,
        Some(_) => Meaning::AtOnce,
    }
}

fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_signal_ends_the_process_at_once() {
        let mut first = None;
        let meanings = [0, 1, 999, 1_000, 9_000].map(|at| means(&mut first, BootInstant::from_millis(at)));
        use Meaning::{Again, AtOnce, Stop};
        assert_eq!(meanings, [Stop, Again, Again, AtOnce, AtOnce]);
    }
}

//! One replica from start to stop: listeners, consensus, services, and what runs while it leads.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::v1;
use quorate_raft::{Addresses, Replica, Seams, StopReason};
use quorate_seams::{Listener, Shutdown};
use quorate_tls::TlsNetwork;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::auth::{Certificates, Plain, Tls};
use crate::config::{Bound, Config};
use crate::core::{Core, SUBMITS_WAITING_MAX, Shared};
use crate::liveness::{Liveness, RENEWALS_WAITING_MAX};
use crate::room::Room;
use crate::services::{
    AdminService, AgentsService, BatchesService, ClusterService, JobsService, RELAYS_MAX, RelaysService, RunsService,
    SNAPSHOTS_MAX,
};
use crate::telemetry::Telemetry;
use crate::{Error, leader, listener, liveness, ops, reading, room, sessions, watch};

/// Bytes of one request of a client: the largest job there is, and some.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Bytes of one answer to a client: a watch begins with a run and all of its tasks.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one message between a replica and an agent, either way.
pub(crate) const AGENT_MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A client that sets no deadline gets this one for everything that is not a stream.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Requests of one connection that are answered at the same time.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// A connection on which nothing is heard for this long is asked for a sign of life, and ended
/// when none comes within the same time again.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// After a request to stop, requests under way have this long to end.
const GRACE: Duration = Duration::from_secs(3);

/// Runs one replica until `shutdown` asks it to stop. `ready` is called once it listens and takes
/// part in its cluster, whether or not anybody leads yet.
///
/// # Errors
/// A wrong value, a port in use, a disk that belongs to another cluster; and, later, everything
/// after which this replica must not go on.
pub async fn run(
    config: Config,
    mut seams: Seams,
    shutdown: Shutdown,
    ready: impl FnOnce(Bound) + Send,
) -> Result<(), Error> {
    config.check()?;
    if config.insecure && config.tls.is_none() {
        tracing::warn!("insecure = true: whoever reaches these listeners may do everything, and all can be read");
    }
    let network = seams.network.clone();
    let api = listener::bind(&*network, "listen.api", &config.listen.api).await?;
    let agent = listener::bind(&*network, "listen.agent", &config.listen.agent).await?;
    let ops = match &config.listen.ops {
        Some(address) => Some(listener::bind(&*network, "listen.ops", address).await?),
        None => None,
    };

    // Our own listeners learn who calls, and what is for operators is plain. Everything else, to and from
    // other replicas, is between replicas.
    let mut background = JoinSet::new();
    if let Some(tls) = &config.tls {
        seams.network = Arc::new(TlsNetwork::new(tls.clone(), network));
        // From now on: joining may take as long as it takes somebody to replace a certificate.
        background.spawn(tls.clone().keep_fresh());
    }
    let replica = start(&config, &seams, &shutdown, &*api, &*agent).await?;
    let bound = Bound {
        api: api.local_addr().to_string(),
        agent: agent.local_addr().to_string(),
        raft: replica.raft_address().to_string(),
        ops: ops.as_ref().map(|ops| ops.local_addr().to_string()),
    };
    let (renewals, waiting) = mpsc::channel(RENEWALS_WAITING_MAX);
    let core = Arc::new(Core {
        liveness: Liveness::new(seams.clock.clone()),
        settings: config.settings.clone(),
        telemetry: Telemetry::new(config.tls.clone())
            .map_err(|source| Error::Serve { listener: "ops", source: Box::new(source) })?,
        sessions: Default::default(),
        door: Default::default(),
        upstreams: Default::default(),
        gathering: Default::default(),
        relays: Arc::new(Semaphore::new(RELAYS_MAX)),
        watches: Default::default(),
        log_streams: Default::default(),
        submits: Semaphore::new(SUBMITS_WAITING_MAX),
        snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)),
        stopping: CancellationToken::new(),
        replica: replica.clone(),
        room: Room::new(seams.disk.clone(), config.disk_reserve_bytes),
        seams,
        renewals,
    });
    tracing::info!(?bound, replica = core.replica.identity().replica, "listening");

    let closed = CancellationToken::new();
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    let tls: Arc<dyn Tls> = match &config.tls {
        Some(tls) => Arc::new(Certificates(tls.clone())),
        None => Arc::new(Plain),
    };
    let serving = |name: &'static str, router: Router, listener: Box<dyn Listener>| {
        let incoming = listener::accept(name, listener, tls.clone(), config.connections_max, closed.clone());
        let stopping = core.stopping.clone().cancelled_owned();
        async move {
            let served = router.serve_with_incoming_shutdown(incoming, stopping).await;
            served.map_err(|source| Error::Serve { listener: name, source: Box::new(source) })
        }
    };
    let clients = config.clients.clone().unwrap_or_else(Handle::current);
    parts.spawn_on(serving("api", api_routes(&core)?, api), &clients);
    parts.spawn(serving("agent", agent_routes(&core), agent));
    if let Some(listener) = ops {
        let core = core.clone();
        parts.spawn(async move {
            let served = ops::serve(listener, core).await;
            served.map_err(|source| Error::Serve { listener: "ops", source: Box::new(source) })
        });
    }
    background.spawn(liveness::confirm_renewals(core.clone(), waiting));
    background.spawn(watch::hand_out(core.clone()));
    background.spawn(sessions::wake_touched(core.clone()));
    background.spawn(sessions::pass_renewals_on(core.clone()));
    background.spawn(leader::drive(core.clone()));
    let informed = core.clone();
    background.spawn(async move { reading::stay_informed(&informed).await });
    let looking = core.clone();
    background.spawn(async move { room::watch(&looking).await });
    ready(bound);

    let stopped = replica.stopped();
    let end = tokio::select! {
        biased;
        () = shutdown.requested() => Ok(()),
        reason = stopped => match reason {
            StopReason::Requested => Ok(()),
            reason => Err(Error::Stopped(reason)),
        },
        Some(part) = parts.join_next() => match part {
            Ok(ended) => ended,
            Err(panic) => Err(Error::Serve { listener: "a", source: Box::new(panic) }),
        },
    };

    tracing::info!("stopping");
    core.stopping.cancel();
    let drained = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::info!("some connections did not end in time and are cut");
    }
    closed.cancel();
    drop(background);
    replica.stop().await;
    end
}

async fn start(
    config: &Config,
    seams: &Seams,
    shutdown: &Shutdown,
    api: &dyn Listener,
    agent: &dyn Listener,
) -> Result<Replica, Error> {
    let advertised = |wanted: &Option<String>, bound: &dyn Listener| {
        wanted.clone().unwrap_or_else(|| bound.local_addr().to_string())
    };
    let config = quorate_raft::Config {
        formation: config.formation.clone(),
        region: config.region.clone(),
        listen: config.listen.raft.clone(),
        advertise: Addresses {
            // Empty stands for the address that raft binds.
            raft: config.advertise.raft.clone().unwrap_or_default(),
            api: advertised(&config.advertise.api, api),
            agent: advertised(&config.advertise.agent, agent),
        },
        learner: config.learner,
        tuning: config.tuning.clone(),
    };
    Box::pin(Replica::start(config, seams.clone(), shutdown.clone())).await.map_err(Error::Start)
}

fn builder() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

fn api_routes(core: &Shared) -> Result<Router, Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(quorate_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|source| Error::Serve { listener: "api", source: Box::new(source) })?;
    let health = tonic_health::pb::health_server::HealthServer::new(crate::services::Health(core.clone()));
    let jobs = v1::jobs_server::JobsServer::new(JobsService(core.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let runs = v1::runs_server::RunsServer::new(RunsService(core.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let batches = v1::batches_server::BatchesServer::new(BatchesService(core.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let cluster = v1::cluster_server::ClusterServer::new(ClusterService(core.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let admin = v1::admin_server::AdminServer::new(AdminService(core.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    Ok(builder()
        .timeout(REQUEST_DEADLINE)
        .add_service(health)
        .add_service(reflection)
        .add_service(jobs)
        .add_service(runs)
        .add_service(batches)
        .add_service(cluster)
        .add_service(admin))
}

fn agent_routes(core: &Shared) -> Router {
    let agents = v1::agents_server::AgentsServer::new(AgentsService(core.clone()))
        .max_decoding_message_size(AGENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(AGENT_MESSAGE_BYTES_MAX);
    let relays = v1::relays_server::RelaysServer::new(RelaysService(core.clone()));
    // Many sessions come on one connection where a replica passes them on.
    builder()
        .initial_stream_window_size(sessions::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(sessions::CONNECTION_WINDOW_BYTES)
        .add_service(agents)
        .add_service(relays)
}

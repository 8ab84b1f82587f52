//! Who may do what, when every caller shows a certificate.

use std::sync::Arc;

use quorate_client::agent_link::{AgentLink, session_error};
use quorate_client::{Client, ClientConfig, Error};
use quorate_proto::v1::server_message::Message as Down;
use quorate_proto::{ApiError, v1};
use quorate_seams::{Network, Shutdown, SystemClock, SystemEntropy};
use quorate_server::Formation;
use quorate_state::Settings;
use quorate_tls::{Authority, Files, Peer, Request, Role, Tls, TlsNetwork};

use crate::agent::hello;
use crate::cluster::{Cluster, PATIENCE, config, eventually, network, seams};
use crate::jobs::{chain, run, submit};

/// An authority and what it issues.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Authority::at(dir.path()).create(1, &SystemClock).unwrap();
        Self { dir }
    }

    fn tls(&self, role: Role, name: &str) -> Arc<Tls> {
        let hosts = if role == Role::Replica { vec!["127.0.0.1".into()] } else { vec![] };
        let request = Request { peer: Peer::new(role, name).unwrap(), hosts, days: 1 };
        let authority = Authority::at(self.dir.path());
        let issued = authority.issue(&request, &SystemClock).unwrap();
        Tls::open(Files { ca: authority.cert(), cert: issued.cert, key: issued.key }, Arc::new(SystemClock)).unwrap()
    }

    fn network(&self, role: Role, name: &str) -> Arc<dyn Network> {
        Arc::new(TlsNetwork::new(self.tls(role, name), network()))
    }

    /// Replicas with certificates of their own; clients of this cluster are operators.
    async fn cluster(&self, count: usize) -> Cluster {
        let tls = (0..count).map(|number| Some(self.tls(Role::Replica, &format!("{number}")))).collect();
        Cluster::start_each(tls, &Settings::default(), self.network(Role::Operator, "olga")).await
    }

    fn client(&self, cluster: &Cluster, role: Role, name: &str) -> Client {
        let addresses = cluster.replicas.iter().map(|replica| replica.bound.api.clone()).collect();
        let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(addresses) };
        Client::new(config, self.network(role, name), Arc::new(SystemEntropy))
    }
}

/// Opens a session as `hello` says, with the certificate behind `network`; the first answer.
async fn session(address: &str, network: &Arc<dyn Network>, hello: v1::Hello) -> Result<Down, ApiError> {
    let opened = AgentLink::open(&[address.to_owned()], 0, hello, network).await;
    let mut link = opened.map_err(|error| error.api().cloned().expect("an answer"))?;
    let answer = tokio::time::timeout(PATIENCE, link.receiver.message()).await.expect("an answer in time");
    match answer {
        Ok(message) => Ok(message.and_then(|message| message.message).expect("a message")),
        Err(status) => Err(session_error(&status)),
    }
}

fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Api(ApiError::Denied(why))) => why,
        other => panic!("must be denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_node_speaks_for_itself_through_any_replica() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let network = certificates.network(Role::Node, "n1");
    for replica in [leader, follower] {
        let address = &cluster.replicas[replica].bound.agent;
        let welcome = session(address, &network, hello("n1", 1)).await;
        assert!(matches!(welcome, Ok(Down::Welcome(_))), "{welcome:?}");
        let Err(ApiError::Denied(why)) = session(address, &network, hello("n2", 2)).await else {
            panic!("another node's name");
        };
        assert!(why.contains("that of node n1") && why.contains("node \"n2\""), "{why}");
        let user = certificates.network(Role::User, &format!("user-{replica}"));
        let Err(ApiError::Denied(why)) = session(address, &user, hello("n3", 3)).await else { panic!("no node") };
        assert!(why.contains("may not serve as agent"), "{why}");
    }
    let nodes = cluster.client().list_nodes(v1::ListNodesRequest::default()).await.unwrap().nodes;
    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["n1"]);
}

#[tokio::test]
async fn a_replica_brings_renewals_to_the_leader_with_its_own_certificate_and_a_node_may_not() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let network = certificates.network(Role::Node, "n1");
    let address = cluster.replicas[follower].bound.agent.clone();
    let mut link = AgentLink::open(&[address], 0, hello("n1", 1), &network).await.unwrap();
    let mut epoch = 0;
    let mut renewed = 0;
    while renewed < 4 {
        let message = tokio::time::timeout(PATIENCE, link.receiver.message()).await.expect("an answer in time");
        match message.unwrap().expect("the session goes on").message {
            Some(Down::Welcome(welcome)) => epoch = welcome.epoch,
            Some(Down::Renewed(answer)) => renewed = answer.sent_at_ms,
            _ => continue,
        }
        let renew = v1::agent_message::Message::Renew(v1::Renew { epoch, sent_at_ms: renewed + 1 });
        link.sender.send(v1::AgentMessage { message: Some(renew) }).await.unwrap();
    }
    let metrics = crate::startup::get(cluster.replicas[follower].bound.ops.as_ref().unwrap(), "/metrics").await;
    assert!(crate::startup::value(&metrics, "quorate_lease_renewals_passed_on_total") >= 2.0, "{metrics}");

    let target = cluster.replicas[leader].bound.agent.clone();
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let (network, target) = (network.clone(), target.clone());
        async move { network.connect(&target).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://leader");
    let mut relays = v1::relays_client::RelaysClient::new(endpoint.connect_with_connector_lazy(connector));
    let refused = relays.renewals(tokio_stream::empty()).await.unwrap_err();
    let ApiError::Denied(why) = session_error(&refused) else { panic!("{refused:?}") };
    assert!(why.contains("node:n1 may not relay renewals"), "{why}");
}

#[tokio::test]
async fn roles_decide_what_a_client_may_do_and_the_log_knows_who_did_it() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(1).await;
    let user = certificates.client(&cluster, Role::User, "alice");
    let submitted = user.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let got = user.get_run(v1::GetRunRequest { run: run(&submitted.run_id) }).await.unwrap();
    assert_eq!(got.run.unwrap().principal, "user:alice");
    let why = denied(user.remove_replica(v1::RemoveReplicaRequest { id: 1 }).await);
    assert!(why.contains("user:alice may not change replicas") && why.contains("operator"), "{why}");
    let namespace = || v1::CreateNamespaceRequest { namespace: "acme".into(), request_id: String::new() };
    denied(user.create_namespace(namespace()).await);
    cluster.client().create_namespace(namespace()).await.unwrap();
    for role in [Role::Node, Role::Replica] {
        let client = certificates.client(&cluster, role, "other");
        let why = denied(client.submit_job(submit(chain("other", &["one"]), "")).await);
        assert!(why.contains("may not submit"), "{why}");
        denied(client.list_nodes(v1::ListNodesRequest::default()).await);
    }
    let plain = Client::new(
        ClientConfig::new(vec![cluster.replicas[0].bound.api.clone()]),
        Arc::new(quorate_tls::PlainNetwork::new(network())),
        Arc::new(SystemEntropy),
    );
    let why = denied(plain.submit_job(submit(chain("plain", &["one"]), "")).await);
    assert!(why.contains("wants TLS: name your certificate"), "{why}");
}

#[tokio::test]
async fn only_a_replica_gets_to_the_raft_listener_and_runs_with_its_certificate() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(1).await;
    let raft = &cluster.replicas[0].bound.raft;
    certificates.network(Role::Replica, "other").connect(raft).await.unwrap();
    for role in [Role::Node, Role::Operator, Role::User] {
        let refused = certificates.network(role, "some").connect(raft).await.err().unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{refused}");
    }
    let tls = Some(certificates.tls(Role::Node, "n1"));
    let config = quorate_server::Config { tls, ..config(Formation::Init, &Settings::default()) };
    let (_stop, shutdown) = Shutdown::new();
    let error = Box::pin(quorate_server::run(config, seams(), shutdown, |_| ())).await.unwrap_err();
    assert!(error.to_string().contains("tls.cert: it is the certificate of node:n1"), "{error}");
}

#[tokio::test]
async fn the_time_left_of_the_certificate_is_measured() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(1).await;
    let ops = cluster.replicas[0].bound.ops.clone().unwrap();
    let metrics = eventually("the metrics are there", || async {
        let metrics = crate::startup::get(&ops, "/metrics").await;
        metrics.contains("quorate_is_leader 1").then_some(metrics)
    })
    .await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("quorate_tls_certificate_expires_seconds{principal=\"replica:0\"} "));
    let left: i64 = line.expect("a line for the certificate").parse().unwrap();
    assert!((86_300..=86_400).contains(&left), "{left}");
    assert!(crate::startup::get(&ops, "/readyz").await.starts_with("HTTP/1.1 200"));
}

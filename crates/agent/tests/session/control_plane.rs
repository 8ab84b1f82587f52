//! A control plane of one listener, whose every word a test chooses.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as FromAgent;
use quorate_proto::v1::agents_server::{Agents, AgentsServer};
use quorate_proto::v1::server_message::Message as ToAgent;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// What a test may wait at the most: far beyond what it needs, so that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const CLUSTER: &str = "000000000000000000000000000000c1";

pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    sessions: mpsc::Receiver<Conversation>,
}

/// One session, seen from the control plane.
pub(crate) struct Conversation {
    pub(crate) hello: v1::Hello,
    pub(crate) revision: u64,
    /// How often the welcome asks for what attempts use; zero: not.
    pub(crate) usage_every_ms: u64,
    /// Where the welcome asks it to measure the way to.
    pub(crate) landmarks: Vec<v1::Landmark>,
    /// The epoch that was granted, for the answers to renewals.
    pub(crate) epoch: u64,
    /// Renewals are answered as they come.
    pub(crate) renews: bool,
    out: mpsc::Sender<Result<v1::ServerMessage, Status>>,
    inbound: Streaming<v1::AgentMessage>,
}

struct Service(mpsc::Sender<Conversation>);

#[tonic::async_trait]
impl Agents for Service {
    type SessionStream = ReceiverStream<Result<v1::ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let (out, answers) = mpsc::channel(64);
        let sessions = self.0.clone();
        tokio::spawn(async move {
            let Ok(Some(v1::AgentMessage { message: Some(FromAgent::Hello(hello)) })) = inbound.message().await else {
                panic!("a session begins with Hello");
            };
            let (landmarks, revision) = (vec![], 100);
            let conversation =
                Conversation { hello, revision, usage_every_ms: 0, landmarks, epoch: 0, renews: true, out, inbound };
            let _ = sessions.send(conversation).await;
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl ControlPlane {
    #[expect(clippy::disallowed_methods, reason = "the other side of the agent's network is a real one")]
    pub(crate) async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, sessions) = mpsc::channel(1);
        let server = tonic::transport::Server::builder().add_service(AgentsServer::new(Service(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions }
    }

    /// The next session, not yet welcomed.
    pub(crate) async fn session(&mut self) -> Conversation {
        tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("an agent comes").unwrap()
    }

    /// The next session, welcomed with a lease and given its desired set.
    pub(crate) async fn welcomed(&mut self, epoch: u64, lease_ms: u64, set: Vec<v1::Assignment>) -> Conversation {
        let mut session = self.session().await;
        session.welcome(epoch, lease_ms).await;
        session.say(full(set)).await;
        session
    }
}

impl Conversation {
    pub(crate) async fn welcome(&mut self, epoch: u64, lease_agent_ms: u64) {
        self.epoch = epoch;
        let welcome = v1::Welcome {
            cluster_id: CLUSTER.into(),
            epoch,
            lease_agent_ms,
            kill_ms: 1_000,
            usage_every_ms: self.usage_every_ms,
            relayed_as: None,
            landmarks: self.landmarks.clone(),
        };
        self.say(ToAgent::Welcome(welcome)).await;
    }

    pub(crate) async fn say(&mut self, message: ToAgent) {
        let message = v1::ServerMessage { incarnation: 1, revision: self.revision, message: Some(message) };
        let _ = self.out.send(Ok(message)).await;
    }

    /// Ends the session with an error.
    pub(crate) async fn refuse(self, status: Status) {
        let _ = self.out.send(Err(status)).await;
    }

    /// What the agent says next, renewals aside.
    pub(crate) async fn hear(&mut self) -> FromAgent {
        let hear = async {
            loop {
                let message = self.inbound.message().await.expect("the session goes on").expect("the agent is there");
                match message.message.expect("a message") {
                    FromAgent::Renew(renew) if self.renews => {
                        assert_eq!(renew.epoch, self.epoch);
                        let renewed = v1::Renewed { epoch: renew.epoch, sent_at_ms: renew.sent_at_ms };
                        self.say(ToAgent::Renewed(renewed)).await;
                    }
                    FromAgent::Renew(_) => {}
                    other => return other,
                }
            }
        };
        tokio::time::timeout(PATIENCE, hear).await.expect("the agent says something")
    }

    /// The next batch of reports, not answered.
    pub(crate) async fn reports(&mut self) -> v1::Reports {
        match self.hear().await {
            FromAgent::Reports(reports) => reports,
            other => panic!("not reports: {other:?}"),
        }
    }

    pub(crate) async fn acknowledge(&mut self, reports: &v1::Reports, refused: Vec<v1::AttemptRef>) {
        self.revision += 1;
        self.say(ToAgent::ReportsAck(v1::ReportsAck { sequence: reports.sequence, refused })).await;
    }

    /// Acknowledges reports until one satisfies `wanted`, and returns them all.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&v1::AttemptReport) -> bool) -> Vec<v1::AttemptReport> {
        let mut heard = Vec::new();
        loop {
            let batch = self.reports().await;
            assert_eq!(batch.epoch, self.epoch, "reports name the lease");
            self.acknowledge(&batch, Vec::new()).await;
            let found = batch.reports.iter().any(&wanted);
            heard.extend(batch.reports);
            if found {
                return heard;
            }
        }
    }
}

/// A desired set that comes whole.
pub(crate) fn full(assignments: Vec<v1::Assignment>) -> ToAgent {
    ToAgent::Desired(v1::DesiredSet { assignments, more: false })
}

/// Each test has a run of its own: an agent that starts kills what it finds of its attempts, and
/// attempts are known by their names.
pub(crate) fn attempt(step: u32) -> v1::AttemptRef {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let hash = test.bytes().fold(5_381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let run_id = quorate_state::RunId(u64::from(std::process::id()) << 32 | u64::from(hash)).to_string();
    v1::AttemptRef { run_id, step, index: 0, number: 1 }
}

pub(crate) fn assignment(step: u32, token: u64, argv: &[&str]) -> v1::Assignment {
    v1::Assignment {
        gpus: None,
        want: None,
        attempt: Some(attempt(step)),
        token,
        namespace: "default".into(),
        job: "job".into(),
        task: format!("task-{step}"),
        driver: v1::Driver::Process.into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        resources: Some(v1::Resources { cpu_milli: 1, memory_bytes: 1, gpu_milli: 0 }),
        on_node_loss: v1::OnNodeLoss::AtLeastOnce.into(),
        stop: false,
        count: 1,
        silent_timeout_ms: None,
        flaw: None,
        gang: None,
    }
}

/// Tells whether a report says this of this step's attempt.
pub(crate) fn says(step: u32, phase: v1::AttemptPhase, gone: bool) -> impl Fn(&v1::AttemptReport) -> bool {
    move |report| report.attempt == Some(attempt(step)) && report.phase() == phase && report.gone == gone
}

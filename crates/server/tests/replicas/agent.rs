//! An agent that runs nothing: it says over the wire what a real one would, when a test wants it to.

use std::collections::VecDeque;

use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as Up;
use quorate_proto::v1::agents_client::AgentsClient;
use quorate_proto::v1::server_message::Message as Down;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::cluster::PATIENCE;

/// One open session.
pub(crate) struct Agent {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::ServerMessage>,
    /// The lease granted.
    pub(crate) epoch: u64,
    /// How often it is asked what attempts use.
    pub(crate) usage_every_ms: u64,
    sequence: u64,
    /// What came while an answer was waited for.
    passed: VecDeque<v1::ServerMessage>,
}

/// What an agent says of itself; `identity` is its data directory.
pub(crate) fn hello(node: &str, identity: u8) -> v1::Hello {
    v1::Hello {
        node: node.into(),
        uuid: format!("{identity:032x}"),
        journal: format!("{identity:032x}"),
        boot_id: "boot".into(),
        machine_id: "machine".into(),
        region: "eu".into(),
        cluster: "eu-1".into(),
        capacity: Some(v1::Resources { cpu_milli: 4_000, memory_bytes: 8 << 30, gpu_milli: 0 }),
        ..v1::Hello::default()
    }
}

impl Agent {
    /// Opens a session and takes the welcome; the refusal when there is none.
    pub(crate) async fn connect(address: &str, hello: v1::Hello) -> Result<Self, Status> {
        let mut client = AgentsClient::connect(format!("http://{address}")).await.expect("the agent listener answers");
        let (up, messages) = mpsc::channel(64);
        up.send(v1::AgentMessage { message: Some(Up::Hello(hello)) }).await.unwrap();
        let down = client.session(ReceiverStream::new(messages)).await?.into_inner();
        let mut agent = Self { up, down, epoch: 0, usage_every_ms: 0, sequence: 0, passed: VecDeque::new() };
        match agent.next().await? {
            v1::ServerMessage { message: Some(Down::Welcome(welcome)), .. } => {
                (agent.epoch, agent.usage_every_ms) = (welcome.epoch, welcome.usage_every_ms);
            }
            other => panic!("a session begins with a welcome, not with {other:?}"),
        }
        Ok(agent)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<v1::ServerMessage, Status> {
        let next = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("the server says something");
        next?.ok_or_else(|| Status::cancelled("the session has ended"))
    }

    /// The next message that `wanted` takes; others are passed over.
    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(&v1::ServerMessage) -> Option<T>) -> T {
        loop {
            let message = match self.passed.pop_front() {
                Some(message) => message,
                None => self.next().await.expect("the session goes on"),
            };
            if let Some(found) = wanted(&message) {
                return found;
            }
        }
    }

    /// The next assignment that is new or has changed.
    pub(crate) async fn assignment(&mut self) -> v1::Assignment {
        self.find(|message| match &message.message {
            Some(Down::Desired(set)) => set.assignments.first().cloned(),
            Some(Down::Delta(delta)) => delta.set.first().cloned(),
            _ => None,
        })
        .await
    }

    /// The next assignment that is new or has changed and that `wanted` takes.
    pub(crate) async fn find_assignment(&mut self, wanted: impl Fn(&v1::Assignment) -> bool) -> v1::Assignment {
        self.find(|message| match &message.message {
            Some(Down::Desired(set)) => set.assignments.iter().find(|assignment| wanted(assignment)).cloned(),
            Some(Down::Delta(delta)) => delta.set.iter().find(|assignment| wanted(assignment)).cloned(),
            _ => None,
        })
        .await
    }

    /// Says something.
    pub(crate) async fn say(&mut self, message: Up) {
        self.up.send(v1::AgentMessage { message: Some(message) }).await.expect("the session is open");
    }

    /// Reports an attempt and waits for the answer; those refused.
    pub(crate) async fn report(&mut self, report: v1::AttemptReport) -> Vec<v1::AttemptRef> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.say(Up::Reports(v1::Reports { epoch: self.epoch, sequence, reports: vec![report] })).await;
        loop {
            let message = self.next().await.expect("the session goes on");
            match &message.message {
                Some(Down::ReportsAck(ack)) if ack.sequence == sequence => return ack.refused.clone(),
                // Whoever asks for it next finds it.
                _ => self.passed.push_back(message),
            }
        }
    }

    /// Takes an attempt to its end, with exit code 0.
    pub(crate) async fn finish(&mut self, assignment: &v1::Assignment) {
        assert_eq!(self.report(report(assignment, v1::AttemptPhase::Running)).await, []);
        assert_eq!(self.report(ended(assignment)).await, []);
    }
}

/// What an agent would say of an attempt that goes on.
pub(crate) fn report(assignment: &v1::Assignment, phase: v1::AttemptPhase) -> v1::AttemptReport {
    v1::AttemptReport {
        attempt: assignment.attempt.clone(),
        token: assignment.token,
        phase: phase.into(),
        ..v1::AttemptReport::default()
    }
}

/// What an agent would say of an attempt that ended well.
pub(crate) fn ended(assignment: &v1::Assignment) -> v1::AttemptReport {
    v1::AttemptReport {
        gone: true,
        exit: Some(v1::Exit { exit: Some(v1::exit::Exit::Code(0)) }),
        stopped: assignment.stop,
        ..report(assignment, v1::AttemptPhase::Ended)
    }
}

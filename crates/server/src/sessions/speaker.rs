//! What a session says to its agent: in one place and one order, so that revisions never go back on
//! the stream. An agent refuses a set that is older than the acknowledgement before it.

use std::time::Duration;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_proto::v1::server_message::Message;
use quorate_state::{Epoch, LeaseTerms, NodeName, NodeStatus, State};
use tokio::sync::mpsc;
use tonic::Status;

use super::desired::{Desired, PART_BYTES_MAX};

/// An agent takes a message within this, or its session ends.
pub(super) const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// What goes to the agent.
pub(crate) type Outbound = mpsc::Sender<Result<v1::ServerMessage, Status>>;

/// The leader's side of one agent's stream.
pub(super) struct Speaker<'a> {
    node: &'a NodeName,
    epoch: Epoch,
    out: &'a Outbound,
    desired: Desired,
}

impl<'a> Speaker<'a> {
    pub(super) fn new(node: &'a NodeName, epoch: Epoch, out: &'a Outbound) -> Self {
        Self { node, epoch, out, desired: Desired::new(PART_BYTES_MAX) }
    }

    pub(super) async fn welcome(
        &self,
        view: &State,
        lease: LeaseTerms,
        usage_every: Duration,
        relayed_as: Option<v1::SessionName>,
        landmarks: Vec<v1::Landmark>,
    ) -> Result<(), ApiError> {
        let welcome = v1::Welcome {
            cluster_id: view.meta().cluster.to_string(),
            epoch: self.epoch.0,
            lease_agent_ms: lease.agent_ms,
            kill_ms: lease.kill_ms,
            usage_every_ms: u64::try_from(usage_every.as_millis()).unwrap_or(u64::MAX),
            relayed_as,
            landmarks,
        };
        self.send(view, Message::Welcome(welcome)).await
    }

    /// Tells the agent what `view` wants of it: all of that when it has heard nothing of it in this
    /// session, else what has changed.
    pub(super) async fn desired(&mut self, view: &State) -> Result<(), ApiError> {
        let live = view.node(self.node).is_some_and(|node| node.epoch == self.epoch && node.status == NodeStatus::Up);
        if !live {
            return Err(self.epoch_over());
        }
        for message in self.desired.news(view, self.node) {
            self.send(view, message).await?;
        }
        Ok(())
    }

    /// Tells the agent everything again.
    pub(super) async fn desired_anew(&mut self, view: &State) -> Result<(), ApiError> {
        self.desired.forget();
        self.desired(view).await
    }

    /// Acknowledges reports at the revision of `view`. The agent takes no older set after that, so
    /// all that was placed on it up to there is said first.
    pub(super) async fn acknowledge(&mut self, view: &State, ack: v1::ReportsAck) -> Result<(), ApiError> {
        self.desired(view).await?;
        self.send(view, Message::ReportsAck(ack)).await
    }

    /// Says something that neither starts nor ends any work.
    pub(super) async fn send(&self, view: &State, message: Message) -> Result<(), ApiError> {
        let message = v1::ServerMessage {
            incarnation: view.meta().incarnation,
            revision: view.revision().0,
            message: Some(message),
        };
        match tokio::time::timeout(SEND_DEADLINE, self.out.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Cancelled("the agent is gone".into())),
            Err(_) => Err(ApiError::DeadlineExceeded("the agent takes no messages".into())),
        }
    }

    pub(super) fn epoch_over(&self) -> ApiError {
        ApiError::Stale(format!("epoch {} of node {} is over: register again", self.epoch, self.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    /// What waits on the stream: the revision, and a word for each message.
    fn said(stream: &mut mpsc::Receiver<Result<v1::ServerMessage, Status>>) -> Vec<(u64, &'static str)> {
        let word = |message| match message {
            Message::Desired(_) => "set",
            Message::Delta(_) => "delta",
            Message::ReportsAck(_) => "ack",
            Message::Welcome(_) | Message::Renewed(_) | Message::LogRequest(_) => "other",
        };
        let next = || stream.try_recv().ok();
        let messages = std::iter::from_fn(next).map(|message| message.unwrap());
        messages.map(|message| (message.revision, word(message.message.unwrap()))).collect()
    }

    #[tokio::test]
    async fn an_acknowledgement_never_overtakes_a_placement() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one", "two"]);
        let one = world.place(run, 0, &node);
        let (out, mut stream) = mpsc::channel(16);
        let mut speaker = Speaker::new(&node, world.epoch(&node), &out);
        speaker.desired(&world.state).await.unwrap();
        assert_eq!(said(&mut stream), [(world.state.revision().0, "set")]);

        // Both are in the view by the time at which the report is acknowledged.
        world.ended(&node, one, true);
        world.place(run, 1, &node);
        let now = world.state.revision().0;
        speaker.acknowledge(&world.state, v1::ReportsAck::default()).await.unwrap();
        assert_eq!(said(&mut stream), [(now, "delta"), (now, "ack")]);
        speaker.acknowledge(&world.state, v1::ReportsAck::default()).await.unwrap();
        assert_eq!(said(&mut stream), [(now, "ack")], "nothing else is new");
        speaker.desired_anew(&world.state).await.unwrap();
        assert_eq!(said(&mut stream), [(now, "set")]);
    }

    #[tokio::test]
    async fn a_lease_that_is_over_ends_the_session_before_anything_is_said() {
        let mut world = World::new();
        let node = world.node("n1");
        let epoch = world.epoch(&node);
        world.node("n1");
        let (out, mut stream) = mpsc::channel(16);
        let end = Speaker::new(&node, epoch, &out).acknowledge(&world.state, v1::ReportsAck::default()).await;
        assert!(matches!(end, Err(ApiError::Stale(_))), "{end:?}");
        assert_eq!(said(&mut stream), []);
    }
}

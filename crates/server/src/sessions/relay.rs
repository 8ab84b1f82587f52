//! A session as a follower passes it on to the leader, both ways, without a word of its own: only
//! the leader may answer a renewal. Where the leader takes them together, renewals go with those of other sessions
//! (`gathering`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_proto::v1::agents_client::AgentsClient;
use quorate_raft::{Hint, Role};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::MESSAGES_WAITING_MAX;
use super::gathering::Gatherer;
use super::serve::Origin;
use super::speaker::Outbound;
use crate::auth::speaks_for;
use crate::core::Core;
use crate::replica::AGENT_MESSAGE_BYTES_MAX;

/// The leader accepts a connection, and the session on it, within this.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Both ends of a relayed session take a message within this.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Marks a session that a replica passes on, so that two replicas that take each other for the
/// leader do not send it round in circles.
const RELAYED: &str = "quorate-relayed-by";

/// True when the session comes from another replica.
pub(crate) fn is_relayed(metadata: &MetadataMap) -> bool {
    metadata.contains_key(RELAYED)
}

/// Passes a session on until either side ends it or `leader` does not lead any more.
pub(crate) async fn relay<S>(core: Arc<Core>, from: Origin, leader: Hint, inbound: S, out: Outbound)
where
    S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
{
    let piping = Box::pin(pipe(&core, from, &leader, inbound, &out));
    let status = tokio::select! {
        biased;
        () = superseded(&core, leader.id) => to_status(&ApiError::Unavailable("the leader has changed: connect again".into())),
        end = piping => end,
    };
    let _ = tokio::time::timeout(SEND_DEADLINE, out.send(Err(status))).await;
}

/// Ends when this replica stops or learns that another one leads.
pub(super) async fn superseded(core: &Core, leader: u64) {
    let mut role = core.replica.role();
    let follows = |role: &Role| matches!(role, Role::Follower { leader: Some(hint) } if hint.id == leader);
    tokio::select! {
        biased;
        () = core.stopping.cancelled() => {}
        _ = role.wait_for(|role| !follows(role)) => {}
    }
}

async fn pipe<S>(core: &Core, from: Origin, leader: &Hint, mut inbound: S, out: &Outbound) -> Status
where
    S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
{
    let Origin { principal, incoming, .. } = from;
    let mut incoming = Some(incoming);
    let (upstream, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    let seat = match core.upstreams.take(&leader.agent, &core.seams.network) {
        Ok(seat) => seat,
        Err(status) => return status,
    };
    let opening = open(core, seat.channel.clone(), messages);
    let mut answers = match tokio::time::timeout(CONNECT_DEADLINE, opening).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(status)) => {
            seat.suspect_for(&status);
            return status;
        }
        Err(_) => {
            seat.suspect();
            return unavailable(format!("replica {}, which leads, does not answer", leader.id));
        }
    };
    let gatherer: OnceLock<Gatherer<'_>> = OnceLock::new();
    let up = async {
        while let Some(Ok(message)) = inbound.next().await {
            if let Some(v1::agent_message::Message::Renew(renew)) = message.message
                && gatherer.get().is_some_and(|gatherer| gatherer.takes(renew))
            {
                continue;
            }
            // The leader sees this replica's certificate, and takes its word for whose session it is.
            if let Some(v1::agent_message::Message::Hello(hello)) = &message.message
                && let Err(error) = speaks_for(&principal, &hello.node, false)
            {
                return to_status(&error);
            }
            if upstream.send(message).await.is_err() {
                break;
            }
        }
        unavailable("the session was ended".into())
    };
    let down = async {
        let mut confirmed = None;
        let mut last = v1::ServerMessage::default();
        loop {
            let message = tokio::select! {
                biased;
                said = answers.next() => match said {
                    Some(Ok(message)) => message,
                    // What the leader says to the agent, refusals included, is passed on as it is.
                    Some(Err(status)) => return status,
                    None => return unavailable("the leader ended the session: connect again".into()),
                },
                renewed = newest(&mut confirmed) => {
                    let message = Some(v1::server_message::Message::Renewed(renewed));
                    // Said where the leader's last word stands, so that nothing on this stream goes back.
                    v1::ServerMessage { message, ..last.clone() }
                }
            };
            if let Some(v1::server_message::Message::Welcome(welcome)) = &message.message {
                drop(incoming.take());
                if let Some(name) = welcome.relayed_as {
                    let (entered, receiver) = core.gathering.enter(name);
                    confirmed = gatherer.set(entered).is_ok().then_some(receiver);
                }
            }
            last = v1::ServerMessage { message: None, ..message };
            match tokio::time::timeout(SEND_DEADLINE, out.send(Ok(message))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return unavailable("the agent is gone".into()),
                Err(_) => return unavailable("the agent takes no messages".into()),
            }
        }
    };
    // The leader's last word first: it may end the session because of what came up before.
    tokio::select! {
        biased;
        status = down => status,
        status = up => status,
    }
}

/// The newest renewal that the leader has confirmed, once there is another; never for a session that is not gathered.
async fn newest(confirmed: &mut Option<watch::Receiver<Option<v1::Renewed>>>) -> v1::Renewed {
    if let Some(receiver) = confirmed {
        // An error would mean that the session was left, while it is here.
        while receiver.changed().await.is_ok() {
            if let Some(renewed) = *receiver.borrow_and_update() {
                return renewed;
            }
        }
    }
    std::future::pending().await
}

async fn open(
    core: &Core,
    channel: Channel,
    messages: mpsc::Receiver<v1::AgentMessage>,
) -> Result<tonic::Streaming<v1::ServerMessage>, Status> {
    let mut client = AgentsClient::new(channel)
        .max_decoding_message_size(AGENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(AGENT_MESSAGE_BYTES_MAX);
    let mut request = Request::new(ReceiverStream::new(messages));
    request.metadata_mut().insert(RELAYED, core.replica.identity().replica.into());
    Ok(client.session(request).await?.into_inner())
}

fn unavailable(why: String) -> Status {
    to_status(&ApiError::Unavailable(why))
}

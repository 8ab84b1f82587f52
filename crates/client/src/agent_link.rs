//! An agent's session with any replica; when it ends, the agent opens another one.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::{ApiError, v1};
use quorate_seams::Network;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use v1::agents_client::AgentsClient;

use crate::channel::{Failure, connect_lazily};
use crate::{Error, MESSAGE_BYTES_MAX};

/// Messages to the server that wait for the connection; a sender of one more waits too.
pub const OUTGOING_MESSAGES_MAX: usize = 256;
/// A replica that has not taken the session by then is passed over.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// One open session.
pub struct AgentLink {
    /// To the server; closed when the session has ended.
    pub sender: mpsc::Sender<v1::AgentMessage>,
    /// From the server; its end or error ends the session.
    pub receiver: Streaming<v1::ServerMessage>,
    /// The replica's agent address.
    pub address: String,
}

impl AgentLink {
    /// Opens a session with the first of `addresses` that takes it, beginning at position `first`
    /// (counted around), and introduces the agent. Each address is tried once: pauses between
    /// rounds are the caller's, who also knows which position to begin at next.
    ///
    /// # Errors
    /// None took it, or one refused this agent for a reason that the others share.
    pub async fn open(
        addresses: &[String],
        first: usize,
        hello: v1::Hello,
        network: &Arc<dyn Network>,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let mut last = ApiError::Unavailable("there is no address to ask".into());
        for position in 0..addresses.len() {
            let address = &addresses[(first + position) % addresses.len()];
            let failure = match Self::open_one(address, hello.clone(), network).await? {
                Ok(link) => return Ok(link),
                Err(failure) => failure,
            };
            tracing::debug!(%address, error = %failure.error, "no session");
            if is_about_the_agent(&failure.error) {
                return Err(Error::Api(failure.error));
            }
            last = failure.error;
        }
        Err(Error::Unavailable { addresses: addresses.to_vec(), waited: began.elapsed(), last })
    }

    async fn open_one(
        address: &str,
        hello: v1::Hello,
        network: &Arc<dyn Network>,
    ) -> Result<Result<Self, Failure>, Error> {
        let mut client = AgentsClient::new(connect_lazily(address, network)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (sender, outgoing) = mpsc::channel(OUTGOING_MESSAGES_MAX);
        // Before the call: a server may want to see it before it answers at all.
        let hello = v1::AgentMessage { message: Some(v1::agent_message::Message::Hello(hello)) };
        sender.try_send(hello).expect("the channel is new and has room");
        let session = client.session(Request::new(ReceiverStream::new(outgoing)));
        Ok(match tokio::time::timeout(OPEN_TIMEOUT, session).await {
            Ok(Ok(answer)) => Ok(Self { sender, receiver: answer.into_inner(), address: address.to_owned() }),
            Ok(Err(status)) => Err(Failure::of(&status)),
            Err(_) => Err(Failure::silence(OPEN_TIMEOUT)),
        })
    }
}

/// The error that a message of a session, or its end, stands for.
pub fn session_error(status: &tonic::Status) -> ApiError {
    Failure::of(status).error
}

/// True for refusals that every replica would repeat.
fn is_about_the_agent(error: &ApiError) -> bool {
    match error {
        ApiError::Invalid(_)
        | ApiError::Exists { .. }
        | ApiError::Precondition { .. }
        | ApiError::Denied(_)
        | ApiError::Unsupported(_) => true,
        ApiError::NotFound { .. }
        | ApiError::Stale(_)
        | ApiError::Limit { .. }
        | ApiError::Overloaded { .. }
        | ApiError::NotLeader { .. }
        | ApiError::Unavailable(_)
        | ApiError::OutcomeUnknown(_)
        | ApiError::Compacted { .. }
        | ApiError::Cancelled(_)
        | ApiError::DeadlineExceeded(_)
        | ApiError::Internal { .. }
        | ApiError::Transport(_) => false,
    }
}

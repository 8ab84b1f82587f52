//! Calls of the service `Admin`.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::admin_client::AdminClient;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::Client;
use crate::channel::Failure;
use crate::retry::Tries;
use crate::{Error, MESSAGE_BYTES_MAX};

/// A replica that has sent nothing for this long will not go on.
const IDLE_MAX: Duration = Duration::from_secs(30);

impl Client {
    /// A point in time of everything, in pieces. A stream that breaks is not taken up again: the next
    /// replica has another point in time.
    pub async fn save_snapshot(&self, request: v1::SaveSnapshotRequest) -> Result<SnapshotPieces, Error> {
        let shared = &self.shared;
        let mut tries = Tries::new(shared.config.deadline, None);
        loop {
            let address = shared.targets.pick();
            let channel = self.channel(&address)?;
            let patience = tries.time_left(shared.config.attempt_timeout);
            // No deadline on the request itself: it would end the stream.
            let request = Request::new(request);
            let failure = match tokio::time::timeout(patience, admin(channel).save_snapshot(request)).await {
                Ok(Ok(answer)) => {
                    shared.targets.works(&address);
                    return Ok(SnapshotPieces(answer.into_inner()));
                }
                Ok(Err(status)) => Failure::of(&status),
                Err(_) => Failure::silence(patience),
            };
            tries.again(shared, &address, failure).await?;
        }
    }
}

/// The pieces of a snapshot, as they come.
pub struct SnapshotPieces(Streaming<v1::SaveSnapshotResponse>);

impl SnapshotPieces {
    /// The next piece; none when the replica has no more, which is no proof that all have come.
    pub async fn next(&mut self) -> Result<Option<v1::SaveSnapshotResponse>, Error> {
        let failure = match tokio::time::timeout(IDLE_MAX, self.0.message()).await {
            Ok(Ok(piece)) => return Ok(piece),
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(IDLE_MAX),
        };
        Err(Error::Api(failure.error))
    }
}

fn admin(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

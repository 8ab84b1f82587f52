//! A gRPC channel to a replica over the network seam.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use quorate_proto::raft::v1::replicas_client::ReplicasClient;
use quorate_seams::Network;
use tonic::transport::{Channel, Endpoint};

/// No message between replicas is larger. The largest carry log entries: [`crate::Tuning`]'s
/// `entry_bytes_max` on top of what is read at once, or one piece of a snapshot.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection on which a call waits and nothing is heard for this long is asked for a sign of life,
/// and given up when none comes within the same time again.
const KEEPALIVE: Duration = Duration::from_secs(3);

pub(crate) type Client = ReplicasClient<Channel>;

/// A client for `address` that connects when it is first used. Every call needs a deadline of its own.
pub(crate) fn client(network: &Arc<dyn Network>, address: &str, connect_deadline: Duration) -> Client {
    let (network, address) = (network.clone(), address.to_owned());
    let connect = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let (network, address) = (network.clone(), address.clone());
        async move {
            let connecting = network.connect(&address);
            let timed_out = || std::io::Error::new(std::io::ErrorKind::TimedOut, "connecting took too long");
            let io = tokio::time::timeout(connect_deadline, connecting).await.map_err(|_| timed_out())??;
            Ok::<_, std::io::Error>(TokioIo::new(io))
        }
    });
    // The name is never resolved: the connector above knows where to go. A connection that a fault has
    // silenced for good is noticed by the pings, not by the deadline of the call that waits on it:
    // installing a snapshot may take minutes.
    let channel = Endpoint::from_static("http://replica")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .connect_with_connector_lazy(connect);
    ReplicasClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Why a call failed, in the words of whoever knows best.
pub(crate) fn cause(status: &tonic::Status) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

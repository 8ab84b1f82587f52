//! The same operation through the streaming API: one stream per connection for all callers on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_proto::v1;
use quorate_proto::v1::batches_client::BatchesClient;
use quorate_proto::v1::write_request::Change;
use quorate_proto::v1::write_response::Outcome;
use quorate_seams::{Entropy as _, SystemEntropy};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::annotate::annotation;
use crate::Error;
use crate::load::{CALL_DEADLINE, Target};

/// Requests that wait to be sent, per stream; as many as the server takes up.
const WAITING_MAX: usize = 1_024;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>;

/// Annotates runs over some streams.
pub(crate) struct AnnotateStream {
    streams: Vec<Stream>,
    runs: Vec<String>,
    nonce: u64,
}

struct Stream {
    requests: mpsc::Sender<v1::WriteRequest>,
    waiting: Waiting,
}

impl AnnotateStream {
    /// Opens one stream on each connection.
    pub(crate) async fn open(connections: Vec<Channel>, runs: Vec<String>) -> Result<Self, Error> {
        let mut streams = Vec::new();
        for connection in connections {
            let (requests, outgoing) = mpsc::channel(WAITING_MAX);
            let answers = BatchesClient::new(connection).write(ReceiverStream::new(outgoing)).await;
            let answers = answers.map_err(|status| Error::Outcome(format!("no stream: {status}")))?;
            let waiting = Waiting::default();
            tokio::spawn(hand_out(answers.into_inner(), waiting.clone()));
            streams.push(Stream { requests, waiting });
        }
        Ok(Self { streams, runs, nonce: SystemEntropy.u64() })
    }
}

async fn hand_out(mut answers: Streaming<v1::WriteResponse>, waiting: Waiting) {
    while let Ok(Some(answer)) = answers.message().await {
        let caller = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.sequence);
        if let (Some(caller), Some(outcome)) = (caller, answer.outcome) {
            let _ = caller.send(outcome);
        }
    }
    // Whoever still waits learns that nothing comes any more.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

impl Target for AnnotateStream {
    async fn operate(&self, connection: usize, number: u64) -> Result<(), String> {
        let stream = &self.streams[connection];
        let (caller, outcome) = oneshot::channel();
        stream.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, caller);
        let change = Some(Change::AnnotateRun(annotation(&self.runs, self.nonce, number)));
        let sent = stream.requests.send(v1::WriteRequest { sequence: number, change }).await;
        sent.map_err(|_| "the stream has ended".to_owned())?;
        match tokio::time::timeout(CALL_DEADLINE, outcome).await {
            Ok(Ok(Outcome::AnnotateRun(_))) => Ok(()),
            Ok(Ok(other)) => Err(format!("answered with {other:?}")),
            Ok(Err(_)) => Err("the stream has ended".to_owned()),
            Err(_) => Err(format!("no answer within {CALL_DEADLINE:?}")),
        }
    }
}

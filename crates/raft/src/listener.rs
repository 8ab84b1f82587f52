//! The raft listener: accepts other replicas' connections and serves them until the replica stops.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_proto::raft::v1::replicas_server::ReplicasServer;
use quorate_seams::{BoxedIo, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::channel::MESSAGE_BYTES_MAX;
use crate::service::Service;

/// Connections open at once: each peer needs three, and leaves some behind when it dies.
const CONNECTIONS_MAX: usize = 256;
/// Calls under way on one connection.
const CALLS_PER_CONNECTION_MAX: usize = 64;
/// Pause after a failed accept (out of file descriptors, most often), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`; then every connection ends too, and with it all that it kept alive.
pub(crate) async fn serve(listener: Box<dyn Listener>, service: Service, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = futures_util::stream::unfold((listener, stop.clone()), move |(listener, stop)| {
        let permits = permits.clone();
        async move {
            let connection = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                connection = accept(&*listener, &permits, &stop) => connection,
            };
            Some((Ok::<_, io::Error>(connection), (listener, stop)))
        }
    });
    let service = ReplicasServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = tonic::transport::Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .serve_with_incoming_shutdown(service, Box::pin(connections), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the raft listener ended");
    }
}

async fn accept(listener: &dyn Listener, permits: &Arc<Semaphore>, stop: &CancellationToken) -> Connection {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((io, _)) => {
                return Connection { io, stopped: Box::pin(stop.clone().cancelled_owned()), _permit: permit };
            }
            Err(error) => {
                tracing::warn!(%error, listener = %listener.local_addr(), "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One accepted connection. It ends when its peer ends it or when the replica stops.
struct Connection {
    io: BoxedIo,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            // As if the peer had closed it.
            return Poll::Ready(Ok(()));
        }
        self.io.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

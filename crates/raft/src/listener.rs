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
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::channel::MESSAGE_BYTES_MAX;
use crate::service::Service;
use crate::succession::Heard;

/// Connections open at once: each peer needs three, and leaves some behind when it dies.
const CONNECTIONS_MAX: usize = 256;
/// Calls under way on one connection.
const CALLS_PER_CONNECTION_MAX: usize = 64;
/// Bytes that a peer may send on one connection before we have taken any of them: on a way of 200 ms there
/// and back, 20 MB per second.
const WINDOW_BYTES: u32 = 4 << 20;
/// Silence on a connection after which its peer is asked for a sign of life. One that vanished
/// without a word would keep its permit for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// For the sign of life to come; and for the first byte on a new connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of file descriptors, most often), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`; then every connection ends too, and with it all that it kept alive.
pub(crate) async fn serve(listener: Box<dyn Listener>, service: Service, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let heard = service.heard.clone();
    let connections = futures_util::stream::unfold((listener, stop.clone()), move |(listener, stop)| {
        let (permits, heard) = (permits.clone(), heard.clone());
        async move {
            let connection = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                connection = accept(&*listener, &permits, &heard, &stop) => connection,
            };
            Some((Ok::<_, io::Error>(connection), (listener, stop)))
        }
    });
    let service = ReplicasServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = tonic::transport::Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(service, Box::pin(connections), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the raft listener ended");
    }
}

async fn accept(
    listener: &dyn Listener,
    permits: &Arc<Semaphore>,
    heard: &Arc<Heard>,
    stop: &CancellationToken,
) -> Connection {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((io, _)) => {
                let greeting = Some(Box::pin(tokio::time::sleep(KEEPALIVE_TIMEOUT)));
                let (stopped, heard) = (Box::pin(stop.clone().cancelled_owned()), heard.clone());
                return Connection { io, stopped, greeting, heard, _permit: permit };
            }
            Err(error) => {
                tracing::warn!(%error, listener = %listener.local_addr(), "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One accepted connection. It ends when its peer ends it or says nothing, or when the replica stops.
struct Connection {
    io: BoxedIo,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The deadline for the first byte; none once it came. Only afterwards does HTTP/2 ask for signs
    /// of life.
    greeting: Option<Pin<Box<Sleep>>>,
    heard: Arc<Heard>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.heard.parted();
    }
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
        let read = self.io.as_mut().poll_read(cx, buf);
        if read.is_ready() {
            self.greeting = None;
        } else if let Some(deadline) = &mut self.greeting
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        read
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use async_trait::async_trait;
    use quorate_disk::RocksDisk;
    use quorate_seams::SystemClock;
    use quorate_state::{FeatureSet, Uuid};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::{Mutex, mpsc};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::features::Features;
    use crate::gate::Gate;
    use crate::halt::Halt;
    use crate::join::Registrar;
    use crate::log_store::PurgeBound;
    use crate::measures::Measures;
    use crate::network::Links;
    use crate::read::Barrier;
    use crate::service::Inbox;
    use crate::snapshot::Staging;
    use crate::state_machine::Published;
    use crate::store::Store;
    use crate::succession::Heard;
    use crate::{Identity, Tuning};

    /// Bytes on their way in one direction.
    const PIPE_BYTES: usize = 1 << 16;
    /// What HTTP/2 begins with, and an empty frame of settings.
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    struct Pipes(Mutex<mpsc::Receiver<DuplexStream>>);

    #[async_trait]
    impl Listener for Pipes {
        async fn accept(&self) -> io::Result<(BoxedIo, SocketAddr)> {
            match self.0.lock().await.recv().await {
                Some(pipe) => Ok((Box::pin(pipe), self.local_addr())),
                None => std::future::pending().await,
            }
        }

        fn local_addr(&self) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, 1], 1))
        }
    }

    fn service(dir: &tempfile::TempDir) -> Service {
        let identity = Identity { cluster: Uuid(1), replica: 1, store: Uuid(1) };
        let published = Arc::new(Published::new(PurgeBound::default(), 1));
        let disk = Arc::new(RocksDisk::open(dir.path()).unwrap());
        let gate = Arc::new(Gate::new(identity, Default::default(), disk.clone(), Halt::new(), published.clone()));
        let measures = Arc::new(Measures::new().unwrap());
        let features = Arc::new(Features::new(FeatureSet::known(), published.clone()));
        let links = Links {
            gate: gate.clone(),
            network: Arc::new(quorate_seams::TcpNetwork),
            entropy: Arc::new(quorate_seams::SystemEntropy),
            halt: Halt::new(),
            measures: measures.clone(),
            views: Arc::default(),
            tuning: Tuning::default(),
        };
        let staging = Arc::new(Mutex::new(Staging::new(Store::new(disk))));
        Service {
            gate,
            links,
            published: published.clone(),
            clock: Arc::new(SystemClock),
            registrar: Arc::new(Registrar::new(identity, published, features, Tuning::default())),
            measures,
            heard: Arc::new(Heard::new()),
            barrier: Barrier::closed(),
            inbox: Inbox { staging, tasks: TaskTracker::new(), halt: Halt::new() },
        }
    }

    /// How long a connection lasts whose peer sends `greeting` and nothing more.
    async fn lasts(greeting: &[u8]) -> Duration {
        let dir = tempfile::tempdir().unwrap();
        let (connect, accepted) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(Box::new(Pipes(Mutex::new(accepted))), service(&dir), stop.clone()));
        let (mut ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        connect.send(theirs).await.unwrap();
        let began = tokio::time::Instant::now();
        ours.write_all(greeting).await.unwrap();
        let mut said = vec![];
        // Whether it ends with a word or without one, or never.
        let _ = tokio::time::timeout(10 * KEEPALIVE_TIMEOUT, ours.read_to_end(&mut said)).await;
        let lasted = began.elapsed();
        stop.cancel();
        serving.await.unwrap();
        lasted
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_vanished_does_not_keep_its_connection() {
        let lasted = lasts(GREETING).await;
        let expected = KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT;
        assert!(lasted >= expected && lasted < expected + Duration::from_secs(1), "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_says_anything_is_let_go() {
        let lasted = lasts(b"").await;
        assert!(lasted >= KEEPALIVE_TIMEOUT && lasted < KEEPALIVE_TIMEOUT + Duration::from_secs(1), "{lasted:?}");
    }
}

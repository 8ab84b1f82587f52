//! The network seam over TLS: what one replica says to another, and what a client or an agent says to it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use quorate_seams::{BoxedIo, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::{Accepts, Refusals, Tls};

/// A handshake takes no longer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Handshakes of one listener that are under way; further peers wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 64;
/// Connections that have shaken hands and wait to be accepted.
const ACCEPTED_WAITING_MAX: usize = 16;
/// Pause after a failed accept (out of file descriptors, most often), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections with TLS over those of another network.
///
/// Whoever is connected to has proved to be a replica. Whoever connects to what is bound has as well:
/// listeners for others know their peers, and use [`Tls::accept`].
pub struct TlsNetwork {
    tls: Arc<Tls>,
    inner: Arc<dyn Network>,
}

impl TlsNetwork {
    /// Adds TLS to `inner`.
    pub fn new(tls: Arc<Tls>, inner: Arc<dyn Network>) -> Self {
        Self { tls, inner }
    }
}

#[async_trait]
impl Network for TlsNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let inner = self.inner.bind(address).await?;
        Ok(Box::new(Replicas::listen(self.tls.clone(), inner)))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        self.tls.connect(self.inner.connect(address).await?, address).await
    }

    /// And one more for the handshake of TLS 1.3 (RFC 8446, section 2).
    fn round_trips_to_connect(&self) -> u32 {
        self.inner.round_trips_to_connect() + 1
    }
}

/// A listener for replicas alone.
struct Replicas {
    local: SocketAddr,
    accepted: Mutex<mpsc::Receiver<io::Result<(BoxedIo, SocketAddr)>>>,
    accepting: JoinHandle<()>,
}

impl Replicas {
    fn listen(tls: Arc<Tls>, inner: Box<dyn Listener>) -> Self {
        let (sender, accepted) = mpsc::channel(ACCEPTED_WAITING_MAX);
        let local = inner.local_addr();
        let accepting = tokio::spawn(accept(tls, inner, sender));
        Self { local, accepted: Mutex::new(accepted), accepting }
    }
}

async fn accept(tls: Arc<Tls>, inner: Box<dyn Listener>, sender: mpsc::Sender<io::Result<(BoxedIo, SocketAddr)>>) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let refusals = Arc::new(Refusals::of("raft"));
    // They end with this task.
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (io, peer) = match inner.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if sender.send(Err(error)).await.is_err() {
                    return;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beside each other: a silent peer must not keep others out.
        let (tls, sender, refusals) = (tls.clone(), sender.clone(), refusals.clone());
        handshakes.spawn(async move {
            let _permit = permit;
            match tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(io, Accepts::Replicas)).await {
                // Nobody listens any more when this fails, and the connection ends with it.
                Ok(Ok((io, _))) => drop(sender.send(Ok((io, peer))).await),
                Ok(Err(error)) => refusals.refused(peer, &error),
                Err(_) => refusals.refused(peer, &"it did not shake hands in time"),
            }
        });
    }
}

#[async_trait]
impl Listener for Replicas {
    async fn accept(&self) -> io::Result<(BoxedIo, SocketAddr)> {
        let accepted = self.accepted.lock().await.recv().await;
        accepted.unwrap_or_else(|| Err(io::Error::other("the listener has ended")))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A connection that ends with its peer's certificate, so that one which is not renewed is good for
/// nothing after that. A peer with a new one connects again.
pub(crate) struct Lapsing {
    io: TlsStream<BoxedIo>,
    lapse: Pin<Box<Sleep>>,
}

impl Lapsing {
    pub(crate) fn new(io: TlsStream<BoxedIo>, left: Duration) -> Self {
        Self { io, lapse: Box::pin(tokio::time::sleep(left)) }
    }
}

impl AsyncRead for Lapsing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.lapse.as_mut().poll(cx).is_ready() {
            let why = "the peer's certificate has expired";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl AsyncWrite for Lapsing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

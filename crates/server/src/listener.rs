//! Accepts connections: bounded in number, through the TLS seam, each with its principal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_seams::{BoxedIo, Listener, Network};
use quorate_tls::Refusals;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::Error;
use crate::auth::{Caller, Tls};

/// Connections that have shaken hands and wait to be served.
const ACCEPTED_WAITING_MAX: usize = 64;
/// Handshakes under way on one listener; further peers wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;
/// A handshake takes no longer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of file descriptors, most often), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `address`; the error names the configuration key.
pub(crate) async fn bind(network: &dyn Network, key: &'static str, address: &str) -> Result<Box<dyn Listener>, Error> {
    network.bind(address).await.map_err(|source| Error::Bind { key, address: address.into(), source })
}

/// One accepted connection. It ends when its peer ends it or when the replica stops.
pub(crate) struct Connection {
    io: BoxedIo,
    caller: Caller,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

/// Accepts until `stopped`; at most `connections_max` are open at once, further ones wait in the
/// kernel's queue. `name` is for the log.
pub(crate) fn accept(
    name: &'static str,
    listener: Box<dyn Listener>,
    tls: Arc<dyn Tls>,
    connections_max: usize,
    stopped: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_WAITING_MAX);
    let permits = Arc::new(Semaphore::new(connections_max));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let refusals = Arc::new(Refusals::of(name));
    tokio::spawn(async move {
        let accepting = async {
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let Ok(handshake) = handshakes.clone().acquire_owned().await else { return };
                let (io, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, listener = %listener.local_addr(), "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                // Handshakes run beside each other: a silent peer must not keep others out.
                let (tls, sender, stopped, refusals) = (tls.clone(), sender.clone(), stopped.clone(), refusals.clone());
                tokio::spawn(async move {
                    let (io, principal) = match tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(io)).await {
                        Ok(Ok(trusted)) => trusted,
                        Ok(Err(error)) => return refusals.refused(peer, &error),
                        Err(_) => return refusals.refused(peer, &"it did not shake hands in time"),
                    };
                    drop(handshake);
                    let caller = Caller { principal, peer };
                    let stopped = Box::pin(stopped.cancelled_owned());
                    // Nobody serves any more when this fails, and the connection ends with it.
                    let _ = sender.send(Ok(Connection { io, caller, stopped, _permit: permit })).await;
                });
            }
        };
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = sender.closed() => {}
            () = accepting => {}
        }
    });
    ReceiverStream::new(receiver)
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        use std::future::Future as _;
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.io.as_mut().poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, bytes)
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
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

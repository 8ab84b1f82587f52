//! The network seam without TLS, which notices that the other end has it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use quorate_seams::{BoxedIo, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first byte of a TLS alert. No HTTP/2 connection begins with it: its first frame would be larger
/// than any that is allowed.
const ALERT: u8 = 0x15;

/// Another network as it is, except for one error: who connects without TLS to where it is needed is
/// told so.
pub struct PlainNetwork {
    inner: Arc<dyn Network>,
}

impl PlainNetwork {
    /// Uses `inner`.
    pub fn new(inner: Arc<dyn Network>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Network for PlainNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.inner.bind(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        let io = self.inner.connect(address).await?;
        Ok(Box::pin(Listening { io, address: Some(address.into()) }))
    }
}

/// A connection whose first byte is looked at.
struct Listening {
    io: BoxedIo,
    /// The peer's, until the first byte came.
    address: Option<Box<str>>,
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let had = into.filled().len();
        let read = self.io.as_mut().poll_read(cx, into);
        if read.is_ready()
            && let Some(address) = self.address.take_if(|_| into.filled().len() > had)
            && into.filled()[had] == ALERT
        {
            into.set_filled(had);
            let why = format!("{address} wants TLS: name your certificate with tls.ca, tls.cert and tls.key");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        read
    }
}

impl AsyncWrite for Listening {
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

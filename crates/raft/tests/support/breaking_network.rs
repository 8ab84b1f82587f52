//! TCP on which the way to one address breaks when so much was sent there.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use quorate_seams::{BoxedIo, Listener, Network, TcpNetwork};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The kernel's TCP, but for the addresses that it was told to break.
#[derive(Clone, Default)]
pub(crate) struct BreakingNetwork(Arc<Mutex<BTreeMap<String, u64>>>);

/// A connection that ends when nothing more may be sent to its address.
struct Breaking {
    io: BoxedIo,
    network: BreakingNetwork,
    address: String,
}

impl BreakingNetwork {
    /// Once so many more bytes were sent to `address` nothing reaches it or comes from it, until it is healed.
    pub(crate) fn break_after(&self, address: &str, bytes: u64) {
        self.0.lock().unwrap().insert(address.into(), bytes);
    }

    pub(crate) fn is_broken(&self, address: &str) -> bool {
        self.0.lock().unwrap().get(address) == Some(&0)
    }

    pub(crate) fn heal(&self, address: &str) {
        self.0.lock().unwrap().remove(address);
    }

    /// How much of `bytes` may still be sent.
    fn may_send(&self, address: &str, bytes: usize) -> io::Result<usize> {
        let mut left = self.0.lock().unwrap();
        match left.get_mut(address) {
            None => Ok(bytes),
            Some(0) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(left) => {
                let may = bytes.min(usize::try_from(*left).unwrap());
                *left -= may as u64;
                Ok(may)
            }
        }
    }
}

#[async_trait]
impl Network for BreakingNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        TcpNetwork.bind(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        if self.is_broken(address) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let io = TcpNetwork.connect(address).await?;
        Ok(Box::pin(Breaking { io, network: self.clone(), address: address.into() }))
    }
}

impl AsyncRead for Breaking {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.io.as_mut().poll_read(cx, buf))?;
        // What has arrived meanwhile is lost.
        Poll::Ready(if self.network.is_broken(&self.address) {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        })
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let may = self.network.may_send(&self.address, buf.len())?;
        self.io.as_mut().poll_write(cx, &buf[..may])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(cx)
    }
}

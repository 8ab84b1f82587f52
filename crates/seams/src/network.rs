//! The network seam: byte streams between hosts named by `host:port`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// What tonic and hyper need of a connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection of any implementation.
pub type BoxedIo = Pin<Box<dyn Io>>;

/// A bound socket.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The next connection and its peer's address.
    async fn accept(&self) -> io::Result<(BoxedIo, SocketAddr)>;
    /// The address bound (with the real port where 0 was asked for).
    fn local_addr(&self) -> SocketAddr;
}

/// How a host reaches others and is reached.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Listens on `address` (`host:port`).
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// Connects to `address` (`host:port`). Callers set their own deadline.
    async fn connect(&self, address: &str) -> io::Result<BoxedIo>;

    /// How many times a word goes there and back until a connection is there.
    fn round_trips_to_connect(&self) -> u32 {
        1
    }
}

/// The kernel's TCP, without Nagle's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

#[async_trait]
impl Network for TcpNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        #[expect(clippy::disallowed_methods, reason = "this is the seam")]
        let listener = tokio::net::TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Box::new(TcpListener { listener, local }))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        #[expect(clippy::disallowed_methods, reason = "this is the seam")]
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::pin(stream))
    }
}

struct TcpListener {
    listener: tokio::net::TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<(BoxedIo, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::pin(stream), peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

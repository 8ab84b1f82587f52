//! The network seam on turmoil: every byte between hosts goes through the simulated network.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use quorate_seams::{BoxedIo, Listener, Network};
use turmoil::net::{TcpListener, TcpStream};

/// The network of whichever host calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SimNetwork;

struct SimListener {
    listener: TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Network for SimNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Box::new(SimListener { listener, local }))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        Ok(Box::pin(TcpStream::connect(address).await?))
    }
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(BoxedIo, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((Box::pin(stream), peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

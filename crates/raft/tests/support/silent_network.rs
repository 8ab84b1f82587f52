//! TCP that never says that nobody listens, as where whole machines go.

use std::io;

use async_trait::async_trait;
use quorate_seams::{BoxedIo, Listener, Network, TcpNetwork};

/// The kernel's TCP, without refusals.
pub(crate) struct SilentNetwork;

#[async_trait]
impl Network for SilentNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        TcpNetwork.bind(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        TcpNetwork.connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => io::Error::new(io::ErrorKind::TimedOut, error),
            _ => error,
        })
    }
}

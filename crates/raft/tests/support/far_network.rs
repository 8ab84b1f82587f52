//! TCP over a long way: every byte arrives a fixed time after it was sent.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use quorate_seams::{BoxedIo, Listener, Network, TcpNetwork};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bytes read at once, and in the pipe to whoever connected.
const CHUNK_BYTES: usize = 1 << 16;
/// Chunks on their way in one direction.
const CHUNKS_MAX: usize = 1_024;

/// The kernel's TCP, with `one_way` added to every byte in both directions.
pub(crate) struct FarNetwork {
    pub(crate) one_way: Duration,
}

#[async_trait]
impl Network for FarNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        TcpNetwork.bind(address).await
    }

    /// The way is added at the end that connects, for both directions.
    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        tokio::time::sleep(2 * self.one_way).await;
        let (from_peer, to_peer) = tokio::io::split(TcpNetwork.connect(address).await?);
        let (ours, theirs) = tokio::io::duplex(CHUNK_BYTES);
        let (from_us, to_us) = tokio::io::split(theirs);
        tokio::spawn(carry(from_us, to_peer, self.one_way));
        tokio::spawn(carry(from_peer, to_us, self.one_way));
        Ok(Box::pin(ours))
    }
}

/// Carries what is read, and the end of it, to where it is written, late.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, one_way: Duration) {
    let (depart, mut arrive) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let departing = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            if depart.send((Instant::now() + one_way, chunk[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let arriving = async move {
        while let Some((at, chunk)) = arrive.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(departing, arriving);
}

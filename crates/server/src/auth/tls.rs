//! The TLS seam: turns an accepted byte stream into one that is trusted, and names who is behind it.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use quorate_seams::BoxedIo;
use quorate_state::Principal;
use quorate_tls::Accepts;

/// The handshake of a listener.
#[async_trait]
pub trait Tls: Send + Sync + 'static {
    /// Performs the handshake; the listener sets the deadline.
    async fn accept(&self, io: BoxedIo) -> io::Result<(BoxedIo, Principal)>;
}

/// No TLS: every caller is the anonymous local one. Only for listeners on loopback addresses, or
/// where the operator has said `insecure`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

#[async_trait]
impl Tls for Plain {
    async fn accept(&self, io: BoxedIo) -> io::Result<(BoxedIo, Principal)> {
        Ok((io, Principal::anonymous_local()))
    }
}

/// TLS both ways: a caller is who its certificate says, such as `user:alice`. Every role gets this far,
/// because a refusal of what it asks for can say more than one of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(pub(crate) Arc<quorate_tls::Tls>);

#[async_trait]
impl Tls for Certificates {
    async fn accept(&self, io: BoxedIo) -> io::Result<(BoxedIo, Principal)> {
        let (io, peer) = self.0.accept(io, Accepts::Every).await?;
        Ok((io, Principal(peer.to_string().into())))
    }
}

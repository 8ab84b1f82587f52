//! The TLS seam: turns an accepted byte stream into one that is trusted, and names who is behind it.

use std::io;

use async_trait::async_trait;
use quorate_seams::BoxedIo;
use quorate_state::Principal;

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

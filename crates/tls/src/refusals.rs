//! What the log says of peers that a listener refuses: every reason, and never more than a line a second.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines: whoever can reach a listener can be refused as often as it likes.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// The refusals of one listener.
pub struct Refusals {
    listener: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// Those of the listener of this name.
    pub fn of(listener: &'static str) -> Self {
        Self { listener, state: Mutex::default() }
    }

    /// A peer was refused; `why` is a sentence about it.
    pub fn refused(&self, peer: SocketAddr, why: &dyn Display) {
        if let Some(unsaid) = self.due() {
            let listener = self.listener;
            tracing::warn!(%peer, unsaid, "refused on the {listener} listener: {why}");
        }
    }

    /// How many were passed over in silence, when it is time for a line.
    fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now.duration_since(said) < SAID_EVERY) {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_a_line_a_second() {
        let refusals = Refusals::of("api");
        assert_eq!([refusals.due(), refusals.due(), refusals.due()], [Some(0), None, None]);
        tokio::time::advance(SAID_EVERY).await;
        assert_eq!([refusals.due(), refusals.due()], [Some(2), None]);
    }
}

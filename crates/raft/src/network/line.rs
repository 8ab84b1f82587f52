//! The connection to one replica: kept from call to call, given up when nothing comes back on it.

use std::time::Duration;

use tokio::time::Instant;

use crate::channel::Client;

/// The connection of one link. A call whose future is dropped half way leaves it as it is: what the
/// call began, connecting above all, is there for the next.
#[derive(Default)]
pub(super) struct Line {
    client: Option<Client>,
    /// Since when calls go unanswered.
    silent_since: Option<Instant>,
}

impl Line {
    /// The client for a call: the one from before, unless it has been silent for `patience`.
    pub(super) fn client(&mut self, patience: Duration, connect: impl FnOnce() -> Client) -> Client {
        if self.silent_since.is_some_and(|since| since.elapsed() >= patience) {
            self.give_up();
        }
        self.silent_since.get_or_insert_with(Instant::now);
        self.client.get_or_insert_with(connect).clone()
    }

    /// The peer has answered.
    pub(super) fn answered(&mut self) {
        self.silent_since = None;
    }

    /// The next call connects anew.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use quorate_seams::{Network, TcpNetwork};

    use super::*;
    use crate::channel;

    #[tokio::test(start_paused = true)]
    async fn calls_dropped_half_way_share_a_connection_until_it_was_silent_for_long() {
        let network: Arc<dyn Network> = Arc::new(TcpNetwork);
        let patience = Duration::from_millis(500);
        let connected = Cell::new(0);
        let mut line = Line::default();
        let call = |line: &mut Line| {
            let _dropped = line.client(patience, || {
                connected.set(connected.get() + 1);
                channel::client(&network, "nobody:1", patience)
            });
            connected.get()
        };
        for _ in 0..5 {
            assert_eq!(call(&mut line), 1);
            tokio::time::advance(patience / 5).await;
        }
        assert_eq!(call(&mut line), 2, "silent for as long as anyone waits");
        line.answered();
        tokio::time::advance(2 * patience).await;
        assert_eq!(call(&mut line), 2, "nobody asked meanwhile");
        line.give_up();
        assert_eq!(call(&mut line), 3);
    }
}

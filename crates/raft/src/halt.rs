//! The end of a replica: why, for whoever waits to hear of it.

use tokio::sync::watch;

use crate::StopReason;

/// Set once. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Halt(watch::Sender<Option<StopReason>>);

impl Halt {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The first reason stands.
    pub(crate) fn because(&self, reason: StopReason) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(reason);
            }
            first
        });
    }

    /// The reason, once there is one.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.0.borrow().clone()
    }

    /// Ends when there is a reason.
    pub(crate) async fn stopped(self) -> StopReason {
        let mut receiver = self.0.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Requested),
            // Not while `self` holds the sender.
            Err(_) => StopReason::Requested,
        }
    }
}

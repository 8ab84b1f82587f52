//! A request to stop that any number of tasks can wait for.

use tokio::sync::watch;

/// The side that waits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// The side that asks. Dropping it asks too, so that nothing outlives its starter by accident.
#[derive(Debug)]
pub struct ShutdownHandle(watch::Sender<bool>);

impl Shutdown {
    /// A handle and what waits for it.
    pub fn new() -> (ShutdownHandle, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownHandle(sender), Self(receiver))
    }

    /// Ends when stopping was asked for; at once if it was before.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // An error means that the handle is gone, which asks as well.
        let _ = receiver.wait_for(|requested| *requested).await;
    }

    /// True once stopping was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl ShutdownHandle {
    /// Asks everyone who waits to stop.
    pub fn request(&self) {
        let _ = self.0.send(true);
    }
}

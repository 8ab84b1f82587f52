//! Leadership passed on again and again, by the command that people have for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ledger::now_us;
use crate::sessions::api_addresses;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(400);
/// How long each is tried.
const DEADLINE: &str = "4s";

/// Those that were made.
#[derive(Clone)]
pub(crate) struct Transfers {
    quorate: PathBuf,
    /// When each was asked for and when it was done, in microseconds since the machine was switched on.
    made: Arc<Mutex<Vec<(u64, u64)>>>,
}

/// Goes on until it is dropped.
pub(crate) struct Transferring(Arc<AtomicBool>);

impl Transfers {
    pub(crate) fn new(quorate: &Path) -> Self {
        Self { quorate: quorate.to_path_buf(), made: Arc::default() }
    }

    /// Begins to pass leadership on. The thread stands on the caller's host.
    pub(crate) fn begin(&self) -> Transferring {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, own) = (stop.clone(), self.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                own.one();
                pause();
            }
        });
        Transferring(stop)
    }

    /// Those that were done by now.
    pub(crate) fn made(&self) -> Vec<(u64, u64)> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn one(&self) {
        let from_us = now_us();
        let mut command = Command::new(&self.quorate);
        command.args(["replica", "transfer"]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("QUORATE_SERVERS", api_addresses().join(",")).env("QUORATE_DEADLINE", DEADLINE);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Refused or not answered: others are asked for soon.
        if command.status().is_ok_and(|status| status.success()) {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push((from_us, now_us()));
        }
    }
}

impl Drop for Transferring {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, which does nothing else")]
fn pause() {
    std::thread::sleep(PAUSE);
}

//! The floor: the same processes with nothing around them.
//!
//! Two threads start `/bin/true` with `posix_spawn`, which the standard library uses for a command that
//! asks for nothing special, and wait for each before the next. Whoever runs tasks as processes does at
//! least this much; whoever starts several for each task does it several times.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};

use crate::Error;

/// Threads that start processes.
const THREADS: u32 = 2;
/// What an agent starts for each task: its shim (ADR 0038) and the task's own process.
pub(super) const PER_TASK: u32 = 2;
/// What each process is.
const PROGRAM: &str = "/bin/true";

/// Starts this many processes in all; how long that took, until the last has ended, comes back.
pub(super) async fn spawn(processes: u32) -> Result<Duration, Error> {
    let begun = SystemClock.boot();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| tokio::task::spawn_blocking(move || one_after_another(share(processes, thread))))
        .collect();
    for thread in threads {
        thread.await.map_err(|error| Error::Outcome(format!("a thread ended early: {error}")))??;
    }
    Ok(SystemClock.boot().since(begun))
}

/// How many of all processes are this thread's.
fn share(processes: u32, thread: u32) -> u32 {
    processes / THREADS + u32::from(thread < processes % THREADS)
}

fn one_after_another(processes: u32) -> Result<(), Error> {
    for _ in 0..processes {
        let status =
            Command::new(PROGRAM).status().map_err(|source| Error::Spawn { binary: PROGRAM.into(), source })?;
        succeeded(status)?;
    }
    Ok(())
}

fn succeeded(status: ExitStatus) -> Result<(), Error> {
    if status.success() { Ok(()) } else { Err(Error::Outcome(format!("{PROGRAM} ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_share_all_processes() {
        for processes in [0, 1, 2, 7, 1_000] {
            assert_eq!((0..THREADS).map(|thread| share(processes, thread)).sum::<u32>(), processes);
        }
    }

    #[tokio::test]
    async fn processes_end_before_the_time_comes_back() {
        assert!(spawn(3).await.unwrap() > Duration::ZERO);
    }
}

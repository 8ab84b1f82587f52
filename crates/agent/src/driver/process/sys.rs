//! The calls below the driver. Three of them have no safe wrapper: code between fork and exec,
//! reaping with usage, and waiting for a process's end among everything else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes the child a leader of its own session and group that dies with the thread that started it, in the control
/// groups behind `entrances`.
#[expect(unsafe_code, reason = "pre_exec runs between fork and exec, where only async-signal-safe calls are allowed")]
pub(super) fn detach(command: &mut Command, entrances: Vec<File>) {
    let agent = rustix::process::getpid();
    let prepare = move || {
        for entrance in &entrances {
            // No program of the job's is to blame, and this number says so.
            rustix::io::write(entrance, b"0").map_err(|_| io::Error::from_raw_os_error(libc::EIO))?;
        }
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The agent may have died before the line above took effect; then nobody would ever kill us.
        if rustix::process::getppid() != Some(agent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: `prepare` only makes system calls; it allocates nothing, takes no lock and does not
    // touch memory shared with other threads.
    unsafe { command.pre_exec(prepare) };
}

/// Reaps a child that has ended and says what it and the children it waited for used; none while it
/// has not ended.
#[expect(unsafe_code, reason = "wait4 alone tells the peak memory of a child")]
pub(super) fn wait4(child: Pid) -> io::Result<Option<(libc::c_int, libc::rusage)>> {
    let mut status = 0;
    // SAFETY: a struct of integers, for which zero is a valid value; both pointers are to live,
    // writable locals.
    let (reaped, rusage) = unsafe {
        let mut rusage: libc::rusage = std::mem::zeroed();
        let reaped = libc::wait4(child.as_raw_nonzero().get(), &raw mut status, libc::WNOHANG, &raw mut rusage);
        (reaped, rusage)
    };
    match reaped {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some((status, rusage))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a child has ended; it is not reaped by asking.
pub(super) fn has_ended(child: &OwnedFd) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(child.as_fd()), look), Ok(Some(_)))
}

/// Lets the runtime watch a process by its handle, which becomes readable when the process ends.
#[expect(unsafe_code, reason = "the runtime must be promised that the descriptor stays open")]
pub(super) fn watch(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always the same descriptor, and closed only when dropped, which
    // the `AsyncFd` that owns it does last.
    let watched = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
    watched.map_err(|refused| refused.into_parts().1)
}

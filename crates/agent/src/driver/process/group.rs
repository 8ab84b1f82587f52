//! A process group of ours: signals to all of it, the leader's end, and whether any of it is left.
//!
//! Why the number stays ours: a number is not given to a new process while a process, even a dead
//! one that was not reaped, or a group or session of that number exists. So until we reap the
//! leader, signals to `-leader` reach our group and nothing else; afterwards we only look.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process_group};

use super::{pause, proc, sys};

/// Looks at the group before the processes themselves are searched for.
const LOOKS_BEFORE_SEARCH: u32 = 6;

/// The group that one attempt's main process leads.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    reaped: bool,
}

impl Group {
    /// The group of a child that has made itself a leader.
    pub(super) fn of(leader: Pid) -> Self {
        Self { leader, reaped: false }
    }

    /// SIGTERM to all of it.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL to all of it. Enough once: the kernel delivers it to every member at one instant, and
    /// a member that dies of it cannot fork any more.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if !self.reaped {
            // It fails when all members are gone already, or changed their user: nothing to do.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Takes the end of the leader, once it has ended.
    pub(super) fn reap(&mut self) -> io::Result<Option<(libc::c_int, libc::rusage)>> {
        let reaped = sys::wait4(self.leader);
        // An error means that somebody else reaped it: the number may be another's from now on.
        self.reaped = !matches!(reaped, Ok(None));
        reaped
    }

    /// True when certainly nothing of it is left. False may be out of date at once.
    pub(super) fn is_gone(&self) -> bool {
        if !self.reaped {
            return false;
        }
        // A process with the leader's number after we reaped the leader is a new one, and it could
        // not have the number while our group existed.
        test_kill_process_group(self.leader) == Err(Errno::SRCH) || proc::stat(self.leader_id()).is_some()
    }

    /// Waits until nothing of it is left; forever when a member cannot die. Cancel-safe.
    pub(super) async fn wait_until_gone(&self) {
        let mut looks = 0;
        while !self.is_gone() {
            // Dead members count until their new parent reaps them, which an init made for nothing
            // else may never do. They hold no resources, so it is the living that we wait for.
            if looks >= LOOKS_BEFORE_SEARCH && self.reaped && !proc::group_lives(self.leader_id()) {
                return;
            }
            tokio::time::sleep(pause(looks)).await;
            looks += 1;
        }
    }

    fn leader_id(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A handle on this process, to learn at the start whether the kernel has such handles.
pub(super) fn own_pidfd() -> Result<OwnedFd, Errno> {
    pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
}

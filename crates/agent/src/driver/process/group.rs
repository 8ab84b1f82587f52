//! A process group of a shim's own: signals to all of it, and the leader's end.
//!
//! Why the number stays ours: a number is not given to a new process while a process, even a dead
//! one that was not reaped, or a group or session of that number exists. So until we reap the
//! leader, signals to `-leader` reach our group and nothing else; afterwards we send none.

use std::io;

use rustix::process::{Pid, Signal, kill_process_group};

use super::sys;

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
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

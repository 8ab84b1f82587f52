//! The calls below the driver that have no safe wrapper: forking, signals as a file, reaping, and waiting for a
//! process's end among everything else.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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
pub(super) fn is_dead(child: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(child), look), Ok(Some(_)))
}

/// Reaps the children of this process that have ended, up to `spared`. False once it has none at all.
#[expect(unsafe_code, reason = "waitid tells which of all children has ended by a struct that only C can read")]
pub(super) fn reap_others(spared: Option<Pid>) -> bool {
    loop {
        // SAFETY: a struct of integers, for which zero is a valid value; the pointer is to a live, writable local;
        // what is read of it is the part that this call fills in.
        let (outcome, ended) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            (libc::waitid(libc::P_ALL, 0, &raw mut info, options), info.si_pid())
        };
        if outcome != 0 {
            return io::Error::last_os_error().raw_os_error() != Some(libc::ECHILD);
        }
        match Pid::from_raw(ended).filter(|ended| Some(*ended) != spared) {
            Some(ended) => drop(wait4(ended)),
            None => return true,
        }
    }
}

/// Forks: true in the parent, false in the child, whose only thread is a copy of this one.
#[expect(unsafe_code, reason = "fork: the child goes on in the middle of the program")]
pub(super) fn fork() -> io::Result<bool> {
    // SAFETY: hosts of shims and shims are the only callers. They have one thread, so that no lock is held by another one that
    // the child does not have, and the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(false),
        _ => Ok(true),
    }
}

/// Closes all that this process was started with but its standard streams. On a kernel before 5.9 it stays open.
#[expect(unsafe_code, reason = "closing descriptors by their numbers has no safe wrapper")]
pub(super) fn close_inherited() {
    // SAFETY: the host of shims calls this before it has opened anything, so that nothing of its own has such a number.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// Which of the two a process is after [`fork_into`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Born {
    /// The child; it may stand in the group already.
    Child { is_inside: bool },
    /// The one that forked.
    Parent(Pid),
}

/// Since Linux 5.7; the C library's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into a control group of version 2, or where this process stands if that cannot be. The parent goes on when
/// the child has become another program, or has ended.
#[expect(unsafe_code, reason = "clone3 has no safe wrapper, and the child goes on in the middle of the program")]
pub(super) fn fork_into(group: Option<BorrowedFd<'_>>) -> io::Result<Born> {
    let pid = |number: libc::c_long| {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        pid.map(Born::Parent).ok_or_else(|| io::Error::other("no process number"))
    };
    if let Some(group) = group {
        // SAFETY: a struct of integers, for which zero is a valid value: no new stack, no shared memory, nothing written
        // for the threads' library. The pointer is to a live local. What is said at `fork` holds here as well, and the child
        // only makes system calls and allocates before it becomes another program.
        let number = unsafe {
            let mut how: libc::clone_args = std::mem::zeroed();
            how.flags = CLONE_INTO_CGROUP | libc::CLONE_VFORK as u64;
            how.exit_signal = libc::SIGCHLD as u64;
            how.cgroup = group.as_raw_fd() as u64;
            libc::syscall(libc::SYS_clone3, &raw const how, size_of::<libc::clone_args>())
        };
        match number {
            // An older kernel, or one who may not: it moves by itself.
            -1 => {}
            0 => return Ok(Born::Child { is_inside: true }),
            number => return pid(number),
        }
    }
    // SAFETY: as at `fork`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Born::Child { is_inside: false }),
        number => pid(number.into()),
    }
}

/// Ends this process at once, without what a program does at its end: a copy of another has nothing to finish.
#[expect(unsafe_code, reason = "the end without a farewell has no safe wrapper")]
pub(super) fn leave(code: libc::c_int) -> ! {
    // SAFETY: it does not return, and whatever is open is closed by the kernel.
    unsafe { libc::_exit(code) }
}

/// Has the kernel bury the children of this process, or lets it do so by itself again.
#[expect(unsafe_code, reason = "how a signal is treated has no safe wrapper")]
pub(super) fn leave_children_to_the_kernel(leave: bool) -> io::Result<()> {
    let how = if leave { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: no function of ours is made a handler.
    match unsafe { libc::signal(libc::SIGCHLD, how) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Hears all signals as usual.
pub(super) fn hold_back_no_signals() -> io::Result<()> {
    mask(&set_of(&[]))
}

/// These signals as a file, from which [`heard`] reads them; they do nothing else from now on.
#[expect(unsafe_code, reason = "signals as a file have no safe wrapper")]
pub(super) fn hear(signals: &[Signal]) -> io::Result<File> {
    let set = set_of(signals);
    mask(&set)?;
    // SAFETY: the pointer is to a live local; the descriptor is new and nobody else's.
    unsafe {
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(File::from_raw_fd(descriptor)),
        }
    }
}

/// These signals.
#[expect(unsafe_code, reason = "a set of signals is made by C")]
fn set_of(signals: &[Signal]) -> libc::sigset_t {
    // SAFETY: a struct of integers, for which zero is a valid value; the pointers are to a live local.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, signal.as_raw());
        }
        set
    }
}

/// Has this thread held back these signals, and no others.
#[expect(unsafe_code, reason = "a thread's signals have no safe wrapper")]
fn mask(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: it reads a live set and may be called between fork and exec.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What was heard since the last call.
pub(super) fn heard(signals: &mut File) -> Vec<i32> {
    const BYTES: usize = size_of::<libc::signalfd_siginfo>();
    let mut all = Vec::new();
    let mut one = [0; BYTES];
    // Its first field is the signal's number.
    while matches!(signals.read(&mut one), Ok(BYTES)) {
        let [a, b, c, d, ..] = one;
        all.push(i32::from_ne_bytes([a, b, c, d]));
    }
    all
}

/// Lets the runtime watch a process by its handle, which becomes readable when the process ends.
#[expect(unsafe_code, reason = "the runtime must be promised that the descriptor stays open")]
pub(super) fn watch(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always the same descriptor, and closed only when dropped, which
    // the `AsyncFd` that owns it does last.
    let watched = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
    watched.map_err(|refused| refused.into_parts().1)
}

//! A process beside each attempt that outlives the agent: parent of the attempt's first process, and of every other of it
//! that has lost its own. It takes their ends, writes down how the attempt ended, and holds the deadline of a `fenced`
//! one when the agent cannot.
//!
//! Shims are forked by a host: a process of the agent's own binary that does nothing else, has one thread and has
//! hardly any memory, so that forking it is cheap and what is forked may do anything. The agent has one host for
//! each thread that starts processes, and starts another one when it has ended.
//!
//! **Invariant:** a host, and each shim that has not written down yet what it started, holds a lock that the next life
//! of the agent waits for, because that must know of every attempt that runs.
//! **Invariant:** a shim ends only when no process of its attempt is left, because its end is what the agent calls gone.

mod first;
mod lease;
mod life;
mod output;
mod record;
mod wire;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

pub(super) use lease::{Timer, open as open_lease, read as read_lease, write as write_lease};
pub(crate) use record::Held;
pub(super) use record::{Begun, Ended, name, parse_name, promise, promised, read as read_record, read_now};
pub(super) use wire::{Lease, Reply, Request, Variable, bytes};

use super::sys;

/// The word on the command line that makes a process a host.
pub const HOST: &str = "shim-host";
/// Asks the attempt of a shim to end.
pub(super) const ASK: Signal = Signal::TERM;
/// Ends the attempt of a shim.
pub(super) const KILL: Signal = Signal::USR1;

/// A start takes milliseconds. A host that has not answered after this is not trusted any more.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How tasks and the agent outlive each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// Tasks go on when their agent ends, however it ends, and the next one takes them over.
    #[default]
    Leave,
    /// Tasks end with their agent, however it ends.
    Kill,
}

/// What a driver needs to know to have shims.
#[derive(Clone, Debug)]
pub struct Options {
    /// What becomes of tasks when their agent ends.
    pub on_exit: OnExit,
    /// The program that calls [`host`], with its arguments.
    pub host: Vec<PathBuf>,
}

impl Options {
    /// Hosts of this process's own binary, which calls [`host`] when its first argument is [`HOST`].
    pub fn new(on_exit: OnExit) -> Self {
        Self { on_exit, host: vec!["/proc/self/exe".into(), HOST.into()] }
    }
}

/// The agent's end of the line to a host. Dropped, the host ends; its shims do as they were told.
#[derive(Debug)]
pub(super) struct Host {
    process: Child,
    stream: Option<UnixStream>,
}

/// What became of a start.
#[derive(Debug)]
pub(super) enum Answer {
    /// The shim's word.
    Reply(Box<Reply>),
    /// The host has ended, and so has the shim, or it has written down what it started.
    HostEnded,
}

impl Host {
    /// Starts one that holds the lock at `lock`.
    pub(super) fn start(options: &Options, lock: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let lock = open_lock(lock)?;
        lock.lock_shared()?;
        let (program, arguments) = options.host.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.arg0("quorate-shim").args(arguments).env_clear().current_dir("/").process_group(0);
        command.stdin(std::os::fd::OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(lock);
        let process = command.spawn()?;
        Ok(Self { process, stream: Some(ours) })
    }

    /// Has one attempt started.
    pub(super) fn ask(&mut self, request: &Request) -> Answer {
        let Some(stream) = &self.stream else { return Answer::HostEnded };
        // A host that has ended says nothing either.
        let _ = stream.set_read_timeout(Some(ANSWER_MAX)).and_then(|()| wire::send(stream, request));
        loop {
            match wire::receive(stream) {
                Ok(reply) => return Answer::Reply(Box::new(reply)),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    tracing::error!("a start is not answered: ending the host of the shims");
                    // What is left of the line is in the shim's hands alone: its word comes, or the line ends.
                    let _ = self.process.kill();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Answer::HostEnded,
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stream = None;
        // It notices at once, since it only ever waits for the other end of the line.
        let _ = self.process.wait();
    }
}

/// The file that says that an earlier life may still be starting something.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

/// Is a host until the agent has ended: standard input is the line to it, standard error holds the lock.
pub fn host() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(code)
}

fn serve() -> io::Result<()> {
    use std::os::fd::AsFd as _;
    // Shims and tasks outlive whoever gave the agent a lock or a pipe, and must not hold it for them.
    sys::close_inherited();
    let agent = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    sys::leave_children_to_the_kernel(true)?;
    let own = rustix::process::getpid();
    loop {
        let Ok(request) = wire::receive::<Request>(&agent) else { return Ok(()) };
        match sys::fork() {
            Ok(true) => {}
            Ok(false) => {
                // Nothing of the host's loop may go on in here, whatever happens.
                let lived = catch_unwind(AssertUnwindSafe(|| {
                    if sys::leave_children_to_the_kernel(false).is_ok() {
                        life::live(&request, agent, own);
                    }
                }));
                sys::leave(i32::from(lived.is_err()));
            }
            Err(error) => {
                let why = format!("its shim cannot be made: {error}");
                wire::send(&agent, &Reply { why, ..Reply::default() })?;
            }
        }
    }
}

/// Lets go of the lock.
fn detach_lock() -> io::Result<()> {
    // Which has been nothing since the host began.
    rustix::stdio::dup2_stderr(rustix::stdio::stdin())?;
    Ok(())
}

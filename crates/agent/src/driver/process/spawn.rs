//! From an assignment to a running process. Runs on a spawner's thread.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::group::Group;
use super::{Groups, proc, sys};
use crate::cgroup::Cell;
use crate::driver::{NotStarted, Start, Wish, identity};
use crate::workspace::Workspace;

/// What a task inherits of the agent's own environment: enough to find programs and to speak the
/// machine's language. Everything else could carry the agent's secrets.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// Where programs are looked for when the agent itself has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A process that runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Spawned {
    /// Its number and when it began.
    pub(super) process: (u32, u64),
    pub(super) group: Group,
    pub(super) cell: Option<Cell>,
    pub(super) pidfd: OwnedFd,
    pub(super) workspace: Workspace,
}

/// Starts a process.
pub(super) fn spawn(start: &Start, groups: &Groups) -> Result<Spawned, NotStarted> {
    let assignment = &start.assignment;
    let Some((program, arguments)) = assignment.argv.split_first() else {
        return Err(NotStarted::Job("`run` is empty: there is no program to start".into()));
    };
    let node = |what: &str, error: io::Error| NotStarted::Node(format!("{what}: {error}"));
    let attempt = assignment.attempt;
    let groups = groups.get().map_err(|why| NotStarted::Node(why.to_owned()))?;
    let cell = groups.map(|groups| groups.take(assignment.resources)).transpose();
    let cell = cell.map_err(|error| node("its control group cannot be made", error))?;
    let entrances = cell.as_ref().map(Cell::entrances).transpose();
    let entrances = entrances.map_err(|error| node("its control group cannot be entered", error))?.unwrap_or_default();
    let workspace = start.workspaces.take().map_err(|error| node("its working directory cannot be made", error))?;
    // What did not start leaves nothing behind but its output files, which hold nothing.
    let undone = |workspace| {
        start.workspaces.give_back(workspace);
        start.outputs.retire(attempt);
    };
    let (stdout, stderr) = match start.outputs.create(attempt) {
        Ok(files) => files,
        Err(error) => {
            undone(workspace);
            return Err(node("its output files cannot be made", error));
        }
    };

    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace.path()).env_clear().env("PATH", PATH_DEFAULT);
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    // The job's words come after the machine's and before ours: it may choose its PATH, not its token.
    command.envs(&assignment.env).envs(identity(start)).env("PWD", workspace.path());
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    sys::detach(&mut command, entrances);
    if *start.wish.borrow() != Wish::Run {
        undone(workspace);
        return Err(NotStarted::Withdrawn);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            undone(workspace);
            return Err(refused(program, &error));
        }
    };

    // From here on the group is killed if anything fails: it is not allowed to run unwatched.
    let pid = child.id();
    let leader = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let leader = leader.ok_or_else(|| NotStarted::Node(format!("{pid} is no process number")))?;
    let mut group = Group::of(leader);
    match pidfd_open(leader, PidfdFlags::empty()) {
        Ok(pidfd) => {
            let began = proc::stat(pid).map_or(0, |stat| stat.ticks);
            Ok(Spawned { process: (pid, began), group, cell, pidfd, workspace })
        }
        Err(errno) => {
            group.kill();
            // It was killed, so that this ends at once; without it a dead process would stay.
            while matches!(group.reap(), Ok(None)) {
                std::thread::yield_now();
            }
            undone(workspace);
            Err(NotStarted::Node(format!("its process cannot be watched: {errno}")))
        }
    }
}

/// Tells a mistake in the job from a machine in trouble: only the first is the task's own failure.
fn refused(program: &str, error: &io::Error) -> NotStarted {
    let why = format!("cannot start {program:?}: {error}");
    match error.raw_os_error() {
        // A NUL byte in an argument never reaches the kernel.
        None => NotStarted::Job(why),
        Some(
            libc::ENOENT
            | libc::EACCES
            | libc::EPERM
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::ENOEXEC
            | libc::E2BIG
            | libc::ENAMETOOLONG
            | libc::EINVAL
            | libc::ELIBBAD
            | libc::ETXTBSY,
        ) => NotStarted::Job(why),
        Some(_) => NotStarted::Node(why),
    }
}

//! From an assignment to a running process, which a host of shims starts. Runs on a spawner's thread.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::Ordering;

use quorate_state::OnNodeLoss;

use super::records::Record;
use super::running::{self, Started, watch};
use super::shim::{Answer, Begun, Host, Lease, OnExit, Reply, Request, Variable, bytes, name, promise, read_record};
use super::{Groups, Shims};
use crate::cgroup::Cell;
use crate::driver::{NotStarted, Start, Wish, identity};
use crate::workspace::Workspace;

/// Hosts that one start tries: a second one in the place of one that was killed.
const HOSTS_MAX: usize = 2;
/// What a task inherits of the agent's own environment: enough to find programs and to speak the
/// machine's language. Everything else could carry the agent's secrets.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// Where programs are looked for when the agent itself has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A process that runs.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) started: Started,
    pub(super) workspace: Workspace,
}

/// Starts a process, by way of `host`.
pub(super) fn spawn(
    start: &Start,
    groups: &Groups,
    shims: &Shims,
    host: &mut Option<Host>,
) -> Result<Spawned, NotStarted> {
    let assignment = &start.assignment;
    let attempt = assignment.attempt;
    let groups = groups.get().map_err(|why| NotStarted::Node(why.to_owned()))?;
    let cell = groups.map(|groups| groups.take(assignment.resources)).transpose();
    let cell = cell.map_err(|error| node("its control group cannot be made", &error))?;
    let workspace = start.workspaces.take().map_err(|error| node("its working directory cannot be made", &error))?;
    let record = shims.records.take().map_err(|error| node("the file of its shim cannot be made", &error))?;
    let outcome = ask(start, shims, host, cell.as_ref(), &workspace, &record).and_then(|begun| match watch(&begun) {
        Ok(shim) => Ok((begun, shim)),
        Err(error) => {
            // It is not allowed to run unwatched.
            running::end_unwatched(&begun);
            Err(node("its process cannot be watched", &error))
        }
    });
    match outcome {
        Ok((begun, shim)) => {
            shims.records.keep(attempt, assignment.token, record.clone());
            let on_exit = shims.options.on_exit;
            let started = Started { begun, shim, record, cell, on_exit, orphaned: false };
            Ok(Spawned { started, workspace })
        }
        Err(why) => {
            // What did not start leaves nothing behind but its output files, which hold nothing.
            record.spend();
            start.workspaces.give_back(workspace);
            start.outputs.retire(attempt);
            Err(why)
        }
    }
}

fn ask(
    start: &Start,
    shims: &Shims,
    host: &mut Option<Host>,
    cell: Option<&Cell>,
    workspace: &Workspace,
    record: &Record,
) -> Result<Begun, NotStarted> {
    let assignment = &start.assignment;
    let files = start.outputs.create(assignment.attempt);
    let (stdout, stderr) = files.map_err(|error| node("its output files cannot be made", &error))?;
    let fenced = assignment.on_node_loss == OnNodeLoss::Fenced;
    let request = Request {
        argv: assignment.argv.clone(),
        env: environment(start, workspace),
        directory: bytes(workspace.path()),
        stdout: bytes(&stdout),
        stderr: bytes(&stderr),
        entrances: cell.map(Cell::entrances).unwrap_or_default().iter().map(|path| bytes(path)).collect(),
        group: cell.and_then(Cell::group).map(|path| bytes(&path)),
        record: bytes(record.path()),
        report: bytes(&workspace.report()),
        begun: Begun {
            promise: promise(assignment.on_node_loss),
            workspace: workspace.name(),
            cell: cell.and_then(Cell::held),
            boot_id: shims.boot_id.clone(),
            attempt: name(assignment.attempt, assignment.token),
            silent_ms_max: assignment.silent_max.map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX)),
            ..Begun::default()
        },
        lease: fenced
            .then(|| Lease { deadline_ms: shims.deadline_ms.load(Ordering::Relaxed), file: bytes(&shims.lease()) }),
        log_bytes_max: start.outputs.log_bytes_max(),
        ends_with_agent: shims.options.on_exit == OnExit::Kill,
    };
    for _ in 0..HOSTS_MAX {
        let running = match host {
            Some(host) => host,
            None => {
                let started =
                    fs::create_dir_all(&shims.directory).and_then(|()| Host::start(&shims.options, &shims.lock()));
                host.insert(started.map_err(|error| node("the host of its shim cannot be started", &error))?)
            }
        };
        if *start.wish.borrow() != Wish::Run {
            return Err(NotStarted::Withdrawn);
        }
        match running.ask(&request) {
            Answer::Reply(reply) => {
                return match *reply {
                    Reply { begun: Some(begun), .. } => Ok(begun),
                    Reply { why, is_job: true, .. } => Err(NotStarted::Job(why)),
                    Reply { why, .. } => Err(NotStarted::Node(why)),
                };
            }
            Answer::HostEnded => {
                *host = None;
                // Somebody killed the host, perhaps after it had done what it was asked for.
                let written = read_record(record.path()).map(|(begun, _)| begun);
                if let Some(begun) = written.filter(|begun| begun.attempt == request.begun.attempt) {
                    return Ok(begun);
                }
            }
        }
    }
    Err(NotStarted::Node("the host of its shim was killed as it began".into()))
}

/// All that the task finds in its environment, later ones before earlier ones.
fn environment(start: &Start, workspace: &Workspace) -> Vec<Variable> {
    let variable = |name: &[u8], value: &[u8]| Variable { name: name.to_vec(), value: value.to_vec() };
    let mut all = vec![variable(b"PATH", PATH_DEFAULT.as_bytes())];
    let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    all.extend(inherited.map(|(name, value)| variable(name.as_bytes(), value.as_bytes())));
    // The job's words come after the machine's and before ours: it may choose its PATH, not its token.
    all.extend(start.assignment.env.iter().map(|(name, value)| variable(name.as_bytes(), value.as_bytes())));
    all.extend(identity(start).iter().map(|(name, value)| variable(name.as_bytes(), value.as_bytes())));
    all.push(variable(b"QUORATE_REPORT", &bytes(&workspace.report())));
    all.push(variable(b"PWD", &bytes(workspace.path())));
    all
}

fn node(what: &str, error: &io::Error) -> NotStarted {
    NotStarted::Node(format!("{what}: {error}"))
}

/// Tells a mistake in the job from a machine in trouble: only the first is the task's own failure.
pub(super) fn refused(program: &str, error: &io::Error) -> NotStarted {
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

//! Strikes at tasks: the first process of an attempt, or all that share its group. Agents and what stands between them
//! and their tasks are not touched here.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::ledger::{Record, recent};
use crate::schedule::Class;
use crate::task::TASK;

/// A task that was found alive.
pub(crate) struct Living {
    pub(crate) record: Record,
    process: Pid,
    /// Stays its own, whoever gets its number later.
    handle: OwnedFd,
}

/// Of each promise the newest task that runs on this node; or anywhere, when none runs there.
pub(crate) fn living(ledger: &Path, node: &str) -> Vec<Living> {
    let records = recent(ledger).unwrap_or_default();
    let (there, elsewhere): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.node == node);
    let there = one_of_each(there);
    if there.is_empty() { one_of_each(elsewhere) } else { there }
}

fn one_of_each(records: Vec<Record>) -> Vec<Living> {
    let mut found: Vec<Living> = Vec::new();
    for record in records {
        if found.iter().all(|known| known.record.promise != record.promise) {
            found.extend(Living::find(record));
        }
    }
    found
}

impl Living {
    /// None when it has ended.
    fn find(record: Record) -> Option<Self> {
        let process = i32::try_from(record.process).ok().and_then(Pid::from_raw)?;
        let handle = pidfd_open(process, PidfdFlags::empty()).ok()?;
        // Looked at after it was taken hold of: it is the one that wrote the line, and nobody else's group.
        let (arguments, environment) = (words(record.process, "cmdline")?, words(record.process, "environ")?);
        let has = |name: &str, value: &str| environment.contains(&format!("{name}={value}"));
        let is_it = arguments.iter().any(|word| word == TASK)
            && has("QUORATE_RUN_ID", &record.run)
            && has("QUORATE_TASK_INDEX", &record.index.to_string())
            && has("QUORATE_ATTEMPT", &record.attempt.to_string())
            && getpgid(Some(process)).ok()? == process;
        is_it.then_some(Self { record, process, handle })
    }

    /// Does to it what such a fault does first; false when it has ended meanwhile.
    pub(crate) fn strike(&self, class: Class) -> bool {
        means(class).is_some_and(|(signal, whom)| self.tell(signal, whom))
    }

    /// Lets it go on, if it was stopped and still is there.
    pub(crate) fn heal(&self, class: Class) {
        if let Some((_, whom)) = means(class).filter(|_| stops(class)) {
            self.tell(Signal::CONT, whom);
        }
    }

    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let Record { run, index, attempt, promise, node, .. } = &self.record;
        format!("{promise} {run}[{index}] attempt {attempt} on {node}")
    }

    fn tell(&self, signal: Signal, whom: Whom) -> bool {
        match whom {
            Whom::First => pidfd_send_signal(&self.handle, signal).is_ok(),
            Whom::Group => {
                // The number is the group's while its first process is there, also a dead one that was not waited for.
                let is_there = getpgid(Some(self.process)).is_ok_and(|group| group == self.process);
                is_there && kill_process_group(self.process, signal).is_ok()
            }
        }
    }
}

/// Who is told.
#[derive(Clone, Copy)]
enum Whom {
    First,
    Group,
}

/// How a class strikes tasks; none for those that do not.
fn means(class: Class) -> Option<(Signal, Whom)> {
    match class {
        Class::TaskKill => Some((Signal::KILL, Whom::First)),
        Class::TaskPause => Some((Signal::STOP, Whom::First)),
        Class::GroupKill => Some((Signal::KILL, Whom::Group)),
        Class::GroupPause => Some((Signal::STOP, Whom::Group)),
        Class::Kill
        | Class::Pause
        | Class::Cut
        | Class::Mute
        | Class::Deaf
        | Class::Lone
        | Class::Isolate
        | Class::Slow
        | Class::DiskFull
        | Class::AgentDiskFull
        | Class::Clock
        | Class::Rolling
        | Class::Transfer => None,
    }
}

/// True for a class that stops tasks, and lets them go on in the end.
pub(crate) fn stops(class: Class) -> bool {
    means(class).is_some_and(|(signal, _)| signal == Signal::STOP)
}

/// The words of such a file of a process.
fn words(process: u32, file: &str) -> Option<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{process}/{file}")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::ledger::{Line, Part, Stage};

    /// A process that looks like a task in its own group, and its line.
    fn process(ledger: &Path, node: &str, attempt: u32) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "echo; read line", TASK]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("QUORATE_RUN_ID", "r1").env("QUORATE_TASK_INDEX", "0").env("QUORATE_ATTEMPT", attempt.to_string());
        let mut child = command.spawn().unwrap();
        // A spawned process may be seen before its words are there; it runs once it says something.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let record = Record {
            first_us: 1,
            last_us: 1,
            stage: Stage::Runs,
            part: Part::First,
            process: child.id(),
            run: "r1".to_owned(),
            index: 0,
            attempt,
            token: 9,
            node: node.to_owned(),
            promise: "fenced".to_owned(),
        };
        Line::begin(ledger, &record).unwrap();
        child
    }

    #[test]
    fn the_newest_that_lives_is_found_on_its_node_or_elsewhere_and_killed_with_its_group() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        std::fs::File::create(&ledger).unwrap();
        let mut children =
            [process(&ledger, "node-1", 1), process(&ledger, "node-1", 2), process(&ledger, "node-2", 3)];
        let attempts =
            |node: &str| -> Vec<u32> { living(&ledger, node).iter().map(|living| living.record.attempt).collect() };
        assert_eq!((attempts("node-1"), attempts("node-2"), attempts("node-3")), (vec![2], vec![3], vec![3]));
        for living in living(&ledger, "node-2") {
            assert!(living.strike(Class::GroupPause) && living.strike(Class::TaskKill));
            children[2].wait().unwrap();
            living.heal(Class::GroupPause);
            assert!(!living.strike(Class::GroupKill), "it is gone");
        }
        assert_eq!(attempts("node-2"), [2], "elsewhere");
        for mut child in children {
            // The one that was killed has been waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

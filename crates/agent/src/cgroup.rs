//! Control groups: what holds each attempt to its memory, its share of the processors and a number of
//! processes, and names every process of it, those included that left its session.
//!
//! Both versions are used as they are found, also side by side: limits where their controllers are, and
//! killing at one stroke where there is a version 2 hierarchy. Each attempt has a [`Cell`], one directory in
//! each hierarchy, below one directory of this agent. Empty cells are used again: most attempts ask for
//! the same, and then nothing has to be written but the process itself.
//!
//! **Invariant:** cells of an earlier life of this agent are killed before the first process of this one
//! starts, unless their attempts go on, and none of them is used for another. The agent's lock on its data directory is taken before.

mod cell;
mod hierarchy;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_state::{NodeName, Resources};

pub(crate) use cell::{Cell, Dial, Shortage, kill};
use hierarchy::{Controllers, Hierarchy};

use crate::driver::process::shim::Held;

/// Begins the name of every agent's group.
const PREFIX: &str = "quorate-";
/// Empty cells kept for use.
const FREE_MAX: usize = 1_024;
/// Processes and threads of one attempt, so that one that only multiplies does not take the machine along.
pub const PROCESSES_MAX_DEFAULT: u64 = 4_096;

/// Cells made by this process, in whichever agent of it.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Whether control groups are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// As far as this machine allows.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// The agent runs nothing if memory, processors or processes cannot be limited.
    Require,
}

/// What an agent needs to know to use them.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether to.
    pub mode: Use,
    /// Its data directory, whose identity names the agent's own group. It exists.
    pub data_dir: PathBuf,
    /// Its node, for people who look.
    pub node: NodeName,
    /// Processes and threads that an attempt may have at once.
    pub processes_max: u64,
}

/// The groups of one agent.
#[derive(Debug)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// Begins the names of this life's cells.
    life: String,
    processes_max: u64,
    free: Mutex<Vec<cell::Room>>,
    /// Cells of earlier lives whose attempts go on.
    spared: BTreeSet<String>,
}

impl Cgroups {
    /// Finds out what there is, and kills what an earlier life left, except in the cells `spared`. None: nothing can
    /// be used.
    ///
    /// # Errors
    /// Why it cannot be used as it has to be.
    pub(crate) fn open(options: &Options, spared: BTreeSet<String>) -> Result<Option<Arc<Self>>, String> {
        if options.mode == Use::Off {
            return Ok(None);
        }
        let own = own_name(options).map_err(|error| format!("{}: {error}", options.data_dir.display()))?;
        let mut hierarchies = hierarchy::of_this_process();
        hierarchies.retain_mut(|hierarchy| match hierarchy.prepare(&own) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(group = %hierarchy.dir.display(), %error, "no group can be made there");
                false
            }
        });
        let limits = hierarchies.iter().fold(Controllers::default(), |all, one| all.and(one.controllers));
        let kills = hierarchies.iter().any(|hierarchy| hierarchy.is_v2);
        tracing::info!(
            memory = limits.memory,
            cpu = limits.cpu,
            processes = limits.pids,
            whole_tree = kills,
            "what control groups enforce here"
        );
        if options.mode == Use::Require && !limits.all() {
            return Err(format!(
                "agent.cgroups is require, and control groups can{} limit memory, can{} limit processors, can{} limit \
                 processes here: give the agent a group of its own with these controllers (systemd: Delegate=yes), or \
                 set it to auto",
                not(limits.memory),
                not(limits.cpu),
                not(limits.pids)
            ));
        }
        let process = std::process::id();
        let (namespace, now) = (namespace(), began(process));
        let life = format!("{namespace:x}-{process}-{now}-");
        for hierarchy in &hierarchies {
            hierarchy.end_others(&life, &spared);
            hierarchy::sweep(&hierarchy.dir, |cell| {
                let mut parts = cell.split('-');
                // What other namespaces call a process is nothing to us: whoever is there may live.
                if parts.next() != Some(&format!("{namespace:x}")) {
                    return true;
                }
                let mut numbers = parts.map(str::parse::<u64>);
                let (Some(Ok(process)), Some(Ok(ticks))) = (numbers.next(), numbers.next()) else { return true };
                u32::try_from(process).is_ok_and(|process| began(process) == ticks)
            });
        }
        Ok((!hierarchies.is_empty()).then(|| {
            let (processes_max, free) = (options.processes_max, Mutex::default());
            Arc::new(Self { hierarchies, life, processes_max, free, spared })
        }))
    }

    /// True when nothing of an earlier life is left in any group.
    pub(crate) fn others_are_gone(&self) -> bool {
        // Each look ends what has come to its end: a group can be removed once it is empty.
        self.hierarchies.iter().filter(|hierarchy| !hierarchy.end_others(&self.life, &self.spared)).count() == 0
    }

    /// A cell for an attempt with these resources; zero means without a limit.
    pub(crate) fn take(self: &Arc<Self>, resources: Resources) -> io::Result<Cell> {
        let free = self.lock().pop();
        if let Some(mut room) = free {
            // One that cannot be made smaller, because the kernel still counts much to it, is given up.
            if room.limit(resources, self.processes_max).is_ok() {
                return Ok(Cell::new(self.clone(), room));
            }
        }
        let name = format!("{}{}", self.life, MADE.fetch_add(1, Ordering::Relaxed));
        let mut room = cell::Room::make(&self.hierarchies, &name)?;
        room.limit(resources, self.processes_max)?;
        Ok(Cell::new(self.clone(), room))
    }

    /// The cell of an attempt that has outlived an agent.
    pub(crate) fn adopt(self: &Arc<Self>, held: &Held) -> Cell {
        Cell::known(self.clone(), cell::Room::of(&self.hierarchies, held))
    }

    /// Takes back an empty one.
    fn give_back(&self, room: cell::Room) {
        let mut free = self.lock();
        if free.len() < FREE_MAX {
            free.push(room);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<cell::Room>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.lock().clear();
        for hierarchy in &self.hierarchies {
            hierarchy.remove_empty();
            // Fails while something is left in it, which the next life ends or takes over.
            let _ = fs::remove_dir(&hierarchy.dir);
        }
    }
}

fn not(can: bool) -> &'static str {
    if can { "" } else { "not" }
}

/// The same in every life of an agent, and different for every other: a data directory has one agent.
fn own_name(options: &Options) -> io::Result<String> {
    let metadata = fs::metadata(&options.data_dir)?;
    Ok(format!("{PREFIX}{}-{:x}-{:x}", options.node, metadata.dev(), metadata.ino()))
}

/// Which numbers of processes are meant: those of this namespace. Zero where it cannot be told.
fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

/// When a process began, in ticks since boot.
fn began(process: u32) -> u64 {
    crate::driver::process::began(process).unwrap_or(0)
}

/// A file that holds one number, or a word for none.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a word, in a file of such lines.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests;

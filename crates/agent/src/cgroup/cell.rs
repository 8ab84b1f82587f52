//! One attempt's groups: limits, the way in, the end of all in them, and what the kernel counted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_state::Resources;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::hierarchy::{Controllers, Hierarchy};
use super::{Cgroups, field, number};
use crate::driver::process::shim::Held;

/// Shares of one core in version 1.
const SHARES_PER_CORE: u64 = 1_024;
/// No limit of memory is below this: what the kernel itself needs for a process, copies of the agent's page
/// tables between fork and exec included, is counted as well.
const MEMORY_MIN: u64 = 8 << 20;
/// The fewest and the most shares, and the greatest weight of version 2, by the kernel.
const SHARES: (u64, u64) = (2, 262_144);
const WEIGHT_MAX: u64 = 10_000;

/// Files of version 1 that have the limit of memory, with swap and without; and the most that was in use.
const LIMITS_V1: [&str; 2] = ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"];
const PEAKS_V1: [&str; 2] = ["memory.memsw.max_usage_in_bytes", "memory.max_usage_in_bytes"];
/// A limit is reached when there is no room for what the kernel asks for in one piece before it kills: eight of the
/// largest pages.
const NEAR_BYTES: u64 = 8 * (64 << 10);

/// The directories of a cell, one in each hierarchy, and what is set in them. Dropped, they are removed if
/// they are empty.
#[derive(Debug)]
pub(super) struct Room {
    places: Vec<Place>,
    limits: Option<(Resources, u64)>,
    /// What was counted when nobody was in it yet.
    before: Counted,
    /// It may have been killed at one stroke. Linux 6.18 remembers that: whoever is born into it from
    /// elsewhere, as attempts are, is killed at once.
    spent: AtomicBool,
}

#[derive(Clone, Debug)]
struct Place {
    dir: PathBuf,
    is_v2: bool,
    controllers: Controllers,
}

/// What the kernel has counted in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// How often something in it was killed for want of memory, whoever's.
    out_of_memory: u64,
    /// How often its own limit of memory was in the way.
    limit_reached: u64,
    cpu_us: u64,
}

/// Whose want of memory something was killed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The attempt's own: it reached its limit of so many bytes.
    Own(u64),
    /// The machine's, or that of a group around the agent: the attempt is within its limit, if it has one.
    Outside(Option<u64>),
}

impl Shortage {
    /// What the counters say of an attempt with this limit. The kernel counts a kill in the room of whoever was killed,
    /// whichever limit was reached; that it was the room's own is counted besides.
    fn of(before: Counted, now: Counted, limit: Option<u64>) -> Option<Self> {
        let was_reached = now.limit_reached > before.limit_reached;
        let shortage = limit.filter(|_| was_reached).map_or(Self::Outside(limit), Self::Own);
        (now.out_of_memory > before.out_of_memory).then_some(shortage)
    }
}

impl Room {
    pub(super) fn make(hierarchies: &[Hierarchy], name: &str) -> io::Result<Self> {
        let places = Vec::with_capacity(hierarchies.len());
        let mut room = Self { places, limits: None, before: Counted::default(), spent: AtomicBool::new(false) };
        for Hierarchy { dir, is_v2, controllers } in hierarchies {
            let dir = dir.join(name);
            fs::create_dir(&dir)?;
            room.places.push(Place { dir, is_v2: *is_v2, controllers: *controllers });
        }
        Ok(room)
    }

    /// The room in which an attempt has outlived an agent.
    pub(super) fn of(hierarchies: &[Hierarchy], held: &Held) -> Self {
        let place =
            |one: &Hierarchy| Place { dir: one.dir.join(&held.name), is_v2: one.is_v2, controllers: one.controllers };
        let resources = Resources { cpu_milli: u64::MAX, memory_bytes: held.memory_bytes, gpu_milli: 0 };
        let Held { out_of_memory, limit_reached, cpu_us, .. } = *held;
        let before = Counted { out_of_memory, limit_reached, cpu_us };
        let places = hierarchies.iter().map(place).collect();
        // What the earlier life did to it is not known.
        Self { places, limits: Some((resources, 0)), before, spent: AtomicBool::new(true) }
    }

    /// Sets the limits; nothing is written that stands there already.
    pub(super) fn limit(&mut self, resources: Resources, processes_max: u64) -> io::Result<()> {
        if self.limits == Some((resources, processes_max)) {
            return Ok(());
        }
        self.limits = None;
        for place in &self.places {
            place.limit(resources, processes_max)?;
        }
        self.limits = Some((resources, processes_max));
        Ok(())
    }

    fn counted(&self) -> Counted {
        let of = |count: fn(&Place) -> Option<u64>| self.places.iter().find_map(count).unwrap_or(0);
        Counted {
            out_of_memory: of(Place::out_of_memory),
            limit_reached: of(Place::limit_reached),
            cpu_us: self.cpu_us(),
        }
    }

    fn cpu_us(&self) -> u64 {
        self.places.iter().find_map(Place::cpu_us).unwrap_or(0)
    }

    /// The limit of memory as it was set; none without.
    fn memory_limit(&self) -> Option<u64> {
        self.limits.and_then(|(resources, _)| memory_limit(resources))
    }

    fn is_empty(&self) -> bool {
        // Every process is in all of them.
        self.places.iter().find(|place| place.is_v2).or(self.places.first()).is_none_or(Place::is_empty)
    }

    fn kill(&self) {
        if let Some(place) = self.places.iter().find(|place| place.is_v2).or(self.places.first()) {
            self.spent.store(true, Ordering::SeqCst);
            kill(&place.dir, place.is_v2);
        }
    }

    /// Whether another attempt can live in it.
    fn is_good(&self) -> bool {
        !self.spent.load(Ordering::SeqCst) && self.is_empty()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for place in &self.places {
            let _ = fs::remove_dir(&place.dir);
        }
    }
}

impl Place {
    fn set(&self, file: &str, value: impl ToString) -> io::Result<()> {
        fs::write(self.dir.join(file), value.to_string())
    }

    /// Sets a file that not every kernel has.
    fn set_if_there(&self, file: &str, value: impl ToString) -> io::Result<()> {
        match self.set(file, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn limit(&self, resources: Resources, processes_max: u64) -> io::Result<()> {
        let cpu_milli = resources.cpu_milli;
        let memory = memory_limit(resources).map(|bytes| bytes.to_string());
        if self.controllers.memory && self.is_v2 {
            self.set_if_there("memory.swap.max", 0)?;
            self.set("memory.max", memory.as_deref().unwrap_or("max"))?;
        } else if self.controllers.memory {
            // With swap it may never be less than without.
            self.set_if_there("memory.memsw.limit_in_bytes", -1)?;
            let memory = memory.as_deref().unwrap_or("-1");
            self.set("memory.limit_in_bytes", memory)?;
            self.set_if_there("memory.memsw.limit_in_bytes", memory)?;
        }
        if self.controllers.cpu {
            let shares = cpu_milli.saturating_mul(SHARES_PER_CORE) / 1_000;
            let shares = if cpu_milli == 0 { SHARES_PER_CORE } else { shares.clamp(SHARES.0, SHARES.1) };
            match self.is_v2 {
                true => self.set("cpu.weight", weight(shares))?,
                false => self.set("cpu.shares", shares)?,
            }
        }
        if self.controllers.pids {
            self.set("pids.max", processes_max)?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let is_empty = match self.is_v2 {
            true => fs::read_to_string(self.dir.join("cgroup.events"))
                .map(|events| events.lines().any(|line| line == "populated 0")),
            false => members(&self.dir).map(|members| members.is_empty()),
        };
        // The kernel removes a group only when nothing is in it.
        is_empty.unwrap_or_else(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// How often the kernel has killed something in here for want of memory.
    fn out_of_memory(&self) -> Option<u64> {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        self.controllers.memory.then(|| field(&self.dir.join(file), "oom_kill"))?
    }

    /// How often its own limit of memory was in the way. Version 2 counts when the kernel was about to give up, in groups
    /// that the attempt has made in here as well. Of version 1 only the most that ever was in use can be relied on (Linux
    /// 6.18 leaves `memory.failcnt` at zero), which says whether it was, also when giving up pages of files helped.
    fn limit_reached(&self) -> Option<u64> {
        if !self.controllers.memory {
            return None;
        }
        if self.is_v2 {
            return field(&self.dir.join("memory.events"), "oom");
        }
        // With swap it is never less than without, and the limit is the same.
        let of = |with_swap, without| number(&self.dir.join(with_swap)).or_else(|| number(&self.dir.join(without)));
        let limit = of(LIMITS_V1[0], LIMITS_V1[1])?;
        Some(u64::from(of(PEAKS_V1[0], PEAKS_V1[1])?.saturating_add(NEAR_BYTES) >= limit))
    }

    /// Has the kernel forget that somebody before has reached the limit, where it can.
    fn begin_anew(&self) {
        if !self.is_v2 && self.limit_reached() == Some(1) {
            for file in PEAKS_V1 {
                // If it cannot be, what is wrong is a word for people.
                let _ = self.set_if_there(file, 0);
            }
        }
    }

    /// Bytes of memory in use in here, less what is given up first.
    fn memory_bytes(&self) -> Option<u64> {
        if !self.controllers.memory {
            return None;
        }
        let (all, idle) = match self.is_v2 {
            true => ("memory.current", "inactive_file"),
            false => ("memory.usage_in_bytes", "total_inactive_file"),
        };
        let idle = field(&self.dir.join("memory.stat"), idle).unwrap_or(0);
        Some(number(&self.dir.join(all))?.saturating_sub(idle))
    }

    /// Time of processors used in here, by everything that ever was.
    fn cpu_us(&self) -> Option<u64> {
        match self.is_v2 {
            true => field(&self.dir.join("cpu.stat"), "usage_usec"),
            false => number(&self.dir.join("cpuacct.usage")).map(|nanos| nanos / 1_000),
        }
    }
}

/// What can be read of a cell without holding it.
#[derive(Debug)]
pub(crate) struct Dial {
    places: Vec<Place>,
    /// CPU time that was counted when nobody was in it yet.
    before_us: u64,
}

impl Dial {
    /// Microseconds of processors used so far; none where no group counts them.
    pub(crate) fn cpu_us(&self) -> Option<u64> {
        Some(self.places.iter().find_map(Place::cpu_us)?.saturating_sub(self.before_us))
    }

    /// Bytes of memory in use, without pages of files that nobody has used for a while: the kernel gives those up
    /// before anything is killed. None where no group counts them.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        self.places.iter().find_map(Place::memory_bytes)
    }

    /// The processes in it.
    pub(crate) fn members(&self) -> Vec<u32> {
        let place = self.places.iter().find(|place| place.is_v2).or(self.places.first());
        let members = place.and_then(|place| members(&place.dir).ok()).unwrap_or_default();
        members.into_iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect()
    }
}

/// What an attempt with these resources is held to, in bytes; none without a limit.
fn memory_limit(resources: Resources) -> Option<u64> {
    (resources.memory_bytes > 0).then(|| resources.memory_bytes.max(MEMORY_MIN))
}

/// Shares as the kernel's own tools turn them into a weight: both from the least to the most.
fn weight(shares: u64) -> u64 {
    1 + (shares - SHARES.0) * (WEIGHT_MAX - 1) / (SHARES.1 - SHARES.0)
}

fn members(dir: &Path) -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string(dir.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect())
}

/// SIGKILL to everything in a group, now. Version 1 can only be asked who is in it: what starts meanwhile is
/// met by the next call.
pub(crate) fn kill(dir: &Path, is_v2: bool) {
    if is_v2 && fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for member in members(dir).unwrap_or_default() {
        // The number may be another's by the time of the signal unless it is still in here behind the handle.
        let Ok(handle) = pidfd_open(member, PidfdFlags::empty()) else { continue };
        if members(dir).is_ok_and(|members| members.contains(&member)) {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
}

/// One attempt's cell. Dropped, all in it is killed, and it is used again if there was nothing to kill.
#[derive(Debug)]
pub(crate) struct Cell {
    owner: Arc<Cgroups>,
    room: Option<Room>,
}

impl Cell {
    /// A room that nobody is in.
    pub(super) fn new(owner: Arc<Cgroups>, mut room: Room) -> Self {
        room.places.iter().for_each(Place::begin_anew);
        room.before = room.counted();
        Self::known(owner, room)
    }

    /// A room that somebody is in.
    pub(super) fn known(owner: Arc<Cgroups>, room: Room) -> Self {
        Self { owner, room: Some(room) }
    }

    /// The directory of version 2 in which a process can be born.
    pub(crate) fn group(&self) -> Option<PathBuf> {
        self.places().find(|place| place.is_v2).map(|place| place.dir.clone())
    }

    /// The files of version 1 into which a thread writes "0" to enter. Not `cgroup.procs`: moving all threads of a process
    /// waits for a grace period of the kernel, and who has just been forked has one.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        self.places().filter(|place| !place.is_v2).map(|place| place.dir.join("tasks")).collect()
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.room.iter().flat_map(|room| &room.places)
    }

    /// What can be read of it by whoever does not hold it.
    pub(crate) fn dial(&self) -> Dial {
        let before_us = self.room.as_ref().map_or(0, |room| room.before.cpu_us);
        Dial { places: self.places().cloned().collect(), before_us }
    }

    /// What the next life of the agent needs to know to take it over.
    pub(crate) fn held(&self) -> Option<Held> {
        let room = self.room.as_ref()?;
        let name = room.places.first()?.dir.file_name()?.to_string_lossy().into_owned();
        let memory_bytes = room.limits.map_or(0, |(resources, _)| resources.memory_bytes);
        let Counted { out_of_memory, limit_reached, cpu_us } = room.before;
        Some(Held { name, memory_bytes, out_of_memory, cpu_us, limit_reached })
    }

    /// Lets go of it; whatever is in it goes on.
    pub(crate) fn leave(mut self) {
        // Its directories cannot be removed while something is in them.
        self.room = None;
    }

    /// SIGKILL to all in it.
    pub(crate) fn kill(&self) {
        if let Some(room) = &self.room {
            room.kill();
        }
    }

    /// Somebody else has killed, or may have killed, all in it at one stroke.
    pub(crate) fn spend(&self) {
        if let Some(room) = &self.room {
            room.spent.store(true, Ordering::SeqCst);
        }
    }

    /// True when nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.room.as_ref().is_none_or(Room::is_empty)
    }

    /// For whose want of memory something in it was killed, if for any.
    pub(crate) fn ran_out_of_memory(&self) -> Option<Shortage> {
        let room = self.room.as_ref()?;
        Shortage::of(room.before, room.counted(), room.memory_limit())
    }

    /// Microseconds of processors used by everything that was in it, waited for or not.
    pub(crate) fn cpu_us(&self) -> u64 {
        self.room.as_ref().map_or(0, |room| room.cpu_us().saturating_sub(room.before.cpu_us))
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else { return };
        if room.is_good() {
            self.owner.give_back(room);
        } else if !room.is_empty() {
            room.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_short_of_memory_is_told_by_what_grew() {
        let before = Counted { out_of_memory: 3, limit_reached: 5, cpu_us: 7 };
        let now = |out_of_memory, limit_reached| Counted { out_of_memory, limit_reached, cpu_us: 9 };
        let of = |now, limit| Shortage::of(before, now, limit);
        assert_eq!(of(now(3, 5), Some(64)), None);
        assert_eq!(of(now(3, 6), Some(64)), None, "giving something up has helped");
        assert_eq!(of(now(4, 6), Some(64)), Some(Shortage::Own(64)));
        assert_eq!(of(now(4, 5), Some(64)), Some(Shortage::Outside(Some(64))));
        assert_eq!(of(now(4, 5), None), Some(Shortage::Outside(None)));
        assert_eq!(of(now(4, 6), None), Some(Shortage::Outside(None)), "there is no limit to be reached");
        assert_eq!(memory_limit(Resources { cpu_milli: 1, memory_bytes: 0, gpu_milli: 0 }), None);
        assert_eq!(memory_limit(Resources { cpu_milli: 1, memory_bytes: 1, gpu_milli: 0 }), Some(MEMORY_MIN));
    }

    #[test]
    fn both_versions_are_read_as_the_kernel_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str, is_v2, files: &[(&str, &str)]| {
            let dir = directory.path().join(name);
            fs::create_dir(&dir).unwrap();
            files.iter().for_each(|(file, text)| fs::write(dir.join(file), text).unwrap());
            let controllers = Controllers { memory: true, ..Controllers::default() };
            let places = vec![Place { dir, is_v2, controllers }];
            let Counted { out_of_memory, limit_reached, .. } =
                Room { places, limits: None, before: Counted::default(), spent: AtomicBool::new(false) }.counted();
            (out_of_memory, limit_reached)
        };
        let events = "low 0\nhigh 0\nmax 8\noom 2\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(place("2", true, &[("memory.events", events)]), (3, 2));
        let control = ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        let limits = LIMITS_V1.map(|file| (file, "16777216\n"));
        let without_swap = |peak| [control, limits[1], (PEAKS_V1[1], peak)];
        assert_eq!(place("1", false, &without_swap("16777216\n")), (1, 1));
        assert_eq!(place("1-almost", false, &without_swap("16764928\n")), (1, 1));
        assert_eq!(place("1-below", false, &without_swap("9000000\n")), (1, 0));
        let with_swap = |peak| [control, limits[0], limits[1], (PEAKS_V1[0], peak), (PEAKS_V1[1], "9000000\n")];
        assert_eq!(place("1-swap", false, &with_swap("16777216\n")), (1, 1), "the limit with swap is met first");
        assert_eq!(place("1-swap-below", false, &with_swap("9000000\n")), (1, 0));
    }

    #[test]
    fn shares_become_weights_from_the_least_to_the_most() {
        assert_eq!(weight(SHARES.0), 1);
        assert_eq!(weight(SHARES.1), WEIGHT_MAX);
        assert!(weight(SHARES_PER_CORE) < weight(2 * SHARES_PER_CORE));
    }
}

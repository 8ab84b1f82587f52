//! Where the groups of this machine are mounted, which of them this process is in, and what an agent's own
//! group below that can do.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{PREFIX, cell};

/// The group of version 2 in which the agent itself stands.
const ASIDE: &str = "quorate-agent";

/// What a hierarchy limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Controllers {
    pub(super) memory: bool,
    pub(super) cpu: bool,
    pub(super) pids: bool,
}

impl Controllers {
    /// Those of either.
    pub(super) fn and(self, other: Self) -> Self {
        Self { memory: self.memory || other.memory, cpu: self.cpu || other.cpu, pids: self.pids || other.pids }
    }

    pub(super) fn all(self) -> bool {
        self.memory && self.cpu && self.pids
    }

    fn any(self) -> bool {
        self.memory || self.cpu || self.pids
    }

    fn read(words: &str, between: char) -> Self {
        let has = |name: &str| words.split(between).any(|word| word.trim() == name);
        Self { memory: has("memory"), cpu: has("cpu"), pids: has("pids") }
    }

    /// As version 2 is told to pass them on.
    fn enabled(self) -> String {
        let names = [(self.memory, "+memory"), (self.cpu, "+cpu"), (self.pids, "+pids")];
        names.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }
}

/// One tree of groups, and a directory in it: at first that of this process, then the agent's own below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) dir: PathBuf,
    pub(super) is_v2: bool,
    pub(super) controllers: Controllers,
}

impl Hierarchy {
    /// Makes the agent's own group, named `own`, and finds out what it can limit.
    pub(super) fn prepare(&mut self, own: &str) -> io::Result<()> {
        let parent = above_aside(std::mem::take(&mut self.dir), self.is_v2);
        self.dir = parent.join(own);
        make(&self.dir)?;
        if self.is_v2 {
            let words = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
            let offered = Controllers::read(&words, ' ');
            self.controllers = if pass_on(&parent, &self.dir, offered) { offered } else { Controllers::default() };
        }
        Ok(())
    }

    /// Kills every cell whose name does not begin with `life` and is not among `spared`, and removes what is
    /// empty. True when none is left.
    pub(super) fn end_others(&self, life: &str, spared: &BTreeSet<String>) -> bool {
        let is_ours = |name: &str| name.starts_with(life) || spared.contains(name);
        self.cells().filter(|(name, _)| !is_ours(name)).fold(true, |gone, (_, path)| {
            cell::kill(&path, self.is_v2);
            fs::remove_dir(&path).is_ok() && gone
        })
    }

    /// Removes the cells that nothing is in.
    pub(super) fn remove_empty(&self) {
        for (_, path) in self.cells() {
            // The kernel refuses where something is left.
            let _ = fs::remove_dir(path);
        }
    }

    fn cells(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let cells = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        cells.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
    }
}

/// Removes groups of other agents beside `own` that have ended and left nothing running: an agent that is killed
/// cannot, and its data directory may be gone for good. `lives` says whether a life is still going on.
pub(super) fn sweep(own: &Path, lives: impl Fn(&str) -> bool) {
    let Some(siblings) = own.parent().and_then(|parent| fs::read_dir(parent).ok()) else { return };
    let others = siblings.flatten().map(|entry| entry.path()).filter(|path| {
        let is_agents = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        is_agents && path != own
    });
    for other in others {
        let cells = fs::read_dir(&other).into_iter().flatten().flatten();
        let cells: Vec<PathBuf> = cells.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        let is_over = |cell: &PathBuf| cell.file_name().is_some_and(|name| !lives(&name.to_string_lossy()));
        // One without cells may be that of an agent that begins.
        if !cells.is_empty() && cells.iter().all(is_over) {
            // The kernel refuses where something is left.
            let removed = cells.iter().all(|cell| fs::remove_dir(cell).is_ok());
            let _ = removed.then(|| fs::remove_dir(&other));
        }
    }
}

/// The group in which agents' groups are made, for a process in `dir`: it may have been put aside already, so that
/// nothing stands in its way when it is started again beside tasks that go on.
fn above_aside(dir: PathBuf, is_v2: bool) -> PathBuf {
    let is_aside = is_v2 && dir.file_name().is_some_and(|name| name == ASIDE);
    dir.parent().filter(|_| is_aside).map_or(dir.clone(), Path::to_path_buf)
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Has the controllers of `parent` limit what is below `own`. A group of version 2 that passes controllers on
/// may hold no processes itself, so this process moves to one beside `own`; what else is in `parent` is not ours to
/// move, and then there are no limits.
fn pass_on(parent: &Path, own: &Path, controllers: Controllers) -> bool {
    if !controllers.any() {
        return false;
    }
    let words = controllers.enabled();
    let enable = |dir: &Path| fs::write(dir.join("cgroup.subtree_control"), &words);
    let passed = enable(parent).or_else(|_| {
        let aside = parent.join(ASIDE);
        make(&aside)?;
        fs::write(aside.join("cgroup.procs"), "0")?;
        enable(parent)
    });
    passed.and_then(|()| enable(own)).is_ok()
}

/// Every hierarchy that could be of use, with the directory of this process in it.
pub(super) fn of_this_process() -> Vec<Hierarchy> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

/// The same of the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` (proc(5), cgroups(7)).
fn parse(mounts: &str, memberships: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or_default(), after.nth(1).unwrap_or_default());
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(mounted)) = (before.next(), before.next()) else { continue };
        let (is_v2, controllers) = match kind {
            "cgroup2" => (true, Controllers::default()),
            "cgroup" => (false, Controllers::read(options, ',')),
            _ => continue,
        };
        let is_known = found.iter().any(|known| known.is_v2 == is_v2 && known.controllers == controllers);
        if is_known || !(is_v2 || controllers.any()) {
            continue;
        }
        let own = memberships.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_it = match is_v2 {
                true => number == "0" && names.is_empty(),
                false => Controllers::read(names, ',') == controllers,
            };
            is_it.then_some(path)
        });
        // What is mounted may be a part of the tree, and we may be outside of that part.
        let below = own.and_then(|own| Path::new(own).strip_prefix(root).ok());
        let Some(below) = below.filter(|path| !path.starts_with("..")) else { continue };
        found.push(Hierarchy { dir: Path::new(mounted).join(below), is_v2, controllers });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_stands_aside_makes_its_groups_beside_itself() {
        let of = |dir: &str, is_v2| above_aside(dir.into(), is_v2);
        assert_eq!(of("/sys/fs/cgroup/q.service/quorate-agent", true), Path::new("/sys/fs/cgroup/q.service"));
        assert_eq!(of("/sys/fs/cgroup/q.service", true), Path::new("/sys/fs/cgroup/q.service"));
        assert_eq!(of("/sys/fs/cgroup/cpu/quorate-agent", false), Path::new("/sys/fs/cgroup/cpu/quorate-agent"));
    }

    const MEMORY: Controllers = Controllers { memory: true, cpu: false, pids: false };
    const CPU: Controllers = Controllers { memory: false, cpu: true, pids: false };

    fn hierarchy(dir: &str, is_v2: bool, controllers: Controllers) -> Hierarchy {
        Hierarchy { dir: dir.into(), is_v2, controllers }
    }

    #[test]
    fn both_versions_are_found_side_by_side() {
        let mounts = "\
24 30 0:22 / /proc rw shared:5 - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let memberships = "5:memory:/jobs/a\n4:freezer:/\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/x\n";
        assert_eq!(
            parse(mounts, memberships),
            [
                hierarchy("/sys/fs/cgroup/cpu,cpuacct/", false, CPU),
                hierarchy("/sys/fs/cgroup/memory/jobs/a", false, MEMORY),
                hierarchy("/sys/fs/cgroup/unified/x", true, Controllers::default()),
            ]
        );
    }

    #[test]
    fn a_part_that_is_mounted_is_left_away_and_a_group_outside_of_it_is_none() {
        let mount = |root: &str| format!("32 30 0:28 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let own = "0::/docker/abc/job\n";
        let found = [hierarchy("/sys/fs/cgroup/job", true, Controllers::default())];
        assert_eq!(parse(&mount("/docker/abc"), own), found);
        assert_eq!(parse(&mount("/docker/xyz"), own), []);
        assert_eq!(parse(&mount("/"), "0::/../outside\n"), []);
        assert_eq!(parse(&mount("/"), ""), []);
        assert_eq!(parse("garbage\n1 2 - cgroup2\n", own), []);
    }
}

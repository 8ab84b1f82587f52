//! Groups of this machine, where it has any that this process may use.

use std::process::Command;

use super::*;

/// Directories of tests that have ended give their identity to others, whose agents are not to meet.
fn node() -> NodeName {
    let thread = format!("{:?}", std::thread::current().id());
    NodeName::new(&format!("test-{}", thread.trim_matches(|char: char| !char.is_ascii_digit()))).unwrap()
}

fn options(data_dir: &Path) -> Options {
    Options { mode: Use::Auto, data_dir: data_dir.to_owned(), node: node(), processes_max: 64 }
}

/// None where no groups can be made; then there is nothing to test.
fn open(data_dir: &Path) -> Option<Arc<Cgroups>> {
    Cgroups::open(&options(data_dir), BTreeSet::new()).unwrap()
}

fn resources(memory_bytes: u64) -> Resources {
    Resources { cpu_milli: 500, memory_bytes, gpu_milli: 0 }
}

fn enter(cell: &Cell, process: u32) {
    for entrance in cell.entrances().into_iter().chain(cell.group().map(|group| group.join("cgroup.procs"))) {
        fs::write(entrance, process.to_string()).unwrap();
    }
}

#[test]
fn an_empty_cell_is_used_again_and_one_with_somebody_in_it_is_not() {
    let data = tempfile::tempdir().unwrap();
    let Some(groups) = open(data.path()) else { return };
    let cell = groups.take(resources(64 << 20)).unwrap();
    assert!(cell.is_empty());
    drop(cell);
    assert_eq!(groups.lock().len(), 1);

    // Taken again, with other limits.
    let cell = groups.take(resources(32 << 20)).unwrap();
    assert_eq!(groups.lock().len(), 0);
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    enter(&cell, sleeper.id());
    assert!(!cell.is_empty());
    drop(cell);
    assert!(!sleeper.wait().unwrap().success(), "killed with its cell");
    assert_eq!(groups.lock().len(), 0);
}

#[test]
fn a_cell_that_was_killed_or_comes_from_an_earlier_life_is_not_used_again() {
    let data = tempfile::tempdir().unwrap();
    let Some(groups) = open(data.path()) else { return };
    let cell = groups.take(resources(64 << 20)).unwrap();
    let held = cell.held().unwrap();
    cell.leave();
    let cell = groups.adopt(&held);
    assert!(cell.is_empty());
    drop(cell);
    let cell = groups.take(resources(64 << 20)).unwrap();
    let directory = groups.hierarchies[0].dir.join(cell.held().unwrap().name);
    cell.kill();
    drop(cell);
    assert_eq!(groups.lock().len(), 0);
    assert!(!directory.exists());
}

#[test]
fn what_an_earlier_life_left_is_killed_and_its_groups_are_removed() {
    let data = tempfile::tempdir().unwrap();
    let Some(groups) = open(data.path()) else { return };
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    for hierarchy in &groups.hierarchies {
        // As a life that has ended without a word would leave it.
        let left = hierarchy.dir.join("1-1-0");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    }
    let own = groups.take(resources(0)).unwrap();
    let next = open(data.path()).unwrap();
    assert!(!sleeper.wait().unwrap().success());
    while !next.others_are_gone() {
        std::thread::yield_now();
    }
    assert!(own.entrances().iter().all(|path| path.exists()), "what this life has is not touched");
}

#[test]
fn what_a_killed_agent_left_empty_is_removed_by_any_other() {
    let (data, dead) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(groups) = open(data.path()) else { return };
    let own = &groups.hierarchies[0].dir;
    let dead = own.with_file_name(own_name(&options(dead.path())).unwrap());
    // No process has the number zero; and of one in another namespace nothing is known.
    fs::create_dir_all(dead.join(format!("{:x}-0-7-0", namespace()))).unwrap();
    let elsewhere = own.with_file_name(format!("{PREFIX}elsewhere-{}", node()));
    fs::create_dir_all(elsewhere.join("1-0-7-0")).unwrap();
    let _cell = groups.take(resources(0)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let _other = open(other.path()).unwrap();
    assert!(!dead.exists());
    assert!(elsewhere.exists());
    fs::remove_dir(elsewhere.join("1-0-7-0")).and_then(|()| fs::remove_dir(&elsewhere)).unwrap();
    assert!(own.exists(), "its agent lives");
}

#[test]
fn another_agent_has_groups_of_its_own() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_ne!(own_name(&options(one.path())).unwrap(), own_name(&options(other.path())).unwrap());
    let missing = Cgroups::open(&options(&one.path().join("missing")), BTreeSet::new()).unwrap_err();
    assert!(missing.contains("missing"), "{missing}");
}

#[test]
fn nothing_is_touched_when_they_are_off() {
    let off = Options { mode: Use::Off, ..options(Path::new("/nowhere")) };
    assert!(Cgroups::open(&off, BTreeSet::new()).unwrap().is_none());
}

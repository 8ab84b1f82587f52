//! What `/proc` says of a process.

use std::io::Read as _;

/// What we need of `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its one-letter state; `Z` and `X` are dead.
    pub(super) state: u8,
    /// The process that takes its end.
    pub(super) parent: u32,
    /// Its process group.
    pub(super) group: u32,
    /// When it began, in ticks since boot: with its number, its identity.
    pub(super) ticks: u64,
    /// CPU time of it and of the children it waited for, in microseconds.
    pub(super) cpu_us: u64,
}

/// Microseconds in a tick, as `/proc` counts them.
const TICK_US: u64 = 10_000;

impl Stat {
    /// True while it can still run.
    pub(super) fn lives(self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

/// A process, if there is one of that number.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field, a name in parentheses, may hold anything; fields are counted after its end.
fn parse(text: &[u8]) -> Option<Stat> {
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&text[after..]).ok()?.split_ascii_whitespace().collect();
    let spent = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok());
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ticks: fields.get(19)?.parse().ok()?,
        cpu_us: spent.fold(0, u64::saturating_add).saturating_mul(TICK_US),
    })
}

/// Numbers of all processes there are.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The children of a process, dead ones included.
pub(super) fn children(parent: u32) -> Vec<u32> {
    pids().into_iter().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

/// The environment a process was started with, `KEY=value` each; empty when it may not be read.
pub(super) fn environment(pid: u32) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Bytes that a process, its threads and the children it waited for moved to and from storage: read,
/// written. It can be read until the process is reaped.
pub(super) fn io(pid: u32) -> Option<(u64, u64)> {
    let mut text = String::new();
    std::fs::File::open(format!("/proc/{pid}/io")).ok()?.read_to_string(&mut text).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((field("read_bytes:")?, field("write_bytes:")?))
}

/// Bytes of memory that a process holds, shared ones included: now, and at the most so far.
pub(super) fn memory(pid: u32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1_024))
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = b"42 (a) S (b)) R 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9876 1 2 3\n";
        assert_eq!(parse(line), Some(Stat { state: b'R', parent: 1, group: 42, ticks: 9_876, cpu_us: 260_000 }));
    }

    #[test]
    fn our_own_process_is_found_and_an_absent_one_is_not() {
        let own = std::process::id();
        assert!(stat(own).unwrap().lives());
        assert!(pids().contains(&own));
        assert!(io(own).is_some());
        let (now, most) = memory(own).unwrap();
        assert!(0 < now && now <= most);
        assert_eq!(memory(u32::MAX), None);
        assert_eq!(stat(u32::MAX), None);
    }
}

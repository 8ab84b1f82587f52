//! The file of a shim, by which the next life of the agent finds it, and in which it leaves how its attempt
//! ended: two protobuf messages at fixed places of one small file, whose room on the disk is taken before the attempt
//! begins.
//!
//! Nothing of it is synced: no process outlives the kernel that has these pages in memory, and an attempt of an
//! earlier boot counts as lost whatever it says.
//!
//! A field that is added is absent in files of older shims, which may live for as long as their tasks do: it must read
//! as what they did. Change table:
//!
//! | since | change |
//! |---|---|
//! | 0.1.0 | first |
//! | 0.1.0 | `Held.limit_reached`, `Ended.room_killed` |
//! | 0.1.0 | `Ended.reported`, `Begun.silent_ms_max` |

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use quorate_state::{AttemptId, Exit, OnNodeLoss, RunId, TaskId, Token, Usage};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};

/// Where the second message begins: the first one, and all of the second, are far shorter.
const HALF_BYTES: usize = 1_024;

/// What is known once the attempt's first process exists.
#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Begun {
    /// The shim's number, and when it began, in the kernel's ticks since boot.
    #[prost(uint32, tag = "1")]
    pub(in super::super) shim: u32,
    #[prost(uint64, tag = "2")]
    pub(in super::super) shim_ticks: u64,
    /// The same of the attempt's first process.
    #[prost(uint32, tag = "3")]
    pub(in super::super) pid: u32,
    #[prost(uint64, tag = "4")]
    pub(in super::super) ticks: u64,
    /// What the end of the node's lease means for it: 1 at least once, 2 fenced, 3 at most once.
    #[prost(uint32, tag = "5")]
    pub(in super::super) promise: u32,
    /// Its working directory's name.
    #[prost(string, tag = "6")]
    pub(in super::super) workspace: String,
    /// Its control groups, where there are any.
    #[prost(message, optional, tag = "7")]
    pub(in super::super) cell: Option<Held>,
    /// The boot of the machine during which the numbers of processes mean anything.
    #[prost(string, tag = "8")]
    pub(in super::super) boot_id: String,
    /// Whose file it is, as [`name`] calls it.
    #[prost(string, tag = "9")]
    pub(in super::super) attempt: String,
    /// How long it may say nothing. Absent, as long as it likes.
    #[prost(uint64, optional, tag = "10")]
    pub(in super::super) silent_ms_max: Option<u64>,
}

impl Begun {
    pub(in super::super) fn silent_max(&self) -> Option<Duration> {
        self.silent_ms_max.map(Duration::from_millis)
    }
}

/// The control groups of an attempt.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Held {
    /// Their name in each hierarchy.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// The limit of memory; zero without.
    #[prost(uint64, tag = "2")]
    pub(crate) memory_bytes: u64,
    /// What was counted there before the attempt began.
    #[prost(uint64, tag = "3")]
    pub(crate) out_of_memory: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) cpu_us: u64,
    /// Absent, every earlier time that the limit was reached counts as the attempt's.
    #[prost(uint64, tag = "5")]
    pub(crate) limit_reached: u64,
}

/// How its first process ended. Others of it may be left until the shim itself has ended.
#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Ended {
    /// Always set: a message without any field is no message.
    #[prost(bool, tag = "1")]
    pub(in super::super) ended: bool,
    #[prost(int32, optional, tag = "2")]
    pub(in super::super) code: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub(in super::super) signal: Option<i32>,
    #[prost(uint64, tag = "4")]
    pub(in super::super) cpu_us: u64,
    #[prost(uint64, tag = "5")]
    pub(in super::super) memory_peak_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub(in super::super) read_bytes: u64,
    #[prost(uint64, tag = "7")]
    pub(in super::super) written_bytes: u64,
    /// The shim had been told to end it.
    #[prost(bool, tag = "8")]
    pub(in super::super) asked: bool,
    /// The shim killed it because the lease was over.
    #[prost(bool, tag = "9")]
    pub(in super::super) fenced: bool,
    /// It killed all in the control group at one stroke, or is about to. Absent, it did not.
    #[prost(bool, tag = "10")]
    pub(in super::super) room_killed: bool,
    /// It has left a report, which is worth a look at the disk. Absent, it has not.
    #[prost(bool, tag = "11")]
    pub(in super::super) reported: bool,
}

impl Ended {
    pub(in super::super) fn new(exit: Option<Exit>, usage: Usage, asked: bool, fenced: bool) -> Self {
        let (code, signal) = match exit {
            None => (None, None),
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
        };
        let Usage { cpu_us, memory_peak_bytes, read_bytes, written_bytes } = usage;
        let (room_killed, reported) = (false, false);
        Self {
            ended: true,
            code,
            signal,
            cpu_us,
            memory_peak_bytes,
            read_bytes,
            written_bytes,
            asked,
            fenced,
            room_killed,
            reported,
        }
    }

    pub(in super::super) fn exit(&self) -> Option<Exit> {
        self.code.map(Exit::Code).or(self.signal.map(Exit::Signal))
    }

    pub(in super::super) fn usage(&self) -> Usage {
        let Self { cpu_us, memory_peak_bytes, read_bytes, written_bytes, .. } = *self;
        Usage { cpu_us, memory_peak_bytes, read_bytes, written_bytes }
    }
}

/// The number of a promise.
pub(in super::super) fn promise(promise: OnNodeLoss) -> u32 {
    match promise {
        OnNodeLoss::AtLeastOnce => 1,
        OnNodeLoss::Fenced => 2,
        OnNodeLoss::AtMostOnce => 3,
    }
}

/// The promise of a number; one that is not known is the strictest.
pub(in super::super) fn promised(number: u32) -> OnNodeLoss {
    match number {
        1 => OnNodeLoss::AtLeastOnce,
        3 => OnNodeLoss::AtMostOnce,
        _ => OnNodeLoss::Fenced,
    }
}

/// An attempt's name. The token tells a placement from one of the same name in a restored cluster.
pub(in super::super) fn name(attempt: AttemptId, token: Token) -> String {
    let AttemptId { task: TaskId { run, step, index }, number } = attempt;
    format!("{run}.{step}.{index}.{number}.{token}")
}

/// Whose name it is.
pub(in super::super) fn parse_name(name: &str) -> Option<(AttemptId, Token)> {
    let mut parts = name.split('.');
    let run = parts.next()?.parse::<RunId>().ok()?;
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (step, index, number) = (number()?, number()?, number()?);
    let token = Token(parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((AttemptId { task: TaskId { run, step, index }, number }, token))
}

/// Takes all the room that a file will ever need, and wipes what it has said of another attempt: from here on it says
/// nothing. A disk without room refuses this, before anything has begun.
pub(super) fn prepare(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&[0; 2 * HALF_BYTES], 0)?;
    Ok(file)
}

/// Writes the first message.
pub(super) fn begin(file: &File, begun: &Begun) -> io::Result<()> {
    let bytes = begun.encode_length_delimited_to_vec();
    if bytes.len() > HALF_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    file.write_all_at(&bytes, 0)
}

/// Adds the second message.
pub(super) fn end(file: &File, ended: &Ended) -> io::Result<()> {
    file.write_all_at(&ended.encode_length_delimited_to_vec(), HALF_BYTES as u64)
}

/// What a file says; none when there is no such file, or nothing whole in it.
pub(in super::super) fn read(path: &Path) -> Option<(Begun, Option<Ended>)> {
    parse(&std::fs::read(path).ok()?)
}

/// The same, without waiting for a disk; none also if that cannot be.
pub(in super::super) fn read_now(path: &Path) -> Option<(Begun, Option<Ended>)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let mut bytes = [0; 2 * HALF_BYTES];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT).ok()?;
    parse(&bytes[..read])
}

fn parse(bytes: &[u8]) -> Option<(Begun, Option<Ended>)> {
    let (first, second) = bytes.split_at_checked(HALF_BYTES).filter(|(_, second)| second.len() == HALF_BYTES)?;
    let begun = Begun::decode_length_delimited(first).ok().filter(|begun| begun.shim != 0)?;
    Some((begun, Ended::decode_length_delimited(second).ok().filter(|ended| ended.ended)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> AttemptId {
        AttemptId { task: TaskId { run: RunId(0xabc), step: 1, index: 2 }, number: 3 }
    }

    #[test]
    fn a_file_says_what_was_written_and_an_end_only_once_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0");
        assert_eq!((read(&path), read_now(&path)), (None, None));
        File::create(&path).unwrap();
        assert_eq!(read(&path), None);
        let held = Held { name: "1-2-3".into(), memory_bytes: 5, out_of_memory: 1, cpu_us: 9, limit_reached: 4 };
        let begun = Begun { shim: 7, pid: 8, promise: 2, workspace: "4".into(), cell: Some(held), ..Begun::default() };
        let file = prepare(&path).unwrap();
        begin(&file, &begun).unwrap();
        assert_eq!(read(&path), Some((begun.clone(), None)));
        let usage = Usage { cpu_us: 1, memory_peak_bytes: 2, read_bytes: 3, written_bytes: 4 };
        for exit in [None, Some(Exit::Code(0)), Some(Exit::Signal(9))] {
            let ended = Ended::new(exit, usage, true, false);
            end(&file, &ended).unwrap();
            let (first, second) = read(&path).unwrap();
            assert_eq!((first, second.clone().unwrap().exit(), second.unwrap().usage()), (begun.clone(), exit, usage));
        }
        // Used again, it tells of its new attempt alone.
        let next = Begun { shim: 9, ..Begun::default() };
        let file = prepare(&path).unwrap();
        assert_eq!((read(&path), read_now(&path)), (None, None), "nothing of the one before");
        begin(&file, &next).unwrap();
        assert_eq!((read(&path), read_now(&path)), (Some((next.clone(), None)), Some((next, None))));
        std::fs::write(&path, "half of one").unwrap();
        assert_eq!((read(&path), read_now(&path)), (None, None));
    }

    #[test]
    fn a_name_gives_the_attempt_back() {
        let name = name(attempt(), Token(77));
        assert_eq!(parse_name(&name), Some((attempt(), Token(77))));
        for other in ["", "lease", "1.2.3", &format!("{name}.1")] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}

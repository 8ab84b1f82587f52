//! The journal's bytes: protobuf, one record per append, facts in order.
//!
//! Change table: format 1, the first; within it, field 10 of `Gone` (absent: not asked to stop), and
//! fields 11 and 12 of it (absent: it said nothing of its end), and field 13 (absent: it left nothing behind), and field 4 of
//! `Started` (absent: it has no GPU).

use std::sync::Arc;

use prost::Message as _;
use quorate_proto::convert::gpu::{gpu_hold_from_wire, gpu_hold_to_wire};
use quorate_proto::convert::payload::{payloads_from_wire, payloads_to_wire};
use quorate_proto::v1;
use quorate_state::{
    AttemptId, Choice, ClusterId, Driver, ErrorType, Exit, GpuHold, Outcome, Payloads, Revision, RunId, TaskId, Token,
    Usage, Uuid,
};

use crate::error::Error;
use crate::reconcile::Seen;

/// Written with the journal's identity; another number is another encoding.
const FORMAT: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// This journal began; the first fact of all.
    Begun { journal: Uuid },
    /// The agent started, during this boot of the machine.
    Booted { boot_id: Arc<str> },
    /// It was welcomed by this cluster.
    Joined { cluster: ClusterId },
    /// It acted on a word this new.
    Saw(Seen),
    /// It is about to start an attempt.
    Started { attempt: AttemptId, token: Token, driver: Driver, gpus: GpuHold, choice: Choice },
    /// The attempt's process exists.
    Spawned { attempt: AttemptId, pid: u32, ticks: u64 },
    /// The attempt is over and all its processes are gone.
    Gone { attempt: AttemptId, over: Over },
    /// Its end was acknowledged.
    Forgotten { attempt: AttemptId },
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// We ended it on our own account (lease, shutdown), or never started it: no outcome.
    pub lost: bool,
    /// It had been asked to stop, for whatever cause, before it ended.
    pub stopped: bool,
    /// How its process ended.
    pub exit: Option<Exit>,
    /// A word for people.
    pub message: Option<Arc<str>>,
    /// What it said of its end by itself.
    pub outcome: Option<Arc<Outcome>>,
    /// Data that it says it has left behind.
    pub payloads: Option<Arc<Payloads>>,
    /// What it used.
    pub usage: Usage,
}

/// Facts in one record.
const FACTS_PER_RECORD_MAX: usize = 512;
/// Bytes of facts in one record of more than one: far below the seam's own limit, whatever processes have said.
const FACT_BYTES_PER_RECORD_MAX: usize = 256 << 10;

/// These facts in as few records as may be.
pub(super) fn records(facts: &[Fact]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut record = Record::default();
    let mut bytes = 0;
    for row in facts.iter().map(to_row) {
        let length = row.encoded_len();
        let is_full = record.facts.len() >= FACTS_PER_RECORD_MAX || bytes + length > FACT_BYTES_PER_RECORD_MAX;
        if is_full && !record.facts.is_empty() {
            records.push(std::mem::take(&mut record).encode_to_vec());
            bytes = 0;
        }
        bytes += length;
        record.facts.push(row);
    }
    if !record.facts.is_empty() {
        records.push(record.encode_to_vec());
    }
    records
}

/// A record of these facts.
pub(super) fn encode(facts: &[Fact]) -> Vec<u8> {
    Record { facts: facts.iter().map(to_row).collect() }.encode_to_vec()
}

/// The facts of a record.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Fact>, Error> {
    let record = Record::decode(bytes).map_err(|error| Error::JournalFormat(error.to_string()))?;
    let facts = record.facts.into_iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    // A field of a newer version would be dropped in silence otherwise, and perhaps written over.
    if encode(&facts) == bytes { Ok(facts) } else { Err(Error::JournalFormat("a record has unknown fields".into())) }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(message, repeated, tag = "1")]
    facts: Vec<Row>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Begun(Begun),
    #[prost(string, tag = "2")]
    Booted(String),
    #[prost(bytes, tag = "3")]
    Joined(Vec<u8>),
    #[prost(message, tag = "4")]
    Saw(Saw),
    #[prost(message, tag = "5")]
    Started(Started),
    #[prost(message, tag = "6")]
    Spawned(Spawned),
    #[prost(message, tag = "7")]
    Gone(Gone),
    #[prost(message, tag = "8")]
    Forgotten(Attempt),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Begun {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes, tag = "2")]
    journal: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Saw {
    #[prost(uint64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    revision: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attempt {
    #[prost(fixed64, tag = "1")]
    run: u64,
    #[prost(uint32, tag = "2")]
    step: u32,
    #[prost(uint32, tag = "3")]
    index: u32,
    #[prost(uint32, tag = "4")]
    number: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Started {
    #[prost(message, required, tag = "1")]
    attempt: Attempt,
    #[prost(uint64, tag = "2")]
    token: u64,
    /// 1 process, 2 noop.
    #[prost(uint32, tag = "3")]
    driver: u32,
    /// Absent: none.
    #[prost(message, optional, tag = "4")]
    gpus: Option<v1::GpuHold>,
    /// Which of the alternatives of its task it takes.
    #[prost(uint32, tag = "5")]
    want: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Spawned {
    #[prost(message, required, tag = "1")]
    attempt: Attempt,
    #[prost(uint32, tag = "2")]
    pid: u32,
    #[prost(uint64, tag = "3")]
    ticks: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Gone {
    #[prost(message, required, tag = "1")]
    attempt: Attempt,
    #[prost(bool, tag = "2")]
    lost: bool,
    #[prost(int32, optional, tag = "3")]
    code: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    signal: Option<i32>,
    #[prost(string, optional, tag = "5")]
    message: Option<String>,
    #[prost(uint64, tag = "6")]
    cpu_us: u64,
    #[prost(uint64, tag = "7")]
    memory_peak_bytes: u64,
    #[prost(uint64, tag = "8")]
    read_bytes: u64,
    #[prost(uint64, tag = "9")]
    written_bytes: u64,
    #[prost(bool, tag = "10")]
    stopped: bool,
    #[prost(bytes = "vec", optional, tag = "11")]
    result: Option<Vec<u8>>,
    #[prost(string, optional, tag = "12")]
    error: Option<String>,
    #[prost(message, repeated, tag = "13")]
    payloads: Vec<v1::PayloadRef>,
}

fn to_row(fact: &Fact) -> Row {
    let kind = match fact {
        Fact::Begun { journal } => Kind::Begun(Begun { format: FORMAT, journal: journal.0.to_be_bytes().to_vec() }),
        Fact::Booted { boot_id } => Kind::Booted(boot_id.to_string()),
        Fact::Joined { cluster } => Kind::Joined(cluster.0.to_be_bytes().to_vec()),
        Fact::Saw(seen) => Kind::Saw(Saw { incarnation: seen.incarnation, revision: seen.revision.0 }),
        Fact::Started { attempt, token, driver, gpus, choice } => Kind::Started(Started {
            attempt: to_attempt(*attempt),
            token: token.0,
            driver: match driver {
                Driver::Process => 1,
                Driver::Noop => 2,
            },
            gpus: gpu_hold_to_wire(*gpus),
            want: choice.number(),
        }),
        Fact::Spawned { attempt, pid, ticks } => {
            Kind::Spawned(Spawned { attempt: to_attempt(*attempt), pid: *pid, ticks: *ticks })
        }
        Fact::Gone { attempt, over } => {
            let (code, signal) = match over.exit {
                None => (None, None),
                Some(Exit::Code(code)) => (Some(code), None),
                Some(Exit::Signal(signal)) => (None, Some(signal)),
            };
            let (result, error) = match over.outcome.as_deref() {
                None => (None, None),
                Some(Outcome::Result(result)) => (Some(result.to_vec()), None),
                Some(Outcome::Error(error)) => (None, Some(error.to_string())),
            };
            Kind::Gone(Gone {
                attempt: to_attempt(*attempt),
                lost: over.lost,
                code,
                signal,
                message: over.message.as_deref().map(str::to_owned),
                cpu_us: over.usage.cpu_us,
                memory_peak_bytes: over.usage.memory_peak_bytes,
                read_bytes: over.usage.read_bytes,
                written_bytes: over.usage.written_bytes,
                stopped: over.stopped,
                result,
                error,
                payloads: payloads_to_wire(over.payloads.as_deref()),
            })
        }
        Fact::Forgotten { attempt } => Kind::Forgotten(to_attempt(*attempt)),
    };
    Row { kind: Some(kind) }
}

fn from_row(row: Row) -> Result<Fact, Error> {
    let unknown = |what: String| Error::JournalFormat(what);
    Ok(match row.kind.ok_or_else(|| unknown("a fact of an unknown kind".into()))? {
        Kind::Begun(begun) if begun.format != FORMAT => {
            return Err(unknown(format!("format {}, this version reads {FORMAT}", begun.format)));
        }
        Kind::Begun(begun) => Fact::Begun { journal: from_uuid(&begun.journal)? },
        Kind::Booted(boot_id) => Fact::Booted { boot_id: boot_id.into() },
        Kind::Joined(cluster) => Fact::Joined { cluster: from_uuid(&cluster)? },
        Kind::Saw(saw) => Fact::Saw(Seen { incarnation: saw.incarnation, revision: Revision(saw.revision) }),
        Kind::Started(started) => Fact::Started {
            attempt: from_attempt(&started.attempt),
            token: Token(started.token),
            driver: match started.driver {
                1 => Driver::Process,
                2 => Driver::Noop,
                other => return Err(unknown(format!("driver number {other}"))),
            },
            gpus: gpu_hold_from_wire(started.gpus).ok_or_else(|| unknown("a hold of no GPU".into()))?,
            choice: Choice::of(started.want).ok_or_else(|| unknown(format!("alternative {}", started.want)))?,
        },
        Kind::Spawned(spawned) => {
            Fact::Spawned { attempt: from_attempt(&spawned.attempt), pid: spawned.pid, ticks: spawned.ticks }
        }
        Kind::Gone(gone) => Fact::Gone {
            attempt: from_attempt(&gone.attempt),
            over: Over {
                lost: gone.lost,
                stopped: gone.stopped,
                exit: gone.code.map(Exit::Code).or(gone.signal.map(Exit::Signal)),
                message: gone.message.map(Into::into),
                outcome: from_outcome(gone.result, gone.error)?.map(Arc::new),
                payloads: payloads_from_wire(gone.payloads).map_err(Error::JournalFormat)?.kept(),
                usage: Usage {
                    cpu_us: gone.cpu_us,
                    memory_peak_bytes: gone.memory_peak_bytes,
                    read_bytes: gone.read_bytes,
                    written_bytes: gone.written_bytes,
                },
            },
        },
        Kind::Forgotten(attempt) => Fact::Forgotten { attempt: from_attempt(&attempt) },
    })
}

fn from_outcome(result: Option<Vec<u8>>, error: Option<String>) -> Result<Option<Outcome>, Error> {
    Ok(match (result, error) {
        (Some(result), None) => Some(Outcome::Result(result.into())),
        (None, Some(error)) => {
            let error = ErrorType::new(&error).map_err(|error| Error::JournalFormat(error.to_string()))?;
            Some(Outcome::Error(error))
        }
        (None, None) => None,
        (Some(_), Some(_)) => return Err(Error::JournalFormat("an end with a result and an error".into())),
    })
}

fn to_attempt(attempt: AttemptId) -> Attempt {
    let AttemptId { task: TaskId { run, step, index }, number } = attempt;
    Attempt { run: run.0, step, index, number }
}

fn from_attempt(attempt: &Attempt) -> AttemptId {
    let task = TaskId { run: RunId(attempt.run), step: attempt.step, index: attempt.index };
    AttemptId { task, number: attempt.number }
}

fn from_uuid(bytes: &[u8]) -> Result<Uuid, Error> {
    let wrong = |_| Error::JournalFormat(format!("an identity of {} bytes", bytes.len()));
    Ok(Uuid(u128::from_be_bytes(bytes.try_into().map_err(wrong)?)))
}

//! The journal over restarts, on a seam in memory.

use std::collections::BTreeMap;
use std::io;

use quorate_seams::{SystemClock, SystemEntropy};
use quorate_state::{
    AttemptId, Choice, Driver, Exit, GpuHold, Outcome, Payload, Payloads, Revision, RunId, TaskId, Token, Usage,
};

use super::*;
use crate::reconcile::Seen;

/// Records in memory; fails when told to.
#[derive(Default)]
struct Memory {
    records: Mutex<Vec<Vec<u8>>>,
    appends: Mutex<usize>,
    broken: Mutex<bool>,
}

impl Seam for Memory {
    fn load(&self) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.records.lock().unwrap().clone())
    }

    fn append(&self, record: &[u8]) -> io::Result<()> {
        if *self.broken.lock().unwrap() {
            return Err(io::Error::other("no space left"));
        }
        *self.appends.lock().unwrap() += 1;
        self.records.lock().unwrap().push(record.to_vec());
        Ok(())
    }

    fn rewrite(&self, records: &[Vec<u8>]) -> io::Result<()> {
        *self.records.lock().unwrap() = records.to_vec();
        Ok(())
    }
}

fn opened(seam: &Arc<Memory>, boot_id: &str) -> (Journal, Image) {
    let metrics = Arc::new(Metrics::new());
    let (journal, image, writer) =
        open(seam.clone(), &SystemEntropy, Arc::new(SystemClock), metrics, boot_id).expect("opens");
    tokio::spawn(writer);
    (journal, image)
}

fn attempt(step: u32) -> AttemptId {
    AttemptId { task: TaskId { run: RunId(77), step, index: 3 }, number: 2 }
}

fn left() -> Option<Arc<Payloads>> {
    let mut payloads = Payloads::default();
    payloads.put("a".parse().unwrap(), Payload::new("s:b", Some(300), None).unwrap()).unwrap();
    payloads.kept()
}

fn started(step: u32) -> Fact {
    Fact::Started {
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
        attempt: attempt(step),
        token: Token(9),
        driver: Driver::Process,
    }
}

#[tokio::test]
async fn the_next_life_knows_what_was_started_and_how_it_ended() {
    let seam = Arc::new(Memory::default());
    let (journal, first) = opened(&seam, "boot-1");
    assert_eq!(first.attempts, BTreeMap::new());
    let over = Over {
        lost: false,
        stopped: true,
        exit: Some(Exit::Code(0)),
        message: Some("fine".into()),
        outcome: Some(Arc::new(Outcome::Result(b"[1]".as_slice().into()))),
        payloads: left(),
        usage: Usage { cpu_us: 1, memory_peak_bytes: 2, read_bytes: 3, written_bytes: 4 },
    };
    let seen = Seen { incarnation: 2, revision: Revision(40) };
    let position = journal.push([
        started(0),
        started(1),
        started(2),
        Fact::Spawned { attempt: attempt(1), pid: 4_000, ticks: 123 },
        Fact::Gone { attempt: attempt(0), over: over.clone() },
        Fact::Forgotten { attempt: attempt(2) },
        Fact::Saw(seen),
        Fact::Joined { cluster: Uuid(5) },
    ]);
    assert!(journal.durable(position).await);

    let (_, second) = opened(&seam, "boot-2");
    assert_eq!(second.journal, first.journal, "the same journal");
    assert_eq!((second.seen, second.cluster), (seen, Some(Uuid(5))));
    let row = |process, over| Attempt {
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
        token: Token(9),
        driver: Driver::Process,
        boot_id: "boot-1".into(),
        process,
        over,
    };
    let expected = BTreeMap::from([(attempt(0), row(None, Some(over))), (attempt(1), row(Some((4_000, 123)), None))]);
    assert_eq!(second.attempts, expected);
}

#[tokio::test]
async fn facts_handed_in_together_share_an_append() {
    let seam = Arc::new(Memory::default());
    let (journal, _) = opened(&seam, "boot");
    let before = *seam.appends.lock().unwrap();
    let positions: Vec<u64> = (0..100).map(|step| journal.push([started(step)])).collect();
    assert!(journal.durable(positions[99]).await);
    assert!(journal.durable(positions[0]).await);
    assert_eq!(*seam.appends.lock().unwrap() - before, 1);
}

/// The seam refuses longer records, and an agent whose journal fails ends.
#[tokio::test]
async fn what_many_have_said_at_once_is_cut_into_records_that_fit() {
    const RECORD_BYTES_MAX: usize = 1 << 20;
    let seam = Arc::new(Memory::default());
    let (journal, _) = opened(&seam, "boot");
    let result = Arc::new(Outcome::Result(vec![b'1'; 16_000].into()));
    let over = Over { exit: Some(Exit::Code(0)), outcome: Some(result), ..Over::default() };
    let facts = (0..300).flat_map(|step| [started(step), Fact::Gone { attempt: attempt(step), over: over.clone() }]);
    let position = journal.push(facts);
    assert!(journal.durable(position).await);
    let lengths: Vec<usize> = seam.records.lock().unwrap().iter().map(Vec::len).collect();
    assert!(lengths.iter().all(|length| *length < RECORD_BYTES_MAX / 2), "{lengths:?}");
    let (_, image) = opened(&seam, "boot");
    assert!(image.attempts.len() == 300 && image.attempts.values().all(|attempt| attempt.over.is_some()));
}

#[tokio::test]
async fn a_failed_disk_is_told_to_everyone_who_waits() {
    let seam = Arc::new(Memory::default());
    let (journal, _) = opened(&seam, "boot");
    *seam.broken.lock().unwrap() = true;
    let position = journal.push([started(0)]);
    assert!(!journal.durable(position).await);
    assert_eq!(*journal.progress().borrow(), Progress::Failed("no space left".into()));
}

#[tokio::test]
async fn compaction_keeps_what_is_known_and_drops_the_history() {
    let seam = Arc::new(Memory::default());
    let (journal, _) = opened(&seam, "boot");
    journal.push([started(1), Fact::Spawned { attempt: attempt(1), pid: 7, ticks: 8 }]);
    for _ in 0..FACTS_UNTIL_COMPACTION / 1_000 {
        let churn = (0..1_000).map(|n| if n % 2 == 0 { started(2) } else { Fact::Forgotten { attempt: attempt(2) } });
        let position = journal.push(churn);
        assert!(journal.durable(position).await);
    }
    assert_eq!(seam.records.lock().unwrap().len(), 1, "one record is left");
    let (_, image) = opened(&seam, "boot");
    assert_eq!(image.attempts.keys().copied().collect::<Vec<_>>(), [attempt(1)]);
    assert_eq!(image.attempts[&attempt(1)].process, Some((7, 8)));
}

#[test]
fn an_image_survives_its_own_facts() {
    let mut image = Image { journal: Uuid(3), ..Image::default() };
    for fact in [
        Fact::Booted { boot_id: "a".into() },
        started(1),
        Fact::Booted { boot_id: "b".into() },
        started(0),
        Fact::Saw(Seen { incarnation: 1, revision: Revision(4) }),
    ] {
        image.apply(fact);
    }
    let mut again = Image::default();
    image.facts().into_iter().for_each(|fact| again.apply(fact));
    assert_eq!(again, image);
}

/// Frozen: a journal written by an older version must stay readable. Format 1.
#[test]
fn the_bytes_of_format_1_do_not_change() {
    let facts = [
        Fact::Begun { journal: Uuid(0x0102_0304) },
        Fact::Booted { boot_id: "b".into() },
        Fact::Joined { cluster: Uuid(9) },
        Fact::Saw(Seen { incarnation: 1, revision: Revision(300) }),
        started(4),
        Fact::Spawned { attempt: attempt(4), pid: 5, ticks: 6 },
        Fact::Gone {
            attempt: attempt(4),
            over: Over {
                lost: true,
                stopped: false,
                exit: Some(Exit::Signal(9)),
                message: Some("m".into()),
                outcome: None,
                payloads: None,
                usage: Usage { cpu_us: 1, memory_peak_bytes: 2, read_bytes: 3, written_bytes: 4 },
            },
        },
        Fact::Forgotten { attempt: attempt(4) },
    ];
    let bytes = row::encode(&facts);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(row::decode(&bytes).unwrap(), facts);
    let stopped = [Fact::Gone { attempt: attempt(4), over: Over { stopped: true, ..Over::default() } }];
    let bytes = row::encode(&stopped);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "0a153a130a0f094d000000000000001004180320025001");
    assert_eq!(row::decode(&bytes).unwrap(), stopped);
    let said = [(Outcome::Result(b"1".as_slice().into()), "5a0131"), (Outcome::Error("E".parse().unwrap()), "620145")];
    for (outcome, end) in said {
        let over = Over { outcome: Some(Arc::new(outcome)), ..Over::default() };
        let facts = [Fact::Gone { attempt: attempt(4), over }];
        let bytes = row::encode(&facts);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("0a163a140a0f094d00000000000000100418032002{end}"));
        assert_eq!(row::decode(&bytes).unwrap(), facts);
    }
    let left = [Fact::Gone { attempt: attempt(4), over: Over { payloads: left(), ..Over::default() } }];
    let bytes = row::encode(&left);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, LEFT);
    assert_eq!(row::decode(&bytes).unwrap(), left);
}

const LEFT: &str = "0a203a1e0a0f094d000000000000001004180320026a0b0a03733a6210ac02220161";

const GOLDEN: &str = concat!(
    "0a160a1408011210000000000000000000000000010203040a031201620a121a10000000000000000000000000000000",
    "090a072205080110ac020a172a150a0f094d00000000000000100418032002100918010a1732150a0f094d0000000000",
    "0000100418032002100518060a223a200a0f094d00000000000000100418032002100120092a016d3001380240034804",
    "0a11420f094d00000000000000100418032002",
);

#[test]
fn a_record_of_a_newer_version_is_refused_not_dropped() {
    // Field 9 of a row: a fact that this version does not know.
    let newer = [0x0a, 0x02, 0x48, 0x01];
    let error = row::decode(&newer).unwrap_err().to_string();
    assert!(error.contains("run the version that wrote it"), "{error}");
    // A known fact with an unknown field beside it.
    let mut extended = row::encode(&[started(1)]);
    extended[1] += 2;
    extended.extend([0x48, 0x01]);
    assert!(row::decode(&extended).is_err());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_goes_with_what_somebody_does_or_a_little_later() {
    let seam = Arc::new(Memory::default());
    let (journal, _) = opened(&seam, "boot-1");
    let before = *seam.appends.lock().unwrap();
    let gone = journal.note([Fact::Forgotten { attempt: attempt(1) }]);
    tokio::task::yield_now().await;
    let position = journal.push([started(2)]);
    assert!(journal.durable(position).await);
    assert_eq!(*seam.appends.lock().unwrap() - before, 1);
    assert!(gone < position);

    let began = tokio::time::Instant::now();
    let position = journal.note([Fact::Forgotten { attempt: attempt(2) }]);
    assert!(journal.durable(position).await);
    assert!(began.elapsed() <= COMPANY_WAIT + Duration::from_millis(1), "{:?}", began.elapsed());
}

//! Output by offset, with real files.

use std::io::Write as _;

use super::*;

fn attempt(number: u32) -> AttemptId {
    AttemptId { task: TaskId { run: RunId(5), step: 1, index: 2 }, number }
}

fn outputs(limits: Limits) -> (tempfile::TempDir, Arc<Outputs>) {
    let directory = tempfile::tempdir().unwrap();
    let outputs = Outputs::open(directory.path().join("output"), limits, &BTreeSet::new()).unwrap();
    (directory, outputs)
}

fn write(outputs: &Outputs, attempt: AttemptId, data: &[u8]) {
    let (stdout, _) = outputs.create(attempt).unwrap();
    File::options().append(true).open(stdout).unwrap().write_all(data).unwrap();
}

fn read(outputs: &Outputs, offset: u64, bytes_max: usize) -> Piece {
    outputs.read(attempt(1), v1::LogStream::Stdout, offset, bytes_max).unwrap()
}

fn piece(offset: u64, data: &[u8], end: bool) -> Piece {
    Piece { offset, data: data.to_vec(), end }
}

#[test]
fn output_is_read_by_offset_and_ends_when_the_attempt_does() {
    let (_directory, outputs) = outputs(Limits::default());
    outputs.begin(attempt(1), Driver::Process);
    assert_eq!(read(&outputs, 0, 10), piece(0, b"", false), "it waits for its start");
    write(&outputs, attempt(1), b"hello world");
    assert_eq!(read(&outputs, 0, 5), piece(0, b"hello", false));
    assert_eq!(read(&outputs, 5, 100), piece(5, b" world", false));
    assert_eq!(read(&outputs, 11, 100), piece(11, b"", false));
    outputs.end(attempt(1));
    assert_eq!(read(&outputs, 5, 3), piece(5, b" wo", false));
    assert_eq!(read(&outputs, 8, 100), piece(8, b"rld", true));
    assert_eq!(read(&outputs, 99, 100), piece(99, b"", true));
}

#[test]
fn what_this_node_never_had_is_an_error_with_a_word() {
    let (_directory, outputs) = outputs(Limits::default());
    let error = outputs.read(attempt(1), v1::LogStream::Stderr, 0, 10).unwrap_err();
    assert!(error.to_string().starts_with("UNKNOWN_ATTEMPT"), "{error}");
    outputs.begin(attempt(2), Driver::Noop);
    let error = outputs.read(attempt(2), v1::LogStream::Stderr, 0, 10).unwrap_err();
    assert!(error.to_string().starts_with("NO_LOGS"), "{error}");
}

#[test]
fn the_oldest_bytes_are_dropped_and_offsets_stay() {
    let bytes_max = 64 << 10;
    let (_directory, outputs) = outputs(Limits { log_bytes_max: bytes_max, ..Limits::default() });
    outputs.begin(attempt(1), Driver::Process);
    let line = |number: u64| format!("{number:07}\n").into_bytes();
    let all: Vec<u8> = (0..30_000).flat_map(line).collect();
    write(&outputs, attempt(1), &all);
    outputs.trim(attempt(1));
    let first = read(&outputs, 0, 8);
    assert!(first.offset > 0, "the beginning is gone");
    assert!(all.len() as u64 - first.offset <= bytes_max + BLOCK_BYTES, "{first:?}");
    assert_eq!(first.data, line(first.offset / 8), "what is left is where it was");
    // Appending goes on at the end.
    write(&outputs, attempt(1), b"more");
    assert_eq!(read(&outputs, all.len() as u64, 10), piece(all.len() as u64, b"more", false));
    assert!(held(&std::fs::metadata(outputs.path(attempt(1), STDOUT)).unwrap()) <= bytes_max + 3 * BLOCK_BYTES);
}

#[test]
fn the_oldest_ended_attempts_go_first_also_after_a_restart() {
    let limits = Limits { logs_kept_max: 2, ..Limits::default() };
    let (directory, before) = outputs(limits.clone());
    for number in 1..=3 {
        write(&before, attempt(number), b"text");
        before.retire(attempt(number));
    }
    assert!(!before.path(attempt(1), STDOUT).exists() && !before.path(attempt(1), STDERR).exists());
    let after = Outputs::open(directory.path().join("output"), limits, &BTreeSet::new()).unwrap();
    write(&after, attempt(4), b"text");
    after.retire(attempt(4));
    assert_eq!([2, 3, 4].map(|number| after.path(attempt(number), STDERR).exists()), [false, true, true]);
}

#[test]
fn the_files_of_one_that_wrote_nothing_go_to_the_next_and_its_output_is_still_known_to_be_empty() {
    let limits = Limits { logs_kept_max: 3, ..Limits::default() };
    let (directory, before) = outputs(limits.clone());
    let inode = |outputs: &Outputs, number| {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(outputs.path(attempt(number), STDOUT)).unwrap().ino()
    };
    let empty = |outputs: &Outputs, number| outputs.read(attempt(number), v1::LogStream::Stdout, 0, 10).unwrap();
    write(&before, attempt(1), b"");
    let (first, reader) = (inode(&before, 1), File::open(before.path(attempt(1), STDOUT)).unwrap());
    before.retire(attempt(1));
    write(&before, attempt(2), b"two");
    assert_eq!(inode(&before, 2), first);
    assert!(!before.path(attempt(1), STDERR).exists());
    assert_eq!(empty(&before, 1), Piece { offset: 0, data: Vec::new(), end: true });
    assert!(!is_still(&before.path(attempt(1), STDOUT), &reader.metadata().unwrap()));
    before.retire(attempt(2));

    let after = Outputs::open(directory.path().join("output"), limits, &BTreeSet::new()).unwrap();
    assert_eq!(empty(&after, 1), Piece { offset: 0, data: Vec::new(), end: true });
    assert_eq!(empty(&after, 2).data, b"two");
    for number in 3..=4 {
        write(&after, attempt(number), b"text");
        after.retire(attempt(number));
    }
    assert!(after.read(attempt(1), v1::LogStream::Stdout, 0, 10).is_err(), "as any other it is kept for a while");
    assert_eq!(empty(&after, 2).data, b"two");
}

#[test]
fn at_the_limit_the_oldest_files_become_the_next_ones_and_nothing_of_theirs_is_read_again() {
    let limits = Limits { logs_kept_max: 2, ..Limits::default() };
    let (_directory, outputs) = outputs(limits);
    for number in 1..=2 {
        write(&outputs, attempt(number), b"old");
        outputs.retire(attempt(number));
    }
    outputs.begin(attempt(3), Driver::Process);
    write(&outputs, attempt(3), b"");
    assert_eq!(read_of(&outputs, 3).unwrap(), Piece { offset: 0, data: Vec::new(), end: false });
    write(&outputs, attempt(3), b"new");
    assert_eq!(read_of(&outputs, 3).unwrap().data, b"new");
    assert!(matches!(read_of(&outputs, 1), Err(Unavailable::UnknownAttempt)));
    assert_eq!(read_of(&outputs, 2).unwrap().data, b"old");
}

fn read_of(outputs: &Outputs, number: u32) -> Result<Piece, Unavailable> {
    outputs.read(attempt(number), v1::LogStream::Stdout, 0, 10)
}

/// Makes the file of standard output look as if it had last changed then, and lets the agent see that.
fn changed(outputs: &Outputs, attempt: AttemptId, at_ms: u64) {
    let file = File::options().append(true).open(outputs.path(attempt, STDOUT)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms)).unwrap();
    outputs.trim(attempt);
}

#[test]
fn a_reader_begins_at_an_instant_or_some_lines_before_the_end() {
    let (directory, before) = outputs(Limits::default());
    let place = |outputs: &Outputs, tail_lines, since_ms| {
        outputs.place(attempt(1), v1::LogStream::Stdout, tail_lines, since_ms).unwrap()
    };
    before.begin(attempt(1), Driver::Process);
    assert_eq!(place(&before, Some(0), Some(9_000)), 0, "what has yet to start is all new");
    write(&before, attempt(1), b"one\n");
    changed(&before, attempt(1), 1_000);
    write(&before, attempt(1), b"two\nthree\n");
    changed(&before, attempt(1), 5_000);
    assert_eq!(place(&before, None, Some(3_000)), 4);
    assert_eq!(place(&before, None, Some(5_001)), 14, "nothing is new enough");
    assert_eq!(place(&before, Some(1), None), 8);
    assert_eq!(place(&before, Some(1), Some(3_000)), 8, "the later of both");
    assert_eq!(place(&before, Some(9), Some(3_000)), 4);
    before.end(attempt(1));
    before.retire(attempt(1));
    assert_eq!(place(&before, None, Some(3_000)), 4, "also when it has ended");

    // Another agent does not know when what was written, but when the last of it was.
    let after = Outputs::open(directory.path().join("output"), Limits::default(), &BTreeSet::new()).unwrap();
    assert_eq!(place(&after, None, Some(3_000)), 0);
    assert_eq!(place(&after, None, Some(5_001)), 14);
    assert!(after.place(attempt(1), v1::LogStream::Unspecified, None, None).is_err());
}

#[test]
fn the_last_lines_are_found_behind_what_was_dropped() {
    let (_directory, outputs) = outputs(Limits { log_bytes_max: 64 << 10, ..Limits::default() });
    outputs.begin(attempt(1), Driver::Process);
    let line = |number: u64| format!("{number:07}\n").into_bytes();
    let all: Vec<u8> = (0..30_000).flat_map(line).collect();
    write(&outputs, attempt(1), &all);
    outputs.trim(attempt(1));
    let first = read(&outputs, 0, 8).offset;
    let place = |lines| outputs.place(attempt(1), v1::LogStream::Stdout, Some(lines), None).unwrap();
    assert_eq!(place(3), all.len() as u64 - 24);
    assert_eq!(place(30_000), first, "more lines than there are left");
}

#[tokio::test(start_paused = true)]
async fn more_readers_than_the_limit_are_told_its_name() {
    let (_directory, outputs) = outputs(Limits::default());
    outputs.begin(attempt(1), Driver::Process);
    let (session, mut sent) = mpsc::channel::<v1::AgentMessage>(READS_MAX + 1);
    for id in 0..=READS_MAX as u64 {
        let attempt = Some(quorate_proto::convert::agent::attempt_ref_to_wire(attempt(1)));
        let stream = v1::LogStream::Stdout.into();
        let request = v1::LogRequest { id, attempt, stream, wait_ms: 1_000, ..v1::LogRequest::default() };
        outputs.answer(request, session.clone());
    }
    let Some(v1::agent_message::Message::LogChunk(first)) = sent.recv().await.unwrap().message else { panic!() };
    assert_eq!(first.id, READS_MAX as u64, "the others wait");
    assert!(first.error.starts_with("BUSY") && first.error.contains("READS_MAX"), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_at_the_end_misses_nothing_that_is_written_while_it_waits() {
    let (_directory, outputs) = outputs(Limits::default());
    outputs.begin(attempt(1), Driver::Process);
    write(&outputs, attempt(1), b"old\n");
    let (session, mut sent) = mpsc::channel::<v1::AgentMessage>(1);
    let request = v1::LogRequest {
        attempt: Some(quorate_proto::convert::agent::attempt_ref_to_wire(attempt(1))),
        stream: v1::LogStream::Stdout.into(),
        bytes_max: 100,
        wait_ms: 60_000,
        tail_lines: Some(0),
        ..v1::LogRequest::default()
    };
    outputs.answer(request, session);
    tokio::task::yield_now().await;
    write(&outputs, attempt(1), b"new\n");
    let Some(v1::agent_message::Message::LogChunk(chunk)) = sent.recv().await.unwrap().message else { panic!() };
    assert_eq!((chunk.offset, chunk.data.as_ref(), chunk.placed), (4, &b"new\n"[..], true));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_output_but_not_longer_than_it_may() {
    let (_directory, outputs) = outputs(Limits::default());
    outputs.begin(attempt(1), Driver::Process);
    write(&outputs, attempt(1), b"");
    let (session, mut sent) = mpsc::channel::<v1::AgentMessage>(4);
    let request = |id, attempt: Option<AttemptId>, wait_ms| v1::LogRequest {
        id,
        attempt: attempt.map(quorate_proto::convert::agent::attempt_ref_to_wire),
        stream: v1::LogStream::Stdout.into(),
        offset: 0,
        bytes_max: 100,
        wait_ms,
        ..v1::LogRequest::default()
    };
    let mut chunk = async || match sent.recv().await.unwrap().message {
        Some(v1::agent_message::Message::LogChunk(chunk)) => chunk,
        other => panic!("not a chunk: {other:?}"),
    };
    outputs.answer(request(1, Some(attempt(1)), 200), session.clone());
    let nothing = chunk().await;
    assert_eq!((nothing.id, nothing.data.len(), nothing.end), (1, 0, false));

    outputs.answer(request(2, Some(attempt(1)), 60_000), session.clone());
    tokio::task::yield_now().await;
    write(&outputs, attempt(1), b"late");
    let late = chunk().await;
    assert_eq!((late.id, late.data.as_ref(), late.error.as_str()), (2, &b"late"[..], ""));

    outputs.answer(request(3, None, 0), session);
    assert!(chunk().await.error.starts_with("INVALID"));
}

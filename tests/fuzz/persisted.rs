//! What replicas store and send each other, and backups, which come from anywhere.

use quorate_proto::backup::{self, Chain, Reader, Writer};
use quorate_proto::format::BACKUP_FORMAT;
use quorate_proto::log::{decode_entry, encode_entry};
use quorate_proto::rows::{RowWrite, SpecCache, decode_event, decode_row, encode_change, encode_event};
use quorate_state::{Command, Revision, State};

use crate::top;

/// An entry that is accepted is applied by every replica: that must not panic, nor leave a state that contradicts itself.
pub(crate) fn entry(bytes: &[u8]) {
    let Ok(entry) = decode_entry(bytes) else { return };
    assert_eq!(encode_entry(&entry), bytes);
    let applied = quorate_state::apply(&State::default(), Revision(1), &entry);
    assert_eq!(applied.replies.len(), entry.items.len());
    let broken = applied.next.check();
    assert!(broken.is_empty(), "{broken:?} after {entry:?}");
}

/// The first byte says how long the key is.
pub(crate) fn row(bytes: &[u8]) {
    let Some((key, value)) = keyed(bytes) else { return };
    if let Ok(change) = decode_row(key, value, &mut SpecCache::default()) {
        let RowWrite::Put { key: same, value: content } = encode_change(&change) else {
            panic!("{change:?} is no row")
        };
        assert_eq!((&same[..], &content[..]), (key, value));
    }
}

/// The first byte says how long the key is.
pub(crate) fn event(bytes: &[u8]) {
    let Some((key, value)) = keyed(bytes) else { return };
    if let Ok(row) = decode_event(key, value) {
        let (same, content) = encode_event(&row);
        assert_eq!((&same[..], &content[..]), (key, value));
    }
}

fn keyed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A file with these bytes, and a file in good order with these bytes as its pieces: a chain of digests keeps chance
/// from reaching what is behind it.
pub(crate) fn backup(bytes: &[u8]) {
    read(bytes);
    let mut writer = Writer::begin(vec![]).expect("memory");
    let mut chain = Chain::default();
    for piece in bytes.split(|byte| *byte == PIECE_END) {
        chain = chain.with(piece);
        if writer.add(piece, chain.digest()).is_err() {
            return;
        }
    }
    if let Ok((_, file)) = writer.finish() {
        read(&file);
    }
}

/// What parts the pieces of an input; a piece that holds it itself is not reached.
const PIECE_END: u8 = 0xff;

fn read(file: &[u8]) {
    let Ok(mut reader) = Reader::open(file) else { return };
    let mut rows = 0;
    loop {
        match reader.rows() {
            Ok(Some(more)) => rows += more.len() as u64,
            Ok(None) => break,
            Err(error) => return assert!(!error.to_string().is_empty()),
        }
    }
    let counts = reader.counts();
    assert_eq!(rows, counts.state_rows + counts.event_rows);
}

/// Commands of the golden entries.
pub(crate) fn commands() -> impl Iterator<Item = Command> {
    entries()
        .into_iter()
        .map(|bytes| decode_entry(&bytes).expect("a golden entry"))
        .flat_map(|entry| entry.items.into_iter().map(|item| item.command))
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    golden("entries-1.hex").into_iter().map(|words| words.concat()).collect()
}

pub(crate) fn rows() -> Vec<Vec<u8>> {
    golden("rows-1.hex").into_iter().map(|words| with_length(&words)).collect()
}

pub(crate) fn events() -> Vec<Vec<u8>> {
    golden("events-1.hex").into_iter().map(|words| with_length(&words)).collect()
}

/// The golden backup, and its pieces.
pub(crate) fn backups() -> Vec<Vec<u8>> {
    let whole: Vec<Vec<u8>> = golden("backup-1.hex").into_iter().map(|words| words.concat()).collect();
    let header = backup::v1::Header { format: BACKUP_FORMAT, ..<_>::default() };
    let header = backup::encode_piece(backup::v1::piece::Piece::Header(header));
    let end = backup::encode_piece(backup::v1::piece::Piece::End(<_>::default()));
    whole.into_iter().chain([[header, end].join(&PIECE_END)]).collect()
}

fn with_length(words: &[Vec<u8>]) -> Vec<u8> {
    let key = words.first().map_or(&[][..], Vec::as_slice);
    let value = words.get(1).map_or(&[][..], Vec::as_slice);
    let length = u8::try_from(key.len()).expect("golden keys are short");
    [&[length], key, value].concat()
}

/// The lines of a golden file, each as the byte strings that it consists of.
fn golden(file: &str) -> Vec<Vec<Vec<u8>>> {
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).expect("digits"), 16).expect("digits");
    let bytes = |word: &str| word.as_bytes().chunks(2).map(byte).collect();
    let text = std::fs::read_to_string(top().join("crates/proto/golden").join(file)).expect("a golden file");
    text.lines().map(|line| line.split(' ').map(bytes).collect()).collect()
}

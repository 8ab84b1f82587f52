//! A backup is read as it was written, or not at all.

use bytes::Bytes;

use super::*;
use crate::raft::v1::SnapshotRow;

fn header() -> v1::Header {
    v1::Header {
        format: BACKUP_FORMAT,
        cluster: Bytes::copy_from_slice(&7_u128.to_be_bytes()),
        incarnation: 1,
        base: 0,
        revision: 41,
        taken_at_ms: 1_700_000_000_000,
        replica: 2,
        history: Bytes::copy_from_slice(&[9; 32]),
        version: "0.1.0".into(),
    }
}

fn pieces() -> Vec<Kind> {
    let row = |table, key: &'static str| SnapshotRow { table, key: key.into(), value: "value".into() };
    vec![
        Kind::Header(header()),
        Kind::Rows(v1::Rows { rows: vec![row(1, "a"), row(1, "b")] }),
        Kind::Rows(v1::Rows { rows: vec![row(2, "c")] }),
        Kind::End(v1::End { state_rows: 2, event_rows: 1 }),
    ]
}

fn file(pieces: &[Kind]) -> Result<Vec<u8>, BackupError> {
    let mut writer = Writer::begin(Vec::new())?;
    let mut chain = Chain::default();
    for piece in pieces {
        let bytes = encode_piece(piece.clone());
        chain = chain.with(&bytes);
        writer.add(&bytes, chain.digest())?;
    }
    writer.finish().map(|(_, bytes)| bytes)
}

fn read(bytes: &[u8]) -> Result<(v1::Header, Vec<SnapshotRow>), BackupError> {
    let mut reader = Reader::open(bytes)?;
    let mut rows = Vec::new();
    while let Some(more) = reader.rows()? {
        rows.extend(more);
    }
    assert_eq!(reader.bytes(), bytes.len() as u64);
    Ok((reader.header().clone(), rows))
}

#[test]
fn what_was_written_is_read() {
    let (read_header, rows) = read(&file(&pieces()).unwrap()).unwrap();
    assert_eq!(read_header, header());
    assert_eq!(
        rows.iter().map(|row| (row.table, row.key.as_ref())).collect::<Vec<_>>(),
        [(1, &b"a"[..]), (1, b"b"), (2, b"c")]
    );
}

/// `QUORATE_BLESS=1` writes the file anew; a difference is a new format.
#[test]
fn the_bytes_of_a_backup_stay() {
    let path = format!("{}/golden/backup-{BACKUP_FORMAT}.hex", env!("CARGO_MANIFEST_DIR"));
    let bytes = file(&pieces()).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(&path, &hex).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), hex, "{path}");
}

#[test]
fn no_byte_may_differ_and_none_may_be_missing_or_follow() {
    let whole = file(&pieces()).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(read(&changed).is_err(), "byte {at}");
        assert!(read(&whole[..at]).is_err(), "cut at {at}");
    }
    assert!(read(&[&whole[..], b"x"].concat()).is_err());
}

#[test]
fn pieces_are_complete_and_in_order() {
    let [header, rows, more, end] = pieces().try_into().unwrap();
    for wrong in [
        vec![],
        vec![header.clone()],
        vec![header.clone(), rows.clone()],
        vec![rows.clone(), end.clone()],
        vec![header.clone(), header.clone(), end.clone()],
        vec![header.clone(), end.clone(), rows.clone()],
    ] {
        assert!(file(&wrong).is_err(), "{wrong:?}");
    }
    // Whole for the writer, who does not count.
    let short = file(&[header, more, end]).unwrap();
    assert!(matches!(read(&short), Err(BackupError::Shape(_))));
}

#[test]
fn a_newer_format_is_named_and_so_is_what_is_no_backup() {
    let newer = v1::Header { format: BACKUP_FORMAT + 1, ..header() };
    let bytes = encode_piece(Kind::Header(newer));
    let digest = Chain::default().with(&bytes);
    let mut file = MAGIC.to_vec();
    file.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    file.extend(digest.digest());
    file.extend(&bytes);
    let error = Reader::open(&file[..]).unwrap_err();
    assert!(matches!(error, BackupError::Newer { found: 2, max: 1 }), "{error}");
    for other in [&b""[..], b"short", b"something else altogether"] {
        assert!(matches!(Reader::open(other), Err(BackupError::NotASnapshot)));
    }
}

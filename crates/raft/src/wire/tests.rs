//! Stored bytes are frozen here: a change of any of them needs a new format number.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn membership() -> Membership {
    let peer = |id: u8| Peer {
        store: Uuid(u128::from(id)),
        region: RegionName::new("eu").unwrap(),
        raft: format!("r{id}:1"),
        api: format!("r{id}:2"),
        agent: format!("r{id}:3"),
    };
    Membership::new(vec![[1].into(), [1, 2].into()], BTreeMap::from([(1, peer(1)), (2, peer(2))])).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn frozen(what: &str, bytes: &[u8], expected: &str) {
    assert_eq!(hex(bytes), expected, "the bytes of {what} changed");
}

#[test]
fn the_bytes_of_log_entries_are_frozen() {
    let entry = |payload| entry_encode(&LogEntry { log_id: log_id(3, 258), payload });
    frozen("a blank entry", &entry(EntryPayload::Blank), "0a0508031082021200");
    frozen("a normal entry", &entry(EntryPayload::Normal(Payload::of("abc".into()))), "0a0508031082021a03616263");
    frozen(
        "a membership",
        &entry(EntryPayload::Membership(membership())),
        "0a05080310820222630a030a01010a040a020102122a08011210000000000000000000000000000000011a026575220472313a312a0472313a32320472313a33122a08021210000000000000000000000000000000021a026575220472323a312a0472323a32320472323a33",
    );
}

#[test]
fn the_bytes_of_records_are_frozen() {
    frozen("a vote", &vote_to(&Vote::new_committed(7, 2)).encode_to_vec(), "080710021801");
    frozen("a mark", &pb::Mark { log_id: Some(log_id_to(&log_id(3, 258))) }.encode_to_vec(), "0a050803108202");
    frozen("a start", &pb::Start { count: 5, nonce: 1 }.encode_to_vec(), "0805110100000000000000");
    let identity = pb::Identity {
        format: 1,
        store: uuid_to(Uuid(1)),
        cluster: uuid_to(Uuid(2)),
        group: 1,
        replica: 3,
        founder: true,
    };
    frozen(
        "an identity",
        &identity.encode_to_vec(),
        "08011210000000000000000000000000000000011a1000000000000000000000000000000002200128033001",
    );
    let applied = pb::Applied {
        log_id: Some(log_id_to(&log_id(3, 258))),
        membership: Some(stored_membership_to(&StoredMembership::new(Some(log_id(2, 4)), membership()))),
        base: 9,
        digest: vec![8; 32].into(),
        replica_max: 2,
    };
    frozen(
        "an applied record",
        &applied.encode_to_vec(),
        "0a050803108202126b0a040802100412630a030a01010a040a020102122a08011210000000000000000000000000000000011a026575220472313a312a0472313a32320472313a33122a08021210000000000000000000000000000000021a026575220472323a312a0472323a32320472323a331809222008080808080808080808080808080808080808080808080808080808080808082802",
    );
    let refused = |reason| pb::Refused { reason: Some(reason) }.encode_to_vec();
    frozen("a refusal of an old image", &refused(pb::refused::Reason::Stale("seen".into())), "0a047365656e");
    frozen("a refusal of another history", &refused(pb::refused::Reason::Diverged(258)), "108202");
    let meta = pb::SnapshotMeta { last_log_id: Some(log_id_to(&log_id(3, 258))), ..pb::SnapshotMeta::default() };
    let staged = pb::Staged { snapshot: 5, meta: Some(meta) };
    frozen("what is staged", &staged.encode_to_vec(), "09050000000000000012070a050803108202");
    let piece = pb::SnapshotPiece { number: 2, rows: vec![7; 3].into(), digest: vec![8; 4].into() };
    frozen("a staged piece", &piece.encode_to_vec(), "080212030707071a0408080808");
}

#[test]
fn entries_survive_their_bytes() {
    for payload in
        [EntryPayload::Blank, EntryPayload::Normal(Payload::of("abc".into())), EntryPayload::Membership(membership())]
    {
        let entry = LogEntry { log_id: log_id(3, 258), payload };
        assert_eq!(entry_decode(entry_encode(&entry)).unwrap(), entry);
    }
}

#[test]
fn an_entry_with_an_unknown_field_is_refused() {
    let entry = LogEntry { log_id: log_id(1, 1), payload: EntryPayload::Blank };
    let mut bytes = entry_encode(&entry).to_vec();
    // Field 15, a number.
    bytes.extend([0x78, 0x01]);
    assert!(matches!(entry_decode(bytes.into()), Err(WireError::Wrong(_))));
    assert!(matches!(entry_decode("nonsense".into()), Err(WireError::Bytes { .. })));
}

/// Real messages, of which bytes are changed.
fn any_bytes() -> impl Strategy<Value = Bytes> {
    let entry = |payload| entry_encode(&LogEntry { log_id: log_id(3, 258), payload }).to_vec();
    let stored = stored_membership_to(&StoredMembership::new(Some(log_id(2, 4)), membership()));
    let real = vec![
        entry(EntryPayload::Normal(Payload::of("abc".into()))),
        entry(EntryPayload::Membership(membership())),
        stored.encode_to_vec(),
        vote_to(&Vote::new_committed(7, 2)).encode_to_vec(),
        vec![],
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(real), edits, prop::collection::vec(any::<u8>(), 0..8)).prop_map(
        |(mut bytes, edits, more)| {
            for (at, byte) in edits {
                // One more than there are, so that there is a place in nothing as well.
                let at = at.index(bytes.len() + 1);
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.extend(more);
            bytes.into()
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_panic_and_an_entry_that_is_taken_is_kept_whole(bytes in any_bytes()) {
        if let Ok(entry) = entry_decode(bytes.clone()) {
            prop_assert_eq!(entry_decode(entry_encode(&entry)).ok(), Some(entry));
        }
        let _ = decode::<pb::StoredMembership>("a membership", bytes.clone()).map(|it| stored_membership_from(Some(it)));
        let _ = decode::<pb::Vote>("a vote", bytes).map(|vote| vote_from(Some(vote)));
    }
}

//! Every command survives the log; nothing unknown passes; the bytes stay what they are.

use std::sync::LazyLock;

use proptest::prelude::*;
use quorate_state::Command;

use super::*;
use crate::samples;

fn one(command: Command) -> Entry {
    let item = Item { principal: Principal::controller(), request: None, command };
    Entry { stamp: Stamp::default(), items: vec![item] }
}

#[test]
fn every_command_survives_the_log() {
    for command in samples::commands() {
        let entry = one(command);
        assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
    }
    let all = samples::entry();
    let mut parts = [EncodedItems::default(), EncodedItems::default()];
    for (number, item) in all.items.iter().enumerate() {
        parts[number * 2 / all.items.len()].push(item).unwrap();
    }
    assert_eq!(join_items(all.stamp, parts.iter()), encode_entry(&all), "encoded one by one or together");
}

#[test]
fn an_entry_without_items_survives() {
    let empty = Entry { stamp: Stamp::default(), items: vec![] };
    assert_eq!(decode_entry(&encode_entry(&empty)), Ok(empty));
}

#[test]
fn a_field_of_a_later_version_is_refused_at_every_depth() {
    // Field 1000 of type varint, value 1: appended to the entry, to its stamp and to an item.
    const LATER: [u8; 3] = [0xc0, 0x3e, 1];
    let bytes = encode_entry(&one(Command::CancelRun { run: samples::RUN }));
    let mut at_the_end = bytes.to_vec();
    at_the_end.extend(LATER);
    assert_eq!(decode_entry(&at_the_end), Err(FormatError::Unfaithful("a log entry")));

    let mut message = v1::Entry::decode(&*bytes).unwrap();
    let item = message.items.remove(0).encode_to_vec();
    let mut nested = message.encode_to_vec();
    nested.push(0x22);
    nested.push(u8::try_from(item.len() + LATER.len()).unwrap());
    nested.extend(&item);
    nested.extend(LATER);
    assert_eq!(decode_entry(&nested), Err(FormatError::Unfaithful("a log entry")));
}

#[test]
fn a_command_of_a_later_version_is_refused() {
    let bytes = encode_entry(&Entry { stamp: Stamp::default(), items: vec![] });
    let mut later = bytes.to_vec();
    // One item whose command is field 900, of length 0.
    later.extend([0x22, 0x03, 0xa2, 0x38, 0x00]);
    assert_eq!(decode_entry(&later), Err(FormatError::Missing("command")));
}

#[test]
fn fields_that_are_not_used_yet_are_refused_when_set() {
    let message = |change: &dyn Fn(&mut v1::item::Command)| {
        let mut found = Vec::new();
        for command in samples::commands() {
            let mut message = v1::Entry::decode(&*encode_entry(&one(command))).unwrap();
            change(message.items[0].command.as_mut().unwrap());
            found.push(decode_entry(&message.encode_to_vec()).is_err());
        }
        found.into_iter().filter(|refused| *refused).count()
    };
    let reference = crate::v1::PayloadRef { uri: "s3://b/k".into(), size: Some(1), ..<_>::default() };
    assert_eq!(message(&|_| {}), 0);
    assert_eq!(
        message(&|command| {
            if let v1::item::Command::SubmitJob(submit) = command {
                submit.spec_ref = Some(reference.clone());
            }
        }),
        samples::commands().iter().filter(|command| matches!(command, Command::SubmitJob { .. })).count()
    );
}

#[test]
fn payloads_that_are_written_in_another_way_are_refused() {
    let payloads = samples::payloads();
    let leaves = |command: &Command| match command {
        Command::ReportAttempts { reports, .. } => reports[0].payloads.is_some(),
        _ => false,
    };
    let command = samples::commands().into_iter().find(leaves).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<crate::v1::PayloadRef>)| {
        let mut message = v1::Entry::decode(&*encode_entry(&one(command.clone()))).unwrap();
        let Some(v1::item::Command::ReportAttempts(reports)) = &mut message.items[0].command else { unreachable!() };
        assert_eq!(reports.reports[0].outputs.len(), payloads.iter().len());
        change(&mut reports.reports[0].outputs);
        decode_entry(&message.encode_to_vec())
    };
    assert_eq!(changed(&|_| {}), Ok(one(command.clone())));
    assert_eq!(changed(&|outputs| outputs.reverse()), Err(FormatError::Unfaithful("a log entry")));
    for refused in [
        changed(&|outputs| outputs[1] = outputs[0].clone()),
        changed(&|outputs| outputs[0].name.clear()),
        changed(&|outputs| outputs[0].uri = "nowhere".into()),
        changed(&|outputs| outputs[0].digest_kind = 3),
    ] {
        assert!(matches!(refused, Err(FormatError::Field { field: "outputs", .. })), "{refused:?}");
    }
}

#[test]
fn another_format_or_group_is_refused_by_its_number() {
    let mut message = v1::Entry::decode(&*encode_entry(&samples::entry())).unwrap();
    message.format = ENTRY_FORMAT + 1;
    let refused = decode_entry(&message.encode_to_vec());
    assert_eq!(refused, Err(FormatError::Number { what: "a log entry", found: ENTRY_FORMAT + 1, known: ENTRY_FORMAT }));
    message.format = ENTRY_FORMAT;
    message.group = 2;
    assert_eq!(decode_entry(&message.encode_to_vec()), Err(FormatError::Group { found: 2 }));
}

#[test]
fn bytes_that_decode_to_the_same_entry_in_another_way_are_refused() {
    // Labels out of order: the entry would be the same, the bytes would not.
    let mut message = v1::Entry::decode(&*encode_entry(&samples::entry())).unwrap();
    for item in &mut message.items {
        if let Some(v1::item::Command::SubmitJob(submit)) = &mut item.command {
            submit.spec.as_mut().unwrap().tasks[0].env.reverse();
        }
    }
    assert_eq!(decode_entry(&message.encode_to_vec()), Err(FormatError::Unfaithful("a log entry")));
}

#[test]
fn the_bytes_of_format_1_stay_what_they_are() {
    let mut entries: Vec<Entry> = samples::commands().into_iter().map(one).collect();
    entries.push(samples::entry());
    let lines: Vec<String> = entries.iter().map(|entry| samples::hex(&encode_entry(entry))).collect();
    assert_eq!(lines[3], "080110011a0022180a0a636f6e74726f6c6c65729a010909efcdab8967452381");
    samples::assert_golden("entries-1.hex", &lines);
}

#[test]
fn what_was_written_before_there_were_features_is_still_read() {
    for bytes in samples::golden("entries-1-before-features.hex") {
        decode_entry(&bytes[0]).unwrap();
    }
}

#[test]
fn a_feature_of_a_later_version_stops_the_reader() {
    let enable = one(Command::EnableFeature { feature: quorate_state::Feature::NodeCordon, term: 3 });
    let mut message = v1::Entry::decode(&*encode_entry(&enable)).unwrap();
    if let Some(v1::item::Command::EnableFeature(enable)) = &mut message.items[0].command {
        enable.feature = 4_000_000_000;
    }
    assert_eq!(decode_entry(&message.encode_to_vec()), Err(FormatError::Feature { number: 4_000_000_000 }));
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic_and_never_pass_as_another_encoding(
        at in 0..4_000_usize, to in any::<u8>(), cut in 0..4_000_usize,
    ) {
        static ENTRY: LazyLock<Bytes> = LazyLock::new(|| encode_entry(&samples::entry()));
        let mut bytes = ENTRY.to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        if cut < bytes.len() / 2 {
            bytes.truncate(bytes.len() - cut);
        }
        if let Ok(entry) = decode_entry(&bytes) {
            prop_assert_eq!(encode_entry(&entry), bytes);
        }
    }
}

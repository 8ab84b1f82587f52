//! What every target begins with, and small changes of it: cut off, bytes changed, pieces doubled or left out.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quorate_fuzz::TARGETS;

#[test]
fn every_input_of_the_corpus_is_taken_or_refused() {
    for target in TARGETS {
        for seed in target.seeds().unwrap() {
            (target.run)(&seed);
        }
        (target.run)(b"");
    }
}

#[test]
fn every_target_has_inputs_to_begin_with() {
    for target in TARGETS {
        assert!(!target.seeds().unwrap().is_empty(), "{}: add one to tests/fuzz/corpus/{}", target.name, target.name);
    }
}

#[test]
fn small_changes_of_the_corpus_are_taken_or_refused() {
    for target in TARGETS {
        let seeds = target.seeds().unwrap();
        let edits = prop::collection::vec(any_edit(), 1..6);
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&(prop::sample::select(seeds), edits), |(mut bytes, edits)| {
            edits.iter().for_each(|edit| edit.make(&mut bytes));
            (target.run)(&bytes);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", target.name));
    }
}

/// A change at a place, which is taken modulo the length.
#[derive(Clone, Debug)]
enum Edit {
    Cut(usize),
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    LeaveOut(usize, usize),
    Double(usize, usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let at = || any::<usize>();
    prop_oneof![
        1 => at().prop_map(Edit::Cut),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        2 => (at(), 1..64_usize).prop_map(|(at, length)| Edit::LeaveOut(at, length)),
        2 => (at(), 1..64_usize).prop_map(|(at, length)| Edit::Double(at, length)),
    ]
}

impl Edit {
    fn make(&self, bytes: &mut Vec<u8>) {
        let within = |at: usize| at % (bytes.len() + 1);
        match self {
            Self::Cut(at) => bytes.truncate(within(*at)),
            Self::Set(at, byte) => {
                let at = within(*at);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Self::Insert(at, more) => {
                let at = within(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::LeaveOut(at, length) => {
                let from = within(*at);
                let to = from.saturating_add(*length).min(bytes.len());
                bytes.drain(from..to);
            }
            Self::Double(at, length) => {
                let from = within(*at);
                let to = from.saturating_add(*length).min(bytes.len());
                bytes.extend_from_within(from..to);
            }
        }
    }
}

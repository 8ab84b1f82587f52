//! The seeds that are known to catch each planted bug, kept beside the source.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;

const KNOWN: &str = include_str!("../../../seeds/planted.json");

/// What caught a bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catch {
    pub(super) seed: u64,
    pub(super) property: String,
}

/// By the bug's name.
pub(super) type Recorded = BTreeMap<String, Catch>;

/// What was recorded when this program was built.
pub(super) fn known() -> Result<Recorded, Error> {
    parse(KNOWN)
}

/// Adds to what is in the source tree now, and replaces what is known better.
pub(super) fn write(caught: impl Iterator<Item = (String, Catch)>) -> Result<(), Error> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/planted.json"));
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let mut recorded = parse(&text)?;
    recorded.extend(caught);
    let text = serde_json::to_string_pretty(&recorded).map_err(malformed)?;
    std::fs::write(&path, text + "\n").map_err(|source| Error::Write { path, source })
}

fn parse(text: &str) -> Result<Recorded, Error> {
    serde_json::from_str(text).map_err(malformed)
}

fn malformed(source: serde_json::Error) -> Error {
    Error::Json { what: "simulation/seeds/planted.json".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use quorate_planted::Bug;

    use super::*;

    #[test]
    fn each_bug_has_a_recorded_seed() {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        let known = known().unwrap();
        assert!(names.iter().all(|name| known.contains_key(*name)), "each bug has a seed");
        assert!(known.keys().all(|name| names.contains(&name.as_str())), "each seed has a bug");
    }
}

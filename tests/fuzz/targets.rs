//! What reads bytes that strangers wrote: each reader as a function of bytes that panics when the reader is wrong.
//!
//! A target takes anything. It must not crash, hang or take much more memory than its input is long, and what it
//! accepts must survive being written and read once more: what is accepted in one place and refused, or understood in
//! another way, in the next is a hole. `cargo test` replays what each target begins with ([`Target::seeds`]) and
//! small changes of it; `make fuzz` looks for more, guided by the code that an input reaches.
//!
//! Not here, because only replicas and agents that have shown a certificate can send it, or only the own disk holds it:
//! consensus messages (`crates/raft/src/wire/tests.rs`), the journal of an agent, the record of a shim.

mod expressions;
mod files;
mod messages;
mod persisted;

use std::path::{Path, PathBuf};

/// No input is longer: a fuzzer learns nothing from more of the same, and the readers' own limits have tests of theirs.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// A reader under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// What `make fuzz TARGET=…` calls it, and the directory of its own inputs under `corpus/`.
    pub name: &'static str,
    /// Panics when the reader is wrong about these bytes.
    pub run: fn(&[u8]),
    /// Inputs that lie elsewhere in the repository.
    seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "job-toml", run: files::toml, seeds: || files::seeds("toml") },
    Target { name: "job-yaml", run: files::yaml, seeds: || files::seeds("yaml") },
    Target { name: "job-json", run: files::json, seeds: || files::seeds("json") },
    Target { name: "wfformat", run: files::wfformat, seeds: files::workflows },
    Target { name: "template", run: expressions::template, seeds: expressions::templates },
    Target { name: "condition", run: expressions::condition, seeds: expressions::conditions },
    Target { name: "node-condition", run: expressions::node_condition, seeds: expressions::node_conditions },
    Target { name: "submit", run: messages::submit, seeds: messages::specs },
    Target { name: "join-token", run: messages::join_token, seeds: messages::join_tokens },
    Target { name: "agent", run: messages::agent, seeds: messages::agents },
    Target { name: "entry", run: persisted::entry, seeds: persisted::entries },
    Target { name: "row", run: persisted::row, seeds: persisted::rows },
    Target { name: "event", run: persisted::event, seeds: persisted::events },
    Target { name: "backup", run: persisted::backup, seeds: persisted::backups },
];

impl Target {
    /// The target of this name.
    pub fn of(name: &str) -> Option<Self> {
        TARGETS.iter().copied().find(|target| target.name == name)
    }

    /// What the search begins with, and what was found once.
    ///
    /// # Errors
    /// A file of the corpus cannot be read.
    pub fn seeds(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let mut seeds = (self.seeds)();
        let directory = top().join("tests/fuzz/corpus").join(self.name);
        if directory.is_dir() {
            let mut paths: Vec<PathBuf> =
                std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
            paths.sort();
            for path in paths {
                seeds.push(std::fs::read(path)?);
            }
        }
        Ok(seeds)
    }
}

/// The repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

//! What keeps a command from doing its work; what a run comes to is no error.

use std::path::PathBuf;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No worker process.
    #[error("cannot start a worker process")]
    Start(#[source] std::io::Error),
    /// Standard output is closed or full.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// Standard input failed.
    #[error("cannot read from standard input")]
    Input(#[source] std::io::Error),
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Something that should be JSON of a certain form is not.
    #[error("{what} is not as it should be")]
    Json {
        /// What was read or written.
        what: String,
        #[source]
        source: serde_json::Error,
    },
    /// A scenario contradicts itself.
    #[error("{} cannot run: {why}", .path.display())]
    Scenario {
        /// Its file.
        path: PathBuf,
        /// The contradiction.
        why: String,
    },
    /// A replica's store could not be read.
    #[error("cannot read the store {}", .path.display())]
    Store {
        /// Which.
        path: PathBuf,
        #[source]
        source: quorate_seams::DiskError,
    },
    /// What was seen of a run is not as it should be.
    #[error("{} makes no sense: {why}", .path.display())]
    Facts {
        /// Its file.
        path: PathBuf,
        /// The line, and why.
        why: String,
    },
    /// A worker was ordered to plant a bug that this build does not have.
    #[error("{0}")]
    Planted(String),
    /// A measurement came to nothing.
    #[error("nothing was measured: {0}")]
    Measured(String),
    /// There is nothing to shrink.
    #[error("seed {0} violates nothing: there is nothing to make smaller")]
    Nothing(u64),
    /// A worker's run goes on although nobody can be waiting for it any more.
    #[error("seed {0} does not end")]
    Endless(u64),
}

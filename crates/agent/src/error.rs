//! Why an agent could not start, or had to stop.

use std::io;
use std::path::PathBuf;

use crate::config::Violation;

/// Why an agent could not start, or had to stop. Losing the control plane is not among them: an
/// agent waits for it as long as it takes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values that cannot be right, all of them.
    #[error("the agent's configuration is wrong: {}", .0.iter().map(|violation| format!("{}: {}", violation.key, violation.message)).collect::<Vec<_>>().join("; "))]
    Config(Vec<Violation>),
    /// The data directory cannot be made, read or written.
    #[error("the data directory {} cannot be used: check that it exists, is writable and has room", path.display())]
    DataDir {
        /// The path that failed.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another agent runs on the same data directory.
    #[error("the data directory {} is in use by another agent: stop that one, or give this one a data_dir of its own", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// A file of the data directory does not hold what it should.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what helps.
        why: String,
    },
    /// The journal cannot be read or written. Nothing may be started without it.
    #[error("the journal failed ({0}): free some space or replace the disk, then start the agent again")]
    Journal(String),
    /// The journal was written by a version that knows more.
    #[error("the journal is not readable by this version ({0}): run the version that wrote it, or a newer one")]
    JournalFormat(String),
    /// The listener for metrics and health cannot be opened.
    #[error("cannot listen on {address} (key `agent.ops`): use another port, or stop what holds it")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A driver cannot work on this machine.
    #[error("the {driver} driver cannot work here: {why}")]
    Driver {
        /// Its name.
        driver: &'static str,
        /// What is missing.
        why: String,
    },
    /// The control plane refuses this node for a reason that waiting does not cure.
    #[error("the control plane refuses node {node}: {why}")]
    Refused {
        /// This node's name.
        node: String,
        /// The answer.
        why: String,
    },
    /// The data directory has served another cluster.
    #[error(
        "the data directory belongs to cluster {ours} but the servers are cluster {theirs}: check `agent.replicas`, or start with an empty data_dir"
    )]
    OtherCluster {
        /// Whose attempts the journal holds.
        ours: quorate_state::ClusterId,
        /// Who answered.
        theirs: quorate_state::ClusterId,
    },
}

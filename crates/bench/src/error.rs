//! Why a local cluster or a measurement failed.

use std::path::PathBuf;
use std::time::Duration;

/// Why a local cluster or a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory or log file cannot be made.
    #[error("cannot write {path}")]
    Write {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// How much room a file takes cannot be found out.
    #[error("cannot read {path}")]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of a trace is not what it has to be.
    #[error("{path}, line {line}: {why}")]
    Trace {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The binary does not start.
    #[error("cannot start {binary}")]
    Spawn {
        /// The binary.
        binary: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A process ended that should go on.
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// How.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A process that was asked to stop did not do so in order.
    #[error("{name} was asked to stop and ended otherwise ({status}); the end of its log:\n{log}")]
    EndedBadly {
        /// Which process.
        name: String,
        /// How.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("{what} did not come true within {waited:?}{detail}")]
    NotInTime {
        /// The condition.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// What was seen last.
        detail: String,
    },
    /// No free ports.
    #[error("no {0} free ports on 127.0.0.1: end what listens there")]
    Ports(usize),
    /// The relay between replicas has no listener.
    #[error("the relay between the replicas cannot listen")]
    Relay(#[source] std::io::Error),
    /// An option is out of range.
    #[error("{0}")]
    Option(String),
    /// A replica refused, or none could be reached.
    #[error(transparent)]
    Client(Box<quorate_client::Error>),
    /// The tasks ended otherwise than measured for.
    #[error("{0}")]
    Outcome(String),
    /// The kernel does not say what a process used.
    #[error("cannot read what process {pid} used")]
    Usage {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A process does not show a metric.
    #[error("no metric {metric} at {address}: {why}")]
    Metric {
        /// Where it was looked for.
        address: String,
        /// Its name.
        metric: String,
        /// Why not.
        why: String,
    },
}

impl From<quorate_client::Error> for Error {
    fn from(error: quorate_client::Error) -> Self {
        Self::Client(Box::new(error))
    }
}

impl Error {
    /// The answer of a replica behind it, if there is one.
    pub fn client(&self) -> Option<&quorate_client::Error> {
        match self {
            Self::Client(error) => Some(error),
            Self::Write { .. }
            | Self::Read { .. }
            | Self::Trace { .. }
            | Self::Spawn { .. }
            | Self::Ended { .. }
            | Self::EndedBadly { .. }
            | Self::NotInTime { .. }
            | Self::Ports(_)
            | Self::Relay(_)
            | Self::Option(_)
            | Self::Outcome(_)
            | Self::Usage { .. }
            | Self::Metric { .. } => None,
        }
    }
}

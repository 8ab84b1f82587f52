//! Every way a command can fail, and the exit code that stands for it.

use std::fmt::Write as _;
use std::path::PathBuf;

use quorate_client::snapshot_file::SaveError;
use quorate_proto::ApiError;
use quorate_proto::backup::BackupError;
use quorate_raft::{RecoverError, RestoreError, StopReason};

use crate::settings::SettingsError;

/// Exit codes; part of the interface, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// It worked.
    Ok = 0,
    /// Anything without a code of its own.
    Error = 1,
    /// Flags, settings or arguments are wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// It exists already, or what the request was computed from has changed.
    Conflict = 4,
    /// The caller may not do this.
    Denied = 5,
    /// No leader, or no replica could be reached.
    Unavailable = 6,
    /// The wait ended before the run did.
    WaitTimedOut = 7,
    /// A store or a snapshot is damaged, newer than this version, or its disk failed.
    Damaged = 8,
    /// `job plan --exit-code`: submitting would change something.
    Changes = 10,
    /// The run waited for failed.
    RunFailed = 20,
    /// The run waited for was cancelled.
    RunCancelled = 21,
    /// The run waited for failed by a timeout: its job's, or those of all tasks that failed.
    RunTimedOut = 22,
}

/// The table of exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  ok
   1  error
   2  usage: wrong flags, settings or arguments
   3  not found
   4  conflict: exists already, or changed meanwhile
   5  not allowed
   6  no leader, or no replica can be reached
   7  a wait timed out before the run ended
   8  a store or a snapshot is damaged, newer than this version, or its disk failed
  10  'job plan --exit-code' has changes
  20  the run failed               (under wait)
  21  the run was cancelled        (under wait)
  22  the run failed by a timeout  (under wait)";

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An argument that clap cannot judge is wrong.
    #[error("{0}")]
    Usage(String),
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A replica refused, or none could be reached.
    #[error(transparent)]
    Api(Box<quorate_client::Error>),
    /// The job file is wrong; the text has one violation per line.
    #[error("{origin}: {count} {noun}\n{text}", noun = if *.count == 1 { "violation" } else { "violations" })]
    JobFile {
        /// The file, or stdin.
        origin: String,
        /// How many violations.
        count: usize,
        /// One per line, with line and column.
        text: String,
    },
    /// The workflow file is wrong.
    #[error("{origin} cannot be imported: {why}")]
    Workflow {
        /// The file, or stdin.
        origin: String,
        /// Why.
        why: String,
    },
    /// A file or stream cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// What was to be read.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}: choose another place or make room")]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Standard output is gone or full.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// More than the command is ready to read.
    #[error("{what} has more than {limit} ({max}) bytes")]
    TooLarge {
        /// What was read.
        what: String,
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: usize,
    },
    /// There is no such thing, found out here rather than by a replica.
    #[error("{0}")]
    Missing(String),
    /// A replica of a version that does not know it yet.
    #[error("this control plane does not know {what} yet: upgrade all its replicas")]
    Older {
        /// What was asked for.
        what: &'static str,
    },
    /// There is no such node.
    #[error("node {node} does not exist{}", .near.as_ref().map_or(String::new(), |near| format!(": did you mean {near:?}?")))]
    UnknownNode {
        /// What was asked for.
        node: String,
        /// What was probably meant.
        near: Option<String>,
    },
    /// A drain was waited for, and somebody has ended it.
    #[error("the drain of {of} was ended before nothing was left there: it takes work again")]
    DrainEnded {
        /// A node, a cluster or a region, with the word for it.
        of: String,
    },
    /// Output was asked for that no attempt has written.
    #[error(
        "task {task} of run {run} {} and has no output: it is {state}",
        if *.ended { "was never started" } else { "was not started yet" }
    )]
    NotStarted {
        /// Name, with its index.
        task: String,
        /// Id.
        run: String,
        /// The task's state, as a word.
        state: String,
        /// It will not be started any more.
        ended: bool,
    },
    /// A replica did not start, or stopped for a reason of its own.
    #[error(transparent)]
    Server(Box<quorate_server::Error>),
    /// An agent did not start, or stopped for a reason of its own.
    #[error(transparent)]
    Agent(Box<quorate_agent::Error>),
    /// The files of TLS are missing or wrong.
    #[error(transparent)]
    Tls(#[from] quorate_tls::Error),
    /// No certificate was made.
    #[error(transparent)]
    Cert(#[from] quorate_tls::IssueError),
    /// The data directory cannot be opened.
    #[error("the data directory {path} cannot be used")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is damaged.
    #[error(
        "the store in {path} is damaged and does not start; wipe the directory and let the replica join again under a \
         new id ('quorate server join'), or restore a backup if no majority is left ('quorate snapshot restore')"
    )]
    DamagedStore {
        /// The data directory.
        path: PathBuf,
        /// What was found.
        #[source]
        source: quorate_seams::DiskError,
    },
    /// Something is where a new data directory should be.
    #[error("{path} is not empty: name a directory that is empty, or not there yet")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A snapshot was not saved.
    #[error(transparent)]
    Save(Box<SaveError>),
    /// A snapshot was not taken for one, or not restored.
    #[error("{path}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<RestoreError>,
    },
    /// A survivor does not go on.
    #[error(transparent)]
    Recover(Box<RecoverError>),
    /// The local cluster of a demo or bench failed.
    #[error(transparent)]
    Bench(#[from] quorate_bench::Error),
    /// The runtime or a signal handler could not be set up.
    #[error("the process could not be set up")]
    Setup(#[source] std::io::Error),
    /// A signal came before the end.
    #[error("interrupted")]
    Interrupted,
    /// The demo ran, and did not show what it is there to show.
    #[error("the demo failed: {0}")]
    Demo(String),
}

impl From<quorate_client::Error> for Error {
    fn from(error: quorate_client::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl From<SaveError> for Error {
    fn from(error: SaveError) -> Self {
        Self::Save(Box::new(error))
    }
}

impl From<RecoverError> for Error {
    fn from(error: RecoverError) -> Self {
        Self::Recover(Box::new(error))
    }
}

impl From<quorate_agent::Error> for Error {
    fn from(error: quorate_agent::Error) -> Self {
        Self::Agent(Box::new(error))
    }
}

impl Error {
    /// The error of a call that replicas before some version do not know, by `what` it is about.
    pub(crate) fn of_older(error: quorate_client::Error, what: &'static str) -> Self {
        match error {
            quorate_client::Error::Api(ApiError::Unsupported(_)) => Self::Older { what },
            error => error.into(),
        }
    }

    /// The code that the process ends with.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Usage(_) | Self::Settings(_) => Code::Usage,
            Self::Api(error) => client_code(error),
            Self::Cert(quorate_tls::IssueError::Wrong(_)) => Code::Usage,
            Self::Cert(quorate_tls::IssueError::Exists(_)) => Code::Conflict,
            Self::Cert(
                quorate_tls::IssueError::Read { .. }
                | quorate_tls::IssueError::Write { .. }
                | quorate_tls::IssueError::Failed { .. },
            ) => Code::Error,
            Self::Missing(_) | Self::UnknownNode { .. } | Self::NotStarted { .. } => Code::NotFound,
            Self::DrainEnded { .. } => Code::Conflict,
            Self::NotEmpty { .. } => Code::Conflict,
            Self::DamagedStore { .. } => Code::Damaged,
            Self::Server(error) => server_code(error),
            Self::Save(error) => save_code(error),
            Self::Snapshot { source, .. } => restore_code(source),
            Self::Recover(error) => recover_code(error),
            Self::Bench(error) => error.client().map_or(Code::Error, client_code),
            Self::Older { .. }
            | Self::JobFile { .. }
            | Self::Workflow { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Output(_)
            | Self::TooLarge { .. }
            | Self::Agent(_)
            | Self::DataDir { .. }
            | Self::Tls(_)
            | Self::Setup(_)
            | Self::Interrupted
            | Self::Demo(_) => Code::Error,
        }
    }

    /// True when whoever read our output has gone: nothing to say, nobody to say it to.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The whole chain of causes, each said once.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.contains(&line) {
                let _ = write!(text, ": {line}");
            }
            cause = error.source();
        }
        text
    }

    /// What to do next, when there is something.
    pub(crate) fn hint(&self) -> Option<String> {
        if let Self::Missing(_) = self {
            return Some("see 'quorate run list' and 'quorate job list'".to_owned());
        }
        if let Self::UnknownNode { .. } = self {
            return Some("see 'quorate node list'".to_owned());
        }
        if let Self::NotStarted { task, run, ended: false, .. } = self {
            return Some(format!("ask why with 'quorate task why {run} {task}', or wait for it with --follow"));
        }
        let Self::Api(error) = self else { return None };
        if error.is_unavailable() {
            let advice =
                "is a replica running? Start one with 'quorate dev', or name yours with --servers or QUORATE_SERVERS";
            return Some(advice.to_owned());
        }
        match error.api() {
            Some(ApiError::NotFound { kind, .. }) if kind == "run" => Some("see 'quorate run list'".to_owned()),
            Some(ApiError::NotFound { kind, .. }) if kind == "job" => Some("see 'quorate job list'".to_owned()),
            Some(ApiError::Precondition { what, .. }) if what == "RUN_ARCHIVED" => Some(
                "'quorate run status' and 'quorate run events' still show it; 'quorate job history' and 'quorate job revert' \
                 run its version again"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn server_code(error: &quorate_server::Error) -> Code {
    match error {
        quorate_server::Error::Start(error) => store_code(error),
        quorate_server::Error::Stopped(
            StopReason::Storage(_) | StopReason::Diverged { .. } | StopReason::StaleStore(_),
        ) => Code::Damaged,
        quorate_server::Error::Stopped(StopReason::Requested | StopReason::Removed | StopReason::Internal(_))
        | quorate_server::Error::Config { .. }
        | quorate_server::Error::Bind { .. }
        | quorate_server::Error::Serve { .. } => Code::Error,
    }
}

fn store_code(error: &quorate_raft::Error) -> Code {
    match error {
        quorate_raft::Error::Damaged(_)
        | quorate_raft::Error::StoreRefused(_)
        | quorate_raft::Error::Format(_)
        | quorate_raft::Error::NewerFormat { .. }
        | quorate_raft::Error::LacksFeature(_)
        | quorate_raft::Error::Disk(_) => Code::Damaged,
        _ => Code::Error,
    }
}

fn save_code(error: &SaveError) -> Code {
    match error {
        SaveError::Exists { .. } => Code::Conflict,
        SaveError::Write { .. } => Code::Error,
        SaveError::Broke(error) => client_code(error),
        SaveError::Damaged(_) => Code::Damaged,
    }
}

fn restore_code(error: &RestoreError) -> Code {
    match error {
        RestoreError::File(BackupError::File(_)) | RestoreError::Clock(_) | RestoreError::Store(_) => Code::Error,
        RestoreError::File(_) | RestoreError::Content(_) => Code::Damaged,
        RestoreError::OtherCluster { .. } | RestoreError::NotEmpty => Code::Conflict,
    }
}

fn recover_code(error: &RecoverError) -> Code {
    match error {
        RecoverError::Unusable(error) => store_code(error),
        RecoverError::NoMember => Code::NotFound,
        RecoverError::Alone | RecoverError::Lost(_) => Code::Conflict,
        RecoverError::Clock(_) => Code::Error,
    }
}

fn client_code(error: &quorate_client::Error) -> Code {
    match error {
        quorate_client::Error::Api(error) => api_code(error),
        quorate_client::Error::Unavailable { .. } | quorate_client::Error::OutcomeUnknown { .. } => Code::Unavailable,
        quorate_client::Error::Address { .. } => Code::Usage,
    }
}

fn api_code(error: &ApiError) -> Code {
    match error {
        ApiError::NotFound { .. } => Code::NotFound,
        ApiError::Exists { .. } | ApiError::Stale(_) | ApiError::Precondition { .. } => Code::Conflict,
        ApiError::Denied(_) => Code::Denied,
        ApiError::NotLeader { .. }
        | ApiError::Unavailable(_)
        | ApiError::OutcomeUnknown(_)
        | ApiError::DeadlineExceeded(_)
        | ApiError::Transport(_) => Code::Unavailable,
        ApiError::Invalid(_)
        | ApiError::Limit { .. }
        | ApiError::Overloaded { .. }
        | ApiError::Compacted { .. }
        | ApiError::Cancelled(_)
        | ApiError::Unsupported(_)
        | ApiError::Internal { .. } => Code::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_errors_have_the_documented_codes() {
        let not_found = ApiError::NotFound { kind: "run".into(), name: "x".into() };
        let exists = ApiError::Exists { kind: "namespace".into(), name: "x".into(), why: "taken".into() };
        for (error, code) in [
            (not_found, 3),
            (exists, 4),
            (ApiError::Stale("generation".into()), 4),
            (ApiError::Denied("no".into()), 5),
            (ApiError::NotLeader { leader: None }, 6),
            (ApiError::Unavailable("no quorum".into()), 6),
            (ApiError::Transport("refused".into()), 6),
            (ApiError::OutcomeUnknown("cut off".into()), 6),
            (ApiError::Invalid(Vec::new()), 1),
            (ApiError::Internal { request: String::new() }, 1),
        ] {
            assert_eq!(Error::from(quorate_client::Error::Api(error.clone())).code() as u8, code, "{error:?}");
        }
    }

    #[test]
    fn silence_of_every_replica_is_unavailable() {
        let last = ApiError::Transport("refused".into());
        let error = quorate_client::Error::Unavailable { addresses: vec![], waited: std::time::Duration::ZERO, last };
        let error = Error::from(error);
        assert_eq!(error.code() as u8, 6);
        assert!(error.hint().unwrap().contains("--servers"));
    }

    #[test]
    fn what_an_older_replica_does_not_know_is_said_so() {
        let unknown = || quorate_client::Error::Api(ApiError::Unsupported("SubmitFlow".into()));
        let error = Error::of_older(unknown(), "params");
        assert_eq!(error.to_string(), "this control plane does not know params yet: upgrade all its replicas");
        let other = quorate_client::Error::Api(ApiError::NotFound { kind: "run".into(), name: "x".into() });
        assert_eq!(Error::of_older(other, "params").code(), Code::NotFound);
    }

    #[test]
    fn what_is_archived_can_be_read_and_run_again() {
        let archived = ApiError::Precondition {
            what: "RUN_ARCHIVED".into(),
            subject: "run 0123456789abc".into(),
            why: "it can be read, and not changed any more".into(),
        };
        let error = Error::from(quorate_client::Error::Api(archived));
        assert_eq!(error.code(), Code::Conflict);
        let hint = error.hint().unwrap();
        assert!(hint.contains("quorate run status") && hint.contains("quorate job revert"), "{hint}");
    }

    #[test]
    fn wrong_settings_are_usage_errors() {
        assert_eq!(Error::from(SettingsError::Invalid(vec!["x".into()])).code() as u8, 2);
        assert_eq!(Error::Usage("x".into()).code() as u8, 2);
    }

    #[test]
    fn every_code_is_in_the_help() {
        for code in [
            Code::Ok,
            Code::Error,
            Code::Usage,
            Code::NotFound,
            Code::Conflict,
            Code::Denied,
            Code::Unavailable,
            Code::WaitTimedOut,
            Code::Changes,
            Code::RunFailed,
            Code::RunCancelled,
            Code::RunTimedOut,
        ] {
            let number = format!("{:>4}  ", code as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&number)), "{code:?}");
        }
    }

    #[test]
    fn the_chain_says_each_cause_once() {
        let source = std::io::Error::other("no space left on device");
        let error = Error::Write { path: "/data".into(), source };
        let chain = error.chain();
        assert_eq!(chain.matches("no space left").count(), 1, "{chain}");
        assert!(chain.contains("/data"), "{chain}");
    }
}

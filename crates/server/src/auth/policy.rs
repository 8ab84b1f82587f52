//! What a principal may do. There are no roles yet: whoever the connection layer names may do
//! everything, but each method already says what it is about to do, and in which namespace.

use quorate_proto::status::ApiError;
use quorate_state::{Namespace, Principal};

/// What a method is about to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// Submit a job.
    Submit(&'a Namespace),
    /// End a run.
    Cancel(&'a Namespace),
    /// Leave a word at a run.
    Annotate(&'a Namespace),
    /// Read jobs and runs of a namespace; `None`: of all.
    Read(Option<&'a Namespace>),
    /// Read an attempt's output, which may hold more than its author meant to show.
    ReadLogs(&'a Namespace),
    /// See nodes, clusters, replicas and namespaces.
    Inspect,
    /// Change which replicas take part, or which of them leads.
    ChangeReplicas,
    /// Read everything that the cluster knows.
    Backup,
    /// Make a namespace.
    CreateNamespace(&'a Namespace),
    /// Speak for a node.
    ServeAsAgent,
}

/// Refuses what the principal may not do.
pub(crate) fn authorize(principal: &Principal, action: Action<'_>) -> Result<(), ApiError> {
    let (verb, namespace) = match action {
        Action::Submit(namespace) => ("submit", Some(namespace)),
        Action::Cancel(namespace) => ("cancel", Some(namespace)),
        Action::Annotate(namespace) => ("annotate", Some(namespace)),
        Action::Read(namespace) => ("read", namespace),
        Action::ReadLogs(namespace) => ("read logs", Some(namespace)),
        Action::Inspect => ("inspect", None),
        Action::ChangeReplicas => ("change replicas", None),
        Action::Backup => ("backup", None),
        Action::CreateNamespace(namespace) => ("create namespace", Some(namespace)),
        Action::ServeAsAgent => ("serve as agent", None),
    };
    let namespace = namespace.map_or("all", Namespace::as_str);
    tracing::trace!(%principal, verb, namespace, "allowed");
    Ok(())
}

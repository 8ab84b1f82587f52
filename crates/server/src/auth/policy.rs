//! What a principal may do, by the role in its certificate. Without TLS there are no roles: whoever
//! reaches a listener may do everything.

use quorate_proto::status::ApiError;
use quorate_state::{Namespace, Principal};
use quorate_tls::{Peer, Role};

/// What a method is about to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// Submit a job.
    Submit(&'a Namespace),
    /// Hide a job.
    DeleteJob(&'a Namespace),
    /// End a run.
    Cancel(&'a Namespace),
    /// Pause and resume a run, and say where it stands in the queue.
    Control(&'a Namespace),
    /// Leave a word at a run.
    Annotate(&'a Namespace),
    /// Let a task run again that may have taken nodes down.
    ReleaseTask(&'a Namespace),
    /// Read jobs and runs of a namespace; `None`: of all.
    Read(Option<&'a Namespace>),
    /// Read an attempt's output, which may hold more than its author meant to show.
    ReadLogs(&'a Namespace),
    /// See nodes, clusters, replicas and namespaces.
    Inspect,
    /// Change which replicas take part, or which of them leads.
    ChangeReplicas,
    /// Say whether a node takes new work, and what becomes of what it has.
    CordonNode,
    /// Say what a machine needs to become a node, and make, list and revoke join tokens.
    AdmitNodes,
    /// Read everything that the cluster knows.
    Backup,
    /// Make a namespace.
    CreateNamespace(&'a Namespace),
    /// Say which part of the cluster a namespace has.
    SetNamespace(&'a Namespace),
    /// Say how namespaces are kept even.
    SetFairness,
    /// Say who may be preempted by whom.
    SetPreemption,
    /// Have work moved to better places.
    Rebalance,
    /// Set nodes aside for a time, and end that.
    Reserve,
    /// Say how long runs that have ended are kept.
    SetRetention,
    /// Speak for a node.
    ServeAsAgent,
    /// Pass on what agents say in sessions with another replica.
    RelayRenewals,
}

/// Refuses what the principal may not do.
pub(crate) fn authorize(principal: &Principal, action: Action<'_>) -> Result<(), ApiError> {
    let (verb, namespace) = match action {
        Action::Submit(namespace) => ("submit", Some(namespace)),
        Action::DeleteJob(namespace) => ("delete jobs", Some(namespace)),
        Action::Cancel(namespace) => ("cancel", Some(namespace)),
        Action::Control(namespace) => ("control runs", Some(namespace)),
        Action::Annotate(namespace) => ("annotate", Some(namespace)),
        Action::ReleaseTask(namespace) => ("release tasks", Some(namespace)),
        Action::Read(namespace) => ("read", namespace),
        Action::ReadLogs(namespace) => ("read logs", Some(namespace)),
        Action::Inspect => ("inspect", None),
        Action::ChangeReplicas => ("change replicas", None),
        Action::CordonNode => ("cordon nodes", None),
        Action::AdmitNodes => ("admit nodes", None),
        Action::Backup => ("backup", None),
        Action::CreateNamespace(namespace) => ("create namespace", Some(namespace)),
        Action::SetNamespace(namespace) => ("say which part of the cluster it has", Some(namespace)),
        Action::SetFairness => ("say how namespaces are kept even", None),
        Action::SetPreemption => ("say who may be preempted by whom", None),
        Action::Rebalance => ("move work", None),
        Action::Reserve => ("reserve nodes", None),
        Action::SetRetention => ("say how long runs are kept", None),
        Action::ServeAsAgent => ("serve as agent", None),
        Action::RelayRenewals => ("relay renewals", None),
    };
    let allowed = allowed(action);
    if let Caller::Certified(peer) = caller(principal)?
        && !allowed.contains(&peer.role())
    {
        let words: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
        let roles = words.join(" or ");
        return Err(denied(format!("{peer} may not {verb}: that needs a certificate with the role {roles}")));
    }
    let namespace = namespace.map_or("all", Namespace::as_str);
    tracing::trace!(%principal, verb, namespace, "allowed");
    Ok(())
}

/// Refuses to let anybody but the node itself, or the replica that passes its session on and has
/// asked the same question, speak for `node`. Returns the principal that the log shall know.
pub(crate) fn speaks_for(principal: &Principal, node: &str, relayed: bool) -> Result<Principal, ApiError> {
    let peer = match caller(principal)? {
        Caller::Anyone => return Ok(principal.clone()),
        Caller::Certified(peer) => peer,
    };
    match peer.role() {
        Role::Node if peer.name() == node => Ok(principal.clone()),
        Role::Node => Err(denied(format!(
            "the certificate is that of node {}, and the agent says that it is node {node:?}: \
             set agent.node to the one, or issue a certificate for the other",
            peer.name()
        ))),
        Role::Replica if relayed => {
            let node = Peer::new(Role::Node, node).map_err(|error| denied(format!("the agent {error}")))?;
            Ok(Principal(node.to_string().into()))
        }
        Role::Replica | Role::Operator | Role::User => Err(denied(format!("{peer} may not speak for a node"))),
    }
}

/// Who may do it, where there are certificates.
fn allowed(action: Action<'_>) -> &'static [Role] {
    match action {
        Action::Submit(_)
        | Action::DeleteJob(_)
        | Action::Cancel(_)
        | Action::Control(_)
        | Action::Annotate(_)
        | Action::Read(_)
        | Action::ReadLogs(_)
        | Action::Inspect => &[Role::User, Role::Operator],
        Action::ChangeReplicas
        | Action::ReleaseTask(_)
        | Action::CordonNode
        | Action::AdmitNodes
        | Action::Backup
        | Action::CreateNamespace(_)
        | Action::SetNamespace(_)
        | Action::SetFairness
        | Action::SetPreemption
        | Action::Rebalance
        | Action::Reserve
        | Action::SetRetention => &[Role::Operator],
        Action::ServeAsAgent => &[Role::Node, Role::Replica],
        Action::RelayRenewals => &[Role::Replica],
    }
}

enum Caller {
    /// On a listener without TLS.
    Anyone,
    Certified(Peer),
}

fn caller(principal: &Principal) -> Result<Caller, ApiError> {
    if *principal == Principal::anonymous_local() {
        return Ok(Caller::Anyone);
    }
    let peer = principal.0.parse().map_err(|_| denied(format!("nobody knows what {principal} may do")))?;
    Ok(Caller::Certified(peer))
}

fn denied(why: String) -> ApiError {
    ApiError::Denied(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(text: &str) -> Principal {
        Principal(text.into())
    }

    #[test]
    fn each_role_may_do_its_own_and_no_more() {
        let namespace = Namespace::new("acme").unwrap();
        let table = [
            (Action::Submit(&namespace), "operator user"),
            (Action::Cancel(&namespace), "operator user"),
            (Action::Annotate(&namespace), "operator user"),
            (Action::Control(&namespace), "operator user"),
            (Action::DeleteJob(&namespace), "operator user"),
            (Action::ReleaseTask(&namespace), "operator"),
            (Action::Backup, "operator"),
            (Action::Read(None), "operator user"),
            (Action::Read(Some(&namespace)), "operator user"),
            (Action::ReadLogs(&namespace), "operator user"),
            (Action::Inspect, "operator user"),
            (Action::ChangeReplicas, "operator"),
            (Action::CordonNode, "operator"),
            (Action::AdmitNodes, "operator"),
            (Action::CreateNamespace(&namespace), "operator"),
            (Action::SetNamespace(&namespace), "operator"),
            (Action::SetFairness, "operator"),
            (Action::SetPreemption, "operator"),
            (Action::Rebalance, "operator"),
            (Action::Reserve, "operator"),
            (Action::SetRetention, "operator"),
            (Action::ServeAsAgent, "replica node"),
            (Action::RelayRenewals, "replica"),
        ];
        for (action, expected) in table {
            let may = |role: &Role| authorize(&principal(&format!("{role}:x")), action).is_ok();
            let may: Vec<&str> = Role::ALL.iter().filter(|role| may(role)).map(|role| role.as_str()).collect();
            assert_eq!(may.join(" "), expected, "{action:?}");
            authorize(&Principal::anonymous_local(), action).unwrap();
            for stranger in ["controller", "root:x", "", "operator:"] {
                assert!(matches!(authorize(&principal(stranger), action), Err(ApiError::Denied(_))), "{stranger}");
            }
        }
    }

    #[test]
    fn a_node_speaks_for_itself_and_a_replica_for_nodes_that_it_passes_on() {
        let speaks =
            |who: &str, relayed| speaks_for(&principal(who), "n1", relayed).map(|as_whom| as_whom.0.to_string());
        assert_eq!(speaks("node:n1", false), Ok("node:n1".into()));
        assert_eq!(speaks("replica:2", true), Ok("node:n1".into()));
        assert_eq!(speaks("anonymous-local", false), Ok("anonymous-local".into()));
        for (who, relayed) in
            [("node:n2", false), ("node:n2", true), ("replica:2", false), ("operator:n1", true), ("user:n1", false)]
        {
            assert!(matches!(speaks(who, relayed), Err(ApiError::Denied(_))), "{who}");
        }
    }
}

//! Remembered requests: the row and the reply that a repeated request gets again.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use quorate_state::{
    DedupKey, Epoch, Infeasible, JobName, JoinTokenId, Namespace, OverQuota, PlacementOutcome, Rejection, Reply,
    ReportOutcome, RequestRow, Resource, Revision, RunId, Served, Shortfall, Token, TokenFlaw, Violation,
};

use crate::format::FormatError;
use crate::format::parts::{
    digest_from, digest_to, feature_from, lease_from, lease_to, numbered, parsed, required, scope_from, scope_to,
    task_id_from, task_id_to, uuid_from, uuid_to,
};
use crate::log::v1 as pb;
use crate::log::v1::infeasible::Why;
use crate::log::v1::join_token_refused::Why as Flaw;
use crate::log::v1::rejection::Rejection as Refusal;
use crate::log::v1::reply::Reply as Wire;
use crate::v1;

/// Different fixed texts (limit names, advice) that stored rejections may hold.
const FIXED_TEXTS_MAX: usize = 4_096;

pub(super) fn request_to(row: &RequestRow) -> pb::RequestRow {
    pb::RequestRow {
        digest: digest_to(row.digest),
        reply: Some(pb::Reply { reply: Some(reply_to(&row.reply)) }),
        expires_at_served_ms: row.expires_at.0,
    }
}

pub(super) fn request_from(key: DedupKey, row: pb::RequestRow) -> Result<RequestRow, FormatError> {
    let (namespace, principal, id) = key;
    Ok(RequestRow {
        namespace,
        principal,
        id,
        digest: digest_from("request.digest", &row.digest)?,
        reply: reply_from(required("reply", row.reply.and_then(|reply| reply.reply))?)?,
        expires_at: Served(row.expires_at_served_ms),
    })
}

fn reply_to(reply: &Reply) -> Wire {
    match reply {
        Reply::Done => Wire::Done(pb::Done {}),
        Reply::Submitted { run, version, revision, window_ms } => Wire::Submitted(pb::Submitted {
            run: run.0,
            version: *version,
            revision: revision.0,
            window_ms: *window_ms,
        }),
        Reply::Cancelling { ended_before, revision } => {
            Wire::Cancelling(pb::CancellingReply { ended_before: *ended_before, revision: revision.0 })
        }
        Reply::Annotated { revision } => Wire::Annotated(pb::Annotated { revision: revision.0 }),
        Reply::Controlled { revision } => Wire::Controlled(pb::Controlled { revision: revision.0 }),
        Reply::Registered { epoch, lease } => {
            Wire::Registered(pb::Registered { epoch: epoch.0, lease: Some(lease_to(*lease)) })
        }
        Reply::PlanCommitted(outcomes) => {
            Wire::PlanCommitted(pb::PlanCommitted { outcomes: outcomes.iter().map(outcome_to).collect() })
        }
        Reply::Reported(outcomes) => Wire::Reported(pb::Reported {
            outcomes: outcomes
                .iter()
                .map(|outcome| match outcome {
                    ReportOutcome::Accepted => pb::ReportOutcome::Accepted.into(),
                    ReportOutcome::Refused => pb::ReportOutcome::Refused.into(),
                })
                .collect(),
        }),
        Reply::Counted(count) => Wire::Counted(*count),
    }
}

fn reply_from(reply: Wire) -> Result<Reply, FormatError> {
    Ok(match reply {
        Wire::Done(pb::Done {}) => Reply::Done,
        Wire::Submitted(submitted) => Reply::Submitted {
            run: RunId(submitted.run),
            version: submitted.version,
            revision: Revision(submitted.revision),
            window_ms: submitted.window_ms,
        },
        Wire::Cancelling(cancelling) => {
            Reply::Cancelling { ended_before: cancelling.ended_before, revision: Revision(cancelling.revision) }
        }
        Wire::Annotated(annotated) => Reply::Annotated { revision: Revision(annotated.revision) },
        Wire::Controlled(controlled) => Reply::Controlled { revision: Revision(controlled.revision) },
        Wire::Registered(registered) => {
            Reply::Registered { epoch: Epoch(registered.epoch), lease: lease_from(registered.lease)? }
        }
        Wire::PlanCommitted(plan) => {
            Reply::PlanCommitted(plan.outcomes.into_iter().map(outcome_from).collect::<Result<_, _>>()?)
        }
        Wire::Reported(reported) => {
            let outcomes = reported.outcomes.into_iter().map(|outcome| match numbered("report outcome", outcome)? {
                pb::ReportOutcome::Unspecified => Err(FormatError::Missing("report outcome")),
                pb::ReportOutcome::Accepted => Ok(ReportOutcome::Accepted),
                pb::ReportOutcome::Refused => Ok(ReportOutcome::Refused),
            });
            Reply::Reported(outcomes.collect::<Result<_, _>>()?)
        }
        Wire::Counted(count) => Reply::Counted(count),
    })
}

fn outcome_to(outcome: &PlacementOutcome) -> pb::PlacementOutcome {
    use pb::placement_outcome::Outcome;
    let outcome = match outcome {
        PlacementOutcome::Placed(token) => Outcome::Placed(token.0),
        PlacementOutcome::Refused(rejection) => {
            Outcome::Refused(pb::Rejection { rejection: Some(rejection_to(rejection)) })
        }
    };
    pb::PlacementOutcome { outcome: Some(outcome) }
}

fn outcome_from(outcome: pb::PlacementOutcome) -> Result<PlacementOutcome, FormatError> {
    use pb::placement_outcome::Outcome;
    Ok(match required("placement outcome", outcome.outcome)? {
        Outcome::Placed(token) => PlacementOutcome::Placed(Token(token)),
        Outcome::Refused(rejection) => {
            PlacementOutcome::Refused(Box::new(rejection_from(required("rejection", rejection.rejection)?)?))
        }
    })
}

fn rejection_to(rejection: &Rejection) -> Refusal {
    match rejection {
        Rejection::NotBootstrapped => Refusal::NotBootstrapped(pb::Done {}),
        Rejection::AlreadyBootstrapped => Refusal::AlreadyBootstrapped(pb::Done {}),
        Rejection::UnknownNamespace(namespace) => Refusal::UnknownNamespace(namespace.to_string()),
        Rejection::NamespaceExists(namespace) => Refusal::NamespaceExists(namespace.to_string()),
        Rejection::UnknownRun(run) => Refusal::UnknownRun(run.0),
        Rejection::UnknownJob(namespace, job) => Refusal::UnknownJob(job_to(namespace, job)),
        Rejection::JobMovedOn { namespace, job, checked, newest } => Refusal::JobMovedOn(pb::JobMovedOn {
            job: Some(job_to(namespace, job)),
            checked: *checked,
            newest: *newest,
        }),
        Rejection::JobRuns { namespace, job, unfinished } => {
            Refusal::JobRuns(pb::JobRuns { job: Some(job_to(namespace, job)), unfinished: *unfinished })
        }
        Rejection::RunOver(run) => Refusal::RunOver(run.0),
        Rejection::RunIdTaken(run) => Refusal::RunIdTaken(run.0),
        Rejection::Invalid(violations) => Refusal::Invalid(pb::Violations {
            violations: violations
                .iter()
                .map(|violation| pb::Violation { field: violation.field.clone(), message: violation.message.clone() })
                .collect(),
        }),
        Rejection::RequestIdReused { id } => Refusal::RequestIdReused(id.clone()),
        Rejection::LimitReached { limit, max, advice } => Refusal::LimitReached(pb::LimitReached {
            limit: (*limit).to_owned(),
            max: *max,
            advice: (*advice).to_owned(),
        }),
        Rejection::NodeNameTaken { node, holder } => {
            Refusal::NodeNameTaken(pb::NodeNameTaken { node: node.to_string(), holder: uuid_to(*holder) })
        }
        Rejection::ClusterInOtherRegion { cluster, region, claimed } => {
            Refusal::ClusterInOtherRegion(pb::ClusterInOtherRegion {
                cluster: cluster.to_string(),
                region: region.to_string(),
                claimed: claimed.to_string(),
            })
        }
        Rejection::EpochOver { node, epoch } => {
            Refusal::EpochOver(pb::EpochOver { node: node.to_string(), epoch: epoch.0 })
        }
        Rejection::UnknownNode(node) => Refusal::UnknownNode(node.to_string()),
        Rejection::UnknownScope(scope) => Refusal::UnknownScope(scope_to(scope)),
        Rejection::UnknownReservation(name) => Refusal::UnknownReservation(name.to_string()),
        Rejection::ReservationExists(name) => Refusal::ReservationExists(name.to_string()),
        Rejection::NodeReserved { node, other } => {
            Refusal::NodeReserved(pb::NodeReserved { node: node.to_string(), other: other.to_string() })
        }
        Rejection::NodeAlive(node) => Refusal::NodeAlive(node.to_string()),
        Rejection::NodeMayRun { node, remaining_ms } => {
            Refusal::NodeMayRun(pb::NodeMayRun { node: node.to_string(), remaining_ms: *remaining_ms })
        }
        Rejection::JoinTokenNeeded(node) => Refusal::JoinTokenNeeded(node.to_string()),
        Rejection::JoinTokenRefused { node, why } => {
            Refusal::JoinTokenRefused(pb::JoinTokenRefused { node: node.to_string(), why: Some(flaw_to(why)) })
        }
        Rejection::UnknownJoinToken(token) => Refusal::UnknownJoinToken(token.0),
        Rejection::FeatureNotEnabled(feature) => Refusal::FeatureNotEnabled(feature.number()),
        Rejection::Stale(why) => Refusal::Stale((*why).to_owned()),
        Rejection::Infeasible(why) => Refusal::Infeasible(pb::Infeasible { why: Some(infeasible_to(why)) }),
        Rejection::OverQuota(over) => Refusal::OverQuota(pb::OverQuota {
            namespace: over.namespace.to_string(),
            resource: resource_to(over.resource).into(),
            used: over.used,
            maximum: over.maximum,
            asked: over.asked,
        }),
        Rejection::Member { task, why } => Refusal::Member(Box::new(pb::Member {
            task: Some(task_id_to(*task)),
            why: Some(Box::new(pb::Rejection { rejection: Some(rejection_to(why)) })),
        })),
        Rejection::Invariant(why) => Refusal::Invariant(why.clone()),
    }
}

fn rejection_from(rejection: Refusal) -> Result<Rejection, FormatError> {
    Ok(match rejection {
        Refusal::NotBootstrapped(pb::Done {}) => Rejection::NotBootstrapped,
        Refusal::AlreadyBootstrapped(pb::Done {}) => Rejection::AlreadyBootstrapped,
        Refusal::UnknownNamespace(namespace) => Rejection::UnknownNamespace(parsed("namespace", &namespace)?),
        Refusal::NamespaceExists(namespace) => Rejection::NamespaceExists(parsed("namespace", &namespace)?),
        Refusal::UnknownRun(run) => Rejection::UnknownRun(RunId(run)),
        Refusal::UnknownJob(job) => {
            let (namespace, job) = job_from(Some(job))?;
            Rejection::UnknownJob(namespace, job)
        }
        Refusal::JobMovedOn(moved) => {
            let (namespace, job) = job_from(moved.job)?;
            Rejection::JobMovedOn { namespace, job, checked: moved.checked, newest: moved.newest }
        }
        Refusal::JobRuns(runs) => {
            let (namespace, job) = job_from(runs.job)?;
            Rejection::JobRuns { namespace, job, unfinished: runs.unfinished }
        }
        Refusal::RunOver(run) => Rejection::RunOver(RunId(run)),
        Refusal::RunIdTaken(run) => Rejection::RunIdTaken(RunId(run)),
        Refusal::Invalid(pb::Violations { violations }) => Rejection::Invalid(
            violations.into_iter().map(|pb::Violation { field, message }| Violation { field, message }).collect(),
        ),
        Refusal::RequestIdReused(id) => Rejection::RequestIdReused { id },
        Refusal::LimitReached(limit) => {
            Rejection::LimitReached { limit: fixed(&limit.limit)?, max: limit.max, advice: fixed(&limit.advice)? }
        }
        Refusal::NodeNameTaken(taken) => {
            Rejection::NodeNameTaken { node: parsed("node", &taken.node)?, holder: uuid_from("holder", &taken.holder)? }
        }
        Refusal::ClusterInOtherRegion(cluster) => Rejection::ClusterInOtherRegion {
            cluster: parsed("cluster", &cluster.cluster)?,
            region: parsed("region", &cluster.region)?,
            claimed: parsed("claimed", &cluster.claimed)?,
        },
        Refusal::EpochOver(over) => {
            Rejection::EpochOver { node: parsed("node", &over.node)?, epoch: Epoch(over.epoch) }
        }
        Refusal::UnknownNode(node) => Rejection::UnknownNode(parsed("node", &node)?),
        Refusal::UnknownScope(scope) => Rejection::UnknownScope(scope_from(Some(scope))?),
        Refusal::UnknownReservation(name) => Rejection::UnknownReservation(parsed("reservation", &name)?),
        Refusal::ReservationExists(name) => Rejection::ReservationExists(parsed("reservation", &name)?),
        Refusal::NodeReserved(taken) => {
            Rejection::NodeReserved { node: parsed("node", &taken.node)?, other: parsed("other", &taken.other)? }
        }
        Refusal::NodeAlive(node) => Rejection::NodeAlive(parsed("node", &node)?),
        Refusal::NodeMayRun(wait) => {
            Rejection::NodeMayRun { node: parsed("node", &wait.node)?, remaining_ms: wait.remaining_ms }
        }
        Refusal::JoinTokenNeeded(node) => Rejection::JoinTokenNeeded(parsed("node", &node)?),
        Refusal::JoinTokenRefused(refused) => Rejection::JoinTokenRefused {
            node: parsed("node", &refused.node)?,
            why: flaw_from(required("why", refused.why)?)?,
        },
        Refusal::UnknownJoinToken(token) => Rejection::UnknownJoinToken(JoinTokenId(token)),
        Refusal::FeatureNotEnabled(number) => Rejection::FeatureNotEnabled(feature_from(number)?),
        Refusal::Stale(why) => Rejection::Stale(fixed(&why)?),
        Refusal::Infeasible(infeasible) => {
            Rejection::Infeasible(infeasible_from(required("infeasible", infeasible.why)?))
        }
        Refusal::OverQuota(over) => Rejection::OverQuota(OverQuota {
            namespace: parsed("namespace", &over.namespace)?,
            resource: required("resource", resource_from(numbered("resource", over.resource)?))?,
            used: over.used,
            maximum: over.maximum,
            asked: over.asked,
        }),
        Refusal::Member(member) => {
            let why = required("why", member.why.and_then(|why| why.rejection))?;
            // A member is refused for a reason of its own.
            if matches!(why, Refusal::Member(_)) {
                return Err(FormatError::Missing("why"));
            }
            Rejection::Member { task: task_id_from("task", member.task)?, why: Box::new(rejection_from(why)?) }
        }
        Refusal::Invariant(why) => Rejection::Invariant(why),
    })
}

fn resource_to(resource: Resource) -> pb::Resource {
    match resource {
        Resource::Cpu => pb::Resource::Cpu,
        Resource::Memory => pb::Resource::Memory,
        Resource::Gpu => pb::Resource::Gpu,
    }
}

fn resource_from(resource: pb::Resource) -> Option<Resource> {
    match resource {
        pb::Resource::Unspecified => None,
        pb::Resource::Cpu => Some(Resource::Cpu),
        pb::Resource::Memory => Some(Resource::Memory),
        pb::Resource::Gpu => Some(Resource::Gpu),
    }
}

fn job_to(namespace: &Namespace, job: &JobName) -> pb::JobNamed {
    pb::JobNamed { namespace: namespace.to_string(), job: job.to_string() }
}

fn job_from(named: Option<pb::JobNamed>) -> Result<(Namespace, JobName), FormatError> {
    let pb::JobNamed { namespace, job } = required("job", named)?;
    Ok((parsed("namespace", &namespace)?, parsed("job", &job)?))
}

fn flaw_to(why: &TokenFlaw) -> Flaw {
    match why {
        TokenFlaw::Unknown => Flaw::Unknown(pb::Done {}),
        TokenFlaw::Expired => Flaw::Expired(pb::Done {}),
        TokenFlaw::UsedUp => Flaw::UsedUp(pb::Done {}),
        TokenFlaw::Region(region) => Flaw::Region(region.to_string()),
        TokenFlaw::Cluster(cluster) => Flaw::Cluster(cluster.to_string()),
    }
}

fn flaw_from(why: Flaw) -> Result<TokenFlaw, FormatError> {
    Ok(match why {
        Flaw::Unknown(pb::Done {}) => TokenFlaw::Unknown,
        Flaw::Expired(pb::Done {}) => TokenFlaw::Expired,
        Flaw::UsedUp(pb::Done {}) => TokenFlaw::UsedUp,
        Flaw::Region(region) => TokenFlaw::Region(parsed("region", &region)?),
        Flaw::Cluster(cluster) => TokenFlaw::Cluster(parsed("cluster", &cluster)?),
    })
}

fn infeasible_to(why: &Infeasible) -> Why {
    let missing = |missing: &Shortfall| {
        let Shortfall { cpu_milli, memory_bytes, gpu_milli } = *missing;
        v1::Resources { cpu_milli, memory_bytes, gpu_milli }
    };
    match why {
        Infeasible::NodeLost => Why::NodeLost(pb::Done {}),
        Infeasible::Cordoned => Why::Cordoned(pb::Done {}),
        Infeasible::Draining => Why::Draining(pb::Done {}),
        Infeasible::Region => Why::Region(pb::Done {}),
        Infeasible::Cluster => Why::Cluster(pb::Done {}),
        Infeasible::Labels => Why::Labels(pb::Done {}),
        Infeasible::GpuModel => Why::GpuModel(pb::Done {}),
        Infeasible::Pool => Why::Pool(pb::Done {}),
        Infeasible::Taint => Why::Taint(pb::Done {}),
        Infeasible::Reserved => Why::Reserved(pb::Done {}),
        Infeasible::Unreserved => Why::Unreserved(pb::Done {}),
        Infeasible::Where => Why::Where(pb::Done {}),
        Infeasible::TooSmall(shortfall) => Why::TooSmall(missing(shortfall)),
        Infeasible::Full(shortfall) => Why::Full(missing(shortfall)),
        Infeasible::Apart => Why::Apart(pb::Done {}),
    }
}

fn infeasible_from(why: Why) -> Infeasible {
    let missing = |missing: v1::Resources| {
        let v1::Resources { cpu_milli, memory_bytes, gpu_milli } = missing;
        Shortfall { cpu_milli, memory_bytes, gpu_milli }
    };
    match why {
        Why::NodeLost(pb::Done {}) => Infeasible::NodeLost,
        Why::Cordoned(pb::Done {}) => Infeasible::Cordoned,
        Why::Draining(pb::Done {}) => Infeasible::Draining,
        Why::Region(pb::Done {}) => Infeasible::Region,
        Why::Cluster(pb::Done {}) => Infeasible::Cluster,
        Why::Labels(pb::Done {}) => Infeasible::Labels,
        Why::GpuModel(pb::Done {}) => Infeasible::GpuModel,
        Why::Pool(pb::Done {}) => Infeasible::Pool,
        Why::Taint(pb::Done {}) => Infeasible::Taint,
        Why::Reserved(pb::Done {}) => Infeasible::Reserved,
        Why::Unreserved(pb::Done {}) => Infeasible::Unreserved,
        Why::Where(pb::Done {}) => Infeasible::Where,
        Why::TooSmall(shortfall) => Infeasible::TooSmall(missing(shortfall)),
        Why::Full(shortfall) => Infeasible::Full(missing(shortfall)),
        Why::Apart(pb::Done {}) => Infeasible::Apart,
    }
}

/// The one copy of a text that `apply` has as a literal. Literals of other versions are kept for
/// the life of the process: they are few, and more than `FIXED_TEXTS_MAX` are a damaged store.
fn fixed(text: &str) -> Result<&'static str, FormatError> {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = known.get(text) {
        return Ok(text);
    }
    if known.len() >= FIXED_TEXTS_MAX {
        let why = format!("more than FIXED_TEXTS_MAX ({FIXED_TEXTS_MAX}) different texts");
        return Err(FormatError::Field { field: "rejection", why });
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(text);
    Ok(text)
}

//! Values of the rows of everything but tasks and attempts.

use std::sync::Arc;

use bytes::Bytes;
use quorate_state::{
    Admission, Annotation, AnnotationKey, Around, Cluster, ClusterName, Drain, Epoch, Feature, FeatureRow, Job,
    JobName, JoinToken, JoinTokenId, Meta, Millis, Namespace, NamespaceRow, Node, NodeName, NodeStatus, Past, Pause,
    Principal, Resources, Revision, Run, RunId, Scope, ScopeRow, Served, Share, Withdrawal,
};

use super::SpecCache;
use crate::convert::job::{labels_to_wire, resources_from_wire, resources_to_wire, spec_to_wire};
use crate::convert::namespace::{share_from_wire, share_to_wire};
use crate::convert::offer::offer_to_wire;
use crate::convert::run::{run_state_from_wire, run_state_to_wire};
use crate::format::parts::{
    digest_from, digest_to, gpu_models_from, labels_from, lease_from, lease_to, numbered, offer_from, parsed,
    priority_from, required, resources_from, spec_from, task_id_from, task_id_to, terms_from, terms_to, uuid_from,
    uuid_to,
};
use crate::format::{FormatError, ROWS_FORMAT};
use crate::log::v1 as pb;
use crate::v1;

pub(super) fn meta_to(meta: &Meta) -> pb::MetaRow {
    pb::MetaRow {
        format: ROWS_FORMAT,
        cluster: uuid_to(meta.cluster),
        incarnation: meta.incarnation,
        revision: meta.revision.0,
        now_ms: meta.now.0,
        served_ms: meta.served.0,
        term: meta.term,
        elapsed_ms: meta.elapsed_ms,
        events_from: meta.events_from.0,
        restored_at: meta.restored_at.0,
        fenced_until_served_ms: meta.fenced_until.0,
        segments_from: meta.segments_from,
    }
}

pub(super) fn meta_from(row: pb::MetaRow) -> Result<Meta, FormatError> {
    if row.format != ROWS_FORMAT {
        return Err(FormatError::Number { what: "the stored state", found: row.format, known: ROWS_FORMAT });
    }
    Ok(Meta {
        cluster: uuid_from("cluster", &row.cluster)?,
        incarnation: row.incarnation,
        revision: Revision(row.revision),
        now: Millis(row.now_ms),
        served: Served(row.served_ms),
        term: row.term,
        elapsed_ms: row.elapsed_ms,
        events_from: Revision(row.events_from),
        restored_at: Revision(row.restored_at),
        fenced_until: Served(row.fenced_until_served_ms),
        segments_from: row.segments_from,
    })
}

pub(super) fn feature_to(row: &FeatureRow) -> pb::FeatureRow {
    pb::FeatureRow { revision: row.revision.0, at_ms: row.at.0 }
}

pub(super) fn feature_from_row(feature: Feature, row: &pb::FeatureRow) -> FeatureRow {
    FeatureRow { feature, revision: Revision(row.revision), at: Millis(row.at_ms) }
}

pub(super) fn namespace_to(row: &NamespaceRow) -> pb::NamespaceRow {
    let is_plain = row.share == Share::default();
    pb::NamespaceRow {
        created_at_ms: row.created_at.0,
        share: (!is_plain).then(|| share_to_wire(&row.share)),
        past: (row.past.held != Resources::ZERO).then(|| resources_to_wire(row.past.held)),
        sampled_at_served_ms: row.past.sampled_at.map(|at| at.0),
    }
}

pub(super) fn namespace_from(name: Namespace, row: pb::NamespaceRow) -> Result<NamespaceRow, FormatError> {
    let wrong = |flaws| FormatError::Field { field: "share", why: format!("{flaws:?}") };
    Ok(NamespaceRow {
        name,
        created_at: Millis(row.created_at_ms),
        share: row.share.map(share_from_wire).transpose().map_err(wrong)?.unwrap_or_default(),
        past: Past {
            held: row.past.map(resources_from_wire).unwrap_or_default(),
            sampled_at: row.sampled_at_served_ms.map(Served),
        },
    })
}

pub(super) fn cluster_to(cluster: &Cluster) -> pb::ClusterRow {
    pb::ClusterRow { region: cluster.region.to_string(), created_at_ms: cluster.created_at.0 }
}

pub(super) fn cluster_from(name: ClusterName, row: &pb::ClusterRow) -> Result<Cluster, FormatError> {
    Ok(Cluster { name, region: parsed("region", &row.region)?, created_at: Millis(row.created_at_ms) })
}

pub(super) fn node_to(node: &Node) -> pb::NodeRow {
    pb::NodeRow {
        uuid: uuid_to(node.uuid),
        journal: uuid_to(node.journal),
        boot_id: node.boot_id.to_string(),
        machine_id: node.machine_id.to_string(),
        region: node.region.to_string(),
        cluster: node.cluster.to_string(),
        capacity: Some(resources_to_wire(node.capacity)),
        gpus: node.gpus.iter().map(ToString::to_string).collect(),
        labels: labels_to_wire(&node.labels),
        offer: offer_to_wire(&node.offer),
        epoch: node.epoch.0,
        lease: Some(lease_to(node.lease)),
        lost_at_served_ms: match node.status {
            NodeStatus::Up => None,
            NodeStatus::Lost { at } => Some(at.0),
        },
        cordoned: node.cordoned,
        registered_at_ms: node.registered_at.0,
        withdrawal: node.withdrawal.as_deref().map(withdrawal_to),
        admission: node.admission.as_deref().map(|admission| pb::Admission {
            token: admission.token.0,
            at_ms: admission.at.0,
            terms: Some(terms_to(&admission.terms)),
        }),
    }
}

pub(super) fn node_from(name: NodeName, row: pb::NodeRow) -> Result<Node, FormatError> {
    Ok(Node {
        name,
        uuid: uuid_from("uuid", &row.uuid)?,
        journal: uuid_from("journal", &row.journal)?,
        boot_id: row.boot_id.into(),
        machine_id: row.machine_id.into(),
        region: parsed("region", &row.region)?,
        cluster: parsed("cluster", &row.cluster)?,
        capacity: resources_from("capacity", row.capacity)?,
        gpus: gpu_models_from(&row.gpus)?.into(),
        labels: labels_from(row.labels)?,
        offer: offer_from(row.offer)?,
        epoch: Epoch(row.epoch),
        lease: lease_from(row.lease)?,
        status: row.lost_at_served_ms.map_or(NodeStatus::Up, |at| NodeStatus::Lost { at: Served(at) }),
        cordoned: row.cordoned,
        registered_at: Millis(row.registered_at_ms),
        withdrawal: row.withdrawal.map(|row| Arc::new(withdrawal_from(row))),
        around: Around::default(),
        admission: row.admission.map(|row| admission_from_row(row).map(Arc::new)).transpose()?,
    })
}

fn admission_from_row(row: pb::Admission) -> Result<Admission, FormatError> {
    Ok(Admission { token: JoinTokenId(row.token), at: Millis(row.at_ms), terms: terms_from(row.terms)? })
}

pub(super) fn join_token_to(token: &JoinToken) -> pb::JoinTokenRow {
    pb::JoinTokenRow {
        digest: digest_to(token.digest),
        by: token.by.to_string(),
        at_ms: token.at.0,
        expires_at_served_ms: token.expires_at.0,
        uses: token.uses,
        uses_max: token.uses_max,
        terms: Some(terms_to(&token.terms)),
    }
}

pub(super) fn join_token_from(row: pb::JoinTokenRow) -> Result<JoinToken, FormatError> {
    Ok(JoinToken {
        digest: digest_from("digest", &row.digest)?,
        by: Principal(row.by.into()),
        at: Millis(row.at_ms),
        expires_at: Served(row.expires_at_served_ms),
        uses: row.uses,
        uses_max: row.uses_max,
        terms: terms_from(row.terms)?,
    })
}

pub(super) fn scope_to(row: &ScopeRow) -> pb::ScopeRow {
    pb::ScopeRow { withdrawal: Some(withdrawal_to(&row.withdrawal)) }
}

pub(super) fn scope_from(scope: Scope, row: pb::ScopeRow) -> Result<ScopeRow, FormatError> {
    Ok(ScopeRow { scope, withdrawal: Arc::new(withdrawal_from(required("scope.withdrawal", row.withdrawal)?)) })
}

fn withdrawal_to(withdrawal: &Withdrawal) -> pb::Withdrawal {
    pb::Withdrawal {
        by: withdrawal.by.to_string(),
        at_ms: withdrawal.at.0,
        reason: withdrawal.reason.to_string(),
        drain_due_served_ms: withdrawal.drain.map(|drain| drain.due.0),
        drain_ends_served_ms: withdrawal.drain.and_then(|drain| drain.ends).map(|ends| ends.0),
    }
}

fn withdrawal_from(row: pb::Withdrawal) -> Withdrawal {
    Withdrawal {
        by: Principal(row.by.into()),
        at: Millis(row.at_ms),
        reason: row.reason.into(),
        drain: row
            .drain_due_served_ms
            .map(|due| Drain { due: Served(due), ends: row.drain_ends_served_ms.map(Served) }),
    }
}

pub(super) fn job_to(job: &Job) -> pb::JobRow {
    pb::JobRow {
        version: job.version,
        spec_digest: digest_to(job.spec_digest),
        spec: Some(spec_to_wire(&job.spec)),
        latest_run: job.latest_run.0,
        submitted_at_ms: job.submitted_at.0,
        submitted_revision: job.submitted_revision.0,
        deleted: job.deleted,
        latest_ended: job.latest_ended.map_or(v1::RunState::Unspecified, run_state_to_wire).into(),
    }
}

pub(super) fn job_from(
    namespace: Namespace,
    name: JobName,
    row: pb::JobRow,
    specs: &mut SpecCache,
) -> Result<Job, FormatError> {
    let spec_digest = digest_from("spec_digest", &row.spec_digest)?;
    let (spec, _) = specs.share(spec_digest, spec_from(row.spec)?);
    Ok(Job {
        namespace,
        name,
        version: row.version,
        spec_digest,
        spec,
        latest_run: RunId(row.latest_run),
        submitted_at: Millis(row.submitted_at_ms),
        submitted_revision: Revision(row.submitted_revision),
        deleted: row.deleted,
        latest_ended: run_state_from_wire(numbered("job.latest_ended", row.latest_ended)?),
    })
}

pub(super) fn run_to(run: &Run) -> pb::RunRow {
    pb::RunRow {
        spec_digest: digest_to(run.spec_digest),
        job_version: run.job_version,
        principal: run.principal.to_string(),
        state: run_state_to_wire(run.state).into(),
        cancelling: run.cancelling,
        submitted_at_ms: run.submitted_at.0,
        submitted_revision: run.submitted_revision.0,
        submitted_item: run.submitted_item,
        started_at_ms: run.started_at.map(|at| at.0),
        ended_at_ms: run.ended_at.map(|at| at.0),
        deadline_served_ms: run.deadline.map(|deadline| deadline.0),
        timed_out: run.timed_out,
        paused: run.paused.as_deref().map(|pause| pb::Pause {
            by: pause.by.to_string(),
            at_ms: pause.at.0,
            reason: pause.reason.to_string(),
        }),
        priority_set: run.priority_set.map(u32::from),
        args: run.args.to_string(),
        restart_of: run.restart_of.map(|of| of.0),
        abandoned: run.abandoned,
        parent: run.parent.map(task_id_to),
        result: run.result.as_ref().map(|result| Bytes::copy_from_slice(result)),
        flaw: run.flaw.as_deref().map(ToOwned::to_owned),
    }
}

pub(super) fn run_from(id: RunId, row: pb::RunRow, specs: &SpecCache) -> Result<Run, FormatError> {
    let spec_digest = digest_from("spec_digest", &row.spec_digest)?;
    let (spec, graph) = match specs.runs.get(&id) {
        Some((digest, shared)) if *digest == spec_digest => shared.clone(),
        Some(_) | None => return Err(FormatError::NoSpec(id)),
    };
    Ok(Run {
        id,
        spec,
        graph,
        spec_digest,
        job_version: row.job_version,
        args: row.args.into(),
        restart_of: row.restart_of.map(RunId),
        principal: Principal(row.principal.into()),
        state: required("run.state", run_state_from_wire(numbered("run.state", row.state)?))?,
        cancelling: row.cancelling,
        abandoned: row.abandoned,
        paused: row.paused.map(|pause| {
            let by = Principal(pause.by.into());
            Arc::new(Pause { by, at: Millis(pause.at_ms), reason: pause.reason.into() })
        }),
        priority_set: row.priority_set.map(priority_from).transpose()?,
        submitted_at: Millis(row.submitted_at_ms),
        submitted_revision: Revision(row.submitted_revision),
        submitted_item: row.submitted_item,
        started_at: row.started_at_ms.map(Millis),
        ended_at: row.ended_at_ms.map(Millis),
        deadline: row.deadline_served_ms.map(Served),
        timed_out: row.timed_out,
        parent: row.parent.map(|task| task_id_from("run.parent", Some(task))).transpose()?,
        result: row.result.map(|result| result.as_ref().into()),
        flaw: row.flaw.map(Into::into),
    })
}

pub(super) fn annotation_to(annotation: &Annotation) -> pb::AnnotationRow {
    pb::AnnotationRow {
        value: annotation.value.to_string(),
        at_ms: annotation.at.0,
        principal: annotation.principal.to_string(),
    }
}

pub(super) fn annotation_from(run: RunId, key: AnnotationKey, row: pb::AnnotationRow) -> Annotation {
    let (value, principal) = (row.value.into(), Principal(row.principal.into()));
    Annotation { run, key, value, at: Millis(row.at_ms), principal }
}

//! What log entries and rows have in common: ids, names, lease terms, settings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use quorate_state::{
    AttemptId, Choice, Decided, Digest, Feature, GpuHold, GpuModel, JobSpec, JoinTerms, LeaseTerms, NodeAdmission,
    Offer, Outcome, Payloads, Resources, Retention, RunId, Scope, Settings, TaskId, Usage, Uuid,
};

use crate::convert::Found;
use crate::convert::flow::{decided_from_wire, decided_to_wire};
use crate::convert::gpu::gpu_hold_from_wire;
use crate::convert::job::{labels_from_wire, labels_to_wire, resources_from_wire, spec_from_wire};
use crate::convert::namespace::{fairness_from_wire, fairness_to_wire};
use crate::convert::offer::offer_from_wire;
use crate::convert::payload::payloads_from_wire;
use crate::convert::preemption::{preemption_from_wire, preemption_to_wire};
use crate::convert::rebalance::terms_from_wire;
use crate::convert::run::{exit_from_wire, outcome_from_wire, usage_from_wire};
use crate::format::FormatError;
use crate::log::v1 as pb;
use crate::v1;

pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, FormatError> {
    value.ok_or(FormatError::Missing(field))
}

pub(crate) fn parsed<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<T, FormatError> {
    text.parse().map_err(|error: T::Err| FormatError::Field { field, why: error.to_string() })
}

/// The enum of a number. An unspecified one is for the caller to refuse.
pub(crate) fn numbered<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T, FormatError> {
    T::try_from(number).map_err(|_| FormatError::Missing(field))
}

/// The feature of a number.
pub(crate) fn feature_from(number: u32) -> Result<Feature, FormatError> {
    Feature::of(number).ok_or(FormatError::Feature { number })
}

/// The priority of a run. Whether it is one that may be is for `apply` to say.
pub(crate) fn priority_from(number: u32) -> Result<u8, FormatError> {
    u8::try_from(number).map_err(|_| FormatError::Field { field: "priority", why: format!("{number} is above 255") })
}

pub(crate) fn uuid_to(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(&uuid.0.to_be_bytes())
}

pub(crate) fn uuid_from(field: &'static str, bytes: &[u8]) -> Result<Uuid, FormatError> {
    exact(field, bytes).map(|bytes| Uuid(u128::from_be_bytes(bytes)))
}

pub(crate) fn digest_to(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

pub(crate) fn digest_from(field: &'static str, bytes: &[u8]) -> Result<Digest, FormatError> {
    exact(field, bytes).map(Digest)
}

pub(crate) fn scope_to(scope: &Scope) -> pb::Scope {
    let named = match scope {
        Scope::Region(region) => pb::scope::Scope::Region(region.to_string()),
        Scope::Cluster(cluster) => pb::scope::Scope::Cluster(cluster.to_string()),
    };
    pb::Scope { scope: Some(named) }
}

pub(crate) fn scope_from(scope: Option<pb::Scope>) -> Result<Scope, FormatError> {
    Ok(match required("scope", scope.and_then(|scope| scope.scope))? {
        pb::scope::Scope::Region(region) => Scope::Region(parsed("scope.region", &region)?),
        pb::scope::Scope::Cluster(cluster) => Scope::Cluster(parsed("scope.cluster", &cluster)?),
    })
}

pub(crate) fn task_id_to(task: TaskId) -> pb::TaskId {
    pb::TaskId { run: task.run.0, step: task.step, index: task.index }
}

pub(crate) fn task_id_from(field: &'static str, task: Option<pb::TaskId>) -> Result<TaskId, FormatError> {
    required(field, task).map(|task| TaskId { run: RunId(task.run), step: task.step, index: task.index })
}

pub(crate) fn attempt_id_to(attempt: AttemptId) -> pb::AttemptId {
    pb::AttemptId {
        run: attempt.task.run.0,
        step: attempt.task.step,
        index: attempt.task.index,
        number: attempt.number,
    }
}

pub(crate) fn attempt_id_from(field: &'static str, attempt: Option<pb::AttemptId>) -> Result<AttemptId, FormatError> {
    let attempt = required(field, attempt)?;
    let task = TaskId { run: RunId(attempt.run), step: attempt.step, index: attempt.index };
    Ok(AttemptId { task, number: attempt.number })
}

pub(crate) fn spec_from(spec: Option<v1::JobSpec>) -> Result<JobSpec, FormatError> {
    spec_from_wire(required("spec", spec)?).map_err(FormatError::Spec)
}

/// What is held of GPUs.
pub(crate) fn gpus_from(field: &'static str, hold: Option<v1::GpuHold>) -> Result<GpuHold, FormatError> {
    gpu_hold_from_wire(hold).ok_or_else(|| FormatError::Field { field, why: "it is not a hold of GPUs".into() })
}

/// Which of the alternatives of a task.
pub(crate) fn choice_from(field: &'static str, number: u32) -> Result<Choice, FormatError> {
    Choice::of(number).ok_or_else(|| FormatError::Field { field, why: format!("no task has an alternative {number}") })
}

/// The models of a node's GPUs.
pub(crate) fn gpu_models_from(models: &[String]) -> Result<Vec<GpuModel>, FormatError> {
    models.iter().map(|model| parsed("gpus", model)).collect()
}

pub(crate) fn resources_from(field: &'static str, resources: Option<v1::Resources>) -> Result<Resources, FormatError> {
    required(field, resources).map(resources_from_wire)
}

pub(crate) fn usage_from(usage: Option<v1::UsageSummary>) -> Result<Usage, FormatError> {
    required("usage", usage).map(usage_from_wire)
}

pub(crate) fn exit_from(exit: Option<v1::Exit>) -> Result<Option<quorate_state::Exit>, FormatError> {
    exit.map(|exit| required("exit", exit_from_wire(exit))).transpose()
}

pub(crate) fn outcome_from(outcome: Option<v1::Outcome>) -> Result<Option<Arc<Outcome>>, FormatError> {
    let wrong = |why| FormatError::Field { field: "outcome", why };
    outcome.map(|outcome| outcome_from_wire(outcome).map(Arc::new).map_err(wrong)).transpose()
}

pub(crate) fn payloads_from(references: Vec<v1::PayloadRef>) -> Result<Option<Arc<Payloads>>, FormatError> {
    payloads_from_wire(references).map(Payloads::kept).map_err(|why| FormatError::Field { field: "outputs", why })
}

pub(crate) fn decided_to(decided: &Decided) -> pb::Decided {
    let (decision, message) = decided_to_wire(decided);
    pb::Decided { decision: decision.into(), message }
}

pub(crate) fn decided_from(field: &'static str, decided: pb::Decided) -> Result<Decided, FormatError> {
    required(field, decided_from_wire(numbered(field, decided.decision)?, decided.message))
}

pub(crate) fn labels_from(labels: Vec<v1::Label>) -> Result<BTreeMap<String, String>, FormatError> {
    let mut found = Found::default();
    let labels = labels_from_wire("labels", labels, &mut found);
    found.finish(Some(labels)).map_err(|_| FormatError::Field { field: "labels", why: "a key is given twice".into() })
}

pub(crate) fn offer_from(offer: Option<v1::Offer>) -> Result<Arc<Offer>, FormatError> {
    let mut found = Found::default();
    let offer = offer_from_wire(offer, &mut found);
    let wrong = |_| FormatError::Field { field: "offer", why: "it is not what a node says of itself".into() };
    found.finish(offer).map(|offer| Offer::shared(&Arc::new(offer))).map_err(wrong)
}

pub(crate) fn lease_to(lease: LeaseTerms) -> pb::LeaseTerms {
    pb::LeaseTerms {
        server_ms: lease.server_ms,
        agent_ms: lease.agent_ms,
        kill_ms: lease.kill_ms,
        margin_ms: lease.margin_ms,
        rho_ppm: lease.rho_ppm,
    }
}

pub(crate) fn lease_from(lease: Option<pb::LeaseTerms>) -> Result<LeaseTerms, FormatError> {
    required("lease", lease).map(|lease| LeaseTerms {
        server_ms: lease.server_ms,
        agent_ms: lease.agent_ms,
        kill_ms: lease.kill_ms,
        margin_ms: lease.margin_ms,
        rho_ppm: lease.rho_ppm,
    })
}

pub(crate) fn settings_to(settings: &Settings) -> pb::Settings {
    pb::Settings {
        lease: Some(lease_to(settings.lease)),
        request_window_ms: settings.request_window_ms,
        requests_max: settings.requests_max,
        request_expiries_max: settings.request_expiries_max,
        event_revisions_max: settings.event_revisions_max,
        steps_max: settings.steps_max,
        tasks_per_run_max: settings.tasks_per_run_max,
        argv_bytes_max: settings.argv_bytes_max,
        runs_unfinished_max: settings.runs_unfinished_max,
        node_losses_max: settings.node_losses_max,
        unknown_ms_max: settings.unknown_ms_max,
        annotations_per_run_max: settings.annotations_per_run_max,
        annotation_value_bytes_max: settings.annotation_value_bytes_max,
        node_admission: admission_to(settings.node_admission).into(),
        result_bytes_max: settings.result_bytes_max,
        suspect_nodes_max: settings.suspect_nodes_max,
        retention: settings.retention.map(retention_to),
        fairness: settings.fairness.map(fairness_to_wire),
        preemption: settings.preemption.map(preemption_to_wire),
    }
}

pub(crate) fn settings_from(settings: pb::Settings) -> Result<Settings, FormatError> {
    Ok(Settings {
        lease: lease_from(settings.lease)?,
        request_window_ms: settings.request_window_ms,
        requests_max: settings.requests_max,
        request_expiries_max: settings.request_expiries_max,
        event_revisions_max: settings.event_revisions_max,
        steps_max: settings.steps_max,
        tasks_per_run_max: settings.tasks_per_run_max,
        argv_bytes_max: settings.argv_bytes_max,
        runs_unfinished_max: settings.runs_unfinished_max,
        node_losses_max: settings.node_losses_max,
        unknown_ms_max: settings.unknown_ms_max,
        annotations_per_run_max: settings.annotations_per_run_max,
        annotation_value_bytes_max: settings.annotation_value_bytes_max,
        node_admission: admission_from(settings.node_admission)?,
        result_bytes_max: settings.result_bytes_max,
        suspect_nodes_max: settings.suspect_nodes_max,
        retention: settings.retention.map(retention_from),
        fairness: settings.fairness.map(fairness_from_wire),
        preemption: settings.preemption.map(preemption_from).transpose()?,
    })
}

/// Who may be preempted by whom.
pub(crate) fn rebalance_terms_from(
    terms: Option<v1::RebalanceTerms>,
) -> Result<quorate_state::RebalanceTerms, FormatError> {
    let wrong =
        || FormatError::Field { field: "terms", why: "say no goal, or do not say how far a move may go".into() };
    terms_from_wire(required("terms", terms)?).ok_or_else(wrong)
}

pub(crate) fn preemption_from(preemption: v1::Preemption) -> Result<quorate_state::Preemption, FormatError> {
    let wrong = || FormatError::Field { field: "preemption.gap", why: "is above 255".into() };
    preemption_from_wire(preemption).ok_or_else(wrong)
}

pub(crate) fn retention_to(retention: Retention) -> pb::Retention {
    pb::Retention {
        memory_runs_max: retention.memory_runs_max,
        memory_rows_max: retention.memory_rows_max,
        archive_runs_max: retention.archive_runs_max,
        archive_ms_max: retention.archive_ms_max,
        history_revisions_max: retention.history_revisions_max,
        segment_runs_max: retention.segment_runs_max,
    }
}

pub(crate) fn retention_from(retention: pb::Retention) -> Retention {
    Retention {
        memory_runs_max: retention.memory_runs_max,
        memory_rows_max: retention.memory_rows_max,
        archive_runs_max: retention.archive_runs_max,
        archive_ms_max: retention.archive_ms_max,
        history_revisions_max: retention.history_revisions_max,
        segment_runs_max: retention.segment_runs_max,
    }
}

pub(crate) fn admission_to(admission: NodeAdmission) -> pb::NodeAdmission {
    match admission {
        NodeAdmission::Open => pb::NodeAdmission::Open,
        NodeAdmission::Token => pb::NodeAdmission::Token,
    }
}

pub(crate) fn admission_from(number: i32) -> Result<NodeAdmission, FormatError> {
    Ok(match numbered("node_admission", number)? {
        pb::NodeAdmission::Open => NodeAdmission::Open,
        pb::NodeAdmission::Token => NodeAdmission::Token,
    })
}

pub(crate) fn terms_to(terms: &JoinTerms) -> pb::JoinTerms {
    pb::JoinTerms {
        region: terms.region.as_ref().map(ToString::to_string),
        cluster: terms.cluster.as_ref().map(ToString::to_string),
        labels: labels_to_wire(&terms.labels),
    }
}

pub(crate) fn terms_from(terms: Option<pb::JoinTerms>) -> Result<Arc<JoinTerms>, FormatError> {
    let pb::JoinTerms { region, cluster, labels } = required("terms", terms)?;
    let region = region.map(|region| parsed("terms.region", &region)).transpose()?;
    let cluster = cluster.map(|cluster| parsed("terms.cluster", &cluster)).transpose()?;
    Ok(Arc::new(JoinTerms { region, cluster, labels: labels_from(labels)? }))
}

fn exact<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], FormatError> {
    bytes
        .try_into()
        .map_err(|_| FormatError::Field { field, why: format!("it has {} bytes, {N} are right", bytes.len()) })
}

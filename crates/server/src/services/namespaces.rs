//! The methods of the service Cluster about namespaces, and the part of the cluster that each has.

use std::collections::BTreeMap;

use prost::Message as _;
use quorate_proto::convert::job::resources_to_wire;
use quorate_proto::convert::namespace::{fairness_to_wire, share_change_from_wire, share_to_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::ProposeError;
use quorate_state::{
    Command, Fairness, Feature, Line, Namespace, NamespaceRow, Reply, Resources, State, WEIGHT_FIRST, dominant,
};
use tonic::Request;

use super::{name, request_key};
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, propose_error};
use crate::reading::Reading;

/// Parts of the cluster that are told.
const MILLION: u128 = 1_000_000;

pub(super) async fn create(
    core: &Core,
    request: Request<v1::CreateNamespaceRequest>,
) -> Result<v1::CreateNamespaceResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::CreateNamespaceRequest { namespace, request_id } = request.into_inner();
    let namespace: Namespace = name("namespace", &namespace)?;
    authorize(&principal, Action::CreateNamespace(&namespace))?;
    core.admit_new_work()?;
    let key = request_key("CreateNamespace", &request_id, None, namespace.as_str().as_bytes())?;
    match core.propose(principal, key, Command::CreateNamespace { namespace }).await? {
        Reply::Done => Ok(v1::CreateNamespaceResponse { revision: core.replica.view().revision().0 }),
        other => Err(core.internal(&format!("a new namespace was answered with {other:?}"))),
    }
}

pub(super) async fn set(
    core: &Core,
    request: Request<v1::SetNamespaceRequest>,
) -> Result<v1::SetNamespaceResponse, ApiError> {
    let principal = principal(&request)?;
    let mut asked = request.into_inner();
    let namespace: Namespace = name("namespace", &asked.namespace)?;
    let is_new = asked.create;
    if is_new {
        authorize(&principal, Action::CreateNamespace(&namespace))?;
        core.admit_new_work()?;
    }
    authorize(&principal, Action::SetNamespace(&namespace))?;
    let request_id = std::mem::take(&mut asked.request_id);
    let key = request_key("SetNamespace", &request_id, None, &asked.encode_to_vec())?;
    let change = share_change_from_wire(asked.share.unwrap_or_default()).map(Box::new).map_err(ApiError::Invalid)?;
    tracing::info!(%principal, %namespace, ?change, "the part of the cluster that a namespace has");
    let command = Command::SetNamespace { namespace: namespace.clone(), is_new, change };
    match core.propose(principal, key, command).await? {
        Reply::Done => {
            let view = core.replica.view();
            let summary = view.namespace(&namespace).map(|row| Tenants::of(&view).summary(row));
            Ok(v1::SetNamespaceResponse { namespace: summary, revision: view.revision().0 })
        }
        other => Err(core.internal(&format!("a change of a namespace was answered with {other:?}"))),
    }
}

pub(super) async fn list(
    reading: &Reading<'_>,
    request: Request<v1::ListNamespacesRequest>,
) -> Result<v1::ListNamespacesResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    let tenants = Tenants::of(&view);
    let namespaces = view.namespaces().map(|row| tenants.summary(row)).collect();
    let fairness = view.fairness().map(fairness_to_wire);
    Ok(v1::ListNamespacesResponse { namespaces, revision: view.revision().0, fairness })
}

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetNamespaceRequest>,
) -> Result<v1::GetNamespaceResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let namespace: Namespace = name("namespace", &request.into_inner().namespace)?;
    let view = reading.view().await?;
    let missing = || ApiError::NotFound { kind: "namespace".into(), name: namespace.to_string() };
    let row = view.namespace(&namespace).ok_or_else(missing)?;
    let tenants = Tenants::of(&view);
    Ok(v1::GetNamespaceResponse {
        namespace: Some(tenants.summary(row)),
        below: view.namespaces_below(&namespace).map(|row| tenants.summary(row)).collect(),
        fairness: view.fairness().map(fairness_to_wire),
        revision: view.revision().0,
    })
}

pub(super) async fn set_fairness(
    core: &Core,
    request: Request<v1::SetFairnessRequest>,
) -> Result<v1::SetFairnessResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::SetFairness)?;
    let mut asked = request.into_inner();
    let request_id = std::mem::take(&mut asked.request_id);
    let body = asked.encode_to_vec();
    let now = core.read().await?.fairness().ok_or_else(|| not_enabled(core))?;
    let fairness = Fairness {
        half_life_ms: asked.half_life_ms.unwrap_or(now.half_life_ms),
        overdue_ms: asked.overdue_ms.unwrap_or(now.overdue_ms),
    };
    let key = request_key("SetFairness", &request_id, None, &body)?;
    tracing::info!(%principal, ?fairness, "how namespaces are kept even");
    match core.propose(principal, key, Command::SetFairness { fairness }).await? {
        Reply::Done => {
            let view = core.replica.view();
            Ok(v1::SetFairnessResponse { fairness: view.fairness().map(fairness_to_wire), revision: view.revision().0 })
        }
        other => Err(core.internal(&format!("a change of fairness was answered with {other:?}"))),
    }
}

fn not_enabled(core: &Core) -> ApiError {
    let feature = Feature::FairShare;
    let status = core.replica.features().into_iter().find(|status| status.feature == feature);
    let waits_for = status.map(|status| status.waits_for).unwrap_or_default();
    propose_error(ProposeError::FeatureNotEnabled { feature, waits_for })
}

/// Who takes part, and with how much.
struct Tenants<'a> {
    view: &'a State,
    capacity: Resources,
    /// Tasks in the queue, by namespace: its own, and with all below it.
    waiting: BTreeMap<&'a Namespace, (u64, u64)>,
    /// Of all that take part below a namespace, or below none.
    weights: BTreeMap<Option<&'a Namespace>, u64>,
}

impl<'a> Tenants<'a> {
    fn of(view: &'a State) -> Self {
        let mut waiting: BTreeMap<&'a Namespace, (u64, u64)> = BTreeMap::new();
        for line in view.lines() {
            let (namespace, tasks) = (line.namespace(), Line::len(line) as u64);
            waiting.entry(namespace).or_default().0 += tasks;
            view.lineage(namespace).for_each(|row| waiting.entry(&row.name).or_default().1 += tasks);
        }
        let mut tenants = Self { view, capacity: view.capacity(), waiting, weights: BTreeMap::new() };
        for row in view.namespaces() {
            if tenants.is_active(row) {
                *tenants.weights.entry(row.share.parent.as_ref()).or_default() += u64::from(row.share.weight);
            }
            // What a namespace runs itself stands beside those below it.
            if tenants.waiting(row).0 > 0 || view.held_by(&row.name) != Resources::ZERO {
                *tenants.weights.entry(Some(&row.name)).or_default() += u64::from(WEIGHT_FIRST);
            }
        }
        tenants
    }

    fn summary(&self, row: &NamespaceRow) -> v1::NamespaceSummary {
        let used = self.view.held_below(&row.name);
        let millionths = |held| u64::try_from(dominant(held, self.capacity, MILLION)).unwrap_or(u64::MAX);
        v1::NamespaceSummary {
            name: row.name.to_string(),
            created_at_ms: row.created_at.0,
            share: Some(share_to_wire(&row.share)),
            used: Some(resources_to_wire(used)),
            used_alone: Some(resources_to_wire(self.view.held_by(&row.name))),
            waiting: self.waiting(row).1,
            used_ppm: millionths(used),
            past_ppm: millionths(self.view.past_below(&row.name)),
            fair_ppm: self.fair(row),
        }
    }

    fn waiting(&self, row: &NamespaceRow) -> (u64, u64) {
        self.waiting.get(&row.name).copied().unwrap_or_default()
    }

    fn is_active(&self, row: &NamespaceRow) -> bool {
        self.waiting(row).1 > 0 || self.view.held_below(&row.name) != Resources::ZERO
    }

    /// What its weight comes to beside those of its siblings that take part, in millionths of the cluster.
    fn fair(&self, row: &NamespaceRow) -> u64 {
        if !self.is_active(row) {
            return 0;
        }
        let parent = row.share.parent.as_ref().and_then(|parent| self.view.namespace(parent));
        let whole = parent.map_or(1_000_000, |parent| self.fair(parent));
        let all = self.weights.get(&row.share.parent.as_ref()).copied().unwrap_or(0);
        whole.saturating_mul(row.share.weight.into()).checked_div(all).unwrap_or(0)
    }
}

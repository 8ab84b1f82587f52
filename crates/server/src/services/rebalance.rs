//! The methods of the service Cluster that move work to better places, and say what would be moved.

use prost::Message as _;
use quorate_proto::convert::rebalance::{end_to_wire, terms_from_wire, terms_to_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_scheduler::Budget;
use quorate_scheduler::rebalance::{Limits, Proposal, propose};
use quorate_state::{
    AttemptId, Command, Feature, NodeName, Rebalance, RebalanceOrder, RebalanceTerms, Reply, Served, State, TaskId,
};
use tokio::sync::Semaphore;
use tonic::Request;

use super::{enabled, request_key, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;
use crate::reading::Reading;

/// Plans that are made at once in a process: each takes a part of a second of a processor at most.
static AT_ONCE: Semaphore = Semaphore::const_new(1);

/// Moves in one answer.
const PLANNED_MAX: usize = 10_000;

/// Looks of one plan at nodes and attempts: ten times what the leader looks at in one step.
const LOOKS_MAX: u32 = 10 * Budget::STEPS_DEFAULT;

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetRebalanceRequest>,
) -> Result<v1::GetRebalanceResponse, ApiError> {
    let principal = principal(&request)?;
    // It speaks of runs in all namespaces.
    authorize(&principal, Action::Inspect)?;
    authorize(&principal, Action::Read(None))?;
    let view = reading.view().await?;
    enabled(&view, reading.core(), Feature::Rebalance)?;
    let served = reading.log_now(&view).map_or(view.meta().served, |now| now.served);
    let under_way = view.moves().filter_map(|row| {
        let attempt = AttemptId { task: row.task, number: row.attempt };
        moved_to_wire(&view, attempt, (&row.from, &row.to), (0, 0))
    });
    Ok(v1::GetRebalanceResponse {
        rebalance: view.rebalance().map(|rebalance| to_wire(rebalance, served)),
        under_way: under_way.collect(),
        revision: view.revision().0,
    })
}

pub(super) async fn plan(
    reading: &Reading<'_>,
    request: Request<v1::PlanRebalanceRequest>,
) -> Result<v1::PlanRebalanceResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::Inspect)?;
    authorize(&principal, Action::Read(None))?;
    let terms = terms(request.into_inner().terms)?;
    let _turn = AT_ONCE.acquire().await.map_err(|_| reading.core().internal("nobody makes plans any more"))?;
    let view = reading.view_of_leader().await?;
    enabled(&view, reading.core(), Feature::Rebalance)?;
    let now = reading.log_now(&view)?;
    let observed = reading.core().liveness.observe(&view, now.served);
    let moves = PLANNED_MAX.min(terms.moves_max as usize);
    let limits = Limits { rebalance: None, moves, keeps_share: false };
    // The seed chooses where a look begins that cannot see all, which is as good as any other place.
    let found = propose(&view, &observed, now.served, &terms, limits, 0, Budget { steps: LOOKS_MAX });
    let Proposal { moves, fullness, distance, spared, spared_until: _, truncated } = found;
    let [(fullest_before, emptiest_before), (fullest_after, emptiest_after)] = fullness;
    let [distance_before, distance_after] = distance;
    let moves = moves.iter().filter_map(|proposed| {
        let gain = (proposed.gain.before, proposed.gain.after);
        moved_to_wire(&view, proposed.moving.attempt, (&proposed.from, &proposed.moving.to), gain)
    });
    let spared = spared.into_iter().map(|(why, attempts)| v1::RebalanceSpared { why: why.to_owned(), attempts });
    Ok(v1::PlanRebalanceResponse {
        moves: moves.collect(),
        fullest_before,
        emptiest_before,
        fullest_after,
        emptiest_after,
        distance_before,
        distance_after,
        spared: spared.collect(),
        is_whole: !truncated,
        revision: view.revision().0,
    })
}

pub(super) async fn start(
    core: &Core,
    request: Request<v1::StartRebalanceRequest>,
) -> Result<v1::StartRebalanceResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::Rebalance)?;
    let v1::StartRebalanceRequest { terms: asked, request_id } = request.into_inner();
    let body = asked.as_ref().map(v1::RebalanceTerms::encode_to_vec).unwrap_or_default();
    let terms = terms(asked)?;
    enabled(&*core.read().await?, core, Feature::Rebalance)?;
    let key = request_key("StartRebalance", &request_id, None, &body)?;
    tracing::info!(%principal, ?terms, "work is moved to better places");
    let (rebalance, revision) = order(core, principal, key, RebalanceOrder::Start(terms)).await?;
    Ok(v1::StartRebalanceResponse { rebalance, revision })
}

pub(super) async fn stop(
    core: &Core,
    request: Request<v1::StopRebalanceRequest>,
) -> Result<v1::StopRebalanceResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::Rebalance)?;
    enabled(&*core.read().await?, core, Feature::Rebalance)?;
    let key = request_key("StopRebalance", &request.into_inner().request_id, None, &[])?;
    let (rebalance, revision) = order(core, principal, key, RebalanceOrder::Stop).await?;
    Ok(v1::StopRebalanceResponse { rebalance, revision })
}

async fn order(
    core: &Core,
    principal: quorate_state::Principal,
    key: Option<quorate_state::RequestKey>,
    order: RebalanceOrder,
) -> Result<(Option<v1::Rebalance>, u64), ApiError> {
    match core.propose(principal, key, Command::SetRebalance { order }).await? {
        Reply::Done => {
            let view = core.replica.view();
            let served = view.meta().served;
            Ok((view.rebalance().map(|rebalance| to_wire(rebalance, served)), view.revision().0))
        }
        other => Err(core.internal(&format!("an order to rebalance was answered with {other:?}"))),
    }
}

fn terms(terms: Option<v1::RebalanceTerms>) -> Result<RebalanceTerms, ApiError> {
    let terms = terms.ok_or_else(|| violation("terms", "are missing".to_owned()))?;
    terms_from_wire(terms)
        .ok_or_else(|| violation("terms", "say no goal, or do not say how far a move may go".to_owned()))
}

fn to_wire(rebalance: &Rebalance, served: Served) -> v1::Rebalance {
    let left = rebalance.ends.0.saturating_sub(served.0);
    v1::Rebalance {
        number: rebalance.number,
        terms: Some(terms_to_wire(rebalance.terms)),
        by: rebalance.by.to_string(),
        at_ms: rebalance.at.0,
        remaining_ms: if rebalance.ended.is_some() { 0 } else { left },
        begun: rebalance.begun,
        arrived: rebalance.arrived,
        missed: rebalance.missed,
        ended: rebalance.ended.map_or(v1::RebalanceEnd::Unspecified, |(why, _)| end_to_wire(why)).into(),
        ended_at_ms: rebalance.ended.map(|(_, at)| at.0),
        why: rebalance.ended.map(|(why, _)| why.to_string()).unwrap_or_default(),
    }
}

/// A move as it is shown; none of a run that is known no more.
fn moved_to_wire(
    view: &State,
    attempt: AttemptId,
    (from, to): (&NodeName, &NodeName),
    (before, after): (u64, u64),
) -> Option<v1::RebalanceMove> {
    let AttemptId { task: TaskId { run, step, index }, number } = attempt;
    let run = view.run(run)?;
    let region = |node: &NodeName| view.node(node).map(|node| node.region.to_string()).unwrap_or_default();
    Some(v1::RebalanceMove {
        run_id: run.id.to_string(),
        namespace: run.spec.namespace.to_string(),
        job: run.spec.name.to_string(),
        task: run.spec.tasks.get(step as usize)?.name.to_string(),
        index,
        attempt: number,
        from_node: from.to_string(),
        from_region: region(from),
        to_node: to.to_string(),
        to_region: region(to),
        before,
        after,
    })
}

//! The methods of the service Cluster about reservations.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{
    Command, Feature, Line, NodeName, NodeStatus, Reply, Reservation, ReservationName, Served, State, TaskId,
};
use tonic::Request;

use super::{enabled, name, request_key, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;
use crate::reading::Reading;

pub(super) async fn create(
    core: &Core,
    request: Request<v1::CreateReservationRequest>,
) -> Result<v1::CreateReservationResponse, ApiError> {
    let asked = request.get_ref();
    let body = v1::CreateReservationRequest { request_id: String::new(), ..asked.clone() }.encode_to_vec();
    let mut nodes = BTreeSet::new();
    for node in &asked.nodes {
        if !nodes.insert(name("nodes", node)?) {
            return Err(violation("nodes", format!("{node} is named twice")));
        }
    }
    let command = Command::Reserve {
        reservation: name("name", &asked.name)?,
        namespace: name("namespace", &asked.namespace)?,
        nodes,
        wait_ms: asked.wait_ms,
        for_ms: asked.for_ms,
    };
    let revision = propose(core, &request, ("CreateReservation", &asked.request_id, &body), command).await?;
    Ok(v1::CreateReservationResponse { revision })
}

pub(super) async fn end(
    core: &Core,
    request: Request<v1::EndReservationRequest>,
) -> Result<v1::EndReservationResponse, ApiError> {
    let v1::EndReservationRequest { request_id, name: asked } = request.get_ref();
    let command = Command::EndReservation { reservation: name("name", asked)? };
    let revision = propose(core, &request, ("EndReservation", request_id, asked.as_bytes()), command).await?;
    Ok(v1::EndReservationResponse { revision })
}

pub(super) async fn list(
    reading: &Reading<'_>,
    request: Request<v1::ListReservationsRequest>,
) -> Result<v1::ListReservationsResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    enabled(&view, reading.core(), Feature::Reservations)?;
    let served = reading.log_now(&view).map_or(view.meta().served, |now| now.served);
    let bare = |row: &Arc<Reservation>| {
        let nodes = row.nodes.iter().map(|node| v1::ReservedNode { name: node.to_string(), ..Default::default() });
        to_wire(row, served, nodes.collect(), 0)
    };
    Ok(v1::ListReservationsResponse {
        reservations: view.reservations().map(bare).collect(),
        revision: view.revision().0,
    })
}

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetReservationRequest>,
) -> Result<v1::GetReservationResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let asked: ReservationName = name("name", &request.get_ref().name)?;
    let view = reading.view().await?;
    enabled(&view, reading.core(), Feature::Reservations)?;
    let served = reading.log_now(&view).map_or(view.meta().served, |now| now.served);
    let row = view.reservation(&asked);
    let row = row.ok_or_else(|| ApiError::NotFound { kind: "reservation".into(), name: asked.to_string() })?;
    let nodes = row.nodes.iter().map(|node| reserved_node(&view, &asked, node)).collect();
    let reservation = Some(to_wire(row, served, nodes, waiting(&view, &asked)));
    Ok(v1::GetReservationResponse { reservation, revision: view.revision().0 })
}

fn to_wire(row: &Reservation, served: Served, nodes: Vec<v1::ReservedNode>, waiting: u64) -> v1::Reservation {
    v1::Reservation {
        name: row.name.to_string(),
        namespace: row.namespace.to_string(),
        nodes,
        open: row.is_open,
        begins_in_ms: if row.is_open { 0 } else { row.from.0.saturating_sub(served.0) },
        ends_in_ms: row.until.0.saturating_sub(served.0),
        by: row.by.to_string(),
        at_ms: row.at.0,
        waiting,
    }
}

fn reserved_node(view: &State, reservation: &ReservationName, node: &NodeName) -> v1::ReservedNode {
    let is_its = |task: TaskId| asked_by(view, task) == Some(reservation);
    let (own, other): (Vec<TaskId>, Vec<TaskId>) =
        view.attempts_on(node).map(|attempt| attempt.id.task).partition(|task| is_its(*task));
    let count = |tasks: &[TaskId]| u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    v1::ReservedNode {
        name: node.to_string(),
        takes_work: view.node(node).map(|node| node.status == NodeStatus::Up && !node.is_out()),
        own_attempts: count(&own),
        other_attempts: count(&other),
    }
}

/// How many tasks in the queue ask for it. Those of a line ask for the same.
fn waiting(view: &State, reservation: &ReservationName) -> u64 {
    let asks = |line: &Line<'_>| {
        let first = line.places().next();
        first.is_some_and(|place| asked_by(view, place.task) == Some(reservation))
    };
    view.lines().filter(asks).map(|line| line.len() as u64).sum()
}

/// The reservation that a task asks for.
fn asked_by(view: &State, task: TaskId) -> Option<&ReservationName> {
    view.run(task.run)?.spec.tasks.get(task.step as usize)?.place.reservation.as_ref()
}

/// Proposes it for whoever asks; the revision since which it holds.
async fn propose<T>(
    core: &Core,
    request: &Request<T>,
    (method, request_id, body): (&'static str, &str, &[u8]),
    command: Command,
) -> Result<u64, ApiError> {
    let principal = principal(request)?;
    authorize(&principal, Action::Reserve)?;
    enabled(&*core.read().await?, core, Feature::Reservations)?;
    let key = request_key(method, request_id, None, body)?;
    match core.propose(principal, key, command).await? {
        Reply::Done => Ok(core.replica.view().revision().0),
        other => Err(core.internal(&format!("{method} was answered with {other:?}"))),
    }
}

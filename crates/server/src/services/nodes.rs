//! The methods of the service Cluster about nodes: what is on them, and who takes them out of service.

use std::collections::BTreeMap;

use quorate_proto::convert::node::{node_attempt_to_wire, node_to_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_scheduler::drain::holds;
use quorate_state::{Command, Node, NodeName, Reply, Revision, Served, State};
use tonic::Request;

use super::page::{Cursor, Pages};
use super::{name, refs, request_key};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;
use crate::reading::Reading;
use crate::usages::sum;

/// Attempts in one answer about a node.
const NODE_ATTEMPTS_MAX: usize = 1_000;

pub(super) async fn list(
    reading: &Reading<'_>,
    request: Request<v1::ListNodesRequest>,
) -> Result<v1::ListNodesResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let request = request.into_inner();
    // The leader hears the nodes.
    let view = reading.view_of_leader().await?;
    let pages = Pages::open(&view, "nodes", &[], request.page_size, &request.page_token)?;
    let after = pages.after.as_ref().map(|cursor| cursor.part::<NodeName>(0)).transpose()?;
    let rest = view.nodes().filter(|node| after.as_ref().is_none_or(|after| node.name > *after));
    let (page, next_page_token) = pages.take(rest, |node| Cursor::from([node.name.to_string()]));
    let now = reading.log_now(&view)?;
    let nodes = page.into_iter().map(|node| to_wire(reading.core(), &view, node, now.served));
    Ok(v1::ListNodesResponse { nodes: nodes.collect(), next_page_token, revision: view.revision().0 })
}

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetNodeRequest>,
) -> Result<v1::GetNodeResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let node: NodeName = name("node", &request.into_inner().node)?;
    let view = reading.view_of_leader().await?;
    let node = view.node(&node).ok_or_else(|| refs::absent("node", node.as_str()))?;
    let now = reading.log_now(&view)?;
    let core = reading.core();
    let observed = core.observe(&view, now.served);
    let usages = core.sessions.usages.of_node(&view, &node.name, core.seams.clock.boot());
    let mut holds: BTreeMap<_, _> = holds(&view, &observed, now, node).into_iter().collect();
    let attempts = view.attempts_on(&node.name).take(NODE_ATTEMPTS_MAX).filter_map(|attempt| {
        let hold = holds.remove(&attempt.id).flatten();
        Some(v1::NodeAttempt {
            hold: hold.map(|hold| hold.as_str().to_owned()).unwrap_or_default(),
            hold_text: hold.map(|hold| hold.to_string()).unwrap_or_default(),
            usage: usages.get(&attempt.id).copied(),
            ..node_attempt_to_wire(attempt, view.run(attempt.id.task.run)?)?
        })
    });
    Ok(v1::GetNodeResponse {
        attempts: attempts.collect(),
        node: Some(to_wire(core, &view, node, now.served)),
        lease_ms: node.lease.server_ms,
        forget_in_ms: view.ended_on(node).map(|ended| ended.0.saturating_sub(now.served.0)),
        revision: view.revision().0,
        usage: sum(usages.values()),
    })
}

pub(super) async fn cordon(
    core: &Core,
    request: Request<v1::CordonNodeRequest>,
) -> Result<v1::CordonNodeResponse, ApiError> {
    let v1::CordonNodeRequest { node, cordoned, request_id } = request.get_ref();
    let body = [&[u8::from(*cordoned)], node.as_bytes()].concat();
    let change = Change { method: "CordonNode", node, request_id, body: &body };
    let command = |node| Command::CordonNode { node, cordoned: *cordoned };
    let revision = change.propose(core, &request, command).await?.0;
    Ok(v1::CordonNodeResponse { revision })
}

pub(super) async fn drain(
    core: &Core,
    request: Request<v1::DrainNodeRequest>,
) -> Result<v1::DrainNodeResponse, ApiError> {
    let v1::DrainNodeRequest { node, wait_ms, reason, request_id } = request.get_ref();
    let body = [&wait_ms.to_be_bytes()[..], node.as_bytes(), &[0], reason.as_bytes()].concat();
    let change = Change { method: "DrainNode", node, request_id, body: &body };
    let command = |node| Command::DrainNode { node, wait_ms: *wait_ms, reason: reason.as_str().into() };
    let revision = change.propose(core, &request, command).await?.0;
    Ok(v1::DrainNodeResponse { revision })
}

pub(super) async fn maintain(
    core: &Core,
    request: Request<v1::MaintainNodeRequest>,
) -> Result<v1::MaintainNodeResponse, ApiError> {
    let v1::MaintainNodeRequest { node, wait_ms, for_ms, reason, request_id } = request.get_ref();
    let times = [wait_ms.to_be_bytes(), for_ms.to_be_bytes()].concat();
    let body = [&times[..], node.as_bytes(), &[0], reason.as_bytes()].concat();
    let change = Change { method: "MaintainNode", node, request_id, body: &body };
    let (wait_ms, for_ms, reason) = (*wait_ms, *for_ms, reason.as_str().into());
    let command = |node| Command::MaintainNode { node, wait_ms, for_ms, reason };
    let revision = change.propose(core, &request, command).await?.0;
    Ok(v1::MaintainNodeResponse { revision })
}

pub(super) async fn forget(
    core: &Core,
    request: Request<v1::ForgetNodeRequest>,
) -> Result<v1::ForgetNodeResponse, ApiError> {
    let v1::ForgetNodeRequest { node, request_id } = request.get_ref();
    let change = Change { method: "ForgetNode", node, request_id, body: node.as_bytes() };
    let revision = change.propose(core, &request, |node| Command::ForgetNode { node }).await?.0;
    Ok(v1::ForgetNodeResponse { revision })
}

/// How many attempts are on a node.
pub(super) fn attempts_on(view: &State, node: &Node) -> u32 {
    u32::try_from(view.attempts_count_on(&node.name)).unwrap_or(u32::MAX)
}

/// `served` is the log's time now: on a quiet cluster the view's is old.
fn to_wire(core: &Core, view: &State, node: &Node, served: Served) -> v1::Node {
    let heard = core.liveness.heard_ms_ago(node);
    let gpus = view.gpus_used_on(&node.name);
    node_to_wire(node, view.used_on(&node.name), gpus, attempts_on(view, node), heard, served)
}

/// What an operator asks about a node.
struct Change<'a> {
    method: &'static str,
    node: &'a str,
    request_id: &'a str,
    body: &'a [u8],
}

impl Change<'_> {
    /// Proposes it for whoever asks; the revision since which it holds.
    async fn propose<T>(
        self,
        core: &Core,
        request: &Request<T>,
        command: impl FnOnce(NodeName) -> Command,
    ) -> Result<Revision, ApiError> {
        let principal = principal(request)?;
        authorize(&principal, Action::CordonNode)?;
        let node: NodeName = name("node", self.node)?;
        let key = request_key(self.method, self.request_id, None, self.body)?;
        match core.propose(principal, key, command(node)).await? {
            Reply::Done => Ok(core.replica.view().revision()),
            other => Err(core.internal(&format!("{} was answered with {other:?}", self.method))),
        }
    }
}

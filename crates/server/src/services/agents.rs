//! The service Agents: one session per node, served by the leader, passed on to it by the others.

use std::time::Duration;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::{Hint, Role};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::auth::{Action, authorize, principal};
use crate::core::{Core, Shared};
use crate::sessions::{MESSAGES_WAITING_MAX, Origin, is_relayed, relay, serve};

/// How long a new session waits for an election to end before the agent is told to come back.
const LEADER_DEADLINE: Duration = Duration::from_secs(3);

/// The service Agents of one replica.
pub(crate) struct AgentsService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::agents_server::Agents for AgentsService {
    type SessionStream = ReceiverStream<Result<v1::ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.0.answer("Session", open(&self.0, request)).await
    }
}

async fn open(
    core: &Shared,
    request: Request<Streaming<v1::AgentMessage>>,
) -> Result<ReceiverStream<Result<v1::ServerMessage, Status>>, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::ServeAsAgent)?;
    let incoming = core.door.come()?;
    let relayed = is_relayed(request.metadata());
    let inbound = request.into_inner();
    let (out, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    match standing(core).await? {
        Standing::Leads(term) => {
            // Before any set is sent or lease renewed, and only once the leader's own entry is applied.
            core.liveness.begin(term);
            tokio::spawn(serve(core.clone(), Origin { principal, relayed, incoming }, term, inbound, out));
        }
        Standing::Follows(_) if relayed => {
            return Err(ApiError::Unavailable("another replica took this one for the leader: connect again".into()));
        }
        Standing::Follows(leader) => {
            let from = Origin { principal, relayed, incoming };
            tokio::spawn(relay(core.clone(), from, leader, inbound, out));
        }
    }
    Ok(ReceiverStream::new(messages))
}

enum Standing {
    Leads(u64),
    Follows(Hint),
}

async fn standing(core: &Core) -> Result<Standing, ApiError> {
    let standing = |role: &Role| match role {
        Role::Leader { term, ready: true, .. } => Some(Standing::Leads(*term)),
        Role::Follower { leader: Some(leader) } => Some(Standing::Follows(leader.clone())),
        Role::Leader { ready: false, .. } | Role::Follower { leader: None } => None,
    };
    let mut role = core.replica.role();
    let settled = role.wait_for(|role| standing(role).is_some());
    match tokio::time::timeout(LEADER_DEADLINE, settled).await {
        Ok(Ok(role)) => standing(&role).ok_or_else(|| core.internal("a settled role is not settled")),
        Ok(Err(_)) => Err(ApiError::Unavailable("this replica is stopping: connect to another".into())),
        Err(_) => Err(ApiError::Unavailable("no replica leads: connect again later".into())),
    }
}

//! The gRPC health service: serving means that a request sent here is answered, or sent to the
//! leader; the same that `/readyz` says.

use std::pin::Pin;
use std::time::Duration;

use quorate_raft::Role;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::core::{Core, Shared};

/// A watch of the health looks this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the service answers for, besides the empty name.
const SERVICES: [&str; 3] = ["quorate.v1.Jobs", "quorate.v1.Runs", "quorate.v1.Cluster"];

/// The health service of one replica.
pub(crate) struct Health(pub(crate) Shared);

#[tonic::async_trait]
impl tonic_health::pb::health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        known(&request)?;
        Ok(Response::new(answer(status(&self.0))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        known(&request)?;
        let core = self.0.clone();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut last = None;
            loop {
                let now = status(&core);
                if last != Some(now) && sender.send(now).await.is_err() {
                    return;
                }
                last = Some(now);
                tokio::select! {
                    biased;
                    () = core.stopping.cancelled() => return,
                    () = sender.closed() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
        let stream = ReceiverStream::new(receiver).map(|status| Ok(answer(status)));
        Ok(Response::new(Box::pin(stream)))
    }
}

fn known(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
    let service = request.get_ref().service.as_str();
    if service.is_empty() || SERVICES.contains(&service) {
        return Ok(());
    }
    Err(Status::not_found(format!("service {service} is not served here")))
}

fn status(core: &Core) -> ServingStatus {
    let serves = match &*core.replica.role().borrow() {
        Role::Leader { ready, .. } => *ready,
        Role::Follower { leader } => leader.is_some(),
    };
    if serves && !core.stopping.is_cancelled() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

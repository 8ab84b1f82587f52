//! The listener for operators: `/metrics`, `/healthz` (this process works) and `/readyz` (it can
//! serve, or knows who does).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use quorate_raft::Role;
use quorate_seams::BoxedIo;

use crate::core::Shared;

/// Pause after a failed accept, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A leader that does not take a connection within this time is out of reach.
const REACH_DEADLINE: Duration = Duration::from_millis(1_000);

/// Serves until the replica stops.
pub(crate) async fn serve(listener: Box<dyn quorate_seams::Listener>, core: Shared) -> io::Result<()> {
    let stopping = core.stopping.clone();
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(core);
    axum::serve(Accepting(listener), routes).with_graceful_shutdown(stopping.cancelled_owned()).await
}

async fn metrics(State(core): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], core.telemetry.render(&core))
}

async fn healthz(State(core): State<Shared>) -> (StatusCode, &'static str) {
    if core.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    (StatusCode::OK, "ok\n")
}

async fn readyz(State(core): State<Shared>) -> (StatusCode, String) {
    let role = core.replica.role().borrow().clone();
    let initialised = core.replica.view().settings().is_some();
    match role {
        Role::Leader { ready: true, .. } if initialised => (StatusCode::OK, "ready: this replica leads\n".into()),
        Role::Leader { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not ready: taking over the lead\n".into()),
        // The last leader known may be gone: ready is who reaches it.
        Role::Follower { leader: Some(leader) } => {
            let reached = tokio::time::timeout(REACH_DEADLINE, core.seams.network.connect(&leader.api)).await;
            match reached {
                Ok(Ok(_)) => (StatusCode::OK, format!("ready: replica {} leads at {}\n", leader.id, leader.api)),
                Ok(Err(_)) | Err(_) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not ready: the leader at {} is out of reach\n", leader.api),
                ),
            }
        }
        Role::Follower { leader: None } => (StatusCode::SERVICE_UNAVAILABLE, "not ready: no leader is known\n".into()),
    }
}

/// Our listener in the shape that axum wants.
struct Accepting(Box<dyn quorate_seams::Listener>);

impl axum::serve::Listener for Accepting {
    type Io = BoxedIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoxedIo, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }
}

//! The listener for operators: `/metrics`, `/healthz` (the process answers) and `/readyz` (it has a
//! session and a lease, so that work can arrive).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use quorate_seams::{BoxedIo, Listener, Network};

use crate::error::Error;
use crate::telemetry::Metrics;

/// Pause after a failed accept, such as one for want of file descriptors: retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens; what is returned serves until it is dropped.
pub(crate) async fn open(
    network: &dyn Network,
    address: &str,
    metrics: Arc<Metrics>,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + use<>), Error> {
    let listener = network.bind(address).await;
    let listener = listener.map_err(|source| Error::Listen { address: address.to_owned(), source })?;
    let local = listener.local_addr();
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(metrics);
    let serve = async move {
        let _ = axum::serve(Accepting(listener), router).await;
    };
    Ok((local, serve))
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match (metrics.session.get(), metrics.lease_ms.get()) {
        (1, 1..) => (StatusCode::OK, "ready\n"),
        (1, _) => (StatusCode::SERVICE_UNAVAILABLE, "no lease: the control plane has confirmed no renewal in time\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no session: no replica of the control plane is reachable\n"),
    }
}

async fn numbers(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.text())
}

struct Accepting(Box<dyn Listener>);

impl axum::serve::Listener for Accepting {
    type Io = BoxedIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoxedIo, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the ops listener was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }
}

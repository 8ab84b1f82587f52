//! A call behind which there is nothing: gRPC's own question whether a replica serves.

use tonic::Request;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::load::{CALL_DEADLINE, Target};

/// Asks one replica over some connections.
pub(crate) struct EmptyCall(Vec<HealthClient<Channel>>);

impl EmptyCall {
    pub(crate) fn new(connections: Vec<Channel>) -> Self {
        Self(connections.into_iter().map(HealthClient::new).collect())
    }
}

impl Target for EmptyCall {
    async fn operate(&self, connection: usize, _: u64) -> Result<(), String> {
        let mut request = Request::new(HealthCheckRequest::default());
        request.set_timeout(CALL_DEADLINE);
        let answer = self.0[connection].clone().check(request).await;
        answer.map(drop).map_err(|status| status.to_string())
    }
}

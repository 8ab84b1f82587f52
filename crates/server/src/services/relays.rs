//! The service Relays: what replicas that pass sessions on say to the leader beside these.

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::auth::{Action, authorize, principal};
use crate::core::Shared;
use crate::sessions::take_renewals_in;

/// Replicas that pass renewals on to one leader: each has a few messages of them under way.
pub(crate) const RELAYS_MAX: usize = 64;

/// The service Relays of one replica.
pub(crate) struct RelaysService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::relays_server::Relays for RelaysService {
    type RenewalsStream = ReceiverStream<Result<v1::RelayedRenewalsAnswer, Status>>;

    async fn renewals(
        &self,
        request: Request<Streaming<v1::RelayedRenewals>>,
    ) -> Result<Response<Self::RenewalsStream>, Status> {
        self.0.answer("Renewals", open(&self.0, request)).await
    }
}

async fn open(
    core: &Shared,
    request: Request<Streaming<v1::RelayedRenewals>>,
) -> Result<ReceiverStream<Result<v1::RelayedRenewalsAnswer, Status>>, ApiError> {
    authorize(&principal(&request)?, Action::RelayRenewals)?;
    let term = core.leading().ok_or_else(|| core.not_leader())?;
    let permit = core.relays.clone().try_acquire_owned().map_err(|_| ApiError::Limit {
        limit: "RELAYS_MAX".into(),
        max: RELAYS_MAX as u64,
        advice: "this leader takes renewals from no more replicas".into(),
    })?;
    let (out, answers) = mpsc::channel(1);
    tokio::spawn(take_renewals_in(core.clone(), term, request.into_inner(), out, permit));
    Ok(ReceiverStream::new(answers))
}

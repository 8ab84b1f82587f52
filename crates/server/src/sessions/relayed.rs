//! Renewals of many sessions that another replica passes on together: taken in on the leader.
//!
//! A message counts from the instant at which it came, for all sessions in it that are open here, and waits for its
//! round of the quorum like a renewal that came in its session (`liveness`). What its sender does not hear of was not
//! renewed.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_state::Epoch;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::gathering::MESSAGES_AHEAD_MAX;
use super::limits::check_renewals;
use super::speaker::SEND_DEADLINE;
use crate::core::Core;
use crate::liveness::{Renewal, SessionId, Waiting};

/// Answers message after message, until the other replica, or leadership in `term`, ends. `_permit` is held meanwhile.
pub(crate) async fn take_renewals_in<S>(
    core: Arc<Core>,
    term: u64,
    inbound: S,
    out: mpsc::Sender<Result<v1::RelayedRenewalsAnswer, Status>>,
    _permit: OwnedSemaphorePermit,
) where
    S: Stream<Item = Result<v1::RelayedRenewals, Status>> + Send + Unpin,
{
    let answering = Box::pin(answer_each(&core, inbound, &out));
    let end = tokio::select! {
        biased;
        () = core.deposed(term) => Err(core.not_leader()),
        end = answering => end,
    };
    if let Err(error) = end {
        tracing::debug!(%error, "no more renewals from another replica");
        let _ = tokio::time::timeout(SEND_DEADLINE, out.send(Err(to_status(&error)))).await;
    }
}

async fn answer_each<S>(
    core: &Core,
    mut inbound: S,
    out: &mpsc::Sender<Result<v1::RelayedRenewalsAnswer, Status>>,
) -> Result<(), ApiError>
where
    S: Stream<Item = Result<v1::RelayedRenewals, Status>> + Send + Unpin,
{
    let mut waiting = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            answer = first(&mut waiting), if !waiting.is_empty() => {
                waiting.pop_front();
                match tokio::time::timeout(SEND_DEADLINE, out.send(Ok(answer))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => return Err(ApiError::DeadlineExceeded("the other replica takes no answers".into())),
                }
            }
            message = inbound.next(), if waiting.len() < MESSAGES_AHEAD_MAX => {
                let Some(Ok(message)) = message else { return Ok(()) };
                check_renewals(&message)?;
                waiting.push_back(take_in(core, &message));
            }
        }
    }
}

/// The places of those that are not renewed, once a round has confirmed the others.
type Refused = oneshot::Receiver<Vec<u32>>;

/// Has the renewals of a message wait for their round. Nothing comes back when there is none.
fn take_in(core: &Core, message: &v1::RelayedRenewals) -> Refused {
    // Stamped before the round that confirms them starts.
    let arrived = core.seams.clock.boot();
    let name = |one: &v1::RelayedRenewal| one.session.unwrap_or_default();
    let ids = message.renewals.iter().map(name).map(|name| SessionId { term: name.term, number: name.number });
    let found = core.sessions.find(ids.clone());
    let renewals = message.renewals.iter().zip(ids).zip(found).map(|((one, session), found)| {
        let (node, orders) = found?;
        Some(Renewal { node, epoch: Epoch(one.epoch), session, arrived, orders })
    });
    let (answer, refused) = oneshot::channel();
    let together = Waiting::Together { renewals: renewals.collect(), answer };
    if core.renewals.try_send(together).is_err() {
        tracing::warn!("too many renewals wait: those of another replica were dropped");
    }
    refused
}

/// The answer to the message that came first.
async fn first(waiting: &mut VecDeque<Refused>) -> v1::RelayedRenewalsAnswer {
    match waiting.front_mut() {
        Some(refused) => match refused.await {
            Ok(refused) => v1::RelayedRenewalsAnswer { confirmed: true, refused },
            Err(_) => v1::RelayedRenewalsAnswer::default(),
        },
        None => std::future::pending().await,
    }
}

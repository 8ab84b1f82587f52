//! The service Batches: many changes over one stream, each answered for itself.
//!
//! What a call of its own costs beside the change (headers, a stream of HTTP/2, a trip through the
//! routes) is paid once for all of them.

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt as _};
use quorate_proto::v1;
use quorate_proto::v1::write_request::Change;
use quorate_proto::v1::write_response::Outcome;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{jobs, runs};
use crate::auth::{Caller, principal};
use crate::core::Shared;

/// Changes of one stream that are under way; further ones are not read until one of them has ended.
const UNDER_WAY_MAX: usize = 1_024;
/// Answers that wait for the client to read them.
const ANSWERS_WAITING_MAX: usize = 256;

/// The service Batches of one replica.
pub(crate) struct BatchesService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::batches_server::Batches for BatchesService {
    type WriteStream = ReceiverStream<Result<v1::WriteResponse, Status>>;

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let core = self.0.clone();
        self.0
            .answer("Write", async {
                principal(&request)?;
                let caller = request.extensions().get::<Caller>().cloned();
                let (answers, stream) = mpsc::channel(ANSWERS_WAITING_MAX);
                tokio::spawn(async move {
                    let stopping = core.stopping.clone();
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => {}
                        () = answers.closed() => {}
                        () = serve(&core, caller, request.into_inner(), &answers) => {}
                    }
                });
                Ok(ReceiverStream::new(stream))
            })
            .await
    }
}

async fn serve<S>(
    core: &Shared,
    caller: Option<Caller>,
    mut changes: S,
    answers: &mpsc::Sender<Result<v1::WriteResponse, Status>>,
) where
    S: Stream<Item = Result<v1::WriteRequest, Status>> + Unpin,
{
    let mut under_way = FuturesUnordered::new();
    let mut more = true;
    while more || !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            change = changes.next(), if more && under_way.len() < UNDER_WAY_MAX => match change {
                Some(Ok(change)) => under_way.push(carry_out(core, caller.clone(), change)),
                Some(Err(_)) | None => more = false,
            },
        }
    }
}

async fn carry_out(core: &Shared, caller: Option<Caller>, request: v1::WriteRequest) -> v1::WriteResponse {
    fn as_call<T>(caller: Option<Caller>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        request
    }
    let outcome = match request.change {
        Some(Change::SubmitJob(submit)) => {
            let answer = core.answer("SubmitJob", jobs::submit(core, as_call(caller, submit))).await;
            answer.map(|answer| Outcome::SubmitJob(answer.into_inner()))
        }
        Some(Change::CancelRun(cancel)) => {
            let answer = core.answer("CancelRun", runs::cancel(core, as_call(caller, cancel))).await;
            answer.map(|answer| Outcome::CancelRun(answer.into_inner()))
        }
        Some(Change::AnnotateRun(annotate)) => {
            let answer = core.answer("AnnotateRun", runs::annotate(core, as_call(caller, annotate))).await;
            answer.map(|answer| Outcome::AnnotateRun(answer.into_inner()))
        }
        None => Err(Status::invalid_argument("a change that this server does not know, or none")),
    };
    let outcome = outcome.unwrap_or_else(|status| Outcome::Failure(failure(&status)));
    v1::WriteResponse { sequence: request.sequence, outcome: Some(outcome) }
}

fn failure(status: &Status) -> v1::WriteFailure {
    v1::WriteFailure {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: status.details().to_vec().into(),
    }
}

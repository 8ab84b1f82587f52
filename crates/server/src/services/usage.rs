//! The method of the service Runs that says what running attempts use.

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::Parts;
use quorate_state::{AttemptId, Run};
use tonic::Request;

use super::refs;
use crate::auth::{Action, authorize, principal};
use crate::reading::Reading;
use crate::usages::sum;

/// Attempts in one answer.
const USAGES_PER_ANSWER_MAX: usize = 10_000;

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetUsageRequest>,
) -> Result<v1::GetUsageResponse, ApiError> {
    let principal = principal(&request)?;
    // The leader has the sessions.
    let view = reading.view_of_leader().await?;
    let reference = request.into_inner().run;
    let (view, run) = refs::resolve_kept(reading.core(), &view, reference.as_ref(), |_| Ok(Parts::default()))?;
    let run = &*run;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let core = reading.core();
    let known = core.sessions.usages.of_run(&view, run.id, core.seams.clock.boot());
    let steps = known.chunk_by(|(one, _), (next, _)| one.task.step == next.task.step).filter_map(|step| {
        let (first, _) = step.first()?;
        Some(v1::StepUsage { task: task_name(run, *first)?, usage: sum(step.iter().map(|(_, told)| &told.usage)) })
    });
    let steps = steps.collect();
    let attempts = known.iter().take(USAGES_PER_ANSWER_MAX).filter_map(|(attempt, told)| {
        Some(v1::AttemptUsage {
            task: task_name(run, *attempt)?,
            index: attempt.task.index,
            number: attempt.number,
            node: view.attempt(*attempt)?.node.to_string(),
            usage: Some(told.usage),
            progress: told.progress.as_deref().cloned(),
        })
    });
    Ok(v1::GetUsageResponse { attempts: attempts.collect(), steps, revision: view.revision().0 })
}

fn task_name(run: &Run, attempt: AttemptId) -> Option<String> {
    run.spec.tasks.get(attempt.task.step as usize).map(|task| task.name.to_string())
}

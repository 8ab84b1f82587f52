//! The methods of the service Runs that say why a task is not running, or not on some node, and by when it will be.

use std::sync::Arc;

use quorate_proto::convert::run::task_to_wire;
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::Parts;
use quorate_scheduler::explain::{Survey, expected_starts, explain, survey, why_not};
use quorate_scheduler::{LogNow, Observed};
use quorate_state::{NodeName, Principal, Run, State, Task, TaskId, TaskState, Wait};
use tonic::Request;

use super::explain::{candidate, expected_start, nearest_miss, node_check, wait_reason};
use super::{name, refs};
use crate::auth::{Action, authorize, principal};
use crate::reading::Reading;

/// Why a task is not running.
pub(super) async fn task(
    reading: &Reading<'_>,
    request: Request<v1::ExplainTaskRequest>,
) -> Result<v1::ExplainTaskResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::ExplainTaskRequest { run, task, index } = request.into_inner();
    let asked = Asked::of(reading, &principal, run.as_ref(), &task, index).await?;
    let explanation = explain(&asked.view, &asked.observed, asked.now, asked.id);
    // What is on nodes is for those who may look at them.
    let may_look = authorize(&principal, Action::Inspect).is_ok();
    let Survey { candidates, misses } =
        if may_look { survey(&asked.view, &asked.observed, asked.now, asked.id) } else { Survey::default() };
    Ok(v1::ExplainTaskResponse {
        task: Some(asked.row()),
        reason: Some(wait_reason(&explanation)),
        revision: asked.view.revision().0,
        candidates: candidates.iter().map(candidate).collect(),
        misses: misses.iter().map(nearest_miss).collect(),
    })
}

/// When tasks of a run that wait for room begin at the latest.
pub(super) async fn starts(
    reading: &Reading<'_>,
    request: Request<v1::GetExpectedStartsRequest>,
) -> Result<v1::GetExpectedStartsResponse, ApiError> {
    let principal = principal(&request)?;
    let reference = request.into_inner().run;
    let view = reading.view_of_leader().await?;
    let (view, run) = refs::resolve_kept(reading.core(), &view, reference.as_ref(), |_| Ok(Parts::default()))?;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let now = reading.log_now(&view)?;
    let observed = reading.core().observe(&view, now.served);
    let starts = expected_starts(&view, &observed, now, run.id).into_iter().filter_map(|(task, start)| {
        let name = run.spec.tasks.get(task.step as usize)?.name.to_string();
        Some(v1::TaskExpectedStart { task: name, index: task.index, start: Some(expected_start(&start)) })
    });
    Ok(v1::GetExpectedStartsResponse { starts: starts.collect(), revision: view.revision().0 })
}

/// Whether a node could take a task, and why not.
pub(super) async fn placement(
    reading: &Reading<'_>,
    request: Request<v1::ExplainPlacementRequest>,
) -> Result<v1::ExplainPlacementResponse, ApiError> {
    let principal = principal(&request)?;
    // What is on a node and why it takes nothing is for those who may look at nodes.
    authorize(&principal, Action::Inspect)?;
    let v1::ExplainPlacementRequest { run, task, index, node } = request.into_inner();
    let node: NodeName = name("node", &node)?;
    let asked = Asked::of(reading, &principal, run.as_ref(), &task, index).await?;
    let Asked { view, observed, now, id, .. } = &asked;
    let node = view.node(&node).ok_or_else(|| refs::absent("node", node.as_str()))?;
    let explanation = explain(view, observed, *now, *id);
    let fitness = why_not(view, observed, *now, *id, node, &explanation);
    let fitness = fitness.ok_or_else(|| reading.core().internal("a task has no spec"))?;
    Ok(v1::ExplainPlacementResponse {
        task: Some(asked.row()),
        reason: Some(wait_reason(&explanation)),
        failed: fitness.failed.iter().map(node_check).collect(),
        has_copy: fitness.has_copy,
        text: fitness.to_string(),
        elsewhere: fitness.elsewhere.map(|node| node.to_string()).unwrap_or_default(),
        revision: view.revision().0,
    })
}

/// A task about whose placement somebody asks, as the leader sees it.
struct Asked {
    view: State,
    observed: Observed,
    now: LogNow,
    run: Arc<Run>,
    id: TaskId,
}

impl Asked {
    async fn of(
        reading: &Reading<'_>,
        principal: &Principal,
        run: Option<&v1::RunRef>,
        task: &str,
        index: u32,
    ) -> Result<Self, ApiError> {
        let view = reading.view_of_leader().await?;
        let of_task = |run: &Run| {
            let step = refs::step(run, task)?;
            Ok(refs::parts_of(TaskId { run: run.id, step, index }))
        };
        let (view, run) = refs::resolve_kept(reading.core(), &view, run, of_task)?;
        authorize(principal, Action::Read(Some(&run.spec.namespace)))?;
        let id = refs::task(&view, &run, task, index)?;
        let now = reading.log_now(&view)?;
        let observed = reading.core().observe(&view, now.served);
        Ok(Self { view, observed, now, run, id })
    }

    fn row(&self) -> v1::Task {
        let waits = TaskState::Waiting(Wait::Needs);
        let task = self.view.element(self.id).unwrap_or_else(|| Arc::new(Task::new(self.id, waits)));
        task_to_wire(&task, &self.run, &self.view)
    }
}

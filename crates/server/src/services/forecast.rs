//! The method of the service Cluster that says what would become of the work if a part of the nodes went away.

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_proto::v1::forecast_loss_request::Scope;
use quorate_scheduler::forecast::{Fate, Forecast, StepFate};
use quorate_state::{ClusterName, Node, NodeName, RegionName, State};
use tokio::sync::Semaphore;
use tonic::Request;

use super::explain::wait_reason;
use super::{name, refs, violation};
use crate::auth::{Action, authorize, principal};
use crate::reading::Reading;

/// Forecasts that are made at once in a process: each may take a second of a processor, between other work.
static AT_ONCE: Semaphore = Semaphore::const_new(1);

/// Steps of runs in one answer, those with most waiting tasks first.
const STEPS_MAX: usize = 1_000;

/// What goes away.
enum Lost {
    Region(RegionName),
    Cluster(ClusterName),
    Node(NodeName),
}

impl Lost {
    fn of(scope: Option<Scope>) -> Result<Self, ApiError> {
        match scope {
            Some(Scope::Region(region)) => Ok(Self::Region(name("region", &region)?)),
            Some(Scope::Cluster(cluster)) => Ok(Self::Cluster(name("cluster", &cluster)?)),
            Some(Scope::Node(node)) => Ok(Self::Node(name("node", &node)?)),
            None => Err(violation("scope", "is missing: name a region, a cluster or a node".to_owned())),
        }
    }

    fn takes(&self, node: &Node) -> bool {
        match self {
            Self::Region(region) => node.region == *region,
            Self::Cluster(cluster) => node.cluster == *cluster,
            Self::Node(name) => node.name == *name,
        }
    }

    /// That there is no node of it.
    fn absent(&self) -> ApiError {
        match self {
            Self::Region(region) => refs::absent("region", region.as_str()),
            Self::Cluster(cluster) => refs::absent("cluster", cluster.as_str()),
            Self::Node(node) => refs::absent("node", node.as_str()),
        }
    }
}

pub(super) async fn loss(
    reading: &Reading<'_>,
    request: Request<v1::ForecastLossRequest>,
) -> Result<v1::ForecastLossResponse, ApiError> {
    let principal = principal(&request)?;
    // It speaks of runs in all namespaces.
    authorize(&principal, Action::Inspect)?;
    authorize(&principal, Action::Read(None))?;
    let lost = Lost::of(request.into_inner().scope)?;
    let _turn = AT_ONCE.acquire().await.map_err(|_| reading.core().internal("nobody makes forecasts any more"))?;
    let view = reading.view_of_leader().await?;
    if !view.nodes().any(|node| lost.takes(node)) {
        return Err(lost.absent());
    }
    let now = reading.log_now(&view)?;
    let observed = reading.core().observe(&view, now.served);
    let mut forecast = Forecast::new(&view, &observed, now, |node| lost.takes(node));
    while forecast.step() {
        // Other calls of clients share this thread.
        tokio::task::yield_now().await;
    }
    let Fate { nodes, mut steps, left_out, settled_ms, brake, is_whole } = forecast.fate();
    // A sort that keeps the order of runs among equals.
    steps.sort_by_key(|step| std::cmp::Reverse((step.waiting, step.failed, step.kept)));
    let total = Counts::over(&steps);
    Ok(v1::ForecastLossResponse {
        nodes,
        tasks: total.moved + total.kept + total.failed + total.waiting + left_out,
        moved: total.moved,
        kept: total.kept,
        failed: total.failed,
        waiting: total.waiting,
        staying: total.staying,
        settled_ms,
        brake: brake.map(|note| note.to_string()).unwrap_or_default(),
        is_whole,
        steps: steps.iter().take(STEPS_MAX).filter_map(|step| step_to_wire(&view, step)).collect(),
        revision: view.revision().0,
    })
}

/// How many tasks come to what, over all steps.
#[derive(Default)]
struct Counts {
    moved: u64,
    kept: u64,
    failed: u64,
    waiting: u64,
    staying: u64,
}

impl Counts {
    fn over(steps: &[StepFate]) -> Self {
        steps.iter().fold(Self::default(), |sum, step| Self {
            moved: sum.moved + step.moved.values().sum::<u64>(),
            kept: sum.kept + step.kept,
            failed: sum.failed + step.failed,
            waiting: sum.waiting + step.waiting,
            staying: sum.staying + step.staying,
        })
    }
}

fn step_to_wire(view: &State, step: &StepFate) -> Option<v1::StepForecast> {
    let run = view.run(step.run)?;
    let moved = step.moved.iter().map(|((region, cluster), tasks)| v1::MovedTasks {
        region: region.to_string(),
        cluster: cluster.to_string(),
        tasks: *tasks,
    });
    Some(v1::StepForecast {
        run_id: run.id.to_string(),
        namespace: run.spec.namespace.to_string(),
        job: run.spec.name.to_string(),
        task: run.spec.tasks.get(step.step as usize)?.name.to_string(),
        moved: moved.collect(),
        kept: step.kept,
        failed: step.failed,
        waiting: step.waiting,
        staying: step.staying,
        moved_ms: step.moved_ms,
        reason: step.reason.as_ref().map(wait_reason),
    })
}

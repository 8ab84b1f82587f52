//! What would become of the work if a part of the nodes went away.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry};
use super::task::Reason;
use super::{Paint, View, plain, time};

/// Tasks that go to one cluster.
#[derive(Debug, Serialize)]
struct Moved {
    region: String,
    cluster: String,
    tasks: u64,
}

/// What becomes of the tasks of one step.
#[derive(Debug, Serialize)]
struct Step {
    run_id: String,
    namespace: String,
    job: String,
    task: String,
    moved: Vec<Moved>,
    /// Started once: they wait until their node is back or counts as gone for good.
    kept: u64,
    /// Lost too often.
    failed: u64,
    waiting: u64,
    /// So many of those stay with their region, as their job says.
    staying: u64,
    /// Milliseconds until the last of those that move has its place; none: none moves.
    moved_ms: Option<u64>,
    /// Why the first of those that wait does.
    reason: Option<Reason>,
}

/// `region whatif`, `cluster whatif`, `node whatif`.
#[derive(Debug, Serialize)]
pub(crate) struct LossForecast {
    /// `region`, `cluster` or `node`.
    scope: &'static str,
    name: String,
    nodes: u32,
    tasks: u64,
    moved: u64,
    kept: u64,
    failed: u64,
    waiting: u64,
    /// So many of those stay with their region, as their jobs say.
    staying: u64,
    /// Milliseconds until all that moves has its place.
    settled_ms: u64,
    brake: Option<String>,
    /// False: a limit ended the look ahead.
    is_whole: bool,
    /// Those with most waiting tasks first; at most 1,000.
    steps: Vec<Step>,
    revision: u64,
}

impl LossForecast {
    /// What the server said.
    pub(crate) fn new(scope: &'static str, name: String, answer: v1::ForecastLossResponse) -> Self {
        let moved = |moved: v1::MovedTasks| Moved { region: moved.region, cluster: moved.cluster, tasks: moved.tasks };
        let steps = answer.steps.into_iter().map(|step| Step {
            run_id: step.run_id,
            namespace: step.namespace,
            job: step.job,
            task: step.task,
            moved: step.moved.into_iter().map(moved).collect(),
            kept: step.kept,
            failed: step.failed,
            waiting: step.waiting,
            staying: step.staying,
            moved_ms: Some(step.moved_ms).filter(|moved_ms| *moved_ms > 0),
            reason: step.reason.map(Into::into),
        });
        Self {
            scope,
            name,
            nodes: answer.nodes,
            tasks: answer.tasks,
            moved: answer.moved,
            kept: answer.kept,
            failed: answer.failed,
            waiting: answer.waiting,
            staying: answer.staying,
            settled_ms: answer.settled_ms,
            brake: Some(answer.brake).filter(|brake| !brake.is_empty()),
            is_whole: answer.is_whole,
            steps: steps.collect(),
            revision: answer.revision,
        }
    }
}

impl View for LossForecast {
    const SCHEMA: &'static str = "quorate.v1.loss_forecast/1";

    fn human(&self, paint: Paint) -> String {
        let (nodes, tasks) = (time::count(self.nodes.into(), "node"), time::count(self.tasks, "task"));
        let mut text = format!("If {} {} went away now: {nodes}, {tasks} on them\n\n", self.scope, self.name);
        let settled = time::span(self.settled_ms);
        let within = if self.moved > 0 { format!(", all of them within {settled}") } else { String::new() };
        let lines = [
            (self.moved, format!("placed elsewhere{within}")),
            (self.waiting.saturating_sub(self.staying), "wait for room or for a place that they may go to".to_owned()),
            (self.staying, "stay with their region, as their jobs say, and wait until it is back".to_owned()),
            (self.kept, "are started once: they wait until their node is back, or counts as gone for good".to_owned()),
            (self.failed, "fail, because they have been lost too often".to_owned()),
        ];
        for (at, (count, what)) in lines.iter().enumerate() {
            if *count > 0 || at == 0 {
                text += &format!("{count:>7}  {what}\n");
            }
        }
        if let Some(brake) = &self.brake {
            text += &format!("\nThe brake would work: {}.\n", plain(brake));
        }
        if !self.is_whole {
            text += "\nA limit ended the look ahead before everything was known.\n";
        }
        if !self.steps.is_empty() {
            let mut rows =
                Rows::new(paint, &["RUN", "TASK", "MOVED TO", "WITHIN", "WAITING", "STAYING", "KEPT", "FAILED", "WHY"]);
            for step in &self.steps {
                let to = |moved: &Moved| format!("{} {}/{}", moved.tasks, moved.region, moved.cluster);
                let moved: Vec<String> = step.moved.iter().map(to).collect();
                let why = step.reason.as_ref().map_or_else(String::new, |reason| plain(&reason.text));
                rows.row(vec![
                    entry(&step.run_id),
                    entry(format!("{}/{}", step.job, step.task)),
                    entry(moved.join(", ")),
                    entry(step.moved_ms.map_or_else(String::new, time::span)),
                    entry(step.waiting.saturating_sub(step.staying).to_string()),
                    entry(step.staying.to_string()),
                    entry(step.kept.to_string()),
                    entry(step.failed.to_string()),
                    entry(why),
                ]);
            }
            text += &format!("\n{}", rows.text());
        }
        text.trim_end().to_owned()
    }
}

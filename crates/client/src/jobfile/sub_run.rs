//! Tasks that are runs of other jobs, and what comes out of runs.

use std::collections::BTreeMap;

use quorate_state::{Driver, OnNodeLoss, Place, Resources, SubRun, TaskSpec};

use super::flow::json;
use super::trail::Trail;
use super::tree::Value;
use super::walk::{Field, Fields, Walk};

/// What `run` begins with where a task is a run of another job.
pub(super) const JOB: &str = "job://";

/// Keys that say something to a process, which a run is not.
const OF_PROCESSES: &[(&str, &str)] = &[
    ("driver", "a run has none: leave it out"),
    ("env", "a run is told args: give them to its job as params, and leave this out"),
    ("resources", "a run holds none: say what its tasks take in that job"),
    ("want", "a run holds none: say what its tasks take in that job"),
    ("place", "a run is not placed: say where its tasks may run in that job"),
    ("preemptible", "a run holds no room: say it of its tasks in that job"),
    ("on_node_loss", "a run is on no node: say what its tasks promise in that job"),
    ("on_region_loss", "a run is in no region: say what becomes of its tasks in that job"),
];

/// Whether `run` names a job instead of a command.
pub(super) fn names_job(field: Option<Field<'_>>) -> bool {
    matches!(field.map(|field| &field.member.node.value), Some(Value::Text(text)) if text.starts_with(JOB))
}

/// Makes the task the run that its `run` names, told `args`, and complains about what says nothing to one.
pub(super) fn sub_run(
    walk: &mut Walk,
    fields: &Fields<'_>,
    args: BTreeMap<String, String>,
    task: &mut TaskSpec,
    trail: &Trail<'_>,
) {
    for (key, message) in OF_PROCESSES {
        if let Some(field) = fields.get(key) {
            walk.complain(field.member.key_at, &trail.key(key), message);
        }
    }
    // Defaults of the job and of tasks are for processes.
    (task.driver, task.place, task.resources) = (Driver::default(), Place::default(), Resources::ZERO);
    (task.on_node_loss, task.on_region_loss, task.gpu_models) = (OnNodeLoss::default(), None, Vec::new());
    (task.preemptible, task.alternatives) = (true, Vec::new());
    let Some(run) = fields.get("run") else { return };
    let node = &run.member.node;
    let Value::Text(text) = &node.value else { return };
    let named = text.strip_prefix(JOB).unwrap_or(text);
    let (job, version) = match named.split_once('@') {
        None => (named, Ok(None)),
        Some((job, version)) => (job, version.parse().map(Some)),
    };
    match (job.parse(), version) {
        (Ok(job), Ok(version)) => task.sub_run = Some(SubRun { job, version, args }),
        (Err(error), _) => walk.complain(node.at, &trail.key("run"), error),
        (Ok(_), Err(_)) => {
            walk.complain(node.at, &trail.key("run"), "behind @ comes the number of a version, such as job://train@3");
        }
    }
    if task.sub_run.is_none() {
        // Another command would be complained about again.
        task.argv.push("later".to_owned());
    }
}

/// What says nothing to a process.
pub(super) fn process(walk: &mut Walk, fields: &Fields<'_>, trail: &Trail<'_>) {
    if let Some(args) = fields.get("args").filter(|_| fields.get("run").is_some()) {
        let message = "args are for runs of other jobs (run = \"job://train\"): a command has its arguments in run";
        walk.complain(args.member.key_at, &trail.key("args"), message);
    }
}

/// Values by name, as JSON in which references stand.
pub(super) fn values(walk: &mut Walk, field: Option<Field<'_>>, trail: &Trail<'_>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let Some(Field { member, doc }) = field else { return values };
    let trail = trail.key(&member.key);
    for inner in walk.members(&member.node, &trail, doc.kind).unwrap_or_default() {
        if let Some(value) = json(walk, &inner.node, &trail.key(&inner.key)) {
            values.insert(inner.key.clone(), value.to_string());
        }
    }
    values
}

/// How a job file names what a task is a run of.
pub(super) fn written(sub_run: &SubRun) -> String {
    let version = sub_run.version.map_or_else(String::new, |version| format!("@{version}"));
    format!("{JOB}{}{version}", sub_run.job)
}

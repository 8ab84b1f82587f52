//! How a spec differs from the one before it, a line per difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use quorate_state::{
    Driver, Each, GpuModel, JobSpec, OnFailure, OnNodeLoss, OnRegionLoss, Resources, Role, Spread, SubRun, TaskSpec,
    Within,
};

/// Lines in one answer.
const CHANGES_MAX: usize = 1_000;
const MIB: u64 = 1 << 20;

/// The differences, in the order of the new spec; those of a new job are its tasks.
pub(crate) fn changes(old: Option<&JobSpec>, new: &JobSpec) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(old) = old {
        differences("", &job_fields(old), &job_fields(new), &mut lines);
    }
    let before = old.map_or(&[][..], |old| &old.tasks);
    let before: BTreeMap<_, _> = before.iter().map(|task| (&task.name, task)).collect();
    for task in &new.tasks {
        match before.get(&task.name) {
            None => lines.push(format!("+ task.{}", task.name)),
            Some(old) => {
                let prefix = format!("task.{}.", task.name);
                differences(&prefix, &task_fields(old), &task_fields(task), &mut lines);
            }
        }
    }
    let after: BTreeSet<_> = new.tasks.iter().map(|task| &task.name).collect();
    let removed = before.keys().filter(|name| !after.contains(*name));
    lines.extend(removed.map(|name| format!("- task.{name}")));
    if lines.len() > CHANGES_MAX {
        let more = lines.len() - CHANGES_MAX;
        lines.truncate(CHANGES_MAX);
        lines.push(format!("and {more} more (CHANGES_MAX is {CHANGES_MAX})"));
    }
    lines
}

type Fields = BTreeMap<String, String>;

fn differences(prefix: &str, old: &Fields, new: &Fields, lines: &mut Vec<String>) {
    for (field, value) in new {
        match old.get(field) {
            None => lines.push(format!("+ {prefix}{field}: {value}")),
            Some(before) if before != value => lines.push(format!("~ {prefix}{field}: {before} -> {value}")),
            Some(_) => {}
        }
    }
    let removed = old.iter().filter(|(field, _)| !new.contains_key(*field));
    lines.extend(removed.map(|(field, value)| format!("- {prefix}{field}: {value}")));
}

fn job_fields(job: &JobSpec) -> Fields {
    let on_failure = match job.on_failure {
        OnFailure::Finish => "finish",
        OnFailure::Cancel => "cancel",
    };
    let mut fields = Fields::new();
    fields.insert("priority".into(), job.priority.to_string());
    fields.insert("on_failure".into(), on_failure.into());
    if let Some(timeout) = job.timeout_ms {
        fields.insert("timeout".into(), format!("{timeout} ms"));
    }
    fields.extend(job.result.iter().map(|(name, value)| (format!("result.{name}"), value.clone())));
    fields.extend(job.labels.iter().map(|(key, value)| (format!("labels.{key}"), format!("{value:?}"))));
    for (name, param) in &job.params {
        let default = param.default.as_ref().map_or_else(String::new, |default| format!(", default {default}"));
        fields.insert(format!("params.{name}"), format!("{}{default}", param.kind));
        if !param.description.is_empty() {
            fields.insert(format!("params.{name}.description"), format!("{:?}", param.description));
        }
    }
    fields
}

/// Fields under the names that they have in a job file.
fn task_fields(task: &TaskSpec) -> Fields {
    let TaskSpec {
        name: _,
        driver,
        argv,
        env,
        needs,
        count,
        resources,
        gpu_models,
        alternatives,
        retry,
        run_timeout_ms,
        queued_timeout_ms,
        silent_timeout_ms,
        place,
        on_node_loss,
        on_region_loss,
        role,
        // What is read out of its texts follows from them.
        templated: _,
        when,
        each,
        accept_failed,
        sub_run,
        gang,
        preemptible,
    } = task;
    let driver = match driver {
        Driver::Process => "process",
        Driver::Noop => "noop",
    };
    let on_node_loss = match on_node_loss {
        OnNodeLoss::AtLeastOnce => "at_least_once",
        OnNodeLoss::Fenced => "fenced",
        OnNodeLoss::AtMostOnce => "at_most_once",
    };
    let spread = match place.spread {
        Spread::Pack => "pack",
        Spread::Node => "node",
        Spread::Cluster => "cluster",
    };
    let mut fields = Fields::new();
    let mut put = |field: &str, value: String| fields.insert(field.into(), value);
    put("driver", driver.into());
    put("run", sub_run.as_ref().map_or_else(|| format!("{argv:?}"), named_job));
    put("needs", list(needs));
    put("count", count.to_string());
    let mut put_amounts = |field: &str, resources: &Resources, gpu_models: &[GpuModel]| {
        put(&format!("{field}.cpu"), cpu(resources.cpu_milli));
        put(&format!("{field}.memory"), memory(resources.memory_bytes));
        put(&format!("{field}.gpu"), thousandths(u32::try_from(resources.gpu_milli).unwrap_or(u32::MAX)));
        put(&format!("{field}.gpu_models"), list(gpu_models));
    };
    match &alternatives[..] {
        [] => put_amounts("resources", resources, gpu_models),
        others => {
            put_amounts("want[0]", resources, gpu_models);
            for (position, other) in others.iter().enumerate() {
                put_amounts(&format!("want[{}]", position + 1), &other.resources, &other.gpu_models);
            }
        }
    }
    put("retry.attempts", retry.attempts.to_string());
    put(
        "retry.backoff",
        format!(
            "{} ms x {} up to {} ms, jitter {}",
            retry.first_ms,
            thousandths(retry.factor_milli),
            retry.cap_ms,
            thousandths(retry.jitter_milli)
        ),
    );
    let codes = retry.never.iter().map(ToString::to_string);
    let never: Vec<String> = codes.chain(retry.never_errors.iter().map(ToString::to_string)).collect();
    put("retry.never", list(&never));
    if let Some(timeout) = run_timeout_ms {
        put("timeouts.run", format!("{timeout} ms"));
    }
    if let Some(timeout) = queued_timeout_ms {
        put("timeouts.queued", format!("{timeout} ms"));
    }
    if let Some(timeout) = silent_timeout_ms {
        put("timeouts.silent", format!("{timeout} ms"));
    }
    put("place.regions", list(&place.regions));
    put("place.clusters", list(&place.clusters));
    put("place.spread", spread.into());
    if let Some(condition) = &place.condition {
        put("place.where", format!("{:?}", condition.as_str()));
    }
    put("on_node_loss", on_node_loss.into());
    if let Some(policy) = on_region_loss {
        put(
            "on_region_loss",
            match policy {
                OnRegionLoss::Stay => "stay".into(),
                OnRegionLoss::MoveAfter { after_ms, spill } if spill.is_empty() => format!("move after {after_ms} ms"),
                OnRegionLoss::MoveAfter { after_ms, spill } => format!("move after {after_ms} ms to {}", list(spill)),
            },
        );
    }
    match role {
        Role::Work => {}
        Role::Fallback { of } => drop(put("on.failed", list(of))),
        Role::Undo { of } => drop(put("undoes", of.to_string())),
        Role::Finally => drop(put("finally", "true".into())),
    }
    if let Some(when) = when {
        put("when", format!("{when:?}"));
    }
    match each {
        None => {}
        Some(Each::Items(items)) => drop(put("each", list(items))),
        Some(Each::Range { from }) => drop(put("each", format!("from {from}"))),
        Some(Each::Result(reference)) => drop(put("each", format!("{reference:?}"))),
    }
    if *accept_failed > 0 {
        put("accept.failed", accept_failed.to_string());
    }
    if let Some(gang) = gang {
        let within = match &gang.within {
            None => "anywhere".to_owned(),
            Some(Within::Cluster) => "within a cluster".to_owned(),
            Some(Within::Region) => "within a region".to_owned(),
            Some(Within::Label(key)) => format!("within one value of label {key:?}"),
        };
        put("gang", within);
        if let Some(start) = gang.start_ms {
            put("gang.start", format!("{start} ms"));
        }
    }
    if !preemptible {
        put("preemptible", "false".into());
    }
    let args = sub_run.iter().flat_map(|sub_run| &sub_run.args);
    fields.extend(args.map(|(name, value)| (format!("args.{name}"), value.clone())));
    fields.extend(place.labels.iter().map(|(key, value)| (format!("place.labels.{key}"), format!("{value:?}"))));
    fields.extend(env.iter().map(|(key, value)| (format!("env.{key}"), format!("{value:?}"))));
    fields
}

fn named_job(sub_run: &SubRun) -> String {
    let version = sub_run.version.map_or_else(String::new, |version| format!("@{version}"));
    format!("\"job://{}{version}\"", sub_run.job)
}

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(", "))
}

fn cpu(milli: u64) -> String {
    if milli.is_multiple_of(1_000) { (milli / 1_000).to_string() } else { format!("{milli}m") }
}

fn memory(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

fn thousandths(value: u32) -> String {
    let text = format!("{}.{:03}", value / 1_000, value % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_state::{JobName, Namespace, Place, Resources, Retry, TaskName};

    fn task(name: &str, cpu_milli: u64) -> TaskSpec {
        TaskSpec {
            gpu_models: vec![],
            alternatives: vec![],
            name: TaskName::new(name).unwrap(),
            driver: Driver::Process,
            argv: vec!["true".into()],
            env: BTreeMap::new(),
            needs: Vec::new(),
            count: 1,
            resources: Resources { cpu_milli, memory_bytes: 64 * MIB, gpu_milli: 0 },
            retry: Retry::default(),
            run_timeout_ms: None,
            queued_timeout_ms: None,
            silent_timeout_ms: None,
            place: Place::default(),
            on_node_loss: OnNodeLoss::AtLeastOnce,
            role: quorate_state::Role::Work,
            templated: false,
            when: None,
            each: None,
            on_region_loss: None,
            accept_failed: 0,
            sub_run: None,
            gang: None,
            preemptible: true,
        }
    }

    fn job(tasks: Vec<TaskSpec>) -> JobSpec {
        JobSpec {
            namespace: Namespace::new("default").unwrap(),
            name: JobName::new("claims").unwrap(),
            priority: 50,
            labels: BTreeMap::new(),
            on_failure: OnFailure::Finish,
            timeout_ms: None,
            tasks,
            params: std::collections::BTreeMap::new(),
            result: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_new_job_consists_of_new_tasks() {
        assert_eq!(changes(None, &job(vec![task("split", 500), task("merge", 500)])), ["+ task.split", "+ task.merge"]);
    }

    #[test]
    fn equal_specs_do_not_differ() {
        let spec = job(vec![task("split", 500)]);
        assert_eq!(changes(Some(&spec), &spec), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_line() {
        let old = job(vec![task("split", 500), task("gone", 1)]);
        let mut new = job(vec![task("split", 1_000), task("fresh", 1)]);
        new.priority = 60;
        new.tasks[0].env.insert("MODE".into(), "full".into());
        new.tasks[0].run_timeout_ms = Some(5_000);
        assert_eq!(
            changes(Some(&old), &new),
            [
                "~ priority: 50 -> 60",
                "+ task.split.env.MODE: \"full\"",
                "~ task.split.resources.cpu: 500m -> 1",
                "+ task.split.timeouts.run: 5000 ms",
                "+ task.fresh",
                "- task.gone",
            ]
        );
    }
}

//! Jobs and what their specs are made of.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prost::Message;
use quorate_state::{
    Alternative, Digest, Driver, Job, JobSpec, OnFailure, OnNodeLoss, OnRegionLoss, RegionName, Resources, Retry,
    RunState, Spread, TaskSpec, Violation,
};

use super::Found;
use super::flow::{
    each_from_wire, each_to_wire, params_from_wire, params_to_wire, role_from_wire, role_to_wire, sub_run_from_wire,
    sub_run_to_wire, values_from_wire, values_to_wire,
};
use super::gang::{gang_from_wire, gang_to_wire};
use super::offer::{place_from_wire, place_to_wire};
use super::run::run_state_to_wire;
use crate::v1;

/// A spec as sent; equal specs give equal messages.
pub fn spec_to_wire(spec: &JobSpec) -> v1::JobSpec {
    v1::JobSpec {
        namespace: spec.namespace.to_string(),
        name: spec.name.to_string(),
        priority: u32::from(spec.priority),
        labels: labels_to_wire(&spec.labels),
        on_failure: on_failure_to_wire(spec.on_failure).into(),
        timeout_ms: spec.timeout_ms,
        params: params_to_wire(&spec.params),
        tasks: spec.tasks.iter().map(task_spec_to_wire).collect(),
        result: values_to_wire(&spec.result),
    }
}

/// The spec of a message, or everything that keeps it from being one. Whether it is a *valid* job is
/// for `JobSpec::check` to say. What is left out takes its default; resources are zero then.
///
/// # Errors
/// Names that are none, enums of a later version, keys given twice.
pub fn spec_from_wire(spec: v1::JobSpec) -> Result<JobSpec, Vec<Violation>> {
    let mut found = Found::default();
    let namespace = found.parse(|| "namespace".into(), &spec.namespace);
    let name = found.parse(|| "name".into(), &spec.name);
    let priority = u8::try_from(spec.priority).ok();
    if priority.is_none() {
        found.add("priority", format!("{} is above 100, the highest", spec.priority));
    }
    let labels = labels_from_wire("labels", spec.labels, &mut found);
    let on_failure = found.number(|| "on_failure".into(), spec.on_failure).map(on_failure_from_wire);
    let params = params_from_wire(spec.params, &mut found);
    let result = values_from_wire("result", spec.result, &mut found);
    let tasks = spec
        .tasks
        .into_iter()
        .enumerate()
        .map(|(position, task)| task_spec_from_wire(position, task, &mut found))
        .collect::<Vec<_>>();
    let spec = (|| {
        Some(JobSpec {
            namespace: namespace?,
            name: name?,
            priority: priority?,
            labels,
            on_failure: on_failure?,
            timeout_ms: spec.timeout_ms,
            params,
            tasks: tasks.into_iter().collect::<Option<_>>()?,
            result,
        })
    })();
    found.finish(spec)
}

/// BLAKE3 over the canonical encoding.
pub fn spec_digest(spec: &JobSpec) -> Digest {
    Digest(*blake3::hash(&spec_to_wire(spec).encode_to_vec()).as_bytes())
}

/// A job for lists; `latest` is where its newest run stands, without which that is unspecified.
pub fn job_to_wire(job: &Job, latest: Option<RunState>) -> v1::JobSummary {
    let total = job.spec.tasks.iter().fold(0_u32, |total, task| total.saturating_add(task.count));
    v1::JobSummary {
        namespace: job.namespace.to_string(),
        name: job.name.to_string(),
        version: job.version,
        latest_run_id: job.latest_run.to_string(),
        latest_run_state: latest.map_or(v1::RunState::Unspecified, run_state_to_wire).into(),
        submitted_at_ms: job.submitted_at.0,
        task_count: total,
        labels: labels_to_wire(&job.spec.labels),
    }
}

/// Resources as sent.
pub fn resources_to_wire(resources: Resources) -> v1::Resources {
    let Resources { cpu_milli, memory_bytes, gpu_milli } = resources;
    v1::Resources { cpu_milli, memory_bytes, gpu_milli }
}

/// Resources of a message.
pub fn resources_from_wire(resources: v1::Resources) -> Resources {
    let v1::Resources { cpu_milli, memory_bytes, gpu_milli } = resources;
    Resources { cpu_milli, memory_bytes, gpu_milli }
}

/// How a task runs, as sent.
pub fn driver_to_wire(driver: Driver) -> v1::Driver {
    match driver {
        Driver::Process => v1::Driver::Process,
        Driver::Noop => v1::Driver::Noop,
    }
}

/// How a task runs; the default when unspecified.
pub fn driver_from_wire(driver: v1::Driver) -> Driver {
    match driver {
        v1::Driver::Unspecified => Driver::default(),
        v1::Driver::Process => Driver::Process,
        v1::Driver::Noop => Driver::Noop,
    }
}

/// The promise about copies, as sent.
pub fn on_node_loss_to_wire(promise: OnNodeLoss) -> v1::OnNodeLoss {
    match promise {
        OnNodeLoss::AtLeastOnce => v1::OnNodeLoss::AtLeastOnce,
        OnNodeLoss::Fenced => v1::OnNodeLoss::Fenced,
        OnNodeLoss::AtMostOnce => v1::OnNodeLoss::AtMostOnce,
    }
}

/// The promise about copies; the default when unspecified.
pub fn on_node_loss_from_wire(promise: v1::OnNodeLoss) -> OnNodeLoss {
    match promise {
        v1::OnNodeLoss::Unspecified => OnNodeLoss::default(),
        v1::OnNodeLoss::AtLeastOnce => OnNodeLoss::AtLeastOnce,
        v1::OnNodeLoss::Fenced => OnNodeLoss::Fenced,
        v1::OnNodeLoss::AtMostOnce => OnNodeLoss::AtMostOnce,
    }
}

/// Labels (or an environment) as sent: by key.
pub fn labels_to_wire(labels: &BTreeMap<String, String>) -> Vec<v1::Label> {
    labels.iter().map(|(key, value)| v1::Label { key: key.clone(), value: value.clone() }).collect()
}

/// Labels of a message in any order; a key given twice is noted under `field`.
pub(crate) fn labels_from_wire(field: &str, labels: Vec<v1::Label>, found: &mut Found) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for v1::Label { key, value } in labels {
        match map.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(entry) => found.add(format!("{field}.{}", entry.key()), "is given twice"),
        }
    }
    map
}

fn alternative_to_wire(alternative: &Alternative) -> v1::Alternative {
    v1::Alternative {
        resources: Some(resources_to_wire(alternative.resources)),
        gpu_models: alternative.gpu_models.iter().map(ToString::to_string).collect(),
    }
}

/// What an element takes, the best first: at least one.
fn alternatives_from_wire(
    at: &dyn Fn(&str) -> String,
    (resources, gpu_models): (Option<v1::Resources>, &[String]),
    want: &[v1::Alternative],
    found: &mut Found,
) -> Option<Vec<Alternative>> {
    let mut read = |field: &str, resources: Option<v1::Resources>, models: &[String]| {
        let gpu_models = names(&|position| at(&format!("{field}.gpu_models[{position}]")), models, found)?;
        Some(Alternative { resources: resources.map_or(Resources::ZERO, resources_from_wire), gpu_models })
    };
    if want.is_empty() {
        return read("resources", resources, gpu_models).map(|only| vec![only]);
    }
    let all: Vec<Option<Alternative>> = want
        .iter()
        .enumerate()
        .map(|(position, one)| read(&format!("want[{position}]"), one.resources, &one.gpu_models))
        .collect();
    if resources.is_some() || !gpu_models.is_empty() {
        found.add(at("want"), "is said in the place of resources: leave one of them out");
        return None;
    }
    if let [_] = want {
        found.add(at("want"), "has one alternative, which leaves nothing to choose: say it with resources");
        return None;
    }
    all.into_iter().collect()
}

fn task_spec_to_wire(task: &TaskSpec) -> v1::TaskSpec {
    let has_choice = task.has_choice();
    let want = task.choices().filter(|_| has_choice).filter_map(|choice| task.alternative(choice));
    let models = task.gpu_models.iter().filter(|_| !has_choice);
    v1::TaskSpec {
        name: task.name.to_string(),
        driver: driver_to_wire(task.driver).into(),
        argv: task.argv.clone(),
        env: labels_to_wire(&task.env),
        needs: task.needs.iter().map(ToString::to_string).collect(),
        count: task.count,
        resources: (!has_choice).then(|| resources_to_wire(task.resources)),
        gpu_models: models.map(ToString::to_string).collect(),
        want: want.map(|alternative| alternative_to_wire(&alternative)).collect(),
        retry: Some(v1::Retry {
            attempts: task.retry.attempts,
            first_ms: task.retry.first_ms,
            factor_milli: task.retry.factor_milli,
            cap_ms: task.retry.cap_ms,
            jitter_milli: task.retry.jitter_milli,
            never: task.retry.never.clone(),
            never_errors: task.retry.never_errors.iter().map(ToString::to_string).collect(),
        }),
        run_timeout_ms: task.run_timeout_ms,
        queued_timeout_ms: task.queued_timeout_ms,
        silent_timeout_ms: task.silent_timeout_ms,
        place: Some(place_to_wire(&task.place)),
        on_node_loss: on_node_loss_to_wire(task.on_node_loss).into(),
        on_region_loss: task.on_region_loss.as_ref().map(on_region_loss_to_wire),
        role: role_to_wire(&task.role),
        templated: task.templated,
        when: task.when.clone(),
        each: task.each.as_ref().map(each_to_wire),
        accept_failed: task.accept_failed,
        sub_run: task.sub_run.as_ref().map(sub_run_to_wire),
        gang: task.gang.as_ref().map(gang_to_wire),
        preemptible: (!task.preemptible).then_some(false),
    }
}

fn task_spec_from_wire(position: usize, task: v1::TaskSpec, found: &mut Found) -> Option<TaskSpec> {
    let name = found.parse(|| format!("task[{position}].name"), &task.name);
    let at = |key: &str| format!("task.{}.{key}", task.name);
    let driver = found.number(|| at("driver"), task.driver).map(driver_from_wire);
    let env = labels_from_wire(&at("env"), task.env, found);
    let needs = names(&|place| at(&format!("needs[{place}]")), &task.needs, found);
    let place = place_from_wire(&at, task.place.unwrap_or_default(), found);
    let on_node_loss = found.number(|| at("on_node_loss"), task.on_node_loss).map(on_node_loss_from_wire);
    let on_region_loss = match task.on_region_loss {
        Some(policy) => on_region_loss_from_wire(&at, policy, found).map(Some),
        None => Some(None),
    };
    let role = role_from_wire(&at, task.role, found);
    let each = match task.each {
        Some(each) => each_from_wire(|| at("each"), each, found).map(Some),
        None => Some(None),
    };
    let sub_run = match task.sub_run {
        Some(sub_run) => sub_run_from_wire(&at, sub_run, found).map(Some),
        None => Some(None),
    };
    let takes = alternatives_from_wire(&at, (task.resources, &task.gpu_models), &task.want, found);
    let never_errors = task.retry.as_ref().map(|retry| retry.never_errors.as_slice()).unwrap_or_default();
    let never_errors = names(&|position| at(&format!("retry.never_errors[{position}]")), never_errors, found);
    let mut takes = takes?.into_iter();
    let best = takes.next()?;
    Some(TaskSpec {
        name: name?,
        driver: driver?,
        argv: task.argv,
        env,
        needs: needs?,
        count: task.count,
        resources: best.resources,
        gpu_models: best.gpu_models,
        alternatives: takes.collect(),
        retry: match task.retry {
            None => Retry::default(),
            Some(retry) => Retry {
                attempts: retry.attempts,
                first_ms: retry.first_ms,
                factor_milli: retry.factor_milli,
                cap_ms: retry.cap_ms,
                jitter_milli: retry.jitter_milli,
                never: retry.never,
                never_errors: never_errors?,
            },
        },
        run_timeout_ms: task.run_timeout_ms,
        queued_timeout_ms: task.queued_timeout_ms,
        silent_timeout_ms: task.silent_timeout_ms,
        place: place?,
        on_node_loss: on_node_loss?,
        on_region_loss: on_region_loss?,
        role: role?,
        templated: task.templated,
        when: task.when,
        each: each?,
        accept_failed: task.accept_failed,
        sub_run: sub_run?,
        gang: task.gang.map(gang_from_wire),
        preemptible: task.preemptible.unwrap_or(true),
    })
}

/// All of these names, or none: each that is none is noted under what `field` makes of its place.
pub(super) fn names<T>(field: &dyn Fn(usize) -> String, texts: &[String], found: &mut Found) -> Option<Vec<T>>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    // Every one is looked at before any missing one ends it: all violations in one answer.
    let names: Vec<Option<T>> =
        texts.iter().enumerate().map(|(position, text)| found.parse(|| field(position), text)).collect();
    names.into_iter().collect()
}

fn on_failure_to_wire(on_failure: OnFailure) -> v1::OnFailure {
    match on_failure {
        OnFailure::Finish => v1::OnFailure::Finish,
        OnFailure::Cancel => v1::OnFailure::Cancel,
    }
}

fn on_failure_from_wire(on_failure: v1::OnFailure) -> OnFailure {
    match on_failure {
        v1::OnFailure::Unspecified => OnFailure::default(),
        v1::OnFailure::Finish => OnFailure::Finish,
        v1::OnFailure::Cancel => OnFailure::Cancel,
    }
}

fn on_region_loss_to_wire(policy: &OnRegionLoss) -> v1::OnRegionLoss {
    let policy = match policy {
        OnRegionLoss::Stay => v1::on_region_loss::Policy::Stay(v1::StayInRegion {}),
        OnRegionLoss::MoveAfter { after_ms, spill } => v1::on_region_loss::Policy::Move(v1::MoveAfter {
            after_ms: *after_ms,
            spill: spill.iter().map(ToString::to_string).collect(),
        }),
    };
    v1::OnRegionLoss { policy: Some(policy) }
}

fn on_region_loss_from_wire(
    at: &dyn Fn(&str) -> String,
    policy: v1::OnRegionLoss,
    found: &mut Found,
) -> Option<OnRegionLoss> {
    match policy.policy {
        Some(v1::on_region_loss::Policy::Stay(v1::StayInRegion {})) => Some(OnRegionLoss::Stay),
        Some(v1::on_region_loss::Policy::Move(v1::MoveAfter { after_ms, spill })) => {
            let spill = names(&|position| at(&format!("on_region_loss.spill[{position}]")), &spill, found)?;
            Some(OnRegionLoss::MoveAfter { after_ms, spill })
        }
        None => found.parse::<RegionName>(|| at("on_region_loss"), "").map(|_| OnRegionLoss::Stay),
    }
}

pub(super) fn spread_to_wire(spread: Spread) -> v1::Spread {
    match spread {
        Spread::Pack => v1::Spread::Pack,
        Spread::Node => v1::Spread::Node,
        Spread::Cluster => v1::Spread::Cluster,
    }
}

pub(super) fn spread_from_wire(spread: v1::Spread) -> Spread {
    match spread {
        v1::Spread::Unspecified => Spread::default(),
        v1::Spread::Pack => Spread::Pack,
        v1::Spread::Node => Spread::Node,
        v1::Spread::Cluster => Spread::Cluster,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_spec_survives_the_wire() {
        for spec in samples::specs().into_iter().chain([
            samples::flow_spec(),
            samples::sub_run_spec(),
            samples::gang_spec(),
            samples::region_loss_spec(),
            samples::alternatives_spec(),
        ]) {
            assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec));
        }
    }

    #[test]
    fn every_violation_of_a_message_is_told_at_once() {
        let mut spec = spec_to_wire(&samples::specs()[0]);
        spec.namespace = "a b".into();
        spec.priority = 300;
        spec.on_failure = 99;
        spec.labels = vec![v1::Label { key: "team".into(), value: String::new() }; 2];
        spec.tasks[0].name = String::new();
        spec.tasks[1].needs = vec!["-".into(), "fine".into(), "ä".into()];
        spec.tasks[1].driver = -1;
        spec.tasks[1].role = Some(v1::Role { role: Some(v1::role::Role::Undo(v1::Undo { of: "a b".into() })) });
        spec.tasks[1].each = Some(v1::Each { each: None });
        spec.params = vec![v1::Param { name: "day".into(), ..Default::default() }; 2];
        let found = spec_from_wire(spec).unwrap_err();
        let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "namespace",
                "priority",
                "labels.team",
                "on_failure",
                "params.day",
                "task[0].name",
                "task.merge.driver",
                "task.merge.needs[0]",
                "task.merge.needs[2]",
                "task.merge.undo",
                "task.merge.each"
            ]
        );
    }

    #[test]
    fn what_is_left_out_takes_its_default() {
        let task = v1::TaskSpec { name: "a".into(), count: 1, ..v1::TaskSpec::default() };
        let message =
            v1::JobSpec { namespace: "n".into(), name: "j".into(), tasks: vec![task], ..v1::JobSpec::default() };
        let spec = spec_from_wire(message).unwrap();
        assert_eq!(spec.on_failure, OnFailure::Finish);
        assert_eq!(spec.tasks[0].retry, Retry::default());
        assert_eq!(spec.tasks[0].driver, Driver::Process);
        assert_eq!(spec.tasks[0].resources, Resources::ZERO);
    }

    #[test]
    fn the_digest_of_a_spec_depends_on_its_content_alone() {
        let specs = samples::specs();
        assert_eq!(spec_digest(&specs[0]), spec_digest(&specs[0].clone()));
        assert_ne!(spec_digest(&specs[0]), spec_digest(&specs[1]));
        let mut other = specs[0].clone();
        other.tasks[0].count += 1;
        assert_ne!(spec_digest(&specs[0]), spec_digest(&other));
    }
}

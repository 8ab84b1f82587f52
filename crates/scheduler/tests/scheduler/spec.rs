//! Jobs and tasks from the words of a scenario.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Alternative, Apart, AtMost, Balance, Dataset, Driver, Each, GangSpec, JobName, JobSpec, Near, OnFailure,
    OnNodeLoss, Place, Preference, Resources, Retry, Role, Spread, TaskName, TaskSpec, Trait, Within,
};

use crate::world::{self, namespace};

pub(crate) fn job(name: &str, options: &[&str]) -> JobSpec {
    let mut spec = JobSpec {
        namespace: namespace(),
        name: JobName::new(name).expect("a name"),
        priority: 50,
        labels: BTreeMap::new(),
        on_failure: OnFailure::Finish,
        timeout_ms: None,
        tasks: Vec::new(),
        params: std::collections::BTreeMap::new(),
        result: std::collections::BTreeMap::new(),
    };
    for option in options {
        match option.split_once('=') {
            Some(("priority", value)) => spec.priority = value.parse().expect("a number"),
            Some(("on_failure", "cancel")) => spec.on_failure = OnFailure::Cancel,
            _ => panic!("not an option of a job: {option}"),
        }
    }
    spec
}

pub(crate) fn task(name: &str, resources: Resources, options: &[&str]) -> TaskSpec {
    let mut spec = TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: TaskName::new(name).expect("a name"),
        driver: Driver::Noop,
        argv: Vec::new(),
        env: BTreeMap::new(),
        needs: Vec::new(),
        count: 1,
        resources,
        retry: Retry::default(),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place::default(),
        on_node_loss: OnNodeLoss::AtLeastOnce,
        role: Role::Work,
        templated: false,
        when: None,
        each: None,
        on_region_loss: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: true,
    };
    for option in options {
        let (key, value) = option.split_once('=').expect("key=value");
        match (key, value) {
            ("gpu", milli) => spec.resources.gpu_milli = milli.parse().expect("thousandths"),
            ("model", model) => spec.gpu_models.push(model.parse().expect("a model")),
            ("or", amounts) => {
                let mut parts = amounts.split('/');
                let mut next = || parts.next();
                let mut resources = world::resources(next().expect("cpu"), next().expect("memory"));
                resources.gpu_milli = next().map_or(0, |milli| milli.parse().expect("thousandths"));
                let gpu_models = next().map(|model| model.parse().expect("a model")).into_iter().collect();
                spec.alternatives.push(Alternative { resources, gpu_models });
            }
            ("count", value) => spec.count = value.parse().expect("a number"),
            ("spread", "pack") => spec.place.spread = Spread::Pack,
            ("spread", "node") => spec.place.spread = Spread::Node,
            ("spread", "cluster") => spec.place.spread = Spread::Cluster,
            ("regions", names) => {
                spec.place.regions = names.split(',').map(|name| name.parse().expect("a name")).collect()
            }
            ("clusters", names) => {
                spec.place.clusters = names.split(',').map(|name| name.parse().expect("a name")).collect()
            }
            ("label", label) => {
                let (key, value) = label.split_once(':').expect("key:value");
                spec.place.labels.insert(key.into(), value.into());
            }
            ("pools", names) => spec.place.pools = names.split(',').map(|name| name.parse().expect("a name")).collect(),
            ("tolerate", taint) => {
                let (key, value) = taint.split_once(':').expect("key:value");
                spec.place.tolerate.insert(key.into(), value.into());
            }
            ("group", name) => spec.place.company.group = Some(name.parse().expect("a name")),
            ("atmost", rule) => {
                let (per, tasks) = rule.rsplit_once('/').expect("per/tasks");
                let (per, tasks) = (per.parse().expect("a topology"), tasks.parse().expect("a number"));
                spec.place.company.at_most.push(AtMost { per, tasks });
            }
            ("apart", rule) => {
                let (from, per) = rule.split_once('/').expect("from/per");
                let (from, per) = (from.parse().expect("a name"), per.parse().expect("a topology"));
                spec.place.company.apart.push(Apart { from, per });
            }
            ("balance", rule) => {
                let (per, targets) = rule.split_once('/').unwrap_or((rule, ""));
                let targets = targets.split(',').filter_map(|target| target.split_once('='));
                let targets = targets.map(|(domain, share)| (domain.to_owned(), share.parse().expect("a share")));
                let per = per.parse().expect("a topology");
                spec.place.company.balance.push(Balance { per, targets: targets.collect() });
            }
            ("home", policy) => spec.on_region_loss = Some(crate::region_loss::policy(policy)),
            ("near", data) => {
                let data = data.split(',').map(|data| data.split_once(':').expect("region:bytes"));
                let data = data.map(|(region, bytes)| Dataset {
                    region: region.parse().expect("a name"),
                    bytes: bytes.parse().expect("a number"),
                });
                spec.place.near = Near { data: data.collect(), weight: 50 };
            }
            ("reservation", name) => spec.place.reservation = Some(name.parse().expect("a name")),
            ("where", text) => spec.place.condition = Some(Arc::new(text.parse().expect("a condition"))),
            ("cheap", weight) => spec.place.cheap = weight.parse().expect("a weight"),
            ("prefer", preference) => spec.place.prefer.push(prefer(preference)),
            ("needs", names) => spec.needs = names.split(',').map(|name| name.parse().expect("a name")).collect(),
            ("gang", within) => {
                let within = match within {
                    "cluster" => Some(Within::Cluster),
                    "region" => Some(Within::Region),
                    "anywhere" => None,
                    label => Some(Within::Label(label.into())),
                };
                spec.gang = Some(GangSpec { within, start_ms: None });
            }
            ("when", condition) => spec.when = Some(condition.into()),
            ("each", reference) => spec.each = Some(Each::Result(reference.into())),
            ("fallback", names) => {
                let of = names.split(',').map(|name| name.parse().expect("a name")).collect();
                spec.role = Role::Fallback { of };
            }
            ("undoes", name) => spec.role = Role::Undo { of: name.parse().expect("a name") },
            ("accept", number) => spec.accept_failed = number.parse().expect("a number"),
            ("finally", _) => spec.role = Role::Finally,
            ("loss", "fenced") => spec.on_node_loss = OnNodeLoss::Fenced,
            ("loss", "at_most_once") => spec.on_node_loss = OnNodeLoss::AtMostOnce,
            ("timeout", millis) => spec.run_timeout_ms = Some(millis.parse().expect("milliseconds")),
            ("attempts", number) => {
                spec.retry = Retry { attempts: number.parse().expect("a number"), jitter_milli: 0, ..Retry::default() }
            }
            _ => panic!("not an option of a task: {option}"),
        }
    }
    spec
}

/// `region:eu:50`, and the same of `cluster` and `pool`; `disk=ssd:-20` of a label.
fn prefer(text: &str) -> Preference {
    let (of, weight) = text.rsplit_once(':').expect("what:weight");
    let of = match of.split_once(':') {
        Some(("region", name)) => Trait::Region(name.parse().expect("a name")),
        Some(("cluster", name)) => Trait::Cluster(name.parse().expect("a name")),
        Some(("pool", name)) => Trait::Pool(name.parse().expect("a name")),
        Some(_) | None => {
            let (key, value) = of.split_once('=').expect("key=value");
            Trait::Label { key: key.into(), value: value.into() }
        }
    };
    Preference { of, weight: weight.parse().expect("a weight") }
}

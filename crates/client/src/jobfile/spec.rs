//! The walk from the tree to a job's spec: which key becomes which field.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    ANY_VALUE, Alternative, Dataset, Driver, JobSpec, NEAR_WEIGHT, Namespace, OnFailure, OnNodeLoss, OnRegionLoss,
    Place, Preference, Resources, Retry, Role, Settings, Spread, TaskName, TaskSpec, Trait, Violation,
};

use super::company::company;
use super::flow;
use super::gang;
use super::problem::{Finding, Findings};
use super::region_loss::on_region_loss;
use super::schema::Kind;
use super::sub_run;
use super::trail::Trail;
use super::tree::{Node, Value};
use super::walk::{End, Field, Fields, Walk, nearest};

/// Where a job lives that names no namespace.
pub(super) const DEFAULT_NAMESPACE: &str = "default";
/// Priority of a job that names none.
pub(super) const DEFAULT_PRIORITY: u8 = 50;
/// What a task takes that does not say.
pub(super) const DEFAULT_RESOURCES: Resources = Resources { cpu_milli: 100, memory_bytes: 64 << 20, gpu_milli: 0 };

/// The spec that `root` describes, or everything that is wrong with it: with its form, and with its
/// meaning as far as that can be told without the cluster.
pub(super) fn compile(root: &Node, settings: &Settings) -> Result<JobSpec, Findings> {
    let mut walk = Walk::default();
    let Some(spec) = job(&mut walk, root) else { return Err(walk.findings) };
    let violations = spec.check(settings).err().into_iter().chain(quorate_flow::check(&spec).err()).flatten();
    let violations = violations.map(|violation| flow::as_written(&spec, violation));
    // A field that could not be read holds a stand-in: what that breaks is not the user's doing.
    let said: Vec<Violation> = violations.filter(|violation| !walk.findings.concerns(&violation.field)).collect();
    for (place, violation) in said.iter().enumerate() {
        // What undoes a task has most of what it has.
        if !said[..place].contains(violation) {
            let node = root.locate(&violation.field);
            let message = advise(&spec, node, violation);
            walk.findings.push(Finding { at: node.at, field: violation.field.clone(), message });
        }
    }
    if walk.findings.is_empty() { Ok(spec) } else { Err(walk.findings) }
}

fn job(walk: &mut Walk, root: &Node) -> Option<JobSpec> {
    let trail = &Trail::ROOT;
    let fields = walk.fields(root, "", trail)?;
    if fields.get("name").is_none() {
        walk.complain(root.at, &trail.key("name"), "required: every job has a name");
    }
    let name = walk.name(fields.get("name"), trail);
    let namespace = walk.name(fields.get("namespace"), trail);
    let on_node_loss = walk.choice(fields.get("on_node_loss"), trail).map(node_loss).unwrap_or_default();
    let region_loss = on_region_loss(walk, fields.get("on_region_loss"), "on_region_loss", trail).flatten();
    let policies = retry_policies(walk, fields.get("retry"));
    let mut spec = JobSpec {
        namespace: namespace.unwrap_or_else(default_namespace),
        name: name.unwrap_or_else(|| stand_in("unnamed")),
        priority: walk
            .whole(fields.get("priority"), trail)
            .and_then(|p| u8::try_from(p).ok())
            .unwrap_or(DEFAULT_PRIORITY),
        labels: walk.text_map(fields.get("labels"), trail),
        on_failure: walk.choice(fields.get("on_failure"), trail).map(failure).unwrap_or_default(),
        timeout_ms: walk.amount(fields.get("timeout"), trail),
        params: flow::params(walk, fields.get("params")),
        tasks: Vec::new(),
        result: sub_run::values(walk, fields.get("result"), trail),
    };
    let trail = trail.key("task");
    let Some(tasks) = fields.get("task") else {
        walk.complain(
            root.at,
            &trail,
            "required: a job has at least one task, such as [task.hello] with run = [\"echo\", \"hello\"]",
        );
        return Some(spec);
    };
    let mut undo = Vec::new();
    for member in walk.members(&tasks.member.node, &trail, Kind::NamedTables).unwrap_or_default() {
        let trail = trail.key(&member.key);
        match TaskName::new(&member.key) {
            Ok(name) => {
                let (task, undone_by) = task(walk, &member.node, name, (on_node_loss, &region_loss), &policies, &trail);
                undo.extend(undone_by.map(|argv| (spec.tasks.len(), argv)));
                spec.tasks.push(task);
            }
            Err(error) => walk.complain(member.key_at, &trail, error),
        }
    }
    flow::finish(walk, root, &mut spec, undo, on_node_loss);
    Some(spec)
}

/// The task, and the command that undoes it, if it has one. Always gives a task, so that others that need it are not
/// said to need nothing.
fn task(
    walk: &mut Walk,
    node: &Node,
    name: TaskName,
    (job_on_node_loss, job_on_region_loss): (OnNodeLoss, &Option<OnRegionLoss>),
    policies: &BTreeMap<&str, Retry>,
    trail: &Trail<'_>,
) -> (TaskSpec, Option<Vec<String>>) {
    let mut spec = TaskSpec {
        name,
        driver: Driver::default(),
        argv: Vec::new(),
        env: BTreeMap::new(),
        needs: Vec::new(),
        count: 1,
        resources: DEFAULT_RESOURCES,
        gpu_models: Vec::new(),
        alternatives: Vec::new(),
        retry: Retry::default(),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place::default(),
        on_node_loss: job_on_node_loss,
        on_region_loss: job_on_region_loss.clone(),
        role: Role::Work,
        templated: false,
        when: None,
        each: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: true,
    };
    let Some(fields) = walk.fields(node, "task.NAME", trail) else { return (spec, None) };
    if let Some(driver) = walk.choice(fields.get("driver"), trail) {
        spec.driver = [Driver::Process, Driver::Noop][driver];
    }
    if fields.get("run").is_none() && !fields.is_ahead && spec.driver == Driver::Process {
        walk.complain(
            node.at,
            &trail.key("run"),
            "required: program and arguments, such as run = [\"echo\", \"hello\"]",
        );
    }
    let is_run = sub_run::names_job(fields.get("run"));
    let args = sub_run::values(walk, fields.get("args"), trail);
    if !is_run {
        sub_run::process(walk, &fields, trail);
        spec.argv = walk.templates(fields.get("run"), trail);
    }
    if fields.get("run").is_none() && fields.is_ahead {
        // Whatever would take the place of `run` has been complained about.
        spec.argv.push("later".to_owned());
    }
    if !is_run {
        spec.env = walk.template_map(fields.get("env"), trail);
    }
    spec.needs = walk.names(fields.get("needs"), trail);
    if let Some(count) = walk.whole(fields.get("count"), trail) {
        spec.count = u32::try_from(count).unwrap_or(u32::MAX);
    }
    resources(walk, &fields, &mut spec, trail);
    if let Some(policy) = retry_of_task(walk, fields.get("retry"), policies, trail) {
        spec.retry = policy;
    }
    if let Some(field) = fields.get("timeouts") {
        let trail = trail.key("timeouts");
        if let Some(fields) = walk.fields(&field.member.node, "task.NAME.timeouts", &trail) {
            spec.run_timeout_ms = walk.amount(fields.get("run"), &trail);
            spec.queued_timeout_ms = walk.amount(fields.get("queued"), &trail);
            spec.silent_timeout_ms = walk.amount(fields.get("silent"), &trail);
        }
    }
    if let Some(field) = fields.get("place") {
        place(walk, field, &mut spec.place, trail);
    }
    if let Some(choice) = walk.choice(fields.get("on_node_loss"), trail) {
        spec.on_node_loss = node_loss(choice);
    }
    if let Some(preemptible) = walk.flag(fields.get("preemptible"), trail) {
        spec.preemptible = preemptible;
    }
    let field = fields.get("on_region_loss");
    if let Some(policy) = on_region_loss(walk, field, "task.NAME.on_region_loss", trail) {
        spec.on_region_loss = policy;
    }
    if is_run {
        sub_run::sub_run(walk, &fields, args, &mut spec, trail);
    }
    spec.role = flow::role(walk, &fields, trail);
    spec.when = walk.words(fields.get("when"), trail);
    spec.accept_failed = flow::accept(walk, &fields, trail);
    if let Some(field) = fields.get("each") {
        if fields.get("count").is_some() {
            walk.complain(field.member.key_at, &trail.key("each"), "each says how many there are: leave count out");
        } else if let Some((each, count)) = flow::each(walk, field, trail) {
            (spec.each, spec.count) = (Some(each), count);
        }
    }
    spec.gang = gang::gang(walk, fields.get("gang"), trail);
    let undo = fields.get("undo").map(|field| {
        if spec.role == Role::Finally {
            walk.complain(
                field.member.key_at,
                &trail.key("undo"),
                "what comes at the end is not undone: leave one out",
            );
        }
        walk.templates(Some(field), trail)
    });
    (spec, undo)
}

/// What an element takes: one thing, or one of several.
fn resources(walk: &mut Walk, fields: &Fields<'_>, into: &mut TaskSpec, trail: &Trail<'_>) {
    let of_one = fields.get("resources").and_then(|field| {
        let trail = trail.key("resources");
        amounts(walk, &field.member.node, "task.NAME.resources", &trail)
    });
    let mut all = of_one.into_iter().collect();
    if let Some(field) = fields.get("want") {
        let found = walk.list(Some(field), trail, |walk, node, trail| amounts(walk, node, "task.NAME.want", trail));
        let alternatives = match &field.member.node.value {
            Value::List(nodes) => nodes.len(),
            _ => return,
        };
        if fields.get("resources").is_some() {
            let message = "is said in the place of resources: leave one of them out";
            walk.complain(field.member.key_at, &trail.key("want"), message);
        } else if alternatives < 2 {
            let message = "has fewer than two alternatives, which leaves nothing to choose: use resources";
            walk.complain(field.member.key_at, &trail.key("want"), message);
        }
        all = found;
    }
    let mut all: std::vec::IntoIter<Alternative> = all.into_iter();
    if let Some(Alternative { resources, gpu_models }) = all.next() {
        (into.resources, into.gpu_models) = (resources, gpu_models);
    }
    into.alternatives = all.collect();
}

fn amounts(walk: &mut Walk, node: &Node, path: &'static str, trail: &Trail<'_>) -> Option<Alternative> {
    let fields = walk.fields(node, path, trail)?;
    let mut resources = DEFAULT_RESOURCES;
    if let Some(cpu) = walk.amount(fields.get("cpu"), trail) {
        resources.cpu_milli = cpu;
    }
    if let Some(memory) = walk.amount(fields.get("memory"), trail) {
        resources.memory_bytes = memory;
    }
    if let Some(gpu) = walk.amount(fields.get("gpu"), trail) {
        resources.gpu_milli = gpu;
    }
    Some(Alternative { resources, gpu_models: walk.names(fields.get("gpu_models"), trail) })
}

fn place(walk: &mut Walk, field: Field<'_>, into: &mut Place, trail: &Trail<'_>) {
    let trail = trail.key("place");
    let Some(fields) = walk.fields(&field.member.node, "task.NAME.place", &trail) else { return };
    into.regions = walk.names(fields.get("regions"), &trail);
    into.clusters = walk.names(fields.get("clusters"), &trail);
    into.labels = walk.text_map(fields.get("labels"), &trail);
    if let Some(spread) = walk.choice(fields.get("spread"), &trail) {
        into.spread = [Spread::Pack, Spread::Node, Spread::Cluster][spread];
    }
    into.pools = walk.names(fields.get("pools"), &trail);
    into.tolerate = walk.text_map(fields.get("tolerate"), &trail);
    into.prefer = walk.list(fields.get("prefer"), &trail, preference);
    into.company = company(walk, &fields, &trail);
    into.near.data = walk.list(fields.get("near"), &trail, dataset);
    let weight = walk.whole(fields.get("near_weight"), &trail).and_then(|weight| u32::try_from(weight).ok());
    into.near.weight = weight.unwrap_or(if into.near.is_empty() { 0 } else { NEAR_WEIGHT });
    into.condition = walk.name(fields.get("where"), &trail).map(Arc::new);
    into.reservation = walk.name(fields.get("reservation"), &trail);
    into.cheap = walk.whole(fields.get("cheap"), &trail).and_then(|cheap| u32::try_from(cheap).ok()).unwrap_or(0);
}

fn dataset(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Option<Dataset> {
    let fields = walk.fields(node, "task.NAME.place.near", trail)?;
    for (key, what) in [("region", "the region in which it lies"), ("size", "how much it is, such as \"40Gi\"")] {
        if fields.get(key).is_none() {
            walk.complain(node.at, &trail.key(key), format_args!("required: {what}"));
        }
    }
    let region = walk.name(fields.get("region"), trail);
    let bytes = walk.amount(fields.get("size"), trail);
    Some(Dataset { region: region?, bytes: bytes? })
}

fn preference(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Option<Preference> {
    let fields = walk.fields(node, "task.NAME.place.prefer", trail)?;
    let label = walk.words(fields.get("label"), trail).map(|label| match label.split_once('=') {
        Some((key, value)) => Trait::Label { key: key.to_owned(), value: value.to_owned() },
        None => Trait::Label { key: label, value: ANY_VALUE.to_owned() },
    });
    let pool = walk.name(fields.get("pool"), trail).map(Trait::Pool);
    let region = walk.name(fields.get("region"), trail).map(Trait::Region);
    let cluster = walk.name(fields.get("cluster"), trail).map(Trait::Cluster);
    let mut said: Vec<Trait> = [label, pool, region, cluster].into_iter().flatten().collect();
    let keys = ["label", "pool", "region", "cluster"].into_iter().filter(|key| fields.get(key).is_some()).count();
    if keys != 1 {
        walk.complain(node.at, trail, "expected one of label, pool, region and cluster, and a weight");
    }
    let Some(weight) = fields.get("weight") else {
        walk.complain(node.at, &trail.key("weight"), "required: 1 to 100, or -100 to -1 for what is to be avoided");
        return None;
    };
    let weight = walk.signed(Some(weight), trail)?;
    Some(Preference { of: said.pop()?, weight: i32::try_from(weight).unwrap_or(i32::MAX) })
}

fn retry_policies<'t>(walk: &mut Walk, field: Option<Field<'t>>) -> BTreeMap<&'t str, Retry> {
    let mut policies = BTreeMap::new();
    let Some(field) = field else { return policies };
    let trail = Trail::ROOT.key("retry");
    for member in walk.members(&field.member.node, &trail, Kind::NamedTables).unwrap_or_default() {
        let policy = retry(walk, &member.node, &trail.key(&member.key));
        policies.insert(member.key.as_str(), policy);
    }
    policies
}

fn retry_of_task(
    walk: &mut Walk,
    field: Option<Field<'_>>,
    policies: &BTreeMap<&str, Retry>,
    trail: &Trail<'_>,
) -> Option<Retry> {
    let node = &field?.member.node;
    let trail = trail.key("retry");
    let Value::Text(name) = &node.value else { return Some(retry(walk, node, &trail)) };
    let policy = policies.get(name.as_str()).cloned();
    if policy.is_none() {
        let advice = nearest(name, policies.keys().copied())
            .map_or_else(|| format!("add a table [retry.{name}]"), |name| format!("did you mean \"{name}\"?"));
        walk.complain(
            node.at,
            &trail,
            format_args!("there is no retry policy of the name {}: {advice}", super::tree::quoted(name)),
        );
    }
    policy
}

fn retry(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Retry {
    let mut policy = Retry::default();
    let Some(fields) = walk.fields(node, "retry.NAME", trail) else { return policy };
    if let Some(attempts) = walk.whole(fields.get("attempts"), trail) {
        policy.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    }
    if let Some(first) = walk.amount(fields.get("first"), trail) {
        policy.first_ms = first;
    }
    if let Some(factor) = walk.thousandths(fields.get("factor"), trail) {
        policy.factor_milli = factor;
    }
    if let Some(cap) = walk.amount(fields.get("cap"), trail) {
        policy.cap_ms = cap;
    }
    if let Some(jitter) = walk.thousandths(fields.get("jitter"), trail) {
        policy.jitter_milli = jitter;
    }
    for end in walk.ends(fields.get("never"), trail) {
        match end {
            End::Code(code) => policy.never.push(code),
            End::Error(error) => policy.never_errors.push(error),
        }
    }
    policy
}

/// The message, with the task that was probably meant where one is named that is not there.
fn advise(spec: &JobSpec, node: &Node, violation: &Violation) -> String {
    if let Value::Text(name) = &node.value
        && (violation.field.contains(".needs[") || violation.field.contains(".on.failed["))
        && !spec.tasks.iter().any(|task| task.name.as_str() == name)
        && let Some(near) = nearest(name, spec.tasks.iter().map(|task| task.name.as_str()))
    {
        return format!("{}; did you mean \"{near}\"?", violation.message);
    }
    violation.message.clone()
}

// The positions below are those of the words in the schema.

fn failure(choice: usize) -> OnFailure {
    [OnFailure::Finish, OnFailure::Cancel][choice]
}

fn node_loss(choice: usize) -> OnNodeLoss {
    [OnNodeLoss::AtLeastOnce, OnNodeLoss::Fenced, OnNodeLoss::AtMostOnce][choice]
}

fn default_namespace() -> Namespace {
    stand_in(DEFAULT_NAMESPACE)
}

/// A name that is known to be well formed.
fn stand_in<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("it is a well-formed name")
}

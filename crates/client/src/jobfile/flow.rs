//! What makes a job more than tasks that wait for each other: what its runs are told, for what its tasks run, which of
//! them stand in, take back or come last, and what its texts refer to.

use std::collections::BTreeMap;

use quorate_flow::Names;
use quorate_state::{Each, JobSpec, OnNodeLoss, Param, Role, TaskName, TaskSpec, Violation};
use quorate_values::{Condition, Reference, Template};

use super::schema::Kind;
use super::spec::DEFAULT_RESOURCES;
use super::trail::Trail;
use super::tree::{Node, Value};
use super::walk::{Field, Fields, Walk};

/// What a task is called that undoes another: its name, and this.
const UNDO: &str = ".undo";

/// What runs of the job can be told.
pub(super) fn params(walk: &mut Walk, field: Option<Field<'_>>) -> BTreeMap<String, Param> {
    let mut params = BTreeMap::new();
    let Some(field) = field else { return params };
    let trail = Trail::ROOT.key("params");
    for member in walk.members(&field.member.node, &trail, Kind::NamedTables).unwrap_or_default() {
        params.insert(member.key.clone(), param(walk, &member.node, &trail.key(&member.key)));
    }
    params
}

fn param(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Param {
    match &node.value {
        Value::Text(kind) => return Param { kind: kind.clone(), ..Param::default() },
        Value::Table(_) => {}
        Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Decimal(_) | Value::Date | Value::List(_) => {
            walk.expected(node, trail, Kind::Param);
            return Param::default();
        }
    }
    let Some(fields) = walk.fields(node, "params.NAME", trail) else { return Param::default() };
    if fields.get("type").is_none() {
        walk.complain(node.at, &trail.key("type"), "required: string, integer, number, boolean, date, list or map");
    }
    Param {
        kind: walk.words(fields.get("type"), trail).unwrap_or_default(),
        default: fields
            .get("default")
            .and_then(|field| json(walk, &field.member.node, &trail.key("default")))
            .map(|value| value.to_string()),
        description: walk.words(fields.get("description"), trail).unwrap_or_default(),
    }
}

/// What the task is for, by `on` and `finally`.
pub(super) fn role(walk: &mut Walk, fields: &Fields<'_>, trail: &Trail<'_>) -> Role {
    let is_last = walk.flag(fields.get("finally"), trail).unwrap_or_default();
    let Some(on) = fields.get("on") else { return if is_last { Role::Finally } else { Role::Work } };
    if is_last {
        let message = "a task stands in for others or comes at the end, not both: leave out one of on and finally";
        walk.complain(on.member.key_at, &trail.key("on"), message);
    }
    let trail = trail.key("on");
    let Some(fields) = walk.fields(&on.member.node, "task.NAME.on", &trail) else { return Role::Work };
    let failed = fields.get("failed");
    if failed.is_none() {
        walk.complain(on.member.node.at, &trail.key("failed"), "required: the tasks that it stands in for");
        return Role::Work;
    }
    Role::Fallback { of: walk.names(failed, &trail) }
}

/// How many failures are good enough.
pub(super) fn accept(walk: &mut Walk, fields: &Fields<'_>, trail: &Trail<'_>) -> u32 {
    let Some(accept) = fields.get("accept") else { return 0 };
    let trail = trail.key("accept");
    let Some(fields) = walk.fields(&accept.member.node, "task.NAME.accept", &trail) else { return 0 };
    walk.whole(fields.get("failed"), &trail).map_or(0, |failed| u32::try_from(failed).unwrap_or(u32::MAX))
}

/// What the elements of a task are for, and how many they are, as far as that is known.
pub(super) fn each(walk: &mut Walk, field: Field<'_>, trail: &Trail<'_>) -> Option<(Each, u32)> {
    let node = &field.member.node;
    let trail = trail.key("each");
    let count = |count: i128| u32::try_from(count).unwrap_or(u32::MAX);
    let (each, count) = match &node.value {
        Value::List(nodes) => {
            let items = nodes.iter().enumerate().filter_map(|(place, node)| json(walk, node, &trail.index(place)));
            let items: Vec<String> = items.map(|value| value.to_string()).collect();
            let count = count(nodes.len() as i128);
            (Each::Items(items), count)
        }
        Value::Whole(number) if *number >= 0 => (Each::Range { from: 0 }, count(*number)),
        Value::Text(text) => match quorate_values::Each::parse(text) {
            Ok(_) => return Some((Each::Result(text.clone()), 1)),
            Err(flaw) => {
                walk.complain(node.at, &trail, flaw);
                return None;
            }
        },
        Value::Table(_) => {
            let fields = walk.fields(node, "task.NAME.each", &trail)?;
            for key in ["from", "to"] {
                if fields.get(key).is_none() {
                    walk.complain(node.at, &trail.key(key), "required, such as each = { from = 0, to = 100 }");
                }
            }
            let (from, to) = (walk.signed(fields.get("from"), &trail), walk.signed(fields.get("to"), &trail));
            let (from, to) = (from?, to?);
            (Each::Range { from }, count((i128::from(to) - i128::from(from)).max(0)))
        }
        Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Decimal(_) | Value::Date => {
            walk.expected(node, &trail, Kind::Each);
            return None;
        }
    };
    if count == 0 {
        walk.complain(node.at, &trail, "there is nothing to do: leave the task out, or give it an element");
        return None;
    }
    Some((each, count))
}

/// Adds the tasks that undo others, then says of every task whether its texts hold references, and what it needs for
/// them. `undo` are the commands, each with the place of the task that it undoes; `on_node_loss` is the job's promise.
pub(super) fn finish(
    walk: &mut Walk,
    root: &Node,
    spec: &mut JobSpec,
    undo: Vec<(usize, Vec<String>)>,
    on_node_loss: OnNodeLoss,
) {
    for (place, argv) in undo {
        let task = &spec.tasks[place];
        let field = format!("task.{}.undo", task.name);
        let at = root.locate(&field).at;
        let trail = Trail::ROOT.key(&field);
        let called = format!("{}{UNDO}", task.name);
        if spec.tasks.iter().any(|task| task.name.as_str() == called) {
            walk.complain(
                at,
                &trail,
                format_args!("what undoes {:?} is called so: rename this", spec.tasks[place].name),
            );
            continue;
        }
        match TaskName::new(&called) {
            Ok(name) => {
                let undo = undoing(task, name, argv, on_node_loss);
                spec.tasks.push(undo);
            }
            Err(error) => walk.complain(at, &trail, format_args!("it is called {called:?}: {error}")),
        }
    }
    spec.tasks.iter_mut().for_each(settle_texts);
    let needs: Vec<Vec<TaskName>> = {
        let names = Names::of(spec);
        spec.tasks.iter().map(|task| needed(&names, task)).collect()
    };
    for (task, needs) in spec.tasks.iter_mut().zip(needs) {
        for need in needs {
            if !task.needs.contains(&need) {
                task.needs.push(need);
            }
        }
    }
}

/// A violation's field as it stands in the file: what undoes a task is written there as a key of it.
pub(super) fn as_written(spec: &JobSpec, violation: Violation) -> Violation {
    let undone = spec.tasks.iter().find_map(|task| {
        let Role::Undo { of } = &task.role else { return None };
        let rest = violation.field.strip_prefix("task.")?.strip_prefix(task.name.as_str())?.strip_prefix('.')?;
        Some(match rest.strip_prefix("run") {
            Some(rest) if rest.is_empty() || rest.starts_with('[') => format!("task.{of}.undo{rest}"),
            Some(_) | None => format!("task.{of}.{rest}"),
        })
    });
    match undone {
        Some(field) => Violation { field, ..violation },
        None => violation,
    }
}

/// The task that undoes an element of this one, by this command, under the same conditions; what undoes a run of another job
/// is a process as others are.
fn undoing(task: &TaskSpec, name: TaskName, argv: Vec<String>, on_node_loss: OnNodeLoss) -> TaskSpec {
    let is_run = task.sub_run.is_some();
    TaskSpec {
        name,
        argv,
        needs: Vec::new(),
        count: 1,
        role: Role::Undo { of: task.name.clone() },
        when: None,
        each: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: task.preemptible,
        // Where the task could run, what it did can be undone: by the same alternatives.
        resources: if is_run { DEFAULT_RESOURCES } else { task.resources },
        on_node_loss: if is_run { on_node_loss } else { task.on_node_loss },
        run_timeout_ms: task.run_timeout_ms.filter(|_| !is_run),
        ..task.clone()
    }
}

/// Notes whether a text of the task refers to anything. If none does, nothing is put in anywhere, and what is escaped
/// is put in plain. What cannot be read stays as it is, for whoever checks the job to complain.
fn settle_texts(task: &mut TaskSpec) {
    let texts = || task.argv.iter().chain(task.env.values());
    if texts().all(|text| !text.contains("${")) {
        return;
    }
    let plain = |text: &String| Template::parse(text).ok()?.plain_text().map(str::to_owned);
    let settled: Option<Vec<String>> = texts().map(plain).collect();
    match settled {
        Some(settled) => {
            task.argv.iter_mut().chain(task.env.values_mut()).zip(settled).for_each(|(text, plain)| *text = plain);
        }
        None => task.templated = true,
    }
}

/// The tasks whose results the task refers to, as far as it has to need them for that.
fn needed(names: &Names<'_>, task: &TaskSpec) -> Vec<TaskName> {
    let mut needed = Vec::new();
    let mut note = |reference: &Reference| needed.extend(names.needed_by(task, reference).cloned());
    if task.templated {
        for template in task.argv.iter().chain(task.env.values()).filter_map(|text| Template::parse(text).ok()) {
            template.references().for_each(&mut note);
        }
    }
    for (name, value) in task.sub_run.iter().flat_map(|sub_run| &sub_run.args) {
        quorate_flow::references(name, value).iter().flatten().for_each(&mut note);
    }
    if let Some(condition) = task.when.as_deref().and_then(|when| Condition::parse(when).ok()) {
        condition.references().for_each(&mut note);
    }
    if let Ok(Some(each)) = quorate_flow::elements(task) {
        each.reference().into_iter().for_each(&mut note);
    }
    needed
}

/// The value, or a complaint about what has no place in JSON.
pub(super) fn json(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Option<quorate_values::Value> {
    use quorate_values::Value as Json;
    Some(match &node.value {
        Value::Null => {
            walk.complain(node.at, trail, "there must be a value here, and null is none");
            return None;
        }
        Value::Bool(value) => Json::Bool(*value),
        Value::Text(text) => Json::String(text.clone()),
        Value::Whole(number) => match i64::try_from(*number) {
            Ok(number) => number.into(),
            Err(_) => {
                walk.complain(node.at, trail, "the number is too large: write it as a text");
                return None;
            }
        },
        Value::Decimal(text) => {
            let number = text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
            let Some(number) = number else {
                walk.complain(node.at, trail, "the number is too large, or none: write it as a text");
                return None;
            };
            number.into()
        }
        Value::Date => {
            walk.complain(node.at, trail, "a date needs quotes, such as \"2026-11-21\"");
            return None;
        }
        Value::List(nodes) => {
            let values = nodes.iter().enumerate().map(|(place, node)| json(walk, node, &trail.index(place)));
            Json::Array(values.collect::<Option<_>>()?)
        }
        Value::Table(members) => {
            // In order of the keys, so that all spellings of a value are one.
            let members: BTreeMap<&String, &Node> = members.iter().map(|member| (&member.key, &member.node)).collect();
            let values = members.into_iter().map(|(key, node)| Some((key.clone(), json(walk, node, &trail.key(key))?)));
            Json::Object(values.collect::<Option<_>>()?)
        }
    })
}

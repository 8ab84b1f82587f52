//! A spec written out as a job file, so that an imported workflow can be read, edited and submitted.

use std::collections::BTreeMap;
use std::fmt::Write;

use quorate_state::{
    Alternative, Choice, Company, Driver, Each, GangSpec, JobSpec, NEAR_WEIGHT, OnFailure, OnNodeLoss, OnRegionLoss,
    Param, Place, Preference, Retry, Role, Spread, TaskSpec, Topology, Trait,
};
use quorate_values::{Value, escape, parse};

use super::gang;
use super::quantity::{cpu_text, duration_text, memory_text, thousandths_text};
use super::schema::{DRIVER, ON_FAILURE, ON_NODE_LOSS, SPREAD};
use super::spec::{DEFAULT_NAMESPACE, DEFAULT_PRIORITY, DEFAULT_RESOURCES};
use super::sub_run::written;

/// The job file in TOML that means exactly this spec; what has its default is left out.
pub fn render_toml(spec: &JobSpec) -> String {
    let mut out = Lines(String::new());
    out.line("name", &text(spec.name.as_str()));
    if spec.namespace.as_str() != DEFAULT_NAMESPACE {
        out.line("namespace", &text(spec.namespace.as_str()));
    }
    if spec.priority != DEFAULT_PRIORITY {
        out.line("priority", &spec.priority.to_string());
    }
    if spec.on_failure != OnFailure::default() {
        let word = match spec.on_failure {
            OnFailure::Finish => ON_FAILURE[0],
            OnFailure::Cancel => ON_FAILURE[1],
        };
        out.line("on_failure", &text(word));
    }
    if let Some(millis) = spec.timeout_ms {
        out.line("timeout", &text(&duration_text(millis)));
    }
    if !spec.labels.is_empty() {
        out.line("labels", &text_map(&spec.labels));
    }
    if !spec.result.is_empty() {
        out.line("result", &values(&spec.result));
    }
    if !spec.params.is_empty() {
        out.heading("params");
        spec.params.iter().for_each(|(name, described)| out.line(&key(name), &param(described)));
    }
    // What undoes a task is written as a key of it.
    let undo: BTreeMap<&str, &TaskSpec> = spec.tasks.iter().filter_map(undone).collect();
    for task in spec.tasks.iter().filter(|task| undone(task).is_none()) {
        out.task(task, undo.get(task.name.as_str()).copied());
    }
    out.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, key: &str, value: &str) {
        writeln!(self.0, "{key} = {value}").expect("writing to a string");
    }

    fn heading(&mut self, table: &str) {
        writeln!(self.0, "\n[{table}]").expect("writing to a string");
    }

    fn task(&mut self, task: &TaskSpec, undo: Option<&TaskSpec>) {
        self.heading(&format!("task.{}", key(task.name.as_str())));
        if task.driver != Driver::default() {
            let word = match task.driver {
                Driver::Process => DRIVER[0],
                Driver::Noop => DRIVER[1],
            };
            self.line("driver", &text(word));
        }
        if let Some(sub_run) = &task.sub_run {
            self.line("run", &text(&written(sub_run)));
            if !sub_run.args.is_empty() {
                self.line("args", &values(&sub_run.args));
            }
        }
        if !task.argv.is_empty() {
            self.line("run", &list(task.argv.iter().map(|argument| text(&template(task, argument)))));
        }
        if !task.env.is_empty() {
            let env = task.env.iter().map(|(name, value)| (name.clone(), template(task, value)));
            self.line("env", &text_map(&env.collect()));
        }
        if !task.needs.is_empty() {
            self.line("needs", &list(task.needs.iter().map(|name| text(name.as_str()))));
        }
        if task.count != 1 && task.each.is_none() {
            self.line("count", &task.count.to_string());
        }
        let is_default = task.resources == DEFAULT_RESOURCES && task.gpu_models.is_empty();
        if task.has_choice() {
            let all = task.choices().filter_map(|choice| task.alternative(choice));
            self.line("want", &list(all.map(|alternative| amounts(&alternative))));
        } else if !is_default && task.sub_run.is_none() {
            let only = task.alternative(Choice::FIRST);
            only.iter().for_each(|only| self.line("resources", &amounts(only)));
        }
        if task.retry != Retry::default() {
            self.line("retry", &retry(&task.retry));
        }
        let timeouts =
            [("run", task.run_timeout_ms), ("queued", task.queued_timeout_ms), ("silent", task.silent_timeout_ms)];
        let timeouts = timeouts.into_iter().filter_map(|(name, millis)| Some((name, millis?)));
        let timeouts: Vec<String> =
            timeouts.map(|(name, millis)| format!("{name} = {}", text(&duration_text(millis)))).collect();
        if !timeouts.is_empty() {
            self.line("timeouts", &format!("{{ {} }}", timeouts.join(", ")));
        }
        if task.place != Place::default() {
            self.line("place", &place(&task.place));
        }
        if task.on_node_loss != OnNodeLoss::default() {
            let word = match task.on_node_loss {
                OnNodeLoss::AtLeastOnce => ON_NODE_LOSS[0],
                OnNodeLoss::Fenced => ON_NODE_LOSS[1],
                OnNodeLoss::AtMostOnce => ON_NODE_LOSS[2],
            };
            self.line("on_node_loss", &text(word));
        }
        if !task.preemptible {
            self.line("preemptible", "false");
        }
        match &task.on_region_loss {
            None => {}
            Some(OnRegionLoss::Stay) => self.line("on_region_loss", &text("stay")),
            Some(OnRegionLoss::MoveAfter { after_ms, spill }) => {
                let spill = match &spill[..] {
                    [] => String::new(),
                    spill => format!(", spill = {}", list(spill.iter().map(|region| text(region.as_str())))),
                };
                let after = text(&duration_text(*after_ms));
                self.line("on_region_loss", &format!("{{ move_after = {after}{spill} }}"));
            }
        }
        self.flow(task);
        if let Some(undo) = undo {
            self.line("undo", &list(undo.argv.iter().map(|argument| text(&template(undo, argument)))));
        }
    }

    fn flow(&mut self, task: &TaskSpec) {
        match &task.role {
            Role::Work | Role::Undo { .. } => {}
            Role::Fallback { of } => {
                self.line("on", &format!("{{ failed = {} }}", list(of.iter().map(|name| text(name.as_str())))));
            }
            Role::Finally => self.line("finally", "true"),
        }
        if let Some(when) = &task.when {
            self.line("when", &text(when));
        }
        match &task.each {
            None => {}
            Some(Each::Items(items)) => self.line("each", &list(items.iter().map(|item| value(item)))),
            Some(Each::Range { from }) => {
                self.line("each", &format!("{{ from = {from}, to = {} }}", from.saturating_add(i64::from(task.count))));
            }
            Some(Each::Result(reference)) => self.line("each", &text(reference)),
        }
        if let Some(gang) = &task.gang {
            self.line("gang", &gang_text(gang));
        }
        if task.accept_failed > 0 {
            self.line("accept", &format!("{{ failed = {} }}", task.accept_failed));
        }
    }
}

/// The task's name that this one undoes, with it.
fn undone(task: &TaskSpec) -> Option<(&str, &TaskSpec)> {
    match &task.role {
        Role::Undo { of } => Some((of.as_str(), task)),
        Role::Work | Role::Fallback { .. } | Role::Finally => None,
    }
}

fn gang_text(GangSpec { within, start_ms }: &GangSpec) -> String {
    let within = within.as_ref().map(|within| format!("within = {}", text(&gang::written(within))));
    let start = start_ms.map(|start| format!("start = {}", text(&duration_text(start))));
    let parts: Vec<String> = within.into_iter().chain(start).collect();
    if parts.is_empty() { "true".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// A text of a task's command as it is written in a file, where references would be put in.
fn template(task: &TaskSpec, text: &str) -> String {
    if task.templated { text.to_owned() } else { escape(text) }
}

fn param(param: &Param) -> String {
    let mut parts = vec![format!("type = {}", text(&param.kind))];
    parts.extend(param.default.iter().map(|default| format!("default = {}", value(default))));
    if !param.description.is_empty() {
        parts.push(format!("description = {}", text(&param.description)));
    }
    format!("{{ {} }}", parts.join(", "))
}

/// A value, which is kept as JSON. No job file has null.
fn value(json: &str) -> String {
    fn written(value: &Value) -> String {
        match value {
            Value::Null => text("null"),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(string) => text(string),
            Value::Array(values) => list(values.iter().map(written)),
            Value::Object(members) => {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("{} = {}", key(name), written(value))).collect();
                format!("{{ {} }}", members.join(", "))
            }
        }
    }
    parse(json.as_bytes(), "a value").map_or_else(|_| text(json), |value| written(&value))
}

fn values(values: &BTreeMap<String, String>) -> String {
    let parts: Vec<_> = values.iter().map(|(name, json)| format!("{} = {}", key(name), value(json))).collect();
    format!("{{ {} }}", parts.join(", "))
}

fn retry(retry: &Retry) -> String {
    let codes = retry.never.iter().map(i32::to_string);
    let errors = retry.never_errors.iter().map(|error| text(error.as_str()));
    format!(
        "{{ attempts = {}, first = {}, factor = {}, cap = {}, jitter = {}, never = {} }}",
        retry.attempts,
        text(&duration_text(retry.first_ms)),
        thousandths_text(retry.factor_milli),
        text(&duration_text(retry.cap_ms)),
        thousandths_text(retry.jitter_milli),
        list(codes.chain(errors)),
    )
}

fn place(place: &Place) -> String {
    let mut parts = Vec::new();
    if !place.regions.is_empty() {
        parts.push(format!("regions = {}", list(place.regions.iter().map(|name| text(name.as_str())))));
    }
    if !place.clusters.is_empty() {
        parts.push(format!("clusters = {}", list(place.clusters.iter().map(|name| text(name.as_str())))));
    }
    if !place.labels.is_empty() {
        parts.push(format!("labels = {}", text_map(&place.labels)));
    }
    if !place.pools.is_empty() {
        parts.push(format!("pools = {}", list(place.pools.iter().map(|name| text(name.as_str())))));
    }
    if !place.tolerate.is_empty() {
        parts.push(format!("tolerate = {}", text_map(&place.tolerate)));
    }
    if let Some(condition) = &place.condition {
        parts.push(format!("where = {}", text(condition.as_str())));
    }
    if let Some(reservation) = &place.reservation {
        parts.push(format!("reservation = {}", text(reservation.as_str())));
    }
    if !place.prefer.is_empty() {
        parts.push(format!("prefer = {}", list(place.prefer.iter().map(preference))));
    }
    if place.cheap > 0 {
        parts.push(format!("cheap = {}", place.cheap));
    }
    if !place.near.is_empty() {
        let data = place.near.data.iter();
        let data = data.map(|data| {
            format!("{{ region = {}, size = {} }}", text(data.region.as_str()), text(&memory_text(data.bytes)))
        });
        parts.push(format!("near = {}", list(data)));
        if place.near.weight != NEAR_WEIGHT {
            parts.push(format!("near_weight = {}", place.near.weight));
        }
    }
    parts.extend(company(&place.company));
    if place.spread != Spread::default() {
        let word = match place.spread {
            Spread::Pack => SPREAD[0],
            Spread::Node => SPREAD[1],
            Spread::Cluster => SPREAD[2],
        };
        parts.push(format!("spread = {}", text(word)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn company(Company { group, at_most, apart, balance }: &Company) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(group.as_ref().map(|group| format!("group = {}", text(group.as_str()))));
    let per = |per: &Topology| text(&per.to_string());
    if !at_most.is_empty() {
        let rules = at_most.iter().map(|rule| format!("{{ per = {}, tasks = {} }}", per(&rule.per), rule.tasks));
        parts.push(format!("at_most = {}", list(rules)));
    }
    if !apart.is_empty() {
        let rules = apart.iter();
        let rules = rules.map(|rule| format!("{{ from = {}, per = {} }}", text(rule.from.as_str()), per(&rule.per)));
        parts.push(format!("apart = {}", list(rules)));
    }
    if !balance.is_empty() {
        let rules = balance.iter().map(|rule| {
            let targets = rule.targets.iter();
            let targets = targets.map(|(domain, share)| format!("{{ in = {}, share = {share} }}", text(domain)));
            let targets: Vec<String> = targets.collect();
            let targets = (!targets.is_empty()).then(|| format!(", targets = [{}]", targets.join(", ")));
            format!("{{ per = {}{} }}", per(&rule.per), targets.unwrap_or_default())
        });
        parts.push(format!("balance = {}", list(rules)));
    }
    parts
}

fn amounts(Alternative { resources, gpu_models }: &Alternative) -> String {
    let cpu = text(&cpu_text(resources.cpu_milli));
    let memory = text(&memory_text(resources.memory_bytes));
    let gpu = match resources.gpu_milli {
        0 => String::new(),
        milli => format!(", gpu = {}", text(&cpu_text(milli))),
    };
    let models = match &gpu_models[..] {
        [] => String::new(),
        models => format!(", gpu_models = {}", list(models.iter().map(|model| text(model.as_str())))),
    };
    format!("{{ cpu = {cpu}, memory = {memory}{gpu}{models} }}")
}

fn preference(preference: &Preference) -> String {
    let (key, word) = match &preference.of {
        Trait::Label { key, value } => ("label", format!("{key}={value}")),
        Trait::Pool(pool) => ("pool", pool.to_string()),
        Trait::Region(region) => ("region", region.to_string()),
        Trait::Cluster(cluster) => ("cluster", cluster.to_string()),
    };
    format!("{{ {key} = {}, weight = {} }}", text(&word), preference.weight)
}

fn text_map(map: &BTreeMap<String, String>) -> String {
    let parts: Vec<_> = map.iter().map(|(name, value)| format!("{} = {}", key(name), text(value))).collect();
    format!("{{ {} }}", parts.join(", "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A key, in quotes where TOML wants them.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_bare { name.to_owned() } else { text(name) }
}

/// A basic string of TOML.
fn text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).expect("writing to a string"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

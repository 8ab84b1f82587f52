//! What makes a job more than tasks that wait for each other: what it is told, what its tasks are for, and what was
//! decided of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use quorate_state::{Decided, Each, Param, Role, SubRun, TaskName};

use super::Found;
use super::job::names;
use crate::v1;

/// What a run can be told, as sent: by name.
pub(super) fn params_to_wire(params: &BTreeMap<String, Param>) -> Vec<v1::Param> {
    params
        .iter()
        .map(|(name, param)| v1::Param {
            name: name.clone(),
            r#type: param.kind.clone(),
            default: param.default.clone(),
            description: param.description.clone(),
        })
        .collect()
}

/// What a run can be told, in any order; a name given twice is noted.
pub(super) fn params_from_wire(params: Vec<v1::Param>, found: &mut Found) -> BTreeMap<String, Param> {
    let mut map = BTreeMap::new();
    for v1::Param { name, r#type, default, description } in params {
        match map.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(Param { kind: r#type, default, description })),
            Entry::Occupied(entry) => found.add(format!("params.{}", entry.key()), "is given twice"),
        }
    }
    map
}

/// What stands under names, as sent: by name.
pub(super) fn values_to_wire(values: &BTreeMap<String, String>) -> Vec<v1::Value> {
    values.iter().map(|(name, json)| v1::Value { name: name.clone(), json: json.clone() }).collect()
}

/// What stands under names, in any order; a name given twice is noted.
pub(super) fn values_from_wire(field: &str, values: Vec<v1::Value>, found: &mut Found) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for v1::Value { name, json } in values {
        match map.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(json)),
            Entry::Occupied(entry) => found.add(format!("{field}.{}", entry.key()), "is given twice"),
        }
    }
    map
}

/// A run of another job, as sent.
pub(super) fn sub_run_to_wire(sub_run: &SubRun) -> v1::SubRun {
    let SubRun { job, version, args } = sub_run;
    v1::SubRun { job: job.to_string(), version: *version, args: values_to_wire(args) }
}

/// A run of another job; none, noted, when that has no name.
pub(super) fn sub_run_from_wire(at: &dyn Fn(&str) -> String, sub_run: v1::SubRun, found: &mut Found) -> Option<SubRun> {
    let job = found.parse(|| at("run"), &sub_run.job);
    let args = values_from_wire(&at("args"), sub_run.args, found);
    Some(SubRun { job: job?, version: sub_run.version, args })
}

/// What a task is for, as sent: nothing of what is part of the work.
pub fn role_to_wire(role: &Role) -> Option<v1::Role> {
    let role = match role {
        Role::Work => return None,
        Role::Fallback { of } => {
            v1::role::Role::Fallback(v1::Fallback { of: of.iter().map(ToString::to_string).collect() })
        }
        Role::Undo { of } => v1::role::Role::Undo(v1::Undo { of: of.to_string() }),
        Role::Finally => v1::role::Role::Finally(v1::Finally {}),
    };
    Some(v1::Role { role: Some(role) })
}

/// What a task is for.
pub(super) fn role_from_wire(at: &dyn Fn(&str) -> String, role: Option<v1::Role>, found: &mut Found) -> Option<Role> {
    let Some(role) = role else { return Some(Role::Work) };
    match role.role {
        Some(v1::role::Role::Fallback(fallback)) => {
            let of = names(&|position| at(&format!("on.failed[{position}]")), &fallback.of, found);
            of.map(|of| Role::Fallback { of })
        }
        Some(v1::role::Role::Undo(undo)) => {
            let of: Option<TaskName> = found.parse(|| at("undo"), &undo.of);
            of.map(|of| Role::Undo { of })
        }
        Some(v1::role::Role::Finally(v1::Finally {})) => Some(Role::Finally),
        None => {
            found.add(at("role"), "is empty or of a kind that this version does not know");
            None
        }
    }
}

/// What the elements of a task are for, as sent.
pub(super) fn each_to_wire(each: &Each) -> v1::Each {
    let each = match each {
        Each::Items(items) => v1::each::Each::Items(v1::EachItems { items: items.clone() }),
        Each::Range { from } => v1::each::Each::Range(v1::EachRange { from: *from }),
        Each::Result(reference) => v1::each::Each::Result(reference.clone()),
    };
    v1::Each { each: Some(each) }
}

/// What the elements of a task are for; none, noted under `field`, when the message does not say.
pub(super) fn each_from_wire(field: impl FnOnce() -> String, each: v1::Each, found: &mut Found) -> Option<Each> {
    match each.each {
        Some(v1::each::Each::Items(items)) => Some(Each::Items(items.items)),
        Some(v1::each::Each::Range(range)) => Some(Each::Range { from: range.from }),
        Some(v1::each::Each::Result(reference)) => Some(Each::Result(reference)),
        None => {
            found.add(field(), "is empty or of a kind that this version does not know");
            None
        }
    }
}

/// What was decided of a step, as sent, and why, if it fails by that.
pub fn decided_to_wire(decided: &Decided) -> (v1::Decision, String) {
    match decided {
        Decided::Run => (v1::Decision::Run, String::new()),
        Decided::PassOver => (v1::Decision::PassOver, String::new()),
        Decided::Fail(why) => (v1::Decision::Fail, why.to_string()),
    }
}

/// What was decided of a step; none when unspecified. Why is left out of what does not fail.
pub fn decided_from_wire(decision: v1::Decision, why: String) -> Option<Decided> {
    match decision {
        v1::Decision::Unspecified => None,
        v1::Decision::Run => Some(Decided::Run),
        v1::Decision::PassOver => Some(Decided::PassOver),
        v1::Decision::Fail => Some(Decided::Fail(why.into())),
    }
}

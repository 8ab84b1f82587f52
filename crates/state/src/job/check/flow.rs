//! What makes the flow of a job valid: who waits for whom, and what is decided of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, JobSpec, TaskSpec};
use crate::job::{Each, Role};
use crate::{ARGS_BYTES_MAX, Graph, TaskName};

/// What a run can be told, in number.
pub const PARAMS_MAX: usize = 100;
/// Bytes of a condition, of a reference, and of the name of a parameter or the word for its kind or its description.
pub const EXPRESSION_BYTES_MAX: usize = 2 * 1024;
/// How often something may stand in for what stands in for something.
pub const FALLBACKS_DEEP_MAX: u32 = 16;

impl JobSpec {
    pub(super) fn check_params(&self, found: &mut Found) {
        if self.params.len() > PARAMS_MAX {
            found.add("params", format!("more than {PARAMS_MAX} parameters (PARAMS_MAX)"));
            return;
        }
        let mut bytes = 0;
        for (name, param) in &self.params {
            let at = |key: &str| format!("params.{name}{key}");
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
            if !begins || !name.bytes().all(is_word) || name.len() > crate::NAME_BYTES_MAX {
                found.add(&at(""), "a name has letters, digits and '_', and does not begin with a digit".into());
            }
            for (key, text) in [(".type", &param.kind), (".description", &param.description)] {
                if text.len() > EXPRESSION_BYTES_MAX {
                    found.add(
                        &at(key),
                        format!("has {} bytes, EXPRESSION_BYTES_MAX is {EXPRESSION_BYTES_MAX}", text.len()),
                    );
                }
            }
            bytes += param.default.as_ref().map_or(0, String::len);
        }
        if bytes > ARGS_BYTES_MAX {
            let message = format!("the defaults have {bytes} bytes, ARGS_BYTES_MAX is {ARGS_BYTES_MAX}");
            found.add("params", message);
        }
    }

    /// What the roles of tasks say of each other.
    pub(super) fn check_roles(&self, found: &mut Found) {
        if self.tasks.iter().all(|task| task.role == Role::Work) {
            return;
        }
        let by_name: BTreeMap<&TaskName, (usize, &TaskSpec)> =
            self.tasks.iter().enumerate().map(|(place, task)| (&task.name, (place, task))).collect();
        let mut undone: BTreeSet<&TaskName> = BTreeSet::new();
        let mut stood_in_for: BTreeSet<&TaskName> = BTreeSet::new();
        for (place, task) in self.tasks.iter().enumerate() {
            let at = |key: &str| format!("task.{}.{key}", task.name);
            for (number, need) in task.needs.iter().enumerate() {
                let Some((_, needed)) = by_name.get(need) else { continue };
                let field = at(&format!("needs[{number}]"));
                match (&task.role, &needed.role) {
                    (_, Role::Undo { .. }) => {
                        found.add(&field, format!("{need:?} undoes something: nothing can need it"))
                    }
                    (Role::Work | Role::Fallback { .. }, Role::Finally) => {
                        found.add(&field, format!("{need:?} runs when the work has ended: work cannot need it"));
                    }
                    (Role::Finally, Role::Work | Role::Fallback { .. }) => {
                        let message =
                            "runs at the end in any case, whatever became of the work: it can need only what does";
                        found.add(&field, message.into());
                    }
                    (Role::Work | Role::Fallback { .. } | Role::Undo { .. } | Role::Finally, _) => {}
                }
            }
            match &task.role {
                Role::Work | Role::Finally => {}
                Role::Fallback { of } => {
                    if of.is_empty() {
                        found.add(&at("on.failed"), "names the tasks that it stands in for: at least one".into());
                    }
                    let mut seen = BTreeSet::new();
                    for (number, target) in of.iter().enumerate() {
                        let field = at(&format!("on.failed[{number}]"));
                        match by_name.get(target) {
                            _ if *target == task.name => found.add(&field, "a task cannot stand in for itself".into()),
                            None => found.add(&field, format!("no task is called {target:?}")),
                            Some((_, of)) if of.role.is_after() => {
                                found.add(
                                    &field,
                                    format!("{target:?} is not part of the work: nothing can stand in for it"),
                                );
                            }
                            Some(_) if !seen.insert(target) => found.add(&field, format!("{target:?} is listed twice")),
                            Some(_) if !stood_in_for.insert(target) => {
                                let message = "another task stands in for it: let this one stand in for that";
                                found.add(&field, format!("{target:?}: {message}"));
                            }
                            Some(_) => {}
                        }
                    }
                }
                Role::Undo { of } => {
                    match by_name.get(of) {
                        None => found.add(&at("undo"), format!("no task is called {of:?}")),
                        Some((_, of)) if of.role.is_after() => {
                            found.add(&at("undo"), "only what is part of the work can be undone".into());
                        }
                        Some((undone, _)) if *undone > place => {
                            found.add(
                                &at("undo"),
                                format!("comes behind {of:?}, which it undoes, in the list of tasks"),
                            );
                        }
                        Some(_) if !undone.insert(of) => {
                            found.add(&at("undo"), format!("{of:?} is undone by another task"))
                        }
                        Some(_) => {}
                    }
                    let is_plain = task.needs.is_empty() && !task.is_decided() && task.each.is_none();
                    if !is_plain || task.count != 1 || task.accept_failed > 0 {
                        let message = "runs once for each element of what it undoes: it has no needs, count, when, each or accept";
                        found.add(&at("undo"), message.into());
                    }
                }
            }
        }
    }

    /// Kahn's algorithm over who waits for whom: a step by itself waits for what it needs, with what stands in for that; a
    /// fallback waits for those that it stands in for, by themselves; and a step with what stands in for it waits for
    /// itself and for that. What cannot be ordered lies on a cycle or behind one.
    pub(super) fn check_acyclic(&self, found: &mut Found) {
        let graph = Graph::of(self);
        let waits = Waits { graph: &graph };
        let mut unmet: Vec<usize> = (0..waits.len()).map(|place| waits.of(place).count()).collect();
        let mut deep: Vec<u32> = vec![0; unmet.len()];
        let mut free: Vec<u32> = (0..waits.len()).filter(|place| waits.of(*place).next().is_none()).collect();
        while let Some(place) = free.pop() {
            let depth = deep.get(place as usize).copied().unwrap_or(0);
            for (waiting, deeper) in waits.for_it(place) {
                let at = waiting as usize;
                if let Some(deepest) = deep.get_mut(at).filter(|_| deeper) {
                    *deepest = (*deepest).max(depth.saturating_add(1));
                }
                if let Some(count) = unmet.get_mut(at) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        free.push(waiting);
                    }
                }
            }
        }
        if let Some(start) = unmet.iter().position(|count| *count > 0) {
            let cycle = self.cycle_from(u32::try_from(start).unwrap_or(0), &waits, &unmet);
            let first = cycle.first().cloned().unwrap_or_default();
            let is_plain = self.tasks.iter().all(|task| task.role == Role::Work);
            let words = if is_plain { "needs form a cycle" } else { "tasks wait for each other" };
            found.add(&format!("task.{first}.needs"), format!("{words}: {}", cycle.join(" -> ")));
        } else if let Some(place) = deep.iter().position(|depth| *depth > FALLBACKS_DEEP_MAX) {
            let name = self.tasks.get(place / 2).map_or_else(String::new, |task| task.name.to_string());
            let message = format!("what stands in for it is stood in for too often, at most {FALLBACKS_DEEP_MAX} deep");
            found.add(&format!("task.{name}"), message);
        }
    }

    /// Follows what cannot be ordered until a task repeats; returns the loop, first task again at the end.
    fn cycle_from(&self, start: u32, waits: &Waits<'_>, unmet: &[usize]) -> Vec<String> {
        let mut order: Vec<u32> = Vec::new();
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        let mut at = start;
        while !seen.contains_key(&at) {
            seen.insert(at, order.len());
            order.push(at);
            let next = waits.of(at).find(|need| unmet.get(*need as usize).is_some_and(|count| *count > 0));
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        let from = seen.get(&at).copied().unwrap_or(0);
        let name = |place: &u32| {
            let step = (*place / 2) as usize;
            self.tasks.get(step).map_or_else(String::new, |task| task.name.to_string())
        };
        let mut names: Vec<String> = order.iter().skip(from).chain([&at]).map(name).collect();
        // A step by itself and with what stands in for it are two places of one name.
        names.dedup();
        names
    }
}

/// Who waits for whom: place `2 * step` is a step by itself, the next one with what stands in for it.
struct Waits<'a> {
    graph: &'a Graph,
}

impl Waits<'_> {
    fn len(&self) -> u32 {
        self.graph.steps().saturating_mul(2)
    }

    /// What a place waits for.
    fn of(&self, place: u32) -> impl Iterator<Item = u32> {
        let step = place / 2;
        let by_itself = place.is_multiple_of(2);
        let lists = if by_itself {
            (self.graph.needs(step), self.graph.stands_for(step))
        } else {
            (self.graph.fallbacks(step), &[][..])
        };
        let itself = (!by_itself).then_some(step * 2);
        lists.0.iter().map(|other| other * 2 + 1).chain(lists.1.iter().map(|other| other * 2)).chain(itself)
    }

    /// What waits for a place, and whether that is deeper by one fallback.
    fn for_it(&self, place: u32) -> impl Iterator<Item = (u32, bool)> {
        let step = place / 2;
        let by_itself = place.is_multiple_of(2);
        let (fallbacks, dependents, targets) = if by_itself {
            (self.graph.fallbacks(step), &[][..], &[][..])
        } else {
            (&[][..], self.graph.dependents(step), self.graph.stands_for(step))
        };
        let with_fallbacks = by_itself.then_some((step * 2 + 1, false));
        fallbacks
            .iter()
            .map(|other| (other * 2, false))
            .chain(dependents.iter().map(|other| (other * 2, false)))
            .chain(targets.iter().map(|other| (other * 2 + 1, true)))
            .chain(with_fallbacks)
    }
}

impl TaskSpec {
    pub(super) fn check_flow(&self, found: &mut Found) {
        let at = |key: &str| format!("task.{}.{key}", self.name);
        let long = |text: &str| text.is_empty() || text.len() > EXPRESSION_BYTES_MAX;
        if self.when.as_deref().is_some_and(long) {
            found.add(
                &at("when"),
                format!("is not between 1 and EXPRESSION_BYTES_MAX ({EXPRESSION_BYTES_MAX}) bytes long"),
            );
        }
        if self.accept_failed > self.count && !self.has_open_count() {
            found.add(&at("accept.failed"), format!("accepts more than all of {}", self.count));
        }
        match &self.each {
            None => {}
            Some(Each::Items(items)) if items.len() != self.count as usize => {
                found.add(&at("each"), format!("has {} values, and the task {} elements", items.len(), self.count));
            }
            Some(Each::Items(items)) => {
                let bytes: usize = items.iter().map(String::len).sum();
                if bytes > ARGS_BYTES_MAX {
                    let message = "put them into a file, or let a task find them out";
                    found.add(
                        &at("each"),
                        format!("the values have {bytes} bytes, ARGS_BYTES_MAX is {ARGS_BYTES_MAX}: {message}"),
                    );
                }
            }
            Some(Each::Range { from }) if from.checked_add(i64::from(self.count)).is_none() => {
                found.add(&at("each"), "the numbers become too large".into());
            }
            Some(Each::Range { .. }) => {}
            Some(Each::Result(reference)) if long(reference) => {
                found.add(
                    &at("each"),
                    format!("is not between 1 and EXPRESSION_BYTES_MAX ({EXPRESSION_BYTES_MAX}) bytes long"),
                );
            }
            Some(Each::Result(_)) if self.count != 1 => {
                found.add(&at("count"), "follows from each".into());
            }
            Some(Each::Result(_)) => {}
        }
    }
}

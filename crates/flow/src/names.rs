//! What an expression may name at the place where it stands.

use std::collections::BTreeMap;

use quorate_state::{JobSpec, Role, TaskName, TaskSpec};
use quorate_values::{Reference, Root, RunField};

/// What expressions of a job may name.
///
/// A task's expressions name results of what it needs, and nothing else of other tasks: only of those it is certain
/// that they have ended. What undoes a task may name that task too, and what that one needs.
#[derive(Debug)]
pub struct Names<'s> {
    spec: &'s JobSpec,
    tasks: BTreeMap<&'s str, &'s TaskSpec>,
}

/// Where in a task an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its command, or in what the run is told that it is: it is for one element.
    Command,
    /// In what decides of all its elements at once.
    Decision,
}

impl<'s> Names<'s> {
    /// What there is to name in a job.
    pub fn of(spec: &'s JobSpec) -> Self {
        Self { spec, tasks: spec.tasks.iter().map(|task| (task.name.as_str(), task)).collect() }
    }

    /// The task of which an expression of `task` names what it left behind, if it is one that has to be among the
    /// needs of `task` for that: what undoes a task goes by the needs of that, and what stands in for one comes without its
    /// result.
    pub fn needed_by(&self, task: &TaskSpec, reference: &Reference) -> Option<&'s TaskName> {
        let (Root::Result(name) | Root::Payload(name)) = &reference.root else { return None };
        let named = self.tasks.get(&**name)?;
        let may_need = match &task.role {
            Role::Work => !named.role.is_after(),
            Role::Fallback { of } => !named.role.is_after() && !of.contains(&named.name),
            Role::Undo { .. } => false,
            Role::Finally => named.role == Role::Finally,
        };
        (may_need && named.name != task.name).then_some(&named.name)
    }

    /// Why `reference` may not stand in what comes out of a run; none when it may.
    pub(crate) fn flaw_at_end(&self, reference: &Reference) -> Option<String> {
        match &reference.root {
            Root::Param(name) => self.param_flaw(name),
            Root::Result(name) | Root::Payload(name) => match self.tasks.get(&**name) {
                None => {
                    let advice = did_you_mean(name, self.tasks.keys().copied());
                    Some(format!("no task is called {name:?}{advice}"))
                }
                Some(named) if named.role.is_after() => {
                    Some(format!("{name:?} is not part of the work, which this comes out of"))
                }
                Some(_) if matches!(reference.root, Root::Payload(_)) => self.element_of_flaw(name, &reference.path),
                Some(_) => None,
            },
            Root::Each | Root::Index => Some("it is there in the tasks of an each or count only".into()),
            Root::Run(RunField::Outcome) => Some("a run without success has no result: it is always the same".into()),
            Root::Run(RunField::Id | RunField::Namespace | RunField::Job) => None,
        }
    }

    fn param_flaw(&self, name: &str) -> Option<String> {
        let params = &self.spec.params;
        (!params.contains_key(name)).then(|| {
            let advice = did_you_mean(name, params.keys().map(String::as_str));
            format!("no parameter is called {name:?}{advice}")
        })
    }

    /// Why `reference` may not stand in `task`; none when it may.
    pub(crate) fn flaw(&self, task: &TaskSpec, place: Place, reference: &Reference) -> Option<String> {
        match &reference.root {
            Root::Param(name) => self.param_flaw(name),
            Root::Result(name) => self.left_flaw(task, name, "result"),
            Root::Payload(name) => {
                self.left_flaw(task, name, "payload").or_else(|| self.element_of_flaw(name, &reference.path))
            }
            Root::Each => self.element_flaw(task, place, "each"),
            Root::Index => self.element_flaw(task, place, "index"),
            Root::Run(RunField::Outcome) if !task.role.is_after() => {
                Some("it is known when the work is over: only tasks with finally = true, and undo, may name it".into())
            }
            Root::Run(RunField::Outcome | RunField::Id | RunField::Namespace | RunField::Job) => None,
        }
    }

    /// Why `task` may not name the `what` of the task of this name.
    fn left_flaw(&self, task: &TaskSpec, name: &str, what: &str) -> Option<String> {
        let Some(named) = self.tasks.get(name) else {
            let advice = did_you_mean(name, self.tasks.keys().copied());
            return Some(format!("no task is called {name:?}{advice}"));
        };
        if let Role::Undo { of } = &task.role {
            let undone = self.tasks.get(of.as_str());
            let reaches = undone.is_some_and(|undone| undone.name == named.name || undone.needs.contains(&named.name));
            return (!reaches).then(|| {
                format!("what undoes {of:?} may name its {what} and those of what it needs, and {name:?} is neither")
            });
        }
        if named.name == task.name {
            return Some(format!("a task has no {what} before it has run"));
        }
        if let Role::Fallback { of } = &task.role
            && of.contains(&named.name)
        {
            return Some(format!("{name:?} has no {what} when this runs: it stands in for it"));
        }
        if task.needs.contains(&named.name) {
            return None;
        }
        if task.role == Role::Finally && named.role != Role::Finally {
            return Some(format!("what runs at the end in any case may name only {what}s of what does, too"));
        }
        if named.role.is_after() {
            return Some(format!("{name:?} runs when the work has ended, and this is part of it"));
        }
        Some(format!("{name:?} is not needed: add it to needs, so that its {what} is there"))
    }

    /// Of a task that certainly has several elements, payloads are those of one of them.
    fn element_of_flaw(&self, name: &str, path: &[Box<str>]) -> Option<String> {
        let named = self.tasks.get(name).filter(|named| named.count > 1 || named.each.is_some())?;
        let first = path.first().filter(|first| !first.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(format!(
            "{:?} has several elements: write {name}.payload.0.{first} for what the first of them has left",
            named.name
        ))
    }

    fn element_flaw(&self, task: &TaskSpec, place: Place, word: &str) -> Option<String> {
        if place == Place::Decision {
            return Some(format!("{word} is there in run and env only: this is decided once for all elements"));
        }
        let of = match &task.role {
            Role::Undo { of } => self.tasks.get(of.as_str()).copied().unwrap_or(task),
            Role::Work | Role::Fallback { .. } | Role::Finally => task,
        };
        let has = if word == "each" { of.each.is_some() } else { of.each.is_some() || of.count > 1 };
        let advice = if word == "each" { "each" } else { "each or count" };
        (!has).then(|| format!("{word} is there in tasks with {advice} only"))
    }
}

/// The known name that was probably meant, as the end of an error.
fn did_you_mean<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    const LIKENESS_MIN: f64 = 0.7;
    const WORD_BYTES_MAX: usize = 64;
    // Of a generated job with very many, the first ones.
    const KNOWN_MAX: usize = 1_000;
    if word.len() > WORD_BYTES_MAX {
        return String::new();
    }
    let likely = known
        .take(KNOWN_MAX)
        .filter(|known| known.len() <= WORD_BYTES_MAX)
        .map(|known| (strsim::damerau_levenshtein(word, known), strsim::jaro_winkler(word, known), known))
        .filter(|(distance, likeness, _)| *likeness >= LIKENESS_MIN || *distance <= 1)
        .min_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)));
    likely.map_or_else(String::new, |(_, _, known)| format!("; did you mean {known:?}?"))
}

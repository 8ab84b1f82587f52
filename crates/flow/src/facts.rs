//! What expressions of a step come to in a run, from what its state says.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate_state::{Payload, PayloadName, Phase, Run, RunState, State, TaskId, TaskSpec};
use quorate_values::{Flaw, Found, Reference, Root, RunField, Scope, Value, parse};

/// Elements of a task whose results are put together into one list.
pub const INPUT_ELEMENTS_MAX: u32 = 1_000;
/// Bytes of all results that the expressions of one task may name together.
pub const INPUT_BYTES_MAX: usize = 1 << 20;

/// The values of all that some expressions of a step name: taken from the state once, and the same whoever leads, since
/// results of what has ended do not change.
#[derive(Debug)]
pub(crate) struct Facts {
    params: BTreeMap<String, Value>,
    results: BTreeMap<Box<str>, Outcome>,
    payloads: BTreeMap<Box<str>, Outcome>,
    run: BTreeMap<RunField, String>,
    /// Bytes of the results and payloads that were read.
    pub(crate) bytes: usize,
}

/// What a task left behind, if anything, and if it can be read.
type Outcome = Result<Option<Value>, Flaw>;

/// What one element left behind, its name for the words of a flaw, and what all that was read takes.
type Left = fn(&State, TaskId, &str, &mut usize) -> Outcome;

impl Facts {
    /// Those for `references` that stand in `step`. What the task left behind that `step` undoes is not among them: that is
    /// another for each element ([`undone`]).
    pub(crate) fn of<'r>(
        state: &State,
        run: &Run,
        step: u32,
        references: impl IntoIterator<Item = &'r Reference>,
    ) -> Result<Self, Flaw> {
        let is_undone = |named: &u32| run.graph.undoes(step) == Some(*named);
        let named = |name: &str| step_of(run, step, name).filter(|named| !is_undone(named));
        Self::with(state, run, fields(state, run, Some(step)), references, named)
    }

    /// Those for `references` to what the work of a run came to, when that has ended.
    pub(crate) fn of_work<'r>(
        state: &State,
        run: &Run,
        references: impl IntoIterator<Item = &'r Reference>,
    ) -> Result<Self, Flaw> {
        let steps = || (0_u32..).zip(&run.spec.tasks).filter(|(_, task)| !task.role.is_after());
        let named = |name: &str| steps().find(|(_, task)| task.name.as_str() == name).map(|(step, _)| step);
        Self::with(state, run, fields(state, run, None), references, named)
    }

    fn with<'r>(
        state: &State,
        run: &Run,
        fields: BTreeMap<RunField, String>,
        references: impl IntoIterator<Item = &'r Reference>,
        step_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, Flaw> {
        let (results, payloads) = (BTreeMap::new(), BTreeMap::new());
        let mut facts = Self { params: params(run)?, results, payloads, run: fields, bytes: 0 };
        for reference in references {
            let (left, name): (Left, _) = match &reference.root {
                Root::Result(name) => (element, name),
                Root::Payload(name) => (payloads_of, name),
                Root::Param(_) | Root::Each | Root::Index | Root::Run(_) => continue,
            };
            let known =
                if matches!(reference.root, Root::Result(_)) { &mut facts.results } else { &mut facts.payloads };
            if known.contains_key(name) {
                continue;
            }
            let Some(named) = step_of(name) else { continue };
            known.insert(name.clone(), left_by(state, run, named, name, left, &mut facts.bytes));
        }
        Ok(facts)
    }

    /// With an element of the step in view.
    pub(crate) fn at(&self, each: Option<Value>, index: Option<u32>) -> At<'_> {
        At { facts: self, each, index, undone: None }
    }
}

/// What the element left behind that the `index`-th one of `step` undoes, with its task's name; nothing of a step that undoes
/// none.
pub(crate) fn undone(state: &State, run: &Run, step: u32, index: u32) -> Option<Undone> {
    let undone = run.graph.undoes(step)?;
    let name = run.spec.tasks.get(undone as usize)?.name.to_string();
    let task = TaskId { run: run.id, step: undone, index };
    let (result, payloads) = (element(state, task, &name, &mut 0), payloads_of(state, task, &name, &mut 0));
    Some(Undone { name, result, payloads })
}

/// What the element left behind that is undone.
pub(crate) struct Undone {
    name: String,
    result: Outcome,
    payloads: Outcome,
}

/// Facts with an element in view.
pub(crate) struct At<'f> {
    facts: &'f Facts,
    each: Option<Value>,
    index: Option<u32>,
    undone: Option<Undone>,
}

impl At<'_> {
    /// The same with what is undone in view.
    pub(crate) fn undoing(self, undone: Option<Undone>) -> Self {
        Self { undone, ..self }
    }
}

impl Scope for At<'_> {
    fn param(&self, name: &str) -> Result<Found<'_>, Flaw> {
        Ok(self.facts.params.get(name).into())
    }

    fn result(&self, task: &str) -> Result<Found<'_>, Flaw> {
        let of_undone = self.undone.as_ref().filter(|undone| undone.name == task).map(|undone| &undone.result);
        found(of_undone.or_else(|| self.facts.results.get(task)))
    }

    fn payload(&self, task: &str) -> Result<Found<'_>, Flaw> {
        let of_undone = self.undone.as_ref().filter(|undone| undone.name == task).map(|undone| &undone.payloads);
        found(of_undone.or_else(|| self.facts.payloads.get(task)))
    }

    fn each(&self) -> Result<Found<'_>, Flaw> {
        Ok(self.each.as_ref().into())
    }

    fn index(&self) -> Option<u64> {
        self.index.map(u64::from)
    }

    fn run(&self, field: RunField) -> Option<Cow<'_, str>> {
        self.facts.run.get(&field).map(|text| Cow::Borrowed(text.as_str()))
    }
}

fn found(left: Option<&Outcome>) -> Result<Found<'_>, Flaw> {
    match left {
        None => Ok(Found::Unknown),
        Some(Err(flaw)) => Err(flaw.clone()),
        Some(Ok(None)) => Ok(Found::Nothing),
        Some(Ok(Some(value))) => Ok(Found::Value(Cow::Borrowed(value))),
    }
}

/// The step of a name that an expression of `step` may name: one that it needs, or what it undoes, or one that that needs.
fn step_of(run: &Run, step: u32, name: &str) -> Option<u32> {
    let undone = run.graph.undoes(step);
    let of_undone = undone.map_or(&[][..], |undone| run.graph.needs(undone));
    let mut reachable = undone.iter().chain(run.graph.needs(step)).chain(of_undone);
    let is_named = |step: &&u32| run.spec.tasks.get(**step as usize).is_some_and(|task| task.name.as_str() == name);
    reachable.find(is_named).copied()
}

fn params(run: &Run) -> Result<BTreeMap<String, Value>, Flaw> {
    if run.args.is_empty() {
        return Ok(BTreeMap::new());
    }
    match parse(run.args.as_bytes(), "what the run was told")? {
        Value::Object(params) => Ok(params.into_iter().collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Flaw::new("what the run was told is no JSON object"))
        }
    }
}

fn fields(state: &State, run: &Run, step: Option<u32>) -> BTreeMap<RunField, String> {
    let mut fields = BTreeMap::from([
        (RunField::Id, run.id.to_string()),
        (RunField::Namespace, run.spec.namespace.to_string()),
        (RunField::Job, run.spec.name.to_string()),
    ]);
    if step.is_some_and(|step| run.graph.is_after(step)) && state.phase(run) > Phase::Work {
        let outcome = match state.work_outcome(run) {
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Pending | RunState::Running | RunState::Succeeded => "succeeded",
        };
        fields.insert(RunField::Outcome, outcome.to_owned());
    }
    fields
}

/// What a task left behind that is needed: of a task with several elements the list of that, null where there is none.
fn left_by(state: &State, run: &Run, step: u32, name: &str, left: Left, bytes: &mut usize) -> Outcome {
    if state.is_passed_over(run.id, step) {
        return Ok(None);
    }
    let step = state.stand_in(run, step);
    let is_list = run.spec.tasks.get(step as usize).is_some_and(has_list);
    if !is_list {
        return left(state, TaskId { run: run.id, step, index: 0 }, name, bytes);
    }
    let count = state.elements(run.id, step);
    if count > INPUT_ELEMENTS_MAX {
        return Err(Flaw::new(format!(
            "{name} has {count} elements, and results of at most INPUT_ELEMENTS_MAX ({INPUT_ELEMENTS_MAX}) are put together: let them write to files or a store, and read those"
        )));
    }
    let mut list = Vec::new();
    for index in 0..count {
        let element = left(state, TaskId { run: run.id, step, index }, name, bytes)?;
        list.push(element.unwrap_or(Value::Null));
    }
    Ok(Some(Value::Array(list)))
}

/// True of a task whose result is a list, however many elements it happens to have.
fn has_list(task: &TaskSpec) -> bool {
    task.count > 1 || task.each.is_some()
}

/// The result of one element; what it takes is added to `bytes` before it is read.
fn element(state: &State, task: TaskId, name: &str, bytes: &mut usize) -> Outcome {
    let Some(result) = state.result(task) else { return Ok(None) };
    add(bytes, result.len(), "result", name)?;
    parse(result, &format!("the result of {name}")).map(Some)
}

/// The payloads of one element by name; none of one that has not succeeded.
fn payloads_of(state: &State, task: TaskId, name: &str, bytes: &mut usize) -> Outcome {
    let Some(payloads) = state.payloads(task) else { return Ok(None) };
    add(bytes, payloads.bytes(), "payload", name)?;
    let all = payloads.iter().map(|(name, payload)| (name.to_string(), shown(name, payload)));
    Ok(Some(Value::Object(all.collect())))
}

/// A payload as expressions see it.
fn shown(name: &PayloadName, payload: &Payload) -> Value {
    let words = [("name", Value::from(name.as_str())), ("uri", payload.uri().into())];
    let size = payload.size.map(|size| ("size", Value::from(size)));
    let digest = payload.digest.map(|digest| ("digest", Value::from(digest.to_string())));
    Value::Object(words.into_iter().chain(size).chain(digest).map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Adds what is about to be read.
fn add(bytes: &mut usize, more: usize, what: &str, name: &str) -> Result<(), Flaw> {
    *bytes = bytes.saturating_add(more);
    if *bytes > INPUT_BYTES_MAX {
        return Err(Flaw::new(format!(
            "with the {what} of {name}, the results that this task names have more than INPUT_BYTES_MAX ({INPUT_BYTES_MAX}) bytes: let tasks write large data to files or a store, and read those"
        )));
    }
    Ok(())
}

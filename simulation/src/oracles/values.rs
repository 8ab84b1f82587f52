//! What the expressions of a step come to, by what the run was told and the results that are recorded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate_state::{AttemptState, Each as Fan, JobSpec, Outcome, Rest, RunState, TaskId, TaskSpec, TaskState};
use quorate_values::{Condition, Each, Flaw, Found, Param, RunField, Scope, Template, Value, complete, parse};

use super::flow::Flow;

/// Results of so many elements are put together into one list.
const LIST_MAX: u32 = 1_000;
/// Bytes of results beyond which a task may be told that it names too much.
const BYTES_MAX: usize = 1 << 20;

/// What the condition of a step, and what it is for, come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It runs; with so many elements, if that was open.
    Runs(Option<u32>),
    PassedOver,
    /// That cannot be found out.
    Fails(String),
}

/// What is seen from a step.
pub(super) struct Sight<'a> {
    flow: &'a Flow<'a>,
    step: u32,
    /// The element that looks; none where all of them are decided at once.
    element: Option<u32>,
}

impl<'a> Sight<'a> {
    /// From all of a step.
    pub(super) fn of_step(flow: &'a Flow<'a>, step: u32) -> Self {
        Self { flow, step, element: None }
    }

    /// From one element of it.
    pub(super) fn of_task(flow: &'a Flow<'a>, task: TaskId) -> Self {
        Self { flow, step: task.step, element: Some(task.index) }
    }

    /// From what comes out of the run when its work has ended.
    pub(super) fn of_work(flow: &'a Flow<'a>) -> Self {
        Self { flow, step: u32::MAX, element: None }
    }

    /// What is to be decided of the step.
    pub(super) fn wanted(&self) -> Wanted {
        self.try_wanted().unwrap_or_else(|flaw| Wanted::Fails(flaw.to_string()))
    }

    fn try_wanted(&self) -> Result<Wanted, Flaw> {
        let Some(spec) = self.flow.spec(self.step) else { return Err(Flaw::new("there is no such step")) };
        if let Some(when) = &spec.when
            && !Condition::parse(when)?.evaluate(self)?
        {
            return Ok(Wanted::PassedOver);
        }
        let Some(Fan::Result(_)) = spec.each else { return Ok(Wanted::Runs(None)) };
        let Some(each) = fan(spec)? else { return Ok(Wanted::Runs(None)) };
        Ok(match each.count(self, u32::MAX)? {
            0 => Wanted::PassedOver,
            count => Wanted::Runs(Some(count)),
        })
    }

    /// A text of the command with what its references come to in their places.
    pub(super) fn put_into(&self, text: &str) -> Result<String, Flaw> {
        Template::parse(text)?.render(self)
    }

    /// What values, which are JSON, come to by their names, with what references stand for in the place of their texts.
    pub(super) fn fill(&self, values: &BTreeMap<String, String>) -> Result<BTreeMap<String, Value>, Flaw> {
        let fill = |(name, json): (&String, &String)| Ok((name.clone(), self.filled(parse(json.as_bytes(), name)?)?));
        values.iter().map(fill).collect()
    }

    fn filled(&self, value: Value) -> Result<Value, Flaw> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(&text)?;
                match template.sole() {
                    Some(reference) => reference.resolve(self)?.into_owned(),
                    None => Value::String(template.render(self)?),
                }
            }
            Value::Array(items) => items.into_iter().map(|item| self.filled(item)).collect::<Result<_, _>>()?,
            Value::Object(fields) => {
                let filled = fields.into_iter().map(|(name, value)| Ok((name, self.filled(value)?)));
                Value::Object(filled.collect::<Result<_, Flaw>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        })
    }

    /// Whether there is a command for the element, of at most so many bytes.
    pub(super) fn has_command(&self, bytes_max: u64) -> bool {
        let Some(spec) = self.flow.spec(self.step) else { return false };
        if spec.argv.first().is_none_or(|program| self.put_into(program).is_ok_and(|program| program.is_empty())) {
            return false;
        }
        let texts = spec.argv.iter().chain(spec.env.values());
        let bytes = texts.map(|text| self.put_into(text).map(|text| text.len() as u64 + 2));
        let names: u64 = spec.env.keys().map(|name| name.len() as u64).sum();
        bytes.sum::<Result<u64, Flaw>>().is_ok_and(|bytes| bytes + names <= bytes_max)
    }

    /// True where what it may name is so much that this alone can be a reason to fail.
    pub(super) fn is_much(&self) -> bool {
        let flow = self.flow;
        let undone = flow.undoes(self.step);
        let named =
            flow.needs(self.step).into_iter().chain(undone).chain(undone.into_iter().flat_map(|it| flow.needs(it)));
        let of_step = |step: u32| (0..flow.tally(step).elements).map(move |index| (step, index));
        let bytes = named
            .map(|step| flow.stand_in(step))
            .flat_map(of_step)
            .map(|(step, index)| self.recorded(TaskId { run: flow.run.id, step, index }).map_or(0, <[u8]>::len));
        bytes.sum::<usize>() > BYTES_MAX
    }

    /// The step whose elements these are: its own, or those that it undoes.
    fn elements_of(&self) -> Option<&'a TaskSpec> {
        self.flow.spec(self.flow.undoes(self.step).unwrap_or(self.step))
    }

    /// What came out of a step: of one with several elements the list of that, null where nothing did.
    fn of_all(&self, step: u32, name: &str) -> Result<Option<Value>, Flaw> {
        let flow = self.flow;
        if flow.is_passed_over(step) {
            return Ok(None);
        }
        let step = flow.stand_in(step);
        let of = |index| TaskId { run: flow.run.id, step, index };
        if !flow.spec(step).is_some_and(has_several) {
            return self.of_one(of(0), name);
        }
        let count = flow.tally(step).elements;
        if count > LIST_MAX {
            return Err(Flaw::new(format!("{name} has {count} elements")));
        }
        let all = (0..count).map(|index| Ok(self.of_one(of(index), name)?.unwrap_or(Value::Null)));
        all.collect::<Result<Vec<_>, Flaw>>().map(|list| Some(Value::Array(list)))
    }

    fn of_one(&self, task: TaskId, name: &str) -> Result<Option<Value>, Flaw> {
        self.recorded(task).map(|result| parse(result, name)).transpose()
    }

    /// The result of a task; of one that was kept from an earlier run, that which it has there.
    fn recorded(&self, task: TaskId) -> Option<&'a [u8]> {
        let state = self.flow.state;
        let mut at = task;
        while state.task(at).is_none() {
            let is_kept = state.step(at.run, at.step).is_some_and(|known| known.rest == Rest::Kept);
            at.run = state.run(at.run).filter(|_| is_kept)?.restart_of?;
        }
        let row = state.task(at)?;
        if let Some(run) = row.sub_run {
            let result = state.run(run).and_then(|run| run.result.as_deref());
            return result.filter(|_| row.state == TaskState::Succeeded);
        }
        let newest = row.newest_attempt().and_then(|newest| state.attempt(newest))?;
        match newest.outcome.as_deref()? {
            Outcome::Result(result) if newest.state == AttemptState::Succeeded => Some(result),
            Outcome::Result(_) | Outcome::Error(_) => None,
        }
    }
}

impl Scope for Sight<'_> {
    fn param(&self, name: &str) -> Result<Found<'_>, Flaw> {
        let args = &self.flow.run.args;
        let told = if args.is_empty() { Value::Null } else { parse(args.as_bytes(), "what the run was told")? };
        Ok(told.get(name).map_or(Found::Unknown, |value| Found::Value(Cow::Owned(value.clone()))))
    }

    fn result(&self, task: &str) -> Result<Found<'_>, Flaw> {
        let Some(step) = self.flow.step(task) else { return Ok(Found::Unknown) };
        let value = match (self.element, self.flow.undoes(self.step)) {
            (Some(index), Some(undone)) if undone == step => {
                self.of_one(TaskId { run: self.flow.run.id, step, index }, task)?
            }
            _ => self.of_all(step, task)?,
        };
        Ok(value.map_or(Found::Nothing, |value| Found::Value(Cow::Owned(value))))
    }

    /// No scenario has tasks that leave data behind.
    fn payload(&self, _: &str) -> Result<Found<'_>, Flaw> {
        Ok(Found::Unknown)
    }

    fn each(&self) -> Result<Found<'_>, Flaw> {
        let (Some(index), Some(spec)) = (self.element, self.elements_of()) else { return Ok(Found::Unknown) };
        let Some(each) = fan(spec)? else { return Ok(Found::Unknown) };
        each.element(self, index).map(|value| Found::Value(Cow::Owned(value)))
    }

    fn index(&self) -> Option<u64> {
        let has_several = self.elements_of().is_some_and(has_several);
        self.element.filter(|_| has_several).map(u64::from)
    }

    fn run(&self, field: RunField) -> Option<Cow<'_, str>> {
        let run = self.flow.run;
        Some(Cow::Owned(match field {
            RunField::Id => run.id.to_string(),
            RunField::Namespace => run.spec.namespace.to_string(),
            RunField::Job => run.spec.name.to_string(),
            RunField::Outcome if !self.flow.comes_after(self.step) || self.flow.has_open_work() => return None,
            RunField::Outcome => match self.flow.work_outcome() {
                RunState::Failed => "failed".to_owned(),
                RunState::Cancelled => "cancelled".to_owned(),
                RunState::Succeeded | RunState::Pending | RunState::Running => "succeeded".to_owned(),
            },
        }))
    }
}

/// All that a run of a job is told that is given these values.
pub(super) fn completed(spec: &JobSpec, given: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, Flaw> {
    let param = |(name, param): (&String, &quorate_state::Param)| {
        let default = param.default.as_ref().map(|json| parse(json.as_bytes(), name)).transpose()?;
        let param = Param { kind: param.kind.parse()?, default, description: String::new() };
        Ok((name.clone(), param))
    };
    let params = spec.params.iter().map(param).collect::<Result<BTreeMap<_, _>, Flaw>>()?;
    complete(&params, given).map_err(|flaws| flaws.into_iter().next().unwrap_or_else(|| Flaw::new("no reason")))
}

/// True of a task whose results are a list, however many elements it has.
fn has_several(spec: &TaskSpec) -> bool {
    spec.count > 1 || spec.each.is_some()
}

fn fan(spec: &TaskSpec) -> Result<Option<Each>, Flaw> {
    Ok(match &spec.each {
        None => None,
        Some(Fan::Items(items)) => {
            let values = items.iter().map(|item| parse(item.as_bytes(), "an element"));
            Some(Each::Items(values.collect::<Result<_, _>>()?))
        }
        Some(Fan::Range { from }) => Some(Each::Range { from: *from, to: from.saturating_add(i64::from(spec.count)) }),
        Some(Fan::Result(reference)) => Some(Each::parse(reference)?),
    })
}

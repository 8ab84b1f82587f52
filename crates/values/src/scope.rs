//! Where the values that expressions name come from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::flaw::Flaw;
use crate::reference::RunField;

/// What a [`Scope`] has under a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    /// There is nothing of this name here: the expression must not use it.
    Unknown,
    /// The name is known, but nothing has come of it: a task that was passed over, or that left no result.
    /// An expression sees null.
    Nothing,
    /// The value.
    Value(Cow<'a, Value>),
}

impl<'a> From<Option<&'a Value>> for Found<'a> {
    /// `None` is [`Found::Unknown`].
    fn from(value: Option<&'a Value>) -> Self {
        value.map_or(Self::Unknown, |value| Self::Value(Cow::Borrowed(value)))
    }
}

/// What expressions may name, at the place where they stand.
///
/// Nothing is asked for that the expression does not name, so that a scope may read its values when they
/// are asked for; one that keeps them lends them out. A condition asks once per reference, a template once
/// per occurrence. The answers must not change while an expression is worked out.
pub trait Scope {
    /// The run's parameter of this name.
    ///
    /// # Errors
    /// When it is there and cannot be read; so for the others.
    fn param(&self, name: &str) -> Result<Found<'_>, Flaw>;

    /// The result of the task of this name: [`Found::Unknown`] when there is no such task or it does not come
    /// before this one, [`Found::Nothing`] when it was passed over or left no result.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    fn result(&self, task: &str) -> Result<Found<'_>, Flaw>;

    /// What the task of this name has left behind: a map of payloads by name, each a map of `name`, `uri` and, if they are
    /// known, `size` and `digest`; of a task with several elements the list of their maps, null for one that did not
    /// succeed. [`Found::Unknown`] and [`Found::Nothing`] as for a result; a task that succeeded and left nothing has an
    /// empty map.
    ///
    /// # Errors
    /// When they cannot be read.
    fn payload(&self, task: &str) -> Result<Found<'_>, Flaw>;

    /// The element of a fan-out that is worked on; [`Found::Unknown`] elsewhere.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    fn each(&self) -> Result<Found<'_>, Flaw>;

    /// The element's number, from 0; `None` elsewhere.
    fn index(&self) -> Option<u64>;

    /// A field of the run; `None` when it has none yet, as the outcome of a run that is not over.
    fn run(&self, field: RunField) -> Option<Cow<'_, str>>;
}

/// A scope that holds its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The run's parameters.
    pub params: BTreeMap<String, Value>,
    /// The tasks that can be named, `None` for one without a result.
    pub results: BTreeMap<String, Option<Value>>,
    /// What they left behind, `None` for one that was passed over.
    pub payloads: BTreeMap<String, Option<Value>>,
    /// The element of a fan-out.
    pub each: Option<Value>,
    /// The element's number, from 0.
    pub index: Option<u64>,
    /// The fields of the run.
    pub run: BTreeMap<RunField, String>,
}

impl Scope for Values {
    fn param(&self, name: &str) -> Result<Found<'_>, Flaw> {
        Ok(self.params.get(name).into())
    }

    fn result(&self, task: &str) -> Result<Found<'_>, Flaw> {
        Ok(of_task(&self.results, task))
    }

    fn payload(&self, task: &str) -> Result<Found<'_>, Flaw> {
        Ok(of_task(&self.payloads, task))
    }

    fn each(&self) -> Result<Found<'_>, Flaw> {
        Ok(self.each.as_ref().into())
    }

    fn index(&self) -> Option<u64> {
        self.index
    }

    fn run(&self, field: RunField) -> Option<Cow<'_, str>> {
        self.run.get(&field).map(|text| Cow::Borrowed(text.as_str()))
    }
}

fn of_task<'v>(values: &'v BTreeMap<String, Option<Value>>, task: &str) -> Found<'v> {
    match values.get(task) {
        None => Found::Unknown,
        Some(None) => Found::Nothing,
        Some(Some(value)) => Found::Value(Cow::Borrowed(value)),
    }
}

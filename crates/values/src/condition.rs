//! Conditions: what decides whether a task runs, in the language CEL.

mod cost;
mod names;
mod operands;
mod syntax;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, IdedExpr, OverloadError};

use crate::flaw::{Flaw, excerpt, quoted};
use crate::reference::Reference;
use crate::scope::Scope;

/// No condition is longer, in bytes.
pub const CONDITION_BYTES_MAX: usize = 2 * 1024;
/// Words, numbers and signs of a condition, each character that is neither a letter, a digit, `_` nor space counting as
/// one, also inside of texts: what the parser builds is no deeper than this, whatever it is.
pub const CONDITION_TOKENS_MAX: usize = 512;
/// Opening brackets and question marks of a condition, also inside of texts: where the parser calls itself.
pub const CONDITION_BRACKETS_MAX: usize = 64;
/// Operations of a condition lie no deeper in each other; `&&` and `||` in a row count as if they were balanced.
pub const CONDITION_DEPTH_MAX: usize = 32;
/// Steps that a condition may take at most over the values at hand, counted before it is evaluated: see
/// [`Condition::evaluate`].
pub const CONDITION_COST_MAX: u64 = 1_000_000;

/// A condition such as `approve.result.decision == 'yes' && params.day != ''`.
///
/// It is CEL with the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter` and the functions `size`, `int`,
/// `double`, `string`, `contains`, `startsWith` and `endsWith`. Its names are those of a template, written the same way;
/// a task whose name is no identifier of CEL is written `task['my-task'].result`. Whole numbers of JSON are integers.
/// A task without a result is null, and `has` says no of it.
#[derive(Clone)]
pub struct Condition {
    source: Box<str>,
    /// Each reference in it is replaced by the name of its slot.
    expression: IdedExpr,
    slots: Vec<names::Slot>,
}

impl Condition {
    /// The condition that `text` spells.
    ///
    /// # Errors
    /// When it is no CEL, names what is none of the references, calls a function or writes a value that is not offered
    /// here, or is over one of the limits that are named `CONDITION_…_MAX`, `REFERENCES_MAX` or `PATH_SEGMENTS_MAX`.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let mut expression = truth(syntax::parse(text)?);
        let slots = names::bind(&mut expression)?;
        Ok(Self { source: text.into(), expression, slots })
    }

    /// What it names, each once; what is only asked for with `has` is among it.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(at, slot)| self.slots.iter().take(*at).all(|other| other.reference != slot.reference))
            .map(|(_, slot)| &slot.reference)
    }

    /// Whether it is met in `scope`.
    ///
    /// How long that takes is bounded before it begins: every operation counts for as many steps as the values that it
    /// reads and makes have parts (a part is a value, or sixteen bytes of a text), and what a macro repeats counts once
    /// per element of the largest list that can stand there. Values are asked for whether or not they will be needed,
    /// but what is missing does no harm where it is not: `false && missing` is false.
    ///
    /// # Errors
    /// When a reference that matters leads nowhere or cannot be read, an operation does not go with its values, the
    /// outcome is neither true nor false, or it could take more than [`CONDITION_COST_MAX`] steps.
    pub fn evaluate(&self, scope: &(impl Scope + ?Sized)) -> Result<bool, Flaw> {
        self.evaluate_counting(scope).0
    }

    /// The same, with how many steps it could take at most: twenty nanoseconds each, about.
    pub fn evaluate_counting(&self, scope: &(impl Scope + ?Sized)) -> (Result<bool, Flaw>, u64) {
        let operands: Vec<_> = self.slots.iter().map(|slot| slot.value(scope)).collect();
        let sizes: Vec<_> = operands
            .iter()
            .map(|operand| operand.as_ref().map_or(cost::Size::ONE, |value| cost::size(value)))
            .collect();
        let steps = cost::estimate(&self.expression, &sizes);
        if steps > CONDITION_COST_MAX {
            let flaw = Flaw::new(format!(
                "the condition could take more than {CONDITION_COST_MAX} steps over these values (CONDITION_COST_MAX): leave it to a task what to do with large lists"
            ));
            return (Err(flaw), 0);
        }
        // What the standard library of CEL is, is the same for all.
        static LIBRARY: LazyLock<Arc<Env>> =
            LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));
        // The last resort: what is known to panic has been refused when the condition was parsed.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&LIBRARY));
            for (number, operand) in operands.iter().enumerate() {
                if let Ok(value) = operand {
                    context.add_variable_as_val(names::variable(number), operands::value(value));
                }
            }
            cel::Value::resolve(&self.expression, &context)
        }));
        let outcome = match outcome {
            Ok(Ok(outcome)) => Ok(outcome == cel::Value::Bool(true)),
            Ok(Err(error)) => Err(explained(&error, &operands)),
            Err(_) => Err(Flaw::new("the condition cannot be evaluated: write it in another way")),
        };
        (outcome, steps)
    }
}

/// `expression ? true : false`, so that the outcome is one of the two, or the error that it is neither.
fn truth(expression: IdedExpr) -> IdedExpr {
    let literal = |truth: bool| IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Boolean(truth.into())) };
    let args = vec![expression, literal(true), literal(false)];
    let call = CallExpr { func_name: operators::CONDITIONAL.to_owned(), target: None, args };
    IdedExpr { id: 0, expr: Expr::Call(call) }
}

/// The spelling.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.source)
    }
}

/// Conditions are equal when they are spelled the same.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}

/// An error of the library in our words: its own print whole values.
fn explained<V>(error: &ExecutionError, operands: &[Result<V, Flaw>]) -> Flaw {
    const ASK: &str = "has(...) asks whether it is there";
    Flaw::new(match error {
        ExecutionError::UndeclaredReference(name) => {
            let missing =
                names::slot(name).and_then(|number| operands.get(number)).and_then(|found| found.as_ref().err());
            missing.map_or_else(|| format!("{} is not known", quoted(name)), |flaw| format!("{flaw}; {ASK}"))
        }
        ExecutionError::NoSuchKey(key) => format!("there is no key {} where one is read; {ASK}", quoted(key)),
        ExecutionError::IndexOutOfBounds(_) => "a list has no element with the number that is read".to_owned(),
        ExecutionError::NoSuchOverload(overload) => not_together(overload),
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            let sign = match *operator {
                "add" => "+",
                "sub" => "-",
                "mul" => "*",
                "div" => "/",
                "rem" => "%",
                other => other,
            };
            match (left, right) {
                // A map of ours cannot be in an error of theirs, and is null there.
                (cel::Value::Null, _) | (_, cel::Value::Null) => format!("`{sign}` does not go with its values"),
                (left, right) => format!("`{sign}` does not go with {} and {}", left.type_of(), right.type_of()),
            }
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", left.type_of(), right.type_of())
        }
        ExecutionError::UnexpectedType { got, want } if want == "bool" => {
            format!("what must be true or false is of the type {}: compare it with something", excerpt(got))
        }
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number gets larger than 64 bits".to_owned(),
        ExecutionError::FunctionError { function, message } => format!("{function}: {}", excerpt(message)),
        // More kinds may come; those that there are concern values that cannot be written here.
        _ => "an operation does not go with its values".to_owned(),
    })
}

fn not_together(overload: &OverloadError) -> String {
    let sign = match overload.function() {
        "@in" => "in",
        function => function.trim_matches('_'),
    };
    let kinds: Vec<String> = overload.argument_types().iter().map(|kind| excerpt(kind)).collect();
    format!("`{sign}` does not go with {}", kinds.join(" and "))
}

#[cfg(test)]
mod tests;

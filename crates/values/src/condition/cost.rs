//! How long a condition can take at most, before it is evaluated.
//!
//! One walk over its tree, which is small, with what is known of the values: how many parts a value has, how many
//! elements, and how many parts the largest of these. What an operation makes is bounded by what it gets, and so from
//! the leaves up every operation gets a bound of its own; a macro counts what it repeats once per element. The bound
//! is often far above what happens, and never below. A step was measured to take 20 ns at most, so that the slowest
//! condition that is admitted takes some tens of milliseconds.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};
use serde_json::Value;

use super::names;
use crate::json::VALUE_DEPTH_MAX;

/// So many bytes of a text are a part.
const TEXT_PART_BYTES: usize = 16;
/// No number has more parts when it becomes a text: without an exponent, a double has up to 345 characters.
const NUMBER_PARTS_MAX: u64 = 32;

/// How large a value is, or can be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Parts of it: itself, its text, and all that is in it.
    parts: u64,
    /// Elements of a list, keys of a map.
    elements: u64,
    /// Parts of the largest thing in it, at any depth.
    largest: u64,
}

impl Size {
    /// True and false, numbers, null.
    pub(super) const ONE: Self = Self { parts: 1, elements: 0, largest: 0 };

    fn text(text: &str) -> Self {
        Self { parts: 1 + (text.len() / TEXT_PART_BYTES) as u64, ..Self::ONE }
    }

    /// A list or map of things of these sizes.
    fn of(inner: impl Iterator<Item = Self>) -> Self {
        inner.fold(Self::ONE, |whole, one| Self {
            parts: whole.parts.saturating_add(one.parts),
            elements: whole.elements.saturating_add(1),
            largest: whole.largest.max(one.parts),
        })
    }

    /// Whatever is in it.
    fn inside(self) -> Self {
        Self { parts: self.largest.max(1), elements: self.largest, largest: self.largest }
    }

    /// One after the other.
    fn joined(self, other: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(other.parts),
            elements: self.elements.saturating_add(other.elements),
            largest: self.largest.max(other.largest),
        }
    }

    /// One or the other.
    fn either(self, other: Self) -> Self {
        Self {
            parts: self.parts.max(other.parts),
            elements: self.elements.max(other.elements),
            largest: self.largest.max(other.largest),
        }
    }

    /// One after the other, so many times.
    fn times(self, count: u64) -> Self {
        let grown = |number: u64| number.saturating_mul(count);
        Self { parts: grown(self.parts).saturating_add(1), elements: grown(self.elements), largest: self.largest }
    }
}

/// The size of a value.
pub(super) fn size(value: &Value) -> Size {
    measured(value, VALUE_DEPTH_MAX)
}

fn measured(value: &Value, depth_left: usize) -> Size {
    let Some(inside) = depth_left.checked_sub(1) else {
        return Size { parts: u64::MAX, elements: u64::MAX, largest: u64::MAX };
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Size::ONE,
        Value::String(text) => Size::text(text),
        Value::Array(list) => Size::of(list.iter().map(|value| measured(value, inside))),
        Value::Object(map) => Size::of(map.iter().map(|(key, value)| Size::text(key).joined(measured(value, inside)))),
    }
}

/// The most steps that a condition can take, with slots of these sizes.
pub(super) fn estimate(expression: &IdedExpr, slots: &[Size]) -> u64 {
    let mut estimate = Estimate { slots, local: Vec::new(), steps: 0, repeated: 1 };
    // Values are converted one by one.
    slots.iter().for_each(|size| estimate.count(size.parts));
    let outcome = estimate.visit(expression);
    estimate.count(outcome.parts);
    estimate.steps
}

struct Estimate<'e> {
    slots: &'e [Size],
    /// The variables of the macros around, the innermost last.
    local: Vec<(&'e str, Size)>,
    steps: u64,
    /// How often what is visited is evaluated.
    repeated: u64,
}

impl<'e> Estimate<'e> {
    fn count(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps.saturating_mul(self.repeated));
    }

    /// Counts the steps of `node`, and returns the size of what it can become.
    fn visit(&mut self, node: &'e IdedExpr) -> Size {
        self.count(1);
        match &node.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Literal(LiteralValue::String(text)) => Size::text(text.inner()),
            Expr::Literal(_) => Size::ONE,
            Expr::Select(select) => {
                let inside = self.visit(&select.operand).inside();
                self.count_taken(&select.operand, inside);
                if select.test { Size::ONE } else { inside }
            }
            Expr::List(list) => {
                let elements: Vec<Size> = list.elements.iter().map(|element| self.visit(element)).collect();
                let whole = Size::of(elements.into_iter());
                self.count(whole.parts);
                whole
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(repeated) => self.repeat(repeated),
            // Refused when the condition was parsed.
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                self.count(u64::MAX);
                Size::ONE
            }
        }
    }

    /// What is in a variable is lent, what is in anything else may be copied out of it.
    fn count_taken(&mut self, whole: &IdedExpr, inside: Size) {
        if !matches!(whole.expr, Expr::Ident(_)) {
            self.count(inside.parts);
        }
    }

    fn variable(&self, name: &str) -> Size {
        let local = self.local.iter().rev().find(|(local, _)| *local == name).map(|(_, size)| *size);
        local.or_else(|| self.slots.get(names::slot(name)?).copied()).unwrap_or(Size::ONE)
    }

    fn call(&mut self, call: &'e CallExpr) -> Size {
        let operands: Vec<Size> =
            call.target.as_deref().into_iter().chain(&call.args).map(|operand| self.visit(operand)).collect();
        match (call.func_name.as_str(), operands.as_slice()) {
            (operators::CONDITIONAL, [_, one, other]) => return one.either(*other),
            (operators::INDEX, [whole, place]) => {
                self.count(place.parts);
                call.args.iter().take(1).for_each(|operand| self.count_taken(operand, whole.inside()));
                return whole.inside();
            }
            (operators::IN, [value, list]) => {
                // An element may look at all of the value to find out that it is another.
                self.count(list.parts.saturating_add(value.parts.saturating_mul(list.elements.saturating_add(1))));
                return Size::ONE;
            }
            _ => {}
        }
        let both = operands.iter().fold(Size::ONE, |whole, one| whole.joined(*one));
        // An operation that does not go with its values copies them into its error.
        self.count(both.parts);
        match call.func_name.as_str() {
            operators::ADD => {
                self.count(both.parts);
                both
            }
            "string" => Size { parts: both.parts.saturating_add(NUMBER_PARTS_MAX), ..Size::ONE },
            _ => Size::ONE,
        }
    }

    fn repeat(&mut self, repeated: &'e ComprehensionExpr) -> Size {
        let range = self.visit(&repeated.iter_range);
        let first = self.visit(&repeated.accu_init);
        // Each element is copied into the variable.
        self.count(range.parts);
        let outside = self.repeated;
        self.repeated = outside.saturating_mul(range.elements.saturating_add(1));
        self.local.push((&repeated.iter_var, range.inside()));
        // A list is appended to where it lies: what a step adds to an empty one is what it adds to any.
        self.local.push((&repeated.accu_var, first));
        self.visit(&repeated.loop_cond);
        let step = self.visit(&repeated.loop_step);
        self.repeated = outside;
        self.local.pop();
        let sum = match repeated.accu_init.expr {
            Expr::List(_) => step.times(range.elements),
            _ => Size::ONE,
        };
        self.local.push((&repeated.accu_var, sum));
        let outcome = self.visit(&repeated.result);
        self.local.truncate(self.local.len().saturating_sub(2));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_count_all_that_is_inside() {
        assert_eq!(size(&json!(1)), Size::ONE);
        assert_eq!(size(&json!("x".repeat(160))).parts, 11);
        assert_eq!(size(&json!([1, [2, 3]])), Size { parts: 5, elements: 2, largest: 3 });
        assert_eq!(size(&json!({ "a": 1 })), Size { parts: 3, elements: 1, largest: 2 });
    }

    #[test]
    fn a_value_nested_deeper_than_any_that_is_read_is_too_large() {
        let deep = (0..VALUE_DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(size(&deep).parts, u64::MAX);
        assert!(size(&deep[0]).parts < 1000);
    }
}

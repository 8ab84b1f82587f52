//! Fan-outs: how many elements a task with `each` has, and which.

use std::borrow::Cow;

use serde_json::Value;

use crate::flaw::{Flaw, quoted};
use crate::json::described;
use crate::reference::{Reference, Root};
use crate::scope::Scope;
use crate::template::Template;

/// What a task is done for, once per element.
#[derive(Clone, Debug, PartialEq)]
pub enum Each {
    /// The elements of a list that another task or a parameter gives, the payloads of a task in order of their names, or as
    /// many numbers from 0 as a number says: `each = "${split.result.parts}"`.
    Reference(Reference),
    /// These: `each = ["a", "b"]`.
    Items(Vec<Value>),
    /// Whole numbers: `each = { from = 0, to = 100 }`, and `each = 100` for the same.
    Range {
        /// The first.
        from: i64,
        /// The one after the last; not below `from`.
        to: i64,
    },
}

impl Each {
    /// The list that a text in a job file stands for: one reference and nothing else.
    ///
    /// # Errors
    /// When it is something else, or refers to an element, which there is none of before the list is known.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let template = Template::parse(text)?;
        let Some(reference) = template.sole() else {
            let text = quoted(text);
            return Err(Flaw::new(format!(
                "{text} is no list: write one reference and nothing else, such as \"${{split.result.parts}}\", a list, a number, or {{ from = 0, to = 100 }}"
            )));
        };
        match reference.root {
            Root::Each | Root::Index => {
                let reference = reference.short();
                Err(Flaw::new(format!(
                    "`{reference}` is known only inside of a fan-out and cannot say what it is over"
                )))
            }
            Root::Run(_) => Err(Flaw::new(format!("`{}` is no list but a text", reference.short()))),
            Root::Param(_) | Root::Result(_) | Root::Payload(_) => Ok(Self::Reference(reference.clone())),
        }
    }

    /// What it refers to, if anything.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Items(_) | Self::Range { .. } => None,
        }
    }

    /// How many elements there are, 0 included.
    ///
    /// # Errors
    /// When the reference leads to no list and to no whole number from 0 on, a range ends before it begins, or there
    /// are more than `max` elements.
    pub fn count(&self, scope: &(impl Scope + ?Sized), max: u32) -> Result<u32, Flaw> {
        let count = match self {
            Self::Reference(reference) => match &*reference.resolve(scope)? {
                Value::Array(list) => list.len() as u64,
                Value::Object(payloads) if is_of_payloads(reference) => payloads.len() as u64,
                value => number(reference, value)?,
            },
            Self::Items(items) => items.len() as u64,
            Self::Range { from, to } if from > to => {
                return Err(Flaw::new(format!("the range from {from} to {to} ends before it begins")));
            }
            Self::Range { from, to } => to.abs_diff(*from),
        };
        match u32::try_from(count) {
            Ok(count) if count <= max => Ok(count),
            Ok(_) | Err(_) => Err(Flaw::new(format!("{count} elements, tasks_per_run_max is {max}"))),
        }
    }

    /// The element with this number, from 0.
    ///
    /// # Errors
    /// When there is none, or [`Each::count`] cannot say how many there are.
    pub fn element(&self, scope: &(impl Scope + ?Sized), index: u32) -> Result<Value, Flaw> {
        let element = match self {
            Self::Reference(reference) => match reference.resolve(scope)? {
                Cow::Borrowed(Value::Array(list)) => list.get(index as usize).cloned(),
                Cow::Owned(Value::Array(mut list)) => list.get_mut(index as usize).map(Value::take),
                Cow::Borrowed(Value::Object(payloads)) if is_of_payloads(reference) => {
                    payloads.values().nth(index as usize).cloned()
                }
                Cow::Owned(Value::Object(mut payloads)) if is_of_payloads(reference) => {
                    payloads.values_mut().nth(index as usize).map(Value::take)
                }
                value => (u64::from(index) < number(reference, &value)?).then(|| index.into()),
            },
            Self::Items(items) => items.get(index as usize).cloned(),
            Self::Range { from, to } => {
                from.checked_add(i64::from(index)).filter(|element| element < to).map(Value::from)
            }
        };
        element.ok_or_else(|| Flaw::new(format!("there is no element with the number {index}")))
    }
}

/// A map below this root is one of payloads by name: a payload itself stands for its address.
fn is_of_payloads(reference: &Reference) -> bool {
    matches!(reference.root, Root::Payload(_))
}

fn number(reference: &Reference, value: &Value) -> Result<u64, Flaw> {
    value.as_u64().ok_or_else(|| {
        let found = described(value);
        Flaw::new(format!("`{}` is {found}: expected a list, or a whole number from 0 on", reference.short()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values() -> crate::Values {
        let mut values = crate::Values::default();
        let split = json!({ "parts": ["a", { "b": 1 }], "count": 3, "none": [], "text": "a", "less": -1, "half": 1.5 });
        values.results.insert("split".into(), Some(split));
        values.results.insert("passed".into(), None);
        let (a, b) = (json!({ "name": "a", "uri": "s3://a" }), json!({ "name": "b", "uri": "s3://b", "size": 2 }));
        values.payloads.insert("split".into(), Some(json!({ "b": b, "a": a })));
        values.payloads.insert("many".into(), Some(json!([{ "b": b }, null])));
        values.payloads.insert("none".into(), Some(json!({})));
        values.params.insert("shards".into(), json!(4));
        values
    }

    fn elements(each: &Each) -> Vec<Value> {
        let count = each.count(&values(), 1000).expect("a number of elements");
        let elements = (0..count).map(|index| each.element(&values(), index).expect("an element")).collect();
        let flaw = each.element(&values(), count).expect_err("one too many");
        assert_eq!(flaw.to_string(), format!("there is no element with the number {count}"));
        elements
    }

    #[test]
    fn a_reference_gives_its_elements_or_numbers() {
        for (text, expected) in [
            ("${split.result.parts}", vec![json!("a"), json!({ "b": 1 })]),
            ("${split.result.none}", vec![]),
            ("${split.result.count}", vec![json!(0), json!(1), json!(2)]),
            ("${params.shards}", vec![json!(0), json!(1), json!(2), json!(3)]),
            (
                "${split.payload}",
                vec![json!({ "name": "a", "uri": "s3://a" }), json!({ "name": "b", "uri": "s3://b", "size": 2 })],
            ),
            ("${none.payload}", vec![]),
            ("${split.payload.b.size}", vec![json!(0), json!(1)]),
            ("${many.payload}", vec![json!({ "b": { "name": "b", "uri": "s3://b", "size": 2 } }), Value::Null]),
        ] {
            assert_eq!(elements(&Each::parse(text).expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn lists_and_ranges_are_as_written() {
        assert_eq!(elements(&Each::Items(vec![json!(1), Value::Null])), [json!(1), Value::Null]);
        assert_eq!(elements(&Each::Range { from: -1, to: 2 }), [json!(-1), json!(0), json!(1)]);
        assert_eq!(elements(&Each::Range { from: 5, to: 5 }), [Value::Null; 0]);
    }

    #[test]
    fn what_is_no_number_of_elements_is_refused() {
        for (text, why) in [
            ("${split.result.text}", "is the text \"a\": expected a list"),
            ("${split.result.less}", "is the number -1"),
            ("${split.result.half}", "is the number 1.5"),
            ("${passed.result}", "is nothing"),
            ("${passed.result.parts}", "has no result"),
            ("${split.result.gone}", "has no key \"gone\""),
            ("${nobody.result}", "no task \"nobody\""),
            ("${split.payload.a}", "is the text \"s3://a\": expected a list"),
            ("${split.payload.c}", "has left no payload \"c\""),
        ] {
            let each = Each::parse(text).expect(text);
            let flaw = each.count(&values(), 1000).expect_err(text).to_string();
            assert!(flaw.contains(why), "{text}: {flaw}");
            assert!(each.element(&values(), 0).is_err(), "{text}");
        }
        assert!(Each::Range { from: 1, to: 0 }.count(&values(), 10).is_err());
    }

    #[test]
    fn what_is_no_list_is_refused_when_it_is_read() {
        for text in ["", "100", "a${each}", "${params.a}${params.b}", "${each}", "${index}", "${run.id}", "$${a}"] {
            assert!(Each::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn more_elements_than_allowed_are_refused_by_their_number() {
        for (each, count) in [
            (Each::Range { from: 0, to: 11 }, "11"),
            (Each::Range { from: i64::MIN, to: i64::MAX }, "18446744073709551615"),
            (Each::Items(vec![Value::Null; 11]), "11"),
        ] {
            let flaw = each.count(&values(), 10).expect_err("too many");
            assert_eq!(flaw.to_string(), format!("{count} elements, tasks_per_run_max is 10"));
        }
        let mut huge = values();
        huge.params.insert("shards".into(), json!(u64::MAX));
        let each = Each::parse("${params.shards}").expect("a reference");
        assert!(each.count(&huge, u32::MAX).is_err());
        assert_eq!(Each::Range { from: i64::MAX, to: i64::MAX }.element(&values(), 1).ok(), None);
    }
}

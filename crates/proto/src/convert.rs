//! Conversions between the wire and the domain, one file per noun.

pub mod agent;
mod company;
pub mod flow;
mod gang;
pub mod gpu;
pub mod job;
pub mod join_token;
pub mod namespace;
pub mod node;
pub(crate) mod offer;
pub mod payload;
pub mod preemption;
pub mod rebalance;
pub mod reservation;
pub mod retention;
pub mod run;

use std::fmt::Display;
use std::str::FromStr;

use quorate_state::Violation;

/// Violations told of one message; a sender with more is wrong about something larger.
pub const VIOLATIONS_MAX: usize = 1_000;

/// Collects everything that keeps a message from being what it should be.
#[derive(Default)]
pub(crate) struct Found(Vec<Violation>);

impl Found {
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation { field: field.into(), message: message.into() });
        } else if self.0.len() == VIOLATIONS_MAX {
            let message = format!("more than VIOLATIONS_MAX ({VIOLATIONS_MAX}) violations: the rest is not listed");
            self.0.push(Violation { field: String::new(), message });
        }
    }

    /// The parsed text, or a note under the name that `field` makes.
    pub(crate) fn parse<T>(&mut self, field: impl FnOnce() -> String, text: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        text.parse().map_err(|error: T::Err| self.add(field(), error.to_string())).ok()
    }

    /// The enum of a number, or a note that this version does not know it.
    pub(crate) fn number<T: TryFrom<i32>>(&mut self, field: impl FnOnce() -> String, number: i32) -> Option<T> {
        let known = T::try_from(number).ok();
        if known.is_none() {
            self.add(field(), format!("{number} is not a value that this version knows"));
        }
        known
    }

    /// The value, if nothing was found. A missing value without a note is one all the same.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Violation>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => {
                if self.0.is_empty() {
                    self.add("", "the message is incomplete");
                }
                Err(self.0)
            }
        }
    }
}

/// Violations in one line, for people.
pub(crate) fn list(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations
        .iter()
        .map(|violation| match violation.field.as_str() {
            "" => violation.message.clone(),
            field => format!("{field}: {}", violation.message),
        })
        .collect();
    lines.join("; ")
}

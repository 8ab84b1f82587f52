//! What a task demands of its node in words of its own, `place.where`: what may be said, and whether it is so of a node.
//!
//! It is a part of the language CEL, read and decided by code of our own, because every replica has to decide the same, in every
//! version: another reader of CEL could change its mind from one version to the next. What it means is frozen; what is added to it waits for a
//! [`crate::Feature`] (ADR 0070).

mod read;
mod tokens;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use quorate_planted::Bug;

use crate::Node;

/// No condition on nodes is longer, in bytes.
pub const WHERE_BYTES_MAX: usize = 1_024;
/// Fields, texts, numbers, functions and operators of one, each as often as it stands there.
pub const WHERE_PARTS_MAX: usize = 64;
/// Brackets of one lie no deeper in each other.
pub const WHERE_DEPTH_MAX: usize = 16;

/// A condition on nodes, such as `node.labels.zone in ["a", "b"] && node.gpus >= 4`. It looks at the row of a node alone, and at nothing in that
/// which changes while the node takes work and gives it back: all that it has, never what is free of it.
///
/// Two are the same when they are spelled the same.
#[derive(Clone)]
pub struct NodeCondition {
    text: Box<str>,
    truth: Truth,
}

/// Why a text is no condition on nodes: what is wrong, where, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConditionFlaw(String);

/// What a node does not say, so that nobody can decide a condition for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid<'a> {
    /// It has no label with this key.
    Label(&'a str),
    /// It names no price.
    Price,
    /// This, of which a whole number is to be made, is none.
    Number(&'a str),
}

/// What is true or false of a node.
#[derive(Clone, Debug)]
enum Truth {
    Always(bool),
    Not(Box<Truth>),
    All(Vec<Truth>),
    Any(Vec<Truth>),
    Texts(Text, Sign, Text),
    Numbers(Number, Sign, Number),
    TextAmong(Text, Vec<Box<str>>),
    NumberAmong(Number, Vec<i64>),
    Listed(Text, List),
    HasLabel(Box<str>),
    HasPrice,
    Part(Text, Position, Text),
}

/// A text, of a node or as it is written.
#[derive(Clone, Debug)]
enum Text {
    Written(Box<str>),
    Name,
    Region,
    Cluster,
    Pool,
    Label(Box<str>),
}

/// A whole number.
#[derive(Clone, Debug)]
enum Number {
    Written(i64),
    /// Thousandths of a core.
    CpuMilli,
    /// Bytes.
    Memory,
    /// Whole devices.
    Gpus,
    /// For an hour, as [`crate::Price`] counts.
    Price,
    /// That which a text spells.
    Spelled(Text),
}

/// Texts of a node.
#[derive(Clone, Copy, Debug)]
enum List {
    /// The keys of its labels.
    Labels,
    /// The keys of its taints.
    Taints,
    GpuModels,
}

/// How two values compare.
#[derive(Clone, Copy, Debug)]
enum Sign {
    Equal,
    Unequal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// Where in a text another one is.
#[derive(Clone, Copy, Debug)]
enum Position {
    Start,
    End,
    Anywhere,
}

impl NodeCondition {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True of a node for which it holds; of none for which it cannot be decided.
    pub fn holds_for(&self, node: &Node) -> bool {
        self.decide(node).unwrap_or_else(|_| quorate_planted::is(Bug::WhereUndecidedHolds))
    }

    /// Whether it holds for a node.
    ///
    /// # Errors
    /// It cannot be decided, for want of something that the node does not say. What is decided without that is decided all the same:
    /// `false && x` and `x && false` are false.
    pub fn decide<'a>(&'a self, node: &'a Node) -> Result<bool, Unsaid<'a>> {
        self.truth.of(node)
    }
}

impl Truth {
    fn of<'a>(&'a self, node: &'a Node) -> Result<bool, Unsaid<'a>> {
        match self {
            Self::Always(truth) => Ok(*truth),
            Self::Not(inner) => inner.of(node).map(|truth| !truth),
            Self::All(parts) => unless_any(parts, node, false),
            Self::Any(parts) => unless_any(parts, node, true),
            Self::Texts(one, sign, other) => Ok(sign.holds(one.of(node)?.cmp(other.of(node)?))),
            Self::Numbers(one, sign, other) => Ok(sign.holds(one.of(node)?.cmp(&other.of(node)?))),
            Self::TextAmong(text, all) => {
                let text = text.of(node)?;
                Ok(all.iter().any(|one| **one == *text))
            }
            Self::NumberAmong(number, all) => Ok(all.contains(&number.of(node)?)),
            Self::Listed(text, list) => Ok(list.has(text.of(node)?, node)),
            Self::HasLabel(key) => Ok(node.labels.contains_key(&**key)),
            Self::HasPrice => Ok(node.offer.price.is_some()),
            Self::Part(text, position, part) => Ok(position.holds(text.of(node)?, part.of(node)?)),
        }
    }
}

/// The opposite of `decisive`, unless one of the parts is that. What cannot be decided matters only where no other part decides, whichever
/// comes first: it is no matter of chance what somebody writes on the left.
fn unless_any<'a>(parts: &'a [Truth], node: &'a Node, decisive: bool) -> Result<bool, Unsaid<'a>> {
    let mut undecided = None;
    for part in parts {
        match part.of(node) {
            Ok(truth) if truth == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(unsaid) => undecided = undecided.or(Some(unsaid)),
        }
    }
    undecided.map_or(Ok(!decisive), Err)
}

impl Text {
    fn of<'a>(&'a self, node: &'a Node) -> Result<&'a str, Unsaid<'a>> {
        match self {
            Self::Written(text) => Ok(text),
            Self::Name => Ok(node.name.as_str()),
            Self::Region => Ok(node.region.as_str()),
            Self::Cluster => Ok(node.cluster.as_str()),
            Self::Pool => Ok(node.offer.pool.as_str()),
            Self::Label(key) => node.labels.get(&**key).map(String::as_str).ok_or(Unsaid::Label(key)),
        }
    }
}

impl Number {
    fn of<'a>(&'a self, node: &'a Node) -> Result<i64, Unsaid<'a>> {
        let capped = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match self {
            Self::Written(number) => Ok(*number),
            Self::CpuMilli => Ok(capped(node.capacity.cpu_milli)),
            Self::Memory => Ok(capped(node.capacity.memory_bytes)),
            Self::Gpus => Ok(capped(node.gpus.len() as u64)),
            Self::Price => node.offer.price.map(|price| capped(price.0)).ok_or(Unsaid::Price),
            Self::Spelled(text) => {
                let text = text.of(node)?;
                text.parse().map_err(|_| Unsaid::Number(text))
            }
        }
    }
}

impl List {
    fn has(self, text: &str, node: &Node) -> bool {
        match self {
            Self::Labels => node.labels.contains_key(text),
            Self::Taints => node.offer.taints.contains_key(text),
            Self::GpuModels => node.gpus.iter().any(|model| model.as_str() == text),
        }
    }
}

impl Sign {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Above => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl Position {
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::Start => text.starts_with(part),
            Self::End => text.ends_with(part),
            Self::Anywhere => text.contains(part),
        }
    }
}

impl FromStr for NodeCondition {
    type Err = ConditionFlaw;

    fn from_str(text: &str) -> Result<Self, ConditionFlaw> {
        Ok(Self { truth: read::read(text)?, text: text.into() })
    }
}

impl fmt::Display for NodeCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NodeCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl PartialEq for NodeCondition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NodeCondition {}

impl PartialOrd for NodeCondition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeCondition {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for Unsaid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key) => write!(f, "it has no label {key:?}"),
            Self::Price => f.write_str("it names no price"),
            Self::Number(text) => write!(f, "{text:?} is no whole number"),
        }
    }
}

#[cfg(test)]
mod tests;

//! The tree that every syntax is parsed into: values that remember where in the file they stand.

use std::fmt;

/// Tables and lists may lie this deep inside each other; no job needs more than six.
pub(super) const NESTING_MAX: usize = 16;
/// Values of one file; a job file of the largest size has fewer.
pub(super) const NODES_MAX: usize = 500_000;

/// A value and the byte offset at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

/// What all three syntaxes can say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    /// A number with a point or an exponent, or too large for `Whole`: as it was written, so that
    /// no binary fraction creeps in.
    Decimal(String),
    Text(String),
    /// TOML has dates of its own, the others have not.
    Date,
    List(Vec<Node>),
    /// In file order, each key once.
    Table(Vec<Member>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_at: usize,
    pub(super) node: Node,
}

impl Node {
    /// The member of this table.
    pub(super) fn get(&self, key: &str) -> Option<&Member> {
        match &self.value {
            Value::Table(members) => members.iter().find(|member| member.key == key),
            Value::Null
            | Value::Bool(_)
            | Value::Whole(_)
            | Value::Decimal(_)
            | Value::Text(_)
            | Value::Date
            | Value::List(_) => None,
        }
    }

    /// The deepest node on `path` (such as `task.split.needs[0]`) that is in the file: a field that
    /// was left out is shown at the table it is missing from.
    pub(super) fn locate(&self, path: &str) -> &Self {
        let mut node = self;
        let mut rest = path;
        loop {
            let next = match &node.value {
                // A key may contain dots itself, so the longest key that fits is the one meant.
                Value::Table(members) => members
                    .iter()
                    .filter_map(|member| Some((&member.node, after_key(rest, &member.key)?)))
                    .min_by_key(|(_, rest)| rest.len()),
                Value::List(nodes) => after_index(rest).and_then(|(index, rest)| Some((nodes.get(index)?, rest))),
                Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Decimal(_) | Value::Text(_) | Value::Date => {
                    None
                }
            };
            match next {
                Some((inner, left)) => (node, rest) = (inner, left),
                None => return node,
            }
        }
    }
}

fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix('.').unwrap_or(path).strip_prefix(key)?;
    (!key.is_empty() && (rest.is_empty() || rest.starts_with(['.', '[']))).then_some(rest)
}

fn after_index(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// What a value is, in the words of an error message.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Whole(value) => write!(f, "the number {value}"),
            Self::Decimal(text) => write!(f, "the number {}", excerpt(text)),
            Self::Text(text) => write!(f, "the text {}", quoted(text)),
            Self::Date => f.write_str("a date"),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

/// A text of the user's in quotes, short and without control characters.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

fn excerpt(text: &str) -> String {
    const EXCERPT_CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(EXCERPT_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(at: usize) -> Node {
        Node { at, value: Value::Null }
    }

    fn table(at: usize, members: Vec<(&str, Node)>) -> Node {
        let members =
            members.into_iter().map(|(key, node)| Member { key: key.into(), key_at: node.at, node }).collect();
        Node { at, value: Value::Table(members) }
    }

    #[test]
    fn a_path_leads_to_the_deepest_node_there_is() {
        let needs = Node { at: 40, value: Value::List(vec![leaf(41), leaf(42)]) };
        let tree =
            table(0, vec![("task", table(1, vec![("a", leaf(10)), ("a.b", table(20, vec![("needs", needs)]))]))]);
        for (path, at) in [
            ("", 0),
            ("task", 1),
            ("task.a", 10),
            ("task.a.run", 10),
            ("task.a.b", 20),
            ("task.a.b.needs[1]", 42),
            ("task.a.b.needs[7]", 40),
            ("task.a.b.run", 20),
            ("elsewhere", 0),
        ] {
            assert_eq!(tree.locate(path).at, at, "{path}");
        }
    }
}

//! Reads typed values out of the tree, guided by the schema, and notes everything that is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use quorate_state::ErrorType;

use super::problem::{Finding, Findings};
use super::quantity::{self, Flaw};
use super::schema::{self, KeyDoc, Kind};
use super::trail::Trail;
use super::tree::{Member, Node, Value, quoted};

/// Longest text of a job file in bytes: what Linux accepts as one argument of a program.
pub(super) const TEXT_BYTES_MAX: usize = 128 * 1024 - 1;

/// A table whose keys have been checked against the schema.
#[derive(Clone, Copy)]
pub(super) struct Fields<'t> {
    node: &'t Node,
    prefix: &'static str,
    /// It has keys that do not run yet, so that what is missing may be missing on purpose.
    pub(super) is_ahead: bool,
}

/// A key with its value and what the schema says about it.
#[derive(Clone, Copy)]
pub(super) struct Field<'t> {
    pub(super) member: &'t Member,
    pub(super) doc: &'static KeyDoc,
}

impl<'t> Fields<'t> {
    /// The value under `key`, or `None` when it was left out.
    ///
    /// # Panics
    /// When the schema has no such key: then the documentation would lack it too.
    pub(super) fn get(&self, key: &str) -> Option<Field<'t>> {
        let doc =
            schema::find(self.prefix, key).unwrap_or_else(|| panic!("{}.{key} is not in the schema", self.prefix));
        self.node.get(key).map(|member| Field { member, doc })
    }
}

/// How an attempt can end.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// With this exit code.
    Code(i32),
    /// With this word for what went wrong.
    Error(ErrorType),
}

/// Notes what is wrong while values are read.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) findings: Findings,
}

impl Walk {
    /// Notes that something is wrong with the field at `trail`.
    pub(super) fn complain(&mut self, at: usize, trail: &Trail<'_>, message: impl fmt::Display) {
        if self.findings.is_full() {
            self.findings.push(Finding { at, field: String::new(), message: String::new() });
        } else {
            self.findings.push(Finding { at, field: trail.to_string(), message: message.to_string() });
        }
    }

    pub(super) fn expected(&mut self, node: &Node, trail: &Trail<'_>, kind: impl fmt::Display) {
        let hint = match node.value {
            Value::Bool(_) | Value::Whole(_) | Value::Decimal(_) | Value::Date => "; a text needs quotes",
            Value::Null | Value::Text(_) | Value::List(_) | Value::Table(_) => "",
        };
        let kind = kind.to_string();
        let hint = if kind.contains("text") || kind.contains("name") { hint } else { "" };
        self.complain(node.at, trail, format_args!("expected {kind}, found {}{hint}", node.value));
    }

    /// The table at `node`, after a complaint about each key that the schema does not have below
    /// `prefix` or that is not supported yet.
    pub(super) fn fields<'t>(&mut self, node: &'t Node, prefix: &'static str, trail: &Trail<'_>) -> Option<Fields<'t>> {
        let mut is_ahead = false;
        for member in self.members(node, trail, Kind::Table)? {
            match schema::find(prefix, &member.key) {
                Some(doc) if doc.supported => {}
                Some(_) => {
                    is_ahead = true;
                    self.complain(member.key_at, &trail.key(&member.key), "not supported yet");
                }
                None if self.findings.is_full() => self.complain(member.key_at, trail, ""),
                None => {
                    let known = schema::children(prefix).map(|(name, _)| name);
                    let advice = nearest(&member.key, known).map_or_else(
                        || {
                            format!(
                                "known here: {}",
                                schema::children(prefix)
                                    .filter(|(_, key)| key.supported)
                                    .map(|(name, _)| name)
                                    .collect::<Vec<_>>()
                                    .join(", ")
                            )
                        },
                        |name| format!("did you mean \"{name}\"?"),
                    );
                    // The key itself may be anything, so the path ends at its table.
                    self.complain(member.key_at, trail, format_args!("unknown key {}: {advice}", quoted(&member.key)));
                }
            }
        }
        Some(Fields { node, prefix, is_ahead })
    }

    /// The members of the table at `node`, whatever their keys.
    pub(super) fn members<'t>(&mut self, node: &'t Node, trail: &Trail<'_>, kind: Kind) -> Option<&'t [Member]> {
        if let Value::Table(members) = &node.value {
            return Some(members);
        }
        self.expected(node, trail, kind);
        None
    }

    /// A whole number within the bounds of the schema.
    pub(super) fn whole(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<u64> {
        let Field { member, doc } = field?;
        let Kind::Whole { min, max } = doc.kind else { panic!("{} is no whole number", doc.path) };
        if let Value::Whole(value) = member.node.value
            && let Ok(value) = u64::try_from(value)
            && (min..=max).contains(&value)
        {
            return Some(value);
        }
        self.expected(&member.node, &trail.key(&member.key), doc.kind);
        None
    }

    /// A number in thousandths within the bounds of the schema.
    pub(super) fn thousandths(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<u32> {
        let Field { member, doc } = field?;
        let Kind::Decimal { min_milli, max_milli } = doc.kind else { panic!("{} is no decimal", doc.path) };
        let milli = number_text(&member.node.value).and_then(|text| quantity::scaled(&text, 1_000).ok());
        if let Some(milli) = milli.and_then(|milli| u32::try_from(milli).ok())
            && (min_milli..=max_milli).contains(&milli)
        {
            return Some(milli);
        }
        self.expected(&member.node, &trail.key(&member.key), doc.kind);
        None
    }

    /// CPU in thousandths of a core, GPUs in thousandths of one, memory in bytes or a duration in milliseconds, as the schema says.
    pub(super) fn amount(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<u64> {
        let Field { member, doc } = field?;
        let node = &member.node;
        let text = match &node.value {
            Value::Text(text) => Some(text.trim().to_owned()),
            // A bare number of seconds or minutes would be anyone's guess.
            Value::Whole(_) | Value::Decimal(_) if doc.kind != Kind::Duration => number_text(&node.value),
            Value::Null
            | Value::Bool(_)
            | Value::Whole(_)
            | Value::Decimal(_)
            | Value::Date
            | Value::List(_)
            | Value::Table(_) => None,
        };
        let Some(text) = text else {
            self.expected(node, &trail.key(&member.key), doc.kind);
            return None;
        };
        let (amount, max) = match doc.kind {
            Kind::Cpu => (quantity::cpu_milli(&text), quantity::CPU_MILLI_MAX),
            Kind::Gpu => (quantity::cpu_milli(&text), quantity::GPU_MILLI_MAX),
            Kind::Memory => (quantity::memory_bytes(&text), quantity::MEMORY_BYTES_MAX),
            Kind::Duration => (quantity::duration_ms(&text), quantity::DURATION_MS_MAX),
            kind => panic!("{} is no amount but {kind}", doc.path),
        };
        let what = match amount {
            Ok(amount) if amount <= max => return Some(amount),
            Ok(_) | Err(Flaw::TooLarge) => "is too large",
            Err(Flaw::Negative) => "is negative",
            Err(Flaw::Malformed) => "cannot be read",
        };
        let message = format_args!("{} {what}: expected {}", node.value, doc.kind);
        self.complain(node.at, &trail.key(&member.key), message);
        None
    }

    /// A position in the schema's list of words.
    pub(super) fn choice(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<usize> {
        let Field { member, doc } = field?;
        let Kind::Choice(words) = doc.kind else { panic!("{} is no choice", doc.path) };
        let trail = trail.key(&member.key);
        let Value::Text(text) = &member.node.value else {
            self.expected(&member.node, &trail, doc.kind);
            return None;
        };
        let found = words.iter().position(|word| word == text);
        if found.is_none() {
            let hint = nearest(text, words.iter().copied())
                .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"));
            self.complain(
                member.node.at,
                &trail,
                format_args!("expected {}, found {}{hint}", doc.kind, member.node.value),
            );
        }
        found
    }

    /// A name of some sort.
    pub(super) fn name<T>(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let Field { member, doc } = field?;
        self.parse(&member.node, &trail.key(&member.key), doc.kind)
    }

    /// A list of names of some sort; those that are none are left out.
    pub(super) fn names<T>(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Vec<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.list(field, trail, |walk, node, trail| walk.parse(node, trail, Kind::Name))
    }

    /// A list of texts that may hold references; what is none is left out.
    pub(super) fn templates(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Vec<String> {
        self.list(field, trail, Self::template)
    }

    /// True or false.
    pub(super) fn flag(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<bool> {
        let Field { member, doc } = field?;
        if let Value::Bool(flag) = member.node.value {
            return Some(flag);
        }
        self.expected(&member.node, &trail.key(&member.key), doc.kind);
        None
    }

    /// A whole number, which may be negative.
    pub(super) fn signed(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<i64> {
        let Field { member, doc } = field?;
        if let Value::Whole(value) = member.node.value
            && let Ok(value) = i64::try_from(value)
        {
            return Some(value);
        }
        self.expected(&member.node, &trail.key(&member.key), doc.kind);
        None
    }

    /// A text for people, or of another language.
    pub(super) fn words(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<String> {
        let Field { member, .. } = field?;
        self.template(&member.node, &trail.key(&member.key))
    }

    /// A list of exit codes and error types; what is neither is left out.
    pub(super) fn ends(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> Vec<End> {
        self.list(field, trail, |walk, node, trail| {
            if let Value::Whole(code) = node.value
                && let Ok(code) = i32::try_from(code)
            {
                return Some(End::Code(code));
            }
            match node.value {
                Value::Text(_) => walk.parse(node, trail, Kind::Name).map(End::Error),
                Value::Null
                | Value::Bool(_)
                | Value::Whole(_)
                | Value::Decimal(_)
                | Value::Date
                | Value::List(_)
                | Value::Table(_) => {
                    walk.expected(node, trail, "an exit code (a whole number) or an error type (a name)");
                    None
                }
            }
        })
    }

    /// Texts under keys of the user's choice.
    pub(super) fn text_map(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> BTreeMap<String, String> {
        self.map(field, trail, Self::text)
    }

    /// Texts that may hold references, under keys of the user's choice.
    pub(super) fn template_map(&mut self, field: Option<Field<'_>>, trail: &Trail<'_>) -> BTreeMap<String, String> {
        self.map(field, trail, Self::template)
    }

    fn map(
        &mut self,
        field: Option<Field<'_>>,
        trail: &Trail<'_>,
        mut read: impl FnMut(&mut Self, &Node, &Trail<'_>) -> Option<String>,
    ) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(Field { member, doc }) = field else { return map };
        let trail = trail.key(&member.key);
        for inner in self.members(&member.node, &trail, doc.kind).unwrap_or_default() {
            if inner.key.len() > TEXT_BYTES_MAX || inner.key.contains('\0') {
                self.complain(inner.key_at, &trail, "this key contains NUL or is too long");
            } else if let Some(text) = read(self, &inner.node, &trail.key(&inner.key)) {
                map.insert(inner.key.clone(), text);
            }
        }
        map
    }

    /// A list, of which `read` reads each; what it cannot read is left out.
    pub(super) fn list<T>(
        &mut self,
        field: Option<Field<'_>>,
        trail: &Trail<'_>,
        mut read: impl FnMut(&mut Self, &Node, &Trail<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(Field { member, doc }) = field else { return Vec::new() };
        let trail = trail.key(&member.key);
        let Value::List(nodes) = &member.node.value else {
            self.expected(&member.node, &trail, doc.kind);
            return Vec::new();
        };
        let read = |(index, node)| read(self, node, &trail.index(index));
        nodes.iter().enumerate().filter_map(read).collect()
    }

    /// A text in which nothing is put in.
    fn text(&mut self, node: &Node, trail: &Trail<'_>) -> Option<String> {
        let text = self.template(node, trail)?;
        if let Some(expression) = expression(&text) {
            let message = format_args!("the expression {expression} means nothing here, only in run, env and undo");
            self.complain(node.at, trail, message);
        }
        Some(text)
    }

    fn template(&mut self, node: &Node, trail: &Trail<'_>) -> Option<String> {
        let Value::Text(text) = &node.value else {
            self.expected(node, trail, Kind::Text);
            return None;
        };
        if text.contains('\0') {
            self.complain(node.at, trail, "a text must not contain NUL");
            return None;
        }
        if text.len() > TEXT_BYTES_MAX {
            let message = format_args!("a text of {} bytes, TEXT_BYTES_MAX is {TEXT_BYTES_MAX}", text.len());
            self.complain(node.at, trail, message);
            return None;
        }
        Some(text.clone())
    }

    fn parse<T>(&mut self, node: &Node, trail: &Trail<'_>, kind: Kind) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let Value::Text(text) = &node.value else {
            self.expected(node, trail, kind);
            return None;
        };
        text.parse().map_err(|error: T::Err| self.complain(node.at, trail, error)).ok()
    }
}

/// An expression of the job language, where somebody may have thought that it would be put in.
fn expression(text: &str) -> Option<String> {
    text.match_indices("${").find_map(|(start, _)| {
        let inside = text[start + 2..].split_once('}')?.0;
        let is_ours = inside == "each"
            || ["params.", "trigger.", "each."].iter().any(|prefix| inside.starts_with(prefix))
            || inside.contains(".result")
            || inside.contains(".payload");
        is_ours.then(|| quoted(&format!("${{{inside}}}")))
    })
}

fn number_text(value: &Value) -> Option<String> {
    match value {
        Value::Whole(number) => Some(number.to_string()),
        Value::Decimal(text) => Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::Date | Value::List(_) | Value::Table(_) => None,
    }
}

/// The known word that is most like `word`, if any is at all.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const LIKENESS_MIN: f64 = 0.7;
    const WORD_BYTES_MAX: usize = 64;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    known
        .map(|known| {
            (
                strsim::damerau_levenshtein(&word, &known.to_lowercase().replace('-', "_")),
                strsim::jaro_winkler(&word, known),
                known,
            )
        })
        .filter(|(distance, likeness, _)| *likeness >= LIKENESS_MIN || *distance <= 1)
        .min_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)))
        .map(|(_, _, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = || ["needs", "resources", "on_node_loss", "run", "retry", "env"].into_iter();
        for (word, near) in [
            ("need", Some("needs")),
            ("resource", Some("resources")),
            ("on-node-loss", Some("on_node_loss")),
            ("RUN", Some("run")),
            ("retires", Some("retry")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known()), near, "{word}");
        }
    }

    #[test]
    fn expressions_are_told_from_shell_variables() {
        for (text, found) in [
            ("--day=${params.day}", true),
            ("${each}", true),
            ("${split.result.parts}", true),
            ("${split.payload.model}", true),
            ("echo ${HOME} $PATH ${x:-1.5}", false),
            ("${", false),
        ] {
            assert_eq!(expression(text).is_some(), found, "{text}");
        }
    }
}

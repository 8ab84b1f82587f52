//! References: what an expression names, how it is written, and what it stands for in a scope.

mod payload;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::flaw::{Flaw, excerpt, nearest, quoted};
use crate::json::described;
use crate::scope::{Found, Scope};

/// A path into a value has no more parts.
pub const PATH_SEGMENTS_MAX: usize = 32;
/// No name and no part of a path is longer, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// What may be written, as told to who wrote something else.
pub(crate) const FORMS: &str =
    "params.NAME, TASK.result, TASK.payload.NAME, each, index, run.id, run.outcome, run.namespace or run.job";

/// A value that an expression names: where it begins, and the way into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Where the value comes from.
    pub root: Root,
    /// Keys of maps and numbers of elements, from the outside in; at most [`PATH_SEGMENTS_MAX`].
    pub path: Vec<Box<str>>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// The run's parameter of this name: `params.NAME`.
    Param(Box<str>),
    /// The result of the task of this name: `TASK.result`.
    Result(Box<str>),
    /// The data that the task of this name has left behind: `TASK.payload`. A payload below it stands for its address.
    Payload(Box<str>),
    /// The element of a fan-out that is worked on: `each`.
    Each,
    /// The number of that element, from 0: `index`.
    Index,
    /// A field of the run: `run.id` and so on.
    Run(RunField),
}

/// What a run tells about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunField {
    /// Its id.
    Id,
    /// How it ended; nothing before it has.
    Outcome,
    /// The namespace of its job.
    Namespace,
    /// The name of its job.
    Job,
}

impl RunField {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Id, Self::Outcome, Self::Namespace, Self::Job];

    /// The word after `run.`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Outcome => "outcome",
            Self::Namespace => "namespace",
            Self::Job => "job",
        }
    }
}

impl Reference {
    /// The value that this stands for in `scope`: null for what is known but has no value.
    ///
    /// # Errors
    /// When the scope does not know the root or cannot read it, or the path leads nowhere.
    pub fn resolve<'s>(&self, scope: &'s (impl Scope + ?Sized)) -> Result<Cow<'s, Value>, Flaw> {
        match self.base(scope)? {
            Found::Unknown => Err(Flaw::new(format!("`{}`: {}", self.short(), self.unknown()))),
            Found::Nothing if self.path.is_empty() => Ok(Cow::Owned(Value::Null)),
            Found::Nothing => Err(Flaw::new(format!("`{}`: {}", self.short(), self.nothing()))),
            Found::Value(value) => self.descend(value),
        }
    }

    /// Whether [`Reference::resolve`] leads to something: false for a task without a result, true for a key
    /// whose value is null.
    ///
    /// # Errors
    /// When the scope cannot read the root.
    pub fn is_there(&self, scope: &(impl Scope + ?Sized)) -> Result<bool, Flaw> {
        Ok(match self.base(scope)? {
            Found::Unknown | Found::Nothing => false,
            Found::Value(value) => self.descend(value).is_ok(),
        })
    }

    /// The spelling, cut off where it gets long.
    pub fn short(&self) -> String {
        excerpt(&self.to_string())
    }

    /// The reference that `text` is, or why it is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let (root, rest) =
            split(text).map_err(|why| nearest_form(text).filter(|_| why.ends_with(FORMS)).unwrap_or(why))?;
        let reference = Self { root, path: rest.map(segments).transpose()?.unwrap_or_default() };
        reference.check()?;
        Ok(reference)
    }

    /// Refuses a path into what has no parts, and what is longer than it may be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let name = match &self.root {
            Root::Param(name) | Root::Result(name) | Root::Payload(name) => &**name,
            Root::Index | Root::Run(_) if !self.path.is_empty() => {
                return Err(format!("{} has no parts", Self { root: self.root.clone(), path: Vec::new() }));
            }
            Root::Each | Root::Index | Root::Run(_) => "",
        };
        if let Some(long) =
            std::iter::once(name).chain(self.path.iter().map(|part| &**part)).find(|part| part.len() > NAME_BYTES_MAX)
        {
            return Err(format!("{} has {} bytes, NAME_BYTES_MAX is {NAME_BYTES_MAX}", quoted(long), long.len()));
        }
        if self.path.len() > PATH_SEGMENTS_MAX {
            return Err(format!("the path has {} parts, PATH_SEGMENTS_MAX is {PATH_SEGMENTS_MAX}", self.path.len()));
        }
        Ok(())
    }

    fn base<'s>(&self, scope: &'s (impl Scope + ?Sized)) -> Result<Found<'s>, Flaw> {
        match &self.root {
            Root::Param(name) => scope.param(name),
            Root::Result(task) => scope.result(task),
            Root::Payload(task) => scope.payload(task),
            Root::Each => scope.each(),
            Root::Index => Ok(scope.index().map_or(Found::Unknown, |index| Found::Value(Cow::Owned(index.into())))),
            Root::Run(field) => {
                let text = scope.run(*field);
                Ok(text.map_or(Found::Nothing, |text| Found::Value(Cow::Owned(Value::String(text.into_owned())))))
            }
        }
    }

    fn descend<'s>(&self, mut value: Cow<'s, Value>) -> Result<Cow<'s, Value>, Flaw> {
        if let Root::Payload(_) = &self.root {
            return match value {
                Cow::Borrowed(whole) => payload::find(self, whole).map(Cow::Borrowed),
                Cow::Owned(whole) => payload::find(self, &whole).cloned().map(Cow::Owned),
            };
        }
        for (depth, part) in self.path.iter().enumerate() {
            let next = match &mut value {
                Cow::Borrowed(whole) => inner(whole, part).map(Cow::Borrowed),
                Cow::Owned(whole) => inner_mut(whole, part).map(|inner| Cow::Owned(inner.take())),
            };
            match next {
                Some(next) => value = next,
                None => return Err(self.missing(&value, depth)),
            }
        }
        Ok(value)
    }

    fn unknown(&self) -> String {
        match &self.root {
            Root::Param(name) => format!("the job has no parameter {}", quoted(name)),
            Root::Result(task) | Root::Payload(task) => {
                format!("there is no task {} before this one", quoted(task))
            }
            Root::Each => "only a task with `each` has elements".to_owned(),
            Root::Index => "only the elements of a task are numbered".to_owned(),
            Root::Run(field) => format!("the run has no {}", field.name()),
        }
    }

    fn nothing(&self) -> String {
        match &self.root {
            Root::Param(name) => format!("the parameter {} has no value", quoted(name)),
            Root::Result(task) => format!("the task {} has no result", quoted(task)),
            Root::Payload(task) => format!("the task {} has left nothing", quoted(task)),
            Root::Each | Root::Index => "the element has no value".to_owned(),
            Root::Run(field) => format!("the run has no {} yet", field.name()),
        }
    }

    /// That `whole`, which the first `depth` parts of the path lead to, does not have the next one.
    fn missing(&self, whole: &Value, depth: usize) -> Flaw {
        const KEYS_LOOKED_AT_MAX: usize = 100;
        let part = self.path.get(depth).map_or("", |part| part);
        let before = Self { root: self.root.clone(), path: self.path.iter().take(depth).cloned().collect() }.short();
        let why = match whole {
            Value::Object(map) => {
                let near = nearest(part, map.keys().take(KEYS_LOOKED_AT_MAX).map(String::as_str));
                let hint = near.map_or_else(String::new, |near| format!(", but {}", quoted(near)));
                format!("has no key {}{hint}", quoted(part))
            }
            Value::Array(list) if is_number(part) => {
                format!("has {} elements, numbered from 0, and none with the number {}", list.len(), excerpt(part))
            }
            Value::Array(_) => format!("is a list, of which {} is no number of an element", quoted(part)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                format!("is {} and has no {}", described(whole), quoted(part))
            }
        };
        Flaw::new(format!("`{}`: `{before}` {why}", self.short()))
    }
}

impl FromStr for Reference {
    type Err = Flaw;

    /// The reference of this spelling, without `${` and `}`.
    fn from_str(text: &str) -> Result<Self, Flaw> {
        Self::read(text).map_err(|why| Flaw::new(format!("`{}` is no reference: {why}", excerpt(text))))
    }
}

/// The spelling in a template; what has none there, such as a key with a space, as in a condition.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Param(name) => {
                f.write_str("params")?;
                write_part(f, name)?;
            }
            Root::Result(task) => write_of_task(f, &self.root, task, RESULT)?,
            Root::Payload(task) => write_of_task(f, &self.root, task, PAYLOAD)?,
            Root::Each => f.write_str("each")?,
            Root::Index => f.write_str("index")?,
            Root::Run(field) => write!(f, "run.{}", field.name())?,
        }
        self.path.iter().try_for_each(|part| write_part(f, part))
    }
}

fn write_of_task(f: &mut fmt::Formatter<'_>, root: &Root, task: &str, word: &str) -> fmt::Result {
    let plain = format!("{task}.{word}");
    if split(&plain).is_ok_and(|(read, path)| read == *root && path.is_none()) {
        f.write_str(&plain)
    } else {
        write!(f, "task['{}'].{word}", Escaped(task))
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    if is_part(part) { write!(f, ".{part}") } else { write!(f, "['{}']", Escaped(part)) }
}

/// A text inside single quotes of a condition.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\'' | '\\' => write!(f, "\\{c}"),
            c => write!(f, "{c}"),
        })
    }
}

/// What is under a key of a map or at a place of a list.
fn inner<'v>(whole: &'v Value, part: &str) -> Option<&'v Value> {
    match whole {
        Value::Object(map) => map.get(part),
        Value::Array(list) => list.get(place(part)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn inner_mut<'v>(whole: &'v mut Value, part: &str) -> Option<&'v mut Value> {
    match whole {
        Value::Object(map) => map.get_mut(part),
        Value::Array(list) => list.get_mut(place(part)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn place(part: &str) -> Option<usize> {
    if is_number(part) { part.parse().ok() } else { None }
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a template can name a key so.
pub(crate) fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether a task can have this name.
pub(crate) fn is_task_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The root of a reference and the text of its path.
fn split(text: &str) -> Result<(Root, Option<&str>), String> {
    let (first, rest) = text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    match (first, rest) {
        ("params", Some(rest)) => {
            let (name, path) = rest.split_once('.').map_or((rest, None), |(name, path)| (name, Some(path)));
            return Ok((Root::Param(part(name)?), path));
        }
        ("params", None) => return Err("it names no parameter: write params.NAME".to_owned()),
        ("each", path) => return Ok((Root::Each, path)),
        ("index", None) => return Ok((Root::Index, None)),
        _ => {}
    }
    if let Some(field) = text.strip_prefix("run.").and_then(field) {
        return Ok((Root::Run(field), None));
    }
    if let Some((task, word, path)) = of_task(text) {
        return Ok((task_root(task, word)?, path));
    }
    Err(format!("write one of {FORMS}"))
}

/// What comes after the name of a task.
const RESULT: &str = "result";
const PAYLOAD: &str = "payload";

/// The task before the first `.result` or `.payload`, which of the two it is, and what follows that.
fn of_task(text: &str) -> Option<(&str, &'static str, Option<&str>)> {
    text.match_indices('.').find_map(|(at, _)| {
        let after = &text[at + 1..];
        let (word, path) = after.split_once('.').map_or((after, None), |(word, path)| (word, Some(path)));
        task_word(word).map(|word| (&text[..at], word, path))
    })
}

/// The word itself, if it is one that may come after the name of a task.
pub(crate) fn task_word(word: &str) -> Option<&'static str> {
    [RESULT, PAYLOAD].into_iter().find(|known| *known == word)
}

/// The root that the name of a task and such a word make.
pub(crate) fn task_root(task: &str, word: &'static str) -> Result<Root, String> {
    if !is_task_name(task) {
        return Err(format!("{} is no name of a task", quoted(task)));
    }
    Ok(if word == PAYLOAD { Root::Payload(task.into()) } else { Root::Result(task.into()) })
}

fn field(name: &str) -> Option<RunField> {
    RunField::ALL.into_iter().find(|field| field.name() == name)
}

fn segments(path: &str) -> Result<Vec<Box<str>>, String> {
    if path.bytes().filter(|byte| *byte == b'.').count() >= PATH_SEGMENTS_MAX {
        return Err(format!("the path has more than {PATH_SEGMENTS_MAX} parts (PATH_SEGMENTS_MAX)"));
    }
    path.split('.').map(part).collect()
}

fn part(part: &str) -> Result<Box<str>, String> {
    if part.is_empty() {
        return Err("there is nothing behind a dot".to_owned());
    }
    if !is_part(part) {
        return Err(format!("{} is no key: letters, digits, '_' and '-' are allowed", quoted(part)));
    }
    Ok(part.into())
}

/// What was probably meant.
fn nearest_form(text: &str) -> Option<String> {
    const MEANT_BYTES_MAX: usize = 256;
    if text.len() > MEANT_BYTES_MAX {
        return None;
    }
    let (first, rest) = text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let is_form = |form: &str| split(form).is_ok_and(|(_, path)| path.is_none_or(|path| segments(path).is_ok()));
    let trimmed = text.trim();
    if trimmed != text && is_form(trimmed) {
        return Some(format!("write `{trimmed}`, without spaces"));
    }
    if first == "run" {
        let names = RunField::ALL.map(RunField::name);
        let near =
            nearest(rest.unwrap_or_default(), names).map_or_else(String::new, |near| format!("run.{near}, one of "));
        return Some(format!("write {near}run.id, run.outcome, run.namespace and run.job"));
    }
    if first == "index" {
        return Some("index is a number and has no parts".to_owned());
    }
    let root = nearest(first, ["params", "each", "index", "run"]);
    let renamed = root.map(|root| rest.map_or_else(|| root.to_owned(), |rest| format!("{root}.{rest}")));
    let mut parts: Vec<&str> = text.split('.').collect();
    let near = |part: &str| nearest(part, [RESULT, PAYLOAD]).and_then(task_word);
    if let Some((part, word)) = parts.iter_mut().skip(1).find_map(|part| near(part).map(|word| (part, word))) {
        *part = word;
    }
    let form = renamed.into_iter().chain([parts.join(".")]).find(|form| is_form(form))?;
    Some(format!("did you mean `{form}`?"))
}

#[cfg(test)]
mod tests;

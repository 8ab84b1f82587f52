//! Values in whose texts references stand: what a run within another is told, and what comes out of a run.

use std::collections::BTreeMap;

use quorate_values::{Flaw, Reference, Scope, Template, Value, parse};

/// Values by name, read, in whose texts references stand. One that is the whole of a text stands for its value, whatever
/// that is; among other words it stands for a text.
#[derive(Debug)]
pub(crate) struct Filling(Vec<(String, Part)>);

#[derive(Debug)]
enum Part {
    Plain(Value),
    Text(Template),
    List(Vec<Part>),
    Map(Vec<(String, Part)>),
}

impl Filling {
    /// What `values` spell, which are JSON.
    pub(crate) fn read(values: &BTreeMap<String, String>) -> Result<Self, Flaw> {
        let read = |(name, json): (&String, &String)| {
            let part = part_of(name, json).map_err(|flaw| Flaw::new(format!("{name}: {flaw}")))?;
            Ok((name.clone(), part))
        };
        values.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// What it names, as often as it does.
    pub(crate) fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.0.iter().for_each(|(_, part)| part.references(&mut found));
        found
    }

    /// An object with what each name stands for in `scope`, of at most `bytes_max` bytes; `limit` is what they are called.
    pub(crate) fn fill(&self, scope: &impl Scope, bytes_max: usize, limit: &str) -> Result<Value, Flaw> {
        let mut room = Room { left: bytes_max, max: bytes_max, limit };
        let fill = |(name, part): &(String, Part)| {
            let value = part.fill(scope, &mut room).map_err(|flaw| Flaw::new(format!("{name}: {flaw}")))?;
            Ok((name.clone(), value))
        };
        self.0.iter().map(fill).collect::<Result<_, Flaw>>().map(Value::Object)
    }
}

/// The references that stand in the texts of a value, JSON, under a name: of what a run within another is told, or of what
/// comes out of a run.
///
/// # Errors
/// It is no JSON, or a text of it no template.
pub fn references(name: &str, json: &str) -> Result<Vec<Reference>, Flaw> {
    let part = part_of(name, json)?;
    let mut found = Vec::new();
    part.references(&mut found);
    Ok(found.into_iter().cloned().collect())
}

fn part_of(name: &str, json: &str) -> Result<Part, Flaw> {
    Part::of(parse(json.as_bytes(), name)?)
}

impl Part {
    fn of(value: Value) -> Result<Self, Flaw> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(&text)?),
            Value::Array(items) => Self::List(items.into_iter().map(Self::of).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let field = |(name, value)| Ok((name, Self::of(value)?));
                Self::Map(fields.into_iter().map(field).collect::<Result<_, Flaw>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Plain(value),
        })
    }

    fn references<'p>(&'p self, found: &mut Vec<&'p Reference>) {
        match self {
            Self::Plain(_) => {}
            Self::Text(text) => found.extend(text.references()),
            Self::List(parts) => parts.iter().for_each(|part| part.references(found)),
            Self::Map(fields) => fields.iter().for_each(|(_, part)| part.references(found)),
        }
    }

    fn fill(&self, scope: &impl Scope, room: &mut Room<'_>) -> Result<Value, Flaw> {
        match self {
            Self::Plain(value) => Ok(value.clone()),
            Self::Text(text) => match text.sole() {
                Some(reference) => {
                    let value = reference.resolve(scope)?;
                    room.take(value.to_string().len())?;
                    Ok(value.into_owned())
                }
                None => {
                    let text = text.render_within(scope, room.left)?;
                    room.take(text.len())?;
                    Ok(Value::String(text))
                }
            },
            Self::List(parts) => {
                parts.iter().map(|part| part.fill(scope, room)).collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Map(fields) => {
                let fill = |(name, part): &(String, Self)| Ok((name.clone(), part.fill(scope, room)?));
                fields.iter().map(fill).collect::<Result<_, Flaw>>().map(Value::Object)
            }
        }
    }
}

/// What is left of a limit: what is over it is not put together first.
struct Room<'l> {
    left: usize,
    max: usize,
    limit: &'l str,
}

impl Room<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Flaw> {
        let (max, limit) = (self.max, self.limit);
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            Flaw::new(format!(
                "comes to more than {limit} ({max}) bytes: put large data into a file, and pass its name"
            ))
        })?;
        Ok(())
    }
}

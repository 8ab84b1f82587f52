//! The way into what a task has left behind: payloads by name, of a task with several elements by number first, and the parts
//! of one.

use serde_json::Value;

use super::{Reference, place};
use crate::flaw::{Flaw, excerpt, nearest, quoted};

/// What can be read of a payload beside its address, which a reference to the payload stands for.
const PARTS: [&str; 4] = ["name", "uri", "size", "digest"];
/// The part that a payload itself stands for.
const ADDRESS: &str = "uri";

/// What `reference` stands for in `whole`, which is a map of payloads by name or a list of such maps.
pub(super) fn find<'v>(reference: &Reference, whole: &'v Value) -> Result<&'v Value, Flaw> {
    let (mut whole, mut rest) = (whole, reference.path.as_slice());
    if let (Value::Array(list), Some((number, more))) = (whole, rest.split_first()) {
        whole = place(number).and_then(|at| list.get(at)).ok_or_else(|| reference.missing(whole, 0))?;
        rest = more;
    }
    if rest.is_empty() {
        return Ok(whole);
    }
    let depth = reference.path.len() - rest.len();
    let Value::Object(payloads) = whole else { return Err(reference.missing(whole, depth)) };
    // A name may have dots in it, as files do: the longest one is meant.
    let named = (1..=rest.len()).rev().find_map(|parts| {
        let (name, more) = rest.split_at_checked(parts)?;
        payloads.get(&name.join(".")).map(|payload| (payload, more))
    });
    let Some((payload, more)) = named else { return Err(unknown(reference, &rest.join("."), payloads.keys())) };
    let part = match more {
        [] => ADDRESS,
        [part] if PARTS.contains(&&**part) => part,
        [part, ..] => return Err(no_part(reference, part)),
    };
    payload.get(part).ok_or_else(|| {
        Flaw::new(format!("`{}`: the task has reported this payload without its {}", reference.short(), excerpt(part)))
    })
}

fn unknown<'k>(reference: &Reference, name: &str, known: impl Iterator<Item = &'k String> + Clone) -> Flaw {
    const NAMES_MAX: usize = 16;
    let names: Vec<String> = known.clone().take(NAMES_MAX).map(|name| quoted(name)).collect();
    let what = match names.as_slice() {
        [] => "it left none".to_owned(),
        names if known.clone().nth(NAMES_MAX).is_some() => format!("it left {} and more", names.join(", ")),
        names => format!("it left {}", names.join(", ")),
    };
    let near = nearest(name, known.map(String::as_str));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean {}?", quoted(near)));
    Flaw::new(format!("`{}`: the task has left no payload {}: {what}{hint}", reference.short(), quoted(name)))
}

fn no_part(reference: &Reference, part: &str) -> Flaw {
    Flaw::new(format!("`{}`: a payload has a uri, a size and a digest, and no {}", reference.short(), quoted(part)))
}

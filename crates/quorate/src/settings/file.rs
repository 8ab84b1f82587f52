//! The TOML file, flattened to dotted keys; unknown ones are refused with the nearest known.

use std::path::Path;

use toml::{Table, Value};

use super::{KEYS, SettingsError};

/// No configuration file is larger, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A guess further away than this many edits helps nobody.
const NEAREST_EDITS_MAX: usize = 4;

/// The values of the file at `path`; what is wrong with its keys goes to `wrong`.
pub(super) fn read(path: &Path, wrong: &mut Vec<String>) -> Result<Vec<(&'static str, String)>, SettingsError> {
    let unreadable = |source| SettingsError::Read { path: path.to_path_buf(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        let message = format!("{} has {size} bytes, FILE_BYTES_MAX is {FILE_BYTES_MAX}", path.display());
        return Err(SettingsError::Invalid(vec![message]));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| SettingsError::Syntax {
        path: path.to_path_buf(),
        message: error.to_string(),
    })?;
    let mut values = Vec::new();
    flatten(path, "", &table, &mut values, wrong);
    Ok(values)
}

fn flatten(
    path: &Path,
    prefix: &str,
    table: &Table,
    values: &mut Vec<(&'static str, String)>,
    wrong: &mut Vec<String>,
) {
    for (name, value) in table {
        let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let known = KEYS.iter().find(|key| key.name == full);
        let is_section = KEYS.iter().any(|key| key.name.starts_with(&format!("{full}.")));
        match (known, value) {
            (Some(key), value) => match as_text(value) {
                Some(text) => values.push((key.name, text)),
                None => wrong.push(format!(
                    "{full} ({}): a {} does not belong here: give a string, number, boolean or list of strings",
                    path.display(),
                    value.type_str()
                )),
            },
            (None, Value::Table(inner)) if is_section => flatten(path, &full, inner, values, wrong),
            (None, _) => wrong.push(format!("{full} ({}): unknown key{}", path.display(), nearest(&full))),
        }
    }
}

/// One text for every spelling, the same as a flag or variable would have.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Table(_) | Value::Datetime(_) => None,
    }
}

fn nearest(name: &str) -> String {
    let best = KEYS.iter().map(|key| (strsim::damerau_levenshtein(name, key.name), key.name)).min();
    match best {
        Some((edits, known)) if edits <= NEAREST_EDITS_MAX => format!(", did you mean '{known}'?"),
        _ => String::new(),
    }
}

//! Job files: TOML, YAML and JSON through one schema into a job's spec, or everything that is wrong with them.
//!
//! Each syntax becomes the same tree of values that know their place ([`tree`]); one walk guided by
//! [`schema`] turns the tree into a spec; what the spec means is checked by `JobSpec::check`, which
//! the server repeats. All complaints come in one answer, each with line and column.

use std::io::Read;
use std::path::Path;

use quorate_state::{JobSpec, Settings};

mod schema;

mod tree;

mod from_json;
mod from_toml;
mod from_yaml;

mod amounts;
mod quantity;
mod region_loss;
mod trail;
mod walk;

mod company;
mod flow;
mod gang;
mod problem;
mod spec;
mod sub_run;

mod render;

pub use amounts::amounts;
pub use problem::{Errors, PROBLEMS_MAX, Problem};
pub use quantity::{CPU_MILLI_MAX, DURATION_MS_MAX, MEMORY_BYTES_MAX};
pub use render::render_toml;
pub use schema::{KeyDoc, Kind, reference};

use problem::Findings;

/// No job file is larger; what a job works on does not belong into it.
pub const JOB_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a job file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, one document, no anchors, aliases and tags.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// The format that the file's name says: `.toml`, `.yaml`, `.yml` or `.json`.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The format for text without a file name (standard input): JSON when it begins with a brace,
    /// else TOML. YAML looks like too many things to be guessed.
    pub fn guess(bytes: &[u8]) -> Self {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Self::Json,
            Some(_) | None => Self::Toml,
        }
    }
}

/// Reads a job file from disk and parses it; the name tells its format.
///
/// # Errors
/// Everything wrong with it, or why it cannot be read.
pub fn load(path: &Path, settings: &Settings) -> Result<JobSpec, Errors> {
    let name = path.display().to_string();
    let format = Format::of(path)
        .ok_or_else(|| whole_file(&name, "the name ends neither in .toml nor in .yaml, .yml or .json".to_owned()))?;
    let bytes = std::fs::File::open(path)
        .map_err(|error| whole_file(&name, error.to_string()))
        .and_then(|file| read_bounded(file, &name))?;
    parse(&bytes, format, &name, settings)
}

/// Reads at most [`JOB_FILE_BYTES_MAX`]: a larger input is refused without reading the rest.
///
/// # Errors
/// It is larger, or cannot be read.
pub fn read_bounded(input: impl Read, name: &str) -> Result<Vec<u8>, Errors> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a full file from one that goes on.
    let limit = JOB_FILE_BYTES_MAX as u64 + 1;
    input.take(limit).read_to_end(&mut bytes).map_err(|error| whole_file(name, error.to_string()))?;
    check_size(&bytes, name)?;
    Ok(bytes)
}

/// Parses a job file. `name` is what errors call it; `settings` holds the limits that the spec is
/// checked against, which the server repeats with its own.
///
/// # Errors
/// Everything wrong with it.
pub fn parse(bytes: &[u8], format: Format, name: &str, settings: &Settings) -> Result<JobSpec, Errors> {
    check_size(bytes, name)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    compile(bytes, format, settings).map_err(|findings| findings.into_errors(name, bytes))
}

fn compile(bytes: &[u8], format: Format, settings: &Settings) -> Result<JobSpec, Findings> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Findings::one(at, format!("not UTF-8: byte 0x{:02x} at offset {at}", bytes[at]))
    })?;
    if let Some(at) = text.find('\0') {
        return Err(Findings::one(at, format!("a NUL byte at offset {at}: this is no text file")));
    }
    let root = match format {
        Format::Toml => from_toml::parse(text)?,
        Format::Yaml => from_yaml::parse(text)?,
        Format::Json => from_json::parse(text)?,
    };
    spec::compile(&root, settings)
}

fn check_size(bytes: &[u8], name: &str) -> Result<(), Errors> {
    if bytes.len() <= JOB_FILE_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "a job file has at most {JOB_FILE_BYTES_MAX} bytes (JOB_FILE_BYTES_MAX), this one has more: keep data in files of their own"
    );
    Err(whole_file(name, message))
}

fn whole_file(name: &str, message: String) -> Errors {
    Findings::one(0, message).into_errors(name, b"")
}

#[cfg(test)]
mod tests;

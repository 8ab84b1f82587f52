//! The rules of the house that neither the compiler nor clippy can check, run over the whole clone.
//!
//! Every rule is a function from values (sources, packages) to violations, with a test that plants
//! the violation it is for. This file gathers the values and runs the rules.

mod clone;
mod code;
mod constructs;
mod documents;
mod files;
mod floors;
mod licences;
mod metrics;
mod references;
mod words;

use std::fmt;
use std::path::Path;

/// How many rules [`run`] applies.
pub(crate) const RULES: usize = 19;

/// A rule that something breaks.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Where: a path from the top of the clone, with the line when there is one, or a package.
    place: String,
    /// The rule's short name.
    rule: &'static str,
    /// What is wrong and what to do instead.
    what: String,
}

impl Violation {
    fn new(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), rule, what: what.into() }
    }

    fn at(rule: &'static str, path: &str, line: usize, what: impl Into<String>) -> Self {
        Self::new(rule, format!("{path}:{line}"), what)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.place, self.rule, self.what)
    }
}

/// What a run looked at and found.
pub(crate) struct Report {
    pub(crate) files: usize,
    pub(crate) packages: usize,
    pub(crate) violations: Vec<Violation>,
}

/// Reads the clone and its dependency tree, and applies every rule.
pub(crate) fn run() -> Result<Report, String> {
    // Asked at run time: clones share a target directory, and a binary built in another one is found fresh.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).join("../..");
    let root = root.canonicalize().map_err(|error| format!("the clone's top is not readable: {error}"))?;
    let sources = clone::read(&root)?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .map_err(|error| format!("cargo metadata failed: {error}"))?;
    let packages = floors::packages(&metadata);
    let allowed = licences::allowed(&clone::text_of(&sources, "deny.toml")?)?;

    let mut violations = Vec::new();
    violations.extend(floors::arrows_point_down(&packages));
    violations.extend(floors::links_are_reserved(&packages));
    violations.extend(floors::pure_crates_stay_pure(&packages));
    violations.extend(floors::pins_are_exact(&packages));
    violations.extend(floors::bugs_are_not_shipped(&packages));
    violations.extend(licences::are_permissive(&packages, &allowed));
    violations.extend(licences::come_from_registries(&packages));
    violations.extend(files::start_with_their_job(&sources));
    violations.extend(files::are_short(&sources, files::LONG));
    violations.extend(files::have_good_names(&sources));
    violations.extend(files::manifests_inherit_lints(&sources));
    violations.extend(words::are_not_rejected(&sources));
    violations.extend(constructs::stay_where_they_belong(&sources));
    violations.extend(documents::name_files_that_exist(&sources));
    violations.extend(documents::walk_is_whole(&sources));
    violations.extend(documents::cite_decisions_that_exist(&sources));
    violations.extend(documents::name_no_machine(&sources));
    violations.extend(references::pages_are_complete(&sources));
    violations.extend(metrics::are_documented(&sources));
    violations.sort();
    Ok(Report { files: sources.len(), packages: packages.len(), violations })
}

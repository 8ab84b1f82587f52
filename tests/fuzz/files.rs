//! Files that people write.

use std::path::{Path, PathBuf};

use quorate_client::jobfile::{self, Format, render_toml};
use quorate_client::wfformat;
use quorate_proto::convert::job::{spec_from_wire, spec_to_wire};
use quorate_state::{JobSpec, Namespace, Settings};

use crate::top;

pub(crate) fn toml(bytes: &[u8]) {
    job(bytes, Format::Toml);
}

pub(crate) fn yaml(bytes: &[u8]) {
    job(bytes, Format::Yaml);
}

pub(crate) fn json(bytes: &[u8]) {
    job(bytes, Format::Json);
}

fn job(bytes: &[u8], format: Format) {
    match jobfile::parse(bytes, format, "job", &Settings::default()) {
        Ok(spec) => accepted(&spec),
        Err(errors) => {
            assert!(!errors.problems.is_empty(), "refused, and nothing is wrong");
            // By the count of line ends that any of the formats knows.
            let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            for problem in &errors.problems {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem:?} in {lines} lines");
                assert!(!problem.message.is_empty());
            }
            assert!(!errors.to_string().is_empty());
        }
    }
}

pub(crate) fn wfformat(bytes: &[u8]) {
    let options = wfformat::ImportOptions::new(Namespace::new("fuzz").expect("a name"));
    match wfformat::import(bytes, &options) {
        Ok(imported) => accepted(&imported.spec),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A job that one place accepts is the same job in all others: sent, and written out as a file.
fn accepted(spec: &JobSpec) {
    assert_eq!(spec.check(&Settings::default()), Ok(()));
    assert_eq!(spec_from_wire(spec_to_wire(spec)).as_ref(), Ok(spec));
    let written = render_toml(spec);
    if written.len() <= jobfile::JOB_FILE_BYTES_MAX {
        let read = jobfile::parse(written.as_bytes(), Format::Toml, "written", &Settings::default());
        assert_eq!(read.as_ref(), Ok(spec), "{written}");
    }
}

/// Job files of the repository with this ending; those in TOML also as what they would be elsewhere.
pub(crate) fn seeds(ending: &str) -> Vec<Vec<u8>> {
    found(&top().join("examples"), ending)
}

/// Recorded workflows of the repository.
pub(crate) fn workflows() -> Vec<Vec<u8>> {
    found(&top().join("crates/quorate/src/demo"), "json")
}

/// The files under a directory with an ending, in the order of their paths.
fn found(directory: &Path, ending: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = vec![];
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

//! The text files of the clone, as values the rules can look at.

use std::path::Path;

/// A text file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its path from the top of the clone, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        has_extension(&self.path, "md")
    }

    /// True when the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/") || self.path.contains("/tests/") || name == "tests.rs"
    }
}

/// Directories that hold products, not sources.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// Where foreign code lies that we changed a little (ADR 0025). Its own rules bind it, not ours.
const VENDORED: &str = "simulation/vendor/";

/// What is ours among the foreign code: the pages that say what was changed.
const VENDORED_PAGE: &str = "/PATCH.md";

/// Every text file below `root` in order of path; foreign code and files that are not UTF-8 are left out.
pub(crate) fn read(root: &Path) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", directory.display()))?;
            let (path, kind) = (entry.path(), entry.file_type());
            let kind = kind.map_err(|error| format!("{}: {error}", path.display()))?;
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                    waiting.push(path);
                }
            } else if kind.is_file() {
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                if is_foreign(&relative) {
                    continue;
                }
                let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                if let Ok(text) = String::from_utf8(bytes) {
                    sources.push(Source { path: relative, text });
                }
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// The text of the one file at `path`.
pub(crate) fn text_of(sources: &[Source], path: &str) -> Result<String, String> {
    let found = sources.iter().find(|source| source.path == path);
    found.map(|source| source.text.clone()).ok_or_else(|| format!("{path} is missing"))
}

fn is_foreign(path: &str) -> bool {
    path.starts_with(VENDORED) && !path.ends_with(VENDORED_PAGE)
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_is_found_and_products_are_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let sources = read(&root).unwrap();
        assert!(sources.iter().any(|source| source.path == "crates/xtask/src/tidy/clone.rs"));
        assert!(!sources.iter().any(|source| source.path.starts_with(".git/") || source.path.starts_with("target/")));
    }

    #[test]
    fn foreign_code_is_left_out_and_only_that() {
        assert!(is_foreign("simulation/vendor/turmoil/src/sim.rs"));
        assert!(is_foreign("simulation/vendor/turmoil.patch"));
        assert!(!is_foreign("simulation/vendor/turmoil/PATCH.md"));
        assert!(!is_foreign("simulation/src/vendor.rs"));
        assert!(!is_foreign("crates/state/vendor/a.rs"));
    }
}

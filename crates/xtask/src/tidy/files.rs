//! Rules about files as such: what their first line says, how long they are, what they are called.

use super::Violation;
use super::clone::Source;

/// Past this many lines look for the second job that moved into a file.
const LINES_MAX: usize = 600;

/// Files that may be longer, each with the reason.
pub(crate) const LONG: &[(&str, &str)] = &[];

/// Names under which code hides that has no name of its own.
const NAMELESS: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "misc", "shared", "stuff"];

/// Every `.rs` file opens with `//!` and what it is for (a shebang or attributes may not come first).
pub(crate) fn start_with_their_job(sources: &[Source]) -> Vec<Violation> {
    let silent = |source: &&Source| {
        let first = source.text.lines().next().unwrap_or_default();
        source.is_rust() && first.strip_prefix("//! ").is_none_or(|said| said.trim().len() < 10)
    };
    let violation = |source: &Source| {
        Violation::at("header", &source.path, 1, "the first line must say what the file is for, as `//! A sentence.`")
    };
    sources.iter().filter(silent).map(violation).collect()
}

/// No `.rs` file is longer than [`LINES_MAX`], unless `long` names it with a reason; an entry of
/// `long` that is no longer needed is a violation as well.
pub(crate) fn are_short(sources: &[Source], long: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let lines = source.text.lines().count();
        let listed = long.iter().find(|(path, _)| *path == source.path);
        let what = match listed {
            None if lines > LINES_MAX => format!("{lines} lines, the limit is {LINES_MAX}: split off the second job"),
            Some(_) if lines <= LINES_MAX => format!("only {lines} lines: take it off the list of long files"),
            Some((_, reason)) if reason.trim().is_empty() => "a long file needs a reason on the list".to_owned(),
            None | Some(_) => continue,
        };
        violations.push(Violation::new("length", &source.path, what));
    }
    let gone = long.iter().filter(|(path, _)| !sources.iter().any(|source| source.path == *path));
    violations
        .extend(gone.map(|(path, _)| Violation::new("length", *path, "listed as long, but there is no such file")));
    violations
}

/// No `mod.rs` (tabs and stack traces would all read alike) and no file named after nothing. Modules
/// that integration tests share are the exception: as `tests/x.rs` cargo would run them as tests.
pub(crate) fn have_good_names(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let parts: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
        let shared_by_tests = parts.len() >= 3 && parts[parts.len() - 3] == "tests";
        if parts.last() == Some(&"mod") && !shared_by_tests {
            violations.push(Violation::new("names", &source.path, "write `foo.rs` beside `foo/`, not `foo/mod.rs`"));
        }
        if let Some(part) = parts.iter().find(|part| NAMELESS.contains(part)) {
            let what = format!("`{part}` says nothing: put the code beside its only user, or name what it does");
            violations.push(Violation::new("names", &source.path, what));
        }
    }
    violations
}

/// Every member of the workspace uses the workspace's lints.
pub(crate) fn manifests_inherit_lints(sources: &[Source]) -> Vec<Violation> {
    let is_member = |source: &&Source| source.path.ends_with("/Cargo.toml");
    let inherits = |source: &&Source| source.text.replace(' ', "").contains("[lints]\nworkspace=true");
    let violation = |source: &Source| Violation::new("lints", &source.path, "add `[lints]` with `workspace = true`");
    sources.iter().filter(is_member).filter(|source| !inherits(source)).map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        let planted = [
            Source::new("a.rs", "//! Says what it is for.\n"),
            Source::new("b.rs", "use std::fs;\n"),
            Source::new("c.rs", "//!\n//! Late.\n"),
            Source::new("d.md", "no rust"),
        ];
        let found = start_with_their_job(&planted);
        assert_eq!(found.iter().map(|v| v.place.as_str()).collect::<Vec<_>>(), ["b.rs:1", "c.rs:1"]);
    }

    #[test]
    fn a_long_file_is_found_unless_listed_with_a_reason() {
        let long = Source::new("long.rs", &"x\n".repeat(LINES_MAX + 1));
        let sources = [Source::new("short.rs", &"x\n".repeat(LINES_MAX)), long];
        assert_eq!(are_short(&sources, &[]).len(), 1);
        assert_eq!(are_short(&sources, &[("long.rs", "one table")]), []);
        assert_eq!(are_short(&sources, &[("long.rs", " ")]).len(), 1);
    }

    #[test]
    fn a_stale_entry_of_the_list_is_found() {
        let sources = [Source::new("short.rs", "x\n")];
        assert_eq!(are_short(&sources, &[("short.rs", "was long"), ("gone.rs", "was there")]).len(), 2);
    }

    #[test]
    fn nameless_files_are_found() {
        let planted = [
            Source::new("a/mod.rs", ""),
            Source::new("a/tests/support/mod.rs", ""),
            Source::new("a/utils.rs", ""),
            Source::new("common/x.rs", ""),
            Source::new("a/model.rs", ""),
        ];
        assert_eq!(have_good_names(&planted).len(), 3);
    }

    #[test]
    fn a_member_without_the_lints_is_found() {
        let planted = [
            Source::new("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n"),
            Source::new("b/Cargo.toml", "[package]\n"),
            Source::new("Cargo.toml", "[workspace]\n"),
        ];
        assert_eq!(manifests_inherit_lints(&planted).len(), 1);
    }
}

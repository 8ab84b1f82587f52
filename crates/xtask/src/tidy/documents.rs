//! Rules about prose: what a document names must exist, so that it cannot quietly become untrue.

use super::Violation;
use super::clone::Source;
use super::code;

/// The document that walks through the code, step by step.
const WALKTHROUGH: &str = "docs/walkthrough.md";

/// A walk of fewer files would not be one.
const WALK_STEPS_MIN: usize = 7;

/// Where decisions are written down, as `NNNN-title.md`.
const DECISIONS: &str = "docs/decisions/";

/// Top-level directories: a backticked path that begins with one is meant to exist.
const TREES: [&str; 10] =
    ["crates/", "proto/", "docs/", "deploy/", "examples/", "simulation/", "tests/", ".ci/", ".cargo/", "changelog.d/"];

/// Every path that a document puts in backticks exists, and so does every relative link. In the
/// walkthrough, a name in backticks right after a file (`file` `name`) stands in that file.
pub(crate) fn name_files_that_exist(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for document in sources.iter().filter(|source| source.is_markdown()) {
        for (index, line) in document.text.lines().enumerate() {
            let missing = paths_in(line).into_iter().filter(|path| !exists(sources, path));
            violations.extend(missing.map(|path| {
                Violation::at("documents", &document.path, index + 1, format!("names `{path}`, which does not exist"))
            }));
            let broken = links_in(line).into_iter().filter(|link| !exists(sources, &resolve(&document.path, link)));
            violations.extend(broken.map(|link| {
                Violation::at("documents", &document.path, index + 1, format!("links to {link}, which does not exist"))
            }));
        }
    }
    violations
}

/// The walkthrough names enough files, and the functions it names stand in the files it names.
pub(crate) fn walk_is_whole(sources: &[Source]) -> Vec<Violation> {
    let Some(walk) = sources.iter().find(|source| source.path == WALKTHROUGH) else {
        return vec![Violation::new("walkthrough", WALKTHROUGH, "is missing")];
    };
    let mut violations = Vec::new();
    let mut files: Vec<&str> = walk.text.lines().flat_map(paths_in).filter(|path| path.ends_with(".rs")).collect();
    files.sort_unstable();
    files.dedup();
    if files.len() < WALK_STEPS_MIN {
        let what = format!("names {} source files; a whole walk has at least {WALK_STEPS_MIN}", files.len());
        violations.push(Violation::new("walkthrough", WALKTHROUGH, what));
    }
    for (index, line) in walk.text.lines().enumerate() {
        let spans = code_spans(line);
        for pair in spans.windows(2) {
            let [file, name] = pair else { continue };
            let Some(source) = sources.iter().find(|source| source.is_rust() && source.path == *file) else { continue };
            let last = name.rsplit("::").next().unwrap_or(name).trim_end_matches("()");
            let is_name = !last.is_empty() && last.chars().all(code::is_name);
            if is_name && code::lines_with(&code::only(&source.text), last).is_empty() {
                violations.push(Violation::at(
                    "walkthrough",
                    WALKTHROUGH,
                    index + 1,
                    format!("`{name}` is not in {file}"),
                ));
            }
        }
    }
    violations
}

/// Every `ADR NNNN` in code or prose has its page.
pub(crate) fn cite_decisions_that_exist(sources: &[Source]) -> Vec<Violation> {
    let pages: Vec<&str> = sources.iter().filter_map(|source| source.path.strip_prefix(DECISIONS)).collect();
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with("crates/xtask/")) {
        for (index, line) in source.text.lines().enumerate() {
            for (at, _) in line.match_indices("ADR ") {
                let number: String = line[at + 4..].chars().take_while(char::is_ascii_digit).collect();
                let known = || pages.iter().any(|page| page.starts_with(&format!("{number}-")));
                if !number.is_empty() && (number.len() != 4 || !known()) {
                    let what = format!("cites ADR {number}; there is no {DECISIONS}{number}-*.md");
                    violations.push(Violation::at("decisions", &source.path, index + 1, what));
                }
            }
        }
    }
    violations
}

/// No file names a place that exists on one machine only.
pub(crate) fn name_no_machine(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with("crates/xtask/")) {
        for (index, line) in source.text.lines().enumerate() {
            for place in ["/root/", "/home/", "/Users/"] {
                if line.contains(place) {
                    let what = format!("`{place}...` exists on one machine only");
                    violations.push(Violation::at("machine", &source.path, index + 1, what));
                }
            }
        }
    }
    violations
}

/// The texts in backticks.
fn code_spans(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Backticked paths below our own trees; `*`, `<...>` and braces mark a pattern, not a path.
fn paths_in(line: &str) -> Vec<&str> {
    let is_path =
        |span: &&str| TREES.iter().any(|tree| span.starts_with(tree)) && !span.contains([' ', '*', '<', '{', '…', '(']);
    code_spans(line).into_iter().filter(is_path).collect()
}

/// Targets of `[text](target)` that are files of this repository.
fn links_in(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = |target: &&str| !target.contains("://") && !target.starts_with(['#', '<']) && !target.is_empty();
    targets.filter(local).map(|target| target.split('#').next().unwrap_or(target)).collect()
}

/// The path from the top of the clone that `link` in `document` means.
fn resolve(document: &str, link: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A file of the clone, or a directory that holds one.
fn exists(sources: &[Source], path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let inside =
        |source: &Source| source.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path.is_empty() || sources.iter().any(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone() -> Vec<Source> {
        vec![
            Source::new("crates/a/src/b.rs", "fn submit() {} // imagined"),
            Source::new("docs/decisions/0001-first.md", ""),
            Source::new(
                "README.md",
                "See `crates/a/src/b.rs`, `crates/a/`, `crates/*/x.rs` and [it](docs/decisions/0001-first.md#why).",
            ),
        ]
    }

    fn with(path: &str, text: &str) -> Vec<Source> {
        let mut sources = clone();
        sources.push(Source::new(path, text));
        sources
    }

    #[test]
    fn a_document_that_names_a_missing_file_is_found() {
        assert_eq!(name_files_that_exist(&clone()), []);
        assert_eq!(name_files_that_exist(&with("docs/x.md", "`crates/a/src/gone.rs`")).len(), 1);
    }

    #[test]
    fn a_broken_link_is_found() {
        assert_eq!(
            name_files_that_exist(&with("docs/x.md", "[a](../README.md) [b](decisions/) [c](https://example.org)")),
            []
        );
        assert_eq!(name_files_that_exist(&with("docs/x.md", "[a](README.md)")).len(), 1);
    }

    #[test]
    fn a_walk_that_names_a_function_of_another_file_is_found() {
        let wrong = |text: &str| {
            walk_is_whole(&with(WALKTHROUGH, text)).iter().filter(|v| v.what.contains("is not in")).count()
        };
        assert_eq!(wrong("`crates/a/src/b.rs` `submit`: then"), 0);
        assert_eq!(wrong("`crates/a/src/b.rs` `withdraw`: then"), 1);
        assert_eq!(wrong("`crates/a/src/b.rs` `imagined`: only in a comment"), 1);
    }

    #[test]
    fn a_short_or_missing_walk_is_found() {
        assert_eq!(walk_is_whole(&clone()).len(), 1);
        assert_eq!(walk_is_whole(&with(WALKTHROUGH, "`crates/a/src/b.rs`")).len(), 1);
    }

    #[test]
    fn a_citation_without_a_page_is_found() {
        assert_eq!(cite_decisions_that_exist(&with("a.rs", "// ADR 0001 says why\n")), []);
        assert_eq!(cite_decisions_that_exist(&with("a.rs", "// ADR 0099 says why\n// ADR 7\n")).len(), 2);
    }

    #[test]
    fn a_machine_path_is_found() {
        assert_eq!(name_no_machine(&with("a.sh", "cd /root/x\n")).len(), 1);
        assert_eq!(name_no_machine(&clone()), []);
    }
}

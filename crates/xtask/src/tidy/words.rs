//! The words that may not name things here, because they do not say what the thing does.

use super::Violation;
use super::clone::Source;
use super::code;

/// Rejected as a part of a type's name.
const REJECTED: [&str; 8] = ["Manager", "Helper", "Helpers", "Util", "Utils", "Data", "Info", "Processor"];

/// Names that a rejected word is right in, because it is part of a term of its own.
const ACCEPTED: [&str; 1] = ["DataDir"];

/// Rejected at the front of a function's name.
const REJECTED_VERB: &str = "handle_";

/// What declares a type.
const DECLARATIONS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// No public type is called a manager of data, and no function handles: it says what it does.
pub(crate) fn are_not_rejected(sources: &[Source]) -> Vec<Violation> {
    sources.iter().filter(|source| source.is_rust()).flat_map(in_file).collect()
}

fn in_file(source: &Source) -> Vec<Violation> {
    let code = code::only(&source.text);
    let mut violations = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut tokens = line.split(|c: char| !code::is_name(c)).filter(|token| !token.is_empty()).peekable();
        let public = line.trim_start().starts_with("pub");
        while let Some(token) = tokens.next() {
            let Some(name) = tokens.peek() else { break };
            if public && DECLARATIONS.contains(&token) && !ACCEPTED.contains(name) {
                if let Some(word) = camel_words(name).into_iter().find(|word| REJECTED.contains(&word.as_str())) {
                    let what = format!("`{name}`: \"{word}\" does not say what the type is");
                    violations.push(Violation::at("words", &source.path, index + 1, what));
                }
            } else if token == "fn" && name.starts_with(REJECTED_VERB) {
                let what = format!("`{name}`: say what is done (`on_...` for a reaction to an event)");
                violations.push(Violation::at("words", &source.path, index + 1, what));
            }
        }
    }
    violations
}

/// `LogEntry2` → `Log`, `Entry2`.
fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        are_not_rejected(&[Source::new("a.rs", text)]).into_iter().map(|violation| violation.place).collect()
    }

    #[test]
    fn rejected_names_of_public_types_are_found() {
        assert_eq!(
            lines("pub struct JobManager;\npub(crate) enum NodeInfo {}\npub type RowData = u8;\n"),
            ["a.rs:1", "a.rs:2", "a.rs:3"]
        );
    }

    #[test]
    fn words_inside_other_words_and_private_types_are_fine() {
        assert_eq!(
            lines(
                "pub struct Database;\npub struct DataDir;\npub struct Information;\nstruct RowData;\n// pub struct JobManager;\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn handling_functions_are_found() {
        assert_eq!(lines("fn handle_request() {}\nfn on_request() {}\nfn file_handle() {}\n"), ["a.rs:1"]);
    }
}

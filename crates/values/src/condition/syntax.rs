//! From the text of a condition to its tree, in bounded room.

use std::panic::catch_unwind;

use cel::IdedExpr;
use cel::parser::PrattParser;

use super::{CONDITION_BRACKETS_MAX, CONDITION_BYTES_MAX, CONDITION_TOKENS_MAX};
use crate::flaw::{Flaw, excerpt};

/// The tree of a text.
///
/// The library has two parsers. This is the one that is written by hand: the other keeps what it learned of every text
/// for good, and takes ten times the time and the stack. Its own limit of depth does not count `? :`, so that what can
/// lie in each other is counted here, before it begins, without knowing what is a text: too much rather than too little.
pub(super) fn parse(text: &str) -> Result<IdedExpr, Flaw> {
    if text.trim().is_empty() {
        return Err(Flaw::new("the condition is empty: leave it out, or write what must be true"));
    }
    check(text.len(), CONDITION_BYTES_MAX, "bytes", "CONDITION_BYTES_MAX")?;
    let brackets = text.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{' | b'?')).count();
    check(brackets, CONDITION_BRACKETS_MAX, "opening brackets and question marks", "CONDITION_BRACKETS_MAX")?;
    check(tokens(text), CONDITION_TOKENS_MAX, "words and signs", "CONDITION_TOKENS_MAX")?;
    let parsed = catch_unwind(|| PrattParser::new().parse(text));
    let errors = match parsed {
        Ok(Ok(expression)) => return Ok(expression),
        Ok(Err(errors)) => errors.errors,
        Err(_) => Vec::new(),
    };
    // The others follow from the first.
    Err(Flaw::new(match errors.iter().find(|error| !error.msg.is_empty()) {
        Some(error) => {
            let (line, column) = error.pos;
            let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
            format!("the condition is no CEL, at line {line}, column {column}: {}", excerpt(message))
        }
        None => "the condition is no CEL".to_owned(),
    }))
}

fn check(found: usize, max: usize, what: &str, name: &str) -> Result<(), Flaw> {
    if found <= max {
        return Ok(());
    }
    Err(Flaw::new(format!("the condition has {found} {what}, {name} is {max}: leave it to a task to decide")))
}

fn tokens(text: &str) -> usize {
    let mut in_word = false;
    text.chars()
        .filter(|c| {
            let was_in_word = in_word;
            in_word = c.is_alphanumeric() || *c == '_';
            if in_word { !was_in_word } else { !c.is_whitespace() }
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_signs() {
        for (text, count) in [("", 0), ("a", 1), ("ab_1 <= 12", 4), ("a.b('é ü')", 9), ("!!!", 3), (" \t\n", 0)] {
            assert_eq!(tokens(text), count, "{text}");
        }
    }
}

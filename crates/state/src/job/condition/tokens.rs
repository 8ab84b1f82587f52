//! The words and signs of a condition on nodes.

use super::ConditionFlaw;

/// A word, a sign or a value, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// Letters, digits and `_`; no digit first.
    Word(&'t str),
    /// A text in quotes, without them.
    Text(Box<str>),
    /// A whole number.
    Number(i64),
    /// One of [`SIGNS`].
    Sign(&'static str),
}

/// Longer ones before those that they begin with.
const SIGNS: [&str; 15] = ["||", "&&", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", "."];

/// What is said of characters that mean nothing.
const MEANS_NOTHING: &str = "means nothing here; texts stand in quotes, a label whose key has other signs than letters, digits and _ is \
                             node.labels[\"KEY\"], and what is compared is compared with ==, !=, <, <=, >, >= or in";

/// A flaw at a byte of a text.
pub(super) fn flaw(text: &str, at: usize, what: impl std::fmt::Display) -> ConditionFlaw {
    let before = text.get(..at).unwrap_or(text);
    ConditionFlaw(format!("at character {}: {what}", before.chars().count() + 1))
}

/// All of them, each with the byte at which it begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, ConditionFlaw> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        let (token, length) = match first {
            ' ' | '\t' | '\n' | '\r' => {
                at += 1;
                continue;
            }
            '"' | '\'' => quoted(text, at, first)?,
            '0'..='9' | '-' => number(text, at)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let word = word_at(rest);
                (Token::Word(word), word.len())
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| flaw(text, at, format_args!("{first:?} {MEANS_NOTHING}")))?;
                (Token::Sign(sign), sign.len())
            }
        };
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

/// The letters, digits and `_` at the beginning of a text.
fn word_at(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn number(text: &str, at: usize) -> Result<(Token<'_>, usize), ConditionFlaw> {
    let rest = text.get(at..).unwrap_or_default();
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let word = word_at(digits);
    let length = rest.len() - digits.len() + word.len();
    if word.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(flaw(text, at, format_args!("'-' {MEANS_NOTHING}")));
    }
    let is_whole = word.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.get(word.len()..).unwrap_or_default().starts_with('.');
    if !is_whole {
        return Err(flaw(text, at, "numbers are whole, and written in digits alone, such as 8 or -1"));
    }
    let number = rest.get(..length).unwrap_or_default().parse();
    let number = number.map_err(|_| flaw(text, at, "a number has no more than 64 bits"))?;
    Ok((Token::Number(number), length))
}

fn quoted(text: &str, at: usize, quote: char) -> Result<(Token<'_>, usize), ConditionFlaw> {
    let mut inside = String::new();
    let mut chars = text.get(at + 1..).unwrap_or_default().char_indices();
    while let Some((place, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '"' | '\''))) => inside.push(escaped),
                _ => return Err(flaw(text, at + 1 + place, "behind a \\ in a text stands \\, \" or '")),
            },
            // The quotes themselves and what is between them.
            c if c == quote => return Ok((Token::Text(inside.into()), place + 2)),
            c if c.is_control() => {
                return Err(flaw(
                    text,
                    at + 1 + place,
                    "a text in quotes holds no line breaks and no other control characters",
                ));
            }
            c => inside.push(c),
        }
    }
    Err(flaw(text, at, format_args!("this text has no end: {quote} is missing")))
}

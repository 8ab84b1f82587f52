//! What is wrong with an expression or a value, in words for whoever wrote it.

/// Why an expression means nothing, or why it has no value here.
///
/// The text names what is wrong and what to do about it, and stays short however long the input is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Flaw(String);

impl Flaw {
    /// A flaw in these words: for a [`Scope`](crate::Scope) that cannot read what it was asked for.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// The beginning of a text of the user's, on one line.
pub(crate) fn excerpt(text: &str) -> String {
    const EXCERPT_CHARS_MAX: usize = 80;
    let mut short: String = text.chars().take(EXCERPT_CHARS_MAX).flat_map(escaped_control).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A text of the user's in quotes, short and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// The known word that is most like `word`, if any is at all.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LIKENESS_MIN: f64 = 0.7;
    const WORD_BYTES_MAX: usize = 64;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let folded = |word: &str| word.to_lowercase().replace('-', "_");
    let word = folded(word);
    known
        .into_iter()
        .filter(|known| known.len() <= WORD_BYTES_MAX)
        .map(|known| {
            let lower = folded(known);
            (strsim::damerau_levenshtein(&word, &lower), strsim::jaro_winkler(&word, &lower), known)
        })
        .filter(|(distance, likeness, _)| *likeness >= LIKENESS_MIN || *distance <= 1)
        .min_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)))
        .map(|(_, _, known)| known)
}

fn escaped_control(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_debug());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_on_one_line() {
        assert_eq!(excerpt("ein \"Wört\"\n"), "ein \"Wört\"\\n");
        let long = excerpt(&"ä".repeat(100_000));
        assert_eq!(long.chars().count(), 81);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["params", "each", "index", "run.outcome"];
        for (word, near) in [
            ("param", Some("params")),
            ("PARAMS", Some("params")),
            ("run.outcom", Some("run.outcome")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(nearest(&"params".repeat(100), known), None);
    }
}

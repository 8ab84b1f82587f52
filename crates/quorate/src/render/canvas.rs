//! What drawings for people are drawn on: how wide it is, and which characters it has.

use comfy_table::Table;

/// Columns where there is no terminal to ask.
const COLUMNS_DEFAULT: usize = 120;
/// A drawing is no narrower: a terminal's own wrapping has to do for the rest.
const COLUMNS_MIN: usize = 40;
/// Terminals that have the character sets of their locale in name only.
const TERMINALS_PLAIN: [&str; 2] = ["dumb", "linux"];

/// What is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// Characters of a line.
    pub(crate) columns: usize,
    /// Lines and dots may be drawn with their own characters.
    pub(crate) is_unicode: bool,
}

impl Canvas {
    /// Standard output.
    pub(crate) fn of_stdout() -> Self {
        let columns = Table::new().width().filter(|width| *width > 0).map_or(COLUMNS_DEFAULT, usize::from);
        let is_unicode = is_unicode(|name| std::env::var(name).ok());
        Self { columns: columns.max(COLUMNS_MIN), is_unicode }
    }
}

/// By the locale, of which the first variable that is set counts.
fn is_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    let is_plain = set("TERM").is_some_and(|terminal| TERMINALS_PLAIN.contains(&terminal.as_str()));
    !is_plain && (locale.contains("utf-8") || locale.contains("utf8"))
}

/// `text`, cut to a number of characters.
pub(crate) fn cut(text: &str, chars_max: usize, canvas: Canvas) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let end = if canvas.is_unicode { "…" } else { "~" };
    let mut cut: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    cut.push_str(end);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_which_characters_there_are() {
        let of = |set: &[(&str, &str)]| {
            is_unicode(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(of(&[("LANG", "en_US.UTF-8")]) && of(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!of(&[]) && !of(&[("LANG", "C")]) && !of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(!of(&[("LANG", "en_US.UTF-8"), ("TERM", "linux")]));
    }

    #[test]
    fn what_is_cut_says_so() {
        let canvas = |is_unicode| Canvas { columns: 80, is_unicode };
        assert_eq!(cut("abcdef", 6, canvas(true)), "abcdef");
        assert_eq!(cut("abcdef", 4, canvas(true)), "abc…");
        assert_eq!(cut("abcdef", 4, canvas(false)), "abc~");
    }
}

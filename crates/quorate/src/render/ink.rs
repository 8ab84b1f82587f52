//! Colours in text that is no table: the same tones as there.

use anstyle::{AnsiColor, Style};

use super::Paint;
use super::table::Tone;

/// `text` in the colour of a tone, if there are colours.
pub(crate) fn ink(paint: Paint, tone: Tone, text: &str) -> String {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    let style = match (paint, tone) {
        (Paint::Never, _) | (Paint::Always, Tone::Plain) => return text.to_owned(),
        (Paint::Always, Tone::Good) => colour(AnsiColor::Green),
        (Paint::Always, Tone::Busy) => colour(AnsiColor::Cyan),
        (Paint::Always, Tone::Bad) => colour(AnsiColor::Red),
        (Paint::Always, Tone::Faint) => Style::new().dimmed(),
    };
    format!("{style}{text}{style:#}")
}

/// The heads of columns.
pub(crate) fn heading(paint: Paint, text: &str) -> String {
    match paint {
        Paint::Never => text.to_owned(),
        Paint::Always => {
            let bold = Style::new().bold();
            format!("{bold}{text}{bold:#}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_paint_text_stays_as_it_is() {
        for tone in [Tone::Plain, Tone::Good, Tone::Busy, Tone::Bad, Tone::Faint] {
            assert_eq!(ink(Paint::Never, tone, "x"), "x");
            assert!(ink(Paint::Always, tone, "x").contains('x'));
        }
        assert_eq!(ink(Paint::Always, Tone::Plain, "x"), "x");
        assert_eq!(heading(Paint::Never, "x"), "x");
    }
}

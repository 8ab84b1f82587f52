//! Templates: texts in which references stand for values.

use std::fmt::{self, Write};

use serde_json::Value;

use crate::flaw::{Flaw, excerpt};
use crate::reference::{FORMS, Reference};
use crate::scope::Scope;

/// No template is longer, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 128 * 1024;
/// A template has no more references.
pub const REFERENCES_MAX: usize = 100;
/// No rendered text is longer, in bytes: more than Linux takes as one argument of a program.
pub const RENDERED_BYTES_MAX: usize = 128 * 1024;

/// A text with references, such as `--day=${params.day}`. `$${` is a plain `${`; any other `$` is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// No two texts follow each other, and none is empty.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Reference(Reference),
}

impl Template {
    /// The template that `text` spells.
    ///
    /// # Errors
    /// When a `${` is not closed or encloses no reference, or the text has a NUL in it, is longer than
    /// [`TEMPLATE_BYTES_MAX`] or has more than [`REFERENCES_MAX`] references.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let size = text.len();
            return Err(Flaw::new(format!("the text has {size} bytes, TEMPLATE_BYTES_MAX is {TEMPLATE_BYTES_MAX}")));
        }
        if text.contains('\0') {
            return Err(Flaw::new("the text has a NUL character in it, which no program can be given"));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut references = 0;
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = inside;
                continue;
            }
            literal.push_str(before);
            let Some((spelling, after)) = inside.split_once('}') else { return Err(unclosed(inside)) };
            let reference = Reference::read(spelling).map_err(|why| no_reference(spelling, &why))?;
            references += 1;
            if references > REFERENCES_MAX {
                return Err(Flaw::new(format!("the text has more than {REFERENCES_MAX} references (REFERENCES_MAX)")));
            }
            end_text(&mut pieces, &mut literal);
            pieces.push(Piece::Reference(reference));
            rest = after;
        }
        literal.push_str(rest);
        end_text(&mut pieces, &mut literal);
        Ok(Self { pieces })
    }

    /// What it names, in the order of the text and as often as it does.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Reference(reference) => Some(reference),
        })
    }

    /// Whether it is the same text in every scope.
    pub fn is_plain(&self) -> bool {
        self.plain_text().is_some()
    }

    /// The text, if it has no references: `$${` has become `${`.
    pub fn plain_text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The reference that the whole text is, so that it can stand for a value that is no text.
    pub fn sole(&self) -> Option<&Reference> {
        match self.pieces.as_slice() {
            [Piece::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// The text in which every reference is replaced: by a text as it is, by a number, true and false as in JSON, by a
    /// list or a map as JSON without spaces.
    ///
    /// # Errors
    /// When a reference leads nowhere or to null, or the text becomes longer than [`RENDERED_BYTES_MAX`] or has a NUL
    /// in it, with which no program can be started.
    pub fn render(&self, scope: &(impl Scope + ?Sized)) -> Result<String, Flaw> {
        self.render_within(scope, RENDERED_BYTES_MAX)
    }

    /// The same where no more than `bytes_max` bytes are left.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_within(&self, scope: &(impl Scope + ?Sized), bytes_max: usize) -> Result<String, Flaw> {
        let bytes_max = bytes_max.min(RENDERED_BYTES_MAX);
        let mut rendered = Rendered { text: String::new(), bytes_max };
        for piece in &self.pieces {
            let written = match piece {
                Piece::Text(text) => rendered.write_str(text),
                Piece::Reference(reference) => {
                    let value = reference.resolve(scope)?;
                    match &*value {
                        Value::Null => return Err(Flaw::new(format!("`{}` has no value", reference.short()))),
                        Value::String(text) if text.contains('\0') => {
                            return Err(Flaw::new(format!(
                                "`{}` has a NUL character in it, which no program can be given",
                                reference.short()
                            )));
                        }
                        Value::String(text) => rendered.write_str(text),
                        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                            write!(rendered, "{value}")
                        }
                    }
                }
            };
            if written.is_err() {
                let at = match piece {
                    Piece::Text(_) => String::new(),
                    Piece::Reference(reference) => format!(" with the value of `{}`", reference.short()),
                };
                return Err(Flaw::new(format!(
                    "the text{at} gets longer than the {bytes_max} bytes that are left (RENDERED_BYTES_MAX for one text, argv_bytes_max for all of a task): pass a large value as an input file"
                )));
            }
        }
        Ok(rendered.text)
    }
}

/// The template whose plain text is `text`: every `${` in it is meant literally.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// The spelling; [`Template::parse`] reads it back.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&escape(text)),
            Piece::Reference(reference) => write!(f, "${{{reference}}}"),
        })
    }
}

/// A text that refuses to become longer than [`RENDERED_BYTES_MAX`].
struct Rendered {
    text: String,
    bytes_max: usize,
}

impl Write for Rendered {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.bytes_max {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

fn end_text(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal).into()));
    }
}

fn unclosed(inside: &str) -> Flaw {
    let inside = excerpt(inside);
    Flaw::new(format!("`${{{inside}` has no closing `}}`: add it, or write `$${{` if the text is meant"))
}

fn no_reference(spelling: &str, why: &str) -> Flaw {
    let spelling = excerpt(spelling);
    let instead = format!("write `$${{{spelling}}}` if the text is meant");
    if why.ends_with(FORMS) {
        return Flaw::new(format!("`${{{spelling}}}` is no reference: {instead}, or one of {FORMS}"));
    }
    Flaw::new(format!("`${{{spelling}}}` is no reference: {why}; {instead}"))
}

#[cfg(test)]
mod tests;

//! YAML into the tree: the 1.2 core schema, one document, without anchors, aliases and tags.

use std::borrow::Cow;
use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::problem::Findings;
use super::tree::{Member, NESTING_MAX, NODES_MAX, Node, Value, quoted};

/// The tree of a YAML text, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Node, Findings> {
    let mut reader =
        Reader { events: Parser::new_from_str(text), offsets: Offsets { text, chars: 0, bytes: 0 }, nodes: 0 };
    let mut root = None;
    while let Some((event, at)) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentEnd | Event::StreamEnd | Event::Nothing => {}
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Findings::one(at, "a second document: a job file holds one job"));
            }
            Event::DocumentStart(_) => {
                let first = reader.next()?;
                root = Some(reader.node(first, 0)?);
            }
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd => return Err(Findings::one(at, "a value outside the document")),
        }
    }
    root.ok_or_else(|| Findings::one(0, "the file is empty"))
}

/// Works on the parser's events, because its ready-made trees copy what an alias names: a file of a
/// few lines could fill the memory.
struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    offsets: Offsets<'t>,
    nodes: usize,
}

type Spot<'t> = Option<(Event<'t>, usize)>;

impl<'t> Reader<'t> {
    /// The next event and the byte offset at which it begins.
    fn next(&mut self) -> Result<Spot<'t>, Findings> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.offsets.byte(span.start.index())))),
            Some(Err(error)) => Err(Findings::one(self.offsets.byte(error.marker().index()), error.info())),
        }
    }

    fn node(&mut self, spot: Spot<'t>, depth: usize) -> Result<Node, Findings> {
        let Some((event, at)) = spot else {
            return Err(Findings::one(self.offsets.text.len(), "the file ends in the middle of a value"));
        };
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Findings::one(at, format!("more than {NODES_MAX} values (NODES_MAX)")));
        }
        if depth > NESTING_MAX {
            return Err(Findings::one(at, format!("nested more than {NESTING_MAX} deep (NESTING_MAX)")));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.as_deref(), at)?;
                if style == ScalarStyle::Plain { resolve(text) } else { Value::Text(text.into_owned()) }
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.as_deref(), at)?;
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.as_deref(), at)?;
                self.table(depth)?
            }
            Event::Alias(_) => return Err(Findings::one(at, NO_ALIASES)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(Findings::one(at, "a value is missing here")),
        };
        Ok(Node { at, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Findings> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, _)) => return Ok(Value::List(nodes)),
                spot => nodes.push(self.node(spot, depth + 1)?),
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<Value, Findings> {
        let mut members = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let (key, key_at) = match self.next()? {
                Some((Event::MappingEnd, _)) => return Ok(Value::Table(members)),
                Some((Event::Scalar(text, _, anchor, tag), at)) => {
                    plain(anchor, tag.as_deref(), at)?;
                    (text.into_owned(), at)
                }
                Some((Event::Alias(_), at)) => return Err(Findings::one(at, NO_ALIASES)),
                Some((_, at)) => return Err(Findings::one(at, "a key must be a text")),
                None => return Err(Findings::one(self.offsets.text.len(), "the file ends in the middle of a table")),
            };
            if !seen.insert(key.clone()) {
                return Err(Findings::one(key_at, format!("the key {} is here twice", quoted(&key))));
            }
            let spot = self.next()?;
            let node = self.node(spot, depth + 1)?;
            members.push(Member { key, key_at, node });
        }
    }
}

const NO_ALIASES: &str =
    "anchors and aliases are not supported: write the value out (a retry policy can be shared as retry.NAME)";

/// Refuses what the other two spellings could not say.
fn plain(anchor: usize, tag: Option<&Tag>, at: usize) -> Result<(), Findings> {
    if anchor > 0 {
        return Err(Findings::one(at, NO_ALIASES));
    }
    match tag {
        Some(tag) => Err(Findings::one(at, format!("tags are not supported: remove {}", quoted(&tag.to_string())))),
        None => Ok(()),
    }
}

/// The value of a plain scalar by the core schema of YAML 1.2: `yes` and `on` are texts.
fn resolve(text: Cow<'_, str>) -> Value {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |digits: &str, radix| {
        let numeric = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        numeric.then(|| {
            i128::from_str_radix(digits, radix).map_or_else(|_| Value::Decimal(text.to_string()), Value::Whole)
        })
    };
    let based = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(digits), _) => radix(digits, 8),
        (_, Some(digits)) => radix(digits, 16),
        (None, None) => None,
    };
    if let Some(value) = based {
        return value;
    }
    if !is_decimal(&text) {
        return Value::Text(text.into_owned());
    }
    match text.parse() {
        Ok(whole) => Value::Whole(whole),
        Err(_) => Value::Decimal(text.into_owned()),
    }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, "0"), |(m, e)| (m, e));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && digits(exponent)
        && !exponent.is_empty()
        && (!whole.is_empty() || (mantissa.starts_with('.') && !fraction.is_empty()))
}

/// The parser counts characters; everything else here counts bytes. Events come in file order, so
/// that one pass over the text serves them all.
struct Offsets<'t> {
    text: &'t str,
    chars: usize,
    bytes: usize,
}

impl Offsets<'_> {
    fn byte(&mut self, chars: usize) -> usize {
        if chars < self.chars {
            (self.chars, self.bytes) = (0, 0);
        }
        let rest = &self.text[self.bytes..];
        let (skipped, bytes) = match rest.char_indices().nth(chars - self.chars) {
            Some((bytes, _)) => (chars - self.chars, bytes),
            None => (rest.chars().count(), rest.len()),
        };
        self.chars += skipped;
        self.bytes += bytes;
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member<'n>(tree: &'n Node, key: &str) -> &'n Member {
        tree.get(key).unwrap_or_else(|| panic!("{key} is missing"))
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("~", Value::Null),
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("yes", Value::Text("yes".into())),
            ("12", Value::Whole(12)),
            ("-3", Value::Whole(-3)),
            ("+3", Value::Whole(3)),
            ("0x1F", Value::Whole(31)),
            ("0o17", Value::Whole(15)),
            ("0.5", Value::Decimal("0.5".into())),
            (".5", Value::Decimal(".5".into())),
            ("1e3", Value::Decimal("1e3".into())),
            ("1_000", Value::Text("1_000".into())),
            ("500m", Value::Text("500m".into())),
            ("1e", Value::Text("1e".into())),
            (".", Value::Text(".".into())),
            ("-", Value::Text("-".into())),
            ("e5", Value::Text("e5".into())),
            ("2026-01-01", Value::Text("2026-01-01".into())),
        ] {
            assert_eq!(resolve(text.into()), value, "{text}");
        }
    }

    #[test]
    fn places_are_bytes_also_after_wide_characters_and_carriage_returns() {
        let text = "a: ä€😀\r\nb:\r\n  - 'x'\r\n  - y\r\nc: {d: \"é\", e: 1}\r\n";
        let tree = parse(text).expect("it is YAML");
        for key in ["a", "b", "c"] {
            assert_eq!(&text[member(&tree, key).key_at..][..1], key);
        }
        let inner = &member(&tree, "c").node;
        assert_eq!(&text[member(inner, "e").key_at..][..4], "e: 1");
        let Value::List(list) = &member(&tree, "b").node.value else { panic!("not a list") };
        assert_eq!(&text[list[1].at..][..1], "y");
    }

    #[test]
    fn what_has_no_counterpart_in_the_other_spellings_is_refused() {
        for (text, complaint) in [
            ("a: &x 1\nb: *x\n", "anchors"),
            ("a: &x [1]\n", "anchors"),
            ("a: !!str 1\n", "tags"),
            ("a: !secret b\n", "tags"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("a: 1\na: 2\n", "twice"),
            ("? [a, b]\n: 1\n", "key must be a text"),
            ("", "empty"),
            ("a: [1\n", ""),
            ("a: 'x\n", ""),
            ("a: b: c\n", ""),
        ] {
            let errors = parse(text).expect_err(text).into_errors("job.yaml", text.as_bytes());
            assert!(errors.problems[0].message.contains(complaint), "{text:?}: {errors}");
        }
    }

    #[test]
    fn bombs_are_bounded() {
        let doubling: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1)).collect::<String>();
        for text in [
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "? ".repeat(100_000),
            format!("a0: &a0 [x]\n{doubling}"),
            format!("[{}1]", "1,".repeat(NODES_MAX)),
            format!("{}x", "[\n".repeat(100_000)),
        ] {
            assert!(parse(&text).is_err(), "{}", &text[..30]);
        }
    }
}

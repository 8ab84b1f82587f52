//! JSON into the tree: strict RFC 8259, each key once.

use std::collections::BTreeSet;

use super::problem::Findings;
use super::tree::{Member, NESTING_MAX, NODES_MAX, Node, Value, quoted};

/// The tree of a JSON text, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Node, Findings> {
    let mut reader = Reader { text, at: 0, nodes: 0 };
    let root = reader.value(0)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(reader.unexpected("the end of the file"));
    }
    Ok(root)
}

/// Why not serde_json: it has no places for values, and keeps the last of two equal keys.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, Findings> {
        self.skip_space();
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Findings::one(self.at, format!("more than {NODES_MAX} values (NODES_MAX)")));
        }
        if depth > NESTING_MAX {
            return Err(Findings::one(self.at, format!("nested more than {NESTING_MAX} deep (NESTING_MAX)")));
        }
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) | None => return Err(self.unexpected("a value")),
        };
        Ok(Node { at, value })
    }

    fn table(&mut self, depth: usize) -> Result<Value, Findings> {
        self.at += 1;
        let mut members = Vec::new();
        let mut seen = BTreeSet::new();
        if self.next_is(b'}') {
            return Ok(Value::Table(members));
        }
        loop {
            self.skip_space();
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let key = self.string()?;
            if !seen.insert(key.clone()) {
                return Err(Findings::one(key_at, format!("the key {} is here twice", quoted(&key))));
            }
            if !self.next_is(b':') {
                return Err(self.unexpected("':'"));
            }
            let node = self.value(depth + 1)?;
            members.push(Member { key, key_at, node });
            if self.next_is(b'}') {
                return Ok(Value::Table(members));
            }
            if !self.next_is(b',') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Findings> {
        self.at += 1;
        let mut nodes = Vec::new();
        if self.next_is(b']') {
            return Ok(Value::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            if self.next_is(b']') {
                return Ok(Value::List(nodes));
            }
            if !self.next_is(b',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    /// A string from its opening quote to past the closing one.
    fn string(&mut self) -> Result<String, Findings> {
        let opened = self.at;
        self.at += 1;
        let mut string = String::new();
        loop {
            let plain = self.rest().find(|c: char| matches!(c, '"' | '\\') || c < ' ');
            let Some(plain) = plain else {
                return Err(Findings::one(opened, "this text has no closing quote"));
            };
            string.push_str(&self.rest()[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) | None => {
                    return Err(Findings::one(self.at, "a control character in a text: write it as \\u00XX"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Findings> {
        let at = self.at;
        self.at += 2;
        let wrong = || Findings::one(at, "not an escape of JSON: \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\uXXXX");
        Ok(match self.text.as_bytes().get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4().ok_or_else(wrong)?;
                let code = if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
                    self.at += 2;
                    let second = self.hex4().filter(|second| (0xdc00..0xe000).contains(second)).ok_or_else(wrong)?;
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                // Half a surrogate pair is no character.
                char::from_u32(code).ok_or_else(wrong)?
            }
            Some(_) | None => return Err(wrong()),
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        // `from_str_radix` alone would take a sign.
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn number(&mut self) -> Result<Value, Findings> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(Findings::one(start, "a number of JSON must not begin with 0"));
        }
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            is_whole = false;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
            is_whole = false;
        }
        let text = &self.text[start..self.at];
        let whole = if is_whole { text.parse().ok() } else { None };
        Ok(whole.map_or_else(|| Value::Decimal(text.to_owned()), Value::Whole))
    }

    fn digits(&mut self) -> Result<String, Findings> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(self.unexpected("a digit"));
        }
        let digits = self.rest()[..count].to_owned();
        self.at += count;
        Ok(digits)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Findings> {
        if !self.rest().starts_with(word) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Skips space, then `wanted` if it comes next.
    fn next_is(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is = self.peek() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    fn skip_space(&mut self) {
        self.at += self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn rest(&self) -> &str {
        &self.text[self.at.min(self.text.len())..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &str) -> Findings {
        let found = self.rest().chars().next().map_or_else(|| "the file ends".to_owned(), |c| format!("found {c:?}"));
        Findings::one(self.at.min(self.text.len()), format!("expected {expected}, but {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null | Value::Date => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Whole(value) => serde_json::from_str(&value.to_string()).expect("a number"),
            Value::Decimal(text) => serde_json::from_str(text).expect("a number"),
            Value::Text(text) => text.as_str().into(),
            Value::List(nodes) => nodes.iter().map(plain).collect(),
            Value::Table(members) => members.iter().map(|m| (m.key.clone(), plain(&m.node))).collect(),
        }
    }

    #[test]
    fn it_reads_what_serde_json_reads() {
        for text in [
            "null",
            " [ ] ",
            "{}",
            r#"{"a":[1,-2,0,{"b":"c"}],"d":true,"e":null,"f":false}"#,
            r#"["\"\\\/\b\f\n\r\t","é€","😀","𝄞","A"]"#,
            "[0.5,-1.25,2e3,1E-2]",
            "\r\n\t[1\n,\t2]",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).expect(text);
            let tree = parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(plain(&tree), expected, "{text}");
        }
    }

    #[test]
    fn it_refuses_what_serde_json_refuses() {
        for text in [
            "",
            " ",
            "[",
            "{",
            "]",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nul",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"",
            "[1]]",
            "NaN",
            "\u{a0}1",
            "\"\\ué\"",
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?} is JSON after all");
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_given_twice_is_refused_where_it_stands() {
        let errors =
            parse("{\"a\": 1,\n \"a\": 2}").expect_err("twice").into_errors("job.json", b"{\"a\": 1,\n \"a\": 2}");
        assert_eq!((errors.problems[0].line, errors.problems[0].column), (2, 2));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let error = parse(&"[".repeat(100_000)).expect_err("deep").into_errors("", b"");
        assert!(error.problems[0].message.contains("NESTING_MAX"), "{error}");
        let wide = format!("[{}1]", "1,".repeat(NODES_MAX));
        let error = parse(&wide).expect_err("wide").into_errors("", b"");
        assert!(error.problems[0].message.contains("NODES_MAX"), "{error}");
    }
}

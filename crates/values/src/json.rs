//! JSON values: read within bounds, and named in the words of an error.

use serde_json::Value;

use crate::flaw::{Flaw, excerpt, quoted};

/// Lists and maps of a value lie no deeper in each other.
pub const VALUE_DEPTH_MAX: usize = 127;
/// No JSON text is longer, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The value of a JSON text, whatever it is at the top; `what` names it in the error, as in "the result of task split".
///
/// Of two equal keys the last one counts.
///
/// # Errors
/// When the text is no JSON, is longer than [`VALUE_BYTES_MAX`], is nested deeper than [`VALUE_DEPTH_MAX`], or has a
/// number that is too large to be kept.
pub fn parse(bytes: &[u8], what: &str) -> Result<Value, Flaw> {
    let what = excerpt(what);
    if bytes.len() > VALUE_BYTES_MAX {
        let size = bytes.len();
        return Err(Flaw::new(format!("{what} has {size} bytes, VALUE_BYTES_MAX is {VALUE_BYTES_MAX}")));
    }
    if let Some(number) = inexact(bytes) {
        return Err(Flaw::new(format!(
            "{what} has the whole number {}, which takes more than 64 bits: write it as a text",
            excerpt(number)
        )));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        if text.starts_with("recursion limit") {
            return Flaw::new(format!("{what} is nested more than {VALUE_DEPTH_MAX} deep (VALUE_DEPTH_MAX)"));
        }
        if text.starts_with("number out of range") {
            let place = format!("line {}, column {}", error.line(), error.column());
            return Flaw::new(format!("{what} has a number that is too large, at {place}: write it as a text"));
        }
        Flaw::new(format!("{what} is no JSON: {}", excerpt(&text)))
    })
}

/// The first whole number of a JSON text that would be rounded: one that fits neither in 64 bits nor in 63 and a sign.
fn inexact(bytes: &[u8]) -> Option<&str> {
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        let length = match byte {
            b'"' => 1 + text_bytes(behind),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E');
                let length = rest.iter().take_while(|byte| is_part(byte)).count();
                let number = std::str::from_utf8(rest.get(..length)?).ok()?;
                let is_whole = number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
                if is_whole
                    && length >= EXACT_DIGITS
                    && number.parse::<u64>().is_err()
                    && number.parse::<i64>().is_err()
                {
                    return Some(number);
                }
                length
            }
            _ => 1,
        };
        rest = rest.get(length..)?;
    }
    None
}

/// No whole number with fewer digits takes more than 63 bits.
const EXACT_DIGITS: usize = 19;

/// Bytes of a text behind its opening quote, the closing one included.
fn text_bytes(bytes: &[u8]) -> usize {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// What a value is, in the words of an error.
pub(crate) fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_may_stand_at_the_top() {
        for (text, value) in [
            ("null", Value::Null),
            (" true ", true.into()),
            ("-7", (-7).into()),
            ("18446744073709551615", u64::MAX.into()),
            ("\"ä\"", "ä".into()),
            ("[1]", vec![1].into()),
        ] {
            assert_eq!(parse(text.as_bytes(), "it"), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_by_its_name() {
        for text in ["", " ", "{", "[1,]", "nul", "1 2", "{'a':1}", "\"\\ud800\"", "\u{feff}1"] {
            let flaw = parse(text.as_bytes(), "the result of task split").expect_err(text);
            assert!(flaw.to_string().starts_with("the result of task split is no JSON: "), "{flaw}");
        }
        assert!(parse(b"\"\xff\"", "it").is_err(), "not UTF-8");
    }

    #[test]
    fn numbers_are_kept_as_they_are_or_refused() {
        for text in
            ["0.10798536872134057", "1e300", "-9223372036854775808", "18446744073709551615", "123456789012345678901.5"]
        {
            let value = parse(text.as_bytes(), "it").expect(text);
            assert_eq!(value.as_f64(), text.parse().ok(), "{text}");
        }
        for text in ["123456789012345678901", "[1,{\"a\":-9223372036854775809}]"] {
            let flaw = parse(text.as_bytes(), "it").expect_err(text).to_string();
            assert!(flaw.contains("more than 64 bits"), "{flaw}");
        }
        assert!(parse(br#""a \" 123456789012345678901""#, "it").is_ok(), "in a text it is none");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(VALUE_DEPTH_MAX).as_bytes(), "it").is_ok());
        for text in [nested(VALUE_DEPTH_MAX + 1), "[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            let flaw = parse(text.as_bytes(), "it").expect_err("deep");
            assert!(flaw.to_string().contains("VALUE_DEPTH_MAX"), "{flaw}");
        }
    }

    #[test]
    fn length_and_numbers_are_bounded() {
        let long = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX));
        assert!(parse(long.as_bytes(), "it").expect_err("long").to_string().contains("VALUE_BYTES_MAX"));
        let flaw = parse(b"[1e400]", "it").expect_err("huge");
        assert!(flaw.to_string().contains("too large"), "{flaw}");
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(parse(br#"{"a":1,"a":2}"#, "it").map(|value| value["a"].clone()), Ok(2.into()));
    }
}

//! Parameters of a job: their types, and what a run is given for them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::flaw::{Flaw, excerpt, nearest, quoted};
use crate::json::{VALUE_BYTES_MAX, described, parse};
use crate::reference::{NAME_BYTES_MAX, is_part};

/// A job has no more parameters, and a run is given no more.
pub const PARAMS_MAX: usize = 100;

/// What a parameter's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParamType {
    /// `string`: a text.
    String,
    /// `integer`: a number written without a fraction, of 64 bits.
    Integer,
    /// `number`: any number.
    Number,
    /// `boolean`: true or false.
    Boolean,
    /// `date`: a day of the calendar as a text, `2026-01-31`.
    Date,
    /// `list`: a list of anything.
    List,
    /// `map`: a map of anything.
    Map,
}

/// A parameter as a job declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// What its value must be.
    pub kind: ParamType,
    /// What a run gets that is given nothing; without it, a run must be given something.
    pub default: Option<Value>,
    /// What it is for, in words for people; may be empty.
    pub description: String,
}

impl ParamType {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Date, Self::List, Self::Map];

    /// The name in job files.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::List => "list",
            Self::Map => "map",
        }
    }

    /// Whether `value` is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Date => value.as_str().is_some_and(is_date),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }

    /// The value that a text on a command line stands for: a string or a date as it is, a list or a map as JSON.
    ///
    /// # Errors
    /// When the text is none of this type, or is longer than [`VALUE_BYTES_MAX`].
    pub fn from_text(self, text: &str) -> Result<Value, Flaw> {
        if text.len() > VALUE_BYTES_MAX {
            let size = text.len();
            return Err(Flaw::new(format!("the text has {size} bytes, VALUE_BYTES_MAX is {VALUE_BYTES_MAX}")));
        }
        let value = match self {
            Self::String | Self::Date => Some(Value::from(text)),
            Self::Integer => {
                text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
            }
            Self::Number => parse(text.as_bytes(), "the text").ok(),
            Self::Boolean => text.parse::<bool>().map(Value::from).ok(),
            Self::List | Self::Map => Some(parse(text.as_bytes(), "the text")?),
        };
        match value {
            Some(value) if self.admits(&value) => Ok(value),
            Some(_) | None => Err(Flaw::new(format!("expected {}, found {}", self.expected(), quoted(text)))),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Integer => "a whole number such as 42",
            Self::Number => "a number such as 42 or 0.5",
            Self::Boolean => "true or false",
            Self::Date => "a day of the calendar such as 2026-01-31",
            Self::List => "a list such as [1, 2]",
            Self::Map => "a map such as {\"a\": 1}",
        }
    }
}

impl fmt::Display for ParamType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ParamType {
    type Err = Flaw;

    /// The type of this name.
    fn from_str(text: &str) -> Result<Self, Flaw> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let hint = nearest(text, names).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            Flaw::new(format!("{} is no type of a parameter, they are {}{hint}", quoted(text), names.join(", ")))
        })
    }
}

impl Param {
    /// Checks that `value` can be given for the parameter, which is called `name`; the default can be checked as well.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn check(&self, name: &str, value: &Value) -> Result<(), Flaw> {
        if self.kind.admits(value) {
            return Ok(());
        }
        let (name, expected, found) = (excerpt(name), self.kind.expected(), described(value));
        Err(Flaw::new(format!("the parameter {name} has the type {}: expected {expected}, found {found}", self.kind)))
    }
}

/// Checks that a parameter can have this name: letters, digits, `_` and `-`, so that `params.NAME` can be written.
///
/// # Errors
/// When it is empty, longer than [`NAME_BYTES_MAX`] or has other characters.
pub fn check_param_name(name: &str) -> Result<(), Flaw> {
    if name.len() > NAME_BYTES_MAX {
        let size = name.len();
        return Err(Flaw::new(format!("a parameter's name has {size} bytes, NAME_BYTES_MAX is {NAME_BYTES_MAX}")));
    }
    if !is_part(name) {
        let name = quoted(name);
        return Err(Flaw::new(format!("{name} is no name of a parameter: use letters, digits, '_' and '-'")));
    }
    Ok(())
}

/// The values of all parameters of a run: what it is given, and the defaults of the others.
///
/// # Errors
/// Everything that is wrong, in the order of the names: what is missing, what is of another type, defaults included,
/// and what the job does not know. More than [`PARAMS_MAX`] of either are one flaw.
pub fn complete(
    params: &BTreeMap<String, Param>,
    args: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Vec<Flaw>> {
    if let Some(count) = [params.len(), args.len()].into_iter().find(|count| *count > PARAMS_MAX) {
        return Err(vec![Flaw::new(format!("{count} parameters, PARAMS_MAX is {PARAMS_MAX}"))]);
    }
    let mut flaws = Vec::new();
    let mut values = BTreeMap::new();
    for (name, param) in params {
        match args.get(name).or(param.default.as_ref()) {
            Some(value) => match param.check(name, value) {
                Ok(()) => drop(values.insert(name.clone(), value.clone())),
                Err(flaw) => flaws.push(flaw),
            },
            None => {
                let (name, expected) = (excerpt(name), param.kind.expected());
                flaws
                    .push(Flaw::new(format!("the parameter {name} is missing and has no default: give it {expected}")));
            }
        }
    }
    for name in args.keys().filter(|name| !params.contains_key(*name)) {
        let hint = match nearest(name, params.keys().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None if params.is_empty() => "it has none".to_owned(),
            None => format!("it has {}", excerpt(&params.keys().map(String::as_str).collect::<Vec<_>>().join(", "))),
        };
        flaws.push(Flaw::new(format!("the job has no parameter {}: {hint}", quoted(name))));
    }
    if flaws.is_empty() { Ok(values) } else { Err(flaws) }
}

/// Whether a text is a day of the Gregorian calendar from 0001-01-01 to 9999-12-31, as `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let is_shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    let number = |at: std::ops::Range<usize>| text.get(at).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    is_shaped && year > 0 && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn params() -> BTreeMap<String, Param> {
        let param = |kind, default| Param { kind, default, description: String::new() };
        BTreeMap::from([
            ("day".to_owned(), param(ParamType::Date, None)),
            ("shards".to_owned(), param(ParamType::Integer, Some(json!(4)))),
            ("tags".to_owned(), param(ParamType::List, Some(json!([])))),
        ])
    }

    fn args(args: &[(&str, Value)]) -> BTreeMap<String, Value> {
        args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn types_have_the_names_of_job_files() {
        for kind in ParamType::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let flaw = "strnig".parse::<ParamType>().expect_err("no type").to_string();
        assert!(flaw.ends_with("did you mean string?"), "{flaw}");
        assert!("String".parse::<ParamType>().is_err());
    }

    #[test]
    fn texts_of_a_command_line_become_values_of_the_type() {
        use ParamType::{Boolean, Date, Integer, List, Map, Number, String};
        for (kind, text, value) in [
            (String, "", json!("")),
            (String, "42", json!("42")),
            (Integer, "42", json!(42)),
            (Integer, "-9223372036854775808", json!(i64::MIN)),
            (Integer, "18446744073709551615", json!(u64::MAX)),
            (Number, "0.5", json!(0.5)),
            (Number, "-1e3", json!(-1e3)),
            (Number, "7", json!(7)),
            (Boolean, "true", json!(true)),
            (Date, "2024-02-29", json!("2024-02-29")),
            (List, " [1, \"a\"] ", json!([1, "a"])),
            (Map, "{}", json!({})),
        ] {
            assert_eq!(kind.from_text(text), Ok(value), "{kind} {text}");
        }
        for (kind, text) in [
            (Integer, ""),
            (Integer, "4.0"),
            (Integer, "1e3"),
            (Integer, "18446744073709551616"),
            (Integer, "-9223372036854775809"),
            (Integer, " 1"),
            (Number, "NaN"),
            (Number, "1e400"),
            (Number, "\"1\""),
            (Boolean, "yes"),
            (Boolean, "True"),
            (Date, "2026-1-1"),
            (List, "{}"),
            (List, "a"),
            (List, "1"),
            (Map, "[]"),
        ] {
            assert!(kind.from_text(text).is_err(), "{kind} {text}");
        }
        assert!(String.from_text(&"x".repeat(VALUE_BYTES_MAX + 1)).is_err());
        assert!(List.from_text(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_date_is_a_day_of_the_calendar() {
        for day in ["2026-01-01", "2026-12-31", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
            assert!(is_date(day), "{day}");
        }
        for text in [
            "",
            "2026",
            "2026-01-32",
            "2026-00-01",
            "2026-13-01",
            "2026-01-00",
            "2025-02-29",
            "1900-02-29",
            "2026-04-31",
            "0000-01-01",
            "2026/01/01",
            "+026-01-01",
            "2026-01-1 ",
            "2026-01-011",
            "２026-01-0",
            "éé-01-01-",
            "2026-01-é",
        ] {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn a_run_gets_what_it_is_given_and_the_defaults() {
        let given = args(&[("day", json!("2026-01-01")), ("tags", json!(["a"]))]);
        let values = complete(&params(), &given).expect("complete");
        assert_eq!(values, args(&[("day", json!("2026-01-01")), ("shards", json!(4)), ("tags", json!(["a"]))]));
        assert_eq!(complete(&BTreeMap::new(), &BTreeMap::new()), Ok(BTreeMap::new()));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let given = args(&[("shards", json!("4")), ("tag", json!([])), ("other", Value::Null)]);
        let flaws = complete(&params(), &given).expect_err("wrong");
        let flaws: Vec<String> = flaws.iter().map(Flaw::to_string).collect();
        assert_eq!(
            flaws,
            [
                "the parameter day is missing and has no default: give it a day of the calendar such as 2026-01-31",
                "the parameter shards has the type integer: expected a whole number such as 42, found the text \"4\"",
                "the job has no parameter \"other\": it has day, shards, tags",
                "the job has no parameter \"tag\": did you mean tags?",
            ]
        );
    }

    #[test]
    fn a_default_of_another_type_and_null_are_refused() {
        let mut declared = params();
        declared.entry("shards".to_owned()).and_modify(|param| param.default = Some(json!(1.5)));
        assert_eq!(complete(&declared, &args(&[("day", json!("2026-01-01"))])).map_err(|flaws| flaws.len()), Err(1));
        assert_eq!(complete(&params(), &args(&[("day", Value::Null)])).map_err(|flaws| flaws.len()), Err(1));
    }

    #[test]
    fn more_parameters_than_allowed_are_one_flaw() {
        let many: BTreeMap<_, _> = (0..=PARAMS_MAX).map(|n| (n.to_string(), Value::Null)).collect();
        assert_eq!(complete(&params(), &many).map_err(|flaws| flaws.len()), Err(1));
    }

    #[test]
    fn names_can_be_written_in_references() {
        for name in ["a", "day-1", "A_b", "0", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check_param_name(name), Ok(()), "{name}");
        }
        for name in ["", "a.b", "a b", "ä", "a}", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(check_param_name(name).is_err(), "{name}");
        }
    }
}

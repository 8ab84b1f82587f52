//! Templates are read, written and rendered.

use super::*;
use crate::scope::Values;
use proptest::prelude::*;
use serde_json::json;

fn values() -> Values {
    let mut values = Values::default();
    values.params.insert("day".into(), json!("2026-01-01"));
    values.params.insert("text".into(), json!("${each} $${x} ä\n\"q\" "));
    values.params.insert("nul".into(), json!("a\0b"));
    values.params.insert("nul-in-list".into(), json!(["a\0b"]));
    values.params.insert("large".into(), json!("x".repeat(RENDERED_BYTES_MAX)));
    values.params.insert("long-list".into(), json!(vec!["x"; RENDERED_BYTES_MAX]));
    values.results.insert(
        "split".into(),
        Some(json!({ "n": 3, "half": 0.5, "yes": true, "list": [1, { "a": "b" }], "none": null })),
    );
    values.results.insert("passed".into(), None);
    values.index = Some(12);
    values
}

fn rendered(text: &str) -> Result<String, String> {
    Template::parse(text).and_then(|template| template.render(&values())).map_err(|flaw| flaw.to_string())
}

#[test]
fn references_are_replaced_by_their_values() {
    for (text, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("--day=${params.day}", "--day=2026-01-01"),
        ("${params.day}${index}${params.day}", "2026-01-01122026-01-01"),
        ("${split.result.n} ${split.result.half} ${split.result.yes}", "3 0.5 true"),
        ("${split.result.list}", "[1,{\"a\":\"b\"}]"),
        ("<${params.text}>", "<${each} $${x} ä\n\"q\" >"),
        ("${params.nul-in-list}", "[\"a\\u0000b\"]"),
    ] {
        assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_doubled_dollar_makes_the_text_itself() {
    for (text, expected) in [
        ("$${HOME}", "${HOME}"),
        ("$$${HOME}", "$${HOME}"),
        ("$${", "${"),
        ("$${${params.day}", "${2026-01-01"),
        ("a$${b}$${c}", "a${b}${c}"),
        ("$HOME $$ $ {} }", "$HOME $$ $ {} }"),
        ("$$", "$$"),
        ("cost: 5$", "cost: 5$"),
        ("{$}", "{$}"),
    ] {
        assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_reference_is_named_with_the_nearest_form() {
    for (text, why) in [
        (
            "${HOME}",
            "`${HOME}` is no reference: write `$${HOME}` if the text is meant, or one of params.NAME, TASK.result, TASK.payload.NAME, each, \
             index, run.id, run.outcome, run.namespace or run.job",
        ),
        (
            "${param.day}",
            "`${param.day}` is no reference: did you mean `params.day`?; write `$${param.day}` if the text is meant",
        ),
        ("${}", "`${}` is no reference: write `$${}`"),
        ("${x:-${y}}", "`${x:-${y}` is no reference"),
        ("a ${params.day", "`${params.day` has no closing `}`: add it, or write `$${` if the text is meant"),
        ("${", "`${` has no closing"),
        ("${each\n}", "`${each\\n}` is no reference: write `each`, without spaces"),
    ] {
        let flaw = rendered(text).expect_err(text);
        assert!(flaw.starts_with(why), "{text}: {flaw}");
    }
}

#[test]
fn what_has_no_value_is_not_rendered() {
    for (text, why) in [
        ("${split.result.none}", "`split.result.none` has no value"),
        ("${passed.result}", "`passed.result` has no value"),
        ("${run.outcome}", "`run.outcome` has no value"),
        ("${passed.result.x}", "the task \"passed\" has no result"),
        ("${nobody.result}", "there is no task \"nobody\""),
        ("${each}", "only a task with `each` has elements"),
        ("${params.nul}", "`params.nul` has a NUL character in it"),
    ] {
        let flaw = rendered(text).expect_err(text);
        assert!(flaw.contains(why), "{text}: {flaw}");
    }
    assert!(Template::parse("a\0").is_err());
}

#[test]
fn everything_is_bounded() {
    assert!(rendered("${params.large}").is_ok());
    assert!(rendered(&"x".repeat(TEMPLATE_BYTES_MAX)).is_ok());
    assert!(rendered(&"${index}".repeat(REFERENCES_MAX)).is_ok());
    for (text, limit) in [
        ("${params.large}x".to_owned(), "RENDERED_BYTES_MAX"),
        ("x${params.large}".to_owned(), "RENDERED_BYTES_MAX"),
        ("${params.long-list}".to_owned(), "RENDERED_BYTES_MAX"),
        ("x".repeat(TEMPLATE_BYTES_MAX + 1), "TEMPLATE_BYTES_MAX"),
        ("${index}".repeat(REFERENCES_MAX + 1), "REFERENCES_MAX"),
        (format!("${{{}}}", "a".repeat(100_000)), "no reference"),
        ("${".repeat(60_000), "no closing"),
        (format!("{}{}", "${".repeat(30_000), "}".repeat(30_000)), "no reference"),
        (format!("${{{}}}", "a.".repeat(50_000)), "no reference"),
        (format!("${{{}}}", ".result".repeat(10_000)), "no reference"),
        (format!("${{{}}}", "a.resulu".repeat(10_000)), "no reference"),
    ] {
        let flaw = rendered(&text).expect_err(limit);
        assert!(flaw.contains(limit) && flaw.len() < 1_000, "{limit}: {flaw}");
    }
    assert_eq!(rendered(&"$${".repeat(40_000)), Ok("${".repeat(40_000)));
}

#[test]
fn a_template_tells_what_it_is_made_of() {
    let names = |text| {
        let template = Template::parse(text).expect(text);
        template.references().map(Reference::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names("${each} $${no} ${index}${each}"), ["each", "index", "each"]);

    let template = |text| Template::parse(text).expect(text);
    assert_eq!(template("").plain_text(), Some(""));
    assert_eq!(template("a$${b}").plain_text(), Some("a${b}"));
    assert!(template("$${each}").is_plain() && template("$${each}").sole().is_none());
    assert_eq!(template("${each}").plain_text(), None);
    assert_eq!(template("${each.a}").sole().map(Reference::to_string).as_deref(), Some("each.a"));
    for text in [" ${each}", "${each} ", "${each}${each}", "x", ""] {
        assert_eq!(template(text).sole(), None, "{text}");
    }
}

/// Texts that are likely to be taken for references.
fn tricky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("$".to_owned()),
        Just("${".to_owned()),
        Just("$${".to_owned()),
        Just("}".to_owned()),
        Just("params.day".to_owned()),
        Just("split.result.n".to_owned()),
        Just("index".to_owned()),
        Just(".".to_owned()),
        "[^\0]{0,4}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in tricky()) {
        match Template::parse(&text) {
            Ok(template) => {
                prop_assert_eq!(Template::parse(&template.to_string()), Ok(template.clone()));
                let _ = template.render(&values());
            }
            Err(flaw) => prop_assert!(!flaw.to_string().is_empty()),
        }
    }

    #[test]
    fn an_escaped_text_stands_for_itself(text in tricky()) {
        let template = Template::parse(&escape(&text)).expect("no references");
        prop_assert_eq!(template.plain_text(), Some(text.as_str()));
        prop_assert_eq!(template.render(&Values::default()), Ok(text));
    }
}

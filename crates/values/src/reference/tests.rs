//! References are read, written, and followed into values.

use super::*;
use crate::scope::Values;
use serde_json::json;

fn path(parts: &[&str]) -> Vec<Box<str>> {
    parts.iter().map(|part| (*part).into()).collect()
}

fn values() -> Values {
    let mut values = Values::default();
    values.params.insert("day".into(), json!("2026-01-01"));
    values.results.insert("split".into(), Some(json!({ "parts": [{ "size": 3 }, null], "0": "zero", "none": null })));
    values.results.insert("passed".into(), None);
    values.each = Some(json!([1, 2]));
    values.index = Some(7);
    values.run.insert(RunField::Id, "r-1".into());
    values
}

/// A scope that parses what it is asked for, as one over stored bytes does.
struct Stored;

impl Scope for Stored {
    fn param(&self, _: &str) -> Result<Found<'_>, Flaw> {
        Ok(Found::Unknown)
    }

    fn result(&self, task: &str) -> Result<Found<'_>, Flaw> {
        match task {
            "good" => crate::parse(br#"{"a":[1,{"b":2}]}"#, "the result").map(|value| Found::Value(Cow::Owned(value))),
            _ => crate::parse(b"{", "the result of task bad").map(|value| Found::Value(Cow::Owned(value))),
        }
    }

    fn payload(&self, task: &str) -> Result<Found<'_>, Flaw> {
        self.result(task)
    }

    fn each(&self) -> Result<Found<'_>, Flaw> {
        Ok(Found::Nothing)
    }

    fn index(&self) -> Option<u64> {
        None
    }

    fn run(&self, _: RunField) -> Option<Cow<'_, str>> {
        None
    }
}

#[test]
fn each_form_is_read_and_written_the_same() {
    for (text, root, parts) in [
        ("params.day", Root::Param("day".into()), &[][..]),
        ("params.day-1_x.a.0", Root::Param("day-1_x".into()), &["a", "0"]),
        ("params.result", Root::Param("result".into()), &[]),
        ("split.result", Root::Result("split".into()), &[]),
        ("split.result.parts.12.a-b", Root::Result("split".into()), &["parts", "12", "a-b"]),
        ("my-task.v1.2.result.x", Root::Result("my-task.v1.2".into()), &["x"]),
        ("a.results.result.x", Root::Result("a.results".into()), &["x"]),
        ("a.result.result.result", Root::Result("a".into()), &["result", "result"]),
        ("a.result-x.result", Root::Result("a.result-x".into()), &[]),
        ("7.result", Root::Result("7".into()), &[]),
        ("each", Root::Each, &[]),
        ("each.result.name", Root::Each, &["result", "name"]),
        ("index", Root::Index, &[]),
        ("index.result", Root::Result("index".into()), &[]),
        ("run.id", Root::Run(RunField::Id), &[]),
        ("run.outcome", Root::Run(RunField::Outcome), &[]),
        ("run.namespace", Root::Run(RunField::Namespace), &[]),
        ("run.job", Root::Run(RunField::Job), &[]),
        ("run.result", Root::Result("run".into()), &[]),
        ("run.id.result", Root::Result("run.id".into()), &[]),
    ] {
        let reference = Reference { root, path: path(parts) };
        assert_eq!(text.parse::<Reference>().as_ref(), Ok(&reference), "{text}");
        assert_eq!(reference.to_string(), text);
    }
}

#[test]
fn what_is_no_reference_is_refused_with_what_could_be_meant() {
    for (text, why) in [
        ("HOME", "write one of params.NAME, TASK.result, TASK.payload.NAME, each"),
        ("", "write one of"),
        (".result", "\"\" is no name of a task"),
        ("-a.result", "\"-a\" is no name of a task"),
        ("a b.result", "no name of a task"),
        ("ä.result", "no name of a task"),
        ("x:-1.5", "write one of"),
        ("params", "write params.NAME"),
        ("params.", "nothing behind a dot"),
        ("params.a..b", "nothing behind a dot"),
        ("params.a.", "nothing behind a dot"),
        ("params.ä", "is no key"),
        ("params.a b", "is no key"),
        ("split.result.", "nothing behind a dot"),
        ("each.", "nothing behind a dot"),
        ("param.day", "did you mean `params.day`?"),
        ("Params.day", "did you mean `params.day`?"),
        ("split.results.parts", "did you mean `split.result.parts`?"),
        ("split.Result", "did you mean `split.result`?"),
        ("eahc.name", "did you mean `each.name`?"),
        (" params.day ", "write `params.day`, without spaces"),
        ("run.outcom", "write run.outcome, one of"),
        ("run", "run.id, run.outcome"),
        ("run.id.x", "run.id, run.outcome"),
        ("index.x", "index is a number and has no parts"),
        ("task['a'].result", "no name of a task"),
    ] {
        let flaw = text.parse::<Reference>().expect_err(text).to_string();
        assert!(flaw.contains(why), "{text}: {flaw}");
        assert!(flaw.contains("is no reference"), "{text}: {flaw}");
    }
}

#[test]
fn names_and_paths_are_bounded() {
    let parts = |count| format!("each{}", ".a".repeat(count));
    assert!(parts(PATH_SEGMENTS_MAX).parse::<Reference>().is_ok());
    assert!("x".repeat(NAME_BYTES_MAX).parse::<Reference>().is_err());
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for (text, limit) in [
        (parts(PATH_SEGMENTS_MAX + 1), "PATH_SEGMENTS_MAX"),
        (parts(100_000), "PATH_SEGMENTS_MAX"),
        (format!("params.{long}"), "NAME_BYTES_MAX"),
        (format!("{long}.result"), "NAME_BYTES_MAX"),
        (format!("a.result.{long}"), "NAME_BYTES_MAX"),
    ] {
        let flaw = text.parse::<Reference>().expect_err("long").to_string();
        assert!(flaw.contains(limit) && flaw.len() < 400, "{flaw}");
    }
}

#[test]
fn what_cannot_be_spelled_in_a_template_is_written_as_in_a_condition() {
    for (root, parts, text) in [
        (Root::Result("params.x".into()), &[][..], "task['params.x'].result"),
        (Root::Result("a.result.b".into()), &["c"], "task['a.result.b'].result.c"),
        (Root::Each, &["a b", "it's", "\\"], "each['a b']['it\\'s']['\\\\']"),
    ] {
        assert_eq!(Reference { root, path: path(parts) }.to_string(), text);
    }
}

#[test]
fn a_path_leads_into_the_value() {
    for (text, value) in [
        ("params.day", json!("2026-01-01")),
        ("split.result.parts.0.size", json!(3)),
        ("split.result.parts.1", Value::Null),
        ("split.result.parts.00.size", json!(3)),
        ("split.result.0", json!("zero")),
        ("passed.result", Value::Null),
        ("each.1", json!(2)),
        ("index", json!(7)),
        ("run.id", json!("r-1")),
        ("run.outcome", Value::Null),
    ] {
        let reference: Reference = text.parse().expect(text);
        assert_eq!(reference.resolve(&values()).as_deref(), Ok(&value), "{text}");
    }
}

#[test]
fn a_path_that_leads_nowhere_says_where_it_ends() {
    for (text, why) in [
        ("params.dya", "the job has no parameter \"dya\""),
        ("nobody.result", "there is no task \"nobody\" before this one"),
        ("passed.result.x", "the task \"passed\" has no result"),
        ("split.result.part", "`split.result` has no key \"part\", but \"parts\""),
        ("split.result.zzz", "`split.result` has no key \"zzz\""),
        ("split.result.parts.2", "`split.result.parts` has 2 elements, numbered from 0, and none with the number 2"),
        ("split.result.parts.99999999999999999999999", "has 2 elements"),
        ("split.result.parts.size", "`split.result.parts` is a list, of which \"size\" is no number"),
        ("split.result.parts.0.size.x", "`split.result.parts.0.size` is the number 3 and has no \"x\""),
        ("split.result.none.x", "`split.result.none` is nothing and has no \"x\""),
        ("each.2", "has 2 elements"),
    ] {
        let reference: Reference = text.parse().expect(text);
        let flaw = reference.resolve(&values()).expect_err(text).to_string();
        assert!(flaw.starts_with(&format!("`{text}`: ")) && flaw.contains(why), "{text}: {flaw}");
    }
    for text in ["each", "index"] {
        let reference: Reference = text.parse().expect(text);
        assert!(reference.resolve(&Values::default()).is_err(), "{text}");
    }
}

#[test]
fn being_there_is_not_being_null() {
    for (text, is_there) in [
        ("params.day", true),
        ("params.dya", false),
        ("nobody.result", false),
        ("passed.result", false),
        ("passed.result.x", false),
        ("split.result", true),
        ("split.result.none", true),
        ("split.result.none.x", false),
        ("split.result.parts.1", true),
        ("split.result.parts.2", false),
        ("run.id", true),
        ("run.outcome", false),
    ] {
        let reference: Reference = text.parse().expect(text);
        assert_eq!(reference.is_there(&values()), Ok(is_there), "{text}");
    }
}

#[test]
fn a_scope_may_read_what_it_is_asked_for_and_fail_at_it() {
    let good: Reference = "good.result.a.1.b".parse().expect("a reference");
    assert_eq!(good.resolve(&Stored).as_deref(), Ok(&json!(2)));
    let bad: Reference = "bad.result.a".parse().expect("a reference");
    let flaw = bad.resolve(&Stored).expect_err("no JSON");
    assert!(flaw.to_string().starts_with("the result of task bad is no JSON"), "{flaw}");
    assert_eq!(bad.is_there(&Stored), Err(flaw));
}

#[test]
fn looking_for_what_was_meant_among_many_keys_is_quick() {
    let keys = |n: usize| (format!("{n:0>60}"), Value::Null);
    let mut values = values();
    values.each = Some(Value::Object((0..100_000).map(keys).collect()));
    let reference = Reference { root: Root::Each, path: path(&["0"]) };
    let flaw = reference.resolve(&values).expect_err("no such key").to_string();
    assert!(flaw.len() < 300, "{flaw}");
}

/// A task that left three payloads, one with several elements of which the second did not succeed, one that left nothing, and
/// one that was passed over.
fn left() -> Values {
    let model = json!({ "name": "model", "uri": "s3://b/model", "size": 1500, "digest": "sha256:00" });
    let one = json!({ "model": model, "a.b": { "name": "a.b", "uri": "s3://b/a.b" }, "a": { "name": "a", "uri": "s3://b/a", "size": 1 } });
    let mut values = Values::default();
    values.payloads.insert("train".into(), Some(one.clone()));
    values.payloads.insert("many".into(), Some(json!([one, null])));
    values.payloads.insert("none".into(), Some(json!({})));
    values.payloads.insert("passed".into(), None);
    values.results.insert("train".into(), Some(json!({ "payload": 1 })));
    values
}

#[test]
fn a_payload_stands_for_its_address_and_has_parts() {
    for (text, expected) in [
        ("train.payload.model", json!("s3://b/model")),
        ("train.payload.model.uri", json!("s3://b/model")),
        ("train.payload.model.name", json!("model")),
        ("train.payload.model.size", json!(1500)),
        ("train.payload.model.digest", json!("sha256:00")),
        ("train.payload.a.b", json!("s3://b/a.b")),
        ("train.payload.a.b.uri", json!("s3://b/a.b")),
        ("train.payload.a.size", json!(1)),
        ("many.payload.0.model.size", json!(1500)),
        ("many.payload.1", Value::Null),
        ("none.payload", json!({})),
        ("passed.payload", Value::Null),
        ("train.result.payload", json!(1)),
    ] {
        let reference: Reference = text.parse().expect(text);
        assert_eq!(*reference.resolve(&left()).expect(text), expected, "{text}");
        let owned = reference.find_owned(&left());
        assert_eq!(owned, expected, "{text}");
    }
}

impl Reference {
    /// The same from a scope that gives its values away.
    fn find_owned(&self, values: &Values) -> Value {
        match self.base(values).expect("it is there") {
            Found::Value(value) => self.descend(Cow::Owned(value.into_owned())).expect("it is there").into_owned(),
            Found::Unknown | Found::Nothing => Value::Null,
        }
    }
}

#[test]
fn a_payload_that_is_not_there_is_told_with_those_that_are() {
    for (text, why) in [
        (
            "train.payload.modle",
            "has left no payload \"modle\": it left \"a\", \"a.b\", \"model\"; did you mean \"model\"?",
        ),
        ("none.payload.model", "has left no payload \"model\": it left none"),
        ("passed.payload.model", "the task \"passed\" has left nothing"),
        ("nobody.payload.model", "there is no task \"nobody\" before this one"),
        ("train.payload.a.b.size", "has reported this payload without its size"),
        ("train.payload.model.sise", "and no \"sise\""),
        ("train.payload.model.size.x", "and no \"size\""),
        ("many.payload.model", "is a list, of which \"model\" is no number"),
        ("many.payload.2.model", "has 2 elements"),
        ("many.payload.1.model", "is nothing and has no \"model\""),
    ] {
        let reference: Reference = text.parse().expect(text);
        let flaw = reference.resolve(&left()).expect_err(text).to_string();
        assert!(flaw.contains(why), "{text}: {flaw}");
        assert_eq!(reference.is_there(&left()), Ok(false), "{text}");
    }
    let mut many = Values::default();
    let payloads: serde_json::Map<_, _> =
        (0..64).map(|number| (format!("part-{number}"), json!({ "uri": "a:b" }))).collect();
    many.payloads.insert("split".into(), Some(Value::Object(payloads)));
    let flaw =
        "split.payload.zzz".parse::<Reference>().expect("a reference").resolve(&many).expect_err("none").to_string();
    assert!(flaw.contains("and more") && flaw.len() < 600, "{flaw}");
}

#[test]
fn of_two_words_the_first_one_says_what_is_named() {
    for (text, root, parts, spelling) in [
        ("a.payload.result", Root::Payload("a".into()), &["result"][..], "a.payload.result"),
        ("a.result.payload", Root::Result("a".into()), &["payload"], "a.result.payload"),
        ("a.b.payload", Root::Payload("a.b".into()), &[], "a.b.payload"),
        ("params.payload", Root::Param("payload".into()), &[], "params.payload"),
        ("a.payloads.payload.x", Root::Payload("a.payloads".into()), &["x"], "a.payloads.payload.x"),
    ] {
        let reference: Reference = text.parse().expect(text);
        assert_eq!(reference, Reference { root, path: path(parts) }, "{text}");
        assert_eq!(reference.to_string(), spelling);
    }
    let hidden = Reference { root: Root::Result("a.payload".into()), path: path(&["x"]) };
    assert_eq!(hidden.to_string(), "task['a.payload'].result.x");
    for (text, why) in [
        ("split.payloads.model", "did you mean `split.payload.model`?"),
        (".payload", "\"\" is no name of a task"),
        ("split.payload.", "nothing behind a dot"),
    ] {
        let flaw = text.parse::<Reference>().expect_err(text).to_string();
        assert!(flaw.contains(why), "{text}: {flaw}");
    }
}

//! Conditions are read, bounded and decided.

use super::*;
use crate::reference::{PATH_SEGMENTS_MAX, RunField};
use crate::scope::Values;
use crate::template::REFERENCES_MAX;
use proptest::prelude::*;
use serde_json::json;

fn values() -> Values {
    let mut values = Values::default();
    values.params.insert("day".into(), json!("2026-01-01"));
    values.params.insert("shards".into(), json!(4));
    values.params.insert("rate".into(), json!(0.5));
    values.params.insert("big".into(), json!(u64::MAX));
    values.params.insert("my-param".into(), json!(true));
    values.results.insert("approve".into(), Some(json!({ "decision": "yes", "by": null, "a b": 1 })));
    values.results.insert("my-task".into(), Some(json!({ "ok": true })));
    values.results.insert("v1.2".into(), Some(json!({ "ok": true })));
    values.results.insert("my.task".into(), Some(json!({ "ok": true })));
    values.results.insert(
        "split".into(),
        Some(json!({
            "parts": [{ "size": 1, "ok": true }, { "size": 2, "ok": false }],
            "sizes": { "b": 2, "a": 1, "c": 3 },
            "n": 3,
        })),
    );
    values.results.insert("passed".into(), None);
    let model = json!({ "name": "model", "uri": "s3://b/model", "size": 1500 });
    values.payloads.insert("my-task".into(), Some(json!({ "model.bin": model })));
    values.payloads.insert("split".into(), Some(json!({ "log": { "uri": "s3://b/log" }, "model": model })));
    values.each = Some(json!({ "name": "x" }));
    values.index = Some(2);
    values.run.insert(RunField::Outcome, "failed".into());
    values
}

fn decided(text: &str) -> Result<bool, String> {
    Condition::parse(text).and_then(|condition| condition.evaluate(&values())).map_err(|flaw| flaw.to_string())
}

fn names(text: &str) -> Vec<String> {
    Condition::parse(text).unwrap_or_else(|flaw| panic!("{text}: {flaw}")).references().map(|r| r.to_string()).collect()
}

#[test]
fn a_condition_is_decided_by_the_values_it_names() {
    for (text, expected) in [
        ("approve.result.decision == 'yes' && params.day != ''", true),
        ("approve.result.decision == \"no\"", false),
        ("approve.result['decision'] == 'yes'", true),
        ("approve.result['a b'] == 1", true),
        ("approve.result.by == null", true),
        ("passed.result == null", true),
        ("task['my-task'].result.ok", true),
        ("task['my-task']['result'].ok", true),
        ("my.task.result.ok", true),
        ("task['v1.2'].result.ok && task['approve'].result.decision == 'yes'", true),
        ("params['my-param']", true),
        ("params.shards + 1 == 5 && params.shards * 2 > 7 && params.shards % 3 == 1", true),
        ("params.rate < 1 && params.rate == 0.5 && params.shards >= 4.0", true),
        ("params.big > 9223372036854775807 && params.big == 18446744073709551615u", true),
        ("params.day >= '2025-12-31' && params.day.startsWith('2026') && params.day.endsWith('-01')", true),
        ("'-' in ['-'] && params.day.contains('-') && size(params.day) == 10 && params.day.size() == 10", true),
        ("int('4') == params.shards && string(params.shards) == '4' && double(params.shards) == 4.0", true),
        ("each.name == 'x' && index == 2 && run.outcome == 'failed'", true),
        ("run.id == null", true),
        ("split.result.parts[1].size == 2", true),
        ("split.result.parts[index - 1].size == 2", true),
        ("split.result.parts[int(params.rate * 2.0)].size == 2", true),
        ("split.result.sizes[each.name == 'x' ? 'c' : 'd'] == 3", true),
        ("split.result.parts.all(part, part.size > 0)", true),
        ("split.result.parts.all(part, part.ok)", false),
        ("split.result.parts.exists(part, !part.ok)", true),
        ("split.result.parts.exists_one(part, part.ok)", true),
        ("split.result.parts.filter(part, part.ok).size() == 1", true),
        ("split.result.parts.filter(part, part.ok)[0].size == 1", true),
        ("split.result.parts.map(part, part.size) == [1, 2]", true),
        ("split.result.parts.map(part, part.ok, part.size) == [1]", true),
        ("split.result.parts.all(p, split.result.parts.exists(q, q.size == p.size))", true),
        ("size(split.result.parts) == 2 && size(split.result.sizes) == 3", true),
        ("'a' in split.result.sizes && !('d' in split.result.sizes)", true),
        ("split.result.sizes == split.result.sizes && split.result.sizes != split.result.parts[0]", true),
        ("[split.result.sizes] == [split.result.sizes]", true),
        ("-params.shards == -4 && !(1 > 2) ? true : false", true),
        ("split.payload.model.size > 1000 && split.payload.model == 's3://b/model'", true),
        ("split.payload.model.uri.startsWith('s3:') && size(split.payload) == 2", true),
        ("task['my-task'].payload['model.bin'].size == task['my-task'].payload.model.bin.size", true),
        ("split.payload.exists(name, split.payload[name].uri.endsWith('log'))", true),
        ("'model' in split.payload && !('x' in split.payload)", true),
        ("true", true),
        ("// a remark\n true", true),
    ] {
        assert_eq!(decided(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_map_is_always_gone_through_in_the_order_of_its_keys() {
    for _ in 0..20 {
        assert_eq!(decided("split.result.sizes.map(key, key) == ['a', 'b', 'c']"), Ok(true));
        assert_eq!(decided("split.result.sizes.map(key, split.result.sizes[key]) == [1, 2, 3]"), Ok(true));
    }
}

#[test]
fn what_may_be_missing_can_be_asked_for() {
    for (text, expected) in [
        ("has(approve.result.decision)", true),
        ("has(split.payload.model) && has(split.payload.model.size) && has(split.payload.log)", true),
        ("has(split.payload.log.size)", false),
        ("has(split.payload.x)", false),
        ("has(nobody.payload.x)", false),
        ("has(approve.result.by)", true),
        ("has(approve.result.reason)", false),
        ("has(approve.result.decision.x)", false),
        ("has(passed.result)", false),
        ("has(passed.result.x.y)", false),
        ("has(nobody.result.x)", false),
        ("has(params.month)", false),
        ("has(params.day)", true),
        ("has(task['my-task'].result.ok)", true),
        ("has(approve.result.reason) && approve.result.reason == 'x'", false),
        ("has(approve.result.reason) ? approve.result.reason == 'x' : true", true),
        ("false && approve.result.reason == 'x'", false),
        ("approve.result.reason == 'x' || true", true),
        ("split.result.parts.all(part, has(part.size) && !has(part.weight))", true),
        ("split.result.parts.exists(part, part.weight == 1 || part.size == 2)", true),
    ] {
        assert_eq!(decided(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_missing_where_it_matters_is_named() {
    for (text, why) in [
        ("approve.result.reason == 'x'", "`approve.result.reason`: `approve.result` has no key \"reason\""),
        ("passed.result.x == 1", "the task \"passed\" has no result; has(...) asks"),
        ("nobody.result.x == 1", "there is no task \"nobody\" before this one"),
        ("params.month == 1", "the job has no parameter \"month\""),
        ("split.result.parts[2].size == 1", "`split.result.parts` has 2 elements"),
        ("split.result.parts[-1].size == 1", "a list has no element with the number"),
        ("split.result.parts.all(part, part.weight == 1)", "there is no key \"weight\""),
        ("split.result.sizes[each.name] == 1", "there is no key \"x\""),
    ] {
        let flaw = decided(text).expect_err(text);
        assert!(flaw.contains(why), "{text}: {flaw}");
    }
}

#[test]
fn what_does_not_go_together_is_said_in_words() {
    for (text, why) in [
        ("params.day", "what must be true or false is of the type string: compare"),
        ("split.result", "is of the type map"),
        ("params.shards", "is of the type int"),
        ("params.day > 1", "`>` does not go with string and int"),
        ("params.shards + 0.5 == 1.0", "`+` does not go with int and float"),
        ("split.result.sizes + 1 == 1", "`+` does not go with its values"),
        ("params.day && true", "`&&` does not go with string and bool"),
        ("!params.day", "`!` does not go with string"),
        ("-params.day == 1", "`-` does not go with string"),
        ("params.day ? true : false", "what must be true or false is of the type string"),
        ("params.day.contains(1)", "`contains` does not go with string and int"),
        ("size(1) == 1", "`size` does not go with int"),
        ("1 in 'abc'", "`in` does not go with int and string"),
        ("1 in split.result.sizes", "`in` does not go with int and map"),
        ("params.day.all(c, true)", "expected iterable, found string"),
        ("1 / (params.shards - 4) == 1", "division by zero"),
        ("1 % (params.shards - 4) == 1", "division by zero"),
        ("9223372036854775807 + params.shards > 0", "larger than 64 bits"),
        ("-(-9223372036854775807 - 1) > 0", "larger than 64 bits"),
        ("(-9223372036854775807 - 1) / -1 > 0", "larger than 64 bits"),
        ("(-9223372036854775807 - 1) % -1 > 0", "larger than 64 bits"),
        ("int('x') == 1", "int: "),
        ("int(1e300) == 1", "int: "),
    ] {
        let flaw = decided(text).expect_err(text);
        assert!(flaw.contains(why), "{text}: {flaw}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_when_it_is_parsed() {
    for (text, why) in [
        ("", "the condition is empty"),
        (" \n", "the condition is empty"),
        ("1 +", "is no CEL, at line 1, column 4"),
        ("a ==\n == b", "is no CEL, at line 2"),
        ("approve.result.decision = 'yes'", "is no CEL"),
        ("'open", "is no CEL"),
        ("'\\q'", "is no CEL"),
        ("a.result b", "is no CEL"),
        ("\0", "is no CEL"),
        ("ä == 1", "is no CEL"),
        ("1e999 > 1", "is no CEL"),
        ("99999999999999999999 > 1", "is no CEL"),
        ("has(each)", "is no CEL"),
        ("[1].all(1, true)", "is no CEL"),
        ("params.?day == 1", "is no CEL"),
        ("in == 1", "is no CEL"),
        (
            "approve.result.decision == yes",
            "`yes` is no reference: write 'yes' if the text is meant, or one of params.NAME",
        ),
        ("my-task.result.ok", "`my` is no reference: write 'my' if the text is meant"),
        ("my-task.result.ok", "or task['MY-TASK'].result for a task with a dash in its name"),
        ("int == 1", "`int` is no reference"),
        ("param.day == ''", "`param.day` is no reference: did you mean `params.day`?"),
        ("approve.results.x", "did you mean `approve.result.x`?"),
        ("params == 1", "write params.NAME"),
        ("params[each.name] == 1", "write params.NAME"),
        ("params['a b'] == 1", "is no key"),
        ("task['a'].x == 1", "write task['NAME'].result"),
        ("task['-a'].result == 1", "no name of a task"),
        ("task[each.name].result == 1", "`task` is no reference"),
        ("run.name == 1", "run.id"),
        ("index.x == 1", "index is a number"),
        (".each.name == 'x'", "is no reference"),
        ("[1].all(x, true) && x == 1", "`x` is no reference"),
        ("[1].all(each, each == 1)", "`each` cannot name the elements"),
        ("[1].all(.x, true)", "cannot name the elements"),
        ("params.day.matches('a')", "there is no function `matches` of 1 values"),
        ("params.day.startswith('a')", "did you mean `startsWith`?"),
        ("timestamp(params.day) > 1", "there is no function `timestamp`"),
        ("type(1) == int", "there is no function `type`"),
        ("size(1, 2) == 1", "there is no function `size` of 2 values"),
        ("all([1], true)", "there is no function `all` of 2 values"),
        ("{'a': 1}.a == 1", "maps cannot be written"),
        ("{} == {}", "maps cannot be written"),
        ("a.result{b: 1} == 1", "messages cannot be written"),
        ("b'a' == b'a'", "bytes cannot be written"),
    ] {
        let flaw = Condition::parse(text).map(|_| ()).expect_err(text).to_string();
        assert!(flaw.contains(why), "{text:?}: {flaw}");
    }
}

#[test]
fn references_are_told_once_each() {
    assert_eq!(
        names(
            "approve.result.decision == 'yes' && approve.result.decision != params.day && has(approve.result.decision)"
        ),
        ["approve.result.decision", "params.day"]
    );
    assert_eq!(names("[1, 2].all(x, x > index && has(run.outcome))"), ["index", "run.outcome"]);
    assert_eq!(names("task['my-task'].result['a'].b[0] == each.x"), ["my-task.result.a.b.0", "each.x"]);
    assert_eq!(names("split.result.parts[index].size == 1"), ["split.result.parts", "index"]);
    assert_eq!(names("split.result.parts.all(split, split.result == 1)"), ["split.result.parts"]);
    assert_eq!(
        names("a.payload.b.size > 1 && task['c'].payload['d.e'] == ''"),
        ["a.payload.b.size", "c.payload['d.e']"]
    );
    assert_eq!(names("true"), [""; 0]);
}

/// Runs in a stack a quarter of what a thread has.
fn in_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(test).expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn what_is_nested_or_long_overflows_no_stack() {
    let limits = ["CONDITION_BYTES_MAX", "CONDITION_TOKENS_MAX", "CONDITION_BRACKETS_MAX", "CONDITION_DEPTH_MAX"];
    in_a_small_stack(move || {
        for (open, inside, close) in [
            ("(", "true", ")"),
            ("(", "", ""),
            ("[", "1", "]"),
            ("[", "", ""),
            ("{1:", "1", "}"),
            ("{", "", ""),
            ("!", "true", ""),
            ("-", "1", ""),
            ("!-", "1", ""),
            ("- ", "index", ""),
            ("size(", "1", ")"),
            ("size(", "", ""),
            ("true ? 1 : ", "1", ""),
            ("true ? ", "1", " : 1"),
            ("1 + (", "1", ")"),
            ("1 +", "1", ""),
            ("1 in ", "1", ""),
            ("true && ", "true", ""),
            ("true || ", "true", ""),
            ("true && (true || (", "true", "))"),
            ("1 == ", "1", ""),
            ("1 * ", "1", ""),
            ("", "each", ".a"),
            ("", "[1]", ".a"),
            ("", "each", "[0]"),
            ("", "[1]", "[index]"),
            ("", "each", ".a{"),
            ("", "each", ".size()"),
            ("", "[1]", ".map(x, x)"),
            ("[1].all(x, ", "true", ")"),
            ("[1].map(x, ", "x", ")"),
            ("has(", "each.a", ")"),
            ("'", "", ""),
            ("`", "", ""),
            ("//\n", "true", ""),
            ("\\", "", ""),
        ] {
            for count in [8, 16, 30, 64, 100, 250, 500, 1_000, 2_000, 1_000_000] {
                let text = format!("{}{inside}{}", open.repeat(count), close.repeat(count));
                match Condition::parse(&text) {
                    Ok(condition) => drop(condition.evaluate(&values())),
                    Err(flaw) => assert!(flaw.to_string().len() < 600, "{flaw}"),
                }
                if text.len() > CONDITION_BYTES_MAX {
                    let flaw = Condition::parse(&text).expect_err("long").to_string();
                    assert!(limits.iter().any(|limit| flaw.contains(limit)), "{flaw}");
                }
            }
        }
    });
}

#[test]
fn what_lies_as_deep_as_it_may_is_evaluated_in_a_small_stack() {
    in_a_small_stack(|| {
        let deepest =
            (1..200).rev().find(|count| Condition::parse(&format!("{}0 == 0", "1 * ".repeat(*count))).is_ok());
        assert_eq!(deepest, Some(CONDITION_DEPTH_MAX - 3));
        let text = format!("{}0 == 0", "1 * ".repeat(CONDITION_DEPTH_MAX - 3));
        assert_eq!(decided(&text), Ok(true));
        let nested = |count: usize| format!("{}true{}", "[1].all(x, ".repeat(count), ")".repeat(count));
        let deepest = (1..40).rev().find(|count| Condition::parse(&nested(*count)).is_ok()).expect("some depth");
        assert!(deepest > 5, "{deepest}");
        assert_eq!(decided(&nested(deepest)), Ok(true));
    });
}

#[test]
fn everything_has_a_limit_with_a_name() {
    let many = |count: usize| (0..count).map(|n| format!("each.a{n}")).collect::<Vec<_>>().join(",");
    for (text, limit) in [
        (format!("true{}", " ".repeat(CONDITION_BYTES_MAX)), "CONDITION_BYTES_MAX"),
        ("(".repeat(CONDITION_BRACKETS_MAX + 1), "CONDITION_BRACKETS_MAX"),
        ("!".repeat(CONDITION_TOKENS_MAX + 1), "CONDITION_TOKENS_MAX"),
        (format!("{}1 == 1", "1 + ".repeat(CONDITION_DEPTH_MAX)), "CONDITION_DEPTH_MAX"),
        (format!("size([{}]) > 0", many(REFERENCES_MAX + 1)), "REFERENCES_MAX"),
        (format!("each{} == 1", ".a".repeat(PATH_SEGMENTS_MAX + 1)), "PATH_SEGMENTS_MAX"),
        (format!("params.{} == 1", "a".repeat(200)), "NAME_BYTES_MAX"),
        (format!("each['{}'] == 1", "a".repeat(200)), "NAME_BYTES_MAX"),
    ] {
        let flaw = Condition::parse(&text).expect_err(limit).to_string();
        assert!(flaw.contains(limit) && flaw.len() < 600, "{limit}: {flaw}");
    }
    assert!(Condition::parse(&format!("size([{}]) > 0", many(80))).is_ok());
    let rows = (0..40).map(|n| format!("params.day == 'd{n}'")).collect::<Vec<_>>().join(" || ");
    assert_eq!(decided(&rows), Ok(false));
}

/// As many numbers as a result of 8 KiB can hold.
fn numbers() -> Values {
    let mut values = values();
    values.each = Some(json!(vec![1; 4096]));
    values
}

#[test]
fn what_could_take_long_is_refused_before_it_begins() {
    for text in [
        "each.all(x, each.all(y, each.all(z, x + y + z > 0)))",
        "each.all(x, each.all(y, x + y > 0))",
        "each.map(x, each).all(y, y.all(z, z > 0))",
        "each.map(x, each.map(y, each)).size() > 0",
        "each.all(x, each.map(y, y) == each)",
        "each.filter(x, each == each).size() > 0",
        "each.filter(x, x in each).size() > 0",
        "each.filter(x, each in [each]).size() > 0",
        "each.map(x, each + each).size() > 0",
        "each.map(x, [each, each]).size() > 0",
        "each.exists(x, x == each)",
    ] {
        let condition = Condition::parse(text).expect(text);
        let flaw = condition.evaluate(&numbers()).expect_err(text).to_string();
        assert!(flaw.contains("CONDITION_COST_MAX"), "{text}: {flaw}");
        let mut few = values();
        few.each = Some(json!([1, 2, 3]));
        assert!(condition.evaluate(&few).is_ok(), "{text}");
    }
}

#[test]
fn what_goes_once_through_a_large_result_is_not_refused() {
    for text in [
        "each.all(x, x > 0 && x < 10 && (x == 1 || x == 2) && x in [1, 2, 3])",
        "each.map(x, x * 2).filter(x, x > 1).size() == 4096",
        "each.filter(x, x == 1).map(x, string(x)).all(x, x.contains('1'))",
        "each == each && each + each != each",
    ] {
        assert_eq!(Condition::parse(text).and_then(|condition| condition.evaluate(&numbers())), Ok(true), "{text}");
    }
    let mut records = values();
    let record = |n: usize| json!({ "name": format!("part-{n}"), "size": n, "tags": ["a", "b"] });
    records.each = Some(json!((0..90).map(record).collect::<Vec<_>>()));
    for text in [
        "each.all(x, x.tags.exists(t, t == 'b') && x.name.startsWith('part-'))",
        "each.all(x, each.exists(y, y.size == x.size))",
    ] {
        assert_eq!(Condition::parse(text).and_then(|condition| condition.evaluate(&records)), Ok(true), "{text}");
    }
}

#[test]
fn a_value_nested_deeper_than_any_that_is_read_is_refused() {
    let mut deep = values();
    deep.each = Some((0..1_000).fold(json!(1), |inner, _| json!([inner])));
    let condition = Condition::parse("each == each").expect("a condition");
    assert!(condition.evaluate(&deep).expect_err("deep").to_string().contains("CONDITION_COST_MAX"));
}

#[test]
fn a_condition_can_be_kept_and_shared_and_a_scope_can_be_any() {
    fn shared<T: Send + Sync + Clone + 'static>(value: T) -> T {
        value
    }
    let condition = shared(Condition::parse("index == 2").expect("a condition"));
    let scope: Box<dyn Scope> = Box::new(values());
    assert_eq!(condition.evaluate(&*scope), Ok(true));
}

#[test]
fn conditions_are_shown_as_written() {
    let text = "has(params.day) &&\n 1 < 2";
    let condition = Condition::parse(text).expect("a condition");
    assert_eq!(condition.to_string(), text);
    assert_eq!(Condition::parse(text), Ok(condition.clone()));
    assert_ne!(Condition::parse("has(params.day) && 1 < 2"), Ok(condition.clone()));
    assert_eq!(format!("{condition:?}"), "Condition(\"has(params.day) &&\\n 1 < 2\")");
}

/// Texts that are nearly conditions.
fn tricky() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        ":",
        ",",
        ".",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        "<=",
        " in ",
        "&&",
        "||",
        "'",
        "\"",
        "'''",
        "r'",
        "b'",
        "\\",
        "\\u",
        "\\x4",
        "0x",
        "0xf",
        "1",
        "-0x8000000000000000",
        "1u",
        "1.5",
        "1e",
        "9223372036854775807",
        "true",
        "null",
        "x",
        "each",
        "index",
        "params.day",
        "split.result",
        ".parts",
        "[0]",
        "[index]",
        "task['my-task'].result",
        "has(",
        "size(",
        "int(",
        "string(",
        ".all(x,",
        ".map(x,",
        ".filter(x,",
        ".exists_one(x,",
        ".size()",
        ".contains(",
        " ",
        "\n",
        "//",
        "`",
        "@",
        "@0",
        "é",
        "😀",
        "\u{0}",
        "\u{feff}",
        "_",
        "?.",
        "[?",
        "a.b{",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![4 => tricky(), 1 => ".{0,40}"]) {
        match Condition::parse(&text) {
            Ok(condition) => {
                let once = condition.evaluate(&values());
                prop_assert_eq!(condition.evaluate(&values()), once);
                let _ = condition.evaluate(&numbers());
            }
            Err(flaw) => prop_assert!(!flaw.to_string().is_empty()),
        }
    }
}

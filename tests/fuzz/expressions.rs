//! Expressions that people write into job files, decided and rendered over values that tasks report.

use quorate_state::NodeCondition;
use quorate_values::{Condition, Template, Value, Values, escape, parse};

pub(crate) fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Template::parse(text) {
        Ok(template) => {
            assert_eq!(Template::parse(&template.to_string()).as_ref(), Ok(&template), "{text:?}");
            let rendered = template.render(&values());
            assert_eq!(template.render(&values()), rendered, "{text:?}");
            if let Some(plain) = template.plain_text() {
                assert_eq!(rendered.as_deref(), Ok(plain));
                assert_eq!(Template::parse(&escape(plain)), Ok(template));
            }
        }
        Err(flaw) => assert!(!flaw.to_string().is_empty()),
    }
}

pub(crate) fn condition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Condition::parse(text) {
        Ok(condition) => {
            let decided = condition.evaluate(&values());
            assert_eq!(condition.evaluate(&values()), decided, "{text:?}");
            assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
        }
        Err(flaw) => assert!(!flaw.to_string().is_empty()),
    }
}

pub(crate) fn node_condition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<NodeCondition>() {
        Ok(condition) => assert_eq!(condition.to_string().parse(), Ok(condition)),
        Err(flaw) => assert!(!flaw.to_string().is_empty()),
    }
}

/// Templates of which each way to write one is in some.
pub(crate) fn templates() -> Vec<Vec<u8>> {
    ["plain", "--day=${params.day}", "${split.result.parts.0.size}", "${each}-${index} of ${run.id}", "$${HOME} $${"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Conditions of which each part of the language is in some.
pub(crate) fn conditions() -> Vec<Vec<u8>> {
    [
        "approve.result.decision == 'yes' && params.day != ''",
        "has(task['my-task'].result.ok) ? run.outcome == 'failed' : index > 2",
        "split.result.parts.all(part, part.size > 0 && part.size in [1, 2])",
        "split.result.parts.filter(p, p.ok).map(p, p.size * 2)[0] == 2 || each.name.startsWith(\"x\")",
        "size(split.result.sizes.map(k, string(split.result.sizes[k]))) == 3 && !(1.5 < -2.0)",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Conditions on nodes of which each part of the language is in some.
pub(crate) fn node_conditions() -> Vec<Vec<u8>> {
    [
        "node.labels.zone in [\"a\", 'b'] && node.gpus >= 4 && !(node.pool == \"spot\") && int(node.labels.generation) >= 3",
        "has(node.price) && node.price <= 35000 || \"spot\" in node.taints && node.gpus in [1, -2]",
        "(node.labels[\"quorate.dev/arch\"].startsWith('x\\'\\\\')) || node.name.endsWith(node.region)",
        "!!(node.cluster.contains('')) && has(node.labels.rack) && 'T4' in node.gpu_models && node.memory > node.cpu_milli",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn values() -> Values {
    let value = |text: &str| parse(text.as_bytes(), "a value of the fuzzer").expect("JSON");
    let mut values = Values::default();
    values.params.insert("day".into(), value("\"2026-01-01\""));
    values.params.insert("large".into(), Value::from("${each}".repeat(10_000)));
    values.results.insert("approve".into(), Some(value(r#"{"decision": "yes", "by": null}"#)));
    values.results.insert("my-task".into(), Some(value(r#"{"ok": true}"#)));
    let split =
        r#"{"parts": [{"size": 1, "ok": true}, {"size": 2, "ok": false}], "sizes": {"b": 2, "a": 1.5, "c": -3}}"#;
    values.results.insert("split".into(), Some(value(split)));
    values.results.insert("passed".into(), None);
    values.results.insert("many".into(), Some(Value::from(vec![1; 4096])));
    values.each = Some(value(r#"{"name": "x", "list": [[], {}, "", 18446744073709551615, 0.5]}"#));
    values.index = Some(2);
    values
}

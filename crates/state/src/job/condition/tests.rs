//! Conditions on nodes are read, bounded and decided.

use std::sync::Arc;

use super::*;
use crate::{Around, Epoch, GpuModel, LeaseTerms, Millis, NodeStatus, Offer, Price, Resources, Uuid};

fn node() -> Node {
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let model: GpuModel = "A100-80G".parse().unwrap();
    Node {
        name: "eu-1-a".parse().unwrap(),
        uuid: Uuid(1),
        journal: Uuid(2),
        boot_id: "boot".into(),
        machine_id: "machine".into(),
        region: "eu".parse().unwrap(),
        cluster: "eu-1".parse().unwrap(),
        capacity: Resources { cpu_milli: 16_000, memory_bytes: 64 << 30, gpu_milli: 2_000 },
        gpus: vec![model.clone(), model].into(),
        labels: [("zone", "b"), ("generation", "4"), ("empty", ""), ("quorate.dev/arch", "x86_64")].map(pair).into(),
        offer: Arc::new(Offer {
            pool: "gpu".parse().unwrap(),
            taints: [("spot", "yes")].map(pair).into(),
            price: Some(Price(35_000)),
        }),
        epoch: Epoch(1),
        lease: LeaseTerms { server_ms: 2, agent_ms: 1, kill_ms: 0, margin_ms: 0, rho_ppm: 0 },
        status: NodeStatus::Up,
        cordoned: false,
        withdrawal: None,
        around: Around::default(),
        registered_at: Millis(0),
        admission: None,
    }
}

fn read(text: &str) -> NodeCondition {
    text.parse().unwrap_or_else(|flaw| panic!("{text}: {flaw}"))
}

fn flaw(text: &str) -> String {
    text.parse::<NodeCondition>().expect_err(text).to_string()
}

#[test]
fn it_is_decided_by_what_a_node_says() {
    for (text, expected) in [
        ("true", true),
        ("false || !false", true),
        ("!!true && !!!false", true),
        ("node.name == 'eu-1-a' && node.region != \"us\" && node.cluster == 'eu-1' && node.pool == 'gpu'", true),
        ("node.labels.zone in [\"a\", \"b\"]", true),
        ("node.labels.zone in []", false),
        ("node.labels[\"quorate.dev/arch\"] == 'x86_64'", true),
        ("node.labels.empty == ''", true),
        ("\"zone\" in node.labels && !('rack' in node.labels)", true),
        ("'spot' in node.taints && !('team' in node.taints)", true),
        ("'A100-80G' in node.gpu_models && !('T4' in node.gpu_models)", true),
        ("node.gpus == 2 && node.gpus in [1, 2, 3] && node.cpu_milli >= 16000 && node.cpu_milli < 16001", true),
        ("node.memory > 68719476735 && node.memory <= 68719476736", true),
        ("node.price == 35000 && has(node.price)", true),
        ("int(node.labels.generation) >= 3 && int('-7') == -7", true),
        ("node.labels.generation >= \"10\"", true),
        ("'b' > 'a' && 'a' <= 'a' && 'B' < 'a' && 'é' > 'z'", true),
        ("node.name.startsWith('eu-') && node.name.endsWith('-a') && node.name.contains('1')", true),
        ("'eu-1-a-long'.startsWith(node.name) && ''.contains('')", true),
        ("has(node.labels.zone) && !has(node.labels.rack)", true),
        ("true || false && false", true),
        ("(true || false) && false", false),
        ("'a \\'b\\' \\\\ \\\"' == \"a 'b' \\\\ \\\"\"", true),
        ("\n  node.gpus\t>=\r\n2  ", true),
    ] {
        assert_eq!(read(text).decide(&node()), Ok(expected), "{text}");
    }
}

#[test]
fn what_a_node_does_not_say_matters_where_nothing_else_decides() {
    let rack = Unsaid::Label("rack");
    let poor = Node { offer: Arc::default(), ..node() };
    for (text, expected) in [
        ("node.labels.rack == 'x'", Err(rack)),
        ("node.labels.rack != 'x'", Err(rack)),
        ("!(node.labels.rack == 'x')", Err(rack)),
        ("node.labels.rack in ['x']", Err(rack)),
        ("node.labels.rack in node.taints", Err(rack)),
        ("node.labels.rack.contains('x')", Err(rack)),
        ("node.price < 1", Err(Unsaid::Price)),
        ("has(node.price)", Ok(false)),
        ("int(node.labels.zone) > 1", Err(Unsaid::Number("b"))),
        ("int(node.labels.empty) > 1", Err(Unsaid::Number(""))),
        ("int('9223372036854775808') > 1", Err(Unsaid::Number("9223372036854775808"))),
        ("int(node.labels.rack) > 1", Err(rack)),
        ("false && node.labels.rack == 'x'", Ok(false)),
        ("node.labels.rack == 'x' && false", Ok(false)),
        ("true || node.labels.rack == 'x'", Ok(true)),
        ("node.labels.rack == 'x' || true", Ok(true)),
        ("node.labels.rack == 'x' && true", Err(rack)),
        ("node.labels.rack == 'x' || false", Err(rack)),
        ("node.price < 1 || node.labels.rack == 'x'", Err(Unsaid::Price)),
        ("has(node.labels.rack) && node.labels.rack == 'x'", Ok(false)),
    ] {
        let condition = read(text);
        assert_eq!(condition.decide(&poor), expected, "{text}");
        assert_eq!(condition.holds_for(&poor), expected == Ok(true), "{text}");
    }
    assert_eq!(rack.to_string(), "it has no label \"rack\"");
    assert_eq!(Unsaid::Price.to_string(), "it names no price");
    assert_eq!(Unsaid::Number("b").to_string(), "\"b\" is no whole number");
}

#[test]
fn what_means_nothing_is_refused_with_its_place_and_what_to_write() {
    for (text, why) in [
        ("", "is empty: leave it out"),
        (" \n", "is empty"),
        ("node.labels.zone = 'a'", "at character 18: '=' means nothing here"),
        ("node.labels.my-zone == 'a'", "at character 15: '-' means nothing here"),
        ("node.labels.quorate.dev == 'a'", "at character 20: behind a text may stand .startsWith(TEXT)"),
        ("node.gpu > 1", "at character 6: a node has no field \"gpu\": there are name, region, cluster, pool, labels"),
        ("node > 1", "expected ., found >"),
        ("task.name == 'x'", "at character 1: \"task\" is not known: there are node, has(...), int(...)"),
        ("gpus > 1", "\"gpus\" is not known"),
        ("node.gpus == 'a'", "at character 11: a whole number is compared with a text: two texts are compared"),
        ("node.taints == 'a'", "a list of texts is compared with a text"),
        ("true == true", "true or false is compared with true or false"),
        ("node.gpus", "at character 1: what is true or false is asked for, and this is a whole number"),
        ("true && node.name", "at character 9: what is true or false is asked for, and this is a text"),
        ("node.name || true", "at character 1: what is true"),
        ("!node.name", "at character 2: a text has no opposite"),
        ("!'x' in node.taints", "at character 2: a text has no opposite: put brackets"),
        ("1 < 2 < 3", "at character 7: two things are compared at a time"),
        ("node.gpus in ['a']", "texts where a text may be in it"),
        ("node.name in [1]", "texts where a text may be in it"),
        ("node.name in ['a', 1]", "texts where a text may be in it"),
        ("node.name in [node.region]", "at character 15: expected a text in quotes or a number, found \"node\""),
        ("node.name in ['a' 'b']", "expected ,, found a text"),
        ("node.name in ['a',]", "found ]"),
        ("'a' in node.name", "TEXT.contains(TEXT) looks into a text"),
        ("1 in node.taints", "a whole number in a list of texts"),
        ("['a'] == ['a']", "expected node, a text in quotes"),
        ("has(node.region)", "has(...) asks for what a node may not say"),
        ("has(node.labels['a'])", "has(...) asks for what a node may not say"),
        ("int(3) == 3", "at character 5: int(...) reads a text, and this is a whole number"),
        ("node.labels.in == 'a'", "at character 13: in is a word of the language: write node.labels[\"in\"]"),
        ("has(node.labels.null)", "null is a word of the language"),
        ("node.labels[zone] == 'a'", "expected the key of a label in quotes, found \"zone\""),
        ("node.name.matches('a')", "behind a text may stand"),
        ("node.name.startsWith(1)", "a text is looked for in a text, and this is a whole number"),
        ("node.name.contains('a').contains('b')", "expected && or ||, or the end"),
        ("node.labels.startsWith('a')", "expected && or ||, or the end, found ("),
        ("1.5 > 1", "at character 1: numbers are whole"),
        ("0x10 > 1", "numbers are whole"),
        ("1u > 1", "numbers are whole"),
        ("9223372036854775808 > 1", "no more than 64 bits"),
        ("1 + 1 == 2", "'+' means nothing here"),
        ("node.gpus > 1 ? true : false", "'?' means nothing here"),
        ("true & true", "'&' means nothing here"),
        ("'open", "at character 1: this text has no end"),
        ("'a\nb' == node.name", "at character 3: a text in quotes holds no line breaks"),
        ("'\\n' == node.name", "at character 2: behind a \\ in a text stands"),
        ("'é' == node.nam", "at character 13: a node has no field \"nam\""),
        ("(true", "expected ), found the end"),
        ("true)", "expected && or ||, or the end, found )"),
        ("true true", "found \"true\""),
        ("&& true", "expected node"),
        ("true &&", "found the end"),
        ("node.", "expected a word, found the end"),
        ("// true", "'/' means nothing here"),
        ("'''a''' == node.name", "expected && or ||, or the end, found a text"),
        ("r'a' == node.name", "\"r\" is not known"),
    ] {
        let found = flaw(text);
        assert!(found.contains(why), "{text}: {found}");
    }
}

#[test]
fn a_long_one_is_refused_with_the_limit_by_name() {
    let parts = |count: usize| vec!["true"; count].join("&&");
    read(&parts(WHERE_PARTS_MAX / 2));
    assert!(flaw(&parts(WHERE_PARTS_MAX / 2 + 1)).contains("WHERE_PARTS_MAX (64)"));
    assert!(flaw(&format!("node.gpus in [{}]", vec!["1"; WHERE_PARTS_MAX].join(","))).contains("WHERE_PARTS_MAX"));
    assert!(flaw(&format!("{}true", "!".repeat(WHERE_PARTS_MAX))).contains("WHERE_PARTS_MAX"));
    let deep = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    read(&deep(WHERE_DEPTH_MAX));
    assert!(flaw(&deep(WHERE_DEPTH_MAX + 1)).contains("WHERE_DEPTH_MAX (16)"));
    let long = |bytes: usize| format!("node.name == '{}'", "x".repeat(bytes - 15));
    read(&long(WHERE_BYTES_MAX));
    assert_eq!(flaw(&long(WHERE_BYTES_MAX + 1)), "has 1025 bytes, WHERE_BYTES_MAX is 1024");
    assert!(flaw(&"a".repeat(WHERE_BYTES_MAX)).len() < 200);
}

#[test]
fn it_is_the_same_as_long_as_it_is_spelled_the_same() {
    let condition = read("node.gpus > 1");
    assert_eq!(condition.to_string(), "node.gpus > 1");
    assert_eq!(condition, read(condition.as_str()));
    assert_ne!(condition, read("node.gpus>1"));
    assert!(read("node.gpus > 0") < condition);
}

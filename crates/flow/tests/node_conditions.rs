//! Conditions on nodes are a part of CEL: whatever our own reader takes means the same to a library that knows all of the language.

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Value};
use proptest::prelude::*;
use quorate_state::{
    Around, Epoch, GpuModel, LeaseTerms, Millis, Node, NodeCondition, NodeStatus, Offer, Price, Resources, Uuid,
};

/// A node that says some of what conditions ask for.
fn nodes() -> impl Strategy<Value = Node> {
    let labels = prop::collection::btree_map("[abc]|in|x/y", "a|b|3|-1|\\+5|ab|", 0..4);
    let taints = prop::collection::btree_map("[ab]", "", 0..2);
    let models = prop::collection::vec("[ab]", 0..4);
    let price = prop::option::of(0_u64..4);
    ("[ab]{1,2}", "[ab]", "[ab]", 0_u64..4, models, labels, taints, price).prop_map(
        |(name, region, pool, size, models, labels, taints, price)| Node {
            name: name.parse().unwrap(),
            uuid: Uuid(1),
            journal: Uuid(2),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: region.parse().unwrap(),
            cluster: format!("{region}-1").parse().unwrap(),
            capacity: Resources { cpu_milli: size, memory_bytes: size << 62, gpu_milli: 1_000 * models.len() as u64 },
            gpus: models.iter().map(|model| model.parse::<GpuModel>().unwrap()).collect(),
            labels,
            offer: Arc::new(Offer { pool: pool.parse().unwrap(), taints, price: price.map(Price) }),
            epoch: Epoch(1),
            lease: LeaseTerms { server_ms: 2, agent_ms: 1, kill_ms: 0, margin_ms: 0, rho_ppm: 0 },
            status: NodeStatus::Up,
            cordoned: false,
            withdrawal: None,
            around: Around::default(),
            registered_at: Millis(0),
            admission: None,
        },
    )
}

fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(all).prop_map(str::to_owned)
}

fn texts() -> impl Strategy<Value = String> {
    const FIELDS: &[&str] = &[
        "node.name",
        "node.region",
        "node.cluster",
        "node.pool",
        "node.labels.a",
        "node.labels.b",
        "node.labels['c']",
        "node.labels[\"in\"]",
        "node.labels['x/y']",
    ];
    const WRITTEN: &[&str] = &["''", "'a'", "\"b\"", "'ab'", "'3'", "'-1'", "'\\\\ \\' \"'", "\"' \\\"\"", "'in'"];
    prop_oneof![one_of(FIELDS), one_of(WRITTEN)]
}

fn numbers() -> impl Strategy<Value = String> {
    const FIELDS: &[&str] = &["node.cpu_milli", "node.memory", "node.gpus", "node.price"];
    const WRITTEN: &[&str] = &["0", "1", "2", "-1", "007", "9223372036854775807"];
    prop_oneof![one_of(FIELDS), one_of(WRITTEN), texts().prop_map(|text| format!("int({text})"))]
}

fn leaves() -> impl Strategy<Value = String> {
    const SIGNS: &[&str] = &["==", "!=", " < ", "<=", ">", ">="];
    const LISTS: &[&str] = &["node.labels", "node.taints", "node.gpu_models", "['a', \"b\"]", "[]", "['3']"];
    const METHODS: &[&str] = &["startsWith", "endsWith", "contains"];
    const PLAIN: &[&str] =
        &["true", "false", "has(node.price)", "has(node.labels.a)", "has( node . labels . b )", "!has(node.labels.c)"];
    prop_oneof![
        one_of(PLAIN),
        (texts(), one_of(SIGNS), texts()).prop_map(|(one, sign, other)| format!("{one}{sign}{other}")),
        (numbers(), one_of(SIGNS), numbers()).prop_map(|(one, sign, other)| format!("{one}{sign}{other}")),
        (texts(), one_of(LISTS)).prop_map(|(text, list)| format!("{text} in {list}")),
        numbers().prop_map(|number| format!("{number} in [0, -1, 3]")),
        (texts(), one_of(METHODS), texts()).prop_map(|(text, method, part)| format!("{text}.{method}({part})")),
    ]
}

/// Conditions with brackets here and there, so that it matters what binds closer.
fn conditions() -> impl Strategy<Value = String> {
    leaves().prop_recursive(5, 12, 3, |inner| {
        let joined = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            joined.clone().prop_map(|all| all.join(" && ")),
            joined.prop_map(|all| all.join("||")),
            inner.clone().prop_map(|one| format!("({one})")),
            inner.clone().prop_map(|one| format!("!({one})")),
            inner.prop_map(|one| format!("!!({one})")),
        ]
    })
}

/// What the library makes of it: an error is no value.
fn by_library(text: &str, node: &Node) -> Option<bool> {
    let expression = cel::parser::PrattParser::new().parse(text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let labels: HashMap<String, Value> =
        node.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let taints: Vec<String> = node.offer.taints.keys().cloned().collect();
    let models: Vec<String> = node.gpus.iter().map(ToString::to_string).collect();
    let mut fields: HashMap<String, Value> = HashMap::from([
        ("name".into(), node.name.as_str().into()),
        ("region".into(), node.region.as_str().into()),
        ("cluster".into(), node.cluster.as_str().into()),
        ("pool".into(), node.offer.pool.as_str().into()),
        ("labels".into(), labels.into()),
        ("taints".into(), taints.into()),
        ("gpu_models".into(), models.into()),
        ("cpu_milli".into(), number(node.capacity.cpu_milli)),
        ("memory".into(), number(node.capacity.memory_bytes)),
        ("gpus".into(), number(node.gpus.len() as u64)),
    ]);
    fields.extend(node.offer.price.map(|price| ("price".into(), number(price.0))));
    let mut context = Context::default();
    context.add_variable_from_value("node", fields);
    match Value::resolve(&expression, &context) {
        Ok(Value::Bool(truth)) => Some(truth),
        Ok(other) => panic!("{text} is {other:?}"),
        Err(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_we_decide_the_library_decides(text in conditions(), node in nodes()) {
        match text.parse::<NodeCondition>() {
            Ok(condition) => prop_assert_eq!(condition.decide(&node).ok(), by_library(&text, &node), "{}", text),
            Err(why) => prop_assert!(why.to_string().contains("WHERE_"), "{}: {}", text, why),
        }
    }

    /// Nothing is taken that is no CEL, or that means something else there.
    #[test]
    fn what_we_take_the_library_takes(
        text in conditions(),
        node in nodes(),
        place in any::<prop::sample::Index>(),
        gone in 0_usize..4,
        put in one_of(&["", " ", "'", "\"", "\\", "(", ")", "[", "]", "!", "-", "1", "in", "==", "&&", "||", ",", ".", "x", "\n", "//"]),
    ) {
        let chars: Vec<char> = text.chars().collect();
        let at = place.index(chars.len());
        let rest = chars.iter().skip(at + gone);
        let text: String = chars[..at].iter().copied().chain(put.chars()).chain(rest.copied()).collect();
        if let Ok(condition) = text.parse::<NodeCondition>() {
            prop_assert_eq!(condition.decide(&node).ok(), by_library(&text, &node), "{}", text);
        }
    }
}

//! What is shown of namespaces.

use quorate_proto::v1;

use super::{check, resources};
use crate::render::namespace::{FairnessShown, NamespaceCreated, NamespaceList, NamespaceSet, NamespaceShown};
use crate::render::{Paint, View};

fn plain() -> v1::NamespaceSummary {
    let share = v1::Share { weight: 100, ..v1::Share::default() };
    v1::NamespaceSummary {
        name: "acme".into(),
        created_at_ms: 1_700_000_000_000,
        share: Some(share),
        used: resources(0, 0),
        used_alone: resources(0, 0),
        ..v1::NamespaceSummary::default()
    }
}

fn vision() -> v1::NamespaceSummary {
    let share = v1::Share {
        parent: "acme".into(),
        weight: 300,
        guaranteed: Some(v1::Amounts { cpu_milli: Some(4_000), ..v1::Amounts::default() }),
        maximum: Some(v1::Amounts { cpu_milli: Some(8_500), memory_bytes: Some(64 << 30), gpu_milli: Some(0) }),
    };
    v1::NamespaceSummary {
        name: "vision".into(),
        share: Some(share),
        used: resources(6_000, 12 << 30),
        used_alone: resources(5_000, 10 << 30),
        waiting: 40,
        used_ppm: 250_000,
        past_ppm: 31_250,
        fair_ppm: 666_666,
        ..plain()
    }
}

fn fairness() -> Option<v1::Fairness> {
    Some(v1::Fairness { half_life_ms: 600_000, overdue_ms: 14_400_000 })
}

#[test]
fn namespace_list() {
    let namespaces = vec![plain(), vision()];
    let list = NamespaceList::from(v1::ListNamespacesResponse { namespaces, revision: 57, fairness: fairness() });
    check("namespace_list", &list);
    let expected = "\
NAMESPACE  BELOW  WEIGHT  USED               SHARE  FAIR   GUARANTEED  MAXIMUM                    WAITING  CREATED
acme       -      100     -                  0.0%   0.0%   -           -                          0        2023-11-14T22:13:20Z
vision     acme   300     cpu=6,memory=12Gi  25.0%  66.6%  cpu=4       cpu=8500m,memory=64Gi,gpu=0  40       2023-11-14T22:13:20Z";
    let words =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(words(&list.human(Paint::Never)), words(expected));
}

#[test]
fn namespace_created() {
    check("namespace_created", &NamespaceCreated { namespace: "acme".into(), revision: 58 });
}

#[test]
fn namespace_set() {
    let response = v1::SetNamespaceResponse { namespace: Some(vision()), revision: 58 };
    check("namespace_set", &NamespaceSet::from(response));
}

#[test]
fn namespace() {
    let response = v1::GetNamespaceResponse {
        namespace: Some(vision()),
        below: vec![v1::NamespaceSummary { name: "night".into(), ..plain() }],
        fairness: fairness(),
        revision: 57,
    };
    let shown = NamespaceShown::from(response);
    check("namespace", &shown);
    let expected = "\
Namespace   vision, created 2023-11-14T22:13:20Z
Below       acme
Weight      300, which is 66.6% of the cluster now
Used        cpu=6,memory=12Gi, which is 25.0% of the cluster, and 3.1% over time
Alone       cpu=5,memory=10Gi
Guaranteed  cpu=4
Borrowed    cpu=2,memory=12Gi
Maximum     cpu=8500m,memory=64Gi,gpu=0
Waiting     40 tasks
Fairness    what was held 10m00s ago counts half; a task that has waited 4h00m goes before all that have not";
    assert!(shown.human(Paint::Never).starts_with(expected), "{}", shown.human(Paint::Never));
}

#[test]
fn fairness_is_said_in_a_sentence() {
    let shown = FairnessShown::new(fairness(), 57);
    check("fairness", &shown);
    let none = FairnessShown::new(Some(v1::Fairness { half_life_ms: 0, overdue_ms: 0 }), 57);
    let expected = "Only what runs counts; a task never goes first for having waited";
    assert_eq!(none.human(Paint::Never), expected);
    assert!(FairnessShown::new(None, 57).human(Paint::Never).contains("replica list"));
}

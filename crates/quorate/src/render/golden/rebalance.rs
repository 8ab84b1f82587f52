//! What would be moved to better places, and what is.

use quorate_proto::v1;

use super::check;
use crate::render::rebalance::{RebalancePlan, RebalanceShown};
use crate::render::{Paint, View as _};

fn terms() -> v1::RebalanceTerms {
    v1::RebalanceTerms {
        goal: v1::RebalanceGoal::Spread.into(),
        reach: v1::RebalanceReach::Region.into(),
        moves_max: 40,
        at_once: 4,
        share_percent: 10,
        margin: 10,
        for_ms: 1_800_000,
    }
}

fn score() -> v1::RebalanceMove {
    v1::RebalanceMove {
        run_id: "0123456789abc".into(),
        namespace: "default".into(),
        job: "nightly".into(),
        task: "score".into(),
        index: 7,
        attempt: 2,
        from_node: "eu-1-a".into(),
        from_region: "eu".into(),
        to_node: "eu-1-b".into(),
        to_region: "eu".into(),
        before: 914_000,
        after: 851_234,
    }
}

#[test]
fn a_plan_says_what_would_be_moved_and_what_that_would_bring() {
    let plan = v1::PlanRebalanceResponse {
        moves: vec![score()],
        fullest_before: 914_000,
        emptiest_before: 0,
        fullest_after: 479_999,
        emptiest_after: 382_000,
        distance_before: 0,
        distance_after: 0,
        spared: vec![v1::RebalanceSpared { why: "STARTED_ONCE".into(), attempts: 3 }],
        is_whole: true,
        revision: 57,
    };
    let shown = RebalancePlan::new(terms(), plan.clone());
    check("rebalance_plan", &shown);
    let expected = "\
1 task would be moved (spread, each within its region)
Nodes      0.0% to 91.4% full now, 38.2% to 47.9% then
Stay       3 are at_most_once

RUN            TASK      FROM       TO         BEFORE  AFTER
0123456789abc  score[7]  eu/eu-1-a  eu/eu-1-b  91.4%   85.1%";
    assert_eq!(shown.human(Paint::Never), expected);
    let prefers = v1::RebalanceTerms { goal: v1::RebalanceGoal::Prefer.into(), reach: 3, ..terms() };
    let plan = v1::PlanRebalanceResponse { distance_before: 3_232, distance_after: 3_182, is_whole: false, ..plan };
    let text = RebalancePlan::new(prefers, plan).human(Paint::Never);
    assert!(text.contains("(prefer)") && text.contains("3232 from what jobs prefer now, 3182 then"), "{text}");
    assert!(text.contains("more to look at"), "{text}");
}

#[test]
fn a_rebalance_says_how_far_it_is_and_why_it_is_over() {
    let row = v1::Rebalance {
        number: 3,
        terms: Some(terms()),
        by: "anonymous-local".into(),
        at_ms: 1_763_900_000_000,
        remaining_ms: 1_690_000,
        begun: 7,
        arrived: 5,
        missed: 1,
        ended: 0,
        ended_at_ms: None,
        why: String::new(),
    };
    let shown = RebalanceShown::new(Some(row.clone()), vec![score()], 57);
    check("rebalance", &shown);
    let text = shown.human(Paint::Never);
    assert!(
        text.contains("goes on, for 28m10s more at most") && text.contains("score[7]  eu/eu-1-a  eu/eu-1-b"),
        "{text}"
    );
    assert!(text.contains("7 of at most 40: 5 arrived, 1 ended before or went elsewhere, 1 under way"), "{text}");
    let over = v1::Rebalance {
        ended: v1::RebalanceEnd::Draining.into(),
        ended_at_ms: Some(1_763_900_100_000),
        why: "nodes are being drained, which comes first".into(),
        ..row
    };
    let shown = RebalanceShown::new(Some(over), Vec::new(), 58);
    check("rebalance_over", &shown);
    assert!(shown.human(Paint::Never).contains(": nodes are being drained, which comes first"));
    assert!(RebalanceShown::new(None, Vec::new(), 1).human(Paint::Never).contains("rebalance plan"));
}

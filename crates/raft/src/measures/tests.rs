//! The stages of a proposal as they are measured.

use super::*;

fn count(measures: &Measures, name: &str) -> u64 {
    let families = measures.registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("{name} is missing"));
    family.get_metric().iter().map(|metric| metric.get_histogram().get_sample_count()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_proposal_is_seen_in_each_stage_and_as_a_whole() {
    let measures = Arc::new(Measures::new().unwrap());
    let proposed = Instant::now();
    tokio::time::advance(Duration::from_millis(3)).await;
    let mut passage = measures.entry(7, 900, [proposed, proposed].into_iter());
    tokio::time::advance(Duration::from_millis(20)).await;
    passage.committed();
    tokio::time::advance(Duration::from_millis(400)).await;
    passage.done();
    measures.answered(proposed);
    let near = |seen: f64, expected: f64| assert!((seen - expected).abs() < 0.002, "{seen}, not {expected}");
    assert_eq!(measures.queued.get_sample_count(), 2);
    near(measures.queued.get_sample_sum(), 0.006);
    near(measures.replicated.get_sample_sum(), 0.020);
    near(measures.applied.get_sample_sum(), 0.400);
    near(measures.whole.get_sample_sum(), 0.423);
    near(measures.entry_items.get_sample_sum(), 7.0);
    assert_eq!(count(&measures, "quorate_proposal_stage_seconds"), 4);
}

#[tokio::test(start_paused = true)]
async fn what_no_quorum_had_counts_in_no_later_stage() {
    let measures = Arc::new(Measures::new().unwrap());
    let passage = measures.entry(1, 1, std::iter::empty());
    passage.done();
    assert_eq!(count(&measures, "quorate_proposal_stage_seconds"), 0);
}

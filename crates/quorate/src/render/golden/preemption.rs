//! Whose tasks are stopped to make room for others.

use quorate_proto::v1;

use super::check;
use crate::render::preemption::PreemptionShown;
use crate::render::{Paint, View as _};

#[test]
fn preemption_is_said_in_sentences() {
    let said =
        v1::Preemption { by_priority: true, gap: 10, spare_ms: 60_000, times_max: 5, by_share: true, share_gap: None };
    let shown = PreemptionShown::new(Some(said), 57);
    check("preemption", &shown);
    let expected = "\
By priority  on: a task that fits nowhere takes the room of others that are at least 10 less urgent
By share     on: namespaces below their part take the room of others above theirs, which keep 10% more than it
Spared       for 1m00s after it was placed, and twice as long after each time
At most      5 times each task";
    assert_eq!(shown.human(Paint::Never), expected);
    let off = v1::Preemption { by_priority: false, spare_ms: 0, times_max: 1, by_share: false, ..said };
    let text = PreemptionShown::new(Some(off), 57).human(Paint::Never);
    assert!(
        text.contains("off: nobody is stopped for what is")
            && text.contains("for what namespaces have")
            && text.contains("nobody is spared")
            && text.contains("1 time each"),
        "{text}"
    );
    assert!(PreemptionShown::new(None, 57).human(Paint::Never).contains("--by-priority on"));
}

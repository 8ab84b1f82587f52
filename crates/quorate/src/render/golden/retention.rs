//! What is said of how long runs are kept.

use quorate_proto::v1;

use super::check;
use crate::render::retention::{Kept, RetentionSet};
use crate::render::{Paint, View as _};

fn limits() -> v1::Retention {
    v1::Retention {
        memory_runs_max: 10_000,
        memory_rows_max: 500_000,
        archive_runs_max: 1_000_000,
        archive_ms_max: 90 * 86_400_000,
        history_revisions_max: 50_000_000,
        segment_runs_max: 10_000,
    }
}

fn kept() -> v1::GetRetentionResponse {
    v1::GetRetentionResponse {
        limits: Some(limits()),
        memory_runs: 9_800,
        unfinished_runs: 12,
        memory_rows: 41_000,
        archive_runs: 128_400,
        segments: 13,
        oldest_submitted_at_ms: Some(1_700_000_000_000),
        forgotten_at_ms: Some(1_707_776_000_000),
        history_from: 4_711,
        revision: 2_004_711,
    }
}

fn set(limits: v1::Retention) -> RetentionSet {
    RetentionSet::new(kept(), v1::SetRetentionResponse { limits: Some(limits), revision: 2_004_712 })
}

#[test]
fn retention() {
    let shown = Kept::from(kept());
    check("retention", &shown);
    let expected = "\
KEPT                          NOW      AT MOST   FULL  BEYOND THAT
ended runs in memory          9800     10000     98%   the first to end go to the archive
tasks and attempts in memory  41000    500000    8%    runs that have ended go to the archive
runs in the archive           128400   1000000   12%   the oldest segment is forgotten
revisions of history          2000000  50000000  4%    the oldest history is forgotten

Unfinished  12 runs, all in memory
Oldest run  submitted 2023-11-14T22:13:20Z
Archive     13 segments, 10000 runs each at most, forgotten as a whole
Forgotten   90d00h after their end; the oldest segment at 2024-02-12T22:13:20Z
History     since revision 4711 of 2004711";
    assert_eq!(shown.human(Paint::Never), expected);
}

#[test]
fn an_empty_archive_without_limits_says_so() {
    let nothing = v1::GetRetentionResponse {
        limits: Some(v1::Retention { memory_runs_max: 0, archive_ms_max: 0, ..limits() }),
        ..v1::GetRetentionResponse::default()
    };
    let text = Kept::from(nothing).human(Paint::Never);
    assert!(text.contains("ended runs in memory          0    0         -     the first"), "{text}");
    assert!(text.contains("\nOldest run  none is kept\nArchive     0 segments, "), "{text}");
    assert!(text.contains("\nForgotten   runs are not forgotten for their age\n"), "{text}");
}

#[test]
fn a_change_says_what_was_what_is_and_what_goes_for_it() {
    let lower = v1::Retention {
        memory_runs_max: 1_000,
        memory_rows_max: 40_000,
        archive_runs_max: 100_000,
        archive_ms_max: 30 * 86_400_000,
        history_revisions_max: 1_500_000,
        segment_runs_max: 5_000,
    };
    let changed = set(lower);
    check("retention_set", &changed);
    let expected = "\
Since revision 2004712 this is kept at most:
  ended runs in memory: 1000 (was 10000)
  tasks and attempts in memory: 40000 (was 500000)
  runs in the archive: 100000 (was 1000000)
  time in the archive: 30d00h (was 90d00h)
  revisions of history: 1500000 (was 50000000)
  runs of a segment: 5000 (was 10000)
8800 runs that ended first go to the archive soon, where they are still found
1000 tasks and attempts too many are in memory: runs that have ended go to the archive soon, where they are still found
About 28400 runs of the archive will be forgotten soon, in whole segments, and do not come back
Segments of which all runs ended more than 30d00h ago will be forgotten soon, and do not come back
What happened in the oldest 500000 revisions will be forgotten, and does not come back";
    assert_eq!(changed.human(Paint::Never), expected);
}

#[test]
fn a_change_that_nothing_goes_for_says_no_more() {
    let higher = set(v1::Retention { archive_runs_max: 2_000_000, archive_ms_max: 0, ..limits() }).human(Paint::Never);
    let expected = "\
Since revision 2004712 this is kept at most:
  runs in the archive: 2000000 (was 1000000)
  time in the archive: for ever (was 90d00h)";
    assert_eq!(higher, expected);
    assert_eq!(set(limits()).human(Paint::Never), "Nothing has changed: what is kept was so before");
}

//! The history as it is read back from disk: the event rows of one run, and where in it an instant lies.
//!
//! Rows are in order of the log and of nothing else: an index by run would be a second row for every event,
//! for something that is asked seldom. So whoever wants those of one run looks at all of a range, and this
//! file makes that cheap: rows that are not about the run are told by their bytes, and the range ends where
//! nothing can have happened to the run any more.

use quorate_proto::format::FormatError;
use quorate_proto::rows::{decode_event, event_key, may_be_about};
use quorate_seams::{DiskError, DiskView, Table};
use quorate_state::{EventRow, Millis, Revision, RunId};

/// Where an event stands: its revision, and its place among the events of that entry.
pub type EventPlace = (Revision, u32);

/// Event rows of one run out of a part of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunEvents {
    /// In order.
    pub rows: Vec<EventRow>,
    /// How many rows were looked at, of whatever run.
    pub looked_at: usize,
    /// The last of them, when there may be more behind it.
    pub stopped_at: Option<EventPlace>,
}

/// Why history cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The store failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A row is not what this version writes.
    #[error("an event row cannot be read: {0}")]
    Row(#[from] FormatError),
}

/// The rows of `run` behind `after` and up to `through`, out of the next `rows_max` rows.
pub(crate) fn of_run(
    view: &dyn DiskView,
    run: RunId,
    after: EventPlace,
    through: Revision,
    rows_max: usize,
) -> Result<RunEvents, Unreadable> {
    if after.0 > through {
        return Ok(RunEvents::default());
    }
    let from = [&event_key(after.0, after.1)[..], &[0]].concat();
    let to = event_key(next(through), 0);
    let found = view.scan(Table::Events, &from, Some(&to), rows_max)?;
    let mut events = RunEvents { looked_at: found.len(), ..RunEvents::default() };
    for (key, value) in found.iter().filter(|(_, value)| may_be_about(value, run)) {
        let row = decode_event(key, value)?;
        if row.event.run() == Some(run) {
            events.rows.push(row);
        }
    }
    if let Some((key, value)) = found.last().filter(|_| found.len() == rows_max) {
        let last = decode_event(key, value)?;
        events.stopped_at = Some((last.revision, last.sequence));
    }
    Ok(events)
}

/// A revision from `from` to `through` behind which, up to `through`, everything happened later than `at`.
///
/// Log time never goes back, so the place is found by halving: in some fifty looks, whatever the length.
pub(crate) fn up_to(
    view: &dyn DiskView,
    from: Revision,
    through: Revision,
    at: Millis,
) -> Result<Revision, Unreadable> {
    let end = event_key(next(through), 0);
    // What lies behind `high` is later than `at`; the place is not before `low`.
    let (mut low, mut high) = (from.0, through.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let behind = view.scan(Table::Events, &event_key(next(Revision(middle)), 0), Some(&end), 1)?;
        match behind.first().map(|(key, value)| decode_event(key, value)).transpose()? {
            Some(row) if row.at <= at => low = row.revision.0,
            Some(_) | None => high = middle,
        }
    }
    Ok(Revision(high))
}

fn next(revision: Revision) -> Revision {
    Revision(revision.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use quorate_proto::rows::encode_event;
    use quorate_seams::Row;
    use quorate_state::{Event, RunState};

    use super::*;

    /// A table of events and nothing else.
    struct Rows(BTreeMap<Bytes, Bytes>);

    impl DiskView for Rows {
        fn get(&self, _: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(&self, _: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
            let rows = self.0.range(Bytes::copy_from_slice(from)..);
            let rows = rows.take_while(|(key, _)| to.is_none_or(|to| key[..] < *to));
            Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
        }

        fn last(&self, _: Table, _: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
            Ok(self.0.last_key_value().map(|(key, value)| (key.clone(), value.clone())))
        }
    }

    const MINE: RunId = RunId(7);

    /// Revisions 10, 12, 14 … with two events each: of our run at every tenth, else of another. An event of
    /// revision r happened at ten times r.
    fn history(revisions: u64) -> Rows {
        let rows = (0..revisions).flat_map(|number| {
            let revision = Revision(10 + 2 * number);
            let run = if number.is_multiple_of(10) { MINE } else { RunId(1_000 + number) };
            let at = Millis(revision.0 * 10);
            let row = move |sequence, event| encode_event(&EventRow { revision, sequence, at, event });
            [row(0, Event::RunStarted { run }), row(1, Event::RunEnded { run, state: RunState::Failed })]
        });
        Rows(rows.collect())
    }

    fn places(events: &RunEvents) -> Vec<(u64, u32)> {
        events.rows.iter().map(|row| (row.revision.0, row.sequence)).collect()
    }

    const START: EventPlace = (Revision(9), u32::MAX);

    #[test]
    fn the_events_of_one_run_are_found_among_all() {
        let rows = history(25);
        let all = of_run(&rows, MINE, START, Revision(100), 1_000).unwrap();
        assert_eq!(places(&all), [(10, 0), (10, 1), (30, 0), (30, 1), (50, 0), (50, 1)]);
        assert_eq!((all.looked_at, all.stopped_at), (50, None));
        let until = of_run(&rows, MINE, START, Revision(30), 1_000).unwrap();
        assert_eq!(places(&until), [(10, 0), (10, 1), (30, 0), (30, 1)]);
        let after = of_run(&rows, MINE, (Revision(30), 0), Revision(49), 1_000).unwrap();
        assert_eq!(places(&after), [(30, 1)], "a revision may be cut in two");
    }

    #[test]
    fn pieces_of_any_size_follow_each_other_without_a_gap() {
        let rows = history(25);
        let whole = places(&of_run(&rows, MINE, START, Revision(100), 1_000).unwrap());
        for rows_max in 1..60 {
            let (mut told, mut after) = (Vec::new(), Some(START));
            while let Some(place) = after {
                let piece = of_run(&rows, MINE, place, Revision(100), rows_max).unwrap();
                assert!(piece.looked_at <= rows_max);
                told.extend(places(&piece));
                after = piece.stopped_at;
            }
            assert_eq!(told, whole, "{rows_max} at once");
        }
    }

    #[test]
    fn an_instant_lies_behind_everything_that_happened_by_then() {
        let rows = history(25);
        for (at, last) in [(99, None), (100, Some(10)), (119, Some(10)), (300, Some(30)), (580, Some(58))] {
            let place = up_to(&rows, Revision(5), Revision(1 << 50), Millis(at)).unwrap();
            let before = of_run(&rows, MINE, (Revision(0), 0), place, 1_000).unwrap();
            let after = rows.0.iter().map(|(key, value)| decode_event(key, value).unwrap());
            let after: Vec<u64> = after.filter(|row| row.revision > place).map(|row| row.at.0).collect();
            assert!(before.rows.iter().all(|row| row.at.0 <= at) && after.iter().all(|then| *then > at), "{at}");
            if let Some(last) = last {
                assert_eq!(place.0 / 2 * 2, last, "{at}");
            }
        }
    }
}

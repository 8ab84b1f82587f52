//! Runs of the archive in lists, and how they come together with those in memory.

use quorate_proto::convert::run::counted_run_to_wire;
use quorate_proto::rows::Place;
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::Search;
use quorate_state::{Revision, Run, RunId, State, StepCounts};

use super::page::ROWS_LOOKED_AT_MAX;
use crate::core::{Core, read_error};

/// A run's place in the submit order.
pub(super) type Order = (Revision, u32, RunId);

/// Runs in order, the newest first, and the place behind which there may be more.
pub(super) type Listed = (Vec<(Order, v1::Run)>, Option<Order>);

/// A run as lists show it: without what it was told and what came out of it, which may be large and stand at the run itself.
pub(super) fn listed(run: &Run, counts: StepCounts, view: &State) -> v1::Run {
    let mut row = counted_run_to_wire(run, counts, view);
    row.args.clear();
    row.result.clear();
    row
}

/// Archived runs after a place, at most `size`.
pub(super) fn list(
    core: &Core,
    view: &State,
    search: &Search,
    after: Option<Order>,
    size: usize,
) -> Result<Listed, ApiError> {
    let archive = core.replica.archive(view);
    if archive.is_empty() {
        return Ok((Vec::new(), None));
    }
    let from = after.map_or(Place::NEWEST, |(revision, item, _)| Place::of(revision, item).next());
    let found = archive.search(search, from, size, ROWS_LOOKED_AT_MAX).map_err(read_error)?;
    // What was archived since the view was taken is in it as well.
    let heads = found.heads.into_iter().filter(|head| view.run(head.run.id).is_none());
    let runs = heads.map(|head| {
        let order = (head.run.submitted_revision, head.run.submitted_item, head.run.id);
        (order, listed(&head.run, head.counts, view))
    });
    let stopped = found.resume.map(|resume| {
        let (revision, item) = resume.before().submitted();
        // Before all ids of that place: it was looked at.
        (revision, item, RunId(0))
    });
    Ok((runs.collect(), stopped))
}

/// One list of several.
pub(super) struct Merged {
    /// The newest first.
    pub(super) runs: Vec<v1::Run>,
    /// There may be more behind this place.
    pub(super) stopped: Option<Order>,
}

impl Merged {
    /// The first `size` of all that are known to come first: behind the place at which one list stopped, the other ones may
    /// know of runs that come later than some of it.
    pub(super) fn of(lists: [Listed; 2], size: usize) -> Self {
        let mut stopped = lists.iter().filter_map(|(_, stopped)| *stopped).max();
        let mut runs: Vec<(Order, v1::Run)> = lists.into_iter().flat_map(|(runs, _)| runs).collect();
        runs.retain(|(order, _)| stopped.is_none_or(|stopped| *order >= stopped));
        runs.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        if runs.len() > size {
            runs.truncate(size);
            stopped = runs.last().map(|(order, _)| *order);
        }
        Self { runs: runs.into_iter().map(|(_, run)| run).collect(), stopped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(numbers: &[u64], stopped: Option<u64>) -> Listed {
        let order = |number: u64| (Revision(number), 0, RunId(number));
        let run = |number: &u64| (order(*number), v1::Run { id: number.to_string(), ..v1::Run::default() });
        (numbers.iter().map(run).collect(), stopped.map(order))
    }

    fn merged(one: Listed, other: Listed, size: usize) -> (Vec<String>, Option<u64>) {
        let found = Merged::of([one, other], size);
        let ids = found.runs.into_iter().map(|run| run.id).collect();
        (ids, found.stopped.map(|(revision, ..)| revision.0))
    }

    #[test]
    fn a_page_ends_where_one_of_its_lists_may_go_on() {
        let all = merged(listed(&[9, 7], None), listed(&[8, 2], None), 10);
        assert_eq!(all, (vec!["9".into(), "8".into(), "7".into(), "2".into()], None));
        let full = merged(listed(&[9, 7], None), listed(&[8, 2], None), 3);
        assert_eq!(full, (vec!["9".into(), "8".into(), "7".into()], Some(7)));
        let stopped = merged(listed(&[9, 7, 3], Some(3)), listed(&[8, 6], Some(5)), 10);
        assert_eq!(stopped, (vec!["9".into(), "8".into(), "7".into(), "6".into()], Some(5)), "3 may not be the next");
        assert_eq!(merged(listed(&[], None), listed(&[], Some(4)), 10), (vec![], Some(4)));
    }
}

//! Runs of the archive as they are read back from disk: one by its id, and those that are searched for, the newest first.
//!
//! A segment holds, for every word by which its runs can be searched for, their places in order. What has several words is
//! where all their lists meet: each list is asked for its first place that is not before the furthest of the others, so
//! that a rare word makes a search cheap whatever the others are. Segments overlap little in the order of submits; one is
//! opened when its newest run may be the next. How many rows are looked at is bounded, and whoever needs more goes on from
//! where it stopped.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::rows::{
    ArchivedHead, Place, Word, attempt_key, body_key, decode_archived_attempt, decode_archived_task, decode_body,
    decode_head, head_key, id_key, place_of, run_of_id_key, task_key, word_key,
};
use quorate_seams::{DiskView, Row, Table};
use quorate_state::{ArchivedRun, Attempt, AttemptId, Millis, Revision, RunId, RunState, Segment, State, Task, TaskId};

use crate::ReadError;

/// Places read from disk at once, at first; then more and more, up to the second.
const PLACES_PER_READ: (usize, usize) = (16, 1_024);

/// The archive at a point in time.
pub struct Archive {
    view: Arc<dyn DiskView>,
    /// The one with the newest run first.
    segments: Vec<Arc<Segment>>,
}

/// What is searched for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// A run has all of these.
    pub words: Vec<Word>,
    /// And is in one of these states; empty: in any.
    pub states: Vec<RunState>,
    /// It was submitted at this instant or later.
    pub since: Option<Millis>,
    /// And before this one.
    pub until: Option<Millis>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest first.
    pub heads: Vec<ArchivedHead>,
    /// There may be more from this place on.
    pub resume: Option<Place>,
}

/// What of a run is read with it.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// So many of its tasks, from this one on to before that one.
    pub tasks: Option<(Range<TaskId>, usize)>,
    /// So many of its attempts, likewise.
    pub attempts: Option<(Range<AttemptId>, usize)>,
}

impl Archive {
    /// The archive of `state` in a view that was taken after it.
    pub(crate) fn new(view: Arc<dyn DiskView>, state: &State) -> Self {
        let mut segments: Vec<_> = state.segments().cloned().collect();
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.last_submitted));
        Self { view, segments }
    }

    /// True when there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The run of an id.
    ///
    /// # Errors
    /// The disk failed, or a row is not what this version writes.
    pub fn run(&self, run: RunId) -> Result<Option<ArchivedRun>, ReadError> {
        for segment in &self.segments {
            let body = self.view.get(Table::State, &body_key(segment.number, run)).map_err(storage)?;
            if let Some(body) = body {
                return decode_body(segment.number, run, &body).map(Some).map_err(storage);
            }
        }
        Ok(None)
    }

    /// The ids from `first` to `last` that runs have, at most `limit` of each segment.
    ///
    /// # Errors
    /// Like [`Self::run`].
    pub fn ids_between(&self, first: RunId, last: RunId, limit: usize) -> Result<Vec<RunId>, ReadError> {
        let mut ids = Vec::new();
        for segment in &self.segments {
            let end = after(&id_key(segment.number, last));
            for (key, _) in self.scan(&id_key(segment.number, first), &end, limit)? {
                ids.push(run_of_id_key(&key).map_err(storage)?);
            }
        }
        Ok(ids)
    }

    /// `state` with an archived run in it and these parts of it.
    ///
    /// # Errors
    /// Like [`Self::run`].
    pub fn shown(&self, state: &State, run: &ArchivedRun, parts: &Parts) -> Result<State, ReadError> {
        let id = run.run.id;
        let mut tasks = Vec::new();
        if let Some((range, limit)) = &parts.tasks {
            // Those that have not followed their run yet.
            tasks.extend(
                state.tasks_of(id).filter(|task| range.contains(&task.id)).take(*limit).map(|row| (**row).clone()),
            );
            tasks.extend(self.tasks(run.segment, range, *limit)?);
        }
        let mut attempts = Vec::new();
        if let Some((range, limit)) = &parts.attempts {
            let rest = state.attempts_of_run(id).filter(|attempt| range.contains(&attempt.id));
            attempts.extend(rest.take(*limit).map(|row| (**row).clone()));
            attempts.extend(self.attempts(run.segment, range, *limit)?);
        }
        Ok(state.with_archived(run, tasks, attempts))
    }

    fn tasks(&self, segment: u32, range: &Range<TaskId>, limit: usize) -> Result<Vec<Task>, ReadError> {
        let rows = self.scan(&task_key(segment, range.start), &task_key(segment, range.end), limit)?;
        rows.iter().map(|(key, value)| decode_archived_task(key, value).map_err(storage)).collect()
    }

    fn attempts(&self, segment: u32, range: &Range<AttemptId>, limit: usize) -> Result<Vec<Attempt>, ReadError> {
        let rows = self.scan(&attempt_key(segment, range.start), &attempt_key(segment, range.end), limit)?;
        rows.iter().map(|(key, value)| decode_archived_attempt(key, value).map_err(storage)).collect()
    }

    /// The next runs from a place on that are what is searched for, at most `size`; about `looks` rows are looked at.
    ///
    /// # Errors
    /// Like [`Self::run`].
    pub fn search(&self, search: &Search, from: Place, size: usize, looks: usize) -> Result<Found, ReadError> {
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        let may_have = |segment: &&Arc<Segment>| {
            Place::of(segment.first_submitted, 0) >= from
                && search.since.is_none_or(|since| segment.last_submitted_at >= since)
                && search.until.is_none_or(|until| segment.first_submitted_at < until)
        };
        let mut unopened = self.segments.iter().filter(may_have).peekable();
        let (mut heads, mut looks) = (Vec::new(), looks);
        loop {
            let next = lanes.iter().filter_map(|lane| lane.next).min();
            let newest = unopened.peek().map(|segment| Place::of(segment.last_submitted, u32::MAX));
            if let Some(segment) =
                unopened.next_if(|_| next.is_none_or(|next| newest.is_some_and(|newest| newest <= next)))
            {
                let mut lane = Lane::open(&*self.view, segment, search, from)?;
                if lane.advance(&mut looks)? {
                    lanes.push(lane);
                    continue;
                }
                lanes.push(lane);
                return Ok(Found { heads, resume: frontier(&lanes, newest) });
            }
            let Some(place) = next else { return Ok(Found { heads, resume: None }) };
            let Some(lane) = lanes.iter_mut().find(|lane| lane.next == Some(place)) else {
                return Ok(Found { heads, resume: None });
            };
            let head = lane.head(place)?;
            if search.since.is_some_and(|since| head.run.submitted_at < since) {
                return Ok(Found { heads, resume: None });
            }
            if search.states.is_empty() || search.states.contains(&head.run.state) {
                heads.push(head);
            }
            if heads.len() == size {
                return Ok(Found { heads, resume: Some(place.next()) });
            }
            lane.from = place.next();
            if !lane.advance(&mut looks)? {
                let newest = unopened.peek().map(|segment| Place::of(segment.last_submitted, u32::MAX));
                return Ok(Found { heads, resume: frontier(&lanes, newest) });
            }
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, ReadError> {
        self.view.scan(Table::State, from, Some(to), limit).map_err(storage)
    }
}

/// Where to go on when looking ended before its time: all before it was looked at.
fn frontier(lanes: &[Lane<'_>], unopened: Option<Place>) -> Option<Place> {
    let opened = lanes.iter().filter(|lane| !lane.ended).map(|lane| lane.next.unwrap_or(lane.from));
    opened.chain(unopened).min()
}

/// A search in one segment.
struct Lane<'a> {
    view: &'a dyn DiskView,
    segment: u32,
    lists: Vec<List>,
    /// Nothing before this is of interest any more.
    from: Place,
    /// The first from there on.
    next: Option<Place>,
    /// There is nothing from there on.
    ended: bool,
}

impl<'a> Lane<'a> {
    fn open(view: &'a dyn DiskView, segment: &Segment, search: &Search, from: Place) -> Result<Self, ReadError> {
        let number = segment.number;
        let words = search.words.iter().map(|word| List::new(word_key(number, word, Place::NEWEST)));
        let mut lists: Vec<List> = words.collect();
        if lists.is_empty() {
            lists.push(List::new(head_key(number, Place::NEWEST)));
        }
        // Nothing of it lies before its newest run.
        let from = from.max(Place::of(segment.last_submitted, u32::MAX));
        let mut lane = Self { view, segment: number, lists, from, next: None, ended: false };
        if let Some(until) = search.until.filter(|until| segment.last_submitted_at >= *until) {
            lane.from = lane.from.max(lane.first_before(segment, until)?);
        }
        Ok(lane)
    }

    /// Finds the next place from `from` on; false when the looks are used up.
    fn advance(&mut self, looks: &mut usize) -> Result<bool, ReadError> {
        self.next = None;
        let mut agreed = 0;
        let mut at = 0;
        while agreed < self.lists.len() {
            match self.lists[at].seek(self.view, self.from, looks)? {
                Sought::Stopped => return Ok(false),
                Sought::End => {
                    self.ended = true;
                    return Ok(true);
                }
                Sought::At(place) if place == self.from => agreed += 1,
                Sought::At(place) => {
                    self.from = place;
                    agreed = 1;
                }
            }
            at = (at + 1) % self.lists.len();
        }
        self.next = Some(self.from);
        Ok(true)
    }

    fn head(&self, place: Place) -> Result<ArchivedHead, ReadError> {
        let found = self.view.get(Table::State, &head_key(self.segment, place)).map_err(storage)?;
        let value = found.ok_or_else(|| ReadError::Storage("a run of the archive has no head".into()))?;
        decode_head(&value).map_err(storage)
    }

    /// The place behind all runs that were submitted at `until` or later. Log time never goes back, so it is found by
    /// halving.
    fn first_before(&self, segment: &Segment, until: Millis) -> Result<Place, ReadError> {
        let end = after(&head_key(self.segment, Place::of(Revision(0), 0)));
        let (mut low, mut high) = (segment.first_submitted.0, segment.last_submitted.0.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let newest = head_key(self.segment, Place::of(Revision(middle), u32::MAX));
            let found = self.view.scan(Table::State, &newest, Some(&end), 1).map_err(storage)?;
            let head = found.first().map(|(_, value)| decode_head(value)).transpose().map_err(storage)?;
            match head.filter(|head| head.run.submitted_at >= until) {
                Some(head) => high = head.run.submitted_revision.0,
                None => low = middle.saturating_add(1),
            }
        }
        // The newest of what was submitted below `high`.
        Ok(Place::of(Revision(high), 0).next())
    }
}

/// Places under one key without its place, in order.
struct List {
    first: Bytes,
    end: Bytes,
    read: VecDeque<Place>,
    /// How many are read next.
    chunk: usize,
    /// All were read.
    is_read: bool,
}

enum Sought {
    At(Place),
    End,
    Stopped,
}

impl List {
    /// `first` is the key of its newest place.
    fn new(first: Bytes) -> Self {
        let end = with_place(&first, Place::of(Revision(0), 0));
        Self { first, end: after(&end).into(), read: VecDeque::new(), chunk: PLACES_PER_READ.0, is_read: false }
    }

    /// The first place that is not before this one.
    fn seek(&mut self, view: &dyn DiskView, place: Place, looks: &mut usize) -> Result<Sought, ReadError> {
        let skip = self.read.partition_point(|read| *read < place);
        self.read.drain(..skip);
        if let Some(found) = self.read.front() {
            return Ok(Sought::At(*found));
        }
        if self.is_read {
            return Ok(Sought::End);
        }
        if *looks == 0 {
            return Ok(Sought::Stopped);
        }
        let limit = self.chunk.min(*looks);
        let rows = view.scan(Table::State, &with_place(&self.first, place), Some(&self.end), limit).map_err(storage)?;
        *looks -= rows.len().clamp(1, *looks);
        self.is_read = rows.len() < limit;
        self.chunk = (self.chunk * 4).min(PLACES_PER_READ.1);
        for (key, _) in &rows {
            self.read.push_back(place_of(key).map_err(storage)?);
        }
        Ok(self.read.front().map_or(Sought::End, |found| Sought::At(*found)))
    }
}

/// A key that ends with a place, with another one.
fn with_place(key: &[u8], place: Place) -> Bytes {
    let place = place.bytes();
    [&key[..key.len().saturating_sub(place.len())], &place[..]].concat().into()
}

/// The least key after this one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn storage(error: impl std::fmt::Display) -> ReadError {
    ReadError::Storage(error.to_string())
}

#[cfg(test)]
mod tests;

//! R3: a watch is told the run as it was at a revision, and then everything that happened to it: in
//! order, each once, without a gap, and of its end.
//!
//! Since a watch must be told exactly the next event of the reference history, one comparison per
//! message finds what is missing, doubled, out of order, or older than asked for: etcd #15271,
//! #17247, #17529, #18089, #19179, #15220, #18667, #20221.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{Event, EventRow, RunId};
use v1::watch_run_response::Item;

use super::{Known, Oracle, Verdict, told};
use crate::facts::{Fact, Watch, Watched};
use crate::ledger::Step;

/// How long after a run's end, and after the faults', a watch may take to hear of it: the client
/// gives a silent connection up after 30 s, and then has to find the leader.
const HEARS_MAX: Duration = Duration::from_secs(45);

/// See the module.
#[derive(Default)]
pub(crate) struct Watches {
    /// What happened to each run.
    events: BTreeMap<RunId, Vec<EventRow>>,
    /// When runs ended.
    ended: BTreeMap<RunId, Duration>,
    /// By their numbers.
    watches: BTreeMap<usize, Told>,
}

/// What a watch was told.
struct Told {
    run: Option<RunId>,
    /// It was told of everything up to here, or asked not to be; none before its first snapshot.
    complete: Option<u64>,
    /// The revision of the newest message.
    newest: u64,
    /// Which of the run's events comes next.
    next: usize,
    /// The revision at which it was told that the run had ended.
    end: Option<u64>,
    is_over: bool,
}

impl Oracle for Watches {
    fn id(&self) -> &'static str {
        "R3"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for row in &step.events {
            let Some(run) = row.event.run() else { continue };
            if matches!(row.event, Event::RunEnded { .. }) {
                self.ended.insert(run, step.at);
            }
            self.events.entry(run).or_default().push(row.clone());
        }
        Ok(())
    }

    fn fact(&mut self, _: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        let Fact::Watch(watch) = fact else { return Ok(()) };
        self.watched(watch, known).map_err(|what| format!("watch {} of run {}: {what}", watch.number, watch.run))
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        for (number, watch) in &self.watches {
            let Some(run) = watch.run.filter(|_| !watch.is_over && watch.end.is_none()) else { continue };
            let Some(ended) = self.ended.get(&run) else { continue };
            let healed = known.healed.unwrap_or_default();
            if (*ended).max(healed) + HEARS_MAX <= at {
                return Err(format!(
                    "watch {number} of run {run} was told up to revision {}, and not that the run ended at {ended:?}",
                    watch.newest
                ));
            }
        }
        Ok(())
    }
}

impl Watches {
    fn watched(&mut self, watch: &Watch, known: &Known<'_>) -> Verdict {
        let run = if watch.run.is_empty() { None } else { Some(told::id(&watch.run)?) };
        if let Watched::Opened { after } = watch.what {
            let complete = (after > 0).then_some(after);
            let told = Told { run, complete, newest: after, next: 0, end: None, is_over: false };
            self.watches.insert(watch.number, told);
        }
        let told = self.watches.get_mut(&watch.number).ok_or("it was never opened")?;
        told.run = told.run.or(run);
        let events = told.run.and_then(|run| self.events.get(&run)).map_or(&[][..], Vec::as_slice);
        match &watch.what {
            Watched::Opened { after } => {
                told.next = events.partition_point(|row| row.revision.0 <= *after);
                Ok(())
            }
            Watched::Failed(_) => {
                told.is_over = true;
                Ok(())
            }
            Watched::Ended => {
                told.is_over = true;
                let Some(end) = told.end else { return Err("it ended, and the run's end was not told".into()) };
                told.all_told_to(end, events)
            }
            Watched::Message(message) => {
                let judged = told.message(message, events, known);
                judged.map_err(|what| format!("{what} (revision {}, before it {})", message.revision, told.newest))?;
                told.newest = message.revision;
                Ok(())
            }
        }
    }
}

impl Told {
    fn message(&mut self, message: &v1::WatchRunResponse, events: &[EventRow], known: &Known<'_>) -> Verdict {
        let revision = message.revision;
        if revision < self.newest {
            return Err("it was told of something older".into());
        }
        let Some(step) = known.ledger.at(revision) else { return Err("nobody has applied that revision".into()) };
        match &message.item {
            Some(Item::Snapshot(snapshot)) => self.snapshot(step, snapshot, events, known),
            Some(Item::Event(told)) => {
                if self.complete.is_none_or(|complete| revision <= complete) {
                    return Err("it was told of an event that it had, or had not asked for".into());
                }
                let Some(row) = events.get(self.next) else { return Err("nothing more has happened".into()) };
                if row.revision.0 != revision {
                    return Err(format!("{told:?} was told, next is {row:?}"));
                }
                told::event(told, row, &step.after)?;
                self.next += 1;
                if matches!(row.event, Event::RunEnded { .. }) {
                    self.end = Some(revision);
                }
                Ok(())
            }
            Some(Item::Bookmark(_)) => {
                if self.complete.is_none() {
                    return Err("it began with a bookmark".into());
                }
                self.complete = Some(revision);
                self.all_told_to(revision, events)
            }
            None => Err("it was told nothing".into()),
        }
    }

    fn snapshot(&mut self, step: &Step, told: &v1::RunSnapshot, events: &[EventRow], known: &Known<'_>) -> Verdict {
        let state = &step.after;
        let run = told::run(told.run.as_ref().ok_or("the snapshot has no run")?, state)?;
        if *self.run.get_or_insert(run) != run {
            return Err(format!("it was told of run {run}"));
        }
        let Some(row) = state.run(run) else { return Err("there is no such run".into()) };
        let is_end = row.state.is_terminal();
        // In the middle of a watch it takes the place of events only when those are forgotten.
        let forgotten = known.ledger.state().map_or(0, |state| state.meta().events_from.0);
        if self.complete.is_some() && !is_end && forgotten < self.newest {
            return Err(format!("the run was told once more, though events from revision {forgotten} on are kept"));
        }
        told::steps(&told.steps, row, state)?;
        told::task_rows(&told.tasks, row, state)?;
        told::attempts(&told.attempts, true, None, row, state)?;
        self.complete = Some(step.revision.0);
        self.next = events.partition_point(|row| row.revision <= step.revision);
        if is_end {
            self.end = Some(step.revision.0);
        }
        Ok(())
    }

    /// Nothing up to a revision is left to tell.
    fn all_told_to(&self, revision: u64, events: &[EventRow]) -> Verdict {
        match events.get(self.next).filter(|row| row.revision.0 <= revision) {
            Some(row) => Err(format!("everything up to revision {revision} was told, it said, but not {row:?}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::run as convert;

    use super::*;
    use crate::oracles::trial::Trial;

    struct Watching {
        trial: Trial,
        oracle: Watches,
        run: RunId,
    }

    impl Watching {
        /// A watch of a run that was submitted and, one revision later, cancelled.
        fn new(after: impl Fn(u64) -> u64) -> Self {
            let mut trial = Trial::new(1);
            let mut oracle = Watches::default();
            trial.found(&mut oracle).unwrap();
            let run = trial.submit(&mut oracle, "job-1").unwrap();
            let after = after(trial.newest());
            trial.cancel(&mut oracle, run).unwrap();
            let mut watching = Self { trial, oracle, run };
            watching.fact(Watched::Opened { after }).unwrap();
            watching
        }

        fn fact(&mut self, what: Watched) -> Verdict {
            let watch = Watch { number: 1, run: self.run.to_string(), what };
            self.trial.feed(&mut self.oracle, Fact::Watch(watch.into()))
        }

        fn told(&mut self, revision: u64, item: Item) -> Verdict {
            self.fact(Watched::Message(v1::WatchRunResponse { revision, item: Some(item) }))
        }

        fn snapshot(&self, revision: u64) -> Item {
            let state = &self.trial.ledger.at(revision).unwrap().after;
            let run = state.run(self.run).unwrap();
            let steps = convert::step_to_wire(run, 0, state);
            Item::Snapshot(v1::RunSnapshot {
                run: Some(convert::run_to_wire(run, state)),
                steps: steps.into_iter().collect(),
                tasks: state.tasks_of(run.id).map(|task| convert::task_to_wire(task, run, state)).collect(),
                attempts: vec![],
                partial: false,
            })
        }

        fn event(&self, revision: u64) -> Item {
            let step = self.trial.ledger.at(revision).unwrap();
            Item::Event(convert::event_to_wire(&step.events[0], &step.after).unwrap())
        }
    }

    fn bookmark() -> Item {
        Item::Bookmark(v1::Bookmark {})
    }

    #[test]
    fn a_faithful_watch_is_fine() {
        let mut watching = Watching::new(|_| 0);
        let newest = watching.trial.newest();
        let snapshot = watching.snapshot(newest - 1);
        watching.told(newest - 1, snapshot).unwrap();
        let event = watching.event(newest);
        watching.told(newest, event).unwrap();
        watching.told(newest, bookmark()).unwrap();
    }

    #[test]
    fn a_gap_a_repetition_and_an_early_end_are_caught() {
        let mut watching = Watching::new(|submitted| submitted);
        let newest = watching.trial.newest();
        assert!(watching.told(newest, bookmark()).unwrap_err().contains("but not"));

        let mut watching = Watching::new(|submitted| submitted);
        let event = watching.event(newest);
        watching.told(newest, event.clone()).unwrap();
        assert!(watching.told(newest, event).unwrap_err().contains("nothing more"));
        assert!(watching.fact(Watched::Ended).unwrap_err().contains("was not told"));
    }

    #[test]
    fn what_is_older_than_asked_for_or_not_so_is_caught() {
        let mut watching = Watching::new(|submitted| submitted);
        let newest = watching.trial.newest();
        let submitted = watching.event(newest - 1);
        assert!(watching.told(newest - 1, submitted.clone()).unwrap_err().contains("not asked for"));
        assert!(watching.told(newest, submitted).unwrap_err().contains("in the history"));

        let mut watching = Watching::new(|_| 0);
        let stale = watching.snapshot(newest - 1);
        assert!(watching.told(newest, stale).unwrap_err().contains("cancelling"));
    }

    #[test]
    fn a_run_is_not_told_twice_while_its_events_are_kept() {
        let mut watching = Watching::new(|_| 0);
        let newest = watching.trial.newest();
        for (revision, expected) in [(newest - 1, true), (newest, false)] {
            let snapshot = watching.snapshot(revision);
            assert_eq!(watching.told(revision, snapshot).is_ok(), expected);
        }
    }

    #[test]
    fn a_watch_hears_of_the_end_in_time() {
        let mut watching = Watching::new(|submitted| submitted);
        watching.trial.finish(&mut watching.oracle, watching.run).unwrap();
        watching.trial.end(&mut watching.oracle).unwrap();
        watching.trial.now += HEARS_MAX;
        assert!(watching.trial.end(&mut watching.oracle).unwrap_err().contains("not that the run ended"));

        let newest = watching.trial.newest();
        for revision in newest - 2..=newest {
            let event = watching.event(revision);
            watching.told(revision, event).unwrap();
        }
        watching.fact(Watched::Ended).unwrap();
        watching.trial.end(&mut watching.oracle).unwrap();
    }
}

//! What attempts that run use, said to a leader that asks for it: a bounded number at a time, in turns, and no
//! faster than it asks.
//!
//! Nothing rests on it. So what cannot be sent at once is dropped, and the next measurement says the same again.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::convert::agent::attempt_ref_to_wire;
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message;
use quorate_seams::BootInstant;
use quorate_state::{AttemptId, Driver};
use tokio::sync::mpsc;

use super::tracked::{Standing, Tracked};
use super::{Node, Talk};
use crate::blocking::blocking;
use crate::driver::Meter;
use crate::report::Progress;
use crate::usage::Live;

/// Attempts in one message. Fewer than a leader takes, so that measuring them stays short.
const USAGES_PER_MESSAGE_MAX: usize = 256;
/// No leader is told more often than this, whatever it asks for.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// What one look at the attempts has found.
pub(super) type Found = Vec<(AttemptId, Live)>;

/// When to measure, and whom.
#[derive(Debug)]
pub(super) struct Measurements {
    /// As the leader asks for; none: it does not.
    every: Option<Duration>,
    due: BootInstant,
    /// The last one that had its turn.
    last: Option<AttemptId>,
    /// One look at a time.
    is_looking: bool,
    pub(super) found: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
}

impl Default for Measurements {
    fn default() -> Self {
        let (every, due, last, is_looking) = (None, BootInstant::from_millis(0), None, false);
        Self { every, due, last, is_looking, found: mpsc::channel(1) }
    }
}

impl Measurements {
    /// A session has begun whose leader asks for a message in every so many milliseconds; zero: for none.
    pub(super) fn begin(&mut self, every_ms: u64, now: BootInstant) {
        self.every = (every_ms > 0).then(|| Duration::from_millis(every_ms).max(EVERY_MIN));
        self.due = now + EVERY_MIN;
    }

    /// The session is over.
    pub(super) fn end(&mut self) {
        self.every = None;
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Option<BootInstant> {
        self.every.filter(|_| !self.is_looking).map(|_| self.due)
    }

    /// Whose turn it is: those after the last ones, and then from the beginning.
    fn turn(&mut self, running: impl Iterator<Item = AttemptId> + Clone) -> Vec<AttemptId> {
        let last = self.last;
        let later = running.clone().filter(|attempt| last.is_none_or(|last| *attempt > last));
        let earlier = running.filter(|attempt| last.is_some_and(|last| *attempt <= last));
        let turn: Vec<AttemptId> = later.chain(earlier).take(USAGES_PER_MESSAGE_MAX).collect();
        self.last = turn.last().copied();
        turn
    }
}

impl Node {
    /// Begins to measure when that is due.
    pub(super) fn measure(&mut self, now: BootInstant) {
        let Some(every) = self.measurements.every.filter(|_| self.measurements.due().is_some_and(|due| now >= due))
        else {
            return;
        };
        self.measurements.due = now + every;
        let meters: Vec<(Driver, Arc<dyn Meter>)> = [Driver::Process, Driver::Noop]
            .into_iter()
            .filter_map(|kind| Some((kind, self.fixed.drivers.get(kind)?.meter()?)))
            .collect();
        let runs = |one: &Tracked| matches!(one.standing, Standing::Running | Standing::Stopping);
        let can = |one: &Tracked| meters.iter().any(|(kind, _)| *kind == one.driver);
        let running = self.attempts.iter().filter(|(_, one)| runs(one) && can(one)).map(|(attempt, _)| *attempt);
        let turn = self.measurements.turn(running);
        if turn.is_empty() {
            return;
        }
        self.measurements.is_looking = true;
        let found = self.measurements.found.0.clone();
        self.tasks.spawn(async move {
            let look = || meters.iter().flat_map(|(_, meter)| meter.measure(&turn, now)).collect();
            // There is room: one look at a time.
            let _ = found.send(blocking(look)).await;
        });
    }

    /// Says what was found, if it can be said now.
    pub(super) fn on_measured(&mut self, found: Found) {
        self.measurements.is_looking = false;
        let (Talk::Welcomed(_), Some(_)) = (self.talk, self.measurements.every) else { return };
        let report = |(attempt, live): (AttemptId, Live)| {
            let token = self.attempts.get(&attempt).filter(|one| !one.is_over() && !one.refused)?.token.0;
            let progress = live.progress.clone().map(progress_to_wire);
            let usage = Some(live_to_wire(&live));
            Some(v1::UsageReport { attempt: Some(attempt_ref_to_wire(attempt)), token, usage, progress })
        };
        let reports: Vec<v1::UsageReport> = found.into_iter().filter_map(report).collect();
        if !reports.is_empty() {
            self.send(Message::Usage(v1::UsageReports { reports }));
        }
    }
}

fn progress_to_wire(progress: Progress) -> v1::Progress {
    let Progress { done_milli, words, metrics } = progress;
    let metrics = metrics.into_iter().map(|(name, value)| v1::Metric { name, value }).collect();
    v1::Progress { done_milli, words, metrics }
}

fn live_to_wire(live: &Live) -> v1::LiveUsage {
    let Live { cpu_us, cpu_milli, memory_bytes, memory_peak_bytes, read_bytes, written_bytes, progress: _ } = *live;
    v1::LiveUsage { cpu_us, cpu_milli, memory_bytes, memory_peak_bytes, read_bytes, written_bytes, age_ms: 0 }
}

#[cfg(test)]
mod tests {
    use quorate_state::{RunId, TaskId};

    use super::*;

    fn attempt(index: u32) -> AttemptId {
        AttemptId { task: TaskId { run: RunId(1), step: 0, index }, number: 1 }
    }

    #[test]
    fn everybody_has_a_turn_before_anybody_has_another() {
        let count = u32::try_from(USAGES_PER_MESSAGE_MAX).unwrap() + 10;
        let running = || (0..count).map(attempt);
        let mut measurements = Measurements::default();
        let first = measurements.turn(running());
        assert_eq!(first.len(), USAGES_PER_MESSAGE_MAX);
        let second = measurements.turn(running());
        assert_eq!(second[..10], running().skip(USAGES_PER_MESSAGE_MAX).collect::<Vec<_>>());
        assert_eq!(second[10], attempt(0), "and then from the beginning");
        assert_eq!(measurements.turn([attempt(3)].into_iter()), [attempt(3)], "each once, however few there are");
        assert_eq!(measurements.turn([].into_iter()), []);
    }

    #[test]
    fn nothing_is_due_unless_the_leader_asks_for_it() {
        let now = BootInstant::from_millis(10_000);
        let mut measurements = Measurements::default();
        assert_eq!(measurements.due(), None);
        measurements.begin(0, now);
        assert_eq!(measurements.due(), None);
        measurements.begin(5, now);
        assert_eq!((measurements.every, measurements.due()), (Some(EVERY_MIN), Some(now + EVERY_MIN)));
        measurements.is_looking = true;
        assert_eq!(measurements.due(), None, "one look at a time");
        measurements.is_looking = false;
        measurements.end();
        assert_eq!(measurements.due(), None);
    }
}

//! What consensus measures of itself: each stage of a proposal, the log's device, the other replicas.
//!
//! Only cheap things happen on the way of a proposal: a look at the clock and a few atomic additions.
//! Gauges are set when somebody asks for them. docs/operations/metrics.md says what each number means.

mod made;
mod peers;
mod syncs;

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use tokio::time::Instant;

use crate::type_config::Raft;
use made::Made;

pub(crate) use peers::Peers;
pub(crate) use syncs::Syncs;

/// Everything that one replica's consensus measures.
pub(crate) struct Measures {
    registry: Registry,
    queued: Histogram,
    replicated: Histogram,
    applied: Histogram,
    whole: Histogram,
    entry_items: Histogram,
    entry_bytes: Histogram,
    sync: Histogram,
    append_entries: Histogram,
    append_bytes: Histogram,
    apply: Histogram,
    apply_entries: Histogram,
    queue: IntGaugeVec,
    queue_items: IntGauge,
    new_work_window: IntGauge,
    peer_lag: IntGaugeVec,
    peer_silent: prometheus::GaugeVec,
    peer_round_trip: prometheus::GaugeVec,
    peer_sync: prometheus::GaugeVec,
    snapshots: IntCounterVec,
    snapshot_bytes: IntCounterVec,
    snapshots_resumed: IntCounterVec,
    snapshot: Histogram,
    slow_disk: IntGauge,
    times_too_short: IntGauge,
    hand_overs: IntCounter,
    elections: IntCounter,
    departures: IntCounter,
    /// The waits for our own device, as they are judged.
    pub(crate) syncs: Arc<Syncs>,
    /// What is known of the others, as it is judged.
    pub(crate) peers: Peers,
}

/// An entry between this replica's queue and its answers.
pub(crate) struct Passage {
    measures: Arc<Measures>,
    handed: Instant,
    /// None where no quorum ever had it.
    committed: Option<Instant>,
}

/// Which way a snapshot goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Sent,
    Received,
}

impl Measures {
    /// In a registry of their own: two replicas in one process do not mix.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let made = Made(Registry::new());
        let stages = made.latencies(
            "quorate_proposal_stage_seconds",
            "Time of an accepted proposal in a stage: queued, replicated (to a quorum), applied.",
            &["stage"],
        )?;
        let stage = |name| stages.with_label_values(&[name]);
        Ok(Self {
            queued: stage("queued"),
            replicated: stage("replicated"),
            applied: stage("applied"),
            whole: made.latency("quorate_proposal_seconds", "From a proposal to its answer, all stages.")?,
            entry_items: made.sizes("quorate_entry_items", "Commands in an entry proposed here.")?,
            entry_bytes: made.bytes("quorate_entry_bytes", "Bytes of an entry proposed here.")?,
            sync: made.latency("quorate_log_sync_seconds", "From an append to the log to its being durable here.")?,
            append_entries: made.sizes("quorate_log_append_entries", "Entries appended to the log together.")?,
            append_bytes: made.bytes("quorate_log_append_bytes", "Bytes appended to the log together.")?,
            apply: made.latency("quorate_apply_seconds", "Time to apply entries and write their rows.")?,
            apply_entries: made.sizes("quorate_apply_entries", "Entries whose rows were written together.")?,
            queue: made.gauges("quorate_queue_groups", "Proposals that wait for an entry, by lane.", &["lane"])?,
            queue_items: made.gauge("quorate_queue_items", "Commands proposed and not yet answered.")?,
            new_work_window: made.gauge(
                "quorate_new_work_in_flight_max",
                "Submits and annotations that may be in the log and not applied; leader only.",
            )?,
            peer_lag: made.gauges(
                "quorate_peer_lag_entries",
                "Entries that a replica lacks; leader only.",
                &["peer"],
            )?,
            peer_silent: made.seconds(
                "quorate_peer_silent_seconds",
                "Age of what a replica last answered; leader only.",
                &["peer"],
            )?,
            peer_round_trip: made.seconds(
                "quorate_peer_round_trip_seconds",
                "Median of the last heartbeats' round trips; leader only.",
                &["peer"],
            )?,
            peer_sync: made.seconds(
                "quorate_peer_sync_seconds",
                "Longest of a replica's last few syncs, as it says itself; leader only.",
                &["peer"],
            )?,
            snapshots: made.counters(
                "quorate_snapshots_total",
                "Transfers of snapshots that ended.",
                &["way", "outcome"],
            )?,
            snapshot_bytes: made.counters("quorate_snapshot_bytes_total", "Bytes of rows in them.", &["way"])?,
            snapshots_resumed: made.counters(
                "quorate_snapshots_resumed_total",
                "Transfers of snapshots that went on where one before had broken.",
                &["way"],
            )?,
            snapshot: made.latency("quorate_snapshot_seconds", "Time to send a snapshot and have it installed.")?,
            slow_disk: made.gauge("quorate_disk_slow", "1 while this replica finds its own device slow.")?,
            times_too_short: made.gauge(
                "quorate_election_times_too_short",
                "1 while round trips are too long for the heartbeat and election times; leader only.",
            )?,
            hand_overs: made.counter(
                "quorate_leadership_handed_over_total",
                "Times that leadership was passed on for a slow device.",
            )?,
            elections: made
                .counter("quorate_elections_begun_total", "Times that a silent leader was given up here.")?,
            departures: made
                .counter("quorate_leaders_gone_total", "Times that a leader's process was found to have ended.")?,
            syncs: Arc::default(),
            peers: Peers::default(),
            registry: made.0,
        })
    }

    /// A group of commands was answered that was proposed then.
    pub(crate) fn answered(&self, proposed: Instant) {
        self.whole.observe(proposed.elapsed().as_secs_f64());
    }

    /// An entry begins its way, with what was proposed at these times.
    pub(crate) fn entry(
        self: &Arc<Self>,
        items: usize,
        bytes: usize,
        proposed: impl Iterator<Item = Instant>,
    ) -> Passage {
        let handed = Instant::now();
        proposed.for_each(|since| self.queued.observe((handed - since).as_secs_f64()));
        self.entry_items.observe(number(items));
        self.entry_bytes.observe(number(bytes));
        Passage { measures: self.clone(), handed, committed: None }
    }

    /// Entries are durable here that were appended then.
    pub(crate) fn synced(&self, entries: usize, bytes: usize, took: Duration) {
        self.sync.observe(took.as_secs_f64());
        self.append_entries.observe(number(entries));
        self.append_bytes.observe(number(bytes));
    }

    /// So many entries are applied and their rows written, begun then.
    pub(crate) fn rows_written(&self, entries: usize, since: Instant) {
        self.apply.observe(since.elapsed().as_secs_f64());
        self.apply_entries.observe(number(entries));
    }

    /// A piece of a snapshot went over the wire.
    pub(crate) fn snapshot_piece(&self, way: Way, bytes: usize) {
        self.snapshot_bytes.with_label_values(&[way.name()]).inc_by(bytes as u64);
    }

    /// A transfer goes on where one before it broke.
    pub(crate) fn snapshot_resumed(&self, way: Way) {
        self.snapshots_resumed.with_label_values(&[way.name()]).inc();
    }

    /// A transfer ended, or broke.
    pub(crate) fn snapshot_ended(&self, way: Way, whole: bool) {
        let outcome = if whole { "whole" } else { "broken" };
        self.snapshots.with_label_values(&[way.name(), outcome]).inc();
    }

    /// A snapshot was sent and installed, begun then.
    pub(crate) fn snapshot_installed(&self, since: Instant) {
        self.snapshot.observe(since.elapsed().as_secs_f64());
    }

    pub(crate) fn found_disk_slow(&self, slow: bool) {
        self.slow_disk.set(i64::from(slow));
    }

    pub(crate) fn found_times_too_short(&self, short: bool) {
        self.times_too_short.set(i64::from(short));
    }

    pub(crate) fn handed_over(&self) {
        self.hand_overs.inc();
    }

    /// How many items of new work may be on their way.
    pub(crate) fn new_work_window(&self, items: usize) {
        self.new_work_window.set(signed(items as u64));
    }

    pub(crate) fn gave_leader_up(&self) {
        self.elections.inc();
    }

    pub(crate) fn found_leader_gone(&self) {
        self.departures.inc();
    }

    /// All of it as of now. `queues` are the groups that wait, by lane, and `items` what is not answered.
    pub(crate) fn gather(
        &self,
        raft: &Raft,
        queues: impl Iterator<Item = (&'static str, usize)>,
        items: usize,
    ) -> Vec<MetricFamily> {
        for (lane, groups) in queues {
            self.queue.with_label_values(&[lane]).set(signed(groups as u64));
        }
        self.queue_items.set(signed(items as u64));
        self.look_at_peers(raft);
        self.registry.gather()
    }

    /// Whoever leads no more knows nothing of the others, and shows nothing.
    fn look_at_peers(&self, raft: &Raft) {
        let metrics = raft.metrics().borrow_watched().clone();
        self.peer_lag.reset();
        for vec in [&self.peer_silent, &self.peer_round_trip, &self.peer_sync] {
            vec.reset();
        }
        let last = metrics.last_log_index.map_or(0, |last| last + 1);
        for (id, matched) in metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id) {
            let lacks = last.saturating_sub(matched.map_or(0, |matched| matched.index + 1));
            self.peer_lag.with_label_values(&[&id.to_string()]).set(signed(lacks));
        }
        for (id, heard) in metrics.heartbeat.iter().flatten().filter(|(id, _)| **id != metrics.id) {
            let peer = [id.to_string()];
            if let Some(heard) = heard {
                self.peer_silent.with_label_values(&peer).set(openraft::Instant::elapsed(&**heard).as_secs_f64());
            }
            if let Some(took) = self.peers.round_trip(*id) {
                self.peer_round_trip.with_label_values(&peer).set(took.as_secs_f64());
            }
            if let Some((took, _)) = self.peers.sync(*id) {
                self.peer_sync.with_label_values(&peer).set(took.as_secs_f64());
            }
        }
    }
}

impl Passage {
    /// A quorum has it.
    pub(crate) fn committed(&mut self) {
        let now = Instant::now();
        self.committed = Some(now);
        self.measures.replicated.observe((now - self.handed).as_secs_f64());
    }

    /// It is known what became of it.
    pub(crate) fn done(self) {
        if let Some(committed) = self.committed {
            self.measures.applied.observe(committed.elapsed().as_secs_f64());
        }
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// As Prometheus counts.
fn number(count: usize) -> f64 {
    count as f64
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

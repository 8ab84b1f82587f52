//! What a replica measures, as Prometheus reads it.
//!
//! Gauges about the state are set when they are scraped, from the state itself, so that none can
//! drift; only what happens between two states is counted as it happens.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use quorate_raft::Role;
use quorate_scheduler::Report;
use quorate_state::NodeStatus;
use quorate_tls::Tls;

use crate::core::Core;

/// Upper bounds of latency buckets, in seconds: from a controller's step to a slow request.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The metrics of one replica.
pub(crate) struct Telemetry {
    registry: Registry,
    applied_revision: IntGauge,
    term: IntGauge,
    is_leader: IntGauge,
    proposals: IntCounter,
    disk_syncs: IntCounter,
    disk_free: IntGauge,
    disk_is_low: IntGauge,
    rpcs: IntCounterVec,
    rpc_seconds: HistogramVec,
    steps: IntCounterVec,
    step_seconds: HistogramVec,
    step_commands: IntCounterVec,
    step_found: IntGaugeVec,
    renewals: IntCounterVec,
    renewal_seconds: Histogram,
    renewals_passed_on: IntCounter,
    renewal_messages: IntCounter,
    ready_tasks: IntGauge,
    runs_unfinished: IntGauge,
    runs_finished: IntGauge,
    rows_in_memory: IntGauge,
    runs_archived: IntGauge,
    archive_segments: IntGauge,
    nodes: IntGaugeVec,
    sessions: IntGauge,
    watches: IntGauge,
    watches_cut_off: IntCounter,
    certificate_expires: IntGaugeVec,
    tls: Option<Arc<Tls>>,
}

impl Telemetry {
    /// Metrics in a registry of their own: two replicas in one process do not mix.
    pub(crate) fn new(tls: Option<Arc<Tls>>) -> Result<Self, prometheus::Error> {
        let made = Made(Registry::new());
        Ok(Self {
            applied_revision: made.gauge("quorate_applied_revision", "Last revision applied here.")?,
            term: made.gauge("quorate_term", "Latest Raft term seen.")?,
            is_leader: made.gauge("quorate_is_leader", "1 when this replica leads and is ready.")?,
            proposals: made.counter("quorate_proposals_total", "Commands proposed here.")?,
            disk_syncs: made.counter("quorate_disk_syncs_total", "Waits of the store for its device.")?,
            disk_free: made.gauge("quorate_disk_free_bytes", "Room left on the device of the store; -1: not known.")?,
            disk_is_low: made.gauge("quorate_disk_is_low", "1 when new work is refused for want of room.")?,
            rpcs: made.counters("quorate_rpcs_total", "Requests answered.", &["method", "code"])?,
            rpc_seconds: made.histograms("quorate_rpc_seconds", "Time to answer a request.", &["method"])?,
            steps: made.counters("quorate_controller_steps_total", "Steps of controllers.", &["controller"])?,
            step_seconds: made.histograms("quorate_controller_step_seconds", "Time of a step.", &["controller"])?,
            step_commands: made.counters(
                "quorate_controller_commands_total",
                "Commands of controllers that took effect, or did not.",
                &["controller", "effect"],
            )?,
            step_found: made.gauges(
                "quorate_controller_found",
                "What the last step of a controller found and did.",
                &["controller", "count"],
            )?,
            renewals: made.counters("quorate_lease_renewals_total", "Renewals of leases.", &["outcome"])?,
            renewal_seconds: made.histogram("quorate_lease_renewal_seconds", "Arrival to confirmation.")?,
            renewals_passed_on: made
                .counter("quorate_lease_renewals_passed_on_total", "Renewals brought to the leader together.")?,
            renewal_messages: made
                .counter("quorate_lease_renewal_messages_total", "Messages in which they were brought.")?,
            ready_tasks: made.gauge("quorate_ready_tasks", "Tasks in the queue.")?,
            runs_unfinished: made.gauge("quorate_runs_unfinished", "Runs that have not ended.")?,
            runs_finished: made.gauge("quorate_runs_finished", "Runs in memory that have ended.")?,
            rows_in_memory: made.gauge("quorate_rows_in_memory", "Tasks and attempts in memory.")?,
            runs_archived: made.gauge("quorate_runs_archived", "Runs in the archive.")?,
            archive_segments: made.gauge("quorate_archive_segments", "Segments of the archive.")?,
            nodes: made.gauges("quorate_nodes", "Nodes by the status of their lease.", &["status"])?,
            sessions: made.gauge("quorate_agent_sessions", "Sessions of agents served here.")?,
            watches: made.gauge("quorate_watches", "Watches open here.")?,
            watches_cut_off: made.counter("quorate_watches_cut_off_total", "Watches ended for being too slow.")?,
            certificate_expires: made.gauges(
                "quorate_tls_certificate_expires_seconds",
                "Time until this replica's certificate expires; negative when it has.",
                &["principal"],
            )?,
            tls,
            registry: made.0,
        })
    }

    /// The text that `/metrics` answers.
    pub(crate) fn render(&self, core: &Core) -> String {
        self.refresh(core);
        let mut text = Vec::new();
        let measured = [self.registry.gather(), core.replica.measured()].concat();
        match TextEncoder::new().encode(&measured, &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }

    pub(crate) fn proposed(&self, commands: u64) {
        self.proposals.inc_by(commands);
    }

    pub(crate) fn answered(&self, method: &'static str, code: tonic::Code, took: Duration) {
        self.rpcs.with_label_values(&[method, code_name(code)]).inc();
        self.rpc_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    pub(crate) fn stepped(&self, controller: &'static str, took: Duration, report: &Report) {
        for (count, value) in &report.counts {
            self.step_found.with_label_values(&[controller, count]).set(signed(*value));
        }
        self.steps.with_label_values(&[controller]).inc();
        self.step_seconds.with_label_values(&[controller]).observe(took.as_secs_f64());
    }

    pub(crate) fn commanded(&self, controller: &'static str, effective: bool) {
        let effect = if effective { "some" } else { "none" };
        self.step_commands.with_label_values(&[controller, effect]).inc();
    }

    pub(crate) fn renewal(&self, waited: Duration, renewed: bool) {
        let outcome = if renewed { "renewed" } else { "refused" };
        self.renewals.with_label_values(&[outcome]).inc();
        self.renewal_seconds.observe(waited.as_secs_f64());
    }

    pub(crate) fn passed_on(&self, renewals: usize) {
        self.renewals_passed_on.inc_by(renewals as u64);
        self.renewal_messages.inc();
    }

    pub(crate) fn cut_off(&self) {
        self.watches_cut_off.inc();
    }

    fn refresh(&self, core: &Core) {
        let view = core.replica.view();
        let leads = matches!(&*core.replica.role().borrow(), Role::Leader { ready: true, .. });
        self.applied_revision.set(signed(view.revision().0));
        self.disk_syncs.inc_by(core.seams.disk.syncs().saturating_sub(self.disk_syncs.get()));
        let room = core.room.look();
        self.disk_free.set(room.free_bytes.map_or(-1, signed));
        self.disk_is_low.set(i64::from(room.is_low));
        self.term.set(signed(core.replica.members().term));
        self.is_leader.set(i64::from(leads));
        self.ready_tasks.set(signed(view.ready_count() as u64));
        self.runs_unfinished.set(signed(view.unfinished_count() as u64));
        self.runs_finished.set(signed(view.finished_count() as u64));
        self.rows_in_memory.set(signed(view.rows_in_memory()));
        self.runs_archived.set(signed(view.archived_count()));
        self.archive_segments.set(signed(view.segments().count() as u64));
        let (mut up, mut lost) = (0, 0);
        for node in view.nodes() {
            match node.status {
                NodeStatus::Up => up += 1,
                NodeStatus::Lost { .. } => lost += 1,
            }
        }
        self.nodes.with_label_values(&["up"]).set(up);
        self.nodes.with_label_values(&["lost"]).set(lost);
        if let Some(tls) = &self.tls {
            // New files may bring another name.
            self.certificate_expires.reset();
            self.certificate_expires.with_label_values(&[&tls.own().to_string()]).set(tls.expires_in_seconds());
        }
        self.sessions.set(signed(core.sessions.count() as u64));
        self.watches.set(signed(core.watches.count() as u64));
    }
}

/// Makes metrics and registers them.
struct Made(Registry);

impl Made {
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()))?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }

    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn code_name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

//! What an agent counts, for `/metrics`.

use prometheus::{Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// An agent's own registry: several agents may live in one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Attempts held, ended but unacknowledged ones included.
    pub attempts: IntGauge,
    /// Attempts that wait for room.
    pub waiting: IntGauge,
    /// Attempts started.
    pub started: IntCounter,
    /// Attempts over, by `outcome`: succeeded, failed, lost.
    pub ended: IntCounterVec,
    /// `fenced` attempts killed because the lease ran out.
    pub fenced: IntCounter,
    /// From the end of the lease until nothing of a `fenced` attempt is left, for those this agent saw go.
    pub fence_seconds: Histogram,
    /// 1 while a session is welcomed.
    pub session: IntGauge,
    /// Sessions opened.
    pub sessions: IntCounter,
    /// Milliseconds until the lease runs out; 0 without one.
    pub lease_ms: IntGauge,
    /// Statements refused, by `why`: older, gap, too_large.
    pub refused: IntCounterVec,
    /// Reports sent.
    pub reports: IntCounter,
    /// How long an append of the journal takes.
    pub journal_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let gauge = |name, help| registered(&registry, IntGauge::new(name, help));
        let counter = |name, help| registered(&registry, IntCounter::new(name, help));
        let counters = |name, help, label| registered(&registry, IntCounterVec::new(Opts::new(name, help), &[label]));
        let buckets = vec![0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
        let journal = HistogramOpts::new("quorate_agent_journal_seconds", "Time of an append to the journal.");
        // Up to and around the kill bound that the control plane waits for (3 s).
        let kills = vec![0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 30.0];
        let fence = HistogramOpts::new(
            "quorate_agent_fence_seconds",
            "From the lease's end until nothing of a fenced attempt is left.",
        );
        Self {
            attempts: gauge("quorate_agent_attempts", "Attempts held, unacknowledged ends included."),
            waiting: gauge("quorate_agent_attempts_waiting", "Attempts that wait for limits.attempts_max."),
            started: counter("quorate_agent_attempts_started_total", "Attempts started."),
            ended: counters("quorate_agent_attempts_ended_total", "Attempts over, by outcome.", "outcome"),
            fenced: counter("quorate_agent_attempts_fenced_total", "Fenced attempts killed at the lease's end."),
            fence_seconds: registered(&registry, Histogram::with_opts(fence.buckets(kills))),
            session: gauge("quorate_agent_session", "1 while a session is welcomed."),
            sessions: counter("quorate_agent_sessions_total", "Sessions opened."),
            lease_ms: gauge("quorate_agent_lease_milliseconds", "Time until the lease runs out; 0 without one."),
            refused: counters("quorate_agent_statements_refused_total", "Desired sets refused, by reason.", "why"),
            reports: counter("quorate_agent_reports_total", "Reports sent."),
            journal_seconds: registered(&registry, Histogram::with_opts(journal.buckets(buckets))),
            registry,
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory fails only on a family without metrics; then what came before is shown.
        let _ = prometheus::TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

/// Names are constants of this file: a name that is invalid or used twice is a bug that every start shows.
fn registered<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("a valid metric");
    registry.register(Box::new(metric.clone())).expect("a metric name used once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_what_was_counted() {
        let metrics = Metrics::new();
        metrics.started.inc_by(3);
        metrics.ended.with_label_values(&["lost"]).inc();
        let text = String::from_utf8(metrics.text()).unwrap();
        assert!(text.contains("quorate_agent_attempts_started_total 3"), "{text}");
        assert!(text.contains("quorate_agent_attempts_ended_total{outcome=\"lost\"} 1"), "{text}");
    }
}

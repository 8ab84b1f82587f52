//! The trace of a run: everything the production code logs, with the simulated time, hashed. The same
//! seed must give the same hash, or the simulator could not be trusted to reproduce anything.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Collects the trace; cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    hasher: blake3::Hasher,
    events: u64,
    show: bool,
}

impl Trace {
    /// A trace that also prints every event to standard error when `show` is set.
    pub(crate) fn new(show: bool) -> Self {
        let trace = Self::default();
        trace.lock().show = show;
        trace
    }

    /// Routes this thread's tracing events here while the guard lives.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    /// Adds a line of the simulation's own.
    #[expect(clippy::print_stderr, reason = "the trace is shown on request, beside the data on standard output")]
    pub(crate) fn note(&self, line: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        let line = format!("{:>10.3} {line}\n", at.as_secs_f64());
        let mut inner = self.lock();
        inner.hasher.update(line.as_bytes());
        inner.events += 1;
        if inner.show {
            eprint!("{line}");
        }
    }

    /// The hash of all lines and how many there were.
    pub(crate) fn digest(&self) -> (String, u64) {
        let inner = self.lock();
        (inner.hasher.finalize().to_hex().to_string(), inner.events)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Trace {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = metadata.target().starts_with("quorate");
        *metadata.level() <= if ours { Level::DEBUG } else { Level::INFO } && !metadata.target().starts_with("turmoil")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = format!("{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Fields(&mut line));
        self.note(&line);
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // A String never fails to take more.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

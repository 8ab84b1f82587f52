//! What a run prints while it goes on, for whoever looks into it.
//!
//! Printing changes nothing: what happened is hashed by the record of the run, not here.

use std::fmt::Write as _;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::run::TraceLevel;

/// Where lines go, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace(TraceLevel);

impl Trace {
    pub(crate) fn new(level: TraceLevel) -> Self {
        Self(level)
    }

    /// Shows the product's own log while the guard lives, if everything is to be shown.
    pub(crate) fn listen(self) -> Option<tracing::subscriber::DefaultGuard> {
        let subscriber = tracing_subscriber::registry().with(self);
        (self.0 == TraceLevel::Full).then(|| tracing::subscriber::set_default(subscriber))
    }

    /// True when facts are shown.
    pub(crate) fn shows_facts(self) -> bool {
        self.0 != TraceLevel::None
    }

    /// True when everything is.
    pub(crate) fn shows_all(self) -> bool {
        self.0 == TraceLevel::Full
    }

    /// Shows a line.
    #[expect(clippy::print_stderr, reason = "shown on request, beside the data on standard output")]
    pub(crate) fn show(self, at: Duration, words: &str) {
        eprintln!("{:>9.3} {words}", at.as_secs_f64());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Trace {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        let is_ours = target.starts_with("quorate") || target.starts_with("openraft");
        let level = if is_ours { Level::DEBUG } else { Level::INFO };
        *metadata.level() <= level && (!target.starts_with("turmoil") || metadata.is_span())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut words = String::new();
        attributes.record(&mut Fields(&mut words));
        if attributes.metadata().target().starts_with("turmoil")
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(Host(words));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // turmoil keeps a span around each host's turn.
        let spans = context.event_scope(event).into_iter().flatten();
        let host = spans.last().and_then(|span| span.extensions().get::<Host>().map(|host| host.0.clone()));
        let host = host.unwrap_or_default();
        let mut line = format!("{host} {} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Fields(&mut line));
        self.show(turmoil::sim_elapsed().unwrap_or_default(), &line);
    }
}

/// Which host's turn it is.
struct Host(String);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // A String never fails to take more.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

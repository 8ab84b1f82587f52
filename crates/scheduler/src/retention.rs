//! Forgets old history: event rows of more revisions than the settings keep.

use quorate_state::{Command, Meta, Revision, State};

use crate::{Budget, Controller, Decision, LogNow, Observed, Report};

/// Trimming waits until there is more to keep than wanted by this part of it (1/8), so that it is
/// done seldom and in pieces worth it.
pub(crate) const SLACK_DIVISOR: u64 = 8;

/// Trims history.
pub(crate) struct Retention;

impl Controller for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        false
    }

    fn step(&self, view: &State, _: &Observed, _: LogNow, _seed: u64, _: Budget) -> Decision {
        let kept = view.meta().revision.0.saturating_sub(view.meta().events_from.0);
        let below = view.settings().and_then(|settings| trim_below(view.meta(), settings.event_revisions_max));
        let commands = below.map(|below| Command::TrimEvents { below }).into_iter().collect();
        let report = Report { counts: vec![("event_revisions_kept", kept)], ..Report::default() };
        Decision { commands, wake_at: None, report }
    }
}

/// Where to trim so that `kept_max` revisions are left, if it is time to.
fn trim_below(meta: &Meta, kept_max: u64) -> Option<Revision> {
    let below = meta.revision.0.checked_sub(kept_max)?;
    let surplus = below.checked_sub(meta.events_from.0)?;
    (surplus > kept_max / SLACK_DIVISOR).then_some(Revision(below))
}

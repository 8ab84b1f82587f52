//! What namespaces have held: samples, so that who had much goes behind who had little, for a time.

use quorate_state::{Command, Namespace, NamespaceRow, Resources, SAMPLES_AT_ONCE_MAX, Served, State};

use crate::{Budget, Controller, Decision, LogNow, Observed, Report};

/// Takes what namespaces hold into what they have held.
pub(crate) struct Fairness;

impl Controller for Fairness {
    fn name(&self) -> &'static str {
        "fairness"
    }

    fn is_idle(&self, view: &State) -> bool {
        view.fairness().is_none()
    }

    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        false
    }

    /// What is held changes all the time, and is looked at now and then.
    fn is_timed(&self) -> bool {
        true
    }

    fn step(&mut self, view: &State, _: &Observed, now: LogNow, _seed: u64, _: Budget) -> Decision {
        let Some(fairness) = view.fairness() else { return Decision::default() };
        let due = |row: &NamespaceRow| match row.past.sampled_at {
            // Without a half-life, what is known is forgotten at once.
            Some(_) if fairness.half_life_ms == 0 => Some(Served(0)),
            Some(at) => Some(at.plus(fairness.sample_ms())),
            None => {
                let begins = fairness.half_life_ms > 0 && view.held_by(&row.name) != Resources::ZERO;
                begins.then_some(Served(0))
            }
        };
        let mut namespaces: Vec<Namespace> = Vec::new();
        let mut wake_at: Option<Served> = None;
        for (row, due) in view.namespaces().filter_map(|row| Some((row, due(row)?))) {
            if due > now.served {
                wake_at = Some(wake_at.map_or(due, |wake_at| wake_at.min(due)));
            } else if namespaces.len() < SAMPLES_AT_ONCE_MAX {
                namespaces.push(row.name.clone());
            } else {
                // The rest follows at once.
                wake_at = Some(now.served);
            }
        }
        let counts = vec![("sampled", namespaces.len() as u64)];
        let commands = if namespaces.is_empty() { Vec::new() } else { vec![Command::SampleUse { namespaces }] };
        Decision { commands, wake_at, report: Report { counts, ..Report::default() } }
    }
}

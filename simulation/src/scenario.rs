//! The scenarios: each a story told to a world, with the properties that it must show.

mod elect;
mod power_loss;

use crate::Failure;
use crate::trace::Trace;

/// A scenario by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Three replicas elect; the leader crashes; the others elect again; it comes back and follows.
    Elect,
    /// Clients submit; all three replicas lose power at once, and with it what was not synced; they
    /// come back, and every job that was accepted is there.
    PowerLoss,
}

impl Scenario {
    /// Runs the scenario on the world of `seed`. Returns one line that says what happened.
    pub(crate) fn run(self, seed: u64, trace: Trace) -> Result<String, Failure> {
        match self {
            Self::Elect => elect::run(seed, trace),
            Self::PowerLoss => power_loss::run(seed, trace),
        }
    }
}

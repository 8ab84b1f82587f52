//! `sweep`: many seeds, in worker processes.

mod tally;

use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use quorate_planted::Bug;

use super::seeds::Seeds;
use super::{Jobs, Verdict};
use crate::error::Error;
use crate::fleet::{self, Order, Slot};
use crate::outcome::Outcome;
use crate::report::{self, Progress};
use crate::wall::Budget;
pub(super) use tally::Tally;

/// Run many seeds.
#[derive(Args, Debug)]
pub(super) struct Sweep {
    /// Which, such as `1..200`, which ends with 199.
    #[arg(long, value_name = "A..B")]
    seeds: Seeds,
    #[command(flatten)]
    jobs: Jobs,
    /// Begin no more seeds after this long, such as `10m`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    #[command(flatten)]
    shown: Shown,
    /// Plant a bug.
    #[arg(long, value_name = "BUG", value_parser = super::bug)]
    planted: Option<Bug>,
}

/// What is shown of a sweep, and when it ends.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Each seed's outcome as a line of JSON, instead of text about those that went wrong.
    #[arg(long)]
    pub(super) json: bool,
    /// Begin no more seeds after the first violation.
    #[arg(long)]
    pub(super) stop_on_violation: bool,
    /// So many seeds may be invalid: among fresh ones, a few show too little.
    #[arg(long, default_value_t = 0)]
    pub(super) invalid_max: u64,
    /// Fail when fewer seeds per minute were run, of all processes together (H2).
    #[arg(long, value_name = "RATE")]
    pub(super) seeds_per_minute_min: Option<f64>,
}

impl Sweep {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let budget = Budget::new(self.budget);
        let seeds = self.seeds.range().map(|seed| (seed, None)).take_while(move |_| budget.is_left());
        over(seeds, self.planted, self.jobs.count(), self.shown)
    }
}

/// Runs these seeds, and says of those that do not hold why they are kept, if they are.
pub(super) fn over(
    seeds: impl Iterator<Item = (u64, Option<String>)> + Send,
    bug: Option<Bug>,
    jobs: usize,
    shown: Shown,
) -> Result<Verdict, Error> {
    let clock = Budget::new(None);
    let mut tally = Tally::default();
    let mut progress = Progress::new();
    let work = |slot: &mut Slot, (seed, why): (u64, Option<String>)| -> Result<(Outcome, Option<String>), Error> {
        Ok((slot.run(&Order::seed_with(seed, bug))?, why))
    };
    fleet::spread(jobs, seeds, work, |(outcome, why)| {
        tally.add(&outcome);
        let not_held = report::not_held(&outcome, bug, why.as_deref());
        if shown.json {
            report::json(&outcome)?;
            not_held.iter().for_each(|text| report::note(text));
        } else if let Some(text) = not_held {
            report::line(&text)?;
        }
        progress.say(|| tally.summary(jobs, clock.used()).to_string());
        let enough = shown.stop_on_violation && tally.violations > 0;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let summary = tally.summary(jobs, clock.used());
    report::json(&summary)?;
    let is_fast = shown.seeds_per_minute_min.is_none_or(|min| summary.is_as_fast_as(min));
    Ok(Verdict::good_if(tally.is_good(shown.invalid_max) && is_fast))
}

//! `stats`: what happens in seeds, in numbers, to see whether they are worth running.

mod aggregate;

use std::ops::ControlFlow;

use clap::Args;

use super::seeds::Seeds;
use super::sweep::Tally;
use super::{Jobs, Verdict};
use crate::error::Error;
use crate::fleet::{self, Order};
use crate::report::{self, Progress};
use crate::wall::Budget;
use aggregate::Aggregate;

/// Measure what happens in seeds.
#[derive(Args, Debug)]
pub(super) struct Stats {
    /// Which, such as `1..200`, which ends with 199.
    #[arg(long, value_name = "A..B")]
    seeds: Seeds,
    #[command(flatten)]
    jobs: Jobs,
}

impl Stats {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let jobs = self.jobs.count();
        let clock = Budget::new(None);
        let (mut tally, mut aggregate) = (Tally::default(), Aggregate::default());
        let mut progress = Progress::new();
        fleet::spread(
            jobs,
            self.seeds.range(),
            |slot, seed| slot.run(&Order::seed_with(seed, None)),
            |outcome| {
                tally.add(&outcome);
                aggregate.add(&outcome.stats);
                progress.say(|| tally.summary(jobs, clock.used()).to_string());
                Ok(ControlFlow::Continue(()))
            },
        )?;
        report::line(&aggregate.told())?;
        report::line(&format!("\n{}", tally.summary(jobs, clock.used())))?;
        Ok(Verdict::good_if(tally.is_good(0)))
    }
}

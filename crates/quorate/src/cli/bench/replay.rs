//! `quorate bench replay`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_bench::replay::{self, ReplayBench};

use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchReplay;

#[derive(Args, Debug)]
pub(super) struct Replay {
    /// The log, in the Standard Workload Format, unpacked
    #[arg(long, value_name = "FILE")]
    swf: PathBuf,
    /// Processors of the machine; without it as many as the log says (MaxProcs)
    #[arg(long)]
    processors: Option<u64>,
    /// Times between arrivals are multiplied by this: below 1 the machine is busier
    #[arg(long, default_value_t = 0.5, value_name = "TIMES")]
    scale_arrivals: f64,
    /// A user says that a job takes up to so many times what it takes
    #[arg(long, default_value_t = 5.0, value_name = "TIMES")]
    estimate_factor: f64,
    /// What that is drawn from: the same for all policies
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// With 'quorate': in so many hours what a user had counts half
    #[arg(long, default_value_t = 24, value_name = "HOURS")]
    half_life: u64,
    /// With 'quorate': whoever has waited for so many hours goes before all who have not
    #[arg(long, default_value_t = 240, value_name = "HOURS")]
    starves_after: u64,
    /// Who goes first, and who may pass
    #[arg(long, value_enum, default_value_t = Policy::Quorate)]
    policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
enum Policy {
    /// First come, first served; nobody passes
    Fifo,
    /// EASY backfill: whoever does not delay the first that waits may pass
    Backfill,
    /// Whoever has had least of late goes first; whoever delays nobody before may pass
    Quorate,
}

impl From<Policy> for replay::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Fifo => Self::Fifo,
            Policy::Backfill => Self::Backfill,
            Policy::Quorate => Self::Quorate,
        }
    }
}

impl Replay {
    pub(super) fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = ReplayBench {
            swf: self.swf,
            processors: self.processors,
            scale_arrivals: self.scale_arrivals,
            estimate_factor: self.estimate_factor,
            seed: self.seed,
            half_life_s: self.half_life.saturating_mul(3_600),
            starves_after_s: self.starves_after.saturating_mul(3_600),
            policy: self.policy.into(),
        };
        output.show(&BenchReplay::from(bench.run()?))?;
        Ok(Code::Ok)
    }
}

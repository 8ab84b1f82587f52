//! `quorate bench region`.

use clap::Args;
use quorate_bench::agents::RegionBench;

use super::{this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchRegion;

#[derive(Args, Debug)]
pub(super) struct Region {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Agents of each of the three regions, in this process
    #[arg(long, default_value_t = 50)]
    agents: usize,
    /// Tasks that may move; a tenth as many must stay
    #[arg(long, default_value_t = 1_000)]
    tasks: usize,
    /// How often it is measured, in a new cluster
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

impl Region {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = RegionBench {
            binary: this_binary()?,
            replicas: self.replicas,
            agents: self.agents,
            tasks: self.tasks,
            rounds: self.rounds,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let loss = unless_interrupted(bench.run(&note)).await?;
        let code = if loss.is_clean() { Code::Ok } else { Code::Error };
        output.show(&BenchRegion::from(loss))?;
        Ok(code)
    }
}

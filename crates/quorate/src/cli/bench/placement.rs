//! `quorate bench placement`.

use clap::Args;
use quorate_bench::placement::PlacementBench;

use super::unless_interrupted;
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchPlacement;

#[derive(Args, Debug)]
pub(super) struct Placement {
    /// Nodes of the cluster
    #[arg(long, default_value_t = 10_000)]
    nodes: u32,
    /// Placements of a round; fewer where half of an empty cluster's cores are taken before
    #[arg(long, default_value_t = 50_000)]
    tasks: u32,
    /// Shapes that the tasks have
    #[arg(long, default_value_t = 20)]
    shapes: u32,
    /// Of a hundred nodes, how many have eight GPUs; if any have, a tenth of the shapes takes some
    #[arg(long, default_value_t = 10, value_name = "PERCENT")]
    gpu_percent: u32,
    /// How often both are measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What decides sizes, places and order
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Placement {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let Self { nodes, tasks, shapes, gpu_percent, rounds, seed } = self;
        let bench = PlacementBench { nodes, tasks, shapes, gpu_percent, rounds, seed };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        output.show(&BenchPlacement::from(report))?;
        Ok(Code::Ok)
    }
}

//! `quorate bench placement`.

use clap::Args;
use quorate_bench::agents::ThroughLogBench;
use quorate_bench::placement::PlacementBench;

use super::{this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::{BenchPlacement, BenchThroughLog};

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
    #[arg(long, default_value_t = 10, value_name = "PERCENT", conflicts_with = "through_log")]
    gpu_percent: u32,
    /// How often both are measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What decides sizes, places and order
    #[arg(long, default_value_t = 1, conflicts_with = "through_log")]
    seed: u64,
    /// Measure the whole way: replicas as processes, an agent in this process for each node, and every placement in the log
    #[arg(long)]
    through_log: bool,
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3, requires = "through_log")]
    replicas: usize,
    /// Leave data and logs behind
    #[arg(long, requires = "through_log")]
    keep: bool,
}

impl Placement {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        if self.through_log {
            return self.through_log(output).await;
        }
        let Self { nodes, tasks, shapes, gpu_percent, rounds, seed, .. } = self;
        let bench = PlacementBench { nodes, tasks, shapes, gpu_percent, rounds, seed };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        output.show(&BenchPlacement::from(report))?;
        Ok(Code::Ok)
    }

    async fn through_log(self, output: Output) -> Result<Code, Error> {
        let bench = ThroughLogBench {
            binary: this_binary()?,
            replicas: self.replicas,
            nodes: self.nodes as usize,
            tasks: self.tasks as usize,
            shapes: self.shapes as usize,
            rounds: self.rounds,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        let code = if report.doubled == 0 { Code::Ok } else { Code::Error };
        output.show(&BenchThroughLog::from(report))?;
        Ok(code)
    }
}

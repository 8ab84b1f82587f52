//! `quorate bench workflow`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use quorate_bench::workflow::{self, WorkflowBench};

use super::{duration, this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchWorkflow;

#[derive(Args, Debug)]
pub(super) struct Workflow {
    /// What it looks like: a task whose result is a number and one task for each up to it, one task with a count, or
    /// a graph in layers in which each task needs two or three of the layer before and some are told a result of these
    #[arg(long, value_enum)]
    shape: Shape,
    /// Elements of the fan-out or the array, or tasks of the graph; by default 100,000, 1,000,000 and 50,000
    #[arg(long)]
    size: Option<u32>,
    /// Replicas of the control plane
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Agents in this process, each of which holds 6,400 of the tasks at once
    #[arg(long, default_value_t = 20)]
    agents: usize,
    /// What the graph is drawn from: the same for the same seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give up after this long, such as 30m, and report what was measured until then
    #[arg(long, default_value = "30m", value_parser = duration)]
    within: Duration,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    FanOut,
    Array,
    Dag,
}

impl From<Shape> for workflow::Shape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::FanOut => Self::FanOut,
            Shape::Array => Self::Array,
            Shape::Dag => Self::Dag,
        }
    }
}

impl Workflow {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = WorkflowBench {
            binary: this_binary()?,
            shape: self.shape.into(),
            size: self.size,
            seed: self.seed,
            replicas: self.replicas,
            agents: self.agents,
            deadline: self.within,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        let code = if report.is_clean() { Code::Ok } else { Code::Error };
        output.show(&BenchWorkflow::from(report))?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        workflow: Workflow,
    }

    fn parse(line: &str) -> Result<Workflow, clap::Error> {
        Line::try_parse_from(std::iter::once("workflow").chain(line.split_whitespace())).map(|line| line.workflow)
    }

    #[test]
    fn a_shape_is_enough_and_is_written_as_it_is_reported() {
        for (word, shape) in [("fan-out", Shape::FanOut), ("array", Shape::Array), ("dag", Shape::Dag)] {
            let workflow = parse(&format!("--shape {word}")).unwrap();
            assert_eq!((workflow.shape, workflow::Shape::from(shape).name()), (shape, word));
            assert_eq!((workflow.size, workflow.within), (None, Duration::from_secs(1_800)));
        }
    }

    #[test]
    fn wrong_lines_say_what_is_right() {
        for (line, word) in [("", "--shape"), ("--shape tree", "fan-out"), ("--shape dag --within soon", "write 90s")] {
            let why = parse(line).unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
        }
    }
}

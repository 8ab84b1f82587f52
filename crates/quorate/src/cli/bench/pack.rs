//! `quorate bench pack`.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_bench::pack::{self, PackBench};

use super::unless_interrupted;
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchPack;

#[derive(Args, Debug)]
pub(super) struct Pack {
    /// The nodes: comma-separated values with the columns sn, cpu_milli, gpu and model
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// The tasks: comma-separated values with the columns cpu_milli, num_gpu, gpu_milli and, if any ask for models, gpu_spec
    #[arg(long, value_name = "FILE")]
    pods: PathBuf,
    /// How many times the GPUs of the nodes come in all
    #[arg(long, default_value_t = 1.3, value_name = "TIMES")]
    inflate: f64,
    /// One round for each seed from the first up to, and without, the last
    #[arg(long, default_value = "0..10", value_name = "A..B", value_parser = seeds)]
    seeds: Range<u64>,
    /// How a node is chosen: as the scheduler does, or in one of the ways that it is compared with
    #[arg(long, value_enum, default_value_t = Policy::Quorate)]
    policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
enum Policy {
    Quorate,
    BestFit,
    Fgd,
    DotProd,
    Random,
}

impl From<Policy> for pack::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Quorate => Self::Quorate,
            Policy::BestFit => Self::BestFit,
            Policy::Fgd => Self::Fgd,
            Policy::DotProd => Self::DotProd,
            Policy::Random => Self::Random,
        }
    }
}

impl Pack {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = PackBench {
            nodes: self.nodes,
            pods: self.pods,
            inflate: self.inflate,
            seeds: self.seeds,
            policy: self.policy.into(),
        };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        output.show(&BenchPack::from(report))?;
        Ok(Code::Ok)
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(start, end)| Some(start.parse().ok()?..end.parse().ok()?));
    let range: Range<u64> = range
        .ok_or_else(|| format!("{text:?} are not seeds: write the first and the one behind the last, such as 0..10"))?;
    if range.is_empty() {
        return Err(format!(
            "there is no seed in {text:?}: the second number is not among them and must be the larger one"
        ));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        pack: Pack,
    }

    fn parse(line: &str) -> Result<Pack, clap::Error> {
        Line::try_parse_from(std::iter::once("pack").chain(line.split_whitespace())).map(|line| line.pack)
    }

    #[test]
    fn files_are_enough_and_a_policy_is_written_as_it_is_reported() {
        let pack = parse("--nodes n.csv --pods p.csv").unwrap();
        assert_eq!((pack.inflate, pack.seeds, pack.policy), (1.3, 0..10, Policy::Quorate));
        for word in ["quorate", "bestfit", "fgd", "dotprod", "random"] {
            let pack = parse(&format!("--nodes n.csv --pods p.csv --seeds 100..102 --policy {word}")).unwrap();
            assert_eq!((pack::Policy::from(pack.policy).name(), pack.seeds), (word, 100..102));
        }
    }

    #[test]
    fn wrong_lines_say_what_is_right() {
        for (line, word) in [
            ("--nodes n.csv", "--pods"),
            ("--pods p.csv", "--nodes"),
            ("--nodes n.csv --pods p.csv --policy worst", "bestfit"),
            ("--nodes n.csv --pods p.csv --seeds 7", "such as 0..10"),
            ("--nodes n.csv --pods p.csv --seeds 8..7", "must be the larger one"),
            ("--nodes n.csv --pods p.csv --seeds 7..7", "must be the larger one"),
            ("--nodes n.csv --pods p.csv --inflate much", "--inflate"),
        ] {
            let why = parse(line).unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
        }
    }
}

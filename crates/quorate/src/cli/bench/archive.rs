//! `quorate bench archive`.

use std::time::Duration;

use clap::Args;
use quorate_bench::archive::ArchiveBench;

use super::{duration, this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchArchive;

#[derive(Args, Debug)]
pub(super) struct Archive {
    /// Runs that are submitted and end, at most as many as an archive keeps by default
    #[arg(long, default_value_t = 1_000_000)]
    runs: u32,
    /// Replicas of the control plane
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Agents in this process, each of which holds 6,400 of the tasks at once
    #[arg(long, default_value_t = 20)]
    agents: usize,
    /// Pages that are asked for of each kind, at least
    #[arg(long, default_value_t = 200)]
    pages: u64,
    /// What runs and pages are drawn from: the same for the same seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give up after this long, such as 60m
    #[arg(long, default_value = "60m", value_parser = duration)]
    within: Duration,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

impl Archive {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = ArchiveBench {
            binary: this_binary()?,
            runs: self.runs,
            replicas: self.replicas,
            agents: self.agents,
            pages: self.pages,
            seed: self.seed,
            deadline: self.within,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        let code = if report.is_clean() { Code::Ok } else { Code::Error };
        output.show(&BenchArchive::from(report))?;
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
        archive: Archive,
    }

    fn parse(line: &str) -> Result<Archive, clap::Error> {
        Line::try_parse_from(std::iter::once("archive").chain(line.split_whitespace())).map(|line| line.archive)
    }

    #[test]
    fn nothing_has_to_be_said() {
        let archive = parse("").unwrap();
        assert_eq!((archive.runs, archive.replicas, archive.agents, archive.pages), (1_000_000, 1, 20, 200));
        assert_eq!(archive.within, Duration::from_secs(3_600));
        assert_eq!(parse("--runs 20000 --seed 7").map(|archive| (archive.runs, archive.seed)).unwrap(), (20_000, 7));
    }

    #[test]
    fn wrong_lines_say_what_is_right() {
        for (line, word) in [("--within soon", "write 90s"), ("--runs many", "--runs"), ("--page 3", "--pages")] {
            let why = parse(line).unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
        }
    }
}

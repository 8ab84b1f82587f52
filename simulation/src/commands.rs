//! The command line: each subcommand a file.

mod crash_image;
mod judge;
mod planted;
mod regions;
mod regressions;
mod repro;
mod seeds;
mod shrink;
mod stats;
mod sweep;
mod twice;
mod worker;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use quorate_planted::Bug;

use crate::error::Error;
use crate::scenario::{self, Scenario};

/// More worker processes than any machine has use for.
const JOBS_MAX: u16 = 256;

/// Deterministic simulation of Quorate's own code.
///
/// A seed expands into a scenario, a scenario runs, and properties are judged while it does. Exits
/// with 0 when all is well, 1 when something is not, 2 for a command line that makes no sense.
#[derive(Debug, Parser)]
#[command(name = "cargo sim")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds.
    Sweep(sweep::Sweep),
    /// Run one seed or scenario and tell what happened.
    Repro(repro::Repro),
    /// Run each seed in two processes and compare.
    Twice(twice::Twice),
    /// Find a smaller scenario that violates the same property.
    Shrink(shrink::Shrink),
    /// Plant each known bug and see whether it is caught.
    Planted(planted::Planted),
    /// Measure what happens in seeds.
    Stats(stats::Stats),
    /// Run the seeds that failed once.
    Regressions(regressions::Regressions),
    /// Measure what a commit takes with replicas in three regions, nothing going wrong.
    Regions(regions::Regions),
    /// Cut the power of the real store at many instants, and open what is left.
    CrashImage(crash_image::CrashImage),
    /// Judge the stores of real replicas that have stopped.
    Judge(judge::Judge),
    /// Run what standard input asks for, a line each: a seed's number, or an order in JSON.
    #[command(hide = true)]
    Worker,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well.
    Good,
    /// Something is not; it was said what.
    Bad,
}

impl Verdict {
    fn good_if(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

impl CommandLine {
    /// Does what it says.
    pub(crate) fn run(self) -> Result<Verdict, Error> {
        match self.command {
            Command::Sweep(sweep) => sweep.run(),
            Command::Repro(repro) => repro.run(),
            Command::Twice(twice) => twice.run(),
            Command::Shrink(shrink) => shrink.run(),
            Command::Planted(planted) => planted.run(),
            Command::Stats(stats) => stats.run(),
            Command::Regressions(regressions) => regressions.run(),
            Command::Regions(regions) => regions.run(),
            Command::CrashImage(crash_image) => crash_image.run(),
            Command::Judge(judge) => judge.run(),
            Command::Worker => worker::run(),
        }
    }
}

/// How much at a time.
#[derive(Args, Clone, Copy, Debug)]
struct Jobs {
    /// How many worker processes; as many as there are cores unless given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(JOBS_MAX)))]
    jobs: Option<u16>,
}

impl Jobs {
    fn count(self) -> usize {
        self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

/// One scenario.
#[derive(Args, Debug)]
struct One {
    /// What this seed expands to.
    #[arg(long, required_unless_present = "scenario")]
    seed: Option<u64>,
    /// What this file holds, instead of what a seed expands to.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    scenario: Option<PathBuf>,
}

impl One {
    fn scenario(&self) -> Result<Scenario, Error> {
        let Some(path) = &self.scenario else { return Ok(scenario::draw(self.seed.unwrap_or_default())) };
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let scenario = serde_json::from_str(&text)
            .map_err(|source| Error::Json { what: format!("the scenario in {}", path.display()), source })?;
        scenario::check(&scenario).map_err(|why| Error::Scenario { path: path.clone(), why })?;
        Ok(scenario)
    }
}

/// A planted bug by its name, in a build that has any.
fn bug(name: &str) -> Result<Bug, String> {
    if !cfg!(feature = "planted") {
        return Err("this build has no planted bugs: build with the cargo feature `planted`".to_owned());
    }
    name.parse().map_err(|_| {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        format!("no such bug; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_fits_together() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "sweep",
            "sweep --seeds 5..5",
            "sweep --seeds 1..5 --jobs 0",
            "repro",
            "repro --seed 1 --scenario f",
            "twice",
            "twice --seed 1 --seeds 1..2",
            "planted --recorded --record",
            "sweep --seeds 1..5 --planted nobody-knows",
            "judge --facts f",
        ] {
            let refused = CommandLine::try_parse_from(std::iter::once("sim").chain(line.split(' ')));
            assert_eq!(refused.unwrap_err().exit_code(), 2, "{line}");
        }
        for line in [
            "sweep --seeds 1..200 --jobs 2 --budget 10m --json --stop-on-violation",
            "repro --seed 1 --until 83s --trace facts --print-scenario",
            "repro --scenario f",
            "twice --seeds 1..3",
            "shrink --seed 1 --out f --budget 5m",
            "planted --recorded --json",
            "stats --seeds 1..3",
            "regions --seconds 3 --json",
            "regressions",
            "judge --store a --store b --facts f --json",
            "worker",
        ] {
            CommandLine::try_parse_from(std::iter::once("sim").chain(line.split(' '))).unwrap();
        }
    }
}

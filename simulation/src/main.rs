//! Runs the production code in a simulated world: same seed, same story, to the byte.
//!
//! `cargo sim elect --seed 7` tells one story and prints its trace hash; `--seeds 1..20` tells many.

mod disk;
mod net;
mod overrides;
mod seeded;
mod trace;
mod world;

mod observer;
mod submitter;

mod scenario;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};
use scenario::Scenario;
use trace::Trace;

/// What a run can come to, other than well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A host's `run` returned an error.
    #[error("a host failed: {0}")]
    Host(String),
    /// Something that must happen did not.
    #[error("{what} did not happen within {limit:?} of simulated time")]
    Late { what: String, limit: Duration },
    /// A property does not hold.
    #[error("violated: {0}")]
    Property(String),
}

/// Deterministic simulation of Quorate's own code.
#[derive(Parser)]
#[command(name = "cargo sim")]
struct Args {
    /// Which story.
    #[arg(value_enum)]
    scenario: Scenario,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counting up.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Print every event of the trace to standard error.
    #[arg(long)]
    trace: bool,
}

#[expect(clippy::print_stdout, reason = "the results are this program's data")]
fn main() -> ExitCode {
    let args = Args::parse();
    let mut failed = 0_u64;
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let (hash, events, result) = run(args.scenario, seed, args.trace);
        match result {
            Ok(story) => println!("seed {seed}: ok, {story}; {events} events, trace {hash}"),
            Err(failure) => {
                failed += 1;
                let name =
                    args.scenario.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned());
                println!("seed {seed}: FAILED, {failure}; {events} events, trace {hash}");
                println!("  again: cargo sim {name} --seed {seed} --trace");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tokio spreads tasks over shards by their process-wide id: begin each run at the same place.
const TASK_ID_SHARDS: u64 = 64;

/// One seed on a fresh thread, so that nothing thread-local is left from the one before.
fn run(scenario: Scenario, seed: u64, show: bool) -> (String, u64, Result<String, Failure>) {
    let story = move || {
        overrides::enter(seed);
        align_task_ids();
        let trace = Trace::new(show);
        let guard = trace.listen();
        let result = scenario.run(seed, trace.clone());
        drop(guard);
        let (hash, events) = trace.digest();
        (hash, events, result)
    };
    match std::thread::spawn(story).join() {
        Ok(told) => told,
        Err(panic) => {
            let word = panic.downcast_ref::<String>().cloned();
            let word = word.or_else(|| panic.downcast_ref::<&str>().map(|word| (*word).to_owned()));
            (String::new(), 0, Err(Failure::Host(format!("panicked: {}", word.unwrap_or_default()))))
        }
    }
}

fn align_task_ids() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        loop {
            let id = tokio::spawn(std::future::ready(())).id().to_string();
            if id.parse::<u64>().is_ok_and(|id| id % TASK_ID_SHARDS == TASK_ID_SHARDS - 1) {
                break;
            }
        }
    });
}

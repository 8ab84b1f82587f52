//! Runs the production code in a simulated world: same seed, same story, to the byte.
//!
//! `cargo sim sweep --seeds 1..200` runs many seeds, `cargo sim repro --seed 7` tells one.

mod commands;
mod error;
mod report;

mod fleet;
mod isolate;
mod wall;

mod judge;
mod outcome;
mod run;
mod scenario;

mod executor;
mod hosts;
mod regions;

mod facts;
mod ledger;
mod oracles;
mod rows;

mod clock;
mod disk;
mod net;
mod overrides;
mod seeded;
mod trace;

mod crash_image;
mod rocks;
mod scratch;

use std::process::ExitCode;

use clap::Parser as _;
use commands::{CommandLine, Verdict};

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match CommandLine::parse().run() {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            report::failure(&error);
            ExitCode::FAILURE
        }
    }
}

//! `regressions`: seeds that failed once, and must not again.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::sweep::{self, Shown};
use super::{Jobs, Verdict};
use crate::error::Error;

const SEEDS: &str = include_str!("../../seeds/regressions.json");

/// Run the seeds that failed once.
#[derive(Args, Debug)]
pub(super) struct Regressions {
    #[command(flatten)]
    jobs: Jobs,
    #[command(flatten)]
    shown: Shown,
}

/// A seed that failed once.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Regression {
    seed: u64,
    /// What went wrong.
    why: String,
}

impl Regressions {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let seeds = kept()?.into_iter().map(|kept| (kept.seed, Some(kept.why)));
        sweep::over(seeds, None, self.jobs.count(), self.shown)
    }
}

fn kept() -> Result<Vec<Regression>, Error> {
    serde_json::from_str(SEEDS)
        .map_err(|source| Error::Json { what: "simulation/seeds/regressions.json".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kept_seed_says_why() {
        assert!(kept().unwrap().iter().all(|kept| !kept.why.trim().is_empty()));
    }
}

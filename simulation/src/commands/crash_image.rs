//! Cuts the power of the real store at many instants, and opens what is left.

use clap::Args;

use super::Verdict;
use super::seeds::Seeds;
use crate::error::Error;
use crate::{crash_image, report};

/// Images of one seed's run, unless asked otherwise.
const IMAGES: u32 = 60;

/// Cut the power of a real RocksDB at many instants and open what is left.
#[derive(Args, Debug)]
pub(super) struct CrashImage {
    /// Which seeds.
    #[arg(long, value_name = "A..B")]
    seeds: Seeds,
    /// How many images of each seed's run.
    #[arg(long, default_value_t = IMAGES)]
    images: u32,
}

impl CrashImage {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let mut good = true;
        for seed in self.seeds.range() {
            let line = match crash_image::run(seed, self.images) {
                Ok(story) => format!("seed {seed}: ok, {story}"),
                Err(why) => {
                    good = false;
                    format!("seed {seed}: FAILED, {why}\n  again: cargo sim crash-image --seeds {seed}..{}", seed + 1)
                }
            };
            report::line(&line)?;
        }
        Ok(Verdict::good_if(good))
    }
}

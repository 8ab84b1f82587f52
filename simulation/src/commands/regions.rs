//! `regions`: what a commit takes when the replicas stand in three regions.

use clap::Args;

use super::Verdict;
use crate::error::Error;
use crate::regions::{self, Cell};
use crate::{isolate, report};

/// Everything follows from it.
const SEED: u64 = 1;
/// A commit takes a round trip to the nearest majority, two syncs and some steps of the simulation; more
/// than this beyond the round trip is something else.
const BESIDE_MS_MAX: u64 = 12;

/// Measure what a commit takes with replicas in three regions, nothing going wrong.
#[derive(Args, Debug)]
pub(super) struct Regions {
    /// Simulated seconds per cell of the table.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// A line of JSON per cell instead of a table.
    #[arg(long)]
    json: bool,
}

impl Regions {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let seconds = self.seconds;
        let told = isolate::alone(SEED, move || regions::measure(SEED, seconds));
        let told = told.map_err(|error| Error::Measured(format!("no thread for the run: {error}")))?;
        let cells = match told {
            (Some(Ok(cells)), None) => cells,
            (Some(Err(why)), _) | (_, Some(why)) => return Err(Error::Measured(why)),
            (None, None) => return Err(Error::Measured("it panicked".to_owned())),
        };
        if self.json {
            cells.iter().try_for_each(report::json)?;
        } else {
            report::line(&table(&cells))?;
        }
        Ok(Verdict::good_if(cells.iter().all(is_near)))
    }
}

/// A single caller waits for the nearest majority, and for little else.
fn is_near(cell: &Cell) -> bool {
    cell.operations > 0 && (cell.callers > 1 || cell.p50_ms <= cell.nearest_ms + BESIDE_MS_MAX)
}

fn table(cells: &[Cell]) -> String {
    let row = |cell: &Cell| {
        let numbers =
            [cell.nearest_ms, cell.callers, cell.per_second, cell.p50_ms, cell.p99_ms, cell.entries, cell.read_p50_ms];
        let numbers = numbers.map(|number| number.to_string());
        [vec![cell.leader.clone()], numbers.to_vec()].concat()
    };
    let rows: Vec<_> = cells.iter().map(row).collect();
    let titles =
        ["LEADER IN", "NEAREST MAJORITY MS", "CALLERS", "COMMITS/S", "P50 MS", "P99 MS", "LOG ENTRIES", "READ P50 MS"];
    report::table(&titles, &[false, true, true, true, true, true, true, true], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_nearest_majority_and_many_share_the_way() {
        let (cells, panic) = isolate::alone(SEED, || regions::measure(SEED, 2)).unwrap();
        assert_eq!(panic, None);
        let cells = cells.unwrap().unwrap();
        assert_eq!(cells.iter().map(|cell| cell.nearest_ms).collect::<Vec<_>>(), [20, 20, 20, 20, 80, 80]);
        assert!(cells.iter().all(is_near), "{}", table(&cells));
        for pair in cells.chunks(2) {
            let (one, many) = (&pair[0], &pair[1]);
            assert!(many.per_second > 20 * one.per_second, "{}", table(&cells));
        }
    }
}

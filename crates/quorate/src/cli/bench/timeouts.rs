//! `quorate bench timeouts`.

use std::time::Duration;

use clap::Args;
use quorate_bench::local::Times;
use quorate_bench::timeouts::TimeoutsBench;

use super::elections::minutes;
use super::{this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::{BenchTimeouts, BenchTimeoutsRow};

#[derive(Args, Debug)]
pub(super) struct Timeouts {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// The choices, in milliseconds: heartbeat, shortest and longest election time; one row each
    #[arg(
        long,
        value_name = "HEARTBEAT/MIN/MAX",
        value_delimiter = ',',
        value_parser = times,
        default_value = "25/150/300,50/300/600,100/500/550,100/500/1000,200/2000/4000"
    )]
    times: Vec<Times>,
    /// How many leaders are stopped, and how many killed, with each choice
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long elections are counted under load with each choice, such as 10 or 0.5
    #[arg(long, default_value = "1", value_parser = minutes)]
    minutes: Duration,
    /// Callers that write meanwhile
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

impl Timeouts {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = TimeoutsBench {
            binary: this_binary()?,
            replicas: self.replicas,
            times: self.times,
            rounds: self.rounds,
            time: self.minutes,
            callers: self.callers,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let rows = unless_interrupted(bench.run(&note)).await?;
        if !output.json {
            output.show(&BenchTimeouts { rows })?;
            return Ok(Code::Ok);
        }
        // One object per row, so that a line can be read alone.
        rows.into_iter().try_for_each(|row| output.show(&BenchTimeoutsRow::from(row)))?;
        Ok(Code::Ok)
    }
}

fn times(text: &str) -> Result<Times, String> {
    let wrong = || format!("{text:?} are no times: write HEARTBEAT/MIN/MAX in milliseconds, such as 100/500/1000");
    let numbers: Result<Vec<u64>, _> = text.split('/').map(str::parse).collect();
    match numbers.map_err(|_| wrong())?[..] {
        [heartbeat_ms, election_ms_min, election_ms_max] => {
            Ok(Times { heartbeat_ms, election_ms_min, election_ms_max })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use quorate_server::Tuning;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        timeouts: Timeouts,
    }

    #[test]
    fn the_products_times_are_among_the_choices() {
        let times = Line::try_parse_from(["timeouts"]).unwrap_or_else(|error| panic!("{error}")).timeouts.times;
        let product = Tuning::default();
        let (heartbeat_ms, election_ms_min) = (product.heartbeat_ms, product.election_ms_min);
        let product = Times { heartbeat_ms, election_ms_min, election_ms_max: product.election_ms_max };
        assert!(times.contains(&product), "{times:?}");
        assert_eq!(times.len(), 5);
    }

    #[test]
    fn times_are_three_numbers() {
        assert_eq!(times("1/2/3"), Ok(Times { heartbeat_ms: 1, election_ms_min: 2, election_ms_max: 3 }));
        for wrong in ["", "1/2", "1/2/3/4", "1/2/x"] {
            assert!(times(wrong).unwrap_err().contains("100/500/1000"), "{wrong}");
        }
    }
}

//! `quorate bench elections`, and how election times are named on the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use quorate_bench::elections::ElectionsBench;
use quorate_bench::local::Times;
use quorate_server::Tuning;

use super::{this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::BenchElections;

#[derive(Args, Debug)]
pub(super) struct Elections {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// How long they are left alone, such as 10 or 0.5
    #[arg(long, default_value = "1", value_parser = minutes)]
    minutes: Duration,
    /// Callers that write without a pause; 0 leaves the cluster idle
    #[arg(long, default_value_t = 0)]
    callers: usize,
    /// Times for one region, or for regions far apart
    #[arg(long, value_enum, default_value_t = Profile::Lan)]
    profile: Profile,
    /// Milliseconds between two heartbeats, in the place of the profile's
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Milliseconds of the shortest and the longest election time, in the place of the profile's
    #[arg(long, value_name = "MIN..MAX", value_parser = range)]
    election_ms: Option<(u64, u64)>,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    Lan,
    Wan,
}

impl Elections {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = ElectionsBench {
            binary: this_binary()?,
            replicas: self.replicas,
            times: self.times(),
            time: self.minutes,
            callers: self.callers,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let row = unless_interrupted(bench.run(&note)).await?;
        output.show(&BenchElections::from(row))?;
        Ok(Code::Ok)
    }

    fn times(&self) -> Times {
        let product = match self.profile {
            Profile::Lan => Tuning::lan(),
            Profile::Wan => Tuning::wan(),
        };
        let (election_ms_min, election_ms_max) =
            self.election_ms.unwrap_or((product.election_ms_min, product.election_ms_max));
        Times { heartbeat_ms: self.heartbeat_ms.unwrap_or(product.heartbeat_ms), election_ms_min, election_ms_max }
    }
}

/// Minutes, with a fraction if need be.
pub(super) fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of minutes"))?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|why| format!("{text:?} minutes: {why}"))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is not a range of milliseconds: write MIN..MAX, such as 500..1000");
    let (min, max) = text.split_once("..").ok_or_else(wrong)?;
    Ok((min.parse().map_err(|_| wrong())?, max.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        elections: Elections,
    }

    fn parse(flags: &str) -> Result<Elections, String> {
        let line = Line::try_parse_from(["elections"].into_iter().chain(flags.split_whitespace()));
        line.map(|line| line.elections).map_err(|error| error.to_string())
    }

    #[test]
    fn single_times_stand_in_for_those_of_the_profile() {
        let product = parse("").unwrap().times();
        assert_eq!(product.heartbeat_ms, Tuning::default().heartbeat_ms);
        assert_eq!(product.election_ms_max, Tuning::default().election_ms_max);
        let wan = parse("--profile wan --heartbeat-ms 400 --minutes 0.5").unwrap();
        assert_eq!(wan.minutes, Duration::from_secs(30));
        assert_eq!(wan.times(), Times { heartbeat_ms: 400, election_ms_min: 1_500, election_ms_max: 1_800 });
        let own = parse("--heartbeat-ms 25 --election-ms 150..300").unwrap().times();
        assert_eq!(own, Times { heartbeat_ms: 25, election_ms_min: 150, election_ms_max: 300 });
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be() {
        assert!(parse("--election-ms 500").unwrap_err().contains("MIN..MAX"));
        assert!(parse("--minutes soon").is_err());
        assert!(parse("--minutes=-1").is_err());
    }
}

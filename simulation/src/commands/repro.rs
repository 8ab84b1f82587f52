//! `repro`: one scenario, in this process, with as much as one wants to see.

use std::time::Duration;

use clap::{Args, ValueEnum};
use quorate_planted::Bug;

use super::{One, Verdict};
use crate::error::Error;
use crate::isolate;
use crate::outcome::{End, Outcome};
use crate::report::{self, seconds, word};
use crate::run::{Options, TraceLevel};
use crate::scenario::{Scenario, Size};

/// Run one seed or scenario and tell what happened.
#[derive(Args, Debug)]
pub(super) struct Repro {
    #[command(flatten)]
    one: One,
    /// Run no further than this point of simulated time, such as `83s`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    until: Option<Duration>,
    /// Print what happens to standard error while it does.
    #[arg(long, value_enum)]
    trace: Option<Trace>,
    /// Plant a bug.
    #[arg(long, value_name = "BUG", value_parser = super::bug)]
    planted: Option<Bug>,
    /// Print the scenario as JSON too.
    #[arg(long)]
    print_scenario: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Trace {
    /// What is observed from outside: disks, executors, clients, faults.
    Facts,
    /// What the product logs as well.
    Full,
}

impl Repro {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let scenario = self.one.scenario()?;
        report::line(&told(&scenario))?;
        if self.print_scenario {
            report::json(&scenario)?;
        }
        let trace = match self.trace {
            None => TraceLevel::None,
            Some(Trace::Facts) => TraceLevel::Facts,
            Some(Trace::Full) => TraceLevel::Full,
        };
        let outcome = isolate::run(scenario, Options { until: self.until, trace, bug: self.planted });
        report::line(&ended(&outcome))?;
        Ok(Verdict::good_if(matches!(outcome.end, End::Held | End::Stopped)))
    }
}

/// A scenario in short, with its faults.
fn told(scenario: &Scenario) -> String {
    let mut lines = vec![format!("seed {}, {}: {}", scenario.seed, word(&scenario.kind), Size::of(scenario))];
    for fault in &scenario.faults {
        let (at, lasts) = (seconds(fault.at_ms), seconds(fault.for_ms));
        lines.push(format!("  at {at} for {lasts}: {}: {:?}", word(&fault.class), fault.what));
    }
    lines.join("\n")
}

fn ended(outcome: &Outcome) -> String {
    let mut lines = vec![report::verdict(outcome)];
    if let End::Violated { before, .. } = &outcome.end {
        lines.push("the last things before:".to_owned());
        lines.extend(before.iter().map(|line| format!("    {line}")));
    }
    let stats = &outcome.stats;
    lines.push(format!(
        "{} simulated; {} commits, {} runs, {} tasks, {} placements, {} starts, {} leader changes, {} leases expired, \
         {} snapshots built, {} installed",
        seconds(stats.simulated_ms),
        stats.commits,
        stats.runs,
        stats.tasks,
        stats.placements,
        stats.started,
        stats.leader_changes,
        stats.leases_expired,
        stats.snapshots_built,
        stats.snapshots_installed
    ));
    lines.push(format!(
        "{} requests, {} of unknown outcome; {} messages to watches; {} changes of membership",
        stats.requests, stats.requests_unknown, stats.watched, stats.changes
    ));
    let faults: Vec<_> = stats.faults.iter().map(|(class, count)| format!("{} {count}", word(class))).collect();
    lines
        .push(format!("faults that struck: {}", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") }));
    lines.push(format!("trace {}, {} events", outcome.trace, outcome.events));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;

    #[test]
    fn a_run_is_told_with_its_faults_and_numbers() {
        let story = told(&sample());
        assert!(story.starts_with("seed 7, swarm: 3 replicas"));
        assert!(story.contains("\n  at 5.000 s for 0.500 s: rack-crash: RackCrash { rack: 0 }"));
        let mut outcome = isolate::broken(7, "panicked".to_owned(), vec!["the end".to_owned()]);
        outcome.stats.commits = 12;
        let text = ended(&outcome);
        assert!(text.contains("VIOLATED H") && text.contains("\n    the end\n") && text.contains("12 commits"));
        assert!(text.contains("faults that struck: none"));
    }
}

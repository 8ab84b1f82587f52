//! `twice`: the same seed in two processes, one fresh and one that has run something else before. Any
//! difference means that something other than the seed had a say.

use std::ops::ControlFlow;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::seeds::Seeds;
use super::{Jobs, Verdict};
use crate::error::Error;
use crate::fleet::{self, Order, Slot};
use crate::isolate::HARNESS;
use crate::outcome::{End, Outcome};
use crate::report::{self, Progress};

/// Run each seed in two processes and compare.
#[derive(Args, Debug)]
pub(super) struct Twice {
    /// Which, such as `1..10`, which ends with 9.
    #[arg(long, value_name = "A..B", required_unless_present = "seed", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// Just this one.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    jobs: Jobs,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    different: u64,
}

impl Twice {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let seeds = self.seeds.or(self.seed.map(Seeds::one)).map_or(0..0, |seeds| seeds.range());
        let mut summary = Summary::default();
        let mut progress = Progress::new();
        fleet::spread(self.jobs.count(), seeds, in_two_processes, |(seed, differences)| {
            summary.seeds += 1;
            if !differences.is_empty() {
                summary.different += 1;
                report::line(&format!(
                    "seed {seed}: DIFFERENT\n    {}\n  again: cargo sim twice --seed {seed}",
                    differences.join("\n    ")
                ))?;
            }
            progress.say(|| format!("{} seeds, {} different", summary.seeds, summary.different));
            Ok(ControlFlow::Continue(()))
        })?;
        report::json(&summary)?;
        Ok(Verdict::good_if(summary.different == 0))
    }
}

fn in_two_processes(used: &mut Slot, seed: u64) -> Result<(u64, Vec<String>), Error> {
    if !used.is_used() {
        used.run(&Order::seed_with(seed.wrapping_add(1), None))?;
    }
    let order = Order::seed_with(seed, None);
    let fresh = Slot::default().run(&order)?;
    Ok((seed, differences(&fresh, &used.run(&order)?)))
}

/// In words, the fresh process first.
fn differences(fresh: &Outcome, used: &Outcome) -> Vec<String> {
    let lost = |outcome: &Outcome| match &outcome.end {
        End::Violated { property, what, .. } if property == HARNESS => Some(what.clone()),
        End::Held | End::Stopped | End::Violated { .. } | End::Invalid { .. } => None,
    };
    // A run that nothing is known of is not known to be the same.
    if let Some(what) = lost(fresh).or_else(|| lost(used)).filter(|_| fresh.events == 0 || used.events == 0) {
        return vec![format!("cannot be compared: {what}")];
    }
    let mut differences = Vec::new();
    for (fresh, used) in [(value(fresh), value(used)), (value(&fresh.stats), value(&used.stats))] {
        let (Value::Object(fresh), Value::Object(used)) = (fresh, used) else { continue };
        // Stats come field by field, after all else.
        for (name, fresh) in fresh.iter().filter(|(name, _)| *name != "stats") {
            if let Some(used) = used.get(name).filter(|used| *used != fresh) {
                differences.push(format!("{name}: {fresh} in a fresh process, {used} in a used one"));
            }
        }
    }
    differences
}

fn value<T: Serialize>(part: &T) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolate;
    use crate::outcome::Stats;

    #[test]
    fn what_differs_is_named() {
        let one = Outcome { seed: 1, end: End::Held, stats: Stats::default(), trace: "a".to_owned(), events: 3 };
        assert!(differences(&one, &one).is_empty());
        let mut other = Outcome { trace: "b".to_owned(), ..one.clone() };
        other.stats.commits = 1;
        let found = differences(&one, &other);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], r#"trace: "a" in a fresh process, "b" in a used one"#);
        assert_eq!(found[1], "commits: 0 in a fresh process, 1 in a used one");
    }

    #[test]
    fn two_crashes_are_no_proof_of_anything() {
        let crashed = isolate::broken(1, "crashed".to_owned(), vec![]);
        assert_eq!(differences(&crashed, &crashed), ["cannot be compared: crashed"]);
    }
}

//! `planted`: every known bug, planted one at a time, must be caught by some property.

mod recorded;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use clap::Args;
use quorate_planted::Bug;
use serde::Serialize;

use super::{Jobs, Verdict};
use crate::error::Error;
use crate::fleet::{self, Order, Slot};
use crate::isolate;
use crate::outcome::{End, Outcome};
use crate::report;
use recorded::Catch;

/// Plant each known bug and see whether it is caught.
#[derive(Args, Debug)]
pub(super) struct Planted {
    /// Just this one.
    #[arg(long, value_name = "NAME", value_parser = super::bug)]
    bug: Option<Bug>,
    /// How many seeds, from 1 on, may be needed.
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    seeds_max: u64,
    #[command(flatten)]
    jobs: Jobs,
    /// Run only the seed that is known to catch each bug.
    #[arg(long, conflicts_with = "record")]
    recorded: bool,
    /// Remember the seeds that are found, in the source tree.
    #[arg(long)]
    record: bool,
    /// A line of JSON per bug instead of a table.
    #[arg(long)]
    json: bool,
}

/// What became of a bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Fate {
    bug: &'static str,
    what: &'static str,
    caught: bool,
    /// The seed that caught it.
    seed: Option<u64>,
    /// The property that it violated.
    property: Option<String>,
    /// How many seeds it took.
    seeds: u64,
    /// What else there is to say.
    note: String,
}

#[derive(Debug, Serialize)]
struct Summary {
    bugs: usize,
    caught: usize,
}

impl Planted {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        if !cfg!(feature = "planted") {
            return Err(Error::Planted(
                "this build has no planted bugs: build with the cargo feature `planted`".into(),
            ));
        }
        let bugs: Vec<Bug> = self.bug.map_or_else(|| Bug::ALL.to_vec(), |bug| vec![bug]);
        let fates = if self.recorded { self.look_up(&bugs)? } else { self.search(&bugs)? };
        if self.record {
            let caught = fates.iter().filter_map(|fate| {
                Some((fate.bug.to_owned(), Catch { seed: fate.seed?, property: fate.property.clone()? }))
            });
            recorded::write(caught)?;
        }
        if !self.json {
            report::line(&table(&fates))?;
        }
        let summary = Summary { bugs: fates.len(), caught: fates.iter().filter(|fate| fate.caught).count() };
        report::json(&summary)?;
        Ok(Verdict::good_if(summary.bugs == summary.caught))
    }

    /// Bug by bug; all processes look for one, and the least seed that catches it counts.
    fn search(&self, bugs: &[Bug]) -> Result<Vec<Fate>, Error> {
        let mut fates = Vec::new();
        for bug in bugs.iter().copied() {
            let mut fate = Fate::of(bug, None, String::new());
            fleet::spread(
                self.jobs.count(),
                1..self.seeds_max.saturating_add(1),
                |slot, seed| caught_by(slot, seed, bug),
                |(seed, property)| {
                    if property.is_none() {
                        return Ok(ControlFlow::Continue(()));
                    }
                    if fate.seed.is_none_or(|found| seed < found) {
                        fate = Fate::of(bug, property.map(|property| Catch { seed, property }), String::new());
                    }
                    Ok(ControlFlow::Break(()))
                },
            )?;
            fate.seeds = fate.seed.unwrap_or(self.seeds_max);
            self.show(&fate)?;
            fates.push(fate);
        }
        Ok(fates)
    }

    /// Each bug's own seed, several bugs at a time.
    fn look_up(&self, bugs: &[Bug]) -> Result<Vec<Fate>, Error> {
        let known = recorded::known()?;
        let mut fates = Vec::new();
        for (position, bug) in bugs.iter().enumerate().filter(|(_, bug)| !known.contains_key(bug.name())) {
            let fate = Fate::of(*bug, None, "no seed is recorded".to_owned());
            self.show(&fate)?;
            fates.push((position, fate));
        }
        let recorded = bugs.iter().enumerate();
        let recorded: Vec<_> = recorded.filter_map(|(at, bug)| Some((at, *bug, known.get(bug.name())?))).collect();
        let unsound = self.unsound(recorded.iter().map(|(_, _, catch)| catch.seed).collect())?;
        let work = |slot: &mut Slot, (position, bug, catch): (usize, Bug, &Catch)| -> Result<_, Error> {
            if unsound.contains(&catch.seed) {
                let why = format!("seed {} does not hold without it", catch.seed);
                return Ok((position, Fate::of(bug, None, why)));
            }
            let outcome = slot.run(&Order::seed_with(catch.seed, Some(bug)))?;
            Ok((position, judged(bug, catch, &outcome)))
        };
        fleet::spread(self.jobs.count(), recorded.into_iter(), work, |(position, fate)| {
            self.show(&fate)?;
            fates.push((position, fate));
            Ok(ControlFlow::Continue(()))
        })?;
        fates.sort_by_key(|(position, _)| *position);
        Ok(fates.into_iter().map(|(_, fate)| fate).collect())
    }

    /// Those of these seeds that do not hold without any bug: they show nothing about one.
    fn unsound(&self, seeds: BTreeSet<u64>) -> Result<BTreeSet<u64>, Error> {
        let mut unsound = BTreeSet::new();
        let work = |slot: &mut Slot, seed| -> Result<_, Error> {
            Ok((seed, slot.run(&Order::seed_with(seed, None))?.end == End::Held))
        };
        fleet::spread(self.jobs.count(), seeds.into_iter(), work, |(seed, held)| {
            if !held {
                unsound.insert(seed);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(unsound)
    }

    fn show(&self, fate: &Fate) -> Result<(), Error> {
        if self.json {
            return report::json(fate);
        }
        report::note(&fate.to_string());
        Ok(())
    }
}

/// The property that a bug violates on a seed. A seed that does not hold without the bug shows nothing
/// about it, and neither does a process that broke.
fn caught_by(slot: &mut Slot, seed: u64, bug: Bug) -> Result<(u64, Option<String>), Error> {
    let End::Violated { property, .. } = slot.run(&Order::seed_with(seed, Some(bug)))?.end else {
        return Ok((seed, None));
    };
    let shows = property != isolate::HARNESS && slot.run(&Order::seed_with(seed, None))?.end == End::Held;
    Ok((seed, shows.then_some(property)))
}

/// What the recorded seed shows today. Another property than the recorded one is no catch: the bug may have
/// broken the harness, or be seen by something that has nothing to do with it.
fn judged(bug: Bug, catch: &Catch, outcome: &Outcome) -> Fate {
    match &outcome.end {
        End::Violated { property, .. } if *property == catch.property => {
            Fate::of(bug, Some(catch.clone()), String::new())
        }
        End::Violated { property, .. } => {
            let why = format!("seed {} violates {property}, {} is recorded", catch.seed, catch.property);
            Fate::of(bug, None, why)
        }
        End::Stopped | End::Held => Fate::of(bug, None, format!("seed {} held", catch.seed)),
        End::Invalid { why } => Fate::of(bug, None, format!("seed {} is invalid: {why}", catch.seed)),
    }
}

impl Fate {
    fn of(bug: Bug, catch: Option<Catch>, note: String) -> Self {
        let caught = catch.is_some();
        let (seed, property) = catch.map(|catch| (catch.seed, catch.property)).unzip();
        Self { bug: bug.name(), what: bug.what(), caught, seed, property, seeds: 1, note }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let note = if self.note.is_empty() { String::new() } else { format!(": {}", self.note) };
        match (self.seed, &self.property) {
            (Some(seed), Some(property)) => write!(f, "{}: caught by {property} on seed {seed}{note}", self.bug),
            _ => write!(f, "{}: NOT CAUGHT in {} seeds{note}", self.bug, self.seeds),
        }
    }
}

fn table(fates: &[Fate]) -> String {
    let row = |fate: &Fate| {
        let seed = fate.seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        let property = fate.property.clone().unwrap_or_else(|| "NOT CAUGHT".to_owned());
        vec![
            fate.bug.to_owned(),
            property,
            seed,
            fate.seeds.to_string(),
            [fate.what, &fate.note].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "),
        ]
    };
    let rows: Vec<_> = fates.iter().map(row).collect();
    report::table(&["BUG", "PROPERTY", "SEED", "SEEDS", "WHAT"], &[false, false, true, true, false], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_seed_catches_or_says_why_not() {
        let bug = Bug::ALL[0];
        let catch = Catch { seed: 4, property: "P3".to_owned() };
        let violated = isolate::broken(4, "hung".to_owned(), vec![]);
        let fate = judged(bug, &catch, &violated);
        assert!(!fate.caught, "a hung process is no catch");
        assert_eq!(fate.note, "seed 4 violates H, P3 is recorded");
        let same = Catch { property: "H".to_owned(), ..catch.clone() };
        assert!(judged(bug, &same, &violated).caught);
        let held = judged(bug, &catch, &Outcome { end: End::Held, ..violated.clone() });
        assert!(!held.caught);
        let invalid = End::Invalid { why: "no tasks".to_owned() };
        let invalid = judged(bug, &catch, &Outcome { end: invalid, ..violated });
        assert_eq!((invalid.caught, invalid.note.as_str()), (false, "seed 4 is invalid: no tasks"));
        let text = table(&[fate, held]);
        assert!(text.contains("NOT CAUGHT") && text.contains("P3 is recorded"), "{text}");
    }
}

//! `shrink`: the same violation in a smaller scenario, by taking out what it does not need
//! (delta debugging; Zeller and Hildebrandt, TSE 2002).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate_planted::Bug;

use super::{Jobs, One, Verdict};
use crate::error::Error;
use crate::fleet::{self, Order, Slot};
use crate::outcome::{End, Outcome};
use crate::report::{self, Progress};
use crate::scenario::shrink::{Edit, edits};
use crate::scenario::{Scenario, Size};
use crate::wall::Budget;

/// Find a smaller scenario that violates the same property.
#[derive(Args, Debug)]
pub(super) struct Shrink {
    #[command(flatten)]
    one: One,
    /// Plant a bug.
    #[arg(long, value_name = "BUG", value_parser = super::bug)]
    planted: Option<Bug>,
    /// Where to write the scenario; standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Try nothing more after this long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m")]
    budget: Duration,
    #[command(flatten)]
    jobs: Jobs,
}

impl Shrink {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let scenario = self.one.scenario()?;
        let first = Slot::default().run(&Order::scenario_with(scenario.clone(), self.planted))?;
        let Some(property) = violated(&first) else { return Err(Error::Nothing(scenario.seed)) };
        report::line(&report::verdict(&first))?;
        report::line(&format!("before: {}", Size::of(&scenario)))?;
        let mut search = Search {
            property: property.to_owned(),
            bug: self.planted,
            jobs: self.jobs.count(),
            budget: Budget::new(Some(self.budget)),
            tried: BTreeSet::new(),
            progress: Progress::new(),
        };
        let smallest = search.smallest(scenario)?;
        report::line(&format!("after:  {}", Size::of(&smallest)))?;
        let why = if search.budget.is_left() { "nothing more can go" } else { "the budget is used up" };
        report::line(&format!("{} scenarios tried; {why}", search.tried.len()))?;
        self.write(&smallest)?;
        Ok(Verdict::Good)
    }

    fn write(&self, scenario: &Scenario) -> Result<(), Error> {
        let Some(path) = &self.out else { return report::json(scenario) };
        let json = |source| Error::Json { what: "the scenario".to_owned(), source };
        let text = serde_json::to_string_pretty(scenario).map_err(json)?;
        std::fs::write(path, text + "\n").map_err(|source| Error::Write { path: path.clone(), source })?;
        let planted = self.planted.map_or_else(String::new, |bug| format!(" --planted {}", bug.name()));
        report::line(&format!("again: cargo sim repro --scenario {}{planted}", path.display()))
    }
}

fn violated(outcome: &Outcome) -> Option<&str> {
    match &outcome.end {
        End::Violated { property, .. } => Some(property),
        End::Held | End::Stopped | End::Invalid { .. } => None,
    }
}

struct Search {
    /// What a smaller scenario must violate.
    property: String,
    bug: Option<Bug>,
    jobs: usize,
    budget: Budget,
    /// Hashes of scenarios that were run.
    tried: BTreeSet<[u8; 32]>,
    progress: Progress,
}

impl Search {
    /// Goes from each smaller scenario to a smaller one yet, until none is.
    fn smallest(&mut self, mut scenario: Scenario) -> Result<Scenario, Error> {
        // Where something could go, its neighbours can go too: the next round goes on from there.
        let mut from = 0;
        while let Some((position, smaller)) = self.smaller(&scenario, from)? {
            self.progress.say(|| format!("{} scenarios tried; {}", self.tried.len(), Size::of(&smaller)));
            (from, scenario) = (position, smaller);
        }
        Ok(scenario)
    }

    /// The first edit, counted round from one of them, after which the property is still violated.
    fn smaller(&mut self, scenario: &Scenario, from: usize) -> Result<Option<(usize, Scenario)>, Error> {
        let edits = edits(scenario);
        let from = from % edits.len().max(1);
        let round: Vec<(usize, &Edit)> =
            edits.iter().enumerate().skip(from).chain(edits.iter().enumerate().take(from)).collect();
        let (property, bug, budget, tried) = (&self.property, self.bug, self.budget, &mut self.tried);
        let candidates = round.into_iter().enumerate().take_while(|_| budget.is_left());
        let candidates = candidates.filter_map(|(turn, (position, edit))| {
            let smaller = edit.applied(scenario).filter(|smaller| tried.insert(hash(smaller)))?;
            Some((turn, position, smaller))
        });
        let mut found: Option<(usize, usize, Scenario)> = None;
        let work = |slot: &mut Slot, (turn, position, smaller): (usize, usize, Scenario)| -> Result<_, Error> {
            let outcome = slot.run(&Order::scenario_with(smaller.clone(), bug))?;
            Ok((violated(&outcome) == Some(property)).then_some((turn, position, smaller)))
        };
        fleet::spread(self.jobs, candidates, work, |result| {
            // Several can come back after the first: the earliest one in the round wins every time.
            let Some(result) = result else { return Ok(ControlFlow::Continue(())) };
            if found.as_ref().is_none_or(|found| result.0 < found.0) {
                found = Some(result);
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found.map(|(_, position, smaller)| (position, smaller)))
    }
}

fn hash(scenario: &Scenario) -> [u8; 32] {
    // What cannot be written cannot be ordered either; then it is tried once.
    *blake3::hash(&serde_json::to_vec(scenario).unwrap_or_default()).as_bytes()
}

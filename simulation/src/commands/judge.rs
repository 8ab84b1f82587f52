//! `judge`: what real replicas left behind, by the oracles of the simulation.

use std::path::PathBuf;

use clap::Args;
use quorate_planted::Bug;

use super::Verdict;
use crate::error::Error;
use crate::judge::{Judgement, Store, Witnesses, Word, judge};
use crate::report;
use crate::run::Planted;

/// Judge the stores of replicas that have stopped.
///
/// Their entries are applied once more, from the first on; one of the stores must have kept all of them.
#[derive(Args, Debug)]
pub(super) struct Judge {
    /// A replica's store: `store` in its data directory. All of one cluster, r1, r2 and so on in what is said.
    #[arg(long = "store", value_name = "DIR", required = true)]
    stores: Vec<PathBuf>,
    /// What was seen beside the log: docs/simulation.md has the form.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Plant a bug while the entries are applied.
    #[arg(long, value_name = "BUG", value_parser = super::bug)]
    planted: Option<Bug>,
    /// Say it as a line of JSON.
    #[arg(long)]
    json: bool,
}

impl Judge {
    pub(super) fn run(self) -> Result<Verdict, Error> {
        let read = |path: PathBuf| Store::read(&path).map_err(|source| Error::Store { path, source });
        let stores: Vec<Store> = self.stores.into_iter().map(read).collect::<Result<_, _>>()?;
        let witnesses = self.facts.map(witnesses).transpose()?;
        let _planted = Planted::new(self.planted);
        let judgement = judge(&stores, witnesses.as_ref());
        if self.json {
            report::json(&judgement)?;
        } else {
            report::line(&told(&judgement))?;
        }
        Ok(Verdict::good_if(judgement.verdict == Word::Held))
    }
}

fn witnesses(path: PathBuf) -> Result<Witnesses, Error> {
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    Witnesses::parse(&text).map_err(|why| Error::Facts { path, why })
}

/// The same for people.
fn told(judgement: &Judgement) -> String {
    let mut lines = vec![match (judgement.verdict, &judgement.invalid) {
        (_, Some(why)) => format!("INVALID, this shows nothing: {why}"),
        (Word::Violated, None) => "VIOLATED".to_owned(),
        (Word::Held | Word::Invalid, None) => "every property that was judged held".to_owned(),
    }];
    let broken = judgement.properties.iter().filter_map(|judged| Some((judged.property, judged.violation.as_ref()?)));
    lines.extend(broken.map(|(property, what)| format!("  {property}: {what}")));
    let properties: Vec<&str> = judgement.properties.iter().map(|judged| judged.property).collect();
    lines.push(format!(
        "{} entries and {} facts, judged by {}",
        judgement.entries,
        judgement.facts,
        properties.join(" ")
    ));
    lines.extend(judgement.left_out.iter().map(|left| format!("  not {}: needs {}", left.property, left.lacks)));
    lines.join("\n")
}

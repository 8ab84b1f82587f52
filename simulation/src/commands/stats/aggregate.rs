//! Numbers of many runs, brought together.

use std::collections::BTreeMap;

use crate::outcome::Stats;
use crate::report::{table, word};
use crate::scenario::Class;

/// A number of a run and its name.
type Measure = (&'static str, fn(&Stats) -> u64);

const MEASURES: [Measure; 18] = [
    ("replicas", |stats| count(stats.replicas)),
    ("regions", |stats| count(stats.regions)),
    ("agents", |stats| count(stats.agents)),
    ("simulated ms", |stats| stats.simulated_ms),
    ("commits", |stats| stats.commits),
    ("runs", |stats| stats.runs),
    ("tasks", |stats| stats.tasks),
    ("placements", |stats| stats.placements),
    ("starts", |stats| stats.started),
    ("leader changes", |stats| stats.leader_changes),
    ("leases expired", |stats| stats.leases_expired),
    ("snapshots built", |stats| stats.snapshots_built),
    ("snapshots installed", |stats| stats.snapshots_installed),
    ("requests", |stats| stats.requests),
    ("requests of unknown outcome", |stats| stats.requests_unknown),
    ("messages to watches", |stats| stats.watched),
    ("changes of membership", |stats| stats.changes),
    ("chores about nodes", |stats| stats.chores),
];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Aggregate {
    /// Per measure, a value for each run.
    values: [Vec<u64>; MEASURES.len()],
    /// How many runs were of each kind; those that did not live to tell count as `lost`.
    kinds: BTreeMap<String, u64>,
    /// In how many runs a class struck, and how often in all.
    faults: BTreeMap<Class, (u64, u64)>,
}

impl Aggregate {
    /// One more run.
    pub(super) fn add(&mut self, stats: &Stats) {
        let kind = stats.kind.as_ref().map_or_else(|| "lost".to_owned(), word);
        *self.kinds.entry(kind).or_default() += 1;
        if stats.kind.is_none() {
            return;
        }
        for (values, (_, measure)) in self.values.iter_mut().zip(MEASURES) {
            values.push(measure(stats));
        }
        for (class, struck) in stats.faults.iter().filter(|(_, struck)| **struck > 0) {
            let (runs, all) = self.faults.entry(*class).or_default();
            *runs += 1;
            *all += struck;
        }
    }

    /// As tables.
    pub(super) fn told(&self) -> String {
        let kinds = self.kinds.iter().map(|(kind, runs)| vec![kind.clone(), runs.to_string()]);
        let measures = self.values.iter().zip(MEASURES).filter_map(|(values, (name, _))| {
            let spread = Spread::of(values)?;
            let numbers = [spread.median, spread.least, spread.most].map(|number| number.to_string());
            Some([vec![name.to_owned(), format!("{:.1}", spread.mean)], numbers.to_vec()].concat())
        });
        let faults =
            self.faults.iter().map(|(class, (runs, all))| vec![word(class), runs.to_string(), all.to_string()]);
        [
            table(&["KIND", "SEEDS"], &[false, true], &kinds.collect::<Vec<_>>()),
            table(
                &["PER SEED", "MEAN", "MEDIAN", "LEAST", "MOST"],
                &[false, true, true, true, true],
                &measures.collect::<Vec<_>>(),
            ),
            table(&["FAULT", "SEEDS", "STRUCK"], &[false, true, true], &faults.collect::<Vec<_>>()),
        ]
        .join("\n\n")
    }
}

/// How values lie.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    mean: f64,
    /// Of an even number of values, the lower one of the two in the middle.
    median: u64,
    least: u64,
    most: u64,
}

impl Spread {
    /// Of some values, if there are any.
    #[expect(clippy::cast_precision_loss, reason = "a mean is read with one decimal")]
    fn of(values: &[u64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let sum: u64 = sorted.iter().sum();
        Some(Self { mean: sum as f64 / sorted.len() as f64, median: sorted[(sorted.len() - 1) / 2], least, most })
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Kind;

    #[test]
    fn values_spread() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[9, 1, 2]), Some(Spread { mean: 4.0, median: 2, least: 1, most: 9 }));
        assert_eq!(Spread::of(&[4, 1]), Some(Spread { mean: 2.5, median: 1, least: 1, most: 4 }));
    }

    #[test]
    fn runs_come_together_and_lost_ones_do_not_count_as_zero() {
        let mut aggregate = Aggregate::default();
        let mut stats = Stats { kind: Some(Kind::Swarm), commits: 10, ..Stats::default() };
        stats.faults.extend([(Class::Crash, 2), (Class::Pause, 0)]);
        aggregate.add(&stats);
        stats.commits = 21;
        aggregate.add(&stats);
        aggregate.add(&Stats::default());
        let text = aggregate.told();
        let line = |head: &str| text.lines().find(|line| line.starts_with(head)).unwrap_or_default();
        let cells = |head: &str| line(head).split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells("commits"), ["15.5", "10", "10", "21"]);
        assert_eq!(cells("swarm"), ["2"]);
        assert_eq!(cells("lost"), ["1"]);
        assert_eq!(cells("crash"), ["2", "4"]);
        assert_eq!(line("pause"), "");
    }
}

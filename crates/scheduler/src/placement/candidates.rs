//! The nodes that can take a task now, best first, each with what makes it as good as it is.

use std::collections::BTreeMap;

use quorate_state::{Census, Imbalance, NodeName, Run, Spread, State, TaskSpec};

use super::kept::Wanted;
use super::ledger::Ledger;
use super::score::{Score, cluster_score};
use crate::Observed;

/// So many are told of.
pub const CANDIDATES_MAX: usize = 5;

/// A node that can take a task now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub node: NodeName,
    /// What it is worth by the measures that placement goes by, in the order in which they decide.
    pub terms: Vec<Term>,
}

/// What a node is worth by one measure; the more the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The measure, for good.
    pub name: &'static str,
    /// In thousandths.
    pub value_milli: i64,
}

/// The best nodes for one element of a step, with the queue left out of account: the first is the one that it would go to.
pub(crate) fn candidates(
    view: &State,
    observed: &Observed,
    (run, step): (&Run, u32),
    task: &TaskSpec,
) -> Vec<Candidate> {
    let mut census = Census::of_state();
    let rules = census.rules(view, run, step);
    let mut ledger = Ledger::default();
    ledger.follow(view, observed);
    let wanted = Wanted { want: ledger.gpus().want(task), task: task.clone() };
    let count = ledger.accounts().len();
    let mut fitting: Vec<(usize, Score)> =
        (0..count).filter_map(|at| Some((at, ledger.score(at, &wanted).ok()?))).collect();
    let node = |ledger: &Ledger, at: usize| ledger.account(at).map(|account| account.node.clone());
    fitting.retain(|(at, _)| node(&ledger, *at).is_some_and(|node| census.admits(&rules, &node).is_ok()));
    let imbalance = |at: usize| -> Vec<Imbalance> {
        let node = ledger.account(at).map(|account| &*account.node);
        rules.balances.iter().map(|balance| balance.imbalance(&census, node)).collect()
    };
    // Where the emptiest cluster goes first, it is as welcome as its best node.
    let of =
        |at: usize| if task.place.spread == Spread::Cluster { ledger.account(at).map(|it| it.cluster) } else { None };
    let mut clusters: BTreeMap<Option<usize>, (Score, _)> = BTreeMap::new();
    for (at, score) in &fitting {
        let cluster = of(*at);
        let fill = cluster.and_then(|number| ledger.clusters().get(number)).map(cluster_score);
        let best = clusters.entry(cluster).or_insert((*score, fill));
        best.0 = best.0.min(*score);
    }
    let has_wishes = task.place.has_wishes();
    let rank = |at: usize| {
        let cluster = of(at);
        let wish = |best: &Score| if has_wishes { best.wishes() } else { 0 };
        cluster.and_then(|_| clusters.get(&cluster)).map(|(best, fill)| (wish(best), *fill, cluster))
    };
    fitting.sort_by(|(one, one_score), (other, other_score)| {
        let by_score = (imbalance(*one), rank(*one), one_score).cmp(&(imbalance(*other), rank(*other), other_score));
        by_score.then_with(|| ledger.tie(*one, *other)).then_with(|| one.cmp(other))
    });
    fitting.truncate(CANDIDATES_MAX);
    let best: Vec<(usize, Vec<Imbalance>)> = fitting.into_iter().map(|(at, _)| (at, imbalance(at))).collect();
    let told = best.into_iter().filter_map(|(at, imbalance)| {
        let balance =
            imbalance.into_iter().map(|imbalance| Term { name: "balance", value_milli: -share_milli(imbalance) });
        let terms = balance.chain(ledger.terms(at, &wanted)).collect();
        Some(Candidate { node: ledger.account(at)?.node.name.clone(), terms })
    });
    told.collect()
}

/// How many of its share a domain would have, in thousandths; what has no share is a million further away, and what is in no domain two.
fn share_milli((tier, share): Imbalance) -> i64 {
    let milli = (u128::from(share) * 1_000) >> quorate_state::IMBALANCE_BITS;
    i64::try_from(milli).unwrap_or(i64::MAX).saturating_add(i64::from(tier) * 1_000_000_000)
}

//! P13: a failure of the control plane or of a network evicts no masses. A lease ends only after its
//! whole term, counted anew by each leader, and not at all while nothing is wrong; and when most of a
//! cluster falls silent at once, its leases end a few at a time.
//!
//! Stands for servers that restarted every allocation after half a minute without a leader.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::{ClusterName, Command, Epoch, Node, NodeName, NodeStatus, Served};

use super::calm::Calm;
use super::executions::Executions;
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::Step;

/// Fewer lost nodes than this are single failures.
const NODES_MIN: usize = 4;

/// More than this share of a cluster, in per cent, is no coincidence.
const SHARE_PERCENT: usize = 50;

/// This share of a cluster's nodes, and at least one, may be declared lost in [`INTERVAL_MS`] then.
const RATE_PERCENT: usize = 10;
const INTERVAL_MS: u64 = 1_000;

/// Nodes lost within so many terms of their lease were lost together.
const TOGETHER_TERMS: u64 = 2;

/// Follows leases and terms.
#[derive(Default)]
pub(crate) struct Brake {
    calm: Calm,
    executions: Executions,
    /// When each lease was granted.
    granted: BTreeMap<(NodeName, Epoch), Duration>,
    /// The first entry of each term: no leader can have begun its watch earlier.
    terms: BTreeMap<u64, Duration>,
}

impl Oracle for Brake {
    fn id(&self) -> &'static str {
        "P13"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        self.calm.take(at, fact, known);
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        self.terms.entry(step.term).or_insert(step.at);
        let items = step.entry.iter().flat_map(|entry| &entry.items);
        let (mut registers, mut expires) = (false, false);
        for item in items {
            registers |= matches!(item.command, Command::RegisterNode(_));
            expires |= matches!(item.command, Command::ExpireLeases { .. });
        }
        if registers {
            for node in step.after.nodes().filter(|node| node.epoch.0 == step.revision.0) {
                self.granted.insert((node.name.clone(), node.epoch), step.at);
            }
        }
        if !expires {
            return Ok(());
        }
        let mut lost: BTreeMap<&ClusterName, usize> = BTreeMap::new();
        for node in step.after.nodes() {
            let was_up = step
                .before
                .node(&node.name)
                .is_some_and(|before| before.status == NodeStatus::Up && before.epoch == node.epoch);
            if was_up && node.status != NodeStatus::Up {
                self.check_term(node, step, known)?;
                *lost.entry(&node.cluster).or_default() += 1;
            }
        }
        lost.into_iter().try_for_each(|(cluster, lost)| check_rate(cluster, lost, step))
    }
}

impl Brake {
    /// The lease of a node ends: its whole term has passed since it was granted and since this leader
    /// came, and something is wrong.
    fn check_term(&self, node: &Node, step: &Step, known: &Known<'_>) -> Verdict {
        let name = &node.name;
        if self.calm.reigns(step.at, known) && self.executions.has_agent(name) {
            return Err(format!("the lease of {name} ended at {:?}, with nothing wrong", step.at));
        }
        let fastest = known.scenario.replicas.iter().map(|replica| replica.clock.drift_ppm).max().unwrap_or(0).max(0);
        let term_us = u128::from(node.lease.server_ms) * 1_000;
        let shortest_us = term_us * 1_000_000 / (1_000_000 + u128::from(fastest.unsigned_abs()));
        let shortest = Duration::from_micros(u64::try_from(shortest_us).unwrap_or(u64::MAX));
        let seen = Duration::from_millis(known.scenario.network.tick_ms + 1);
        for (since, what) in [
            (self.granted.get(&(name.clone(), node.epoch)), "it was granted"),
            (self.terms.get(&step.term), "the leader's term began"),
        ] {
            if let Some(since) = since.filter(|since| **since + shortest > step.at + seen) {
                return Err(format!(
                    "the lease of {name}, of {} ms, ended at {:?}; {what} at {since:?}",
                    node.lease.server_ms, step.at
                ));
            }
        }
        Ok(())
    }
}

/// So many nodes of a cluster were declared lost in one step. What the log shows of silent nodes is at
/// least what the leader saw: if this is too many by the log, it was by the leader's own view.
fn check_rate(cluster: &ClusterName, lost: usize, step: &Step) -> Verdict {
    let now = step.after.meta().served;
    let within = |at: Served, ms: u64| at.plus(ms) > now;
    let (mut all, mut nodes, mut together, mut lately) = (0_usize, 0_usize, 0_usize, 0_usize);
    for node in step.after.nodes().filter(|node| node.cluster == *cluster) {
        all += 1;
        match node.status {
            NodeStatus::Up => nodes += 1,
            NodeStatus::Lost { at } => {
                let is_together = within(at, node.lease.server_ms.saturating_mul(TOGETHER_TERMS));
                nodes += usize::from(is_together);
                together += usize::from(is_together);
                lately += usize::from(within(at, INTERVAL_MS));
            }
        }
    }
    let is_mass = together >= NODES_MIN && together * 100 > nodes * SHARE_PERCENT;
    let rate = (all * RATE_PERCENT / 100).max(1);
    if is_mass && lately > rate {
        return Err(format!(
            "{lost} nodes of cluster {cluster} were declared lost at revision {}: {lately} of {nodes} within \
             {INTERVAL_MS} ms, {together} together",
            step.revision
        ));
    }
    Ok(())
}

//! Nodes that an operator sees to: how it begins, and what must be so in the end.

use std::time::Duration;

use quorate_state::State;

use super::World;
use crate::hosts::Duty;
use crate::scenario::{Chore, Way};

impl World {
    /// An operator is given a duty, at this place of a rack and an agent. What is cut for it; none when that cannot be
    /// now.
    pub(super) fn begin_upkeep(
        &self,
        now: Duration,
        ends: Duration,
        (rack, agent_at): (usize, usize),
        chore: &Chore,
    ) -> Option<Vec<(usize, usize)>> {
        let rack = self.running_rack(rack)?;
        let agents = &self.racks[rack].agents;
        let agent = &agents[agent_at % agents.len()];
        let mut cut = vec![];
        match chore {
            Chore::Forget { cut: true } => {
                let host = self.replicas.len() + rack;
                cut = self.cuts.around(&[host], &self.cuts.other_replicas(&[]), Way::Both);
            }
            Chore::Forget { cut: false } => agent.kill(ends - now),
            Chore::Relabel { pool } => {
                agent.relabel(pool);
                agent.kill(ends - now);
            }
            Chore::Cordon | Chore::Drain { .. } | Chore::Maintain { .. } | Chore::Scope { .. } | Chore::Empty => {}
        }
        let node = match chore {
            Chore::Scope { region: true, .. } => self.scenario.racks[rack].region.clone(),
            Chore::Scope { region: false, .. } => {
                let agents = &self.scenario.racks[rack].agents;
                agents[agent_at % agents.len()].cluster.clone()
            }
            Chore::Cordon
            | Chore::Drain { .. }
            | Chore::Maintain { .. }
            | Chore::Forget { .. }
            | Chore::Relabel { .. }
            | Chore::Empty => agent.node.to_string(),
        };
        self.common.duties.put(Duty { node, chore: chore.clone(), until: ends });
        Some(cut)
    }

    /// What is not yet as it must be in the end: every node takes work, and the operator has come to the end of every
    /// duty.
    pub(super) fn neglected(&self, state: &State) -> Option<String> {
        if !self.common.duties.is_clear() {
            return Some("the operator has not come to the end of a duty".into());
        }
        if let Some(row) = state.scopes().next() {
            return Some(format!("{} is out of service ({:?})", row.scope, row.withdrawal));
        }
        let out = state.nodes().find(|node| node.cordoned || node.drain().is_some())?;
        Some(format!("node {} is out of service ({:?})", out.name, out.withdrawal))
    }
}

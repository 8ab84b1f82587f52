//! Where tasks may go whose job says what the loss of a region means: by the nodes that they ran on, and by commands and their answers
//! alone.
//!
//! Where a node stands is what was planned; which nodes are up, and since when others are not, follows from registrations, ends of
//! leases and nodes that were forgotten.

use std::collections::BTreeMap;

use quorate_state::{Command, Epoch, NodeName, OnRegionLoss, RegionName, Reply, Scope, Served, State, TaskId};

use super::Known;
use super::history::{plan_of, spec_of};
use super::service::{Service, answered};
use crate::ledger::Step;

/// Follows who is up, command by command.
#[derive(Default)]
pub(super) struct Homes {
    service: Service,
    nodes: BTreeMap<NodeName, Lease>,
}

#[derive(Clone, Copy)]
struct Lease {
    epoch: Epoch,
    /// When it ended; none: it is live.
    ended: Option<Served>,
}

/// What binds a task to where it ran.
#[derive(Debug)]
pub(super) struct Home<'a> {
    policy: &'a OnRegionLoss,
    region: &'a str,
    /// Since when it is lost, if it is.
    lost: Option<Served>,
    is_drained: bool,
}

impl Homes {
    /// Takes in a step; `look` is called before each of its commands.
    pub(super) fn take<E>(
        &mut self,
        step: &Step,
        mut look: impl FnMut(&Self, &Command, Option<&Reply>) -> Result<(), E>,
    ) -> Result<(), E> {
        let served = step.after.meta().served;
        for (item, reply) in answered(step) {
            look(self, &item.command, reply.as_ref().ok())?;
            match (&item.command, reply) {
                (
                    Command::RegisterNode(registration) | Command::AdmitNode { registration, .. },
                    Ok(Reply::Registered { epoch, .. }),
                ) => {
                    self.nodes.insert(registration.node.clone(), Lease { epoch: *epoch, ended: None });
                }
                (Command::ExpireLeases { leases }, Ok(_)) => {
                    for (node, epoch) in leases {
                        if let Some(lease) = self.nodes.get_mut(node).filter(|lease| lease.epoch == *epoch) {
                            lease.ended.get_or_insert(served);
                        }
                    }
                }
                (Command::ForgetNode { node }, Ok(_)) => {
                    self.nodes.remove(node);
                }
                _ => {}
            }
            self.service.take(step, item, reply);
        }
        Ok(())
    }

    /// What binds a task, if anything does, where `state` has the attempts that it had before.
    pub(super) fn of<'a>(&self, task: TaskId, state: &'a State, known: &Known<'a>) -> Option<Home<'a>> {
        let policy = spec_of(state, task)?.on_region_loss.as_ref()?;
        let last = state.attempts_of(task).last()?;
        let region = region_of(&last.node, known)?;
        let name = RegionName::new(region).ok();
        let is_drained = name.is_some_and(|name| self.service.drains(&Scope::Region(name)));
        Some(Home { policy, region, lost: self.lost(region, known), is_drained })
    }

    /// Since when no node of a region has had a lease; none while one has.
    fn lost(&self, region: &str, known: &Known<'_>) -> Option<Served> {
        let mut last = Served(0);
        for (_, lease) in self.nodes.iter().filter(|(node, _)| region_of(node, known) == Some(region)) {
            last = last.max(lease.ended?);
        }
        Some(last)
    }
}

impl Home<'_> {
    /// Whether the task may be placed on a node at `served`.
    pub(super) fn allows(&self, node: &NodeName, served: Served, known: &Known<'_>) -> bool {
        let to = region_of(node, known);
        let is_home = to == Some(self.region);
        match self.policy {
            OnRegionLoss::Stay => is_home,
            OnRegionLoss::MoveAfter { after_ms, spill } => {
                let may_leave = self.is_drained || self.lost.is_some_and(|at| at.plus(*after_ms) <= served);
                let spills = spill.is_empty() || spill.iter().any(|region| Some(region.as_str()) == to);
                if may_leave { spills } else { is_home }
            }
        }
    }
}

fn region_of<'a>(node: &NodeName, known: &Known<'a>) -> Option<&'a str> {
    plan_of(known.scenario, node).map(|(rack, _)| rack.region.as_str())
}

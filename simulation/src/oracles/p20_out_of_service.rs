//! P20: nothing is placed on a node that is cordoned, drained or forgotten, by itself or with its cluster or region, from the very
//! command on, also when it comes later; what an operator was
//! told is done is in the history.
//!
//! Stands for work that lands on a machine in the minute before it is switched off.

use std::time::Duration;

use quorate_state::{Command, PlacementOutcome, Reply};

use super::history::task_name;
use super::service::{Service, answered};
use super::{Known, Oracle, Verdict};
use crate::facts::{Fact, Heard};
use crate::ledger::Step;

/// Follows who takes work, command by command.
#[derive(Default)]
pub(crate) struct OutOfService {
    service: Service,
}

impl Oracle for OutOfService {
    fn id(&self) -> &'static str {
        "P20"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        let Fact::Errand(errand) = fact else { return Ok(()) };
        if errand.heard == Heard::Done && !self.service.did(&errand.request_id) {
            let (asked, node) = (errand.asked, &errand.node);
            return Err(format!(
                "an operator was told that {asked:?} of {node} is done, and the history has no such thing"
            ));
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for (item, reply) in answered(step) {
            if let (
                Command::CommitPlan { placements } | Command::CommitGang { placements, .. },
                Ok(Reply::PlanCommitted(outcomes)),
            ) = (&item.command, reply)
            {
                for (placement, outcome) in placements.iter().zip(outcomes) {
                    let PlacementOutcome::Placed(token) = outcome else { continue };
                    let (node, name) = (&placement.node, task_name(placement.task));
                    if !self.service.knows(node) {
                        return Err(format!(
                            "{name} was placed on {node} with token {token}, which is no node (any more)"
                        ));
                    }
                    if let Some(out) = self.service.outs(node).next() {
                        return Err(format!("{name} was placed on {node} with token {token}, which is {out:?}"));
                    }
                }
            }
            self.service.take(step, item, reply);
        }
        Ok(())
    }
}

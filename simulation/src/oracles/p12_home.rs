//! P12, as far as jobs say what the loss of a region means: a task of such a job is placed where it ran while that region lives; once
//! that is lost, where and when its job says, and nowhere else.
//!
//! Stands for data that leaves its region because of a cut of five minutes, and for the storm when it returns.

use quorate_state::{Command, PlacementOutcome, Reply};

use super::history::task_name;
use super::homes::Homes;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Looks at each placement.
#[derive(Default)]
pub(crate) struct AtHome {
    homes: Homes,
}

impl Oracle for AtHome {
    fn id(&self) -> &'static str {
        "P12"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let served = step.after.meta().served;
        self.homes.take(step, |homes, command, reply| {
            let (Command::CommitPlan { placements }, Some(Reply::PlanCommitted(outcomes))) = (command, reply) else {
                return Ok(());
            };
            for (placement, outcome) in placements.iter().zip(outcomes) {
                let Some(home) = homes.of(placement.task, &step.before, known) else { continue };
                let is_placed = matches!(outcome, PlacementOutcome::Placed(_));
                if is_placed && !home.allows(&placement.node, served, known) {
                    let name = task_name(placement.task);
                    return Err(format!("{name} is placed on {} at {served:?}, though {home:?}", placement.node));
                }
            }
            Ok(())
        })
    }
}

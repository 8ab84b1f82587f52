//! P1: the tokens of a task rise from attempt to attempt, each is the revision at which it was placed,
//! and task and token name one node for ever.
//!
//! Stands for schedulers that handed out one allocation index twice.

use std::collections::BTreeMap;

use quorate_state::{NodeName, TaskId, Token};

use super::history::{attempt_name, attempts};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Follows the tokens of every task.
#[derive(Default)]
pub(crate) struct Tokens {
    /// By attempt, oldest first; attempts are numbered from 1.
    tasks: BTreeMap<TaskId, Vec<(Token, NodeName)>>,
}

impl Oracle for Tokens {
    fn id(&self) -> &'static str {
        "P1"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for attempt in attempts(step) {
            let made = self.tasks.entry(attempt.id.task).or_default();
            let (name, token, node) = (attempt_name(attempt.id), attempt.token, &attempt.node);
            if let Some((was, place)) = made.get((attempt.id.number as usize).wrapping_sub(1)) {
                if *was != token || place != node {
                    return Err(format!("{name} had token {was} on {place} and has token {token} on {node}"));
                }
                continue;
            }
            if attempt.id.number as usize != made.len() + 1 {
                return Err(format!("{name} follows attempt {}", made.len()));
            }
            if token.0 != step.revision.0 {
                return Err(format!("{name} was placed at revision {} with token {token}", step.revision));
            }
            if let Some((last, _)) = made.last().filter(|(last, _)| *last >= token) {
                return Err(format!("{name} has token {token}, the one before had {last}"));
            }
            made.push((token, node.clone()));
        }
        Ok(())
    }
}

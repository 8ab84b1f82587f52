//! P9: a task that ran on so many different nodes when these went away is placed no more before somebody has looked
//! at it.
//!
//! So a job that takes machines down cannot go through a cluster.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{
    Attempt, AttemptId, AttemptPhase, AttemptState, Change, Command, Event, Feature, NodeName, Reply, TaskId,
};

use super::history::{attempt_name, task_name};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Follows who ran where when nodes went away.
#[derive(Default)]
pub(crate) struct Quarantine {
    suspects: BTreeMap<TaskId, BTreeMap<AttemptId, NodeName>>,
}

impl Oracle for Quarantine {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        if !step.before.has_feature(Feature::TaskOutcomes) {
            return Ok(());
        }
        let mut told = BTreeSet::new();
        for (item, reply) in answered(step) {
            match (&item.command, reply) {
                (Command::ReleaseTask { task }, Ok(Reply::Counted(1))) => {
                    self.suspects.remove(task);
                }
                (Command::ReportAttempts { reports, .. }, Ok(_)) => {
                    let lost = reports.iter().filter(|report| report.phase == AttemptPhase::Lost);
                    told.extend(lost.map(|report| report.attempt));
                }
                _ => {}
            }
        }
        for change in &step.changes {
            if let Change::Attempt(attempt) = change {
                self.on_attempt(attempt, step, &told)?;
            }
        }
        Ok(())
    }
}

impl Quarantine {
    fn on_attempt(&mut self, row: &Attempt, step: &Step, told: &BTreeSet<AttemptId>) -> Verdict {
        let away = |state: AttemptState| matches!(state, AttemptState::Unknown | AttemptState::Lost);
        let before = step.before.attempt(row.id);
        let ran_there = row.started_at.is_some() && before.is_some_and(|before| !away(before.state)) && away(row.state);
        let is_lost =
            step.events.iter().any(|event| matches!(&event.event, Event::NodeLost { node, .. } if *node == row.node));
        let is_back = step.events.iter().any(
            |event| matches!(&event.event, Event::NodeRegistered { node, epoch } if *node == row.node && row.epoch == *epoch),
        );
        let came_anew = step
            .events
            .iter()
            .any(|event| matches!(&event.event, Event::NodeRegistered { node, .. } if *node == row.node));
        let suspects = self.suspects.entry(row.id.task).or_default();
        if is_back {
            suspects.remove(&row.id);
        } else if ran_there && (is_lost || came_anew) && !told.contains(&row.id) {
            suspects.insert(row.id, row.node.clone());
        }
        if before.is_some() {
            return Ok(());
        }
        let nodes: BTreeSet<&NodeName> = suspects.values().collect();
        let nodes_max = step.before.settings().map_or(0, |settings| settings.suspect_nodes_max as usize);
        if nodes.len() >= nodes_max {
            let (name, task) = (attempt_name(row.id), task_name(row.id.task));
            return Err(format!("{name} was placed, and {task} ran on {nodes:?} when these went away"));
        }
        Ok(())
    }
}

//! P5: a gang is all or nothing. No part of one is placed at any revision, nor on nodes that are not alike in what they have to be;
//! once a member has ended without success the others are to end; no two generations run beside each other, but for copies on nodes that
//! were lost where the promise allows that; a gang that succeeded had all members of one generation succeed; and it begins anew no
//! more often than its job says.
//!
//! Stands for half of a training that waits for ever for the other half, or writes beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptId, AttemptState, Change, OnNodeLoss, RunId, State, StopReason, TaskId, TaskSpec, TaskState,
};

use super::executions::Executions;
use super::history::{attempt_name, attempts, placed, spec_of, task_name};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Follows the members of every gang.
#[derive(Default)]
pub(crate) struct Gangs {
    executions: Executions,
    /// When attempts of gangs were placed.
    placed: BTreeMap<AttemptId, Duration>,
    counts: BTreeMap<Gang, Count>,
    /// The newest.
    state: State,
}

/// Run and step.
type Gang = (RunId, u32);

/// How often a gang has begun anew, by what its attempts came to.
#[derive(Clone, Copy, Default)]
struct Count {
    /// The last generation that is counted.
    generation: u32,
    tries: u32,
    losses: u32,
}

impl Oracle for Gangs {
    fn id(&self) -> &'static str {
        "P5"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        if let Fact::Execution(execution) = fact
            && execution.what == Happening::Started
        {
            self.check_alone(at, execution, known)?;
        }
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let gang_of = |task: TaskId| {
            let spec = spec_of(&step.after, task).filter(|spec| spec.gang.is_some());
            spec.map(|spec| ((task.run, task.step), spec))
        };
        let mut begun: BTreeMap<Gang, (&TaskSpec, Vec<&Attempt>)> = BTreeMap::new();
        for attempt in placed(step) {
            if let Some((gang, spec)) = gang_of(attempt.id.task) {
                self.placed.insert(attempt.id, step.at);
                begun.entry(gang).or_insert((spec, vec![])).1.push(attempt);
            }
        }
        for (gang, (spec, members)) in begun {
            self.check_whole(gang, spec, &members, step, known)?;
        }
        let moved: BTreeSet<Gang> =
            attempts(step).filter_map(|row| gang_of(row.id.task)).map(|(gang, _)| gang).collect();
        moved.into_iter().try_for_each(|gang| check_together(gang, &step.after))?;
        for change in &step.changes {
            if let Change::Task(task) = change
                && task.state == TaskState::Succeeded
                && let Some((gang, _)) = gang_of(task.id)
            {
                check_success(gang, &step.after)?;
            }
        }
        self.state = step.after.clone();
        Ok(())
    }
}

/// The newest attempts of a gang's members, as far as there are any.
fn newest((run, step): Gang, state: &State) -> Vec<&Attempt> {
    let tasks = state.tasks_of_step(run, step);
    tasks.filter_map(|task| state.attempts_of(task.id).last().map(|attempt| &**attempt)).collect()
}

/// While one has ended without success, those that live are to end.
fn check_together(gang: Gang, state: &State) -> Verdict {
    let newest = newest(gang, state);
    let is_failed = |row: &&&Attempt| row.state.is_terminal() && row.state != AttemptState::Succeeded;
    let Some(failed) = newest.iter().find(is_failed) else { return Ok(()) };
    let kept = newest.iter().find(|row| !row.state.is_terminal() && row.stop.is_none());
    kept.map_or(Ok(()), |kept| {
        let (kept, failed) = (attempt_name(kept.id), attempt_name(failed.id));
        Err(format!("{kept} goes on, while {failed} of its gang has ended without success"))
    })
}

fn check_success((run, step): Gang, state: &State) -> Verdict {
    let newest = newest((run, step), state);
    let numbers: BTreeSet<u32> = newest.iter().map(|row| row.id.number).collect();
    let open = state.tasks_of_step(run, step).find(|task| task.state != TaskState::Succeeded);
    match (open, newest.iter().find(|row| row.state != AttemptState::Succeeded)) {
        (Some(open), _) => Err(format!("{} is {:?}, and others of its gang succeeded", task_name(open.id), open.state)),
        (None, Some(row)) => Err(format!("its gang succeeded, and {} is {:?}", attempt_name(row.id), row.state)),
        (None, None) if numbers.len() != 1 => Err(format!("a gang succeeded in generations {numbers:?}")),
        (None, None) => Ok(()),
    }
}

impl Gangs {
    /// All members are placed in this step, in the generation after the last, and on nodes that are alike.
    fn check_whole(
        &mut self,
        gang: Gang,
        spec: &TaskSpec,
        members: &[&Attempt],
        step: &Step,
        known: &Known<'_>,
    ) -> Verdict {
        let name = attempt_name(members[0].id);
        let tasks: BTreeSet<u32> = members.iter().map(|row| row.id.task.index).collect();
        if tasks.len() != spec.count as usize {
            return Err(format!("{name} was placed with {} of {} members of its gang", tasks.len(), spec.count));
        }
        let numbers: BTreeSet<u32> = members.iter().map(|row| row.id.number).collect();
        if numbers.len() != 1 {
            return Err(format!("{name} was placed with others of generations {numbers:?}"));
        }
        if let Some(within) = spec.gang.as_ref().and_then(|gang| gang.within.as_ref()) {
            let nodes = members.iter().filter_map(|row| step.before.node(&row.node));
            let domains: BTreeSet<Option<&str>> = nodes.map(|node| within.domain(node)).collect();
            if domains.len() != 1 || domains.contains(&None) {
                return Err(format!("{name} was placed with others of its gang in {domains:?}"));
            }
        }
        self.check_count(gang, spec, &step.before, known)
    }

    /// What the last generation came to is counted, and leaves room for another.
    fn check_count(&mut self, gang: Gang, spec: &TaskSpec, before: &State, known: &Known<'_>) -> Verdict {
        let last = newest(gang, before);
        let Some(generation) = last.first().map(|row| row.id.number) else { return Ok(()) };
        let count = self.counts.entry(gang).or_default();
        if count.generation < generation {
            count.generation = generation;
            let has = |is: fn(&Attempt) -> bool| last.iter().any(|row| is(row));
            let is_moved = |row: &Attempt| matches!(row.stop, Some(StopReason::Drained | StopReason::Preempted));
            if has(|row| row.state == AttemptState::Lost) {
                count.losses += 1;
            } else if has(is_moved) {
                // It costs nothing.
            } else if has(|row| matches!(row.state, AttemptState::Failed | AttemptState::TimedOut)) {
                count.tries += 1;
            } else {
                count.losses += 1;
            }
        }
        let (run, step) = gang;
        let name = task_name(TaskId { run, step, index: 0 });
        let losses_max = known.scenario.settings.node_losses_max;
        if count.tries >= spec.retry.attempts || count.losses > losses_max {
            let (tries, losses) = (count.tries, count.losses);
            return Err(format!("the gang of {name} begins anew after {tries} tries and {losses} losses"));
        }
        let counted = |task: &quorate_state::Task| (task.tries, task.losses) == (count.tries, count.losses);
        let tasks = before.tasks_of_step(run, step);
        tasks.into_iter().find(|task| !counted(task)).map_or(Ok(()), |task| {
            Err(format!(
                "{} counts {} tries and {} losses, its gang had {} and {}",
                task_name(task.id),
                task.tries,
                task.losses,
                count.tries,
                count.losses
            ))
        })
    }

    /// A member starts: none of another generation runs where it should not.
    fn check_alone(&self, at: Duration, execution: &Execution, known: &Known<'_>) -> Verdict {
        let AttemptId { task, number } = execution.attempt;
        let is_gang = spec_of(&self.state, task).is_some_and(|spec| spec.gang.is_some());
        if !is_gang {
            return Ok(());
        }
        let others = self.executions.of_run(task.run).filter(|other| other.attempt.task.step == task.step);
        for other in others.filter(|other| other.attempt.number != number) {
            let from = self.placed.get(&other.attempt).copied().unwrap_or(other.started);
            // Either may be the copy: one that a node starts late, which stood still, is known to be lost already.
            let is_lost = [other.attempt, execution.attempt]
                .iter()
                .any(|id| self.state.attempt(*id).is_none_or(|row| row.state == AttemptState::Lost));
            let is_allowed = match execution.promise {
                OnNodeLoss::AtLeastOnce => is_lost,
                OnNodeLoss::Fenced | OnNodeLoss::AtMostOnce => known.fence_waived(&other.node, from, at),
            };
            if !is_allowed {
                let (name, other) = (attempt_name(execution.attempt), attempt_name(other.attempt));
                return Err(format!("{name} starts, while {other} of its gang still runs"));
            }
        }
        Ok(())
    }
}

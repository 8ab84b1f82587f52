//! P2: of a task at most one attempt is live in the state; by truth, copies of a fenced task never
//! overlap, an `at_most_once` task starts once, and no attempt starts twice or elsewhere than it was
//! placed. What succeeded did so: it ran to its end, and the sink of a task that succeeded had its last
//! word from that attempt.
//!
//! Stands for two processes of a job of one after a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{AttemptId, AttemptState, Driver, Exit, NodeName, OnNodeLoss, State, TaskId, Token};

use super::executions::Executions;
use super::history::{attempt_name, attempts, plan_of, promise_of, spec_of, task_name};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Follows the copies of every task.
#[derive(Default)]
pub(crate) struct Copies {
    executions: Executions,
    placed: BTreeMap<AttemptId, Placed>,
    /// The attempt of a task that is neither terminal nor unknown.
    live: BTreeMap<TaskId, AttemptId>,
    started: BTreeMap<TaskId, Vec<Begun>>,
    /// Attempts that ended by themselves with exit code 0.
    done: BTreeSet<AttemptId>,
    succeeded: BTreeMap<TaskId, AttemptId>,
    /// What guards each task's output: the greatest token it has seen, and whose word it took last.
    sinks: BTreeMap<TaskId, (Token, AttemptId)>,
    /// The newest.
    state: State,
}

struct Placed {
    node: NodeName,
    token: Token,
    at: Duration,
}

/// A copy that was started.
#[derive(Clone)]
struct Begun {
    attempt: AttemptId,
    node: NodeName,
    token: Token,
}

impl Oracle for Copies {
    fn id(&self) -> &'static str {
        "P2"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        if let Fact::Execution(execution) = fact {
            match execution.what {
                Happening::Started => {
                    self.on_started(at, execution, known)?;
                    self.write(execution);
                }
                Happening::Asked | Happening::Killed => {}
                Happening::Ended { exit: Some(Exit::Code(code)) } => {
                    self.write(execution);
                    if code == 0 {
                        self.done.insert(execution.attempt);
                    }
                }
                Happening::Ended { .. } => {}
            }
        }
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        for attempt in attempts(step) {
            let task = attempt.id.task;
            self.placed.entry(attempt.id).or_insert_with(|| Placed {
                node: attempt.node.clone(),
                token: attempt.token,
                at: step.at,
            });
            let is_live = !attempt.state.is_terminal() && attempt.state != AttemptState::Unknown;
            let is_of_gang = spec_of(&step.after, task).is_some_and(|spec| spec.gang.is_some());
            match self.live.get(&task) {
                Some(other) if is_live && *other != attempt.id => {
                    return Err(format!("{} is live beside attempt {}", attempt_name(attempt.id), other.number));
                }
                Some(other) if !is_live && *other == attempt.id => {
                    self.live.remove(&task);
                }
                None if is_live => {
                    self.live.insert(task, attempt.id);
                    // A member of a gang that ended well begins anew with the others, if one of them has failed.
                    if is_of_gang {
                        self.succeeded.remove(&task);
                    }
                }
                Some(_) | None => {}
            }
            let is_replaced = is_of_gang && step.after.task(task).is_some_and(|row| row.attempts > attempt.id.number);
            let has_succeeded = attempt.state == AttemptState::Succeeded && !is_replaced;
            if has_succeeded && self.succeeded.get(&task) != Some(&attempt.id) {
                // Of a task of nothing nobody sees it run.
                let runs = spec_of(&step.after, task).is_none_or(|spec| spec.driver == Driver::Process);
                if runs && !self.done.contains(&attempt.id) {
                    return Err(format!("{} succeeded without having run to its end", attempt_name(attempt.id)));
                }
                self.succeeded.insert(task, attempt.id);
                self.check_sink(task)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, _: Duration, _: &Known<'_>) -> Verdict {
        self.succeeded.keys().try_for_each(|task| self.check_sink(*task))
    }
}

impl Copies {
    fn on_started(&mut self, at: Duration, execution: &Execution, known: &Known<'_>) -> Verdict {
        let Execution { node, attempt, token, promise, .. } = execution;
        let (attempt, name) = (*attempt, attempt_name(*attempt));
        let Some(placed) = self.placed.get(&attempt) else {
            return Err(format!("{name} started on {node} and was never placed"));
        };
        if placed.node != *node || placed.token != *token {
            let Placed { node: place, token: given, .. } = placed;
            return Err(format!("{name} started on {node} with token {token}, it was placed on {place} with {given}"));
        }
        let promised = promise_of(&self.state, attempt.task);
        if promised != Some(*promise) {
            return Err(format!("{name} runs as {promise:?}, its job says {promised:?}"));
        }
        let earlier = self.started.get(&attempt.task).map_or(&[][..], Vec::as_slice);
        if let Some(copy) = earlier.iter().find(|copy| copy.attempt == attempt) {
            return Err(format!("{name} started on {node} for the second time, after {}", copy.node));
        }
        match promise {
            OnNodeLoss::AtLeastOnce => {}
            OnNodeLoss::AtMostOnce => {
                if let Some(copy) = earlier.first() {
                    return Err(format!("{name} started, and attempt {} had before", copy.attempt.number));
                }
            }
            OnNodeLoss::Fenced => self.check_fence(at, execution, placed.at, earlier, known)?,
        }
        let copy = Begun { attempt, node: node.clone(), token: *token };
        self.started.entry(attempt.task).or_default().push(copy);
        Ok(())
    }

    /// A copy starts: those with smaller tokens have ended, and none with a larger one has begun.
    fn check_fence(
        &self,
        at: Duration,
        execution: &Execution,
        placed_at: Duration,
        earlier: &[Begun],
        known: &Known<'_>,
    ) -> Verdict {
        let Execution { node, attempt, token, .. } = execution;
        let name = attempt_name(*attempt);
        for other in self.executions.of_task(attempt.task).filter(|other| other.token < *token) {
            if !is_waived(known, &other.node, other.started, at) {
                return Err(format!(
                    "{name}, fenced, started on {node} while attempt {} runs on {} since {:?}",
                    other.attempt.number, other.node, other.started
                ));
            }
        }
        for other in earlier.iter().filter(|other| other.token > *token) {
            if !is_waived(known, node, placed_at, at) {
                return Err(format!(
                    "{name}, fenced, started on {node} after attempt {} on {}",
                    other.attempt.number, other.node
                ));
            }
        }
        Ok(())
    }

    /// A copy writes to its task's sink, which refuses those with a token smaller than one it has seen.
    fn write(&mut self, execution: &Execution) {
        let sink = self.sinks.entry(execution.attempt.task).or_insert((execution.token, execution.attempt));
        if execution.token >= sink.0 {
            *sink = (execution.token, execution.attempt);
        }
    }

    fn check_sink(&self, task: TaskId) -> Verdict {
        let (Some(succeeded), Some((token, last))) = (self.succeeded.get(&task), self.sinks.get(&task)) else {
            return Ok(());
        };
        if last == succeeded {
            return Ok(());
        }
        Err(format!(
            "{}: attempt {} succeeded, its sink had the last word from attempt {} with token {token}",
            task_name(task),
            succeeded.number,
            last.number
        ))
    }
}

/// True when what the fence rests on did not hold while an old copy was on `node`: the machine stood
/// still, or clocks ran further apart than the lease allows for.
fn is_waived(known: &Known<'_>, node: &NodeName, from: Duration, to: Duration) -> bool {
    let rho = u64::from(known.scenario.settings.lease_rho_ppm);
    let rack = plan_of(known.scenario, node).map(|(rack, _)| rack.clock);
    let clocks = known.scenario.replicas.iter().map(|replica| replica.clock).chain(rack);
    let drifts = clocks.into_iter().any(|clock| clock.drift_ppm.unsigned_abs() > rho);
    drifts || known.fence_waived(node, from, to)
}

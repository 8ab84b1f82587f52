//! Random histories in which agents and executors behave: the product's own rules must satisfy every
//! property that can be judged without a clock, or either of the two is wrong.

use std::collections::BTreeSet;

use quorate_state::{
    AttemptClaim, AttemptId, AttemptPhase, AttemptState, Choice, Command, Exit, GpuHold, NodeStatus, OnFailure,
    OnNodeLoss, RunId, TaskId,
};

use super::hand::{Hand, task};
use super::{
    Oracle, p1_tokens, p2_copies, p3_capacity, p6_transitions, p7_order, p8_cancel, p9_once, p9_retries, p12_place,
    plan,
};
use crate::facts::Happening;
use crate::seeded::Stream;

const NODES: usize = 4;
const MOVES: usize = 400;

/// A history, and what its executors did.
struct Story {
    hand: Hand,
    dice: Stream,
    runs: Vec<RunId>,
    alive: BTreeSet<AttemptId>,
    started: BTreeSet<AttemptId>,
}

impl Story {
    fn tell(seed: u64) -> Hand {
        let hand = Hand::new(NODES);
        let dice = Stream::of(seed, "story");
        let mut story = Self { hand, dice, runs: vec![], alive: BTreeSet::new(), started: BTreeSet::new() };
        for _ in 0..MOVES {
            story.go_on();
        }
        story.hand
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let at = self.dice.within(0, of.len() as u64);
        of.get(usize::try_from(at).ok()?).cloned()
    }

    fn go_on(&mut self) {
        let pass = self.dice.within(0, 501);
        self.hand.pass(pass);
        match self.dice.within(0, 20) {
            0 => self.submit(),
            1..=5 => self.place(),
            6..=11 => self.report(),
            12..=13 => {
                if let Some(run) = self.pick(&self.runs.clone()) {
                    self.hand.advance(run);
                }
            }
            14 => self.cancel(),
            15 => self.lose(),
            16..=17 => self.come_back(),
            _ => self.hand.fire(),
        }
    }

    fn submit(&mut self) {
        let promises = [OnNodeLoss::AtLeastOnce, OnNodeLoss::Fenced, OnNodeLoss::AtMostOnce];
        let mut tasks = vec![task("a", &[]), task("b", &["a"]), task("c", &[]), task("d", &["b", "c"])];
        for one in &mut tasks {
            one.on_node_loss = self.pick(&promises).unwrap_or_default();
            one.count = u32::try_from(self.dice.within(1, 3)).unwrap_or(1);
            if one.on_node_loss != OnNodeLoss::AtMostOnce {
                one.retry.attempts = u32::try_from(self.dice.within(1, 4)).unwrap_or(1);
                one.retry.never = vec![64];
            }
        }
        let on_failure = self.pick(&[OnFailure::Finish, OnFailure::Cancel]).unwrap_or_default();
        self.runs.push(self.hand.submit(on_failure, tasks));
    }

    fn place(&mut self) {
        let ready: Vec<TaskId> = self.hand.state.ready().map(|key| key.task).collect();
        let number = self.dice.within(1, NODES as u64 + 1);
        let Some(task) = self.pick(&ready) else { return };
        self.hand.offer_place(task, &format!("n{number}"));
    }

    fn attempts(&self) -> Vec<AttemptId> {
        let of = |run: &RunId| self.hand.state.attempts_of_run(*run).map(|row| row.id).collect::<Vec<_>>();
        self.runs.iter().flat_map(of).collect()
    }

    fn end(&mut self, attempt: AttemptId, exit: Option<Exit>) {
        if self.alive.remove(&attempt) {
            self.hand.executor(attempt, Happening::Ended { exit });
        }
    }

    /// An agent goes on with one of its attempts, and says so if it is heard.
    fn report(&mut self) {
        let held: Vec<AttemptId> =
            self.attempts().into_iter().filter(|attempt| !self.hand.state.attempt(*attempt).unwrap().gone).collect();
        let Some(attempt) = self.pick(&held) else { return };
        let row = self.hand.state.attempt(attempt).unwrap().clone();
        let up = self.hand.node(row.node.as_str()).status == NodeStatus::Up;
        if !self.started.contains(&attempt) {
            if up && !row.state.is_terminal() && row.state != AttemptState::Unknown {
                self.started.insert(attempt);
                self.alive.insert(attempt);
                self.hand.executor(attempt, Happening::Started);
                self.hand.report(attempt, AttemptPhase::Running, None);
            }
            return;
        }
        // What ends while its node has no lease is told when it is back, which no story has: it goes on until then.
        if up && self.alive.contains(&attempt) {
            let code = i32::try_from(self.dice.within(0, 3)).unwrap_or(0) * 32;
            if row.stop.is_some() {
                self.hand.executor(attempt, Happening::Asked);
            }
            self.end(attempt, Some(Exit::Code(code)));
            self.hand.report(attempt, AttemptPhase::Ended, Some(code));
        }
    }

    fn cancel(&mut self) {
        if let Some(run) = self.pick(&self.runs.clone()).filter(|_| self.runs.len() > 3) {
            self.hand.commit(Command::CancelRun { run });
        }
    }

    /// The lease of a node ends; what is fenced there is dead by then.
    fn lose(&mut self) {
        let node = format!("n{}", self.dice.within(1, NODES as u64 + 1));
        for attempt in self.alive.clone() {
            let row = self.hand.state.attempt(attempt).unwrap().clone();
            let spec = &self.hand.state.run(attempt.task.run).unwrap().spec.tasks[attempt.task.step as usize];
            if row.node.as_str() == node && spec.on_node_loss == OnNodeLoss::Fenced {
                self.end(attempt, None);
            }
        }
        self.hand.expire(&[&node]);
    }

    /// A node registers, with what runs there and perhaps without some of it, which has then ended.
    fn come_back(&mut self) {
        let node = format!("n{}", self.dice.within(1, NODES as u64 + 1));
        let restarted = self.dice.within(0, 2) == 0;
        let mut claims = vec![];
        for attempt in self.alive.clone() {
            let row = self.hand.state.attempt(attempt).unwrap().clone();
            if row.node.as_str() == node && restarted {
                self.end(attempt, None);
            } else if row.node.as_str() == node {
                claims.push(AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token: row.token });
            }
        }
        // What was placed and has not started never will.
        for attempt in self.attempts() {
            if self.hand.state.attempt(attempt).unwrap().node.as_str() == node {
                self.started.insert(attempt);
            }
        }
        self.hand.register(&node, claims);
    }
}

#[test]
fn what_the_product_does_violates_nothing() {
    let mut ends = BTreeSet::new();
    for seed in 0..40 {
        let hand = Story::tell(seed);
        let runs = hand.state.runs_newest_first(None);
        ends.extend(runs.flat_map(|run| hand.state.attempts_of_run(run.id)).map(|attempt| attempt.state));
        let oracles: Vec<Box<dyn Oracle>> = vec![
            Box::new(p1_tokens::Tokens::default()),
            Box::new(p2_copies::Copies::default()),
            Box::new(p3_capacity::Capacity::default()),
            Box::new(p6_transitions::Transitions::default()),
            Box::new(p7_order::Order::default()),
            Box::new(p8_cancel::Cancels::default()),
            Box::new(p9_once::Once::default()),
            Box::new(p9_retries::Retries::default()),
            Box::new(p12_place::Places::default()),
            Box::new(plan::Plans::default()),
        ];
        for mut oracle in oracles {
            assert_eq!(hand.judge_with(&mut *oracle), Ok(()), "{} in story {seed}", oracle.id());
        }
    }
    for state in [
        AttemptState::Unknown,
        AttemptState::Succeeded,
        AttemptState::Failed,
        AttemptState::Lost,
        AttemptState::Cancelled,
    ] {
        assert!(ends.contains(&state), "no attempt is {state:?} in any story");
    }
}

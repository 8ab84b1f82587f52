//! When a run is over, and whether the cluster came to rest in time (L1 to L5).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Table, Write};
use quorate_state::{Attempt, AttemptState, Event, Feature, PlacementOutcome, Reply, TaskState, Wait};

use super::late::{FAULTS_MIN, Lack, TASKS_MIN};
use super::{Violation, World};
use crate::facts::{Answer, Fact, Operation, Outcome};
use crate::hosts::Replica;
use crate::ledger::{RaftRows as _, Step};
use crate::oracles::flow::is_to_end_within;
use crate::outcome::Stats;
use crate::scenario::{Scenario, SessionPlan, When};

/// Between two looks at whether everything is at rest.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// At rest for this long, it stays so: whoever watches has been told.
const REST: Duration = Duration::from_secs(2);
/// L1: elections after the heal that may fail before one must have worked.
const ELECTIONS: u32 = 10;
/// L3: for all probes to be answered, once somebody leads.
const PROBES_WITHIN: Duration = Duration::from_secs(30);
/// L4: leases that may have to run out one after the other before all is done.
const LEASES: u32 = 10;
/// L4: what is left to do takes no longer when nothing is in its way.
const WORK_WITHIN: Duration = Duration::from_secs(60);
/// The floor of a valid run.
const AGENTS_MIN: usize = 10;

/// What is known of how the run comes to rest.
pub(super) struct Settle {
    next_look: Duration,
    at_rest_since: Option<Duration>,
    /// Entries committed when the faults had ended.
    probes: usize,
    probes_answered: usize,
    first_commit_after_heal: Option<Duration>,
    /// Terms somebody led in.
    terms: BTreeSet<u64>,
    purges: BTreeSet<u64>,
}

impl Settle {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            next_look: Duration::ZERO,
            at_rest_since: None,
            probes: scenario.sessions.iter().filter(is_probe).map(|probe| probe.steps.len()).sum(),
            probes_answered: 0,
            first_commit_after_heal: None,
            terms: BTreeSet::new(),
            purges: BTreeSet::new(),
        }
    }

    /// A request came to its end; those after the heal must be answered.
    pub(super) fn answered(&mut self, scenario: &Scenario, operation: &Operation) {
        let is_probe = scenario.sessions.get(operation.session).as_ref().is_some_and(is_probe);
        let is_good = matches!(
            &operation.outcome,
            Outcome::Answered(Answer::Submitted(_) | Answer::Run(_) | Answer::Cancelled(_))
        );
        self.probes_answered += usize::from(is_probe && is_good);
    }

    /// Counts leaders and cuts of logs, which only disks tell of.
    pub(super) fn wrote(&mut self, fact: &Fact) {
        let Fact::Wrote { batch, .. } = fact else { return };
        for write in &batch.writes {
            let Write::Put { table: Table::Raft, key, value } = write else { continue };
            match &key[..] {
                b"vote" => {
                    let vote = <quorate_proto::raft::v1::Vote as prost::Message>::decode(value.clone());
                    self.terms.extend(vote.ok().filter(|vote| vote.committed).map(|vote| vote.term));
                }
                b"purged" => {
                    let mark = <quorate_proto::raft::v1::Mark as prost::Message>::decode(value.clone());
                    self.purges.extend(mark.ok().and_then(|mark| mark.log_id).map(|id| id.index));
                }
                _ => {}
            }
        }
    }
}

/// True for what is asked after the heal, which must be answered.
fn is_probe(session: &&SessionPlan) -> bool {
    session.when == When::Healed
}

impl World {
    /// True when there is nothing left to wait for.
    pub(super) fn is_over(&mut self) -> Result<bool, Violation> {
        let now = self.sim.elapsed();
        let Some(healed) = self.healed else { return Ok(false) };
        if now < self.settle.next_look {
            return Ok(false);
        }
        self.settle.next_look = now + LOOK_EVERY;
        self.hasten();
        self.release();
        let unrest = self.unrest();
        if unrest.is_none() {
            let since = *self.settle.at_rest_since.get_or_insert(now);
            let quiet = Duration::from_millis(self.scenario.end_ms.saturating_sub(self.scenario.heal_ms));
            return Ok(now >= since + REST && now >= healed + quiet);
        }
        self.settle.at_rest_since = None;
        let since = now - healed;
        self.check_removed(now, healed)?;
        let tunables = &self.scenario.settings;
        let elections = Duration::from_millis(tunables.election_ms.1) * ELECTIONS;
        if since > elections && self.settle.first_commit_after_heal.is_none() {
            return Err(Violation::new("L1", format!("nobody has committed anything {since:?} after the heal")));
        }
        if since > elections + PROBES_WITHIN && self.settle.probes_answered < self.settle.probes {
            let Settle { probes, probes_answered, .. } = self.settle;
            let what = format!("{probes_answered} of {probes} requests are answered {since:?} after the heal");
            return Err(Violation::new("L3", what));
        }
        let bound = WORK_WITHIN + Duration::from_millis(tunables.lease_server_ms) * LEASES;
        match unrest.filter(|_| since > bound) {
            Some((property, what)) => Err(Violation::new(property, format!("{what} {since:?} after the heal"))),
            None => Ok(false),
        }
    }

    /// When nobody asks for anything any more, what runs comes to its end soon: ten idle seconds more show nothing.
    /// What is to end for another reason does not: it would hide that the reason had no effect.
    fn hasten(&self) {
        let Some(state) = self.ledger.state() else { return };
        if self.common.done.get() < self.scenario.sessions.len() || self.neglected(state).is_some() {
            return;
        }
        let may_be_silent = |attempt: &Attempt| {
            let spec = state.run(attempt.id.task.run).and_then(|run| run.spec.tasks.get(attempt.id.task.step as usize));
            spec.is_some_and(|spec| spec.silent_timeout_ms.is_none())
        };
        let undisturbed = |attempt: &Attempt| {
            let is_timed = attempt.run_deadline.is_some() || !may_be_silent(attempt);
            attempt.stop.is_none() && !is_timed && attempt.state == AttemptState::Running
        };
        for agent in self.racks.iter().flat_map(|rack| &rack.agents) {
            let running = state.attempts_on(&agent.node).filter(|attempt| undisturbed(attempt));
            let of_itself = |attempt: &&Arc<Attempt>| {
                let task = attempt.id.task;
                state.run(task.run).is_some_and(|run| !is_to_end_within(state, run, task.step))
            };
            running.filter(of_itself).for_each(|attempt| agent.executor.hasten(attempt.id));
        }
    }

    /// What is in quarantine is let go, one round after the other.
    fn release(&self) {
        let Some(state) = self.ledger.state().filter(|_| self.common.releases.is_clear()) else { return };
        let held = state.unfinished_runs().filter(|run| state.run_counts(*run).quarantined > 0);
        let quarantined =
            held.flat_map(|run| state.tasks_of(run)).filter(|task| task.state == TaskState::Waiting(Wait::Quarantine));
        quarantined.for_each(|task| self.common.releases.put(task.id));
    }

    /// What is not at rest yet, and the property it would violate.
    fn unrest(&self) -> Option<(&'static str, String)> {
        if !self.is_all_up() {
            return Some(("L2", "not every host is up".into()));
        }
        let done = self.common.done.get();
        if done < self.scenario.sessions.len() {
            return Some(("L3", format!("{done} of {} sessions are over", self.scenario.sessions.len())));
        }
        let Some(state) = self.ledger.state() else { return Some(("L1", "nothing was ever committed".into())) };
        let held = |run: &quorate_state::RunId| state.run(*run).is_some_and(|run| self.is_held(run));
        if let Some(run) = state.unfinished_runs().find(|run| !held(run)) {
            let tasks: Vec<String> = state
                .tasks_of(run)
                .filter(|task| !task.state.is_terminal())
                .take(5)
                .map(|task| format!("{}.{} {:?}", task.id.step, task.id.index, task.state))
                .collect();
            return Some(("L4", format!("run {run} has not ended (tasks {})", tasks.join(", "))));
        }
        let held = state.nodes().find(|node| state.attempts_count_on(&node.name) > 0);
        if let Some(node) = held {
            let attempts: Vec<String> =
                state.attempts_on(&node.name).take(3).map(|one| format!("{:?} {:?}", one.id, one.state)).collect();
            return Some(("L5", format!("node {} holds room for {}", node.name, attempts.join(", "))));
        }
        let busy = self.racks.iter().flat_map(|rack| &rack.agents).find(|agent| agent.executor.alive() > 0);
        if let Some(agent) = busy {
            return Some(("P4", format!("the executor of {} runs what the state does not know of", agent.node)));
        }
        if !self.common.releases.is_clear() {
            return Some(("L4", "the operator has not let go all that was in quarantine".into()));
        }
        if let Some(what) = self.unfit() {
            return Some(("L11", what));
        }
        if let Some(what) = self.neglected(state) {
            return Some(("L13", what));
        }
        let all_have_it = !self.replicas.iter().any(Replica::is_older);
        if let Some(feature) = Feature::ALL.into_iter().find(|feature| all_have_it && !state.has_feature(*feature)) {
            return Some(("L12", format!("every replica has {feature}, and it is not enabled")));
        }
        let last = self.ledger.steps().len() as u64 - 1;
        let behind = self.ledger.shadows().iter().position(|shadow| shadow.live().applied() != Some(last));
        behind.map(|at| {
            let applied = self.ledger.shadows()[at].live().applied();
            ("L2", format!("r{} has applied {applied:?} of {last}", at + 1))
        })
    }

    /// Counts what a committed entry brought.
    pub(super) fn count(&mut self, step: &Step) {
        let stats = &mut self.stats;
        stats.commits += 1;
        if self.healed.is_some_and(|healed| step.at > healed) {
            self.settle.first_commit_after_heal.get_or_insert(step.at);
        }
        for row in &step.events {
            match row.event {
                Event::RunSubmitted { run, .. } => {
                    stats.runs += 1;
                    stats.tasks += step.after.tasks_of(run).count() as u64;
                }
                Event::NodeLost { .. } => stats.leases_expired += 1,
                _ => {}
            }
        }
        for reply in step.replies.iter().flatten() {
            if let Reply::PlanCommitted(outcomes) = reply {
                let placed = |outcome: &&PlacementOutcome| matches!(outcome, PlacementOutcome::Placed(_));
                stats.placements += outcomes.iter().filter(placed).count() as u64;
            }
        }
    }

    /// What happened, in numbers.
    pub(super) fn stats(&self) -> Stats {
        let regions = self.scenario.replicas.iter().map(|replica| &replica.region);
        let regions: BTreeSet<_> = regions.chain(self.scenario.racks.iter().map(|rack| &rack.region)).collect();
        Stats {
            kind: Some(self.scenario.kind),
            replicas: self.scenario.replicas.len(),
            regions: regions.len(),
            agents: self.racks.iter().map(|rack| rack.agents.len()).sum(),
            simulated_ms: u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX),
            leader_changes: (self.settle.terms.len() as u64).saturating_sub(1),
            snapshots_built: self.settle.purges.len() as u64,
            snapshots_installed: self.ledger.installed,
            ..self.stats.clone()
        }
    }

    /// What the run lacks of what a valid one has.
    pub(super) fn floor(&self) -> Option<String> {
        let stats = self.stats();
        let lacks =
            |what: &str, has: u64, needs: u64| (has < needs).then(|| format!("{has} {what}, {needs} are needed"));
        let unshown = self.lacks().map(|lack| match lack {
            Lack::Strike(class) => format!("no fault of class {class:?} struck"),
            Lack::Felt(_) => "no disk's trouble was felt".into(),
            Lack::LeaderChange => "0 leader changes, 1 is needed".into(),
            Lack::Install => "0 snapshots installed, 1 is needed".into(),
            Lack::Change => "0 changes of membership, 1 is needed".into(),
            Lack::Chore => "nothing was done about nodes".into(),
            Lack::Faults(faults) => format!("{faults} faults, {FAULTS_MIN} are needed"),
            Lack::Tasks(tasks) => format!("{tasks} tasks, {TASKS_MIN} are needed"),
        });
        unshown.or(lacks("agents", stats.agents as u64, AGENTS_MIN as u64)).or(lacks(
            "snapshots built",
            stats.snapshots_built,
            1,
        ))
    }
}

//! Judges what real replicas left behind, by the oracles of the simulation: the entries that they committed, and what
//! clients and tasks wrote down meanwhile.
//!
//! The ledger applies every entry once more, and holds the stores of all replicas against what comes of it. Nobody wrote down when an entry was committed. So oracles
//! that need nothing but the log are told of it by the log's own clock, and the others are told as late as can be:
//! just before the first thing that somebody saw of it. What is told after an entry then happened after it; what is
//! told before it may have.

mod store;
#[cfg(test)]
mod tests;
mod witnesses;

use std::time::Duration;

use quorate_state::{Node, Resources};
use serde::Serialize;

use crate::facts::Fact;
use crate::ledger::{Ledger, Step};
use crate::oracles::{self, Known, Oracle};
use crate::scenario::{ClockPlan, Gpus, Kind, Network, RackPlan, Scenario, Tunables};
pub(crate) use store::Store;
pub(crate) use witnesses::Witnesses;
use witnesses::rack;

/// How long an agent leaves between asking a task to end and killing it.
const STOP_GRACE_MS: u64 = 5_000;
/// Clocks that ran as they should.
const CLOCK: ClockPlan = ClockPlan { booted_before_ms: 0, wall_ahead_ms: 0, drift_ppm: 0 };

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Judgement {
    pub(crate) verdict: Word,
    /// Why nothing was judged, if so.
    pub(crate) invalid: Option<String>,
    /// Committed entries that were applied once more.
    pub(crate) entries: usize,
    /// What others than the log said.
    pub(crate) facts: usize,
    pub(crate) properties: Vec<Judged>,
    /// What was not judged, and what is missing for it.
    pub(crate) left_out: Vec<LeftOut>,
}

/// See [`Judgement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Held,
    Violated,
    /// It shows nothing.
    Invalid,
}

/// A property by its number; what violated it first, if anything did.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) property: &'static str,
    pub(crate) violation: Option<String>,
}

/// See [`Judgement`].
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) property: &'static str,
    pub(crate) lacks: &'static str,
}

/// Judges the stores of replicas that have stopped, and what was seen beside them.
pub(crate) fn judge(stores: &[Store], witnesses: Option<&Witnesses>) -> Judgement {
    let mut broken: Vec<Option<String>> = stores.iter().map(Store::broken_off).collect();
    let Some(first) = broken.iter().position(Option::is_none) else {
        let why: Vec<String> = broken.iter_mut().filter_map(Option::take).collect();
        return Judgement::invalid(format!("no store has the whole log: {}", why.join("; ")));
    };
    let (ledger, mut properties) = replay(stores, first);
    let scenario = scenario(&ledger, witnesses);
    let mut bench = Bench::new(&ledger, &scenario, witnesses);
    let none = Witnesses::default();
    bench.hear(witnesses.unwrap_or(&none), stores.len());
    properties.extend(bench.verdicts());
    let violated = properties.iter().any(|judged| judged.violation.is_some());
    Judgement {
        verdict: if violated { Word::Violated } else { Word::Held },
        invalid: None,
        entries: ledger.steps().len(),
        facts: witnesses.map_or(0, |witnesses| witnesses.facts.len()),
        properties,
        left_out: left_out(witnesses.is_some()),
    }
}

impl Judgement {
    fn invalid(why: String) -> Self {
        let (properties, left_out) = (vec![], vec![]);
        Self { verdict: Word::Invalid, invalid: Some(why), entries: 0, facts: 0, properties, left_out }
    }
}

/// Applies what the stores have committed, beginning with the one that has all of it, and holds all of them against
/// what comes of that.
fn replay(stores: &[Store], first: usize) -> (Ledger, Vec<Judged>) {
    let mut ledger = Ledger::new(stores.len());
    let mut properties = ["C2", "C5", "C6", "C7"].map(|property| Judged { property, violation: None });
    let mut note = |sentence: String| {
        let (property, what) = sentence.split_once(' ').unwrap_or(("C2", &sentence));
        // One that stands for two begins with either.
        let judged = properties.iter_mut().find(|judged| property.starts_with(judged.property));
        if let Some(judged) = judged {
            judged.violation.get_or_insert_with(|| what.to_owned());
        }
    };
    let others = (0..stores.len()).filter(|position| *position != first);
    for position in std::iter::once(first).chain(others) {
        if let Err(sentence) = ledger.take(Duration::ZERO, &stores[position].written(position)) {
            note(sentence);
        } else if let Err(sentence) = ledger.check_rows(position) {
            note(sentence);
        }
    }
    (ledger, properties.into())
}

/// The oracles with what they were told, and what they said.
struct Bench<'a> {
    ledger: &'a Ledger,
    known: Known<'a>,
    /// They are told of entries by the log's own clock, and of nothing else.
    of_log: Vec<Seat>,
    /// They are told of what was seen, too.
    witnesses: Vec<Seat>,
    /// How many entries these were told of.
    told: usize,
}

struct Seat {
    oracle: Box<dyn Oracle>,
    /// It has spoken: what it knows may be wrong from there on.
    violation: Option<String>,
}

impl Seat {
    fn ask(&mut self, question: impl FnOnce(&mut dyn Oracle) -> oracles::Verdict) {
        if self.violation.is_none() {
            self.violation = question(&mut *self.oracle).err();
        }
    }
}

fn seats(oracles: Vec<Box<dyn Oracle>>) -> Vec<Seat> {
    oracles.into_iter().map(|oracle| Seat { oracle, violation: None }).collect()
}

impl<'a> Bench<'a> {
    fn new(ledger: &'a Ledger, scenario: &'a Scenario, witnesses: Option<&'a Witnesses>) -> Self {
        let known = Known {
            scenario,
            ledger,
            healed: witnesses.and_then(|witnesses| witnesses.healed),
            stalls: witnesses.map_or(&[], |witnesses| &witnesses.stalls),
            silences: &[],
            fit: &[],
            rooms: &[],
        };
        let mut of_witnesses = oracles::of_log_and_witnesses();
        if witnesses.is_some() {
            of_witnesses.extend(oracles::of_witnesses());
        }
        Self { ledger, known, of_log: seats(oracles::of_log()), witnesses: seats(of_witnesses), told: 0 }
    }

    /// Tells everything, in an order in which it can have happened.
    fn hear(&mut self, witnesses: &Witnesses, replicas: usize) {
        for step in self.ledger.steps() {
            let at = Duration::from_millis(step.after.meta().served.0);
            let step = Step { at, ..(**step).clone() };
            self.of_log.iter_mut().for_each(|seat| seat.ask(|oracle| oracle.step(&step, &self.known)));
        }
        for replica in 0..replicas {
            self.fact(Duration::ZERO, &Fact::ReplicaStarted { replica });
        }
        let agents = witnesses.racks.iter().flat_map(|rack| &rack.agents);
        for node in agents.filter_map(|agent| agent.node.parse().ok()) {
            self.fact(Duration::ZERO, &Fact::AgentStarted { node });
        }
        for (at, proves, fact) in &witnesses.facts {
            self.steps_through(*proves, *at);
            self.fact(*at, fact);
        }
        self.steps_through(u64::MAX, witnesses.end);
        let seats = self.of_log.iter_mut().chain(&mut self.witnesses);
        seats.for_each(|seat| seat.ask(|oracle| oracle.end(witnesses.end, &self.known)));
    }

    fn fact(&mut self, at: Duration, fact: &Fact) {
        self.witnesses.iter_mut().for_each(|seat| seat.ask(|oracle| oracle.fact(at, fact, &self.known)));
    }

    /// Tells of the entries up to a revision: somebody has seen what came of it.
    fn steps_through(&mut self, revision: u64, at: Duration) {
        while let Some(step) = self.ledger.steps().get(self.told).filter(|step| step.revision.0 <= revision) {
            let step = Step { at, ..(**step).clone() };
            self.witnesses.iter_mut().for_each(|seat| seat.ask(|oracle| oracle.step(&step, &self.known)));
            self.told += 1;
        }
    }

    /// What each said, one after the other.
    fn verdicts(self) -> impl Iterator<Item = Judged> {
        let seats = self.of_log.into_iter().chain(self.witnesses);
        seats.map(|seat| Judged { property: seat.oracle.id(), violation: seat.violation })
    }
}

/// What is not judged. Some of what is judged has a part that is not.
fn left_out(has_witnesses: bool) -> Vec<LeftOut> {
    let mut left_out: Vec<LeftOut> =
        oracles::OF_SIMULATIONS.iter().map(|(property, lacks)| LeftOut { property, lacks }).collect();
    left_out.extend([
        LeftOut { property: "P6, of outcomes", lacks: "whom agents asked to end, and killed" },
        LeftOut { property: "P13, of calm", lacks: "when processes came and went" },
        LeftOut { property: "P15, of true time", lacks: "when leaders were elected" },
    ]);
    if !has_witnesses {
        let silent = oracles::of_witnesses();
        let lacks = "what ran, and what clients were told";
        left_out.extend(silent.iter().map(|oracle| LeftOut { property: oracle.id(), lacks }));
    }
    left_out
}

/// What is known of a run that nobody planned: its settings are in the log, and its nodes are those of the witnesses,
/// or without them those that say so themselves.
fn scenario(ledger: &Ledger, witnesses: Option<&Witnesses>) -> Scenario {
    let settings = ledger.state().and_then(|state| state.settings().cloned()).unwrap_or_default();
    let election_ms_max = witnesses.map_or(0, |witnesses| witnesses.election_ms_max);
    let settings = Tunables {
        heartbeat_ms: 0,
        election_ms: (election_ms_max, election_ms_max),
        snapshot_entries: 0,
        keep_entries: 0,
        snapshot_chunk_bytes: 0,
        digest_every: 0,
        lease_server_ms: settings.lease.server_ms,
        lease_agent_ms: settings.lease.agent_ms,
        lease_kill_ms: settings.lease.kill_ms,
        lease_margin_ms: settings.lease.margin_ms,
        lease_rho_ppm: settings.lease.rho_ppm,
        node_losses_max: settings.node_losses_max,
        unknown_ms_max: settings.unknown_ms_max,
        event_revisions_max: settings.event_revisions_max,
        memory_runs_max: None,
        preempts: None,
        stop_grace_ms: STOP_GRACE_MS,
        ready_ahead: None,
    };
    let racks = match witnesses {
        Some(witnesses) => witnesses.racks.clone(),
        None => ledger.state().into_iter().flat_map(|state| state.nodes()).map(|node| own_word(node)).collect(),
    };
    Scenario {
        seed: 0,
        kind: Kind::Swarm,
        classes: vec![],
        network: Network { tick_ms: 1, latency_ms: (0, 0), region_latency_ms: (0, 0) },
        settings,
        replicas: vec![],
        racks,
        sessions: vec![],
        rebalances: vec![],
        reservations: vec![],
        faults: vec![],
        spares_quorum: false,
        heal_ms: 0,
        end_ms: 0,
    }
}

/// A node as it says itself that it is.
fn own_word(node: &Node) -> RackPlan {
    let Resources { cpu_milli, memory_bytes, gpu_milli: _ } = node.capacity;
    let mut rack =
        rack(node.name.to_string(), node.region.to_string(), node.cluster.to_string(), cpu_milli, memory_bytes);
    let model = node.gpus.first().map(ToString::to_string).unwrap_or_default();
    let count = u32::try_from(node.gpus.len()).unwrap_or_default();
    rack.agents.iter_mut().for_each(|agent| agent.gpus = Gpus { count, model: model.clone() });
    rack
}

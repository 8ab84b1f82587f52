//! Runs a scenario: builds the hosts, steps the world, lets faults strike, hears every fact, and
//! comes to a verdict.

mod change;
mod divergence;
mod late;
mod network;
mod old_image;
#[cfg(test)]
mod outage;
mod outcast;
mod record;
mod restore;
mod room;
mod settle;
mod silence;
mod standing;
mod strike;
mod transfer;
mod upkeep;

use std::rc::Rc;
use std::time::Duration;

use turmoil::{Builder, Sim};

use crate::clock::EPOCH;
use crate::facts::{Fact, Facts};
use crate::hosts::{Common, Rack, Replica, start_client};
use crate::ledger::Ledger;
use crate::oracles::{self, Known, Oracle, Room, Stall};
use crate::outcome::{End, Outcome, Stats};
use crate::scenario::Scenario;
use crate::seeded::Stream;
use crate::trace::Trace;
use late::Late;
use network::Cuts;
use record::Record;
use restore::Before;
use settle::Settle;
use silence::Silence;
use standing::Standing;
use strike::Striking;

/// turmoil panics when a backlog overflows; no real one would be this long.
const TCP_CAPACITY: usize = 65_536;
/// No run lasts longer, in simulated time.
const DURATION_MAX: Duration = Duration::from_secs(900);

/// How a scenario is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Stop here, whatever happens.
    pub(crate) until: Option<Duration>,
    /// What to print while it runs.
    pub(crate) trace: TraceLevel,
    /// The bug to have in it.
    pub(crate) bug: Option<quorate_planted::Bug>,
}

/// What is printed while a scenario runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TraceLevel {
    /// Nothing.
    #[default]
    None,
    /// Every fact but the disks'.
    Facts,
    /// Everything, the product's own log included.
    Full,
}

/// Why a run in which nothing is wrong goes no further.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// There is nothing left to wait for.
    Over,
    /// That was asked for.
    Cut,
}

/// Why a run ends before its time.
#[derive(Debug)]
struct Violation {
    property: String,
    what: String,
}

impl Violation {
    fn new(property: &str, what: impl Into<String>) -> Self {
        Self { property: property.into(), what: what.into() }
    }

    /// The ledger's own sentences begin with the property.
    fn of_ledger(sentence: String) -> Self {
        let (property, what) = sentence.split_once(' ').unwrap_or(("C2", &sentence));
        Self { property: property.into(), what: what.into() }
    }
}

/// Runs a scenario on the calling thread, which must be a simulation's own, fresh.
pub(crate) fn run(scenario: &Scenario, options: &Options) -> Outcome {
    let trace = Trace::new(options.trace);
    let _listening = trace.listen();
    let _planted = Planted::new(options.bug);
    let _lowered = Lowered::new(scenario.settings.ready_ahead);
    let scratch = Scratch::new(scenario.seed);
    let mut world = World::new(Rc::new(scenario.clone()), trace, &scratch);
    let end = match world.live(options) {
        Ok(Rest::Cut) => End::Stopped,
        Ok(Rest::Over) => match world.floor() {
            None => End::Held,
            Some(why) => End::Invalid { why },
        },
        Err(Violation { property, what }) => End::Violated {
            property,
            what,
            at_ms: u64::try_from(world.sim.elapsed().as_millis()).unwrap_or(u64::MAX),
            before: world.record.recent(),
        },
    };
    let (trace, events) = world.record.digest();
    let stats = world.stats();
    Outcome { seed: scenario.seed, end, stats, trace, events }
}

/// The bug of a run, for as long as this lives.
pub(crate) struct Planted;

impl Planted {
    pub(crate) fn new(bug: Option<quorate_planted::Bug>) -> Self {
        plant(bug);
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(None);
    }
}

/// What stands in the queue at once, for as long as this lives.
struct Lowered;

impl Lowered {
    fn new(ready_ahead: Option<u32>) -> Self {
        lower(ready_ahead);
        Self
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        lower(None);
    }
}

#[cfg(feature = "planted")]
fn lower(ready_ahead: Option<u32>) {
    quorate_planted::lower(quorate_planted::Bound::ReadyAhead, ready_ahead);
}

#[cfg(not(feature = "planted"))]
fn lower(_: Option<u32>) {}

#[cfg(feature = "planted")]
fn plant(bug: Option<quorate_planted::Bug>) {
    quorate_planted::plant(bug);
}

#[cfg(not(feature = "planted"))]
fn plant(_: Option<quorate_planted::Bug>) {}

/// A directory for what agents keep on a real file system: locks and empty directories.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(seed: u64) -> Self {
        let name = format!("quorate-simulation-{}-{seed}", std::process::id());
        let memory = std::path::Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(base.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything there is while a scenario runs.
struct World {
    scenario: Rc<Scenario>,
    sim: Sim<'static>,
    facts: Facts,
    ledger: Ledger,
    /// The life of the data before this one.
    before: Option<Before>,
    oracles: Vec<Box<dyn Oracle>>,
    replicas: Vec<Replica>,
    racks: Vec<Rack>,
    common: Common,
    cuts: Cuts,
    striking: Striking,
    stalls: Vec<Stall>,
    standing: Standing,
    silence: Silence,
    silences: Vec<Option<Duration>>,
    fit: Vec<Option<Duration>>,
    rooms: Vec<Room>,
    healed: Option<Duration>,
    late: Late,
    settle: Settle,
    record: Record,
    stats: Stats,
}

impl World {
    fn new(scenario: Rc<Scenario>, trace: Trace, scratch: &Scratch) -> Self {
        let network = &scenario.network;
        let mut dice = Stream::of(scenario.seed, "network");
        let mut sim = Builder::new()
            .rng_seed(dice.next())
            .epoch(std::time::UNIX_EPOCH + EPOCH)
            .simulation_duration(DURATION_MAX)
            .tick_duration(Duration::from_millis(network.tick_ms))
            .min_message_latency(Duration::from_millis(network.latency_ms.0))
            .max_message_latency(Duration::from_millis(network.latency_ms.1))
            // A message that is lost says nothing about the next.
            .repair_rate(1.0)
            .tcp_capacity(TCP_CAPACITY)
            .enable_random_order()
            .build();
        let facts = Facts::default();
        let replicas = (0..scenario.replicas.len()).map(|position| Replica::new(&scenario, position, &facts)).collect();
        let mut racks: Vec<Rack> =
            (0..scenario.racks.len()).map(|position| Rack::new(&scenario, position, &facts, &scratch.0)).collect();
        for rack in &mut racks {
            rack.start(&mut sim, &scenario, &facts);
        }
        let common = Common::default();
        for host in 0..scenario.client_hosts() {
            start_client(&mut sim, &scenario, host, &facts, &common);
        }
        let mut world = Self {
            sim,
            facts,
            ledger: Ledger::new(scenario.replicas.len()),
            before: None,
            oracles: oracles::all(),
            replicas,
            racks,
            common,
            cuts: Cuts::new(&scenario),
            striking: Striking::new(&scenario),
            stalls: vec![],
            standing: Standing::default(),
            silence: Silence::new(scenario.replicas.len(), scenario.racks.len()),
            silences: vec![None; scenario.racks.len()],
            fit: vec![None; scenario.replicas.len()],
            rooms: vec![Room::default(); scenario.replicas.len()],
            healed: None,
            late: Late::default(),
            settle: Settle::new(&scenario),
            record: Record::new(trace),
            stats: Stats::default(),
            scenario,
        };
        for position in 0..world.replicas.len() {
            world.start_replica(position);
        }
        world.cuts.lay_out(&world.sim, &world.scenario);
        for (replica, plan) in world.replicas.iter().zip(&world.scenario.replicas) {
            world.sim.set_clock_rate(replica.host.clone(), plan.clock.drift_ppm);
        }
        for (rack, plan) in world.racks.iter().zip(&world.scenario.racks) {
            world.sim.set_clock_rate(rack.host.clone(), plan.clock.drift_ppm);
        }
        world
    }

    fn start_replica(&mut self, position: usize) {
        let scenario = self.scenario.clone();
        self.replicas[position].start(&mut self.sim, &scenario, position, &self.facts);
    }

    /// Steps until everything has come to rest, or something is wrong.
    fn live(&mut self, options: &Options) -> Result<Rest, Violation> {
        loop {
            let now = self.sim.elapsed();
            if options.until.is_some_and(|until| now >= until) {
                return Ok(Rest::Cut);
            }
            self.strike(now)?;
            if self.healed.is_none() && now >= Duration::from_millis(self.scenario.heal_ms) {
                self.wind_down(now)?;
            }
            let stepped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.sim.step()));
            match stepped {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Violation::new("C7", format!("a host failed: {error}"))),
                Err(panic) => return Err(Violation::new("C7", format!("a host panicked: {}", said(&*panic)))),
            }
            self.hear()?;
            if self.is_over()? {
                let now = self.sim.elapsed();
                self.judge_end(now)?;
                return Ok(Rest::Over);
            }
        }
    }

    /// Takes in what has happened.
    fn hear(&mut self) -> Result<(), Violation> {
        for (at, fact) in self.facts.take() {
            self.record.fact(at, &fact);
            self.settle.wrote(&fact);
            self.note(at, &fact)?;
            let steps = self.ledger.take(at, &fact).map_err(Violation::of_ledger)?;
            if let Some(first) = steps.first().filter(|step| step.index == 0) {
                self.judge_restored(first)?;
            }
            let known = Known {
                scenario: &self.scenario,
                ledger: &self.ledger,
                healed: self.healed,
                stalls: &self.stalls,
                silences: &self.silences,
                fit: &self.fit,
                rooms: &self.rooms,
            };
            for step in &steps {
                self.record.step(step);
                for oracle in &mut self.oracles {
                    let verdict = oracle.step(step, &known);
                    verdict.map_err(|what| Violation::new(oracle.id(), what))?;
                }
            }
            for oracle in &mut self.oracles {
                let verdict = oracle.fact(at, &fact, &known);
                verdict.map_err(|what| Violation::new(oracle.id(), what))?;
            }
            for step in &steps {
                self.count(step);
            }
        }
        Ok(())
    }

    /// What the harness itself has to do about a fact.
    fn note(&mut self, at: Duration, fact: &Fact) -> Result<(), Violation> {
        self.watch_trap(fact);
        self.striking.lurking.watch(fact);
        match fact {
            Fact::ReplicaStopped { replica, error } => self.on_stopped(at, *replica, error.as_deref()),
            Fact::AgentStopped { node, error } => {
                let error = error.clone().unwrap_or_default();
                Err(Violation::new("H6", format!("the agent of {node} stopped by itself: {error}")))
            }
            Fact::Fault { class, .. } => {
                *self.stats.faults.entry(*class).or_default() += 1;
                Ok(())
            }
            Fact::Operation(operation) => {
                self.stats.requests += 1;
                self.stats.requests_unknown +=
                    u64::from(matches!(operation.outcome, crate::facts::Outcome::Unknown(_)));
                self.settle.answered(&self.scenario, operation);
                Ok(())
            }
            Fact::Watch(_) => {
                self.stats.watched += 1;
                Ok(())
            }
            Fact::Change(change) => {
                self.stats.changes += u64::from(change.heard == crate::facts::Heard::Done);
                Ok(())
            }
            Fact::Errand(errand) => {
                self.stats.chores += u64::from(errand.heard == crate::facts::Heard::Done);
                Ok(())
            }
            Fact::Execution(execution) => {
                self.stats.started += u64::from(execution.what == crate::facts::Happening::Started);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn judge_end(&mut self, now: Duration) -> Result<(), Violation> {
        for replica in 0..self.replicas.len() {
            self.ledger.check_rows(replica).map_err(Violation::of_ledger)?;
        }
        let known = Known {
            scenario: &self.scenario,
            ledger: &self.ledger,
            healed: self.healed,
            stalls: &self.stalls,
            silences: &self.silences,
            fit: &self.fit,
            rooms: &self.rooms,
        };
        for oracle in &mut self.oracles {
            let verdict = oracle.end(now, &known);
            verdict.map_err(|what| Violation::new(oracle.id(), what))?;
        }
        if quorate_planted::is(quorate_planted::Bug::Canary) {
            return Err(Violation::new("H5", "the canary sings: a run that is called wrong is seen"));
        }
        Ok(())
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

//! Power loss everywhere at once: what was acknowledged must have been synced by a quorum.
//!
//! Killing real processes cannot show this, because the kernel keeps what they wrote.

use std::time::Duration;

use crate::trace::Trace;
use crate::world::World;
use crate::{Failure, observer, submitter};

const REPLICAS: usize = 3;
/// To form a cluster.
const FORMATION_MAX: Duration = Duration::from_secs(20);
/// To have this many jobs accepted.
const SUBMIT_MAX: Duration = Duration::from_secs(60);
/// To elect again and list everything.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// Enough for more than one snapshot and purge.
const ACCEPTED_MIN: usize = 120;

pub(super) fn run(seed: u64, trace: Trace) -> Result<String, Failure> {
    let mut world = World::new(seed, REPLICAS, trace);
    let seen = observer::start(&mut world, seed);
    world.run_until("three voters", FORMATION_MAX, || seen.borrow().voters() == REPLICAS)?;
    let record = submitter::start(&mut world, seed);
    let more = usize::try_from(world.dice.within(0, 60)).unwrap_or(0);
    world.run_until("jobs accepted", SUBMIT_MAX, || record.borrow().accepted.len() >= ACCEPTED_MIN + more)?;
    let names = world.names();
    let dropped: u64 = names.iter().map(|name| world.crash(name)).sum();
    for name in &names {
        world.bounce(name);
    }
    let before = record.borrow().accepted.len();
    world.run_until("more jobs accepted", RECOVERY_MAX, || record.borrow().accepted.len() > before)?;
    record.borrow_mut().enough = true;
    world.run_until("a list of all runs", RECOVERY_MAX, || record.borrow().found.is_some())?;
    let record = record.borrow();
    let found = record.found.clone().unwrap_or_default();
    let lost: Vec<&String> = record.accepted.difference(&found).collect();
    if !lost.is_empty() {
        return Err(Failure::Property(format!("C8: accepted, and lost: {lost:?}")));
    }
    let extra = found.len() - record.accepted.len();
    if extra as u64 > record.unknown {
        return Err(Failure::Property(format!(
            "C9: {extra} runs nobody was told of, {} unknown answers",
            record.unknown
        )));
    }
    Ok(format!("{} accepted, all there; {dropped} unsynced batches were lost", record.accepted.len()))
}

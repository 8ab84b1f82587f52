//! Election, the leader's crash, election again, and the old leader's return.

use std::time::Duration;

use crate::trace::Trace;
use crate::world::World;
use crate::{Failure, observer};

const REPLICAS: usize = 3;
/// L1: a leader within ten times the longest election timeout, and time to form a cluster first.
const ELECTION_MAX: Duration = Duration::from_secs(10);
/// L2: a replica that came back has all within this.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);

pub(super) fn run(seed: u64, trace: Trace) -> Result<String, Failure> {
    let mut world = World::new(seed, REPLICAS, trace);
    let seen = observer::start(&mut world, seed);
    world.run_until("three voters and a leader", 2 * ELECTION_MAX, || {
        seen.borrow().leader().is_some() && seen.borrow().voters() == REPLICAS
    })?;
    let Some((first, first_term)) = seen.borrow().leader() else {
        return Err(Failure::Property("the leader is gone".into()));
    };
    world.crash(&first);
    world.run_until("another leader", ELECTION_MAX, || {
        seen.borrow().leader().is_some_and(|(leader, _)| leader != first)
    })?;
    let Some((second, second_term)) = seen.borrow().leader() else {
        return Err(Failure::Property("the leader is gone".into()));
    };
    if second_term <= first_term {
        return Err(Failure::Property(format!("term {second_term} follows term {first_term}")));
    }
    world.bounce(&first);
    world.run_until("the old leader caught up", CATCH_UP_MAX, || seen.borrow().has_caught_up(&first))?;
    Ok(format!("{first} led in term {first_term}, {second} in term {second_term}"))
}

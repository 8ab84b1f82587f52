//! The model: the state and the real controllers, random work on random nodes, and whatever can go
//! wrong between them. No network, no disk, no async: a history costs less than a millisecond.
//!
//! `history` says what a case consists of, `world` carries it out, `leader` and `nodes` play the two
//! sides as the server and the agent do, `rows` holds what a disk would hold, and `oracle` says what
//! must be true of every row that is written. `PROPTEST_CASES` raises the number of histories.

mod history;

mod world;

mod leader;
mod nodes;

mod oracle;
mod rows;

mod quiet;

use proptest::prelude::*;

use history::history;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(1_500)) })]

    /// Safety: every property, after every entry of every history.
    #[test]
    fn no_history_breaks_a_promise(history in history(40)) {
        let mut world = World::new(&history);
        for step in &history.steps {
            world.carry_out(*step);
        }
        world.check_whole();
    }

    /// Liveness: when faults stop, everything that can end does.
    #[test]
    fn every_history_comes_to_rest(history in history(60)) {
        let mut world = World::new(&history);
        for step in &history.steps {
            world.carry_out(*step);
        }
        world.rest();
        world.check_whole();
    }
}

/// How many histories, unless the environment says otherwise.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

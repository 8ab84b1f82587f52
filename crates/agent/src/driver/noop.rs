//! Runs nothing: every attempt starts and succeeds at once. For drills, and for measuring the
//! control plane alone.

use std::collections::BTreeSet;

use async_trait::async_trait;
use quorate_state::{AttemptId, Exit};

use super::{Driver, Ending, Event, Execution, Leftover, NotStarted, Start, Wish};

/// Runs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopDriver;

struct Nothing;

#[async_trait]
impl Driver for NoopDriver {
    async fn start(&self, start: Start) -> Result<Box<dyn Execution>, NotStarted> {
        if *start.wish.borrow() == Wish::Run { Ok(Box::new(Nothing)) } else { Err(NotStarted::Withdrawn) }
    }

    async fn recover(&self, _leftovers: Vec<Leftover>) -> BTreeSet<AttemptId> {
        BTreeSet::new()
    }
}

#[async_trait]
impl Execution for Nothing {
    fn process(&self) -> Option<(u32, u64)> {
        None
    }

    async fn next(&mut self) -> Event {
        let ending = Ending { exit: Some(Exit::Code(0)), ..Ending::default() };
        Event::Ended { ending, gone: true }
    }

    // It has ended the moment it started.
    fn stop(&mut self) -> bool {
        false
    }

    fn kill(&mut self) -> bool {
        false
    }

    fn tend(&mut self) {}
}

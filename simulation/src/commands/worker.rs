//! `worker`: the other side of [`crate::fleet`]. One order per line in, one outcome per line out.

use std::io::BufRead as _;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::Verdict;
use crate::error::Error;
use crate::fleet::{Order, SEED_WALL_MAX};
use crate::isolate;
use crate::outcome::Outcome;
use crate::report;
use crate::run::{Options, TraceLevel};

/// Whoever ordered a run has ended this process long before, or is gone itself.
const ORPHAN_AFTER: Duration = SEED_WALL_MAX.saturating_add(Duration::from_secs(10));

/// Until standard input ends.
pub(super) fn run() -> Result<Verdict, Error> {
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::Input)?;
        let order =
            Order::parse(&line).map_err(|source| Error::Json { what: "an order to a worker".to_owned(), source })?;
        report::json(&carry_out(order)?)?;
    }
    Ok(Verdict::Good)
}

fn carry_out(order: Order) -> Result<Outcome, Error> {
    let seed = order.seed();
    let bug = order.planted.as_deref().map(super::bug).transpose().map_err(Error::Planted)?;
    let options = Options { until: None, trace: TraceLevel::None, bug };
    let scenario = order.story.scenario();
    let (sender, outcome) = sync_channel(1);
    std::thread::spawn(move || {
        // Fails only when nobody waits any more.
        let _ = sender.send(isolate::run(scenario, options));
    });
    outcome.recv_timeout(ORPHAN_AFTER).map_err(|_| Error::Endless(seed))
}

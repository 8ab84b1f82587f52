//! P15: served time, by which timers fire, goes on only while somebody leads: within a term no faster
//! than true time since the leader was elected, and never back. An outage does not count, or every
//! timer would be due at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::raft::v1 as pb;
use quorate_state::Served;

use super::quorum::record_in;
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::Step;

/// Clocks count in milliseconds, and a simulation goes on in steps of a few.
const SLACK_MS: u64 = 20;

/// Follows the log's clock.
#[derive(Default)]
pub(crate) struct ServedTime {
    /// When a leader of each term was elected.
    elected: BTreeMap<u64, Duration>,
    /// The term of the newest stamp, and served time before that term's first.
    term: u64,
    before: Served,
    newest: Served,
}

impl Oracle for ServedTime {
    fn id(&self) -> &'static str {
        "P15"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        if let Fact::Wrote { batch, .. } = fact
            && let Some(vote) = record_in::<pb::Vote>(batch, b"vote").filter(|vote| vote.committed)
        {
            self.elected.entry(vote.term).or_insert(at);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let meta = step.after.meta();
        if meta.served < self.newest {
            return Err(format!("served time went back from {} to {} ms", self.newest.0, meta.served.0));
        }
        if step.entry.is_some() && meta.term > self.term {
            (self.term, self.before) = (meta.term, self.newest);
        }
        self.newest = meta.served;
        let Some(elected) = self.elected.get(&self.term) else { return Ok(()) };
        let led_ms = u64::try_from(step.at.saturating_sub(*elected).as_millis()).unwrap_or(u64::MAX);
        let drift_ms = led_ms * u64::from(known.scenario.settings.lease_rho_ppm) / 1_000_000;
        let served_ms = meta.served.0 - self.before.0;
        if served_ms > led_ms + drift_ms + SLACK_MS {
            let term = self.term;
            return Err(format!(
                "served time went on by {served_ms} ms in term {term}, {led_ms} ms after its election"
            ));
        }
        Ok(())
    }
}

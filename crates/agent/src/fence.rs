//! When this node may run `fenced` work: three verbs over one deadline.
//!
//! The argument, in the terms of `LeaseTerms`. The server's expiry of a lease counts from an
//! instant at which it *confirmed* a renewal, and it confirms only what it has received; so that
//! instant is never before the instant the agent *sent* that renewal. The agent's deadline counts
//! from the sending, on a clock that also counts suspended time, for the shorter `agent_ms`. With
//! clocks that drift by at most rho, `server_ms (1 - rho) >= agent_ms (1 + rho) + kill + margin`
//! then means: whenever the server calls the lease expired, this agent passed its own deadline at
//! least `kill + margin` ago, and what was fenced is dead.
//!
//! What the argument needs of this file: the deadline never moves by anything but a confirmed
//! renewal, is computed from when that was sent, and a lease that was over once stays over.

use std::time::Duration;

use quorate_seams::BootInstant;
use quorate_state::Epoch;

/// The lease of this node, as far as the agent may rely on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    lease: Option<Lease>,
    /// The newest epoch that was over on our side: no answer brings it back.
    over: Option<Epoch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    epoch: Epoch,
    /// How long a confirmed renewal lasts, from the instant it was sent.
    length: Duration,
    /// When the newest confirmed renewal was sent.
    sent: BootInstant,
}

impl Fence {
    /// Takes a lease that a session's welcome names; `asked` is when the request for it was sent.
    /// A welcome for the epoch that is held already proves no renewal and moves nothing. False when
    /// the epoch was over here before, and the server must be asked for a new one.
    pub fn grant(&mut self, epoch: Epoch, length: Duration, asked: BootInstant) -> bool {
        if self.over.is_some_and(|over| epoch <= over) {
            return false;
        }
        if self.epoch() != Some(epoch) {
            self.lease = Some(Lease { epoch, length, sent: asked });
        }
        true
    }

    /// Takes a confirmed renewal that was sent at `sent`. Answers may overtake each other; only a
    /// newer one moves the deadline.
    pub fn renew(&mut self, epoch: Epoch, sent: BootInstant) -> bool {
        match &mut self.lease {
            Some(lease) if lease.epoch == epoch && sent > lease.sent => {
                lease.sent = sent;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Gives the lease up if it is over at `now`, and says which it was: from now on nothing
    /// `fenced` may run, and only a new registration helps.
    pub fn expire(&mut self, now: BootInstant) -> Option<Epoch> {
        let epoch = self.deadline().filter(|deadline| *deadline <= now).and_then(|_| self.epoch())?;
        self.lease = None;
        self.over = Some(epoch);
        Some(epoch)
    }

    /// The epoch held.
    pub fn epoch(&self) -> Option<Epoch> {
        self.lease.as_ref().map(|lease| lease.epoch)
    }

    /// The instant at which it is over.
    pub fn deadline(&self) -> Option<BootInstant> {
        self.lease.as_ref().map(|lease| lease.sent + lease.length)
    }

    /// How long a confirmed renewal lasts.
    pub fn length(&self) -> Option<Duration> {
        self.lease.as_ref().map(|lease| lease.length)
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::{LeaseTerms, Settings};

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    fn granted() -> Fence {
        let mut fence = Fence::default();
        assert!(fence.grant(Epoch(7), Duration::from_millis(9_000), at(1_000)));
        fence
    }

    #[test]
    fn the_deadline_counts_from_the_sending_of_the_newest_confirmed_renewal() {
        let mut fence = granted();
        assert_eq!(fence.deadline(), Some(at(10_000)));
        assert!(fence.renew(Epoch(7), at(4_000)));
        assert_eq!(fence.deadline(), Some(at(13_000)));
        // A late answer to an older renewal, a repeated one and one for another lease move nothing.
        assert!(!fence.renew(Epoch(7), at(3_000)));
        assert!(!fence.renew(Epoch(7), at(4_000)));
        assert!(!fence.renew(Epoch(6), at(9_000)));
        assert_eq!(fence.deadline(), Some(at(13_000)));
    }

    #[test]
    fn a_welcome_for_the_lease_already_held_is_not_a_renewal() {
        let mut fence = granted();
        assert!(fence.grant(Epoch(7), Duration::from_millis(9_000), at(8_000)));
        assert_eq!(fence.deadline(), Some(at(10_000)));
    }

    #[test]
    fn a_lease_that_is_over_stays_over() {
        let mut fence = granted();
        assert_eq!(fence.expire(at(9_999)), None);
        assert_eq!(fence.expire(at(10_000)), Some(Epoch(7)));
        assert!(!fence.renew(Epoch(7), at(9_000)), "an answer that comes too late");
        assert!(!fence.grant(Epoch(7), Duration::from_millis(9_000), at(9_500)), "and so does a welcome");
        assert_eq!(fence.deadline(), None);
        assert!(fence.grant(Epoch(9), Duration::from_millis(9_000), at(11_000)), "a new registration helps");
        assert_eq!(fence.epoch(), Some(Epoch(9)));
    }

    /// Runs an agent's clock and the server's at the two ends of the drift allowed and measures, in
    /// true time, how long after the agent's deadline the server may call the lease expired.
    fn slack_us(lease: LeaseTerms, agent_ppm: i64, server_ppm: i64) -> i64 {
        let true_us = |millis: u64, ppm: i64| i64::try_from(millis).unwrap() * 1_000 * 1_000_000 / (1_000_000 + ppm);
        // Worst case: the server confirms at the very instant of the sending.
        let mut fence = Fence::default();
        fence.grant(Epoch(1), Duration::from_millis(lease.agent_ms), at(0));
        let deadline_ms = fence.deadline().unwrap().as_millis();
        true_us(lease.server_ms, server_ppm) - true_us(deadline_ms, agent_ppm)
    }

    #[test]
    fn what_is_fenced_is_dead_before_the_server_calls_the_lease_expired_whatever_the_drift() {
        let lease = Settings::default().lease;
        assert!(lease.is_safe());
        let rho = i64::from(lease.rho_ppm);
        let room = i64::try_from((lease.kill_ms + lease.margin_ms) * 1_000).unwrap();
        for (agent, server) in [(0, 0), (rho, -rho), (-rho, rho), (rho, rho), (-rho, -rho)] {
            assert!(slack_us(lease, agent, server) >= room, "drift {agent} and {server} ppm");
        }
        // The check can fail: terms that the inequality refuses have no room left at the worst drift.
        let tight = LeaseTerms { server_ms: lease.agent_ms + lease.kill_ms + lease.margin_ms, ..lease };
        assert!(!tight.is_safe());
        assert!(slack_us(tight, -rho, rho) < room);
    }
}

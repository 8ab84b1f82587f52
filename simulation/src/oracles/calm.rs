//! For how long nothing has happened that could keep an agent from renewing its lease.

use std::time::Duration;

use super::Known;
use crate::facts::Fact;
use crate::scenario::{Chore, Class, FaultPlan, FaultWhat, Kind};

/// How long an agent may need to have a session again once it can: two openings that run into their
/// deadline (3 s each), the longest pause between two (2 s) and a welcome that takes all it may (6 s).
const SESSION_BACK: Duration = Duration::from_secs(14);

/// Follows disturbances.
#[derive(Default)]
pub(super) struct Calm {
    /// The last one was over by then, or will be.
    since: Duration,
}

impl Calm {
    /// Takes in what happened.
    pub(super) fn take(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) {
        let until = match fact {
            Fact::Fault { class: Class::Upkeep, .. } if !cuts_off(known) => return,
            Fact::Fault { class, .. } if disturbs(*class) => at + longest(*class, known),
            Fact::ReplicaStarted { .. }
            | Fact::ReplicaGone { .. }
            | Fact::ReplicaStopped { .. }
            | Fact::AgentStarted { .. }
            | Fact::AgentGone { .. }
            | Fact::AgentStopped { .. }
            // Whoever leads may do so no more.
            | Fact::Change(_) => at,
            _ => return,
        };
        self.since = self.since.max(until);
    }

    /// True when every agent that is there must have had its lease renewed in time, for a whole term
    /// of the lease: the election after the last disturbance and the way back to a session are over.
    pub(super) fn reigns(&self, at: Duration, known: &Known<'_>) -> bool {
        if known.scenario.kind == Kind::FaultFree {
            return true;
        }
        let settings = &known.scenario.settings;
        let back = Duration::from_millis(settings.lease_server_ms + election_bound_ms(known)) + SESSION_BACK;
        at > self.since + back
    }
}

/// A leader is there after this, once a quorum is.
pub(super) fn election_bound_ms(known: &Known<'_>) -> u64 {
    10 * known.scenario.settings.election_ms.1
}

/// How long an agent whose way is free may need until it is told what the leader wants.
pub(super) fn agent_back(known: &Known<'_>) -> Duration {
    Duration::from_millis(election_bound_ms(known)) + SESSION_BACK
}

/// Clocks are left out: a lease must hold whatever they do within the bound of their drift.
fn disturbs(class: Class) -> bool {
    match class {
        Class::Clock | Class::DiskLow | Class::Duplicates | Class::CancelStorm | Class::Poison => false,
        Class::Loss
        | Class::SlowLink
        | Class::Partition
        | Class::Hold
        | Class::Crash
        | Class::Absence
        | Class::QuorumLoss
        | Class::Pause
        | Class::Handover
        | Class::Join
        | Class::Membership
        | Class::OldImage
        | Class::Divergence
        | Class::Restore
        | Class::Upgrade
        | Class::Upkeep
        | Class::AgentKill
        | Class::RackCrash
        | Class::RackPause
        | Class::SlowDisk
        | Class::DiskError
        | Class::DiskFull => true,
    }
}

/// Of what an operator does about nodes, cutting a machine off disturbs others; agents that end are told apart.
fn cuts_off(known: &Known<'_>) -> bool {
    let cut = |fault: &FaultPlan| matches!(fault.what, FaultWhat::Upkeep { chore: Chore::Forget { cut: true }, .. });
    known.scenario.faults.iter().any(cut)
}

/// What struck is named by its class alone: it may be the longest of that class.
fn longest(class: Class, known: &Known<'_>) -> Duration {
    let faults = known.scenario.faults.iter().filter(|fault| fault.class == class);
    Duration::from_millis(faults.map(|fault| fault.for_ms).max().unwrap_or(0))
}

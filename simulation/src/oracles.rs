//! The properties that must hold, one file each, judged by facts alone.
//!
//! An oracle is told every fact and every committed entry once, in order, and answers with what is
//! violated, if anything is. `docs/simulation.md` lists them with the planted bugs that they catch.

mod c10_old_image;
mod c11_membership;
mod c12_changes;
mod c13_office;
mod c14_divergence;
mod c1_election_safety;
mod c3_leader_completeness;
mod c4_durable_quorum;
mod c5_logs;
mod c8_acked;
mod c9_at_most_once;
mod l6_starvation;
mod p11_preemption;
mod p11_shares;
mod p11_urgency;
mod p12_alternatives;
mod p12_company;
mod p12_home;
mod p12_place;
mod p12_reservations;
mod p13_brake;
mod p14_reasons;
mod p15_served_time;
mod p19_restored;
mod p1_tokens;
mod p20_out_of_service;
mod p21_drains;
mod p22_forgotten;
mod p23_reserve;
mod p24_outcomes;
mod p25_control;
mod p26_flow;
mod p27_restarts;
mod p28_archive;
mod p29_sub_runs;
mod p2_copies;
mod p2_lease_over;
mod p31_rebalances;
mod p3_capacity;
mod p4_conservation;
mod p5_gangs;
mod p5_quota;
mod p6_transitions;
mod p7_order;
mod p8_cancel;
mod p9_deadlines;
mod p9_once;
mod p9_quarantine;
mod p9_retries;
mod p9_silence;
mod p9_timeouts;
mod plan;
pub(crate) mod quorum;
mod r1_linearizable;
mod r2_sessions;
mod r3_watches;
mod told;
#[cfg(test)]
mod trial;

mod books;
mod calm;
mod executions;
pub(crate) mod flow;
mod history;
mod homes;
mod service;
mod values;

#[cfg(test)]
pub(crate) mod hand;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use std::time::Duration;

use quorate_state::NodeName;

use crate::facts::Fact;
use crate::ledger::{Ledger, Step};
use crate::scenario::{RackPlan, Scenario};
pub(crate) use p23_reserve::LOOKS_WITHIN;

/// Nothing is wrong, or this is, in a sentence that names who, what and where.
pub(crate) type Verdict = Result<(), String>;

/// What oracles may know besides the fact that they judge.
pub(crate) struct Known<'a> {
    /// What was planned.
    pub(crate) scenario: &'a Scenario,
    /// The history so far, the fact included.
    pub(crate) ledger: &'a Ledger,
    /// When the faults had ended, once they have.
    pub(crate) healed: Option<Duration>,
    /// When machines with agents stood still.
    pub(crate) stalls: &'a [Stall],
    /// When machines with agents last said what can have renewed a lease, by position, where that is past.
    pub(crate) silences: &'a [Option<Duration>],
    /// Since when each replica could lead, by position, where it can: it runs, it can exchange messages with a
    /// majority of the voters, and no disk or link is in trouble.
    pub(crate) fit: &'a [Option<Duration>],
    /// The room on each replica's disk, by position.
    pub(crate) rooms: &'a [Room],
}

/// A machine stood still, with all that it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    /// Its position.
    pub(crate) rack: usize,
    pub(crate) from: Duration,
    /// Not yet.
    pub(crate) to: Option<Duration>,
}

/// The room on a replica's disk, beside the reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Since when there has been less, while the replica's process ran without standing still.
    pub(crate) low_since: Option<Duration>,
    /// When there was less last, or the process could not look whether there was.
    pub(crate) low_at: Option<Duration>,
}

impl Known<'_> {
    /// True when the premises of fencing by lease did not hold on a node at some time between two
    /// instants: its machine stood still, so that nothing could be killed in time, or its clock or a
    /// replica's ran wrong by more than the lease's terms allow.
    pub(crate) fn fence_waived(&self, node: &NodeName, from: Duration, to: Duration) -> bool {
        let Some(rack) = self.rack_of(node) else { return true };
        let bound = u64::from(self.scenario.settings.lease_rho_ppm);
        let clocks = self.scenario.replicas.iter().map(|replica| replica.clock);
        let mut clocks = clocks.chain([self.scenario.racks[rack].clock]);
        self.stood_still(rack, from, to) || clocks.any(|clock| clock.drift_ppm.unsigned_abs() > bound)
    }

    /// True when a machine stood still at some time between two instants.
    pub(crate) fn stood_still(&self, rack: usize, from: Duration, to: Duration) -> bool {
        let stood = |stall: &Stall| stall.rack == rack && stall.from <= to && stall.to.is_none_or(|end| end >= from);
        self.stalls.iter().any(stood)
    }

    /// The machine of a node.
    pub(crate) fn rack_of(&self, node: &NodeName) -> Option<usize> {
        let holds = |rack: &RackPlan| rack.agents.iter().any(|agent| agent.node == node.as_str());
        self.scenario.racks.iter().position(holds)
    }
}

/// One property.
pub(crate) trait Oracle {
    /// Its number in the list of invariants, such as `P3`.
    fn id(&self) -> &'static str;

    /// Something happened. The ledger has taken it in.
    fn fact(&mut self, _at: Duration, _fact: &Fact, _known: &Known<'_>) -> Verdict {
        Ok(())
    }

    /// An entry is committed and was applied by at least one replica.
    fn step(&mut self, _step: &Step, _known: &Known<'_>) -> Verdict {
        Ok(())
    }

    /// True for one that goes on judging when the data is restored; others are of one life.
    fn outlives(&self) -> bool {
        false
    }

    /// The run is over: faults have ended, everything had time to come to rest.
    fn end(&mut self, _at: Duration, _known: &Known<'_>) -> Verdict {
        Ok(())
    }
}

/// All of them, fresh.
pub(crate) fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        // First: what it is about makes others notice something too.
        Box::new(c10_old_image::OldImages::default()),
        Box::new(c1_election_safety::ElectionSafety::default()),
        Box::new(c3_leader_completeness::LeaderCompleteness::default()),
        Box::new(c4_durable_quorum::DurableQuorum::default()),
        Box::new(c5_logs::Logs::default()),
        Box::new(c8_acked::Acked::default()),
        Box::new(c9_at_most_once::AtMostOnce::default()),
        Box::new(c11_membership::Identities::default()),
        Box::new(c12_changes::Changes::default()),
        Box::new(c13_office::Office::default()),
        Box::new(c14_divergence::Divergence::default()),
        Box::new(r1_linearizable::Linearizable::default()),
        Box::new(r2_sessions::Sessions::default()),
        Box::new(r3_watches::Watches::default()),
        Box::new(p1_tokens::Tokens::default()),
        Box::new(p2_copies::Copies::default()),
        Box::new(p2_lease_over::LeaseOver::default()),
        Box::new(p3_capacity::Capacity::default()),
        // Before P4, which sees what comes of a run that left too soon.
        Box::new(p28_archive::Archives::default()),
        Box::new(p4_conservation::Conservation::default()),
        Box::new(p5_quota::Quota::default()),
        Box::new(p5_gangs::Gangs::default()),
        Box::new(p12_company::Companies::default()),
        // Before the one after it, which notices too what is done once more after its end.
        Box::new(p26_flow::Flows::default()),
        Box::new(p27_restarts::Restarts::default()),
        Box::new(p29_sub_runs::SubRuns::default()),
        Box::new(p6_transitions::Transitions::default()),
        Box::new(p7_order::Order::default()),
        Box::new(p8_cancel::Cancels::default()),
        Box::new(p9_deadlines::Deadlines::default()),
        Box::new(p9_once::Once::default()),
        Box::new(p9_quarantine::Quarantine::default()),
        Box::new(p9_retries::Retries::default()),
        Box::new(p9_silence::Silence::default()),
        Box::new(p9_timeouts::Timeouts::default()),
        Box::new(p11_urgency::Urgency::default()),
        Box::new(p12_reservations::Reservations::default()),
        Box::new(p31_rebalances::Rebalances::default()),
        Box::new(p11_preemption::Preemptions::default()),
        Box::new(p11_shares::Shares::default()),
        Box::new(p12_place::Places::default()),
        Box::new(p12_alternatives::Alternatives::default()),
        Box::new(p12_home::AtHome::default()),
        Box::new(p13_brake::Brake::default()),
        Box::new(p14_reasons::Reasons::default()),
        Box::new(p15_served_time::ServedTime::default()),
        Box::new(p20_out_of_service::OutOfService::default()),
        Box::new(p21_drains::Drains::default()),
        Box::new(p22_forgotten::Forgotten::default()),
        Box::new(p23_reserve::Reserve::default()),
        Box::new(p24_outcomes::Outcomes::default()),
        Box::new(p25_control::Control::default()),
        Box::new(plan::Plans::default()),
        Box::new(p19_restored::Restored::default()),
        Box::new(l6_starvation::Starvation::default()),
    ]
}

/// Of [`all`], those that need nothing but the log, fresh.
pub(crate) fn of_log() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(p1_tokens::Tokens::default()),
        Box::new(p5_quota::Quota::default()),
        Box::new(p6_transitions::Transitions::default()),
        Box::new(p7_order::Order::default()),
        Box::new(p9_deadlines::Deadlines::default()),
        Box::new(p9_once::Once::default()),
        Box::new(p9_quarantine::Quarantine::default()),
        Box::new(p9_retries::Retries::default()),
        Box::new(p11_urgency::Urgency::default()),
        Box::new(p12_reservations::Reservations::default()),
        Box::new(p31_rebalances::Rebalances::default()),
        Box::new(p11_preemption::Preemptions::default()),
        Box::new(p11_shares::Shares::default()),
        Box::new(p12_place::Places::default()),
        Box::new(p12_company::Companies::default()),
        Box::new(p12_home::AtHome::default()),
        Box::new(p13_brake::Brake::default()),
        Box::new(p15_served_time::ServedTime::default()),
        Box::new(p20_out_of_service::OutOfService::default()),
        Box::new(p21_drains::Drains::default()),
        Box::new(p24_outcomes::Outcomes::default()),
        Box::new(p25_control::Control::default()),
        Box::new(p26_flow::Flows::default()),
        Box::new(p28_archive::Archives::default()),
        Box::new(plan::Plans::default()),
    ]
}

/// Of [`all`], those that see more with what ran and what clients were told, and something without.
pub(crate) fn of_log_and_witnesses() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(p3_capacity::Capacity::default()),
        Box::new(p4_conservation::Conservation::default()),
        Box::new(p5_gangs::Gangs::default()),
        Box::new(p8_cancel::Cancels::default()),
        Box::new(p22_forgotten::Forgotten::default()),
        Box::new(p27_restarts::Restarts::default()),
        Box::new(p29_sub_runs::SubRuns::default()),
    ]
}

/// Of [`all`], those that say nothing without what ran and what clients were told.
pub(crate) fn of_witnesses() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(c8_acked::Acked::default()),
        Box::new(c9_at_most_once::AtMostOnce::default()),
        Box::new(r1_linearizable::Linearizable::default()),
        Box::new(r2_sessions::Sessions::default()),
        Box::new(r3_watches::Watches::default()),
        Box::new(p2_copies::Copies::default()),
        Box::new(p2_lease_over::LeaseOver::default()),
    ]
}

/// Of [`all`], those that need what only a simulation sees, each with what that is.
pub(crate) const OF_SIMULATIONS: [(&str, &str); 16] = [
    ("C1", "votes, when disks took them"),
    ("C3", "what was on the disk of who began to lead"),
    ("C4", "which disks had an entry when it was committed"),
    ("C5", "how each log grew and was cut"),
    ("C10", "which disks were put back to an earlier life"),
    ("C11", "who led whom, and what an operator asked for"),
    ("C12", "who ran when a change of membership began"),
    ("C13", "since when each replica could lead"),
    ("C14", "whose rows were changed by hand"),
    ("P9", "whom agents asked to end when their time was over"),
    ("P9", "what processes said while they ran"),
    ("P12", "since when every agent must have been heard"),
    ("P14", "whom agents asked to end, and killed"),
    ("P19", "a life of the data before this one"),
    ("P23", "since when each disk was short of room"),
    ("L6", "when the faults had ended"),
];

/// Those that judge the life of restored data, beside those that outlive the first: consensus begins
/// anew, and what the first life's scheduling left behind is judged by P19.
pub(crate) fn of_restored() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(c1_election_safety::ElectionSafety::default()),
        Box::new(c3_leader_completeness::LeaderCompleteness::default()),
        Box::new(c4_durable_quorum::DurableQuorum::default()),
        Box::new(c5_logs::Logs::default()),
        Box::new(c11_membership::Identities::default()),
        Box::new(c12_changes::Changes::default()),
        Box::new(c13_office::Office::default()),
        Box::new(p4_conservation::Conservation::default()),
        Box::new(plan::Plans::default()),
    ]
}

//! Rebalances, as sent and as stored.

use quorate_state::{Goal, Reach, RebalanceEnd, RebalanceTerms};

use crate::v1;

/// What was asked for.
pub fn terms_to_wire(terms: RebalanceTerms) -> v1::RebalanceTerms {
    let RebalanceTerms { goal, reach, moves_max, at_once, share_percent, margin, for_ms } = terms;
    let goal = match goal {
        Goal::Spread => v1::RebalanceGoal::Spread,
        Goal::Prefer => v1::RebalanceGoal::Prefer,
    };
    let reach = match reach {
        Reach::Cluster => v1::RebalanceReach::Cluster,
        Reach::Region => v1::RebalanceReach::Region,
        Reach::Everywhere => v1::RebalanceReach::Everywhere,
    };
    let (goal, reach) = (goal.into(), reach.into());
    v1::RebalanceTerms { goal, reach, moves_max, at_once, share_percent, margin, for_ms }
}

/// The same of a message; none if it says no goal or no reach that this version knows.
pub fn terms_from_wire(terms: v1::RebalanceTerms) -> Option<RebalanceTerms> {
    let goal = match terms.goal() {
        v1::RebalanceGoal::Unspecified => return None,
        v1::RebalanceGoal::Spread => Goal::Spread,
        v1::RebalanceGoal::Prefer => Goal::Prefer,
    };
    let reach = match terms.reach() {
        v1::RebalanceReach::Unspecified => return None,
        v1::RebalanceReach::Cluster => Reach::Cluster,
        v1::RebalanceReach::Region => Reach::Region,
        v1::RebalanceReach::Everywhere => Reach::Everywhere,
    };
    let v1::RebalanceTerms { goal: _, reach: _, moves_max, at_once, share_percent, margin, for_ms } = terms;
    Some(RebalanceTerms { goal, reach, moves_max, at_once, share_percent, margin, for_ms })
}

/// Why one is over.
pub fn end_to_wire(end: RebalanceEnd) -> v1::RebalanceEnd {
    match end {
        RebalanceEnd::Done => v1::RebalanceEnd::Done,
        RebalanceEnd::MovesSpent => v1::RebalanceEnd::MovesSpent,
        RebalanceEnd::TimeOver => v1::RebalanceEnd::TimeOver,
        RebalanceEnd::Stopped => v1::RebalanceEnd::Stopped,
        RebalanceEnd::Draining => v1::RebalanceEnd::Draining,
        RebalanceEnd::NodeLost => v1::RebalanceEnd::NodeLost,
        RebalanceEnd::Silent => v1::RebalanceEnd::Silent,
    }
}

/// The same of a message; none: it goes on.
pub fn end_from_wire(end: v1::RebalanceEnd) -> Option<RebalanceEnd> {
    match end {
        v1::RebalanceEnd::Unspecified => None,
        v1::RebalanceEnd::Done => Some(RebalanceEnd::Done),
        v1::RebalanceEnd::MovesSpent => Some(RebalanceEnd::MovesSpent),
        v1::RebalanceEnd::TimeOver => Some(RebalanceEnd::TimeOver),
        v1::RebalanceEnd::Stopped => Some(RebalanceEnd::Stopped),
        v1::RebalanceEnd::Draining => Some(RebalanceEnd::Draining),
        v1::RebalanceEnd::NodeLost => Some(RebalanceEnd::NodeLost),
        v1::RebalanceEnd::Silent => Some(RebalanceEnd::Silent),
    }
}

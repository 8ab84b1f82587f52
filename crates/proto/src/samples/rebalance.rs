//! What came with feature `rebalance`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{
    Attempt, Change, Command, Epoch, Event, Goal, Millis, Move, Moved, Moving, Principal, Reach, Rebalance,
    RebalanceEnd, RebalanceOrder, RebalanceTerms, Served, StopReason,
};

use super::{attempt_ids, attempts, walk};

const TERMS: RebalanceTerms = RebalanceTerms {
    goal: Goal::Spread,
    reach: Reach::Region,
    moves_max: 40,
    at_once: 4,
    share_percent: 10,
    margin: 10,
    for_ms: 3_600_000,
};

fn ends() -> Vec<RebalanceEnd> {
    walk(RebalanceEnd::Done, |end| match end {
        RebalanceEnd::Done => Some(RebalanceEnd::MovesSpent),
        RebalanceEnd::MovesSpent => Some(RebalanceEnd::TimeOver),
        RebalanceEnd::TimeOver => Some(RebalanceEnd::Stopped),
        RebalanceEnd::Stopped => Some(RebalanceEnd::Draining),
        RebalanceEnd::Draining => Some(RebalanceEnd::NodeLost),
        RebalanceEnd::NodeLost => Some(RebalanceEnd::Silent),
        RebalanceEnd::Silent => None,
    })
}

fn terms() -> [RebalanceTerms; 3] {
    [
        TERMS,
        RebalanceTerms { goal: Goal::Prefer, reach: Reach::Everywhere, ..TERMS },
        RebalanceTerms { reach: Reach::Cluster, ..TERMS },
    ]
}

pub(super) fn rebalance_commands() -> Vec<Command> {
    let moving = Moving { attempt: attempt_ids()[0], to: "us-1-a".parse().unwrap(), epoch: Epoch(7) };
    let starts = terms().map(|terms| Command::SetRebalance { order: RebalanceOrder::Start(terms) });
    let ended =
        ends().into_iter().map(|end| Command::MoveAttempts { rebalance: 3, moves: Vec::new(), ends: Some(end) });
    let stop = Command::SetRebalance { order: RebalanceOrder::Stop };
    let step = Command::MoveAttempts { rebalance: 3, moves: vec![moving], ends: None };
    starts.into_iter().chain([stop, step]).chain(ended).collect()
}

pub(super) fn rebalance_changes() -> Vec<Change> {
    let rebalance = Rebalance {
        number: 3,
        terms: TERMS,
        by: Principal::anonymous_local(),
        at: Millis(1_700_000_000_000),
        began: Served(1_000),
        ends: Served(3_601_000),
        begun: 7,
        arrived: 4,
        missed: 1,
        ended: None,
    };
    let ended = Rebalance { ended: Some((RebalanceEnd::Stopped, Millis(1_700_000_000_500))), ..rebalance.clone() };
    let attempt = attempts().remove(0);
    let (from, to) = (attempt.node.clone(), "us-1-a".parse().unwrap());
    let (task, number) = (attempt.id.task, attempt.id.number);
    let row = Move { task, attempt: number, rebalance: 3, from, to, began: Served(2_000) };
    let moved = Some(Moved { rebalance: 3, to: row.to.clone() });
    vec![
        Change::Rebalance(Arc::new(rebalance)),
        Change::Rebalance(Arc::new(ended)),
        Change::Move(Arc::new(row)),
        Change::Attempt(Arc::new(Attempt { stop: Some(StopReason::Rebalanced), moved, ..attempt })),
        Change::MoveGone(task),
    ]
}

pub(super) fn rebalance_events() -> Vec<Event> {
    let by = Principal::anonymous_local();
    vec![
        Event::AttemptRebalanced {
            attempt: attempt_ids()[0],
            node: "eu-1-a".parse().unwrap(),
            to: "us-1-a".parse().unwrap(),
            rebalance: 3,
        },
        Event::RebalanceStarted { rebalance: 3, by: by.clone() },
        Event::RebalanceEnded { rebalance: 3, why: RebalanceEnd::Done, by },
    ]
}

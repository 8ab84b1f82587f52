//! Rows of rebalances and of tasks on the move.

use quorate_state::{Millis, Move, Moved, Principal, Rebalance, RebalanceEnd, Served, TaskId};

use crate::convert::rebalance::{end_from_wire, end_to_wire, terms_to_wire};
use crate::format::FormatError;
use crate::format::parts::{numbered, parsed, rebalance_terms_from, required};
use crate::log::v1 as pb;

pub(super) fn rebalance_to(row: &Rebalance) -> pb::RebalanceRow {
    pb::RebalanceRow {
        number: row.number,
        terms: Some(terms_to_wire(row.terms)),
        by: row.by.to_string(),
        at_ms: row.at.0,
        began_served_ms: row.began.0,
        ends_served_ms: row.ends.0,
        begun: row.begun,
        arrived: row.arrived,
        missed: row.missed,
        ended: row.ended.map(|(why, at)| pb::EndedRebalance { why: end_to_wire(why).into(), at_ms: at.0 }),
    }
}

pub(super) fn rebalance_from(row: pb::RebalanceRow) -> Result<Rebalance, FormatError> {
    let ended = |ended: pb::EndedRebalance| Ok((end_from(ended.why)?, Millis(ended.at_ms)));
    Ok(Rebalance {
        number: row.number,
        terms: rebalance_terms_from(row.terms)?,
        by: Principal(row.by.into()),
        at: Millis(row.at_ms),
        began: Served(row.began_served_ms),
        ends: Served(row.ends_served_ms),
        begun: row.begun,
        arrived: row.arrived,
        missed: row.missed,
        ended: row.ended.map(ended).transpose()?,
    })
}

pub(super) fn end_from(end: i32) -> Result<RebalanceEnd, FormatError> {
    required("rebalance.why", end_from_wire(numbered("rebalance.why", end)?))
}

pub(super) fn move_to(row: &Move) -> pb::MoveRow {
    pb::MoveRow {
        attempt: row.attempt,
        rebalance: row.rebalance,
        from: row.from.to_string(),
        to: row.to.to_string(),
        began_served_ms: row.began.0,
    }
}

pub(super) fn move_from(task: TaskId, row: &pb::MoveRow) -> Result<Move, FormatError> {
    Ok(Move {
        task,
        attempt: row.attempt,
        rebalance: row.rebalance,
        from: parsed("move.from", &row.from)?,
        to: parsed("move.to", &row.to)?,
        began: Served(row.began_served_ms),
    })
}

pub(super) fn moved_to(moved: &Moved) -> pb::Moved {
    pb::Moved { rebalance: moved.rebalance, to: moved.to.to_string() }
}

pub(super) fn moved_from(moved: &pb::Moved) -> Result<Moved, FormatError> {
    Ok(Moved { rebalance: moved.rebalance, to: parsed("moved.to", &moved.to)? })
}

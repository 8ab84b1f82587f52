//! Work that is moved to better places, and the budget for that.

use proptest::prelude::*;
use quorate_state::{
    AttemptId, AttemptState, Command, Feature, Goal, Moving, OnNodeLoss, Reach, RebalanceEnd, RebalanceOrder,
    RebalanceTerms, Rejection, StopReason,
};

use crate::{World, name};

/// What a history says of rebalancing.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// It begins.
    Start(RebalanceTerms),
    /// No more of it.
    Stop,
    /// These attempts go to these nodes, whether or not they may.
    Move { picks: Vec<(usize, usize)>, stale: bool },
    /// It is over.
    End(RebalanceEnd),
}

pub(super) fn said() -> impl Strategy<Value = Said> {
    let goal = prop_oneof![3 => Just(Goal::Spread), 1 => Just(Goal::Prefer)];
    let reach = prop_oneof![Just(Reach::Cluster), Just(Reach::Region), Just(Reach::Everywhere)];
    let terms = (goal, reach, 0..6_u32, 1..4_u32, 1..101_u32, 1..30_u32, 1..60_000_u64);
    let start = terms.prop_map(|(goal, reach, moves_max, at_once, share_percent, margin, for_ms)| {
        Said::Start(RebalanceTerms { goal, reach, moves_max, at_once, share_percent, margin, for_ms })
    });
    let ends = prop_oneof![
        Just(RebalanceEnd::Done),
        Just(RebalanceEnd::TimeOver),
        Just(RebalanceEnd::Draining),
        Just(RebalanceEnd::NodeLost),
        Just(RebalanceEnd::Silent),
    ];
    let picks = proptest::collection::vec((any::<usize>(), 0..3_usize), 1..5);
    prop_oneof![
        3 => start,
        1 => Just(Said::Stop),
        10 => (picks, prop::bool::weighted(0.1)).prop_map(|(picks, stale)| Said::Move { picks, stale }),
        1 => ends.prop_map(Said::End),
    ]
}

impl World {
    pub(super) fn rebalance(&mut self, said: &Said) {
        let before = self.state.clone();
        let may = before.has_feature(Feature::Rebalance) && before.has_feature(Feature::Preemption);
        let number = before.rebalance().map_or(0, |last| last.number);
        match said {
            Said::Start(terms) => {
                let result = self.run(None, Command::SetRebalance { order: RebalanceOrder::Start(*terms) });
                let is_open = may && terms.moves_max > 0 && before.rebalancing().is_none();
                assert_eq!(result.is_ok(), is_open, "{result:?}");
                assert_eq!(self.state.rebalance().map_or(0, |row| row.number), number + u32::from(is_open));
            }
            Said::Stop => {
                let result = self.run(None, Command::SetRebalance { order: RebalanceOrder::Stop });
                assert_eq!(result.is_ok(), may, "{result:?}");
                assert!(!may || self.state.rebalancing().is_none());
            }
            Said::Move { picks, stale } => self.move_some(picks, number + u32::from(*stale)),
            Said::End(why) => {
                let ends = Some(*why);
                let result = self.run(None, Command::MoveAttempts { rebalance: number, moves: Vec::new(), ends });
                assert_eq!(result.is_ok(), before.rebalancing().is_some(), "{result:?}");
                let has_ended = before.rebalancing().is_some() && self.state.rebalancing().is_none();
                let is_still = before.moves_count() == 0;
                assert!(!has_ended || *why != RebalanceEnd::Done || is_still, "what is on the move arrives first");
            }
        }
    }

    fn move_some(&mut self, picks: &[(usize, usize)], number: u32) {
        let before = self.state.clone();
        let all: Vec<AttemptId> =
            before.nodes().flat_map(|node| before.attempts_on(&node.name)).map(|row| row.id).collect();
        let moves = picks.iter().filter_map(|(pick, node)| {
            let attempt = all.get(pick % all.len().max(1)).copied()?;
            let to = name(&format!("node-{node}"));
            let epoch = before.node(&to)?.epoch;
            Some(Moving { attempt, to, epoch })
        });
        let moves: Vec<Moving> = moves.collect();
        let result = self.run(None, Command::MoveAttempts { rebalance: number, moves: moves.clone(), ends: None });
        let going = before.rebalancing().filter(|row| row.number == number);
        let Some(going) = going.filter(|_| result.is_ok()) else {
            assert!(matches!(result, Err(Rejection::Stale(_) | Rejection::FeatureNotEnabled(_))), "{result:?}");
            return;
        };
        let row = self.state.rebalance().unwrap();
        assert!(row.begun <= row.terms.moves_max && self.state.moves_count() <= row.terms.at_once.max(3) as usize);
        let served = self.state.meta().served;
        for moving in &moves {
            let (was, is) = (before.attempt(moving.attempt).unwrap(), self.state.attempt(moving.attempt).unwrap());
            if was.stop == is.stop {
                continue;
            }
            let task = moving.attempt.task;
            assert!(served < going.ends && before.draining().next().is_none(), "{is:?}");
            assert!(
                is.stop == Some(StopReason::Rebalanced)
                    && !before.is_leaving(was)
                    && was.state != AttemptState::Unknown
            );
            let moved = is.moved.as_ref().unwrap();
            assert!(moved.rebalance == number && moved.to != was.node);
            let earlier = before.attempts_of(task).filter_map(|attempt| attempt.moved.as_ref());
            assert!(earlier.into_iter().all(|moved| moved.rebalance != number), "moved twice");
            let spec = &before.run(task.run).unwrap().spec.tasks[task.step as usize];
            assert!(spec.on_node_loss != OnNodeLoss::AtMostOnce && spec.preemptible && spec.gang.is_none());
            assert!(spec.place.company.is_empty());
            let claim = self.state.claim(task).unwrap();
            assert!(claim.node == moved.to && claim.terms.resources == is.resources);
        }
    }
}

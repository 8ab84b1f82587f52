//! Nodes that are set aside for a time: nobody else gets onto them meanwhile, and no node is set aside twice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_state::{Command, Feature, NodeName, Rejection, ReservationName, Served};

use crate::{World, name};

/// What a history says of reservations.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// One of these nodes is made.
    Make { which: u8, nodes: Vec<usize>, wait_ms: u64, for_ms: u64 },
    /// What is due is turned; `early`: as if it were sooner than it is.
    Turn { early: bool },
    /// One is ended.
    End { which: u8 },
}

pub(crate) fn said() -> impl Strategy<Value = Said> {
    let nodes = proptest::collection::vec(0..4_usize, 0..3);
    let make = (0..3_u8, nodes, 0..3_u64, 0..3_u64);
    prop_oneof![
        3 => make.prop_map(|(which, nodes, wait, time)| {
            Said::Make { which, nodes, wait_ms: wait * 10_000, for_ms: time * 20_000 }
        }),
        3 => prop::bool::weighted(0.2).prop_map(|early| Said::Turn { early }),
        1 => (0..3_u8).prop_map(|which| Said::End { which }),
    ]
}

fn called(which: u8) -> ReservationName {
    name(&format!("reservation-{which}"))
}

impl World {
    pub(super) fn end_reservations(&mut self) {
        (0..3).for_each(|which| self.reserve(&Said::End { which }));
    }

    pub(super) fn reserve(&mut self, said: &Said) {
        let before = self.state.clone();
        let may = before.has_feature(Feature::Reservations);
        match said {
            Said::Make { which, nodes, wait_ms, for_ms } => {
                let nodes: BTreeSet<NodeName> = nodes.iter().map(|node| name(&format!("node-{node}"))).collect();
                let (reservation, namespace) = (called(*which), name("acme"));
                let (wait_ms, for_ms) = (*wait_ms, *for_ms);
                let command = Command::Reserve { reservation, namespace, nodes: nodes.clone(), wait_ms, for_ms };
                let result = self.run(None, command);
                let served = self.state.meta().served;
                let (from, until) = (served.plus(wait_ms), served.plus(wait_ms + for_ms));
                let is_free = |node: &NodeName| {
                    let mut others = before.reservations().filter(|other| other.nodes.contains(node));
                    others.all(|other| other.until <= from || until <= other.from)
                };
                let is_sound = !nodes.is_empty() && for_ms > 0 && before.reservation(&called(*which)).is_none();
                let can = is_sound && nodes.iter().all(|node| before.node(node).is_some() && is_free(node));
                let has_namespace = before.has_namespace(&name("acme"));
                assert_eq!(result.is_ok(), may && can && has_namespace, "{result:?}");
                if result.is_ok() {
                    let row = self.state.reservation(&called(*which)).unwrap();
                    assert_eq!((row.from, row.until, row.is_open, &row.nodes), (from, until, wait_ms == 0, &nodes));
                }
            }
            Said::Turn { early } => {
                let less = |at: Served| if *early { Served(at.0.saturating_sub(1)) } else { at };
                let due = before.reservations().map(|row| (row.name.clone(), less(row.due()))).collect();
                let result = self.run(None, Command::TurnReservations { due });
                assert_eq!(result.is_ok(), may, "{result:?}");
                let served = self.state.meta().served;
                for row in before.reservations() {
                    let turns = !early && row.due() <= served;
                    let now = self.state.reservation(&row.name);
                    match (turns, row.is_open || row.until <= served) {
                        (false, _) => assert_eq!(now, Some(row)),
                        (true, true) => assert_eq!(now, None),
                        (true, false) => assert!(now.is_some_and(|now| now.is_open)),
                    }
                }
            }
            Said::End { which } => {
                let result = self.run(None, Command::EndReservation { reservation: called(*which) });
                let is_there = before.reservation(&called(*which)).is_some();
                assert_eq!(result.is_ok(), may && is_there, "{result:?}");
                assert!(!may || is_there || result == Err(Rejection::UnknownReservation(called(*which))));
                assert!(result.is_err() || self.state.reservation(&called(*which)).is_none());
            }
        }
        for node in self.state.nodes() {
            let open = self.state.reservations().filter(|row| row.is_open && row.nodes.contains(&node.name));
            let names: Vec<_> = open.map(|row| &row.name).collect();
            assert_eq!(names, node.around.reservation.iter().collect::<Vec<_>>(), "what {} says", node.name);
        }
    }
}

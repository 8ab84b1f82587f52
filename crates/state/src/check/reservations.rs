//! What must hold of reservations: no node is of two at a time.

use crate::{Feature, RESERVATIONS_MAX, State};

impl State {
    pub(super) fn check_reservations(&self, broken: &mut Vec<String>) {
        let rows: Vec<_> = self.reservations().collect();
        if rows.len() > RESERVATIONS_MAX {
            broken.push(format!("{} reservations, RESERVATIONS_MAX is {RESERVATIONS_MAX}", rows.len()));
        }
        for (at, row) in rows.iter().enumerate() {
            if row.from >= row.until || row.nodes.is_empty() || !self.has_namespace(&row.namespace) {
                broken.push(format!("a reservation of nothing, or of nobody: {row:?}"));
            }
            let others = rows.iter().skip(at + 1).filter(|other| other.overlaps(row.from, row.until));
            for other in others.filter(|other| !other.nodes.is_disjoint(&row.nodes)) {
                broken.push(format!("reservations {} and {} share nodes and time", row.name, other.name));
            }
            let open = rows.iter().skip(at + 1).filter(|other| row.is_open && other.is_open);
            for other in open.filter(|other| !other.nodes.is_disjoint(&row.nodes)) {
                broken.push(format!("reservations {} and {} are open and share nodes", row.name, other.name));
            }
        }
        let asks = self.runs.values().find(|run| run.spec.asks_for_reservations());
        if !self.has_feature(Feature::Reservations) && (!rows.is_empty() || asks.is_some()) {
            broken.push(format!("there are reservations, and feature {} is not enabled", Feature::Reservations));
        }
    }
}

//! Nodes that are taken out of service: what may be moved off them, and when they may be forgotten.

use quorate_state::{Command, Feature, NodeName, NodeStatus, OnNodeLoss, State, StopReason};

use crate::World;

impl World {
    pub(super) fn drain(&mut self, node: &NodeName, wait_ms: u64) {
        let may = self.state.has_feature(Feature::NodeDrain) && self.state.node(node).is_some();
        let result = self.run(None, Command::DrainNode { node: node.clone(), wait_ms, reason: "why".into() });
        assert_eq!(result.is_ok(), may, "{result:?}");
        if may {
            let row = self.state.node(node).unwrap();
            assert!(row.cordoned && row.drain().is_some() && self.state.draining().any(|found| found == row));
        }
    }

    /// Of what is on the nodes, whatever they are.
    pub(super) fn evict(&mut self, picks: &[usize]) {
        let nodes: Vec<NodeName> = self.state.nodes().map(|node| node.name.clone()).collect();
        let held: Vec<_> = nodes.iter().flat_map(|node| self.state.attempts_on(node)).cloned().collect();
        let attempts: Vec<_> = picks.iter().filter_map(|pick| held.get(pick % held.len().max(1))).cloned().collect();
        let before = self.state.clone();
        let served = |state: &State| state.meta().served;
        let command = Command::EvictAttempts { attempts: attempts.iter().map(|attempt| attempt.id).collect() };
        let result = self.run(None, command);
        assert_eq!(result.is_ok(), before.has_feature(Feature::NodeDrain), "{result:?}");
        for attempt in attempts {
            let stop = self.state.attempt(attempt.id).unwrap().stop;
            if stop == attempt.stop {
                continue;
            }
            assert_eq!((attempt.stop, stop), (None, Some(StopReason::Drained)), "a stop stays what it is");
            let node = before.node(&attempt.node).unwrap();
            assert!(node.drain().is_some_and(|drain| drain.due <= served(&self.state)), "before it is due");
            let spec = before.run(attempt.id.task.run).unwrap().spec.clone();
            assert_ne!(spec.tasks[attempt.id.task.step as usize].on_node_loss, OnNodeLoss::AtMostOnce);
        }
    }

    pub(super) fn forget(&mut self, node: &NodeName) {
        let before = self.state.clone();
        let held: Vec<_> = before.attempts_on(node).map(|attempt| attempt.id).collect();
        let result = self.run(None, Command::ForgetNode { node: node.clone() });
        let Some(row) = before.node(node) else { return assert!(result.is_err()) };
        match result {
            Ok(_) => {
                assert_ne!(row.status, NodeStatus::Up, "a node that is alive was forgotten");
                for attempt in held {
                    let attempt = self.state.attempt(attempt).unwrap();
                    assert!(attempt.gone && attempt.state.is_terminal(), "{attempt:?}");
                    assert!(self.is_dead(attempt.id), "{attempt:?} may still run");
                    self.given_up.remove(&attempt.id);
                }
            }
            Err(_) => assert_eq!(before.node(node), self.state.node(node)),
        }
    }
}

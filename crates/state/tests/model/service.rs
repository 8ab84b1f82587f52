//! Nodes that are admitted and taken out of service: with which tokens, what may be moved off them, and when they may
//! be forgotten.

use std::sync::Arc;

use quorate_state::{
    Command, Digest, Epoch, Feature, JoinTerms, JoinTokenId, NodeAdmission, NodeName, NodeStatus, OnNodeLoss,
    Registration, Reply, Served, State, StopReason, Uuid,
};

use crate::World;

impl World {
    /// The members were asked so many terms ago.
    pub(super) fn enable(&mut self, asked_in: u64) {
        let next = Feature::ALL.into_iter().find(|feature| !self.state.has_feature(*feature));
        let feature = next.unwrap_or(Feature::NodeCordon);
        let (had, before) = (self.state.has_feature(feature), self.state.features().copied().collect::<Vec<_>>());
        let result = self.run(None, Command::EnableFeature { feature, term: self.term.saturating_sub(asked_in) });
        assert_eq!(result.is_ok(), asked_in == 0 || had, "{result:?}");
        assert_eq!(self.state.has_feature(feature), result.is_ok());
        let after: Vec<_> = self.state.features().copied().collect();
        assert!(after.starts_with(&before), "enabled again, or not any more");
    }

    pub(super) fn cordon(&mut self, node: &NodeName, cordoned: bool) {
        let may = self.state.has_feature(Feature::NodeCordon) && self.state.node(node).is_some();
        let result = self.run(None, Command::CordonNode { node: node.clone(), cordoned });
        assert_eq!(result.is_ok(), may, "{result:?}");
        assert!(!may || self.state.node(node).unwrap().cordoned == cordoned);
    }

    pub(super) fn drain(&mut self, node: &NodeName, wait_ms: u64) {
        let may = self.state.has_feature(Feature::NodeDrain) && self.state.node(node).is_some();
        let result = self.run(None, Command::DrainNode { node: node.clone(), wait_ms, reason: "why".into() });
        assert_eq!(result.is_ok(), may, "{result:?}");
        if may {
            let row = self.state.node(node).unwrap();
            assert!(row.cordoned && row.own_drain().is_some() && self.state.draining().any(|found| found == row));
        }
    }

    pub(super) fn maintain(&mut self, node: &NodeName, wait_ms: u64, for_ms: u64) {
        let has = |feature| self.state.has_feature(feature);
        let may = has(Feature::NodeDrain) && has(Feature::NodeMaintenance) && self.state.node(node).is_some();
        let may = may && wait_ms < for_ms;
        let command = Command::MaintainNode { node: node.clone(), wait_ms, for_ms, reason: "why".into() };
        let result = self.run(None, command);
        assert_eq!(result.is_ok(), may, "{result:?}");
        if may {
            let drain = self.state.node(node).unwrap().own_drain().unwrap();
            assert!(drain.ends.is_some_and(|ends| drain.due < ends));
        }
    }

    /// Those that have an end; `early`: as if it were sooner than it is.
    pub(super) fn end_drains(&mut self, early: bool) {
        let before = self.state.clone();
        let ending = before.nodes().filter_map(|node| Some((node.name.clone(), node.own_drain()?.ends?)));
        let drains = ending.map(|(name, ends)| (name, if early { Served(ends.0.saturating_sub(1)) } else { ends }));
        let drains: Vec<(NodeName, Served)> = drains.collect();
        let result = self.run(None, Command::EndDrains { drains });
        assert_eq!(result.is_ok(), before.has_feature(Feature::NodeMaintenance), "{result:?}");
        let served = self.state.meta().served;
        for node in before.nodes() {
            let is_over = node.own_drain().and_then(|drain| drain.ends).is_some_and(|ends| ends <= served);
            let drains = self.state.node(&node.name).unwrap().own_drain();
            assert_eq!(drains, node.own_drain().filter(|_| early || !is_over), "node {}", node.name);
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
            let (run, step) = (attempt.id.task.run, attempt.id.task.step);
            // With another one of its gang.
            let is_member = before.run(run).unwrap().spec.tasks[step as usize].gang.is_some();
            if stop == attempt.stop || is_member && stop == Some(StopReason::Gang) {
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

    /// The secrets are few, so that tokens come again.
    pub(super) fn token(&mut self, made: bool, secret: u8, uses_max: u32) {
        let (digest, before) = (Digest([secret; 32]), self.state.clone());
        let id = JoinTokenId::of(digest);
        let may = before.has_feature(Feature::JoinTokens) && before.join_token(id).is_some() != made;
        let command = match made {
            true => {
                Command::CreateJoinToken { digest, ttl_ms: 20_000, uses_max, terms: Arc::new(JoinTerms::default()) }
            }
            false => Command::RevokeJoinToken { token: id },
        };
        let result = self.run(None, command);
        assert_eq!(result.is_ok(), may, "{result:?}");
        assert!(!may || self.state.join_token(id).is_some() == made);
    }

    pub(super) fn admission(&mut self, token: bool) {
        let admission = if token { NodeAdmission::Token } else { NodeAdmission::Open };
        let result = self.run(None, Command::SetNodeAdmission { admission });
        assert_eq!(result.is_ok(), self.state.has_feature(Feature::JoinTokens), "{result:?}");
        assert!(result.is_err() || self.state.settings().unwrap().node_admission == admission);
    }

    fn needs_token(&self, node: &NodeName, uuid: Uuid) -> bool {
        let is_known = self.state.node(node).is_some_and(|known| known.uuid == uuid);
        self.state.settings().unwrap().node_admission == NodeAdmission::Token && !is_known
    }

    /// The first token that admits somebody now.
    fn usable(&self) -> Option<Digest> {
        let now = self.state.meta().served;
        let mut tokens = self.state.join_tokens();
        tokens.find(|token| token.expires_at > now && token.uses < token.uses_max).map(|token| token.digest)
    }

    pub(super) fn may_arrive(&self, node: &NodeName, uuid: Uuid) -> bool {
        !self.needs_token(node, uuid) || self.usable().is_some()
    }

    /// With a token where it takes one; without one that node stays away.
    pub(super) fn arrive(&mut self, registration: Box<Registration>) {
        let needs = self.needs_token(&registration.node, registration.uuid);
        let usable = self.usable().filter(|_| needs);
        let uses = |state: &State| state.join_tokens().map(|token| token.uses).sum::<u32>();
        let (before, node) = (uses(&self.state), registration.node.clone());
        let result = match usable {
            Some(token) => self.run(None, Command::AdmitNode { registration, token }),
            None => self.run(None, Command::RegisterNode(registration)),
        };
        assert_eq!(result.is_ok(), !needs || usable.is_some(), "{result:?}");
        assert_eq!(uses(&self.state) - before, u32::from(usable.is_some()), "each node uses a token once");
        if let Ok(reply) = result {
            let Reply::Registered { epoch, .. } = reply else { panic!("{reply:?}") };
            assert_eq!(epoch, Epoch(self.revision));
            assert_eq!(self.state.node(&node).unwrap().epoch, epoch);
        }
    }
}

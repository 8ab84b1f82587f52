//! What events must agree with.

use quorate_state::{AttemptState, Event, Feature, Revision};

use crate::World;

impl World {
    pub(super) fn check_events(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::RunCancelRequested { run } => {
                    self.cancelled_at.insert(*run, Revision(self.revision));
                }
                Event::AttemptMoved { attempt, state, .. } => {
                    // P6: terminal states absorb.
                    assert_eq!(self.ended.get(attempt), None, "{attempt:?} moved to {state:?} after its end");
                    if state.is_terminal() {
                        self.ended.insert(*attempt, *state);
                    }
                    // P8: nothing is placed after a cancel.
                    if *state == AttemptState::Assigned
                        && self.state.attempt(*attempt).unwrap().token.0 == self.revision
                    {
                        assert_eq!(self.cancelled_at.get(&attempt.task.run), None, "placed after its cancel");
                    }
                }
                Event::RunAbandoned { .. } | Event::StepDecided { .. } | Event::RestEnded { .. } => {
                    assert!(self.state.has_feature(Feature::TaskFlow), "{event:?} before it may be");
                }
                Event::NamespaceCreated { .. }
                | Event::RunSubmitted { .. }
                | Event::RunStarted { .. }
                | Event::RunEnded { .. }
                | Event::RunAnnotated { .. }
                | Event::TaskMoved { .. }
                | Event::NodeRegistered { .. }
                | Event::NodeLost { .. } => {}
                Event::NodeCordoned { .. } | Event::FeatureEnabled { .. } => {
                    assert!(self.state.features().next().is_some(), "{event:?} before it may be");
                }
                Event::NodeAdmissionSet { .. }
                | Event::JoinTokenCreated { .. }
                | Event::JoinTokenUsed { .. }
                | Event::JoinTokenRevoked { .. } => {
                    assert!(self.state.has_feature(Feature::JoinTokens), "{event:?} before it may be");
                }
                Event::ScopeWithdrawn { .. } | Event::ScopeRestored { .. } => {
                    assert!(self.state.has_feature(Feature::RegionPolicy), "{event:?} before it may be");
                }
                Event::AttemptPreempted { share: Some(_), .. } => {
                    assert!(self.state.has_feature(Feature::FairPreemption), "{event:?} before it may be");
                }
                Event::AttemptPreempted { .. } => {
                    assert!(self.state.has_feature(Feature::Preemption), "{event:?} before it may be");
                }
                Event::AttemptRebalanced { .. } | Event::RebalanceStarted { .. } | Event::RebalanceEnded { .. } => {
                    assert!(self.state.has_feature(Feature::Rebalance), "{event:?} before it may be");
                }
                Event::ReservationMoved { .. } => {
                    assert!(self.state.has_feature(Feature::Reservations), "{event:?} before it may be");
                }
                Event::RunPaused { .. } | Event::RunResumed { .. } | Event::RunPrioritySet { .. } => {
                    assert!(self.state.has_feature(Feature::RunControl), "{event:?} before it may be");
                }
                Event::NodeForgotten { node, epoch: _ } => {
                    assert!(self.state.has_feature(Feature::NodeForget), "{event:?} before it may be");
                    assert!(self.state.node(node).is_none() && self.state.attempts_on(node).next().is_none());
                }
            }
        }
    }
}

//! What agents say of attempts, also of those that are not theirs any more.

use std::sync::Arc;

use quorate_state::{AttemptPhase, AttemptReport, Command, Exit, Feature, Outcome, Payload, Payloads, Usage};

use crate::{World, name};

impl World {
    pub(super) fn report(&mut self, pick: usize, phase: u8, code: i32, gone: bool, wrong_token: bool) {
        let attempts: Vec<_> = self
            .state
            .nodes()
            .flat_map(|node| self.state.attempts_on(&node.name).cloned().collect::<Vec<_>>())
            .collect();
        let Some(attempt) = attempts.get(pick % attempts.len().max(1)) else { return };
        let node = self.state.node(&attempt.node).unwrap().clone();
        let phase = match phase {
            0 => AttemptPhase::Starting,
            1 | 2 => AttemptPhase::Running,
            3 => AttemptPhase::Stopping,
            4 => AttemptPhase::Ended,
            _ => AttemptPhase::Lost,
        };
        let ended = matches!(phase, AttemptPhase::Ended | AttemptPhase::Lost);
        let mut token = attempt.token;
        token.0 += u64::from(wrong_token);
        let outcome = match pick % 3 {
            0 => None,
            1 => Some(Outcome::Result(vec![b'1'; pick % 10_000].into())),
            _ => Some(Outcome::Error(name("BadInput"))),
        };
        let payloads = pick.is_multiple_of(5).then(|| {
            let mut payloads = Payloads::default();
            payloads.put(name("model"), Payload::new("s3://bucket/key", Some(1), None).unwrap()).unwrap();
            Arc::new(payloads)
        });
        let report = AttemptReport {
            attempt: attempt.id,
            token,
            phase,
            gone: gone && ended,
            exit: (phase == AttemptPhase::Ended).then_some(Exit::Code(code)),
            message: None,
            usage: Usage::default(),
            stopped: attempt.stop.is_some(),
            outcome: outcome.filter(|_| ended && self.state.has_feature(Feature::TaskOutcomes)).map(Arc::new),
            silent: phase == AttemptPhase::Running
                && pick.is_multiple_of(2)
                && self.state.has_feature(Feature::TaskOutcomes),
            payloads: payloads.filter(|_| ended && self.state.has_feature(Feature::PayloadRefs)),
        };
        let command = Command::ReportAttempts {
            node: node.name.clone(),
            epoch: node.epoch,
            reports: vec![report.clone(), report],
        };
        let before = self.state.clone();
        match self.run(None, command) {
            Ok(quorate_state::Reply::Reported(outcomes)) => {
                let refused = outcomes.contains(&quorate_state::ReportOutcome::Refused);
                let unheard = self.given_up.contains(&attempt.id);
                assert_eq!(refused, wrong_token || unheard, "{attempt:?}");
                if refused {
                    assert_eq!(before.attempt(attempt.id), self.state.attempt(attempt.id));
                }
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => assert_ne!(node.status, quorate_state::NodeStatus::Up),
        }
    }
}

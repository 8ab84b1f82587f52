//! What the node knows of one attempt.

use std::time::Duration;

use quorate_seams::BootInstant;
use quorate_state::{
    AttemptClaim, AttemptId, AttemptPhase, AttemptReport, Choice, Driver, GpuHold, OnNodeLoss, Token, Usage,
};
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::driver::Wish;
use crate::journal::Over;

/// Why an attempt should end before it does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The control plane wants it.
    Asked,
    /// It is `fenced` and the lease is over.
    Lease,
    /// The agent stops.
    Shutdown,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits for the journal, or for its driver.
    Starting,
    /// It runs.
    Running,
    /// It runs and was asked to end.
    Stopping,
    /// It ended, and perhaps something of it is left.
    Over { over: Over, gone: bool },
}

/// One attempt on this node.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) token: Token,
    pub(super) on_node_loss: OnNodeLoss,
    pub(super) driver: Driver,
    pub(super) gpus: GpuHold,
    pub(super) choice: Choice,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) cause: Option<Cause>,
    pub(super) standing: Standing,
    /// It is `fenced`, and the lease ended then, before it was gone.
    pub(super) lease_ended: Option<BootInstant>,
    /// It ran, if only for an instant: the control plane dates its start by that report.
    pub(super) ran: bool,
    /// That report is on its way, or has arrived.
    pub(super) running_told: bool,
    /// It has said nothing for so long, which is too long.
    pub(super) silent: Option<Duration>,
    /// Counts changes of what is to be told.
    pub(super) version: u64,
    /// The control plane knows nothing of it: no more reports.
    pub(super) refused: bool,
    /// Its end was acknowledged, or nobody wants to know: gone from here once the journal says so.
    pub(super) leaving: bool,
}

impl Tracked {
    pub(super) fn new(assignment: &Assignment) -> Self {
        let holds = (assignment.choice.unwrap_or_default(), assignment.gpus);
        Self::known(assignment.token, assignment.on_node_loss, assignment.driver, holds)
    }

    pub(super) fn known(
        token: Token,
        on_node_loss: OnNodeLoss,
        driver: Driver,
        (choice, gpus): (Choice, GpuHold),
    ) -> Self {
        Self {
            token,
            on_node_loss,
            driver,
            gpus,
            choice,
            wish: watch::Sender::new(Wish::Run),
            cause: None,
            standing: Standing::Starting,
            lease_ended: None,
            ran: false,
            running_told: false,
            silent: None,
            version: 0,
            refused: false,
            leaving: false,
        }
    }

    /// It was not told to end and has not.
    pub(super) fn is_wanted(&self) -> bool {
        self.cause.is_none() && !self.is_over()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Over { .. })
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.standing, Standing::Over { gone: true, .. })
    }

    /// The lease ended while it was here. The first end counts: from then on it should be gone.
    pub(super) fn lease_ended(&mut self, at: BootInstant) {
        if self.on_node_loss == OnNodeLoss::Fenced && !self.is_gone() {
            self.lease_ended.get_or_insert(at);
        }
    }

    /// It is gone `now`: how long that took from the end of the lease, if it had to be. Said once.
    pub(super) fn outlived_lease(&mut self, now: BootInstant) -> Option<Duration> {
        self.lease_ended.take().map(|ended| now.since(ended))
    }

    /// What a new registration says of it; none when it is proven gone without an outcome, which is
    /// exactly what leaving it out says. One that this agent has ended for the lease is claimed, and told as lost then: the
    /// agent has outlived it, and so it was not what made the node silent.
    pub(super) fn claim(&self, attempt: AttemptId) -> Option<AttemptClaim> {
        let outlived = self.cause == Some(Cause::Lease);
        let proven_lost = !outlived && matches!(&self.standing, Standing::Over { over, gone: true } if over.lost);
        let nothing_to_say = proven_lost || self.refused || self.leaving;
        (!nothing_to_say).then_some(AttemptClaim { attempt, token: self.token, gpus: self.gpus, choice: self.choice })
    }

    /// What there is to tell now; none when there is nothing that the control plane does not assume.
    pub(super) fn reports(&self, attempt: AttemptId) -> Vec<AttemptReport> {
        let report = |phase| AttemptReport {
            attempt,
            token: self.token,
            phase,
            gone: false,
            exit: None,
            message: None,
            usage: Usage::default(),
            stopped: false,
            outcome: None,
            silent: false,
            payloads: None,
        };
        let mut reports = Vec::new();
        // The control plane has it stopped then, once, however often it hears of that.
        let silent = self.silent.is_some() && self.standing == Standing::Running;
        if self.ran && (!self.running_told || silent) {
            reports.push(AttemptReport { silent, ..report(AttemptPhase::Running) });
        }
        match &self.standing {
            Standing::Starting | Standing::Running => {}
            Standing::Stopping => reports.push(report(AttemptPhase::Stopping)),
            Standing::Over { over, gone } => {
                let phase = if over.lost { AttemptPhase::Lost } else { AttemptPhase::Ended };
                reports.push(AttemptReport {
                    gone: *gone,
                    stopped: over.stopped,
                    exit: over.exit,
                    message: over.message.clone(),
                    usage: over.usage,
                    outcome: over.outcome.clone(),
                    payloads: over.payloads.clone(),
                    ..report(phase)
                });
            }
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_said_of_what_runs_and_is_not_being_stopped() {
        let attempt =
            AttemptId { task: quorate_state::TaskId { run: quorate_state::RunId(1), step: 0, index: 0 }, number: 1 };
        let known = Tracked::known(Token(1), OnNodeLoss::AtLeastOnce, Driver::Process, (Choice::FIRST, GpuHold::NONE));
        let mut one = Tracked { standing: Standing::Running, ran: true, running_told: true, ..known };
        assert_eq!(one.reports(attempt), []);
        one.silent = Some(Duration::from_secs(20));
        let said: Vec<_> = one.reports(attempt).into_iter().map(|report| (report.phase, report.silent)).collect();
        assert_eq!(said, [(AttemptPhase::Running, true)]);
        one.standing = Standing::Stopping;
        assert!(one.reports(attempt).iter().all(|report| !report.silent));
    }

    /// Left out, it would be taken for what made the node silent.
    #[test]
    fn what_was_ended_for_the_lease_is_claimed_by_the_agent_that_outlived_it() {
        let attempt =
            AttemptId { task: quorate_state::TaskId { run: quorate_state::RunId(1), step: 0, index: 0 }, number: 1 };
        let over = Over { lost: true, ..Over::default() };
        let gone = Standing::Over { over, gone: true };
        let lost = Tracked {
            standing: gone,
            ..Tracked::known(Token(1), OnNodeLoss::Fenced, Driver::Process, (Choice::FIRST, GpuHold::NONE))
        };
        assert_eq!(lost.claim(attempt), None, "an earlier life had it");
        let outlived = Tracked { cause: Some(Cause::Lease), ..lost };
        assert_eq!(
            outlived.claim(attempt),
            Some(AttemptClaim { attempt, token: Token(1), choice: Choice::FIRST, gpus: GpuHold::NONE })
        );
        let told: Vec<_> = outlived.reports(attempt).into_iter().map(|report| (report.phase, report.gone)).collect();
        assert_eq!(told, [(AttemptPhase::Lost, true)]);
    }

    #[test]
    fn how_long_what_is_fenced_outlived_the_lease_counts_from_its_first_end_and_is_said_once() {
        let at = BootInstant::from_millis;
        let tracked = |promise| Tracked::known(Token(1), promise, Driver::Process, (Choice::FIRST, GpuHold::NONE));
        let gone = || Standing::Over { over: Over::default(), gone: true };
        let mut fenced = tracked(OnNodeLoss::Fenced);
        assert_eq!(fenced.outlived_lease(at(5)), None, "it ended under a lease");
        fenced.lease_ended(at(1_000));
        fenced.lease_ended(at(9_000));
        assert_eq!(fenced.outlived_lease(at(9_500)), Some(Duration::from_millis(8_500)));
        assert_eq!(fenced.outlived_lease(at(9_600)), None);
        let mut over =
            Tracked { standing: Standing::Over { over: Over::default(), gone: false }, ..tracked(OnNodeLoss::Fenced) };
        over.lease_ended(at(1_000));
        assert_eq!(over.outlived_lease(at(1_250)), Some(Duration::from_millis(250)), "something of it was left");
        for mut other in [Tracked { standing: gone(), ..tracked(OnNodeLoss::Fenced) }, tracked(OnNodeLoss::AtLeastOnce)]
        {
            other.lease_ended(at(1_000));
            assert_eq!(other.outlived_lease(at(2_000)), None);
        }
    }
}

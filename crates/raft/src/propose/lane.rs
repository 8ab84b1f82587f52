//! What goes first when more is proposed than the log takes (ADR 0013).

use quorate_state::Command;
use tokio::sync::mpsc;

use super::Group;

/// How urgent a command is. What keeps promises comes before what ends work, and that before new work:
/// a flood of submits must not delay the reports, renewals and cancels that make room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// What the leader decides, and nodes that come.
    Control,
    /// What agents saw.
    Reports,
    /// The end of work.
    Cancels,
    /// New work, and everything that can wait as long.
    Submits,
}

impl Lane {
    /// The most urgent first.
    pub(super) const ALL: [Self; 4] = [Self::Control, Self::Reports, Self::Cancels, Self::Submits];

    /// As metrics call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Reports => "reports",
            Self::Cancels => "cancels",
            Self::Submits => "submits",
        }
    }

    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Bootstrap { .. }
            | Command::AdvanceStep { .. }
            | Command::FinishRun { .. }
            | Command::DecideStep { .. }
            | Command::UndoNext { .. }
            | Command::CommitPlan { .. }
            | Command::CommitGang { .. }
            | Command::EvictAttempts { .. }
            | Command::EndDrains { .. }
            | Command::EndScopeDrains { .. }
            | Command::RegisterNode(_)
            | Command::AdmitNode { .. }
            | Command::ExpireLeases { .. }
            | Command::FireTimers { .. }
            | Command::TrimEvents { .. }
            | Command::EnableFeature { .. }
            | Command::StartSubRun(_)
            | Command::FailSubRun { .. }
            | Command::ConcludeRun { .. }
            | Command::ArchiveRuns { .. }
            | Command::TrimArchive { .. }
            | Command::SampleUse { .. }
            | Command::PreemptAttempts(_)
            | Command::PreemptForGang(_)
            | Command::MoveAttempts { .. }
            | Command::TurnReservations { .. }
            | Command::EndClaims { .. } => Self::Control,
            Command::ReportAttempts { .. } => Self::Reports,
            // A cordon or a drain keeps work off a node, a revocation machines out of the cluster, and a pause or
            // another priority makes room for what is urgent: like a cancel, they must get past a flood of submits.
            // What takes something back must not overtake it.
            Command::CancelRun { .. }
            | Command::CancelRuns { .. }
            | Command::AbandonRun { .. }
            | Command::PauseRun { .. }
            | Command::ResumeRun { .. }
            | Command::SetRunPriority { .. }
            | Command::SetNodeAdmission { .. }
            // A shorter retention may be what makes room on a full disk.
            | Command::SetRetention { .. }
            // So may a lower maximum be on full nodes.
            | Command::SetNamespace { .. }
            | Command::SetFairness { .. }
            | Command::SetPreemption { .. }
            // The end of a rebalance must not wait behind what it stirs up.
            | Command::SetRebalance { .. }
            | Command::Reserve { .. }
            | Command::EndReservation { .. }
            | Command::RevokeJoinToken { .. }
            | Command::CordonNode { .. }
            | Command::DrainNode { .. }
            | Command::MaintainNode { .. }
            | Command::WithdrawScope { .. }
            | Command::RestoreScope { .. }
            | Command::ForgetNode { .. } => Self::Cancels,
            Command::SubmitJob { .. }
            | Command::SubmitJobAt { .. }
            | Command::SubmitFlow { .. }
            | Command::RestartRun { .. }
            | Command::DeleteJob { .. }
            | Command::AnnotateRun { .. }
            | Command::ReleaseTask { .. }
            | Command::CreateJoinToken { .. }
            | Command::CreateNamespace { .. } => Self::Submits,
        }
    }
}

/// One of something for each lane.
#[derive(Default)]
pub(super) struct Lanes<T>([T; 4]);

impl<T> Lanes<T> {
    pub(super) fn of(&self, lane: Lane) -> &T {
        &self.0[lane as usize]
    }

    pub(super) fn of_mut(&mut self, lane: Lane) -> &mut T {
        &mut self.0[lane as usize]
    }
}

impl Lanes<mpsc::Sender<Group>> {
    /// A queue for each lane, of so many groups.
    pub(super) fn channels(groups_max: usize) -> (Self, Lanes<mpsc::Receiver<Group>>) {
        let [control, reports, cancels, submits] = Lane::ALL.map(|_| mpsc::channel(groups_max));
        (Self([control.0, reports.0, cancels.0, submits.0]), Lanes([control.1, reports.1, cancels.1, submits.1]))
    }
}

impl Lanes<mpsc::Receiver<Group>> {
    /// The next group, the most urgent of those that wait in lanes that are open; none when all senders are
    /// gone.
    pub(super) async fn recv(&mut self, is_open: impl Fn(Lane) -> bool) -> Option<Group> {
        let [control, reports, cancels, submits] = &mut self.0;
        // The senders live and die together: one closed queue that is empty means that all are closed.
        tokio::select! {
            biased;
            group = control.recv(), if is_open(Lane::Control) => group,
            group = reports.recv(), if is_open(Lane::Reports) => group,
            group = cancels.recv(), if is_open(Lane::Cancels) => group,
            group = submits.recv(), if is_open(Lane::Submits) => group,
            else => None,
        }
    }
}

//! Features: what changes the meaning of the log waits here until every replica can do it.
//!
//! A replica that meets a command it does not know must stop, or its state would be another one. So a new
//! command, a new field or a new behaviour of `apply` belongs to a feature, and nobody proposes it
//! before the feature is enabled: a row, written by a command like any other, at the same place of the
//! history everywhere. Which replicas can do what is asked outside of this crate; see ADR 0035.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Choice, Command, GpuHold, Millis, NodeAdmission, Offer, Revision, State};

/// Something that replicas before a certain version cannot do. Numbers and names are never used again, and a
/// feature is never disabled: what it allowed may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Nodes can be cordoned: [`Command::CordonNode`].
    NodeCordon = 1,
    /// Nodes can be drained: [`Command::DrainNode`], [`Command::EvictAttempts`]. Who said that a node takes nothing
    /// new is kept.
    NodeDrain = 2,
    /// Lost nodes can be forgotten: [`Command::ForgetNode`].
    NodeForget = 3,
    /// Tasks can demand labels of their nodes: `Place::labels` in the specs of [`Command::SubmitJob`].
    PlaceLabels = 4,
    /// New nodes can need a join token: [`Command::SetNodeAdmission`], [`Command::CreateJoinToken`],
    /// [`Command::RevokeJoinToken`], [`Command::AdmitNode`].
    JoinTokens = 5,
    /// Nodes can be drained for a time: [`Command::MaintainNode`], [`Command::EndDrains`].
    NodeMaintenance = 6,
    /// What processes say of their end is kept, and decides: [`crate::Outcome`] in [`Command::ReportAttempts`],
    /// `Retry::never_errors`, `queued_timeout_ms`, `silent_timeout_ms` and `timeout_ms` in the specs of
    /// [`Command::SubmitJob`]. Tasks that take down the nodes that they run on are quarantined, until
    /// [`Command::ReleaseTask`].
    TaskOutcomes = 7,
    /// Runs can be paused, and get another priority: [`Command::PauseRun`], [`Command::ResumeRun`],
    /// [`Command::SetRunPriority`]. Jobs can be submitted over a version that is checked, and deleted:
    /// [`Command::SubmitJobAt`], [`Command::DeleteJob`]. Many runs can be cancelled at once: [`Command::CancelRuns`].
    RunControl = 8,
    /// Runs can be told something, decide what of them runs, go on where something failed, and take back what they did:
    /// [`Command::SubmitFlow`], [`Command::RestartRun`], [`Command::DecideStep`], [`Command::UndoNext`], [`Command::AbandonRun`].
    TaskFlow = 9,
    /// Tasks can be runs of other jobs, and runs have results: [`Command::StartSubRun`], [`Command::FailSubRun`],
    /// [`Command::ConcludeRun`], `sub_run` and `result` in the specs of [`Command::SubmitFlow`].
    SubRuns = 10,
    /// Tasks leave data behind that others are told where to find: [`crate::Payload`] in [`Command::ReportAttempts`].
    PayloadRefs = 11,
    /// Runs that have ended leave memory, and are kept on disk for a time: [`Command::ArchiveRuns`], [`Command::TrimArchive`],
    /// [`Command::SetRetention`].
    RunArchive = 12,
    /// Nodes have GPUs, and tasks take them or parts of them: [`crate::Node::gpus`], `gpu_milli` and `gpu_models` in the
    /// specs of jobs, [`crate::GpuHold`] in [`Command::CommitPlan`].
    Gpus = 13,
    /// Namespaces stand below one another, have weights, guarantees and maxima, and are served evenly: [`Command::SetNamespace`],
    /// [`Command::SetFairness`], [`Command::SampleUse`]. Since when a task is in the queue is kept.
    FairShare = 14,
    /// Nodes have pools, taints and prices, and tasks say what they make of these: [`crate::Node::offer`], and `pools`, `tolerate`,
    /// `prefer` and `cheap` of `Place` in the specs of jobs.
    PlaceConstraints = 15,
    /// Tasks have others stopped to make room for them, and that room is kept for them: [`Command::SetPreemption`],
    /// [`Command::PreemptAttempts`], [`Command::EndClaims`], `preemptible` in the specs of jobs.
    Preemption = 16,
    /// Clusters and regions can be taken out of service as one: [`Command::WithdrawScope`], [`Command::RestoreScope`],
    /// [`Command::EndScopeDrains`].
    RegionPolicy = 17,
    /// Elements of a task are placed all or none, and begin anew all together: [`Command::CommitGang`], `gang` in the specs of
    /// [`Command::SubmitFlow`].
    Gangs = 18,
    /// Tasks can say what the loss of the region means in which they ran: `on_region_loss` in the specs of jobs. The region in which they
    /// ran is kept.
    RegionLoss = 19,
    /// Tasks stay apart from others, and are spread over domains: `company` of `Place` in the specs of jobs.
    SpreadRules = 20,
    /// Tasks may take one of several things: `alternatives` in the specs of jobs. Which one an attempt takes is said when it is placed,
    /// and kept: [`crate::Choice`].
    ResourceAlternatives = 21,
    /// Tasks say in a condition what must hold of their nodes: `condition` of `Place` in the specs of jobs.
    PlaceWhere = 22,
    /// Tasks of namespaces that have less than their part have those of others stopped that have more: `by_share` and `share_gap` in
    /// [`Command::SetPreemption`].
    FairPreemption = 23,
    /// Work that runs is moved to better places when somebody asks for it, within a budget: [`Command::SetRebalance`],
    /// [`Command::MoveAttempts`].
    Rebalance = 24,
    /// Tasks can say where the data lies that they read: `near` of `Place` in the specs of jobs.
    DataLocality = 25,
    /// Nodes are set aside for a namespace for a time that was agreed beforehand: [`Command::Reserve`], [`Command::TurnReservations`],
    /// [`Command::EndReservation`], `reservation` of `Place` in the specs of jobs.
    Reservations = 26,
    /// Gangs have others stopped to make room for all their members, and that room is kept for them: [`Command::PreemptForGang`].
    GangPreemption = 27,
}

impl Feature {
    /// All that this version knows, by number.
    pub const ALL: [Self; 27] = [
        Self::NodeCordon,
        Self::NodeDrain,
        Self::NodeForget,
        Self::PlaceLabels,
        Self::JoinTokens,
        Self::NodeMaintenance,
        Self::TaskOutcomes,
        Self::RunControl,
        Self::TaskFlow,
        Self::SubRuns,
        Self::PayloadRefs,
        Self::RunArchive,
        Self::Gpus,
        Self::FairShare,
        Self::PlaceConstraints,
        Self::Preemption,
        Self::RegionPolicy,
        Self::Gangs,
        Self::RegionLoss,
        Self::SpreadRules,
        Self::ResourceAlternatives,
        Self::PlaceWhere,
        Self::FairPreemption,
        Self::Rebalance,
        Self::DataLocality,
        Self::Reservations,
        Self::GangPreemption,
    ];

    /// As it is stored and sent.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The feature of a number; none when this version does not know it.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.number() == number)
    }

    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeCordon => "node-cordon",
            Self::NodeDrain => "node-drain",
            Self::NodeForget => "node-forget",
            Self::PlaceLabels => "place-labels",
            Self::JoinTokens => "join-tokens",
            Self::NodeMaintenance => "node-maintenance",
            Self::TaskOutcomes => "task-outcomes",
            Self::RunControl => "run-control",
            Self::TaskFlow => "task-flow",
            Self::SubRuns => "sub-runs",
            Self::PayloadRefs => "payload-refs",
            Self::RunArchive => "run-archive",
            Self::Gpus => "gpus",
            Self::FairShare => "fair-share",
            Self::PlaceConstraints => "place-constraints",
            Self::Preemption => "preemption",
            Self::RegionPolicy => "region-policy",
            Self::Gangs => "gangs",
            Self::RegionLoss => "region-loss",
            Self::SpreadRules => "spread-rules",
            Self::ResourceAlternatives => "resource-alternatives",
            Self::PlaceWhere => "place-where",
            Self::FairPreemption => "fair-preemption",
            Self::Rebalance => "rebalance",
            Self::DataLocality => "data-locality",
            Self::Reservations => "reservations",
            Self::GangPreemption => "gang-preemption",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a replica says it can do: numbers, of which a reader may not know all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSet(BTreeSet<u32>);

impl FeatureSet {
    /// What this version can do.
    pub fn known() -> Self {
        Feature::ALL.into_iter().map(Feature::number).collect()
    }

    /// Nothing: a version before the first feature.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// True when the feature is among them.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature.number())
    }

    /// All of them, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl FromIterator<u32> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

/// A feature that is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureRow {
    /// Which.
    pub feature: Feature,
    /// The entry that enabled it: what it allows can be in the log from the next item on.
    pub revision: Revision,
    /// Log time.
    pub at: Millis,
}

impl State {
    /// True when what the feature allows may be in the log.
    pub fn has_feature(&self, feature: Feature) -> bool {
        self.features.contains_key(&feature)
    }

    /// The features that are enabled, by number.
    pub fn features(&self) -> impl Iterator<Item = &FeatureRow> {
        self.features.values()
    }
}

impl Command {
    /// What must be enabled before it may be proposed.
    pub fn needs(&self) -> Option<Feature> {
        match self {
            Self::CordonNode { .. } => Some(Feature::NodeCordon),
            Self::DrainNode { .. } | Self::EvictAttempts { .. } => Some(Feature::NodeDrain),
            Self::MaintainNode { .. } | Self::EndDrains { .. } => Some(Feature::NodeMaintenance),
            Self::ForgetNode { .. } => Some(Feature::NodeForget),
            Self::Reserve { .. } | Self::TurnReservations { .. } | Self::EndReservation { .. } => {
                Some(Feature::Reservations)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.asks_for_reservations() =>
            {
                Some(Feature::Reservations)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_alternatives() =>
            {
                Some(Feature::ResourceAlternatives)
            }
            Self::CommitPlan { placements } if placements.iter().any(|placement| placement.choice != Choice::FIRST) => {
                Some(Feature::ResourceAlternatives)
            }
            Self::RegisterNode(registration) | Self::AdmitNode { registration, .. }
                if registration.attempts.iter().any(|claim| claim.choice != Choice::FIRST) =>
            {
                Some(Feature::ResourceAlternatives)
            }
            Self::PreemptAttempts(asked) if asked.choice != Choice::FIRST => Some(Feature::ResourceAlternatives),
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.says_where() =>
            {
                Some(Feature::PlaceWhere)
            }
            Self::SetPreemption { preemption } if preemption.says_share() => Some(Feature::FairPreemption),
            Self::SetPreemption { .. } | Self::PreemptAttempts(_) | Self::EndClaims { .. } => Some(Feature::Preemption),
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_data() =>
            {
                Some(Feature::DataLocality)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_protected() =>
            {
                Some(Feature::Preemption)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_company() =>
            {
                Some(Feature::SpreadRules)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.knows_regions() =>
            {
                Some(Feature::RegionLoss)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_gangs() =>
            {
                Some(Feature::Gangs)
            }
            Self::CommitGang { .. } => Some(Feature::Gangs),
            Self::PreemptForGang(_) => Some(Feature::GangPreemption),
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_constraints() =>
            {
                Some(Feature::PlaceConstraints)
            }
            Self::RegisterNode(registration) | Self::AdmitNode { registration, .. }
                if *registration.offer != Offer::default() =>
            {
                Some(Feature::PlaceConstraints)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_gpus() =>
            {
                Some(Feature::Gpus)
            }
            Self::RegisterNode(registration) | Self::AdmitNode { registration, .. } if !registration.gpus.is_empty() => {
                Some(Feature::Gpus)
            }
            Self::CommitPlan { placements } => {
                let gives = placements.iter().any(|placement| placement.gpus != GpuHold::NONE);
                gives.then_some(Feature::Gpus)
            }
            Self::SubmitJob { spec, .. } | Self::SubmitJobAt { spec, .. } | Self::SubmitFlow { spec, .. }
                if spec.has_sub_runs() =>
            {
                Some(Feature::SubRuns)
            }
            Self::StartSubRun(_) | Self::FailSubRun { .. } | Self::ConcludeRun { .. } => Some(Feature::SubRuns),
            Self::SubmitJobAt { spec, .. } if spec.is_flow() => Some(Feature::TaskFlow),
            Self::PauseRun { .. }
            | Self::ResumeRun { .. }
            | Self::SetRunPriority { .. }
            | Self::CancelRuns { .. }
            | Self::SubmitJobAt { .. }
            | Self::DeleteJob { .. } => Some(Feature::RunControl),
            Self::SubmitFlow { .. }
            | Self::RestartRun { .. }
            | Self::DecideStep { .. }
            | Self::UndoNext { .. }
            | Self::AbandonRun { .. } => Some(Feature::TaskFlow),
            Self::SubmitJob { spec, .. } => {
                let demands = spec.tasks.iter().any(|task| !task.place.labels.is_empty());
                if spec.is_flow() {
                    return Some(Feature::TaskFlow);
                }
                spec.knows_outcomes().then_some(Feature::TaskOutcomes).or(demands.then_some(Feature::PlaceLabels))
            }
            Self::SetNodeAdmission { .. }
            | Self::CreateJoinToken { .. }
            | Self::RevokeJoinToken { .. }
            | Self::AdmitNode { .. } => Some(Feature::JoinTokens),
            Self::Bootstrap { settings, .. } if settings.fairness.is_some() => Some(Feature::FairShare),
            Self::Bootstrap { settings, .. } => {
                let has_limits = settings.result_bytes_max > 0 || settings.suspect_nodes_max > 0;
                let needs_tokens = settings.node_admission != NodeAdmission::default();
                needs_tokens.then_some(Feature::JoinTokens).or(has_limits.then_some(Feature::TaskOutcomes))
            }
            Self::ReportAttempts { reports, .. } => {
                let says = reports.iter().any(|report| report.outcome.is_some() || report.silent);
                let leaves = reports.iter().any(|report| report.payloads.is_some());
                leaves.then_some(Feature::PayloadRefs).or(says.then_some(Feature::TaskOutcomes))
            }
            Self::ReleaseTask { .. } => Some(Feature::TaskOutcomes),
            Self::ArchiveRuns { .. } | Self::TrimArchive { .. } | Self::SetRetention { .. } => Some(Feature::RunArchive),
            Self::SetNamespace { .. } | Self::SetFairness { .. } | Self::SampleUse { .. } => Some(Feature::FairShare),
            Self::WithdrawScope { .. } | Self::RestoreScope { .. } | Self::EndScopeDrains { .. } => {
                Some(Feature::RegionPolicy)
            }
            Self::SetRebalance { .. } | Self::MoveAttempts { .. } => Some(Feature::Rebalance),
            Self::CreateNamespace { .. }
            | Self::CancelRun { .. }
            | Self::AnnotateRun { .. }
            | Self::AdvanceStep { .. }
            | Self::FinishRun { .. }
            | Self::RegisterNode(_)
            | Self::ExpireLeases { .. }
            | Self::FireTimers { .. }
            | Self::TrimEvents { .. }
            // It enables what a replica must be able to do by then; it needs nothing before.
            | Self::EnableFeature { .. } => None,
        }
    }

    /// What a replica must be able to do to apply it, whether or not it is enabled already.
    pub fn asks_for(&self) -> Option<Feature> {
        if let Self::EnableFeature { feature, .. } = self { Some(*feature) } else { self.needs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_for_good() {
        let table: Vec<(u32, &str)> =
            Feature::ALL.into_iter().map(|feature| (feature.number(), feature.name())).collect();
        let known = [
            (1, "node-cordon"),
            (2, "node-drain"),
            (3, "node-forget"),
            (4, "place-labels"),
            (5, "join-tokens"),
            (6, "node-maintenance"),
            (7, "task-outcomes"),
            (8, "run-control"),
            (9, "task-flow"),
            (10, "sub-runs"),
            (11, "payload-refs"),
            (12, "run-archive"),
            (13, "gpus"),
            (14, "fair-share"),
            (15, "place-constraints"),
            (16, "preemption"),
            (17, "region-policy"),
            (18, "gangs"),
            (19, "region-loss"),
            (20, "spread-rules"),
            (21, "resource-alternatives"),
            (22, "place-where"),
            (23, "fair-preemption"),
            (24, "rebalance"),
            (25, "data-locality"),
            (26, "reservations"),
            (27, "gang-preemption"),
        ];
        assert_eq!(table, known, "a line may be added, never changed");
        assert!(table.iter().all(|(number, _)| Feature::of(*number).is_some_and(|found| found.number() == *number)));
        assert_eq!(Feature::of(0), None);
    }

    #[test]
    fn a_set_holds_what_this_version_does_not_know() {
        let newer: FeatureSet = [1, 4_000_000_000].into_iter().collect();
        assert!(newer.has(Feature::NodeCordon));
        assert_eq!(newer.numbers().collect::<Vec<_>>(), [1, 4_000_000_000]);
        assert!(!FeatureSet::none().has(Feature::NodeCordon));
    }
}

//! What goes into logs and stores: entries, events, remembered requests, changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Annotation, AttemptClaim, AttemptPhase, AttemptReport, AttemptState, Change, Choice, Cluster, Command, Digest,
    Entry, Epoch, Event, EventRow, Exit, FailReason, Feature, FeatureRow, GpuHold, Infeasible, Item, Job, JobSpec,
    JoinTokenId, Meta, Millis, Namespace, NamespaceRow, NodeAdmission, OverQuota, Placement, PlacementOutcome,
    Principal, Registration, Rejection, Reply, ReportOutcome, RequestId, RequestKey, RequestRow, Resource, Revision,
    RunState, Scope, Served, Settings, Shortfall, Stamp, State, TaskState, Timer, Token, TokenFlaw, Uuid, Violation,
    Wait,
};

use super::alternatives::{alternatives_changes, alternatives_commands};
use super::archive::{archive_changes, archive_commands};
use super::flow::{flow_changes, flow_commands, flow_events};
use super::gangs::{gang_changes, gang_commands};
use super::namespaces::{namespace_changes, namespace_commands};
use super::places::{constraint_commands, where_commands};
use super::preemption::{
    gang_preemption_commands, preemption_changes, preemption_commands, preemption_events, share_changes,
    share_commands, share_events,
};
use super::rebalance::{rebalance_changes, rebalance_commands, rebalance_events};
use super::region_loss::{region_loss_changes, region_loss_commands};
use super::reservations::{reservation_changes, reservation_commands, reservation_events};
use super::scopes::{scope_changes, scope_commands, scope_events};
use super::sub_runs::{sub_run_changes, sub_run_commands, sub_run_events};
use super::{
    RUN, attempt_ids, attempts, controlled_run, gpus, join_tokens, lease, nodes, outcomes, registration, reports, runs,
    specs, task_id, task_states, tasks, walk,
};
use crate::convert::job::spec_digest;

pub(crate) fn timers() -> Vec<Timer> {
    let due = Served(1_000);
    walk(Timer::TaskWait { task: task_id(), generation: 4, due }, |timer| match timer {
        Timer::TaskWait { .. } => Some(Timer::RunTimeout { attempt: attempt_ids()[0], due }),
        Timer::RunTimeout { .. } => Some(Timer::UnknownTooLong { attempt: attempt_ids()[0], due: Served(0) }),
        // What came later is in commands of its own.
        Timer::UnknownTooLong { .. }
        | Timer::QueueTimeout { .. }
        | Timer::RunDeadline { .. }
        | Timer::GangStart { .. } => None,
    })
}

pub(crate) fn commands() -> Vec<Command> {
    let spec = Arc::new(specs().remove(0));
    let bootstrap =
        Command::Bootstrap { cluster: Uuid(1 << 100), incarnation: 1, settings: Box::new(Settings::default()) };
    let mut all = walk(bootstrap, |command| match command {
        Command::Bootstrap { .. } => Some(Command::CreateNamespace { namespace: "default".parse().unwrap() }),
        Command::CreateNamespace { .. } => {
            Some(Command::SubmitJob { run: RUN, spec: spec.clone(), spec_digest: spec_digest(&spec) })
        }
        Command::SubmitJob { .. } => Some(Command::CancelRun { run: RUN }),
        Command::CancelRun { .. } => Some(Command::AdvanceStep { run: RUN, step: 1, limit: 100 }),
        Command::AdvanceStep { .. } => Some(Command::FinishRun { run: RUN }),
        Command::FinishRun { .. } => {
            let node = "eu-1-a".parse().unwrap();
            let placement = Placement {
                choice: Choice::FIRST,
                gpus: GpuHold::NONE,
                task: task_id(),
                generation: 3,
                node,
                epoch: Epoch(5),
            };
            Some(Command::CommitPlan { placements: vec![placement] })
        }
        Command::CommitPlan { .. } => Some(Command::RegisterNode(Box::new(registration()))),
        Command::RegisterNode(_) => {
            Some(Command::ReportAttempts { node: "eu-1-a".parse().unwrap(), epoch: Epoch(5), reports: reports() })
        }
        Command::ReportAttempts { .. } => {
            Some(Command::ExpireLeases { leases: vec![("eu-1-a".parse().unwrap(), Epoch(5))] })
        }
        Command::ExpireLeases { .. } => Some(Command::FireTimers { timers: timers() }),
        Command::FireTimers { .. } => Some(Command::TrimEvents { below: Revision(77) }),
        Command::TrimEvents { .. } => {
            Some(Command::AnnotateRun { run: RUN, key: "build.commit".parse().unwrap(), value: "4f1c, \u{e4}".into() })
        }
        Command::AnnotateRun { .. } => Some(Command::EnableFeature { feature: Feature::NodeCordon, term: 3 }),
        Command::EnableFeature { .. } => Some(Command::CordonNode { node: "eu-1-a".parse().unwrap(), cordoned: true }),
        Command::CordonNode { .. } => {
            Some(Command::DrainNode { node: "eu-1-a".parse().unwrap(), wait_ms: 600_000, reason: "a new disk".into() })
        }
        Command::DrainNode { .. } => Some(Command::EvictAttempts { attempts: attempt_ids() }),
        Command::EvictAttempts { .. } => Some(Command::ForgetNode { node: "eu-1-a".parse().unwrap() }),
        Command::ForgetNode { .. } => {
            Some(Command::AdmitNode { registration: Box::new(registration()), token: Digest([0xab; 32]) })
        }
        Command::AdmitNode { .. } => Some(Command::SetNodeAdmission { admission: NodeAdmission::Token }),
        Command::SetNodeAdmission { .. } => Some(Command::CreateJoinToken {
            digest: Digest([0xab; 32]),
            ttl_ms: 86_400_000,
            uses_max: 3,
            terms: join_tokens()[0].terms.clone(),
        }),
        Command::CreateJoinToken { .. } => Some(Command::RevokeJoinToken { token: join_tokens()[0].id() }),
        Command::RevokeJoinToken { .. } => Some(Command::MaintainNode {
            node: "eu-1-a".parse().unwrap(),
            wait_ms: 600_000,
            for_ms: 7_200_000,
            reason: "a new disk".into(),
        }),
        Command::MaintainNode { .. } => {
            Some(Command::EndDrains { drains: vec![("eu-1-a".parse().unwrap(), Served(7_290_000))] })
        }
        // What came later is below, behind what was frozen before.
        Command::EndDrains { .. }
        | Command::ReleaseTask { .. }
        | Command::PauseRun { .. }
        | Command::ResumeRun { .. }
        | Command::SetRunPriority { .. }
        | Command::SubmitJobAt { .. }
        | Command::DeleteJob { .. }
        | Command::CancelRuns { .. }
        | Command::SubmitFlow { .. }
        | Command::DecideStep { .. }
        | Command::UndoNext { .. }
        | Command::AbandonRun { .. }
        | Command::RestartRun { .. }
        | Command::StartSubRun(_)
        | Command::FailSubRun { .. }
        | Command::ConcludeRun { .. }
        | Command::ArchiveRuns { .. }
        | Command::TrimArchive { .. }
        | Command::SetRetention { .. }
        | Command::SetNamespace { .. }
        | Command::SetFairness { .. }
        | Command::SampleUse { .. }
        | Command::WithdrawScope { .. }
        | Command::RestoreScope { .. }
        | Command::EndScopeDrains { .. }
        | Command::CommitGang { .. }
        | Command::SetPreemption { .. }
        | Command::PreemptAttempts(_)
        | Command::PreemptForGang(_)
        | Command::EndClaims { .. }
        | Command::SetRebalance { .. }
        | Command::MoveAttempts { .. }
        | Command::Reserve { .. }
        | Command::TurnReservations { .. }
        | Command::EndReservation { .. } => None,
    });
    let mut choosy = specs().remove(1);
    choosy.tasks[0].place.labels =
        BTreeMap::from([("disk".into(), "ssd".into()), ("quorate.dev/arch".into(), "*".into())]);
    all.push(Command::SubmitJob { run: RUN, spec_digest: spec_digest(&choosy), spec: Arc::new(choosy) });
    let mut knowing = specs().remove(1);
    knowing.tasks[0].retry.never_errors = vec!["BadInput".parse().unwrap(), "a.b-c_1".parse().unwrap()];
    all.push(Command::SubmitJob { run: RUN, spec_digest: spec_digest(&knowing), spec: Arc::new(knowing) });
    let telling = outcomes().into_iter().map(|outcome| AttemptReport {
        phase: AttemptPhase::Ended,
        gone: true,
        exit: Some(Exit::Code(0)),
        outcome: Some(Arc::new(outcome)),
        ..reports().remove(0)
    });
    let silent = AttemptReport { phase: AttemptPhase::Running, silent: true, ..reports().remove(0) };
    let reports = telling.chain([silent]).collect();
    all.push(Command::ReportAttempts { node: "eu-1-a".parse().unwrap(), epoch: Epoch(5), reports });
    let settings = Box::new(Settings { result_bytes_max: 8_192, suspect_nodes_max: 3, ..Settings::default() });
    all.push(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings });
    all.push(Command::ReleaseTask { task: task_id() });
    let due = Served(1_000);
    let timers = vec![Timer::QueueTimeout { task: task_id(), due }, Timer::RunDeadline { run: RUN, due }];
    all.push(Command::FireTimers { timers });
    let mut timed = specs().remove(1);
    timed.timeout_ms = Some(3_600_000);
    timed.tasks[0].queued_timeout_ms = Some(60_000);
    timed.tasks[0].silent_timeout_ms = Some(20_000);
    all.push(Command::SubmitJob { run: RUN, spec_digest: spec_digest(&timed), spec: Arc::new(timed) });
    all.push(Command::PauseRun { run: RUN, reason: "the disk is full".into() });
    all.push(Command::ResumeRun { run: RUN });
    all.push(Command::SetRunPriority { run: RUN, priority: 90 });
    let spec = Arc::new(specs().remove(1));
    all.push(Command::SubmitJobAt { run: RUN, spec_digest: spec_digest(&spec), spec, version: 2 });
    all.push(Command::DeleteJob { namespace: "default".parse().unwrap(), job: "claims".parse().unwrap() });
    all.push(Command::CancelRuns { runs: vec![RUN, quorate_state::RunId(0)] });
    all.extend(flow_commands());
    all.extend(sub_run_commands());
    let leaving = AttemptReport {
        phase: AttemptPhase::Ended,
        gone: true,
        exit: Some(Exit::Code(0)),
        payloads: super::payloads().kept(),
        ..super::reports().remove(0)
    };
    all.push(Command::ReportAttempts { node: "eu-1-a".parse().unwrap(), epoch: Epoch(5), reports: vec![leaving] });
    all.extend(archive_commands());
    all.extend(gpu_commands());
    all.extend(namespace_commands());
    all.extend(scope_commands());
    all.extend(constraint_commands());
    all.extend(gang_commands());
    all.extend(preemption_commands());
    all.extend(region_loss_commands());
    all.extend(share_commands());
    all.extend(rebalance_commands());
    all.extend(alternatives_commands());
    all.extend(where_commands());
    all.extend(reservation_commands());
    all.extend(gang_preemption_commands());
    all
}

fn gpu_commands() -> Vec<Command> {
    let mut rendering = specs().remove(1);
    rendering.tasks[0].resources.gpu_milli = 2_000;
    rendering.tasks[0].gpu_models = gpus().to_vec();
    let gpus_held = GpuHold { devices: 1 << 63 | 1, milli: 1_000 };
    let (node, epoch) = ("eu-1-f".parse().unwrap(), Epoch(5));
    let placement = Placement { task: task_id(), generation: 3, node, epoch, gpus: gpus_held, choice: Choice::FIRST };
    let share = GpuHold { devices: 2, milli: 1 };
    let claim = AttemptClaim { attempt: attempt_ids()[0], token: Token(9), gpus: share, choice: Choice::FIRST };
    let registration = Registration { gpus: gpus(), attempts: vec![claim], ..registration() };
    vec![
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&rendering), spec: Arc::new(rendering) },
        Command::CommitPlan { placements: vec![placement] },
        Command::RegisterNode(Box::new(registration)),
    ]
}

/// An entry with one item per command; some have a request id, with and without namespace.
pub(crate) fn entry() -> Entry {
    let request = |number: usize| RequestKey {
        id: RequestId(format!("request \u{e4} {number}").into()),
        namespace: (number == 2).then(|| "default".parse().unwrap()),
        digest: Digest([0xab; 32]),
    };
    let items = commands().into_iter().enumerate().map(|(number, command)| Item {
        principal: if number == 0 { Principal::controller() } else { Principal::anonymous_local() },
        request: (number % 2 == 0).then(|| request(number)),
        command,
    });
    Entry { stamp: Stamp { wall: Millis(1_700_000_000_000), term: 3, elapsed_ms: 12 }, items: items.collect() }
}
pub(crate) fn rejections() -> Vec<Rejection> {
    let shortfall = Shortfall { cpu_milli: 1, ..Shortfall::default() };
    let missing = [
        Infeasible::Cordoned,
        Infeasible::Region,
        Infeasible::Cluster,
        Infeasible::TooSmall(shortfall),
        Infeasible::Full(Shortfall { memory_bytes: 2, ..Shortfall::default() }),
        Infeasible::Draining,
        Infeasible::Labels,
        Infeasible::GpuModel,
        Infeasible::Full(Shortfall { gpu_milli: 1_500, ..shortfall }),
        Infeasible::Pool,
        Infeasible::Taint,
        Infeasible::Apart,
        Infeasible::Where,
        Infeasible::Reserved,
        Infeasible::Unreserved,
    ];
    walk(Rejection::NotBootstrapped, |rejection| {
        Some(match rejection {
            Rejection::NotBootstrapped => Rejection::AlreadyBootstrapped,
            Rejection::AlreadyBootstrapped => Rejection::UnknownNamespace("a".parse().unwrap()),
            Rejection::UnknownNamespace(_) => Rejection::NamespaceExists("a".parse().unwrap()),
            Rejection::NamespaceExists(_) => Rejection::UnknownRun(RUN),
            Rejection::UnknownRun(_) => Rejection::RunIdTaken(RUN),
            Rejection::RunIdTaken(_) => {
                Rejection::Invalid(vec![Violation { field: "task.a".into(), message: "no".into() }])
            }
            Rejection::Invalid(_) => Rejection::RequestIdReused { id: "r".into() },
            Rejection::RequestIdReused { .. } => {
                Rejection::LimitReached { limit: "requests_max", max: 7, advice: "wait" }
            }
            Rejection::LimitReached { .. } => Rejection::NodeNameTaken { node: "n".parse().unwrap(), holder: Uuid(3) },
            Rejection::NodeNameTaken { .. } => Rejection::ClusterInOtherRegion {
                cluster: "eu-1".parse().unwrap(),
                region: "eu".parse().unwrap(),
                claimed: "us".parse().unwrap(),
            },
            Rejection::ClusterInOtherRegion { .. } => {
                Rejection::EpochOver { node: "n".parse().unwrap(), epoch: Epoch(1) }
            }
            Rejection::EpochOver { .. } => Rejection::Stale("the task has moved"),
            Rejection::Stale(_) => Rejection::Infeasible(Infeasible::NodeLost),
            Rejection::Infeasible(why) => {
                let at = match why {
                    Infeasible::NodeLost => 0,
                    Infeasible::Cordoned => 1,
                    Infeasible::Region => 2,
                    Infeasible::Cluster => 3,
                    Infeasible::TooSmall(_) => 4,
                    Infeasible::Full(Shortfall { gpu_milli: 1_500, .. }) => 9,
                    Infeasible::Pool => 10,
                    Infeasible::Taint => 11,
                    Infeasible::Apart => 12,
                    Infeasible::Where => 13,
                    Infeasible::Reserved => 14,
                    Infeasible::Unreserved => 15,
                    Infeasible::Full(_) => 5,
                    Infeasible::Draining => 6,
                    Infeasible::Labels => 7,
                    Infeasible::GpuModel => 8,
                };
                missing.get(at).map_or(Rejection::Invariant("a bug".into()), |why| Rejection::Infeasible(why.clone()))
            }
            Rejection::Invariant(_) => Rejection::UnknownNode("n".parse().unwrap()),
            Rejection::UnknownNode(_) => Rejection::FeatureNotEnabled(Feature::NodeCordon),
            Rejection::FeatureNotEnabled(_) => Rejection::NodeAlive("n".parse().unwrap()),
            Rejection::NodeAlive(_) => Rejection::NodeMayRun { node: "n".parse().unwrap(), remaining_ms: 3_000 },
            Rejection::NodeMayRun { .. } => Rejection::JoinTokenNeeded("n".parse().unwrap()),
            Rejection::JoinTokenNeeded(_) => {
                Rejection::JoinTokenRefused { node: "n".parse().unwrap(), why: TokenFlaw::Unknown }
            }
            Rejection::JoinTokenRefused { node, why } => {
                let why = match why {
                    TokenFlaw::Unknown => Some(TokenFlaw::Expired),
                    TokenFlaw::Expired => Some(TokenFlaw::UsedUp),
                    TokenFlaw::UsedUp => Some(TokenFlaw::Region("eu".parse().unwrap())),
                    TokenFlaw::Region(_) => Some(TokenFlaw::Cluster("eu-1".parse().unwrap())),
                    TokenFlaw::Cluster(_) => None,
                };
                let next = |why| Rejection::JoinTokenRefused { node: node.clone(), why };
                why.map_or(Rejection::UnknownJoinToken(JoinTokenId(7)), next)
            }
            Rejection::UnknownJoinToken(_) => Rejection::RunOver(RUN),
            Rejection::RunOver(_) => Rejection::UnknownJob("a".parse().unwrap(), "j".parse().unwrap()),
            Rejection::UnknownJob(namespace, job) => {
                let (namespace, job) = (namespace.clone(), job.clone());
                Rejection::JobMovedOn { namespace, job, checked: 0, newest: 3 }
            }
            Rejection::JobMovedOn { namespace, job, .. } => {
                Rejection::JobRuns { namespace: namespace.clone(), job: job.clone(), unfinished: 2 }
            }
            Rejection::JobRuns { .. } => over_quota(Resource::Cpu),
            Rejection::OverQuota(over) => match over.resource {
                Resource::Cpu => over_quota(Resource::Memory),
                Resource::Memory => over_quota(Resource::Gpu),
                Resource::Gpu => Rejection::UnknownScope(Scope::Region("eu".parse().unwrap())),
            },
            Rejection::UnknownScope(Scope::Region(_)) => {
                Rejection::UnknownScope(Scope::Cluster("eu-1".parse().unwrap()))
            }
            Rejection::UnknownScope(Scope::Cluster(_)) => {
                Rejection::Member { task: task_id(), why: Box::new(Rejection::Infeasible(Infeasible::Cordoned)) }
            }
            Rejection::Member { .. } => Rejection::UnknownReservation("spring".parse().unwrap()),
            Rejection::UnknownReservation(name) => Rejection::ReservationExists(name.clone()),
            Rejection::ReservationExists(other) => {
                Rejection::NodeReserved { node: "n".parse().unwrap(), other: other.clone() }
            }
            Rejection::NodeReserved { .. } => return None,
        })
    })
}

fn over_quota(resource: Resource) -> Rejection {
    Rejection::OverQuota(OverQuota { namespace: "a".parse().unwrap(), resource, used: 1, maximum: 0, asked: 2_500 })
}

pub(crate) fn replies() -> Vec<Reply> {
    walk(Reply::Done, |reply| {
        Some(match reply {
            Reply::Done => Reply::Submitted { run: RUN, version: 1, revision: Revision(4), window_ms: 3_600_000 },
            Reply::Submitted { .. } => Reply::Cancelling { ended_before: true, revision: Revision(5) },
            Reply::Cancelling { .. } => Reply::Registered { epoch: Epoch(5), lease: lease() },
            Reply::Registered { .. } => {
                let refused = rejections().into_iter().map(|rejection| PlacementOutcome::Refused(Box::new(rejection)));
                Reply::PlanCommitted(refused.chain([PlacementOutcome::Placed(Token(0))]).collect())
            }
            Reply::PlanCommitted(_) => Reply::Reported(vec![ReportOutcome::Accepted, ReportOutcome::Refused]),
            Reply::Reported(_) => Reply::Counted(0),
            Reply::Counted(_) => Reply::Annotated { revision: Revision(6) },
            Reply::Annotated { .. } => Reply::Controlled { revision: Revision(7) },
            Reply::Controlled { .. } => return None,
        })
    })
}

pub(crate) fn requests() -> Vec<RequestRow> {
    let namespaces: [Option<Namespace>; 3] = [None, Some("a".parse().unwrap()), Some("a-b".parse().unwrap())];
    let texts = ["", "a", "a\0", "a\0\u{1}", "a\u{1}", "a\u{e4}", "b"];
    let kinds = namespaces.iter().cycle().zip(texts.iter().cycle());
    replies()
        .into_iter()
        .zip(kinds)
        .zip(0_u8..)
        .map(|((reply, (namespace, text)), number)| RequestRow {
            namespace: namespace.clone(),
            principal: Principal((*text).into()),
            id: RequestId(format!("{text}{number}").into()),
            digest: Digest([number; 32]),
            reply,
            expires_at: Served(44),
        })
        .collect()
}

pub(crate) fn events() -> Vec<EventRow> {
    let mut all = walk(Event::NamespaceCreated { namespace: "a".parse().unwrap() }, |event| {
        Some(match event {
            Event::NamespaceCreated { .. } => {
                Event::RunSubmitted { run: RUN, namespace: "a".parse().unwrap(), job: "j".parse().unwrap() }
            }
            Event::RunSubmitted { .. } => Event::RunStarted { run: RUN },
            Event::RunStarted { .. } => Event::RunCancelRequested { run: RUN },
            Event::RunCancelRequested { .. } => Event::RunEnded { run: RUN, state: RunState::Failed },
            Event::RunEnded { .. } => Event::TaskMoved { task: task_id(), state: TaskState::Ready },
            Event::TaskMoved { .. } => Event::AttemptMoved {
                attempt: attempt_ids()[0],
                node: "eu-1-a".parse().unwrap(),
                token: Token(8),
                state: AttemptState::Failed,
                exit: Some(Exit::Code(1)),
            },
            Event::AttemptMoved { .. } => Event::NodeRegistered { node: "eu-1-a".parse().unwrap(), epoch: Epoch(5) },
            Event::NodeRegistered { .. } => Event::NodeLost { node: "eu-1-a".parse().unwrap(), epoch: Epoch(5) },
            Event::NodeLost { .. } => Event::RunAnnotated { run: RUN, key: "build.commit".parse().unwrap() },
            Event::RunAnnotated { .. } => Event::FeatureEnabled { feature: Feature::NodeCordon },
            Event::FeatureEnabled { .. } => Event::NodeCordoned { node: "eu-1-a".parse().unwrap(), cordoned: true },
            Event::NodeCordoned { .. } => Event::NodeForgotten { node: "eu-1-a".parse().unwrap(), epoch: Epoch(5) },
            Event::NodeForgotten { .. } => {
                Event::NodeAdmissionSet { admission: NodeAdmission::Token, by: Principal::anonymous_local() }
            }
            Event::NodeAdmissionSet { .. } => {
                Event::JoinTokenCreated { token: JoinTokenId(7), by: Principal::anonymous_local() }
            }
            Event::JoinTokenCreated { .. } => {
                Event::JoinTokenUsed { token: JoinTokenId(7), node: "eu-1-a".parse().unwrap() }
            }
            Event::JoinTokenUsed { .. } => {
                Event::JoinTokenRevoked { token: JoinTokenId(7), by: Principal::anonymous_local() }
            }
            Event::JoinTokenRevoked { .. } => Event::RunPaused { run: RUN, by: Principal::anonymous_local() },
            Event::RunPaused { .. } => Event::RunResumed { run: RUN, by: Principal::anonymous_local() },
            Event::RunResumed { .. } => {
                Event::RunPrioritySet { run: RUN, priority: 0, by: Principal::anonymous_local() }
            }
            // These are behind all the rest.
            Event::RunPrioritySet { .. }
            | Event::RunAbandoned { .. }
            | Event::StepDecided { .. }
            | Event::RestEnded { .. }
            | Event::ScopeWithdrawn { .. }
            | Event::ScopeRestored { .. }
            | Event::AttemptPreempted { .. }
            | Event::AttemptRebalanced { .. }
            | Event::RebalanceStarted { .. }
            | Event::RebalanceEnded { .. }
            | Event::ReservationMoved { .. } => return None,
        })
    });
    // Behind what was frozen before there were features, which keeps its places.
    let since_features = all.split_off(10);
    let (earlier, later): (Vec<_>, Vec<_>) = task_states().into_iter().partition(|state| !is_later(state));
    let moved = |state| Event::TaskMoved { task: task_id(), state };
    all.extend(earlier.into_iter().map(moved));
    all.extend(since_features);
    all.extend(later.into_iter().map(moved));
    all.extend(flow_events());
    all.extend(sub_run_events());
    all.extend(scope_events());
    all.extend(preemption_events());
    all.extend(share_events());
    all.extend(rebalance_events());
    all.extend(reservation_events());
    all.into_iter()
        .zip(0_u32..)
        .map(|(event, number)| EventRow {
            revision: Revision(10 + u64::from(number) / 2),
            sequence: number % 2,
            at: Millis(500),
            event,
        })
        .collect()
}

/// It came when others were frozen.
fn is_later(state: &TaskState) -> bool {
    matches!(state, TaskState::Waiting(Wait::Quarantine) | TaskState::Failed(FailReason::Queued | FailReason::Silent))
}

/// Every kind of change, in the order of loading.
pub(crate) fn changes() -> Vec<Change> {
    let first = Change::Meta(Meta {
        cluster: Uuid(5),
        incarnation: 1,
        revision: Revision(99),
        now: Millis(1_700_000_000_000),
        served: Served(60_000),
        term: 3,
        elapsed_ms: 12,
        events_from: Revision(2),
        restored_at: Revision(0),
        fenced_until: Served(0),
        segments_from: 0,
    });
    let kinds = walk(vec![first], |kind| {
        let next: Vec<Change> = match kind.first()? {
            Change::Meta(_) => vec![Change::Settings(Arc::new(Settings::default()))],
            Change::Settings(_) => {
                let row = |name: &str| Arc::new(NamespaceRow::new(name.parse().unwrap(), Millis(0)));
                ["a", "a-b", "ab", "default"].map(|name| Change::Namespace(row(name))).into()
            }
            Change::Namespace(_) => vec![Change::Cluster(Arc::new(Cluster {
                name: "eu-1".parse().unwrap(),
                region: "eu".parse().unwrap(),
                created_at: Millis(1),
            }))],
            Change::Cluster(_) => nodes().into_iter().map(|node| Change::Node(Arc::new(node))).collect(),
            Change::Node(_) => specs().into_iter().map(job).map(|job| Change::Job(Arc::new(job))).collect(),
            Change::Job(_) => {
                runs().iter().map(|run| Change::Spec(run.id, run.spec_digest, run.spec.clone())).collect()
            }
            Change::Spec(..) => runs().into_iter().map(|run| Change::Run(Arc::new(run))).collect(),
            Change::Run(_) => tasks().into_iter().map(|task| Change::Task(Arc::new(task))).collect(),
            Change::Task(_) => attempts().into_iter().map(|attempt| Change::Attempt(Arc::new(attempt))).collect(),
            Change::Attempt(_) => requests().into_iter().map(|row| Change::Request(Arc::new(row))).collect(),
            Change::Request(_) => vec![Change::RequestGone(requests()[0].key())],
            Change::RequestGone(_) => vec![Change::EventsBelow(Revision(9))],
            Change::EventsBelow(_) => vec![Change::Annotation(Arc::new(Annotation {
                run: RUN,
                key: "build.commit".parse().unwrap(),
                value: "4f1c".into(),
                at: Millis(140),
                principal: Principal::anonymous_local(),
            }))],
            Change::Annotation(_) => vec![Change::Feature(FeatureRow {
                feature: Feature::NodeCordon,
                revision: Revision(3),
                at: Millis(90),
            })],
            Change::Feature(_) => vec![Change::NodeGone("eu-1-d".parse().unwrap())],
            Change::NodeGone(_) => join_tokens().into_iter().map(|token| Change::JoinToken(Arc::new(token))).collect(),
            Change::JoinToken(_) => vec![Change::JoinTokenGone(JoinTokenId(7))],
            // Those of steps and of the archive are behind all the rest.
            Change::JoinTokenGone(_)
            | Change::Scope(_)
            | Change::ScopeGone(_)
            | Change::Step(_)
            | Change::Segment(_)
            | Change::SegmentGone(_)
            | Change::Archived(_)
            | Change::Leaving(..)
            | Change::TaskArchived(..)
            | Change::AttemptArchived(..)
            | Change::Left(_)
            | Change::Version(_)
            | Change::VersionGone(_)
            | Change::Claim(_)
            | Change::ClaimGone(_)
            | Change::Rebalance(_)
            | Change::Move(_)
            | Change::MoveGone(_)
            | Change::Reservation(_)
            | Change::ReservationGone(_) => return None,
        };
        Some(next)
    });
    let run = controlled_run();
    let gone = Job { name: "gone".parse().unwrap(), deleted: true, ..job(specs().remove(0)) };
    let of_control = [
        Change::Spec(run.id, run.spec_digest, run.spec.clone()),
        Change::Run(Arc::new(run)),
        Change::Job(Arc::new(gone)),
    ];
    let of_features = flow_changes().into_iter().chain(sub_run_changes()).chain(archive_changes());
    let of_features = of_features.chain(namespace_changes()).chain(scope_changes()).chain(gang_changes());
    let of_features = of_features.chain(preemption_changes());
    let of_features = of_features.chain(region_loss_changes()).chain(share_changes()).chain(rebalance_changes());
    let of_features = of_features.chain(alternatives_changes()).chain(reservation_changes());
    kinds.into_iter().flatten().chain(of_control).chain(of_features).collect()
}

fn job(spec: JobSpec) -> Job {
    Job {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        version: 2,
        spec_digest: spec_digest(&spec),
        spec: Arc::new(spec),
        latest_run: RUN,
        submitted_at: Millis(100),
        submitted_revision: Revision(4),
        deleted: false,
        latest_ended: None,
    }
}

/// A state that holds all of the above.
pub(crate) fn state() -> State {
    let mut state = State::default();
    for change in changes() {
        state.commit(&change);
    }
    state
}

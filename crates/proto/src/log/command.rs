//! Commands as persisted messages.

use std::sync::Arc;

use bytes::Bytes;
use quorate_state::{
    AttemptClaim, AttemptPhase, AttemptReport, Command, Digest, DrainTime, Epoch, GangPreempting, JobSpec, JoinTokenId,
    Moving, NodeName, Preempting, RebalanceOrder, Registration, Revision, RunId, RunResult, Scope, Served, SubRunStart,
    Timer, Token,
};

use super::places::{gang_room_from, gang_room_to, placement_from, placement_to};
use super::reservation::{due_from, due_to, reserve_from};
use super::v1 as pb;
use super::v1::item::Command as Wire;
use crate::convert::agent::{phase_from_wire, phase_to_wire};
use crate::convert::gpu::gpu_hold_to_wire;
use crate::convert::job::{labels_to_wire, resources_to_wire, spec_to_wire};
use crate::convert::namespace::{fairness_from_wire, fairness_to_wire, share_change_from_wire, share_change_to_wire};
use crate::convert::offer::offer_to_wire;
use crate::convert::payload::payloads_to_wire;
use crate::convert::preemption::preemption_to_wire;
use crate::convert::rebalance::{end_from_wire, end_to_wire, terms_to_wire};
use crate::convert::run::{exit_to_wire, outcome_to_wire, usage_to_wire};
use crate::format::FormatError;
use crate::format::parts::{
    admission_from, admission_to, attempt_id_from, attempt_id_to, choice_from, decided_from, decided_to, digest_from,
    digest_to, exit_from, feature_from, gpu_models_from, gpus_from, labels_from, numbered, offer_from, outcome_from,
    parsed, payloads_from, preemption_from, priority_from, rebalance_terms_from, required, resources_from,
    retention_from, retention_to, scope_from, scope_to, settings_from, settings_to, spec_from, task_id_from,
    task_id_to, terms_from, terms_to, usage_from, uuid_from, uuid_to,
};
use crate::v1;

pub(super) fn to(command: &Command) -> Wire {
    match command {
        Command::Bootstrap { cluster, incarnation, settings } => Wire::Bootstrap(pb::Bootstrap {
            cluster: uuid_to(*cluster),
            incarnation: *incarnation,
            settings: Some(settings_to(settings)),
        }),
        Command::CreateNamespace { namespace } => {
            Wire::CreateNamespace(pb::CreateNamespace { namespace: namespace.to_string() })
        }
        Command::SubmitJob { run, spec, spec_digest } => Wire::SubmitJob(submit_to(*run, spec, *spec_digest)),
        Command::SubmitJobAt { run, spec, spec_digest, version } => {
            let submit = Some(submit_to(*run, spec, *spec_digest));
            Wire::SubmitJobAt(pb::SubmitJobAt { submit, version: *version })
        }
        Command::SubmitFlow { run, spec, spec_digest, args, version } => Wire::SubmitFlow(pb::SubmitFlow {
            submit: Some(submit_to(*run, spec, *spec_digest)),
            args: args.to_string(),
            version: *version,
        }),
        Command::DeleteJob { namespace, job } => {
            Wire::DeleteJob(pb::DeleteJob { namespace: namespace.to_string(), job: job.to_string() })
        }
        Command::CancelRun { run } => Wire::CancelRun(pb::CancelRun { run: run.0 }),
        Command::CancelRuns { runs } => {
            Wire::CancelRuns(pb::CancelRuns { runs: runs.iter().map(|run| run.0).collect() })
        }
        Command::RestartRun { run, of, from } => Wire::RestartRun(pb::RestartRun {
            run: run.0,
            of: of.0,
            from: from.iter().map(ToString::to_string).collect(),
        }),
        Command::AbandonRun { run } => Wire::AbandonRun(pb::AbandonRun { run: run.0 }),
        Command::AnnotateRun { run, key, value } => {
            Wire::AnnotateRun(pb::AnnotateRun { run: run.0, key: key.to_string(), value: value.to_string() })
        }
        Command::ReleaseTask { task } => Wire::ReleaseTask(pb::ReleaseTask { task: Some(task_id_to(*task)) }),
        Command::PauseRun { run, reason } => Wire::PauseRun(pb::PauseRun { run: run.0, reason: reason.to_string() }),
        Command::ResumeRun { run } => Wire::ResumeRun(pb::ResumeRun { run: run.0 }),
        Command::SetRunPriority { run, priority } => {
            Wire::SetRunPriority(pb::SetRunPriority { run: run.0, priority: u32::from(*priority) })
        }
        Command::AdvanceStep { run, step, limit } => {
            Wire::AdvanceStep(pb::AdvanceStep { run: run.0, step: *step, limit: *limit })
        }
        Command::DecideStep { run, step, decided, elements } => Wire::DecideStep(pb::DecideStep {
            run: run.0,
            step: *step,
            decided: Some(decided_to(decided)),
            elements: *elements,
        }),
        Command::UndoNext { run, limit } => Wire::UndoNext(pb::UndoNext { run: run.0, limit: *limit }),
        Command::FinishRun { run } => Wire::FinishRun(pb::FinishRun { run: run.0 }),
        Command::CommitPlan { placements } => {
            Wire::CommitPlan(pb::CommitPlan { placements: placements.iter().map(placement_to).collect() })
        }
        Command::CommitGang { run, step, generation, placements } => Wire::CommitGang(pb::CommitGang {
            run: run.0,
            step: *step,
            generation: *generation,
            placements: placements.iter().map(placement_to).collect(),
        }),
        Command::CordonNode { node, cordoned } => {
            Wire::CordonNode(pb::CordonNode { node: node.to_string(), cordoned: *cordoned })
        }
        Command::DrainNode { node, wait_ms, reason } => {
            Wire::DrainNode(pb::DrainNode { node: node.to_string(), wait_ms: *wait_ms, reason: reason.to_string() })
        }
        Command::MaintainNode { node, wait_ms, for_ms, reason } => Wire::MaintainNode(pb::MaintainNode {
            node: node.to_string(),
            wait_ms: *wait_ms,
            for_ms: *for_ms,
            reason: reason.to_string(),
        }),
        Command::EndDrains { drains } => {
            let ending = |(node, ends): &(NodeName, Served)| pb::EndingDrain {
                node: node.to_string(),
                ends_at_served_ms: ends.0,
            };
            Wire::EndDrains(pb::EndDrains { drains: drains.iter().map(ending).collect() })
        }
        Command::EvictAttempts { attempts } => {
            let attempts = attempts.iter().map(|attempt| attempt_id_to(*attempt)).collect();
            Wire::EvictAttempts(pb::EvictAttempts { attempts })
        }
        Command::ForgetNode { node } => Wire::ForgetNode(pb::ForgetNode { node: node.to_string() }),
        Command::RegisterNode(registration) => Wire::RegisterNode(registration_to(registration)),
        Command::AdmitNode { registration, token } => Wire::AdmitNode(pb::AdmitNode {
            registration: Some(registration_to(registration)),
            token: digest_to(*token),
        }),
        Command::SetNodeAdmission { admission } => {
            Wire::SetNodeAdmission(pb::SetNodeAdmission { admission: admission_to(*admission).into() })
        }
        Command::CreateJoinToken { digest, ttl_ms, uses_max, terms } => Wire::CreateJoinToken(pb::CreateJoinToken {
            digest: digest_to(*digest),
            ttl_ms: *ttl_ms,
            uses_max: *uses_max,
            terms: Some(terms_to(terms)),
        }),
        Command::RevokeJoinToken { token } => Wire::RevokeJoinToken(pb::RevokeJoinToken { token: token.0 }),
        Command::ReportAttempts { node, epoch, reports } => Wire::ReportAttempts(pb::ReportAttempts {
            node: node.to_string(),
            epoch: epoch.0,
            reports: reports.iter().map(report_to).collect(),
        }),
        Command::ExpireLeases { leases } => Wire::ExpireLeases(pb::ExpireLeases {
            leases: leases.iter().map(|(node, epoch)| pb::Lease { node: node.to_string(), epoch: epoch.0 }).collect(),
        }),
        Command::FireTimers { timers } => {
            Wire::FireTimers(pb::FireTimers { timers: timers.iter().map(timer_to).collect() })
        }
        Command::TrimEvents { below } => Wire::TrimEvents(pb::TrimEvents { below: below.0 }),
        Command::EnableFeature { feature, term } => {
            Wire::EnableFeature(pb::EnableFeature { feature: feature.number(), term: *term })
        }
        Command::StartSubRun(start) => Wire::StartSubRun(pb::StartSubRun {
            task: Some(task_id_to(start.task)),
            generation: start.generation,
            run: start.run.0,
            version: start.version,
            args: start.args.to_string(),
        }),
        Command::FailSubRun { task, generation, flaw } => Wire::FailSubRun(pb::FailSubRun {
            task: Some(task_id_to(*task)),
            generation: *generation,
            flaw: flaw.to_string(),
        }),
        Command::ConcludeRun { run, result } => {
            Wire::ConcludeRun(pb::ConcludeRun { run: run.0, result: Some(result_to(result)) })
        }
        Command::ArchiveRuns { runs, rows_max } => {
            Wire::ArchiveRuns(pb::ArchiveRuns { runs: runs.iter().map(|run| run.0).collect(), rows_max: *rows_max })
        }
        Command::TrimArchive { below } => Wire::TrimArchive(pb::TrimArchive { below: *below }),
        Command::SetRetention { retention } => Wire::SetRetention(retention_to(*retention)),
        Command::SetNamespace { namespace, is_new, change } => Wire::SetNamespace(pb::SetNamespace {
            namespace: namespace.to_string(),
            is_new: *is_new,
            change: Some(share_change_to_wire(change)),
        }),
        Command::SetFairness { fairness } => Wire::SetFairness(fairness_to_wire(*fairness)),
        Command::SetPreemption { preemption } => Wire::SetPreemption(preemption_to_wire(*preemption)),
        Command::PreemptAttempts(asked) => Wire::PreemptAttempts(pb::PreemptAttempts {
            task: Some(task_id_to(asked.task)),
            generation: asked.generation,
            node: asked.node.to_string(),
            epoch: asked.epoch.0,
            victims: asked.victims.iter().copied().map(attempt_id_to).collect(),
            want: asked.choice.number(),
        }),
        Command::PreemptForGang(asked) => Wire::PreemptForGang(pb::PreemptForGang {
            run: asked.run.0,
            step: asked.step,
            generation: asked.generation,
            nodes: asked.nodes.iter().map(gang_room_to).collect(),
        }),
        Command::EndClaims { tasks } => {
            Wire::EndClaims(pb::EndClaims { tasks: tasks.iter().copied().map(task_id_to).collect() })
        }
        Command::SampleUse { namespaces } => {
            Wire::SampleUse(pb::SampleUse { namespaces: namespaces.iter().map(ToString::to_string).collect() })
        }
        Command::WithdrawScope { scope, drain, reason } => Wire::WithdrawScope(pb::WithdrawScope {
            scope: Some(scope_to(scope)),
            drain: drain.map(|time| pb::DrainTime { wait_ms: time.wait_ms, for_ms: time.for_ms }),
            reason: reason.to_string(),
        }),
        Command::RestoreScope { scope } => Wire::RestoreScope(scope_to(scope)),
        Command::EndScopeDrains { drains } => {
            let ending = |(scope, ends): &(Scope, Served)| pb::EndingScopeDrain {
                scope: Some(scope_to(scope)),
                ends_at_served_ms: ends.0,
            };
            Wire::EndScopeDrains(pb::EndScopeDrains { drains: drains.iter().map(ending).collect() })
        }
        Command::SetRebalance { order } => {
            let order = match order {
                RebalanceOrder::Start(terms) => pb::set_rebalance::Order::Start(terms_to_wire(*terms)),
                RebalanceOrder::Stop => pb::set_rebalance::Order::Stop(pb::set_rebalance::Stop {}),
            };
            Wire::SetRebalance(pb::SetRebalance { order: Some(order) })
        }
        Command::Reserve { reservation, namespace, nodes, wait_ms, for_ms } => Wire::Reserve(pb::Reserve {
            reservation: reservation.to_string(),
            namespace: namespace.to_string(),
            nodes: nodes.iter().map(ToString::to_string).collect(),
            wait_ms: *wait_ms,
            for_ms: *for_ms,
        }),
        Command::TurnReservations { due } => Wire::TurnReservations(due_to(due)),
        Command::EndReservation { reservation } => Wire::EndReservation(reservation.to_string()),
        Command::MoveAttempts { rebalance, moves, ends } => Wire::MoveAttempts(pb::MoveAttempts {
            rebalance: *rebalance,
            moves: moves.iter().map(moving_to).collect(),
            ends: ends.map_or(v1::RebalanceEnd::Unspecified, end_to_wire).into(),
        }),
    }
}

pub(super) fn from(command: Wire) -> Result<Command, FormatError> {
    Ok(match command {
        Wire::Bootstrap(bootstrap) => Command::Bootstrap {
            cluster: uuid_from("cluster", &bootstrap.cluster)?,
            incarnation: bootstrap.incarnation,
            settings: Box::new(settings_from(required("settings", bootstrap.settings)?)?),
        },
        Wire::CreateNamespace(create) => {
            Command::CreateNamespace { namespace: parsed("namespace", &create.namespace)? }
        }
        Wire::SubmitJob(submit) => {
            let (run, spec, spec_digest) = submit_from(submit)?;
            Command::SubmitJob { run, spec, spec_digest }
        }
        Wire::SubmitJobAt(at) => {
            let (run, spec, spec_digest) = submit_from(required("submit", at.submit)?)?;
            Command::SubmitJobAt { run, spec, spec_digest, version: at.version }
        }
        Wire::SubmitFlow(flow) => {
            let (run, spec, spec_digest) = submit_from(required("submit", flow.submit)?)?;
            Command::SubmitFlow { run, spec, spec_digest, args: flow.args.into(), version: flow.version }
        }
        Wire::DeleteJob(delete) => {
            Command::DeleteJob { namespace: parsed("namespace", &delete.namespace)?, job: parsed("job", &delete.job)? }
        }
        Wire::CancelRun(cancel) => Command::CancelRun { run: RunId(cancel.run) },
        Wire::CancelRuns(cancel) => Command::CancelRuns { runs: cancel.runs.into_iter().map(RunId).collect() },
        Wire::RestartRun(restart) => Command::RestartRun {
            run: RunId(restart.run),
            of: RunId(restart.of),
            from: all(restart.from, |name: String| parsed("from", &name))?,
        },
        Wire::AbandonRun(abandon) => Command::AbandonRun { run: RunId(abandon.run) },
        Wire::AnnotateRun(annotate) => Command::AnnotateRun {
            run: RunId(annotate.run),
            key: parsed("key", &annotate.key)?,
            value: annotate.value.into(),
        },
        Wire::ReleaseTask(release) => Command::ReleaseTask { task: task_id_from("task", release.task)? },
        Wire::PauseRun(pause) => Command::PauseRun { run: RunId(pause.run), reason: pause.reason.into() },
        Wire::ResumeRun(resume) => Command::ResumeRun { run: RunId(resume.run) },
        Wire::SetRunPriority(set) => {
            Command::SetRunPriority { run: RunId(set.run), priority: priority_from(set.priority)? }
        }
        Wire::AdvanceStep(advance) => {
            Command::AdvanceStep { run: RunId(advance.run), step: advance.step, limit: advance.limit }
        }
        Wire::DecideStep(decide) => Command::DecideStep {
            run: RunId(decide.run),
            step: decide.step,
            decided: decided_from("decided", required("decided", decide.decided)?)?,
            elements: decide.elements,
        },
        Wire::UndoNext(undo) => Command::UndoNext { run: RunId(undo.run), limit: undo.limit },
        Wire::FinishRun(finish) => Command::FinishRun { run: RunId(finish.run) },
        Wire::CommitPlan(plan) => Command::CommitPlan { placements: all(plan.placements, placement_from)? },
        Wire::CommitGang(gang) => Command::CommitGang {
            run: RunId(gang.run),
            step: gang.step,
            generation: gang.generation,
            placements: all(gang.placements, placement_from)?,
        },
        Wire::CordonNode(cordon) => {
            Command::CordonNode { node: parsed("node", &cordon.node)?, cordoned: cordon.cordoned }
        }
        Wire::DrainNode(drain) => Command::DrainNode {
            node: parsed("node", &drain.node)?,
            wait_ms: drain.wait_ms,
            reason: drain.reason.into(),
        },
        Wire::MaintainNode(maintain) => Command::MaintainNode {
            node: parsed("node", &maintain.node)?,
            wait_ms: maintain.wait_ms,
            for_ms: maintain.for_ms,
            reason: maintain.reason.into(),
        },
        Wire::EndDrains(end) => Command::EndDrains {
            drains: all(end.drains, |drain| {
                Ok((parsed("drains.node", &drain.node)?, Served(drain.ends_at_served_ms)))
            })?,
        },
        Wire::EvictAttempts(evict) => Command::EvictAttempts {
            attempts: all(evict.attempts, |attempt| attempt_id_from("attempts", Some(attempt)))?,
        },
        Wire::ForgetNode(forget) => Command::ForgetNode { node: parsed("node", &forget.node)? },
        Wire::RegisterNode(registration) => Command::RegisterNode(Box::new(registration_from(registration)?)),
        Wire::AdmitNode(admit) => Command::AdmitNode {
            registration: Box::new(registration_from(required("registration", admit.registration)?)?),
            token: digest_from("token", &admit.token)?,
        },
        Wire::SetNodeAdmission(set) => Command::SetNodeAdmission { admission: admission_from(set.admission)? },
        Wire::CreateJoinToken(create) => Command::CreateJoinToken {
            digest: digest_from("digest", &create.digest)?,
            ttl_ms: create.ttl_ms,
            uses_max: create.uses_max,
            terms: terms_from(create.terms)?,
        },
        Wire::RevokeJoinToken(revoke) => Command::RevokeJoinToken { token: JoinTokenId(revoke.token) },
        Wire::ReportAttempts(reports) => Command::ReportAttempts {
            node: parsed("node", &reports.node)?,
            epoch: Epoch(reports.epoch),
            reports: all(reports.reports, report_from)?,
        },
        Wire::ExpireLeases(expire) => Command::ExpireLeases { leases: all(expire.leases, lease_from)? },
        Wire::FireTimers(fire) => Command::FireTimers { timers: all(fire.timers, timer_from)? },
        Wire::TrimEvents(trim) => Command::TrimEvents { below: Revision(trim.below) },
        Wire::EnableFeature(enable) => {
            Command::EnableFeature { feature: feature_from(enable.feature)?, term: enable.term }
        }
        Wire::StartSubRun(start) => Command::StartSubRun(Box::new(SubRunStart {
            task: task_id_from("task", start.task)?,
            generation: start.generation,
            run: RunId(start.run),
            version: start.version,
            args: start.args.into(),
        })),
        Wire::FailSubRun(fail) => Command::FailSubRun {
            task: task_id_from("task", fail.task)?,
            generation: fail.generation,
            flaw: fail.flaw.into(),
        },
        Wire::ConcludeRun(conclude) => {
            Command::ConcludeRun { run: RunId(conclude.run), result: result_from(required("result", conclude.result)?) }
        }
        Wire::ArchiveRuns(archive) => {
            Command::ArchiveRuns { runs: archive.runs.into_iter().map(RunId).collect(), rows_max: archive.rows_max }
        }
        Wire::TrimArchive(trim) => Command::TrimArchive { below: trim.below },
        Wire::SetRetention(retention) => Command::SetRetention { retention: retention_from(retention) },
        Wire::SetNamespace(set) => Command::SetNamespace {
            namespace: parsed("namespace", &set.namespace)?,
            is_new: set.is_new,
            change: Box::new(
                share_change_from_wire(required("change", set.change)?)
                    .map_err(|flaws| FormatError::Field { field: "change", why: format!("{flaws:?}") })?,
            ),
        },
        Wire::SetFairness(fairness) => Command::SetFairness { fairness: fairness_from_wire(fairness) },
        Wire::SetPreemption(preemption) => Command::SetPreemption { preemption: preemption_from(preemption)? },
        Wire::PreemptAttempts(asked) => Command::PreemptAttempts(Preempting {
            task: task_id_from("task", asked.task)?,
            generation: asked.generation,
            node: parsed("node", &asked.node)?,
            epoch: Epoch(asked.epoch),
            choice: choice_from("want", asked.want)?,
            victims: all(asked.victims, |attempt| attempt_id_from("victims", Some(attempt)))?,
        }),
        Wire::PreemptForGang(asked) => Command::PreemptForGang(GangPreempting {
            run: RunId(asked.run),
            step: asked.step,
            generation: asked.generation,
            nodes: all(asked.nodes, gang_room_from)?,
        }),
        Wire::EndClaims(end) => Command::EndClaims { tasks: all(end.tasks, |task| task_id_from("tasks", Some(task)))? },
        Wire::SampleUse(sample) => {
            Command::SampleUse { namespaces: all(sample.namespaces, |namespace| parsed("namespace", &namespace))? }
        }
        Wire::WithdrawScope(withdraw) => Command::WithdrawScope {
            scope: scope_from(withdraw.scope)?,
            drain: withdraw.drain.map(|time| DrainTime { wait_ms: time.wait_ms, for_ms: time.for_ms }),
            reason: withdraw.reason.into(),
        },
        Wire::RestoreScope(scope) => Command::RestoreScope { scope: scope_from(Some(scope))? },
        Wire::EndScopeDrains(end) => Command::EndScopeDrains {
            drains: all(end.drains, |drain| Ok((scope_from(drain.scope)?, Served(drain.ends_at_served_ms))))?,
        },
        Wire::SetRebalance(set) => Command::SetRebalance {
            order: match required("order", set.order)? {
                pb::set_rebalance::Order::Start(terms) => RebalanceOrder::Start(rebalance_terms_from(Some(terms))?),
                pb::set_rebalance::Order::Stop(pb::set_rebalance::Stop {}) => RebalanceOrder::Stop,
            },
        },
        Wire::Reserve(reserve) => reserve_from(&reserve)?,
        Wire::TurnReservations(turn) => due_from(&turn)?,
        Wire::EndReservation(name) => Command::EndReservation { reservation: parsed("reservation", &name)? },
        Wire::MoveAttempts(step) => Command::MoveAttempts {
            rebalance: step.rebalance,
            moves: all(step.moves, moving_from)?,
            ends: end_from_wire(numbered("ends", step.ends)?),
        },
    })
}

fn moving_to(moving: &Moving) -> pb::Moving {
    let (attempt, to) = (Some(attempt_id_to(moving.attempt)), moving.to.to_string());
    pb::Moving { attempt, to, epoch: moving.epoch.0 }
}

fn moving_from(moving: pb::Moving) -> Result<Moving, FormatError> {
    let (attempt, to) = (attempt_id_from("moves.attempt", moving.attempt)?, parsed("moves.to", &moving.to)?);
    Ok(Moving { attempt, to, epoch: Epoch(moving.epoch) })
}

fn result_to(result: &RunResult) -> pb::conclude_run::Result {
    match result {
        RunResult::Value(value) => pb::conclude_run::Result::Value(Bytes::copy_from_slice(value)),
        RunResult::Flaw(flaw) => pb::conclude_run::Result::Flaw(flaw.to_string()),
    }
}

fn result_from(result: pb::conclude_run::Result) -> RunResult {
    match result {
        pb::conclude_run::Result::Value(value) => RunResult::Value(value.as_ref().into()),
        pb::conclude_run::Result::Flaw(flaw) => RunResult::Flaw(flaw.into()),
    }
}

fn all<W, T>(messages: Vec<W>, from: impl Fn(W) -> Result<T, FormatError>) -> Result<Vec<T>, FormatError> {
    messages.into_iter().map(from).collect()
}

fn submit_to(run: RunId, spec: &JobSpec, digest: Digest) -> pb::SubmitJob {
    pb::SubmitJob { run: run.0, spec_digest: digest_to(digest), spec: Some(spec_to_wire(spec)), spec_ref: None }
}

fn submit_from(submit: pb::SubmitJob) -> Result<(RunId, Arc<JobSpec>, Digest), FormatError> {
    let spec = Arc::new(spec_from(submit.spec)?);
    Ok((RunId(submit.run), spec, digest_from("spec_digest", &submit.spec_digest)?))
}

fn registration_to(registration: &Registration) -> pb::RegisterNode {
    pb::RegisterNode {
        node: registration.node.to_string(),
        uuid: uuid_to(registration.uuid),
        journal: uuid_to(registration.journal),
        boot_id: registration.boot_id.to_string(),
        machine_id: registration.machine_id.to_string(),
        region: registration.region.to_string(),
        cluster: registration.cluster.to_string(),
        capacity: Some(resources_to_wire(registration.capacity)),
        gpus: registration.gpus.iter().map(ToString::to_string).collect(),
        labels: labels_to_wire(&registration.labels),
        offer: offer_to_wire(&registration.offer),
        attempts: registration
            .attempts
            .iter()
            .map(|claim| pb::AttemptClaim {
                attempt: Some(attempt_id_to(claim.attempt)),
                token: claim.token.0,
                gpus: gpu_hold_to_wire(claim.gpus),
                want: claim.choice.number(),
            })
            .collect(),
        seen: registration.seen.0,
    }
}

fn registration_from(registration: pb::RegisterNode) -> Result<Registration, FormatError> {
    Ok(Registration {
        node: parsed("node", &registration.node)?,
        uuid: uuid_from("uuid", &registration.uuid)?,
        journal: uuid_from("journal", &registration.journal)?,
        boot_id: registration.boot_id.into(),
        machine_id: registration.machine_id.into(),
        region: parsed("region", &registration.region)?,
        cluster: parsed("cluster", &registration.cluster)?,
        capacity: resources_from("capacity", registration.capacity)?,
        gpus: gpu_models_from(&registration.gpus)?.into(),
        labels: labels_from(registration.labels)?,
        offer: offer_from(registration.offer)?,
        attempts: all(registration.attempts, |claim| {
            let attempt = attempt_id_from("attempts.attempt", claim.attempt)?;
            let gpus = gpus_from("attempts.gpus", claim.gpus)?;
            let choice = choice_from("attempts.want", claim.want)?;
            Ok(AttemptClaim { attempt, token: Token(claim.token), gpus, choice })
        })?,
        seen: Revision(registration.seen),
    })
}

fn report_to(report: &AttemptReport) -> pb::AttemptReport {
    pb::AttemptReport {
        attempt: Some(attempt_id_to(report.attempt)),
        token: report.token.0,
        phase: phase_to_wire(report.phase).into(),
        gone: report.gone,
        exit: report.exit.map(exit_to_wire),
        message: report.message.as_deref().map(ToOwned::to_owned),
        usage: Some(usage_to_wire(report.usage)),
        outputs: payloads_to_wire(report.payloads.as_deref()),
        stopped: report.stopped,
        outcome: report.outcome.as_deref().map(outcome_to_wire),
        silent: report.silent,
    }
}

fn report_from(report: pb::AttemptReport) -> Result<AttemptReport, FormatError> {
    let phase: Option<AttemptPhase> = phase_from_wire(numbered("report.phase", report.phase)?);
    Ok(AttemptReport {
        attempt: attempt_id_from("report.attempt", report.attempt)?,
        token: Token(report.token),
        phase: required("report.phase", phase)?,
        gone: report.gone,
        exit: exit_from(report.exit)?,
        message: report.message.map(Into::into),
        usage: usage_from(report.usage)?,
        stopped: report.stopped,
        outcome: outcome_from(report.outcome)?,
        silent: report.silent,
        payloads: payloads_from(report.outputs)?,
    })
}

fn lease_from(lease: pb::Lease) -> Result<(NodeName, Epoch), FormatError> {
    Ok((parsed("lease.node", &lease.node)?, Epoch(lease.epoch)))
}

fn timer_to(timer: &Timer) -> pb::Timer {
    use pb::timer::Timer as Kind;
    let (due, kind) = match timer {
        Timer::TaskWait { task, generation, due } => {
            (due, Kind::TaskWait(pb::TaskWait { task: Some(task_id_to(*task)), generation: *generation }))
        }
        Timer::RunTimeout { attempt, due } => (due, Kind::RunTimeout(attempt_id_to(*attempt))),
        Timer::UnknownTooLong { attempt, due } => (due, Kind::UnknownTooLong(attempt_id_to(*attempt))),
        Timer::QueueTimeout { task, due } => (due, Kind::QueueTimeout(task_id_to(*task))),
        Timer::RunDeadline { run, due } => (due, Kind::RunDeadline(run.0)),
        Timer::GangStart { run, step, generation, due } => {
            (due, Kind::GangStart(pb::GangStart { run: run.0, step: *step, generation: *generation }))
        }
    };
    pb::Timer { due: due.0, timer: Some(kind) }
}

fn timer_from(timer: pb::Timer) -> Result<Timer, FormatError> {
    use pb::timer::Timer as Kind;
    let due = Served(timer.due);
    Ok(match required("timer", timer.timer)? {
        Kind::TaskWait(wait) => {
            Timer::TaskWait { task: task_id_from("timer.task", wait.task)?, generation: wait.generation, due }
        }
        Kind::RunTimeout(attempt) => {
            Timer::RunTimeout { attempt: attempt_id_from("timer.attempt", Some(attempt))?, due }
        }
        Kind::QueueTimeout(task) => Timer::QueueTimeout { task: task_id_from("timer.task", Some(task))?, due },
        Kind::RunDeadline(run) => Timer::RunDeadline { run: RunId(run), due },
        Kind::GangStart(gang) => {
            Timer::GangStart { run: RunId(gang.run), step: gang.step, generation: gang.generation, due }
        }
        Kind::UnknownTooLong(attempt) => {
            Timer::UnknownTooLong { attempt: attempt_id_from("timer.attempt", Some(attempt))?, due }
        }
    })
}

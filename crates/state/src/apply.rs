//! The only function that changes the state: `apply` takes an entry's items in order, each whole or
//! not at all, and answers with the next state, the rows that changed, events and replies.
//!
//! It is total: whatever an entry says, the answer is a reply or a [`Rejection`]. It is the arbiter:
//! what a leader planned on a view is checked again here, on the state as it is now.

mod admission;
mod archive;
mod attempts;
mod control;
mod drain;
mod features;
mod flow;
mod forget;
mod gangs;
mod jobs;
mod namespaces;
mod nodes;
mod overlay;
mod placements;
mod preempt;
mod rebalance;
mod reservations;
mod restart;
mod restored;
mod runs;
mod scopes;
mod settle;
mod sub_runs;
mod timers;

use std::sync::Arc;

use quorate_planted::Bug;

use crate::{
    Change, Command, DrainTime, Entry, EventRow, Feature, GpuHold, Item, Meta, Rejection, Reply, RequestRow, Revision,
    Settings, Stamp, State,
};
use overlay::Overlay;

/// What an entry does.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The state after it.
    pub next: State,
    /// How it differs: the rows to write, in order.
    pub changes: Vec<Change>,
    /// What happened.
    pub events: Vec<EventRow>,
    /// One answer per item.
    pub replies: Vec<Result<Reply, Rejection>>,
}

/// Applies `entry`, which has `revision`, to `state`.
pub fn apply(state: &State, revision: Revision, entry: &Entry) -> Applied {
    let mut overlay = Overlay::new(state, revision, clock(&state.meta, revision, entry.stamp));
    forget_expired_requests(&mut overlay);
    let replies = (0_u32..).zip(&entry.items).map(|(number, item)| apply_item(&mut overlay, number, item)).collect();
    overlay.finish(replies)
}

/// The meta row after the stamp: both log clocks advance and never go back.
fn clock(meta: &Meta, revision: Revision, stamp: Stamp) -> Meta {
    let mut next = Meta { revision, now: meta.now.max(stamp.wall), ..meta.clone() };
    if stamp.term > meta.term {
        next.served = meta.served.plus(stamp.elapsed_ms);
        if quorate_planted::is(Bug::OutageCountsAsServed) && meta.term > 0 {
            next.served = meta.served.plus(stamp.elapsed_ms.max(stamp.wall.0.saturating_sub(meta.now.0)));
        }
        (next.term, next.elapsed_ms) = (stamp.term, stamp.elapsed_ms);
    } else if stamp.term == meta.term && stamp.elapsed_ms > meta.elapsed_ms {
        next.served = meta.served.plus(stamp.elapsed_ms - meta.elapsed_ms);
        next.elapsed_ms = stamp.elapsed_ms;
    }
    next
}

fn forget_expired_requests(overlay: &mut Overlay) {
    let most = overlay.state().settings().map_or(0, |settings| settings.request_expiries_max);
    let served = overlay.state().meta.served;
    let expired: Vec<_> = overlay.state().index.requests_expired(served).take(most as usize).cloned().collect();
    for key in expired {
        overlay.put(Change::RequestGone(key));
    }
}

fn is_of_earlier_term(state: &State, seen: &RequestRow) -> bool {
    quorate_planted::is(Bug::DedupeEndsWithTerm)
        && state.settings().is_some_and(|settings| {
            let began = state.meta.served.0.saturating_sub(state.meta.elapsed_ms);
            seen.expires_at.0 <= began.saturating_add(settings.request_window_ms)
        })
}

/// One item: recognised when it was seen before, else carried out whole or rolled back.
fn apply_item(overlay: &mut Overlay, number: u32, item: &Item) -> Result<Reply, Rejection> {
    let Some(request) = &item.request else { return overlay.atomically(|overlay| carry_out(overlay, number, item)) };
    let key = (request.namespace.clone(), item.principal.clone(), request.id.clone());
    let now = overlay.state().meta.served;
    let seen = overlay.state().request(&key).filter(|seen| seen.expires_at > now);
    if let Some(seen) = seen.filter(|seen| !is_of_earlier_term(overlay.state(), seen)) {
        if seen.digest == request.digest {
            return Ok(seen.reply.clone());
        }
        return Err(Rejection::RequestIdReused { id: request.id.0.to_string() });
    }
    overlay.atomically(|overlay| {
        let settings = overlay.settings()?;
        let is_full = overlay.state().requests.size() as u64 >= settings.requests_max;
        if is_full && !needs_memory(&item.command) {
            // A cancel must get through when submits do not.
            return carry_out(overlay, number, item);
        }
        if is_full {
            return Err(Rejection::LimitReached {
                limit: "requests_max",
                max: settings.requests_max,
                advice: "request ids are remembered for request_window_ms; try again later",
            });
        }
        let reply = carry_out(overlay, number, item)?;
        let expires_at = now.plus(settings.request_window_ms);
        overlay.put(Change::Request(Arc::new(RequestRow {
            namespace: request.namespace.clone(),
            principal: item.principal.clone(),
            id: request.id.clone(),
            digest: request.digest,
            reply: reply.clone(),
            expires_at,
        })));
        Ok(reply)
    })
}

/// True of a command that does harm when it is carried out twice: a second submit is a second run, a job that was deleted
/// may have been submitted again, an annotation, a pause, a priority, a cordon or a drain that comes late takes back what
/// was said since, a task that was released may be in its next quarantine, a forgotten name may be another node's by
/// then, a token may have been revoked, a rebalance may have ended, and a reservation may be another one by that name.
fn needs_memory(command: &Command) -> bool {
    match command {
        Command::SubmitJob { .. }
        | Command::SubmitJobAt { .. }
        | Command::SubmitFlow { .. }
        | Command::RestartRun { .. }
        | Command::DeleteJob { .. }
        | Command::AnnotateRun { .. }
        | Command::ReleaseTask { .. }
        | Command::PauseRun { .. }
        | Command::ResumeRun { .. }
        | Command::SetRunPriority { .. }
        | Command::CordonNode { .. }
        | Command::DrainNode { .. }
        | Command::MaintainNode { .. }
        | Command::ForgetNode { .. }
        | Command::SetNodeAdmission { .. }
        | Command::SetRetention { .. }
        | Command::SetNamespace { .. }
        | Command::SetFairness { .. }
        | Command::WithdrawScope { .. }
        | Command::RestoreScope { .. }
        | Command::SetPreemption { .. }
        | Command::SetRebalance { .. }
        | Command::Reserve { .. }
        | Command::EndReservation { .. }
        | Command::CreateJoinToken { .. } => true,
        Command::Bootstrap { .. }
        | Command::CreateNamespace { .. }
        | Command::SampleUse { .. }
        | Command::CancelRun { .. }
        | Command::CancelRuns { .. }
        | Command::AbandonRun { .. }
        | Command::DecideStep { .. }
        | Command::UndoNext { .. }
        | Command::AdvanceStep { .. }
        | Command::FinishRun { .. }
        | Command::CommitPlan { .. }
        | Command::CommitGang { .. }
        | Command::EvictAttempts { .. }
        | Command::EndDrains { .. }
        | Command::EndScopeDrains { .. }
        | Command::RegisterNode(_)
        | Command::AdmitNode { .. }
        | Command::RevokeJoinToken { .. }
        | Command::ReportAttempts { .. }
        | Command::ExpireLeases { .. }
        | Command::FireTimers { .. }
        | Command::TrimEvents { .. }
        | Command::StartSubRun(_)
        | Command::FailSubRun { .. }
        | Command::ConcludeRun { .. }
        | Command::PreemptAttempts(_)
        | Command::PreemptForGang(_)
        | Command::EndClaims { .. }
        | Command::MoveAttempts { .. }
        | Command::TurnReservations { .. }
        | Command::ArchiveRuns { .. }
        | Command::TrimArchive { .. }
        | Command::EnableFeature { .. } => false,
    }
}

fn carry_out(overlay: &mut Overlay, number: u32, item: &Item) -> Result<Reply, Rejection> {
    features::require(overlay, item.command.needs())?;
    match &item.command {
        Command::Bootstrap { cluster, incarnation, settings } => bootstrap(overlay, *cluster, *incarnation, settings),
        Command::CreateNamespace { namespace } => namespaces::create(overlay, namespace),
        Command::SetNamespace { namespace, is_new, change } => namespaces::set(overlay, namespace, *is_new, change),
        Command::SetFairness { fairness } => namespaces::set_fairness(overlay, *fairness),
        Command::SampleUse { namespaces } => namespaces::sample(overlay, namespaces),
        Command::SetPreemption { preemption } => preempt::set(overlay, *preemption),
        Command::PreemptAttempts(asked) => preempt::preempt(overlay, asked),
        Command::PreemptForGang(asked) => preempt::preempt_for_gang(overlay, asked),
        Command::EndClaims { tasks } => preempt::end_claims(overlay, tasks),
        Command::SetRebalance { order } => {
            // What it keeps for tasks on the move are claims.
            features::require(overlay, Some(Feature::Preemption))?;
            rebalance::set(overlay, &item.principal, order)
        }
        Command::MoveAttempts { rebalance, moves, ends } => {
            rebalance::move_attempts(overlay, &item.principal, *rebalance, moves, *ends)
        }
        Command::Reserve { reservation, namespace, nodes, wait_ms, for_ms } => {
            let wanted = reservations::Wanted { namespace, nodes, wait_ms: *wait_ms, for_ms: *for_ms };
            reservations::reserve(overlay, &item.principal, reservation, &wanted)
        }
        Command::TurnReservations { due } => reservations::turn(overlay, &item.principal, due),
        Command::EndReservation { reservation } => reservations::end(overlay, &item.principal, reservation),
        Command::SubmitJob { run, spec, spec_digest } => {
            // It may need several, and says the youngest.
            features::require_older(overlay, spec)?;
            let demands = spec.tasks.iter().any(|task| !task.place.labels.is_empty());
            features::require(overlay, demands.then_some(Feature::PlaceLabels))?;
            features::require(overlay, spec.knows_outcomes().then_some(Feature::TaskOutcomes))?;
            features::require(overlay, spec.is_flow().then_some(Feature::TaskFlow))?;
            jobs::submit(overlay, number, &item.principal, *run, spec, *spec_digest, &Arc::from(""))
        }
        Command::SubmitFlow { run, spec, spec_digest, args, version } => {
            features::require(overlay, Some(Feature::TaskFlow))?;
            flow::check_args(args)?;
            if let Some(version) = version {
                jobs::check_version(overlay, spec, *version)?;
            }
            // It may use what older features brought.
            features::require_older(overlay, spec)?;
            let demands = spec.tasks.iter().any(|task| !task.place.labels.is_empty());
            features::require(overlay, demands.then_some(Feature::PlaceLabels))?;
            features::require(overlay, spec.knows_outcomes().then_some(Feature::TaskOutcomes))?;
            jobs::submit(overlay, number, &item.principal, *run, spec, *spec_digest, args)
        }
        Command::SubmitJobAt { run, spec, spec_digest, version } => {
            features::require(overlay, Some(Feature::RunControl))?;
            jobs::check_version(overlay, spec, *version)?;
            // It may wait for a feature of its own.
            let command = Command::SubmitJob { run: *run, spec: spec.clone(), spec_digest: *spec_digest };
            carry_out(overlay, number, &Item { command, ..item.clone() })
        }
        Command::RestartRun { run, of, from } => {
            restart::restart(overlay, number, &item.principal, &restart::Restart { run: *run, of: *of, from })
        }
        Command::DeleteJob { namespace, job } => jobs::delete(overlay, namespace, job),
        Command::CancelRun { run } => runs::cancel(overlay, *run),
        Command::CancelRuns { runs } => runs::cancel_all(overlay, runs),
        Command::AnnotateRun { run, key, value } => runs::annotate(overlay, &item.principal, *run, key, value),
        Command::ReleaseTask { task } => runs::release(overlay, *task),
        Command::PauseRun { run, reason } => control::pause(overlay, &item.principal, *run, reason),
        Command::ResumeRun { run } => control::resume(overlay, &item.principal, *run),
        Command::SetRunPriority { run, priority } => control::set_priority(overlay, &item.principal, *run, *priority),
        Command::AbandonRun { run } => flow::abandon(overlay, *run),
        Command::DecideStep { run, step, decided, elements } => flow::decide(overlay, *run, *step, decided, *elements),
        Command::UndoNext { run, limit } => flow::undo_next(overlay, *run, *limit),
        Command::AdvanceStep { run, step, limit } => runs::advance_step(overlay, *run, *step, *limit),
        Command::FinishRun { run } => runs::finish(overlay, *run),
        Command::CommitPlan { placements } => placements::commit_plan(overlay, placements),
        Command::CommitGang { run, step, generation, placements } => {
            let gives = placements.iter().any(|placement| placement.gpus != GpuHold::NONE);
            features::require(overlay, gives.then_some(Feature::Gpus))?;
            gangs::commit(overlay, (*run, *step), *generation, placements)
        }
        Command::CordonNode { node, cordoned } => nodes::cordon(overlay, &item.principal, node, *cordoned),
        Command::DrainNode { node, wait_ms, reason } => {
            let time = DrainTime { wait_ms: *wait_ms, for_ms: None };
            drain::begin(overlay, &item.principal, node, time, reason)
        }
        Command::MaintainNode { node, wait_ms, for_ms, reason } => {
            features::require(overlay, Some(Feature::NodeDrain))?;
            let time = DrainTime { wait_ms: *wait_ms, for_ms: Some(*for_ms) };
            drain::begin(overlay, &item.principal, node, time, reason)
        }
        Command::EndDrains { drains } => drain::end(overlay, drains),
        Command::WithdrawScope { scope, drain, reason } => {
            features::require(overlay, Some(Feature::NodeDrain))?;
            scopes::withdraw(overlay, &item.principal, scope, *drain, reason)
        }
        Command::RestoreScope { scope } => scopes::restore(overlay, &item.principal, scope),
        Command::EndScopeDrains { drains } => scopes::end(overlay, &item.principal, drains),
        Command::EvictAttempts { attempts } => drain::evict(overlay, attempts),
        Command::ForgetNode { node } => forget::node(overlay, node),
        Command::RegisterNode(registration) => {
            features::require(overlay, (!registration.gpus.is_empty()).then_some(Feature::Gpus))?;
            admission::register(overlay, registration, None)
        }
        Command::AdmitNode { registration, token } => {
            features::require(overlay, (!registration.gpus.is_empty()).then_some(Feature::Gpus))?;
            admission::register(overlay, registration, Some(*token))
        }
        Command::SetNodeAdmission { admission } => admission::set(overlay, &item.principal, *admission),
        Command::CreateJoinToken { digest, ttl_ms, uses_max, terms } => {
            let wanted = admission::Wanted { digest: *digest, ttl_ms: *ttl_ms, uses_max: *uses_max, terms };
            admission::create(overlay, &item.principal, &wanted)
        }
        Command::RevokeJoinToken { token } => admission::revoke(overlay, &item.principal, *token),
        Command::ReportAttempts { node, epoch, reports } => attempts::report(overlay, node, *epoch, reports),
        Command::ExpireLeases { leases } => nodes::expire_leases(overlay, leases),
        Command::FireTimers { timers } => timers::fire(overlay, timers),
        Command::TrimEvents { below } => trim_events(overlay, *below),
        Command::EnableFeature { feature, term } => features::enable(overlay, *feature, *term),
        Command::StartSubRun(start) => sub_runs::start(overlay, number, start),
        Command::FailSubRun { task, generation, flaw } => sub_runs::fail(overlay, *task, *generation, flaw),
        Command::ConcludeRun { run, result } => runs::conclude(overlay, *run, result),
        Command::ArchiveRuns { runs, rows_max } => archive::archive(overlay, runs, *rows_max),
        Command::TrimArchive { below } => archive::trim(overlay, *below),
        Command::SetRetention { retention } => archive::set_retention(overlay, retention),
    }
}

fn bootstrap(
    overlay: &mut Overlay,
    cluster: crate::ClusterId,
    incarnation: u64,
    settings: &Settings,
) -> Result<Reply, Rejection> {
    if overlay.state().settings.is_some() {
        return Err(Rejection::AlreadyBootstrapped);
    }
    if !settings.lease.is_safe() {
        return Err(Rejection::Invalid(vec![crate::Violation {
            field: "settings.lease".into(),
            message: "server_ms (1 - rho) must be at least agent_ms (1 + rho) + kill_ms + margin_ms".into(),
        }]));
    }
    overlay.set_meta(|meta| {
        meta.cluster = cluster;
        meta.incarnation = incarnation;
    });
    overlay.put(Change::Settings(Arc::new(settings.clone())));
    Ok(Reply::Done)
}

fn trim_events(overlay: &mut Overlay, below: Revision) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if below > overlay.revision() {
        return Err(Rejection::Stale("event rows of the future cannot be forgotten"));
    }
    if below <= overlay.state().meta.events_from {
        return Ok(Reply::Counted(0));
    }
    overlay.set_meta(|meta| meta.events_from = below);
    overlay.put(Change::EventsBelow(below));
    Ok(Reply::Counted(1))
}

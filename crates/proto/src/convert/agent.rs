//! What agents say and are told.

use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptClaim, AttemptId, AttemptPhase, AttemptReport, Choice, GPU_MILLI, GPUS_PER_NODE_MAX, GpuModel,
    Offer, Registration, Resources, Revision, Run, RunId, State, TaskId, Token, Usage, Violation,
};

use super::Found;
use super::gpu::{gpu_hold_from_wire, gpu_hold_to_wire};
use super::job::{
    driver_to_wire, labels_from_wire, labels_to_wire, names, on_node_loss_to_wire, resources_from_wire,
    resources_to_wire,
};
use super::offer::{offer_from_wire, offer_to_wire};
use super::payload::{payloads_from_wire, payloads_to_wire};
use super::run::{
    elements, exit_from_wire, exit_to_wire, outcome_from_wire, outcome_to_wire, usage_from_wire, usage_to_wire,
};
use crate::v1;

/// The name of an attempt, as sent.
pub fn attempt_ref_to_wire(attempt: AttemptId) -> v1::AttemptRef {
    v1::AttemptRef {
        run_id: attempt.task.run.to_string(),
        step: attempt.task.step,
        index: attempt.task.index,
        number: attempt.number,
    }
}

/// The name of an attempt.
///
/// # Errors
/// The run id is none.
pub fn attempt_ref_from_wire(attempt: &v1::AttemptRef) -> Result<AttemptId, Vec<Violation>> {
    let mut found = Found::default();
    let id = attempt_id("attempt", Some(attempt), &mut found);
    found.finish(id)
}

/// A registration as the first message of a session; what only the session knows (the epoch held,
/// cluster, incarnation, revision) is left at zero for the agent to fill.
pub fn hello_to_wire(registration: &Registration) -> v1::Hello {
    v1::Hello {
        node: registration.node.to_string(),
        uuid: registration.uuid.to_string(),
        journal: registration.journal.to_string(),
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
            .map(|claim| v1::AttemptClaim {
                attempt: Some(attempt_ref_to_wire(claim.attempt)),
                token: claim.token.0,
                gpus: gpu_hold_to_wire(claim.gpus),
                want: claim.choice.number(),
            })
            .collect(),
        revision: registration.seen.0,
        ..v1::Hello::default()
    }
}

/// The registration in the first message of a session.
///
/// # Errors
/// Names and ids that are none, a label given twice.
pub fn hello_from_wire(hello: v1::Hello) -> Result<Registration, Vec<Violation>> {
    let mut found = Found::default();
    let node = found.parse(|| "node".into(), &hello.node);
    let uuid = found.parse(|| "uuid".into(), &hello.uuid);
    let journal = found.parse(|| "journal".into(), &hello.journal);
    let region = found.parse(|| "region".into(), &hello.region);
    let cluster = found.parse(|| "cluster".into(), &hello.cluster);
    let labels = labels_from_wire("labels", hello.labels, &mut found);
    let offer = offer_from_wire(hello.offer, &mut found);
    for violation in offer.iter().flat_map(Offer::violations) {
        found.add(format!("offer.{}", violation.field), violation.message);
    }
    let attempts: Vec<Option<AttemptClaim>> = hello
        .attempts
        .iter()
        .enumerate()
        .map(|(position, claim)| {
            let attempt = attempt_id(&format!("attempts[{position}]"), claim.attempt.as_ref(), &mut found)?;
            let Some(gpus) = gpu_hold_from_wire(claim.gpus) else {
                found.add(format!("attempts[{position}].gpus"), "holds nothing, or more than all of a GPU");
                return None;
            };
            let Some(choice) = Choice::of(claim.want) else {
                found.add(format!("attempts[{position}].want"), "is no alternative that a task can have");
                return None;
            };
            Some(AttemptClaim { attempt, token: Token(claim.token), gpus, choice })
        })
        .collect();
    if hello.gpus.len() > GPUS_PER_NODE_MAX {
        let count = hello.gpus.len();
        found.add("gpus", format!("{count} GPUs are over GPUS_PER_NODE_MAX ({GPUS_PER_NODE_MAX}): run two agents"));
    }
    let gpus: Option<Vec<GpuModel>> = names(&|position| format!("gpus[{position}]"), &hello.gpus, &mut found);
    let registration = (|| {
        Some(Registration {
            node: node?,
            uuid: uuid?,
            journal: journal?,
            boot_id: hello.boot_id.into(),
            machine_id: hello.machine_id.into(),
            region: region?,
            cluster: cluster?,
            capacity: Resources {
                gpu_milli: hello.gpus.len() as u64 * GPU_MILLI,
                ..hello.capacity.map_or(Resources::ZERO, resources_from_wire)
            },
            gpus: gpus?.into(),
            labels,
            offer: Arc::new(offer?),
            attempts: attempts.into_iter().collect::<Option<_>>()?,
            seen: Revision(hello.revision),
        })
    })();
    found.finish(registration)
}

/// A report as sent.
pub fn report_to_wire(report: &AttemptReport) -> v1::AttemptReport {
    v1::AttemptReport {
        attempt: Some(attempt_ref_to_wire(report.attempt)),
        token: report.token.0,
        phase: phase_to_wire(report.phase).into(),
        gone: report.gone,
        exit: report.exit.map(exit_to_wire),
        message: report.message.as_deref().unwrap_or_default().to_owned(),
        usage: Some(usage_to_wire(report.usage)),
        stopped: report.stopped,
        outcome: report.outcome.as_deref().map(outcome_to_wire),
        silent: report.silent,
        payloads: payloads_to_wire(report.payloads.as_deref()),
    }
}

/// A report; an empty message counts as none.
///
/// # Errors
/// The attempt's name is none, the phase is unspecified or of a later version, or what it says or leaves behind is nothing
/// of the kind.
pub fn report_from_wire(report: v1::AttemptReport) -> Result<AttemptReport, Vec<Violation>> {
    let mut found = Found::default();
    let attempt = attempt_id("attempt", report.attempt.as_ref(), &mut found);
    let phase = found.number(|| "phase".into(), report.phase).and_then(phase_from_wire);
    if phase.is_none() && report.phase == 0 {
        found.add("phase", "is missing");
    }
    let exit = match report.exit {
        Some(exit) => {
            let known = exit_from_wire(exit);
            if known.is_none() {
                found.add("exit", "is empty or of a kind that this version does not know");
            }
            known
        }
        None => None,
    };
    let outcome = report.outcome.map(outcome_from_wire).transpose();
    if let Err(why) = &outcome {
        found.add("outcome", why);
    }
    let payloads = payloads_from_wire(report.payloads);
    if let Err(why) = &payloads {
        found.add("payloads", why);
    }
    let report = (|| {
        Some(AttemptReport {
            attempt: attempt?,
            token: Token(report.token),
            phase: phase?,
            gone: report.gone,
            exit,
            message: (!report.message.is_empty()).then(|| report.message.into()),
            usage: report.usage.map_or_else(Usage::default, usage_from_wire),
            stopped: report.stopped,
            outcome: outcome.ok()?.map(Arc::new),
            silent: report.silent,
            payloads: payloads.ok()?.kept(),
        })
    })();
    found.finish(report)
}

/// What an agent can see of an attempt, as sent.
pub fn phase_to_wire(phase: AttemptPhase) -> v1::AttemptPhase {
    match phase {
        AttemptPhase::Starting => v1::AttemptPhase::Starting,
        AttemptPhase::Running => v1::AttemptPhase::Running,
        AttemptPhase::Stopping => v1::AttemptPhase::Stopping,
        AttemptPhase::Ended => v1::AttemptPhase::Ended,
        AttemptPhase::Lost => v1::AttemptPhase::Lost,
    }
}

/// What an agent can see of an attempt; none when unspecified.
pub fn phase_from_wire(phase: v1::AttemptPhase) -> Option<AttemptPhase> {
    match phase {
        v1::AttemptPhase::Unspecified => None,
        v1::AttemptPhase::Starting => Some(AttemptPhase::Starting),
        v1::AttemptPhase::Running => Some(AttemptPhase::Running),
        v1::AttemptPhase::Stopping => Some(AttemptPhase::Stopping),
        v1::AttemptPhase::Ended => Some(AttemptPhase::Ended),
        v1::AttemptPhase::Lost => Some(AttemptPhase::Lost),
    }
}

/// What the agent needs to know to run an attempt; none when the run has no such step. References in the command of a
/// templated task stand as they are written: whoever sends it puts in what they point to, or says in `flaw` why not.
pub fn assignment_to_wire(attempt: &Attempt, run: &Run, view: &State) -> Option<v1::Assignment> {
    let task = run.spec.tasks.get(usize::try_from(attempt.id.task.step).ok()?)?;
    Some(v1::Assignment {
        attempt: Some(attempt_ref_to_wire(attempt.id)),
        token: attempt.token.0,
        namespace: run.spec.namespace.to_string(),
        job: run.spec.name.to_string(),
        task: task.name.to_string(),
        driver: driver_to_wire(task.driver).into(),
        argv: task.argv.clone(),
        env: labels_to_wire(&task.env),
        resources: Some(resources_to_wire(attempt.resources)),
        gpus: gpu_hold_to_wire(attempt.gpus),
        on_node_loss: on_node_loss_to_wire(task.on_node_loss).into(),
        stop: attempt.stop.is_some(),
        count: elements(run, attempt.id.task.step, view),
        silent_timeout_ms: task.silent_timeout_ms,
        flaw: None,
        // What is to end is told nothing of others.
        want: task.has_choice().then(|| attempt.choice.number()),
        gang: task.gang.as_ref().filter(|_| attempt.stop.is_none()).map(|_| peers(attempt.id, view)),
    })
}

/// Where all members of the gang of an attempt are, in its generation.
fn peers(attempt: AttemptId, view: &State) -> v1::Peers {
    let tasks = view.tasks_of_step(attempt.task.run, attempt.task.step);
    let ids = tasks.map(|task| AttemptId { task: task.id, ..attempt });
    v1::Peers { nodes: ids.filter_map(|id| Some(view.attempt(id)?.node.to_string())).collect() }
}

fn attempt_id(field: &str, attempt: Option<&v1::AttemptRef>, found: &mut Found) -> Option<AttemptId> {
    let Some(attempt) = attempt else {
        found.add(field, "is missing");
        return None;
    };
    let run: RunId = found.parse(|| format!("{field}.run_id"), &attempt.run_id)?;
    Some(AttemptId { task: TaskId { run, step: attempt.step, index: attempt.index }, number: attempt.number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn an_attempt_keeps_its_name_over_the_wire() {
        for id in samples::attempt_ids() {
            assert_eq!(attempt_ref_from_wire(&attempt_ref_to_wire(id)), Ok(id));
        }
    }

    #[test]
    fn a_registration_survives_the_wire() {
        let registration = samples::registration();
        assert_eq!(hello_from_wire(hello_to_wire(&registration)), Ok(registration));
    }

    #[test]
    fn reports_survive_the_wire_in_every_phase() {
        for report in samples::reports() {
            assert_eq!(report_from_wire(report_to_wire(&report)), Ok(report));
        }
    }

    #[test]
    fn a_hello_with_bad_names_is_refused_with_all_of_them() {
        let mut hello = hello_to_wire(&samples::registration());
        hello.node = String::new();
        hello.uuid = "xyz".into();
        hello.attempts[0].attempt = None;
        let fields: Vec<String> = hello_from_wire(hello).unwrap_err().into_iter().map(|found| found.field).collect();
        assert_eq!(fields, ["node", "uuid", "attempts[0]"]);
    }

    #[test]
    fn a_report_without_phase_or_attempt_is_refused() {
        let mut report = report_to_wire(&samples::reports()[0]);
        report.phase = 0;
        report.attempt = None;
        report.exit = Some(v1::Exit { exit: None });
        report.outcome = Some(v1::Outcome { outcome: Some(v1::outcome::Outcome::Error("no name".into())) });
        report.payloads = vec![v1::PayloadRef::default()];
        let fields: Vec<String> = report_from_wire(report).unwrap_err().into_iter().map(|found| found.field).collect();
        assert_eq!(fields, ["attempt", "phase", "exit", "outcome", "payloads"]);
    }

    #[test]
    fn an_assignment_carries_the_step_and_the_wish_to_stop() {
        let run = samples::runs().remove(0);
        for attempt in samples::attempts() {
            let assignment = assignment_to_wire(&attempt, &run, &samples::state());
            match run.spec.tasks.get(attempt.id.task.step as usize) {
                Some(task) => {
                    let assignment = assignment.unwrap();
                    assert_eq!(assignment.argv, task.argv);
                    assert_eq!(assignment.stop, attempt.stop.is_some());
                    assert_eq!(assignment.token, attempt.token.0);
                }
                None => assert_eq!(assignment, None),
            }
        }
    }
}

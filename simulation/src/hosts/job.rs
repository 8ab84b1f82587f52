//! A job as a client sends it.

use std::time::Duration;

use quorate_proto::v1;

use crate::executor::{Behaviour, UNLUCKY, with_words};
use crate::scenario::rivals::rival_of;
use crate::scenario::{
    Condition, FLOW_PARAM, Fan, GangPlan, GpuPart, JobPlan, POOL, Part, Promise, RegionLoss, Says, SubPlan, TAINT,
    TaskPlan, Together,
};

/// The namespace that every cluster has.
pub(super) const NAMESPACE: &str = "default";

/// That of a job.
pub(super) fn namespace(job: &str) -> &str {
    rival_of(job).unwrap_or(NAMESPACE)
}

/// A request for a job of one task that nobody may run.
pub(crate) fn a_job(name: &str) -> v1::SubmitJobRequest {
    let job = JobPlan {
        edition: 0,
        result: vec![],
        name: name.into(),
        priority: 50,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        tasks: vec![TaskPlan::one()],
    };
    v1::SubmitJobRequest { spec: Some(spec(&job)), request_id: name.into() }
}

/// See the module.
pub(crate) fn spec(job: &JobPlan) -> v1::JobSpec {
    let on_failure = if job.cancel_on_failure { v1::OnFailure::Cancel } else { v1::OnFailure::Finish };
    v1::JobSpec {
        namespace: namespace(&job.name).into(),
        name: job.name.clone(),
        priority: job.priority.into(),
        labels: vec![],
        on_failure: on_failure.into(),
        timeout_ms: job.timeout_ms,
        tasks: job.tasks.iter().map(task).collect(),
        params: job.args.iter().map(|_| param()).collect(),
        result: values(&job.result),
    }
}

fn values(values: &[(String, String)]) -> Vec<v1::Value> {
    values.iter().map(|(name, json)| v1::Value { name: name.clone(), json: json.clone() }).collect()
}

/// What runs of jobs with a flow can be told.
fn param() -> v1::Param {
    v1::Param {
        name: FLOW_PARAM.into(),
        r#type: "integer".into(),
        default: Some("3".into()),
        description: "a number".into(),
    }
}

fn role(part: &Part) -> Option<v1::Role> {
    let role = match part {
        Part::Work => return None,
        Part::Fallback { of } => v1::role::Role::Fallback(v1::Fallback { of: of.clone() }),
        Part::Undo { of } => v1::role::Role::Undo(v1::Undo { of: of.clone() }),
        Part::Finally => v1::role::Role::Finally(v1::Finally {}),
    };
    Some(v1::Role { role: Some(role) })
}

fn each(fan: &Fan) -> v1::Each {
    let each = match fan {
        Fan::Range { from } => v1::each::Each::Range(v1::EachRange { from: *from }),
        Fan::Result(reference) => v1::each::Each::Result(reference.clone()),
    };
    v1::Each { each: Some(each) }
}

fn gang(plan: &GangPlan) -> v1::Gang {
    use v1::gang::Within;
    let within = plan.within.map(|together| match together {
        Together::Cluster => Within::Cluster(v1::WithinCluster {}),
        Together::Region => Within::Region(v1::WithinRegion {}),
        Together::Pool => Within::Label(POOL.into()),
    });
    v1::Gang { within, start_ms: plan.start_ms }
}

fn region_loss(policy: &RegionLoss) -> v1::OnRegionLoss {
    let policy = match policy {
        RegionLoss::Stay => v1::on_region_loss::Policy::Stay(v1::StayInRegion {}),
        RegionLoss::Move { after_ms, spill } => {
            v1::on_region_loss::Policy::Move(v1::MoveAfter { after_ms: *after_ms, spill: spill.clone() })
        }
    };
    v1::OnRegionLoss { policy: Some(policy) }
}

fn task(plan: &TaskPlan) -> v1::TaskSpec {
    let promise = match plan.promise {
        Promise::AtLeastOnce => v1::OnNodeLoss::AtLeastOnce,
        Promise::Fenced => v1::OnNodeLoss::Fenced,
        Promise::AtMostOnce => v1::OnNodeLoss::AtMostOnce,
    };
    let behaviour = Behaviour {
        runs: Duration::from_millis(plan.runs_ms),
        fails: plan.fails,
        by_run: plan.by_run,
        stubborn: plan.stubborn,
        poison: plan.poison,
        says: plan.says,
        speech: plan.speech,
        failing: plan.flow.failing,
    };
    let words = plan.flow.words.as_deref().map(with_words);
    let is_last = plan.says == Some(Says::Error { never: true });
    let retry = v1::Retry {
        attempts: plan.attempts,
        first_ms: plan.backoff_ms,
        factor_milli: 2_000,
        cap_ms: 4 * plan.backoff_ms,
        jitter_milli: 200,
        never: vec![],
        never_errors: is_last.then(|| UNLUCKY.to_owned()).into_iter().collect(),
    };
    let of_flow = v1::TaskSpec {
        name: plan.name.clone(),
        driver: v1::Driver::Process.into(),
        needs: plan.needs.clone(),
        count: plan.count,
        retry: Some(retry),
        run_timeout_ms: plan.timeout_ms,
        role: role(&plan.flow.part),
        when: plan.flow.when.clone(),
        each: plan.flow.fan.as_ref().map(each),
        on_region_loss: plan.region_loss.as_ref().map(region_loss),
        accept_failed: plan.flow.accept_failed,
        gang: plan.gang.as_ref().map(gang),
        ..v1::TaskSpec::default()
    };
    if let Some(SubPlan { job, version, args }) = &plan.sub {
        let sub_run = v1::SubRun { job: job.clone(), version: *version, args: values(args) };
        // What a process is told would be refused.
        return v1::TaskSpec {
            resources: Some(v1::Resources::default()),
            place: Some(v1::Place { spread: v1::Spread::Pack.into(), ..v1::Place::default() }),
            on_node_loss: v1::OnNodeLoss::AtLeastOnce.into(),
            sub_run: Some(sub_run),
            ..of_flow
        };
    }
    let amounts = |cpu_milli, memory_bytes, gpu: &GpuPart| v1::Alternative {
        resources: Some(v1::Resources { cpu_milli, memory_bytes, gpu_milli: gpu.milli }),
        gpu_models: gpu.models.clone(),
    };
    let best = amounts(plan.cpu_milli, plan.memory_bytes, &plan.gpu);
    let others = plan.others.iter().map(|other| amounts(other.cpu_milli, other.memory_bytes, &other.gpu));
    v1::TaskSpec {
        templated: words.is_some(),
        argv: behaviour.to_argv().into_iter().chain(words).collect(),
        resources: plan.others.is_empty().then_some(best.resources).flatten(),
        gpu_models: if plan.others.is_empty() { best.gpu_models.clone() } else { vec![] },
        want: if plan.others.is_empty() { vec![] } else { std::iter::once(best).chain(others).collect() },
        queued_timeout_ms: plan.queued_ms,
        silent_timeout_ms: plan.speech.map(|speech| speech.silent_ms),
        place: Some(v1::Place {
            regions: plan.regions.clone(),
            clusters: plan.clusters.clone(),
            labels: plan.pool.iter().map(|pool| v1::Label { key: POOL.into(), value: pool.clone() }).collect(),
            spread: v1::Spread::Pack.into(),
            pools: plan.demands.pools.clone(),
            tolerate: plan
                .demands
                .tolerate
                .iter()
                .map(|value| v1::Label { key: TAINT.into(), value: value.clone() })
                .collect(),
            prefer: plan.demands.prefer.iter().map(preference).collect(),
            cheap: plan.demands.cheap,
            r#where: plan.condition.as_ref().map(Condition::text).unwrap_or_default(),
            group: plan.company.group.clone().unwrap_or_default(),
            at_most: plan
                .company
                .at_most
                .iter()
                .map(|(per, tasks)| v1::AtMost { per: per.word().into(), tasks: *tasks })
                .collect(),
            apart: plan
                .company
                .apart
                .iter()
                .map(|(from, per)| v1::Apart { from: from.clone(), per: per.word().into() })
                .collect(),
            balance: plan
                .company
                .balance
                .iter()
                .map(|per| v1::Balance { per: per.word().into(), targets: vec![] })
                .collect(),
            ..v1::Place::default()
        }),
        on_node_loss: promise.into(),
        ..of_flow
    }
}

fn preference((pool, weight): &(String, i32)) -> v1::Preference {
    v1::Preference { r#trait: Some(v1::preference::Trait::Pool(pool.clone())), weight: *weight }
}

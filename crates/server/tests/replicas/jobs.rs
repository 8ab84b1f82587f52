//! Jobs as the tests submit them, and their runs as they ask for them.

use quorate_proto::v1;

/// A job whose tasks run one after the other.
pub(crate) fn chain(name: &str, tasks: &[&str]) -> v1::JobSpec {
    let needs = std::iter::once(vec![]).chain(tasks.iter().map(|task| vec![(*task).to_owned()]));
    let tasks = tasks.iter().zip(needs).map(|(name, needs)| v1::TaskSpec { needs, ..task(name) });
    v1::JobSpec {
        namespace: "default".into(),
        name: name.into(),
        priority: 50,
        labels: vec![],
        on_failure: v1::OnFailure::Finish.into(),
        timeout_ms: None,
        params: vec![],
        result: vec![],
        tasks: tasks.collect(),
    }
}

/// A task that needs little.
pub(crate) fn task(name: &str) -> v1::TaskSpec {
    v1::TaskSpec {
        gpu_models: vec![],
        want: vec![],
        name: name.into(),
        driver: v1::Driver::Noop.into(),
        argv: vec![],
        env: vec![],
        needs: vec![],
        count: 1,
        resources: Some(v1::Resources { cpu_milli: 100, memory_bytes: 1 << 20, gpu_milli: 0 }),
        retry: Some(v1::Retry {
            attempts: 1,
            first_ms: 1_000,
            factor_milli: 2_000,
            cap_ms: 10_000,
            jitter_milli: 0,
            never: vec![],
            never_errors: vec![],
        }),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Some(v1::Place { spread: v1::Spread::Pack.into(), ..v1::Place::default() }),
        on_node_loss: v1::OnNodeLoss::AtLeastOnce.into(),
        role: None,
        templated: false,
        when: None,
        each: None,
        on_region_loss: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: None,
    }
}

/// A submit under a request id of its own.
pub(crate) fn submit(spec: v1::JobSpec, request_id: &str) -> v1::SubmitJobRequest {
    v1::SubmitJobRequest { spec: Some(spec), request_id: request_id.into() }
}

/// Names a run by its id.
pub(crate) fn run(id: &str) -> Option<v1::RunRef> {
    Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(id.into())) })
}

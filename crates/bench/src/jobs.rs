//! The jobs that measurements submit: one kind of task, which asks for little and is tried once.

use quorate_proto::v1;

/// One task of such a job.
pub(crate) struct Work {
    /// Name of the job.
    pub(crate) job: String,
    /// What a task does.
    pub(crate) driver: v1::Driver,
    /// What it runs, when it runs anything.
    pub(crate) argv: Vec<String>,
    /// How many there are.
    pub(crate) count: u32,
    /// What each takes.
    pub(crate) resources: v1::Resources,
}

/// The job as it is submitted.
pub(crate) fn job(work: Work) -> v1::JobSpec {
    let Work { job, driver, argv, count, resources } = work;
    job_of(job, vec![task("task".to_owned(), driver, argv, count, resources)])
}

/// A job of these tasks.
pub(crate) fn job_of(name: String, tasks: Vec<v1::TaskSpec>) -> v1::JobSpec {
    v1::JobSpec {
        namespace: "default".to_owned(),
        name,
        priority: 50,
        on_failure: v1::OnFailure::Finish.into(),
        tasks,
        ..v1::JobSpec::default()
    }
}

/// A task of a job.
pub(crate) fn task(
    name: String,
    driver: v1::Driver,
    argv: Vec<String>,
    count: u32,
    resources: v1::Resources,
) -> v1::TaskSpec {
    v1::TaskSpec {
        name,
        driver: driver.into(),
        argv,
        count,
        resources: Some(resources),
        retry: Some(v1::Retry {
            attempts: 1,
            first_ms: 1000,
            factor_milli: 2000,
            cap_ms: 100_000,
            jitter_milli: 200,
            never: Vec::new(),
            never_errors: Vec::new(),
        }),
        place: Some(v1::Place { spread: v1::Spread::Node.into(), ..v1::Place::default() }),
        on_node_loss: v1::OnNodeLoss::AtLeastOnce.into(),
        ..v1::TaskSpec::default()
    }
}

/// The reference to a run by its whole id.
pub(crate) fn run_by_id(run: &str) -> Option<v1::RunRef> {
    Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(run.to_owned())) })
}

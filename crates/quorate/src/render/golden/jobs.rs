//! Versions of jobs.

use quorate_proto::v1;

use super::check;
use crate::render::version::{JobDeleted, JobDiff, JobHistory};

#[test]
fn job_versions() {
    let job = v1::JobRef { namespace: "acme".into(), name: "claims-nightly".into() };
    let version = v1::JobVersion {
        version: 3,
        submitted_at_ms: 1_700_000_000_000,
        principal: "anonymous-local".into(),
        first_run_id: "0123456789abc".into(),
        runs: 12,
        task_count: 7,
        spec_digest: "9f86d081884c7d659a2feaa0c55ad015".into(),
    };
    let mut history = JobHistory::of(&job);
    let page = v1::ListJobVersionsResponse {
        versions: vec![version],
        next_page_token: "33".into(),
        revision: 57,
        deleted: true,
    };
    assert_eq!(history.take(page), "33");
    check("job_history", &history);
    let (namespace, job) = (job.namespace, job.name);
    let changes = vec!["+ task.split".into(), "~ priority: 50 -> 60".into()];
    check(
        "job_diff",
        &JobDiff { namespace: namespace.clone(), job: job.clone(), from: 2, to: 3, changes, revision: 57 },
    );
    check("job_deleted", &JobDeleted { namespace, job });
}

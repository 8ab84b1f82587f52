//! What requests answer, on one replica.

use quorate_client::Error;
use quorate_proto::ApiError;
use quorate_proto::v1;

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit, task};

fn api_error<T: std::fmt::Debug>(answer: Result<T, Error>) -> ApiError {
    match answer.expect_err("the request must be refused") {
        Error::Api(error) => error,
        other => panic!("refused by the client itself: {other}"),
    }
}

#[tokio::test]
async fn a_submitted_job_is_found_under_all_its_names() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let submitted = client.submit_job(submit(chain("claims", &["split", "merge"]), "a")).await.unwrap();
    assert_eq!(submitted.version, 1);
    let job = v1::JobRef { namespace: "default".into(), name: "claims".into() };
    for reference in [
        run(&submitted.run_id),
        run(&submitted.run_id[..4]),
        Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::Job(job)) }),
    ] {
        let got = client.get_run(v1::GetRunRequest { run: reference }).await.unwrap();
        assert_eq!(got.run.unwrap().id, submitted.run_id);
        let steps: Vec<_> = got.steps.iter().map(|step| (&*step.task, step.needs.len())).collect();
        assert_eq!(steps, [("split", 0), ("merge", 1)]);
    }
    let short = api_error(client.get_run(v1::GetRunRequest { run: run("abc") }).await);
    assert!(matches!(&short, ApiError::Invalid(violations) if violations[0].field == "run.run_id"), "{short:?}");
}

#[tokio::test]
async fn bad_input_is_refused_whole_and_changes_nothing() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut cycle = chain("cycle", &["a", "b"]);
    cycle.tasks[0].needs = vec!["b".into()];
    let mut absent = chain("absent", &["a"]);
    absent.tasks[0].needs = vec!["nobody".into()];
    let mut many = chain("many", &["a"]);
    many.tasks[0].count = u32::MAX;
    let mut elsewhere = chain("elsewhere", &["a"]);
    elsewhere.namespace = "nowhere".into();
    for spec in [cycle, absent, many, elsewhere] {
        let name = spec.name.clone();
        let error = api_error(client.submit_job(submit(spec, &name)).await);
        assert!(matches!(error, ApiError::Invalid(_) | ApiError::NotFound { .. }), "{name}: {error:?}");
    }
    let runs = client.list_runs(v1::ListRunsRequest::default()).await.unwrap();
    assert_eq!(runs.runs, []);
}

#[tokio::test]
async fn lists_are_paged_and_tokens_belong_to_their_list() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut submitted = Vec::new();
    for at in 0..5 {
        submitted.push(client.submit_job(submit(chain(&format!("job-{at}"), &["a"]), "")).await.unwrap().run_id);
    }
    submitted.reverse();
    let mut request = v1::ListRunsRequest { page_size: 2, ..Default::default() };
    let mut listed = Vec::new();
    loop {
        let page = client.list_runs(request.clone()).await.unwrap();
        assert!(page.runs.len() <= 2);
        listed.extend(page.runs.into_iter().map(|run| run.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, submitted, "the newest first, each once");

    let other = v1::ListJobsRequest { page_token: request.page_token, ..Default::default() };
    assert!(matches!(api_error(client.list_jobs(other).await), ApiError::Invalid(_)));
    let huge = v1::ListRunsRequest { page_size: 1_000_000, ..Default::default() };
    let error = api_error(client.list_runs(huge).await);
    assert!(error.to_string().contains("PAGE_SIZE_MAX"), "{error}");
}

#[tokio::test]
async fn lists_show_what_is_asked_for_and_nothing_else() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let label = |key: &str, value: &str| v1::Label { key: key.into(), value: value.into() };
    let mut runs = Vec::new();
    for (name, labels) in [
        ("risk-1", vec![label("team", "risk"), label("tier", "1")]),
        ("risk-2", vec![label("team", "risk")]),
        ("sales", vec![label("team", "sales")]),
    ] {
        let spec = v1::JobSpec { labels, ..chain(name, &["a"]) };
        let submitted = client.submit_job(submit(spec, "")).await.unwrap();
        let run = client.get_run(v1::GetRunRequest { run: run(&submitted.run_id) }).await.unwrap().run.unwrap();
        runs.push(run);
        // The next one is submitted at another instant.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    client.cancel_run(v1::CancelRunRequest { run: run(&runs[2].id), ..Default::default() }).await.unwrap();
    eventually("the run is cancelled", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(&runs[2].id) }).await.unwrap();
        (got.run?.state() == v1::RunState::Cancelled).then_some(())
    })
    .await;
    assert_eq!(runs[0].labels, [label("team", "risk"), label("tier", "1")]);

    let cancelled = vec![v1::RunState::Cancelled.into()];
    let [_, second, third] = [0, 1, 2].map(|at: usize| Some(runs[at].submitted_at_ms));
    let asked = |labels: Vec<v1::Label>, states: Vec<i32>, since: Option<u64>, until: Option<u64>| {
        let (submitted_since_ms, submitted_until_ms) = (since, until);
        let of_runs = v1::ListRunsRequest {
            labels: labels.clone(),
            states: states.clone(),
            submitted_since_ms,
            submitted_until_ms,
            page_size: 1,
            ..Default::default()
        };
        let of_jobs = v1::ListJobsRequest {
            labels,
            states,
            submitted_since_ms,
            submitted_until_ms,
            page_size: 1,
            ..Default::default()
        };
        (of_runs, of_jobs)
    };
    for ((mut of_runs, mut of_jobs), expected) in [
        (asked(vec![], vec![], None, None), vec!["sales", "risk-2", "risk-1"]),
        (asked(vec![label("team", "risk")], vec![], None, None), vec!["risk-2", "risk-1"]),
        (asked(vec![label("team", "*"), label("tier", "1")], vec![], None, None), vec!["risk-1"]),
        (asked(vec![label("stage", "*")], vec![], None, None), vec![]),
        (asked(vec![], cancelled.clone(), None, None), vec!["sales"]),
        (asked(vec![label("team", "risk")], cancelled, None, None), vec![]),
        (asked(vec![], vec![], second, None), vec!["sales", "risk-2"]),
        (asked(vec![], vec![], None, third), vec!["risk-2", "risk-1"]),
        (asked(vec![], vec![], second, third), vec!["risk-2"]),
        (asked(vec![], vec![], third, second), vec![]),
    ] {
        let mut listed = Vec::new();
        loop {
            let page = client.list_runs(of_runs.clone()).await.unwrap();
            listed.extend(page.runs.into_iter().map(|run| run.job));
            if page.next_page_token.is_empty() {
                break;
            }
            of_runs.page_token = page.next_page_token;
        }
        assert_eq!(listed, expected, "{of_runs:?}");
        let mut listed = Vec::new();
        loop {
            let page = client.list_jobs(of_jobs.clone()).await.unwrap();
            listed.extend(page.jobs.into_iter().map(|job| job.name));
            if page.next_page_token.is_empty() {
                break;
            }
            of_jobs.page_token = page.next_page_token;
        }
        // The same, by name.
        assert_eq!(listed, expected.into_iter().rev().collect::<Vec<_>>(), "{of_jobs:?}");
    }
    let unknown = v1::ListRunsRequest { states: vec![99], ..Default::default() };
    assert!(matches!(api_error(client.list_runs(unknown).await), ApiError::Invalid(_)));
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    client.submit_job(submit(chain("claims", &["split"]), "")).await.unwrap();
    agent.assignment().await;
    let mut spec = chain("claims", &["split"]);
    spec.tasks[0].resources = Some(v1::Resources { cpu_milli: 9_000, memory_bytes: 1 << 20, gpu_milli: 0 });
    let plan = client.plan_job(v1::PlanJobRequest { spec: Some(spec), args: String::new() }).await.unwrap();
    assert_eq!((plan.current_version, plan.version), (1, 2));
    assert_eq!(plan.changes, ["~ task.split.resources.cpu: 100m -> 9"]);
    let task = &plan.tasks[0];
    assert_eq!((task.fits_empty, task.fits_now), (0, 0));
    let reason = task.reason.as_ref().and_then(|reason| reason.reason.as_ref());
    let Some(v1::wait_reason::Reason::NoNodeFits(why)) = reason else { panic!("{reason:?}") };
    assert!(why.never);
    assert_eq!(why.nearest.as_ref().map(|nearest| nearest.missing_cpu_milli), Some(5_100), "beside what is used");
    assert_eq!(client.list_runs(v1::ListRunsRequest::default()).await.unwrap().runs.len(), 1);
}

#[tokio::test]
async fn a_waiting_task_is_explained_and_placed_once_the_missing_amount_is_granted() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let address = cluster.replicas[0].bound.agent.clone();
    let _small = Agent::connect(&address, hello("small", 1)).await.unwrap();
    let mut spec = chain("large", &["big"]);
    spec.tasks[0] = v1::TaskSpec {
        resources: Some(v1::Resources { cpu_milli: 6_500, memory_bytes: 1 << 20, gpu_milli: 0 }),
        ..task("big")
    };
    let submitted = client.submit_job(submit(spec, "")).await.unwrap();
    let ask = || v1::ExplainTaskRequest { run: run(&submitted.run_id), task: "big".into(), index: 0 };
    let nearest = eventually("the task waits for room", || async {
        match client.explain_task(ask()).await.unwrap().reason?.reason? {
            v1::wait_reason::Reason::NoNodeFits(why) => why.nearest,
            _ => None,
        }
    })
    .await;
    assert_eq!((&*nearest.node, &*nearest.check, nearest.missing_cpu_milli), ("small", "TOO_SMALL", 2_500));

    let mut larger = hello("larger", 2);
    larger.capacity.as_mut().unwrap().cpu_milli += nearest.missing_cpu_milli;
    let mut agent = Agent::connect(&address, larger).await.unwrap();
    assert_eq!(agent.assignment().await.task, "big");
}

#[tokio::test]
async fn namespaces_are_rows_and_operators_see_them() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let create = |name: &str, id: &str| v1::CreateNamespaceRequest { namespace: name.into(), request_id: id.into() };
    client.create_namespace(create("team-a", "1")).await.unwrap();
    client.create_namespace(create("team-a", "1")).await.expect("the same request again");
    let again = api_error(client.create_namespace(create("team-a", "2")).await);
    assert!(matches!(again, ApiError::Exists { .. }), "{again:?}");
    let known = client.list_namespaces(v1::ListNamespacesRequest {}).await.unwrap().namespaces;
    assert_eq!(known.iter().map(|namespace| &*namespace.name).collect::<Vec<_>>(), ["default", "team-a"]);
    let mut spec = chain("job", &["a"]);
    spec.namespace = "team-a".into();
    client.submit_job(submit(spec, "")).await.unwrap();
    let jobs = v1::ListJobsRequest { namespace: "team-a".into(), ..Default::default() };
    assert_eq!(client.list_jobs(jobs).await.unwrap().jobs.len(), 1);
}

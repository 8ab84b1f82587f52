//! What has happened to a run: all of it, in order, page by page, and what is not kept any more.

use quorate_client::Error;
use quorate_proto::{ApiError, v1};

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually, short_history};
use crate::jobs::{chain, run, submit};

fn asks(id: &str) -> v1::ListRunEventsRequest {
    v1::ListRunEventsRequest { run: run(id), ..Default::default() }
}

/// All pages of a request, of which none is larger than was asked for.
async fn all(client: &quorate_client::Client, mut request: v1::ListRunEventsRequest) -> Vec<v1::PastEvent> {
    let mut events = Vec::new();
    loop {
        let page = client.list_run_events(request.clone()).await.unwrap();
        assert!(request.page_size == 0 || page.events.len() <= request.page_size as usize);
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

fn words(events: &[v1::PastEvent]) -> Vec<String> {
    let word = |past: &v1::PastEvent| match past.event.as_ref()?.event.as_ref()? {
        v1::run_event::Event::Run(moved) => Some(format!("run {:?}", moved.state())),
        v1::run_event::Event::Task(task) => Some(format!("{} {:?}", task.task, task.state())),
        v1::run_event::Event::Attempt(attempt) => {
            Some(format!("{} on {} {:?}", attempt.task, attempt.node, attempt.state()))
        }
        v1::run_event::Event::Annotated(annotated) => Some(format!("annotated {}", annotated.key)),
        v1::run_event::Event::Paused(_) => Some("paused".into()),
        v1::run_event::Event::Resumed(_) => Some("resumed".into()),
        v1::run_event::Event::PrioritySet(set) => Some(format!("priority {}", set.priority)),
        v1::run_event::Event::Abandoned(_) => Some("given up".into()),
        v1::run_event::Event::Decided(decided) => Some(format!("{} {:?}", decided.task, decided.decided())),
        v1::run_event::Event::Preempted(one) => Some(format!("{} preempted", one.task)),
        v1::run_event::Event::Rebalanced(one) => Some(format!("{} rebalanced", one.task)),
        v1::run_event::Event::Rest(rest) => Some(format!("{} rest {:?}", rest.task, rest.state())),
    };
    events.iter().filter_map(word).collect()
}

#[tokio::test]
async fn the_history_of_a_run_is_told_whole_whatever_the_size_of_its_pages() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let mine = client.submit_job(submit(chain("claims", &["one", "two"]), "")).await.unwrap();
    for task in ["one", "two"] {
        client.submit_job(submit(chain("others", &["three"]), "")).await.unwrap();
        let assignment = agent.find_assignment(|assignment| assignment.task == task).await;
        agent.finish(&assignment).await;
    }
    eventually("the run ends", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(&mine.run_id) }).await.unwrap();
        (got.run?.state() == v1::RunState::Succeeded).then_some(())
    })
    .await;
    let word = v1::AnnotateRunRequest { run: run(&mine.run_id), key: "ticket".into(), ..Default::default() };
    client.annotate_run(word).await.unwrap();
    client.submit_job(submit(chain("others", &["three"]), "")).await.unwrap();

    let events = all(&client, asks(&mine.run_id)).await;
    assert_eq!(
        words(&events),
        [
            "run Pending",
            "one on n1 Assigned",
            "one Placed",
            "run Running",
            "one on n1 Running",
            "one Running",
            "one on n1 Succeeded",
            "one Succeeded",
            "two Ready",
            "two on n1 Assigned",
            "two Placed",
            "two on n1 Running",
            "two Running",
            "two on n1 Succeeded",
            "two Succeeded",
            "run Succeeded",
            "annotated ticket",
        ]
    );
    assert_eq!(events[0].revision, mine.revision);
    assert!(events.is_sorted_by_key(|past| past.revision));
    for page_size in 1..20 {
        let paged = all(&client, v1::ListRunEventsRequest { page_size, ..asks(&mine.run_id) }).await;
        assert_eq!(paged, events, "{page_size} at once");
    }
    for at in [0, 5, 16] {
        let after_revision = events[at].revision;
        let rest = all(&client, v1::ListRunEventsRequest { after_revision, ..asks(&mine.run_id) }).await;
        let expected: Vec<_> = events.iter().filter(|past| past.revision > after_revision).cloned().collect();
        assert_eq!(rest, expected, "after {after_revision}");
    }
    let two = v1::ListRunEventsRequest { task: "two".into(), index: Some(0), page_size: 2, ..asks(&mine.run_id) };
    let only = words(&all(&client, two).await);
    assert_eq!((only.len(), only.iter().all(|word| word.starts_with("two "))), (7, true), "{only:?}");
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mine = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let other = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let refused = |request: v1::ListRunEventsRequest| {
        let client = client.clone();
        async move {
            match client.list_run_events(request).await.expect_err("the request must be refused") {
                Error::Api(error) => error,
                error => panic!("refused by the client itself: {error}"),
            }
        }
    };
    let index = refused(v1::ListRunEventsRequest { index: Some(0), ..asks(&mine.run_id) }).await;
    assert!(matches!(&index, ApiError::Invalid(violations) if violations[0].field == "index"), "{index:?}");
    let task = refused(v1::ListRunEventsRequest { task: "two".into(), ..asks(&mine.run_id) }).await;
    assert!(matches!(task, ApiError::NotFound { .. }), "{task:?}");
    let word = v1::AnnotateRunRequest { run: run(&mine.run_id), key: "ticket".into(), ..Default::default() };
    client.annotate_run(word).await.unwrap();
    let first = client.list_run_events(v1::ListRunEventsRequest { page_size: 1, ..asks(&mine.run_id) }).await.unwrap();
    let page_token = first.next_page_token;
    assert!(!page_token.is_empty());
    let foreign = refused(v1::ListRunEventsRequest { page_token, ..asks(&other.run_id) }).await;
    assert!(matches!(foreign, ApiError::Invalid(_)), "{foreign:?}");
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_said_to_be_gone() {
    let cluster = Cluster::start_with(1, short_history(20)).await;
    let client = cluster.client();
    let mine = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let whole = client.list_run_events(asks(&mine.run_id)).await.unwrap();
    assert!(whole.kept_from <= mine.revision, "{whole:?}");
    let page = eventually("the submit is forgotten", || async {
        client.submit_job(submit(chain("other", &["one"]), "")).await.unwrap();
        let page = client.list_run_events(asks(&mine.run_id)).await.unwrap();
        (page.kept_from > mine.revision).then_some(page)
    })
    .await;
    assert!(page.events.iter().all(|past| past.revision >= page.kept_from), "{page:?}");
}

#[tokio::test]
async fn a_follower_tells_what_was_acknowledged_and_a_stale_one_what_it_has() {
    let mut cluster = Cluster::start(3).await;
    let mine = cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let survivor = cluster.follower().await;
    let told = words(&all(&cluster.client_of(survivor), asks(&mine.run_id)).await);
    assert_eq!(told.first().map(String::as_str), Some("run Pending"));
    (0..3).filter(|at| *at != survivor).for_each(|at| cluster.kill(at));
    let stale = cluster.client_of(survivor).stale(None);
    assert_eq!(words(&all(&stale, asks(&mine.run_id)).await)[..told.len()], told);
    assert!(stale.staleness().is_some());
}

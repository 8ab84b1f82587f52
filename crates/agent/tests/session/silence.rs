//! Attempts that must not be silent for long, and agents that come and go meanwhile.

use super::*;

fn quiet(step: u32, token: u64, script: &str) -> v1::Assignment {
    v1::Assignment { silent_timeout_ms: Some(5_000), ..assignment(step, token, &["sh", "-c", script]) }
}

fn is_silent(report: &v1::AttemptReport) -> bool {
    report.silent
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_reported_by_whichever_agent_is_there_and_ends_nothing_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let speaks = "while :; do echo '{\"progress\": 0.5}' > $QUORATE_REPORT; sleep 0.2; done";
    let hangs = "echo '{\"progress\": 0.5}' > $QUORATE_REPORT; sleep 1000";
    let set = vec![quiet(0, 50, speaks), quiet(1, 51, hangs), assignment(2, 52, &["sleep", "1000"])];
    let mut agent = Agent::with(config(&[plane.address.to_string()], directory.path()), OnExit::Leave);
    let mut session = plane.welcomed(10, LEASE_MS, set.clone()).await;
    for is_last in [false, true] {
        let heard = session.until(is_silent).await;
        let silent: Vec<_> = heard.into_iter().filter(is_silent).collect();
        assert_eq!(silent.len(), 1, "{silent:?}");
        assert!(says(1, Running, false)(&silent[0]), "it runs on: {silent:?}");
        if is_last {
            break;
        }
        agent.handle.request();
        agent.end().await.unwrap();
        agent = Agent::with(config(&[plane.address.to_string()], directory.path()), OnExit::Leave);
        session = plane.session().await;
        session.revision = 300;
        session.welcome(250, LEASE_MS).await;
        session.revision = 301;
        session.say(full(set.clone())).await;
    }
    session.revision = 400;
    let stopped = set.into_iter().map(|assignment| v1::Assignment { stop: true, ..assignment }).collect();
    session.say(full(stopped)).await;
    let mut ended = BTreeMap::new();
    while ended.len() < 3 {
        for report in session.until(|report| report.gone).await.into_iter().filter(|report| report.gone) {
            assert!(report.stopped && !report.silent, "{report:?}");
            ended.insert(report.attempt.clone().unwrap().step, report.message);
        }
    }
    let words = |step: u32| ended[&step].as_str();
    assert_eq!((words(0), words(1), words(2)), ("", "stopped: it said nothing for 5 s", ""));
    agent.handle.request();
    agent.end().await.unwrap();
}

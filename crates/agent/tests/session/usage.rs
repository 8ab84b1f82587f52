//! What running attempts use, said while they run to a control plane that asks for it.

use super::*;

#[tokio::test]
async fn what_an_attempt_uses_is_said_while_it_runs_and_not_after_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let mut session = plane.session().await;
    session.usage_every_ms = 1;
    session.welcome(10, LEASE_MS).await;
    // It computes all the time, keeps 4 MiB, and ends when it is asked to.
    let script = "trap 'exit 0' TERM; kept=$(head -c 4194304 /dev/zero | tr '\\0' x); while :; do :; done";
    let resources = Some(v1::Resources { cpu_milli: 100, memory_bytes: 256 << 20, gpu_milli: 0 });
    session.say(full(vec![v1::Assignment { resources, ..assignment(0, 50, &["sh", "-c", script]) }])).await;
    session.until(says(0, Running, false)).await;
    let mut looks = 0;
    let usage = loop {
        let FromAgent::Usage(usage) = session.hear().await else { panic!("nothing else is new") };
        assert_eq!(usage.reports.len(), 1);
        let v1::UsageReport { attempt: named, token, usage: Some(usage), .. } = usage.reports[0].clone() else {
            panic!("it says what it uses: {usage:?}")
        };
        assert_eq!((named, token), (Some(attempt(0)), 50));
        looks += 1;
        let is_warm = usage.cpu_us > 0 && usage.memory_bytes >= 4 << 20;
        assert_eq!(usage.cpu_milli.is_some(), looks > 1, "one look tells no rate: {usage:?}");
        if looks > 1 && is_warm {
            break usage;
        }
    };
    assert!(usage.cpu_milli > Some(0) && usage.memory_peak_bytes >= usage.memory_bytes, "{usage:?}");

    session.revision += 1;
    let stopped = v1::Assignment { stop: true, ..assignment(0, 50, &["true"]) };
    session.say(full(vec![stopped])).await;
    let end = loop {
        match session.hear().await {
            FromAgent::Usage(_) => {}
            FromAgent::Reports(reports) => {
                session.acknowledge(&reports, Vec::new()).await;
                if let Some(end) = reports.reports.into_iter().find(|report| report.phase() == Ended) {
                    break end;
                }
            }
            other => panic!("{other:?}"),
        }
    };
    let total = end.usage.unwrap();
    assert!(total.memory_peak_bytes >= usage.memory_peak_bytes, "{total:?} after {usage:?}");
    agent.handle.request();
    agent.end().await.unwrap();
}

#[tokio::test]
async fn a_control_plane_that_does_not_ask_hears_nothing_of_what_attempts_use() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let mut session = plane.welcomed(10, LEASE_MS, vec![assignment(0, 50, &["sleep", "2"])]).await;
    // A control plane of a version before this one ends a session that says what it does not know.
    let heard = session.until(says(0, Ended, true)).await;
    assert!(!heard.is_empty());
    agent.handle.request();
    agent.end().await.unwrap();
}

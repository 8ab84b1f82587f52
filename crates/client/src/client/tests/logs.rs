//! Output read over broken connections, absent agents and replicas that refuse.

use super::*;

#[tokio::test(start_paused = true)]
async fn output_is_read_on_where_it_was_cut_off() {
    let script = Script::of([
        Act::Logs(vec![(0, "hello "), (6, "wor")], Err(ApiError::Unavailable("stopping".into()))),
        // An overlap, as a replica would send that rounds to its own blocks.
        Act::Logs(vec![(6, "world"), (11, "!"), (11, "!")], Ok(())),
    ]);
    let mut logs = client(&["a:1"], &[&script]).read_logs(v1::ReadLogsRequest { follow: true, ..Default::default() });
    let mut text = Vec::new();
    while let Some(piece) = logs.next().await {
        let piece = piece.expect("it is all there");
        assert_eq!(piece.offset, text.len() as u64);
        text.extend_from_slice(&piece.data);
    }
    assert_eq!(text, b"hello world!");
    assert_eq!(script.asked(), ["attempt 2 at 0", "attempt 2 at 9"], "the newest attempt stays the same one");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_the_last_lines_stays_where_it_began_and_counts_what_was_dropped() {
    let absent = |what: &str| ApiError::Precondition { what: what.into(), subject: "node".into(), why: "gone".into() };
    let script = Script::of([
        // Nothing yet, but the place is settled.
        Act::Logs(vec![(100, "")], Err(ApiError::Unavailable("stopping".into()))),
        Act::Refuse(absent("CONNECTED")),
        Act::Logs(vec![(100, ""), (100, "one"), (110, "two")], Err(ApiError::Unavailable("stopping".into()))),
        Act::Logs(vec![(120, "three")], Ok(())),
    ]);
    let request =
        v1::ReadLogsRequest { follow: true, tail_lines: Some(0), since_ms: Some(5), ..v1::ReadLogsRequest::default() };
    let mut logs = client(&["a:1"], &[&script]).read_logs(request);
    assert_eq!(logs.begin().await.unwrap(), Some(2));
    let mut seen = Vec::new();
    while let Some(piece) = logs.next().await {
        let piece = piece.unwrap();
        seen.push((piece.offset, String::from_utf8(piece.data.to_vec()).unwrap(), logs.missed()));
    }
    let expected = [(100, "one", 0), (110, "two", 7), (120, "three", 14)];
    assert_eq!(seen, expected.map(|(offset, text, missed)| (offset, text.to_owned(), missed)));
    assert_eq!(
        script.asked(),
        ["attempt 2 at 0 last 0 new", "attempt 2 at 100", "attempt 2 at 100", "attempt 2 at 113"],
        "the beginning is chosen once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_quiet_task_is_followed_over_any_number_of_broken_connections() {
    let cut = || ApiError::Unavailable("stopping".into());
    let quiet = || Act::Quiet(Duration::from_secs(60), cut());
    let script =
        Script::of([Act::Logs(vec![(0, "a")], Err(cut())), quiet(), quiet(), Act::Logs(vec![(1, "b")], Ok(()))]);
    let mut logs = client(&["a:1"], &[&script]).read_logs(v1::ReadLogsRequest { follow: true, ..Default::default() });
    let mut text = Vec::new();
    while let Some(piece) = logs.next().await {
        text.extend_from_slice(&piece.expect("it is quiet, not gone").data);
    }
    assert_eq!(text, b"ab");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_away_is_not_waited_for_as_long_as_a_leader() {
    let absent = || ApiError::Precondition { what: "CONNECTED".into(), subject: "n1".into(), why: "gone".into() };
    let script = Script::of(std::iter::repeat_with(|| Act::Refuse(absent())).take(100));
    let began = tokio::time::Instant::now();
    let mut logs = client(&["a:1"], &[&script]).read_logs(v1::ReadLogsRequest::default());
    let error = logs.begin().await.unwrap_err();
    assert!(matches!(&error, Error::Api(ApiError::Precondition { .. })), "{error:?}");
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    assert!(logs.next().await.is_none());

    // A leader that is lost meanwhile has the time that an election takes.
    let refused = std::iter::repeat_with(|| Act::Refuse(ApiError::Unavailable("no leader".into()))).take(32);
    let script = Script::of([Act::Refuse(absent())].into_iter().chain(refused).chain([Act::Logs(vec![], Ok(()))]));
    let began = tokio::time::Instant::now();
    let mut logs = client(&["a:1"], &[&script]).read_logs(v1::ReadLogsRequest::default());
    assert!(logs.next().await.is_none(), "it has ended");
    assert!(began.elapsed() > Duration::from_secs(10), "{:?}", began.elapsed());

    let full = || ApiError::Overloaded { limit: "LOG_STREAMS_MAX".into(), max: 1, advice: String::new() };
    let script = Script::of([Act::Refuse(full())]);
    let mut logs = client(&["a:1"], &[&script]).read_logs(v1::ReadLogsRequest::default());
    assert!(matches!(logs.begin().await, Err(Error::Api(ApiError::Overloaded { .. }))), "said at once");
}

#[tokio::test(start_paused = true)]
async fn an_older_replica_is_read_from_the_start_and_not_taken_to_know_the_last_lines() {
    let old = |act| Script { is_old: true, ..Script::of([act]) };
    let script = old(Act::Logs(vec![(0, "all")], Ok(())));
    let mut logs = client(&["a:1"], &[&script]).read_logs(v1::ReadLogsRequest::default());
    assert_eq!(logs.begin().await.unwrap(), Some(2), "the one that was asked for");
    assert_eq!(logs.next().await.unwrap().unwrap().data.as_ref(), b"all");
    let script = old(Act::Logs(vec![(0, "all")], Ok(())));
    let tail = v1::ReadLogsRequest { tail_lines: Some(1), ..v1::ReadLogsRequest::default() };
    let refused = client(&["a:1"], &[&script]).read_logs(tail).next().await.unwrap().unwrap_err();
    assert!(matches!(&refused, Error::Api(ApiError::Unsupported(_))), "{refused}");
}

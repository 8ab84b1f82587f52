//! How desired sets are delivered: whole, in parts, broken, not at all.

use std::time::Duration;

use quorate_agent::{Config, Limits};
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as FromAgent;
use quorate_proto::v1::server_message::Message as ToAgent;
use tokio::time::Instant;
use tonic::Status;
use v1::AttemptPhase::{Ended, Lost, Running};

use crate::control_plane::{ControlPlane, assignment, attempt, full, says};
use crate::{Agent, LEASE_MS, config, phases};

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_or_disconnected_statement_starts_nothing_and_a_full_one_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let _agent = Agent::of(&plane, directory.path());
    let mut session = plane.welcomed(10, LEASE_MS, vec![]).await;
    session.revision = 90;
    let set = vec![assignment(0, 50, &["true"])];
    session.say(full(set.clone())).await;
    assert!(matches!(session.hear().await, FromAgent::Resync(_)), "older than what was seen");
    session.revision = 130;
    session.say(ToAgent::Delta(v1::DesiredDelta { from: 120, set: set.clone(), removed: vec![] })).await;
    assert!(matches!(session.hear().await, FromAgent::Resync(_)), "a gap");
    session.say(full(set)).await;
    session.until(says(0, Ended, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_in_parts_runs_when_it_is_whole_and_what_waits_for_room_is_claimed() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let config = config(&[plane.address.to_string()], directory.path());
    let limits = Limits { attempts_max: 1, ..config.limits.clone() };
    let _agent = Agent::start(Config { limits, ..config });
    let mut session = plane.session().await;
    session.welcome(10, LEASE_MS).await;
    let part =
        |step, token| v1::DesiredSet { assignments: vec![assignment(step, token, &["sleep", "1000"])], more: true };
    session.say(ToAgent::Desired(part(1, 51))).await;
    // Something else comes between, so the set does not count; nor does what is left of it.
    session.say(ToAgent::Delta(v1::DesiredDelta { from: 1, set: vec![], removed: vec![] })).await;
    assert!(matches!(session.hear().await, FromAgent::Resync(_)));
    session.say(full(vec![assignment(2, 52, &["true"])])).await;
    assert!(matches!(session.hear().await, FromAgent::Resync(_)));
    session.say(ToAgent::Desired(part(1, 51))).await;
    session.say(full(vec![assignment(0, 50, &["sleep", "1000"])])).await;
    let heard = session.until(says(0, Running, false)).await;
    assert_eq!(phases(&heard), [(0, Running, false)], "one at a time, the oldest first");
    session.refuse(Status::unavailable("the leader has changed")).await;

    let mut session = plane.session().await;
    let claim = |step, token| v1::AttemptClaim { want: 0, gpus: None, attempt: Some(attempt(step)), token };
    assert_eq!(session.hello.attempts, [claim(0, 50), claim(1, 51)]);
    session.revision = 200;
    session.welcome(10, LEASE_MS).await;
    // The one that waited was given up meanwhile: somebody may wait for the word that it is gone.
    session.say(full(vec![assignment(0, 50, &["sleep", "1000"])])).await;
    session.until(says(1, Lost, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_never_deliver_a_set_come_back_ever_more_slowly() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let _agent = Agent::of(&plane, directory.path());
    let began = Instant::now();
    for _ in 0..6 {
        let mut session = plane.session().await;
        session.welcome(10, LEASE_MS).await;
        session.refuse(Status::unavailable("the set does not come through")).await;
    }
    plane.session().await;
    // Half of 20, 40 … 640 ms at the least; six times the first pause would be 120 ms at the most.
    let paused = began.elapsed();
    assert!(paused >= Duration::from_millis(600), "{paused:?}");
}

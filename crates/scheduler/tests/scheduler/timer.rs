//! When timers fire.

use quorate_scheduler::Note;
use quorate_state::{AttemptPhase, Command, Served, TaskState};

use crate::world::World;

fn fired(commands: &[Command]) -> usize {
    commands
        .iter()
        .map(|command| match command {
            Command::FireTimers { timers } => timers.len(),
            other => panic!("not a timer: {other:?}"),
        })
        .sum()
}

#[test]
fn a_backoff_ends_when_it_is_due_and_wakes_the_leader_then() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi attempts=2
    ",
    );
    world.commit(&world.plan());
    world.end_all(1);
    let due = world.served.plus(1_000);
    let early = world.step("timer");
    assert_eq!((fired(&early.commands), early.wake_at), (0, Some(due)));
    world.pass(1_000);
    let decision = world.drive("timer");
    assert_eq!((fired(&decision.commands), decision.wake_at), (1, None));
    assert_eq!(world.state.task(world.find("j/x[0]")).unwrap().state, TaskState::Ready);
}

fn running_with_timeout() -> World {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi timeout=5000
    ",
    );
    world.commit(&world.plan());
    let attempt = world.state.task(world.find("j/x[0]")).unwrap().newest_attempt().unwrap();
    world.report(attempt, AttemptPhase::Running, None);
    world.pass(5_000);
    world
}

#[test]
fn a_run_timeout_fires_when_the_node_has_reported() {
    assert_eq!(fired(&running_with_timeout().drive("timer").commands), 1);
}

#[test]
fn a_timer_about_an_attempt_waits_for_the_word_of_its_node() {
    let mut world = running_with_timeout();
    world.flag("a", "unheard");
    let held = world.step("timer");
    assert_eq!(held.commands, []);
    assert_eq!(held.report.notes, [Note::TimersHeld { held: 1 }]);
    assert_eq!(held.wake_at, Some(Served(6_000)), "the leader looks again without being told");
    world.observed.nodes.clear();
    assert_eq!(world.step("timer").commands, [], "a node that was never heard of has not reported");
    world.see("a", |_| {});
    assert_eq!(fired(&world.step("timer").commands), 1);
}

#[test]
fn what_was_seen_of_an_older_lease_is_no_word() {
    let mut world = running_with_timeout();
    world.see("a", |seen| seen.epoch.0 -= 1);
    assert_eq!(world.step("timer").commands, []);
}

#[test]
fn an_only_copy_counts_as_lost_in_the_end() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi loss=at_most_once
    ",
    );
    world.commit(&world.plan());
    world.flag("a", "lost");
    world.observed.nodes.clear();
    assert_eq!(world.step("timer").wake_at, Some(Served(600_000)));
    world.pass(600_000);
    assert_eq!(fired(&world.drive("timer").commands), 1, "a lost node has lost its word");
    assert!(matches!(world.state.task(world.find("j/x[0]")).unwrap().state, TaskState::Failed(_)));
}

#[test]
fn a_held_timer_does_not_hold_up_those_behind_it() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        node b eu/eu-1 2000m 8Gi
        job  j
        task x 1000m 1Gi timeout=500
        task y 2000m 1Gi attempts=2
    ",
    );
    world.commit(&world.plan());
    let attempt = |world: &World, name| world.state.task(world.find(name)).unwrap().newest_attempt().unwrap();
    world.report(attempt(&world, "j/x[0]"), AttemptPhase::Running, None);
    world.report(attempt(&world, "j/y[0]"), AttemptPhase::Ended, Some(1));
    world.flag("a", "unheard");
    world.pass(1_000);
    assert_eq!(fired(&world.drive("timer").commands), 1);
    assert_eq!(world.state.task(world.find("j/y[0]")).unwrap().state, TaskState::Ready);
}

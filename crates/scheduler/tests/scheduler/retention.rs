//! When history is trimmed.

use quorate_state::{Command, Feature, JobSpec, Retention, Revision, RunId, Settings, TaskSpec};

use crate::world::{World, job, resources, task};

#[test]
fn history_is_trimmed_in_pieces_to_what_the_settings_keep() {
    let mut world = World::with(Settings { event_revisions_max: 80, ..Settings::default() });
    let mut trims = Vec::new();
    for number in 0..200 {
        world.apply(Command::CreateNamespace { namespace: format!("n{number}").parse().unwrap() });
        let decision = world.drive("retention");
        trims.extend(decision.commands.into_iter().map(|command| match command {
            Command::TrimEvents { below } => (world.state.revision(), below),
            other => panic!("not about history: {other:?}"),
        }));
        let meta = world.state.meta();
        assert!(meta.revision.0 - meta.events_from.0 <= 80 + 80 / 8 + 1);
    }
    // The trim decided at revision 91 keeps the 80 revisions before it, and every eleventh after it likewise.
    assert_eq!(trims[0], (Revision(92), Revision(11)));
    assert!(trims.windows(2).all(|pair| pair[1].1.0 == pair[0].1.0 + 11), "{trims:?}");
}

/// A world with the archive, and with these limits.
fn keeping(retention: Retention) -> World {
    let mut world = World::with(Settings { event_revisions_max: 80, ..Settings::default() });
    world.apply(Command::EnableFeature { feature: Feature::RunArchive, term: world.state.meta().term });
    world.apply(Command::SetRetention { retention });
    world
}

const LIMITS: Retention = Retention {
    memory_runs_max: 16,
    memory_rows_max: 1_000,
    archive_runs_max: 30,
    archive_ms_max: 0,
    history_revisions_max: 1_000_000,
    segment_runs_max: 10,
};

/// A job of so many equal tasks.
fn job_of(count: u32) -> JobSpec {
    let task = TaskSpec { count, ..task("t", resources("1m", "1Mi"), &[]) };
    JobSpec { tasks: vec![task], ..job("job", &[]) }
}

fn cancelled(world: &mut World, run: RunId) {
    world.apply(Command::CancelRun { run });
    while world.state.run(run).is_some_and(|run| !run.state.is_terminal()) {
        world.drive("workflow");
    }
}

fn ended(world: &mut World) -> RunId {
    let run = world.submit(job_of(1));
    cancelled(world, run);
    run
}

#[test]
fn the_first_that_ended_leave_memory_and_the_oldest_segment_is_forgotten() {
    let mut world = keeping(LIMITS);
    let runs: Vec<RunId> = (0..80).map(|_| ended(&mut world)).collect();
    let mut steps = 0;
    while !world.drive("retention").commands.is_empty() {
        steps += 1;
        assert!(steps < 100, "it comes to rest");
    }
    let state = &world.state;
    assert!((16..=18).contains(&state.finished_count()), "{}", state.finished_count());
    assert!(runs.iter().rev().take(16).all(|run| state.run(*run).is_some()), "the last to end are there");
    assert!(state.archived_count() <= 30 && state.archived_count() > 20, "{}", state.archived_count());
    let first = state.segments().next().unwrap();
    assert!(state.meta().events_from <= first.first_submitted, "what happened to runs that are kept is kept");
    assert!(state.meta().events_from.0 > 1, "and what happened to those that are not is not");
}

#[test]
fn time_alone_makes_a_segment_one_to_forget_and_the_leader_wakes_for_it() {
    let day = 24 * 3_600 * 1_000;
    let mut world = keeping(Retention { memory_runs_max: 0, archive_ms_max: 3 * day, ..LIMITS });
    ended(&mut world);
    let decision = world.drive("retention");
    assert!(matches!(decision.commands[..], [Command::ArchiveRuns { .. }]), "{:?}", decision.commands);
    let asleep = world.step("retention");
    assert!(asleep.commands.is_empty());
    let wake_at = asleep.wake_at.unwrap();
    world.pass(wake_at.0 - world.now().served.0 - 1);
    assert!(world.step("retention").commands.is_empty());
    world.pass(1);
    let due = world.drive("retention");
    assert_eq!(due.commands, [Command::TrimArchive { below: 2 }]);
    assert_eq!(world.state.archived_count(), 0);
}

#[test]
fn many_rows_in_memory_send_runs_away_too_and_a_large_one_goes_in_pieces() {
    let mut world = keeping(Retention { memory_rows_max: 100, ..LIMITS });
    let run = world.submit(job_of(5_000));
    cancelled(&mut world, run);
    let mut steps = 0;
    while !world.drive("retention").commands.is_empty() {
        steps += 1;
    }
    assert_eq!((world.state.rows_in_memory(), world.state.archived_count()), (0, 1));
    assert!(steps >= 3, "5,000 rows in {steps} pieces");
}

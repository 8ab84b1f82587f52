//! How runs move on.

use quorate_scheduler::Budget;
use quorate_state::{Command, RunState};

use crate::world::{World, job, lines, resources, task};

#[test]
fn a_diamond_is_released_as_its_needs_succeed() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        job  j
        task top 1000m 1Gi
        task left 1000m 1Gi needs=top
        task right 1000m 1Gi needs=top
        task bottom 1000m 1Gi needs=left,right
    ",
    );
    let mut waves = Vec::new();
    loop {
        world.release();
        let plan = world.plan();
        if plan.placements.is_empty() {
            break;
        }
        waves.push(world.render(&plan));
        world.commit(&plan);
        world.end_all(0);
    }
    assert_eq!(waves, ["j/top[0] -> a", "j/left[0] -> a\nj/right[0] -> a", "j/bottom[0] -> a"]);
    let run = world.find("j/top[0]").run;
    assert_eq!(world.state.run(run).unwrap().state, RunState::Succeeded);
}

#[test]
fn what_needs_a_failed_task_is_skipped_and_the_run_fails() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        job  j
        task x 1000m 1Gi
        task y 1000m 1Gi needs=x
        task z 1000m 1Gi needs=y
    ",
    );
    world.commit(&world.plan());
    world.end_all(1);
    world.release();
    assert_eq!(
        world.tasks(),
        lines(
            "
        j/x[0] Failed(Failed)
        j/y[0] Skipped
        j/z[0] Skipped
    "
        )
    );
    let run = world.find("j/x[0]").run;
    assert_eq!(world.state.run(run).unwrap().state, RunState::Failed);
}

#[test]
fn a_cancelled_run_ends_once_what_ran_has_stopped() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi count=2
        task y 1000m 1Gi needs=x
    ",
    );
    world.commit(&world.plan());
    let run = world.find("j/x[0]").run;
    world.apply(Command::CancelRun { run });
    world.release();
    assert_eq!(
        world.tasks(),
        lines(
            "
        j/x[0] Placed
        j/x[1] Cancelled
        j/y[0] Cancelled
    "
        )
    );
    world.end_all(143);
    world.release();
    assert_eq!(world.state.run(run).unwrap().state, RunState::Cancelled);
}

/// Runs whose second step, of so many tasks, has just become free to go.
fn about_to_be_released(counts: &[u32]) -> World {
    let mut world = World::of("node a eu/eu-1 4000m 8Gi");
    for (number, count) in counts.iter().enumerate() {
        let mut spec = job(&format!("j{number}"), &[]);
        spec.tasks.push(task("first", resources("1m", "1Mi"), &[]));
        spec.tasks.push(task("then", resources("1m", "1Mi"), &[&format!("count={count}"), "needs=first"]));
        world.submit(spec);
    }
    world.commit(&world.plan());
    world.end_all(0);
    world
}

#[test]
fn a_large_step_goes_in_pieces_beside_the_others() {
    let mut world = about_to_be_released(&[2_500, 1]);
    let (large, small) = (world.find("j0/then[0]").run, world.find("j1/then[0]").run);
    let advance = |run, limit| Command::AdvanceStep { run, step: 1, limit };
    let decision = world.drive("workflow");
    assert_eq!(decision.commands, [advance(large, 1_000), advance(small, 1)]);
    assert!(decision.report.truncated);
    assert_eq!(world.drive("workflow").commands, [advance(large, 1_000)]);
    let last = world.drive("workflow");
    assert_eq!((last.commands, last.report.truncated), (vec![advance(large, 500)], false));
    assert_eq!(world.state.ready_count(), 2_501);
    assert_eq!(world.step("workflow").commands, []);
}

#[test]
fn the_budget_bounds_a_step() {
    let world = about_to_be_released(&[100]);
    let run = world.find("j0/then[0]").run;
    let decision = world.step_within("workflow", Budget { steps: 7 });
    assert_eq!(decision.commands, [Command::AdvanceStep { run, step: 1, limit: 7 }]);
    assert!(decision.report.truncated);
}

//! How long a plan takes when much waits; run by hand, see docs/measurements.md.

use std::time::{Duration, Instant};

use quorate_scheduler::Budget;
use quorate_scheduler::placement::plan;
use quorate_state::{Command, Resources};

use crate::world::{World, job, resources, task};

const NODES: u64 = 1_000;
const SHAPES: u64 = 1_000;
const JOBS: u64 = 10;
const ROUNDS: u64 = 15;

#[test]
#[ignore = "measures; optimise it, and look at what it prints"]
fn a_plan_over_ten_thousand_waiting_tasks_of_a_thousand_shapes() {
    let mut world = World::empty();
    for node in 0..NODES {
        world.node(&format!("n{node}"), "eu", "eu-1", resources("1000m", "1Gi"));
    }
    for number in 0..JOBS {
        let mut waits = job(&format!("waits-{number}"), &["priority=90"]);
        waits.tasks.extend((0..SHAPES).map(|at| {
            // None is larger than another one.
            let wants = Resources { cpu_milli: 2_000 + at, memory_bytes: 1_000_000 - at, gpu_milli: 0 };
            task(&format!("t{at}"), wants, &[])
        }));
        world.submit(waits);
    }
    world.release();
    report("nothing fits", &world);
    let mut fits = job("fits", &[]);
    fits.tasks.push(task("x", resources("1000m", "1Gi"), &[]));
    let run = world.submit(fits);
    world.release();
    report("one task fits, the last of the queue", &world);
    world.apply(Command::CancelRun { run });
}

#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
#[expect(clippy::print_stderr, reason = "its result")]
fn report(what: &str, world: &World) {
    let mut took: Vec<Duration> = Vec::new();
    let mut placed = 0;
    let mut truncated = 0;
    for seed in 0..ROUNDS {
        let began = Instant::now();
        let plan = plan(&world.state, &world.observed, world.now(), seed, Budget::default());
        took.push(began.elapsed());
        placed += plan.placements.len();
        truncated += u64::from(plan.report.truncated);
    }
    took.sort();
    eprintln!(
        "{what}: {} ready; median {:?} of {ROUNDS} plans (longest {:?}); {placed} placed, {truncated} cut short",
        world.state.ready_count(),
        took[took.len() / 2],
        took[took.len() - 1],
    );
}

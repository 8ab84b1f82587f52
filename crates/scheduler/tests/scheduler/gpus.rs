//! Plans for tasks that take GPUs, and why they wait.

use quorate_scheduler::explain::{explain, preview};
use quorate_state::GpuHold;

use crate::world::{World, check, job, resources, task};

#[test]
fn shares_stand_together_and_leave_devices_whole() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 8Gi gpus=T4:2
        job  j
        task x 100m 64Mi gpu=500 count=2
        task y 100m 64Mi gpu=1000
        task z 100m 64Mi gpu=100
        ",
    );
    let plan = world.plan();
    let holds: Vec<_> = plan.placements.iter().map(|one| (one.task.step, one.gpus.devices, one.gpus.milli)).collect();
    assert_eq!(holds, [(0, 0b01, 500), (0, 0b01, 500), (1, 0b10, 1_000)]);
    world.commit(&plan);
    let why = explain(&world.state, &world.observed, world.now(), world.find("j/z[0]")).to_string();
    assert_eq!(why, "no node fits (1 too full); nearest is a, short of 100m gpu");
}

#[test]
fn work_without_gpus_stays_off_nodes_that_have_them_free() {
    check(
        "
        node a eu/eu-1 4000m 8Gi gpus=A100:1
        node b eu/eu-1 8000m 16Gi
        job  j
        task x 2000m 2Gi count=2
        task y 2000m 2Gi gpu=1000
        ",
        "
        j/x[0] -> b
        j/x[1] -> b
        j/y[0] -> a
        ",
    );
}

#[test]
fn models_are_looked_at() {
    let world = World::of(
        "
        node a eu/eu-1 8000m 8Gi gpus=T4:2
        node b eu/eu-1 8000m 8Gi
        node c eu/eu-1 8000m 8Gi gpus=A100:1
        job  j
        task x 100m 64Mi gpu=1000 model=A100 count=2
        task y 100m 64Mi gpu=500 model=H100
        ",
    );
    let plan = world.plan();
    assert!(world.render(&plan).starts_with("j/x[0] -> c\n"), "{}", world.render(&plan));
    let why = |task: &str| explain(&world.state, &world.observed, world.now(), world.find(task)).to_string();
    assert!(why("j/y[0]").contains("2 with other GPUs") && why("j/y[0]").contains("1 too small"), "{}", why("j/y[0]"));
}

#[test]
fn a_preview_counts_what_devices_can_hold() {
    let world = World::of("node a eu/eu-1 8000m 8Gi gpus=T4:3\nnode b eu/eu-1 8000m 8Gi");
    let mut spec = job("j", &[]);
    for (name, gpu) in [("shares", "gpu=400"), ("pairs", "gpu=2000"), ("many", "gpu=4000")] {
        spec.tasks.push(task(name, resources("10m", "1Mi"), &["count=100", gpu]));
    }
    let fits: Vec<u32> = preview(&world.state, &spec).iter().map(|step| step.fits_now).collect();
    assert_eq!(fits, [6, 1, 0]);
}

#[test]
fn nothing_of_a_gpu_is_held_by_what_takes_none() {
    let world = World::of("node a eu/eu-1 8000m 8Gi gpus=T4:1\njob j\ntask x 100m 64Mi");
    assert_eq!(world.plan().placements[0].gpus, GpuHold::NONE);
}

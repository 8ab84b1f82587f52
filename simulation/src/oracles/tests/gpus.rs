//! Every GPU is held once.

use quorate_state::{Attempt, AttemptId, Command, Feature, GpuHold, OnFailure, TaskId};

use super::{caught, forge, holds, row};
use crate::facts::Happening;
use crate::oracles::hand::{Hand, task};
use crate::oracles::{Verdict, p3_capacity, p11_urgency};

/// A node with three devices.
fn hand() -> Hand {
    let mut hand = Hand::new(1);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    hand.register_gpus("n1", 3, "large");
    hand
}

fn submit(hand: &mut Hand, priority: u8, milli: u64, models: &[&str]) -> TaskId {
    let mut spec = task("a", &[]);
    (spec.resources.cpu_milli, spec.resources.gpu_milli) = (100, milli);
    spec.gpu_models = models.iter().map(|model| model.parse().unwrap()).collect();
    TaskId { run: hand.submit_at(priority, OnFailure::Finish, vec![spec]), step: 0, index: 0 }
}

fn on(devices: u64, milli: u16) -> GpuHold {
    GpuHold { devices, milli }
}

fn place(hand: &mut Hand, milli: u64, hold: GpuHold) -> AttemptId {
    let task = submit(hand, 50, milli, &[]);
    hand.offer_place_on(task, "n1", hold);
    hand.state.task(task).unwrap().newest_attempt().unwrap()
}

fn capacity(hand: &Hand) -> Verdict {
    hand.judge(p3_capacity::Capacity::default())
}

#[test]
fn p3_a_device_that_two_hold_and_a_hold_that_no_job_asks_for_are_caught() {
    let mut hand = hand();
    let shared = place(&mut hand, 600, on(0b001, 600));
    let whole = place(&mut hand, 2_000, on(0b110, 1_000));
    place(&mut hand, 400, on(0b001, 400));
    hand.runs(shared);
    hand.runs(whole);
    hand.ends(whole, 0);
    place(&mut hand, 1_000, on(0b010, 1_000));
    holds(&hand);

    let forged = |milli, hold| {
        let mut hand = self::hand();
        let first = place(&mut hand, 600, on(0b001, 600));
        let second = AttemptId { task: submit(&mut hand, 50, milli, &[]), number: 1 };
        let resources = hand.state.run(second.task.run).unwrap().spec.tasks[0].resources;
        let wrong = Attempt { id: second, resources, gpus: hold, ..row(&hand, first) };
        forge(&mut hand, wrong);
        capacity(&hand)
    };
    caught(forged(500, on(0b001, 500)), "takes device 0 to 1100 thousandths");
    caught(forged(500, on(0b010, 300)), "its job says 500 thousandths");
    caught(forged(2_000, on(0b010, 1_000)), "its job says 2000 thousandths");
    caught(forged(2_000, on(0b1100, 1_000)), "holds device 3 of 3");
}

#[test]
fn p3_a_process_that_is_told_of_other_devices_is_caught() {
    let mut hand = hand();
    let attempt = place(&mut hand, 1_000, on(0b010, 1_000));
    hand.executor_told(attempt, Happening::Started, on(0b001, 1_000));
    caught(capacity(&hand), "was told to use");
}

#[test]
fn p3_a_device_of_another_model_is_caught() {
    let mut hand = hand();
    let task = submit(&mut hand, 50, 300, &["large", "small"]);
    hand.offer_place_on(task, "n1", on(0b1, 300));
    assert_eq!(capacity(&hand), Ok(()));
    hand.register_gpus("n1", 3, "huge");
    let task = submit(&mut hand, 50, 300, &[]);
    hand.offer_place_on(task, "n1", on(0b1, 300));
    assert_eq!(capacity(&hand), Ok(()), "what is there stays");
}

#[test]
fn p11_who_waits_for_a_device_may_have_waited_for_that_one() {
    let places = |waits: (u64, &[&str]), placed: u64, hold| {
        let mut hand = hand();
        submit(&mut hand, 60, waits.0, waits.1);
        let task = submit(&mut hand, 50, placed, &[]);
        hand.offer_place_on(task, "n1", hold);
        hand.judge(p11_urgency::Urgency::default())
    };
    caught(places((300, &[]), 300, on(1, 300)), "waited that fits there");
    caught(places((300, &["large"]), 1_000, on(1, 1_000)), "waited that fits there");
    caught(places((0, &[]), 1_000, on(1, 1_000)), "waited that fits there");
    assert_eq!(places((300, &["small"]), 1_000, on(1, 1_000)), Ok(()), "of another model");
    assert_eq!(places((1_000, &[]), 500, on(1, 500)), Ok(()), "a share leaves no whole device");
    assert_eq!(places((400, &[]), 300, on(1, 300)), Ok(()), "it takes more");
}

//! The scenarios hold on recorded seeds, and the same seed gives the same trace in two processes.

use std::process::Command;

fn sim(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-simulation")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_leader_that_crashes_is_replaced_and_comes_back() {
    sim(&["elect", "--seed", "1", "--count", "10"]);
}

#[test]
fn what_was_accepted_survives_the_loss_of_power_everywhere() {
    sim(&["power-loss", "--seed", "1", "--count", "5"]);
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    for seed in ["3", "4"] {
        for scenario in ["elect", "power-loss"] {
            let (first, second) = (sim(&[scenario, "--seed", seed]), sim(&[scenario, "--seed", seed]));
            assert_eq!(first, second);
            assert!(first.contains("trace "));
        }
    }
    assert_ne!(sim(&["elect", "--seed", "3"]), sim(&["elect", "--seed", "4"]));
}

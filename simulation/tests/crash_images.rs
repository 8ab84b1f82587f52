//! What the real store acknowledged is in every image that a loss of power could leave of its files.

use std::process::Command;

#[test]
fn what_was_synced_is_in_every_image_and_nothing_is_missing_before_it() {
    let arguments = ["crash-image", "--seeds", "1..3"];
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-simulation")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // A store that refused every image would lose nothing either.
    let opened = text.lines().filter_map(|line| line.split("ok, ").nth(1)?.split(' ').next()?.parse::<u32>().ok());
    assert!(opened.sum::<u32>() > 100, "{text}");
}

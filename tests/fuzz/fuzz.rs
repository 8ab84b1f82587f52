//! libFuzzer on one target, which `QUORATE_FUZZ_TARGET` names; see `make fuzz`.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use quorate_fuzz::{INPUT_BYTES_MAX, TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("QUORATE_FUZZ_TARGET").unwrap_or_default();
        let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let target = Target::of(&name).unwrap_or_else(|| panic!("QUORATE_FUZZ_TARGET names none of {}", names()));
        if let Some(directory) = std::env::var_os("QUORATE_FUZZ_SEEDS") {
            for (number, seed) in target.seeds().expect("the corpus").iter().enumerate() {
                std::fs::write(Path::new(&directory).join(format!("seed-{number}")), seed).expect("a file of its own");
            }
        }
        let _ = TARGET.set(target);
    },
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get().filter(|_| bytes.len() <= INPUT_BYTES_MAX) {
            (target.run)(bytes);
        }
    }
);

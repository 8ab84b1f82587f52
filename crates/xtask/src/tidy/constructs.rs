//! Constructs that belong to certain places and must not turn up elsewhere: second wirings, clocks and
//! generators beside the seams, unsafe code, unordered maps where order decides.

use super::Violation;
use super::clone::Source;
use super::code;

/// A construct and the only places where it may stand.
struct Place {
    /// What is looked for, in code (comments and literals do not count).
    patterns: &'static [&'static str],
    /// Paths that may contain it; a trailing `/` means everything below.
    allowed: &'static [&'static str],
    /// Where the rule applies at all; empty means everywhere.
    within: &'static [&'static str],
    /// Whether test code is bound as well.
    tests_too: bool,
    /// What to do instead, or why.
    because: &'static str,
}

const PLACES: &[Place] = &[
    Place {
        patterns: &["unsafe"],
        allowed: &[
            "crates/agent/",
            "crates/seams/",
            "crates/disk/src/view.rs",
            "crates/disk/tests/failed_sync.rs",
            "simulation/",
            "tests/multihost/wide_area.rs",
            "tests/multihost/wall_clock.rs",
        ],
        within: &[],
        tests_too: true,
        because: "unsafe code is for the process driver, the seams, RocksDB's views and overrides of libc in the simulator and in tests",
    },
    Place {
        patterns: &["openraft::", "openraft_rt::", "openraft_rt_tokio::"],
        allowed: &["crates/raft/"],
        within: &[],
        tests_too: true,
        because: "quorate-raft hides openraft, so that an upgrade touches one crate",
    },
    Place {
        patterns: &["rocksdb::"],
        allowed: &["crates/disk/"],
        within: &[],
        tests_too: true,
        because: "quorate-disk hides RocksDB behind the disk seam",
    },
    Place {
        patterns: &["Raft::new"],
        allowed: &["crates/raft/"],
        within: &[],
        tests_too: true,
        because: "Replica::start is the one place that starts consensus",
    },
    Place {
        patterns: &["Replica::start"],
        allowed: &["crates/raft/", "crates/server/"],
        within: &[],
        tests_too: true,
        because: "quorate_server::run is the one wiring of a replica, for main and the simulator alike",
    },
    Place {
        patterns: &["RocksDisk"],
        // The simulator crashes RocksDB itself, runs replicas on it, and judges what they left in it.
        allowed: &[
            "crates/disk/",
            "crates/quorate/",
            "simulation/src/rocks.rs",
            "simulation/src/crash_image/",
            "simulation/src/judge/",
        ],
        within: &[],
        tests_too: false,
        because: "a store arrives as Arc<dyn Disk>; only main chooses RocksDB",
    },
    Place {
        patterns: &["SystemClock", "SystemEntropy", "TcpNetwork", "FileJournal"],
        // openraft's own generator seeds itself where nobody did; election jitter needs no more. The
        // agent opens the journal that main hands to it, beside its other files. A shim is a process of its own, which
        // no simulation runs.
        allowed: &[
            "crates/seams/",
            "crates/quorate/",
            "crates/bench/",
            "crates/raft/src/runtime.rs",
            "crates/agent/src/identity.rs",
            "crates/agent/src/driver/process/shim/output.rs",
            "tests/",
        ],
        within: &[],
        tests_too: false,
        because: "the real clock, generator, network and journal are chosen by main and handed down",
    },
    Place {
        patterns: &["SystemTime::now", "std::time::Instant::now", "clock_gettime"],
        allowed: &["crates/seams/", "simulation/"],
        within: &[],
        tests_too: false,
        because: "take a quorate_seams::Clock: the simulator cannot see any other",
    },
    Place {
        patterns: &["rand::", "thread_rng", "getrandom", "RandomState::new", "Uuid::new_v4"],
        allowed: &["crates/seams/", "simulation/", "crates/raft/src/runtime.rs"],
        within: &[],
        tests_too: true,
        because: "take a quorate_seams::Entropy: a seed must reproduce every draw",
    },
    Place {
        patterns: &["TcpListener::bind", "TcpStream::connect", "UdpSocket::bind", "UnixListener::bind"],
        // The local cluster of the demo and the benchmarks looks for free ports to hand out.
        allowed: &["crates/seams/", "crates/bench/src/ports.rs", "simulation/", "tests/"],
        within: &[],
        tests_too: false,
        because: "take a quorate_seams::Network",
    },
    Place {
        patterns: &["futures_util::select!", "futures::select!", "futures_util::select_biased!"],
        allowed: &[],
        within: &[],
        tests_too: true,
        because: "use tokio::select! { biased; ... }: the other one draws from a process-wide counter",
    },
    Place {
        patterns: &["HashMap", "HashSet", "HashTrieMap", "HashTrieSet"],
        allowed: &[],
        within: &["crates/state/", "crates/scheduler/"],
        tests_too: false,
        because: "use an ordered map: every replica must walk it in the same order",
    },
    Place {
        patterns: &["f32", "f64"],
        allowed: &[],
        within: &["crates/state/", "crates/scheduler/"],
        tests_too: false,
        because: "use integers or fixed point: floats differ between machines",
    },
    Place {
        patterns: &[
            ".await",
            "async fn",
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "std::process",
            "std::io",
            "tokio::",
        ],
        allowed: &[],
        within: &["crates/state/src/", "crates/scheduler/src/", "crates/values/src/"],
        tests_too: false,
        because: "state, scheduler and values compute values from values",
    },
    Place {
        patterns: &["todo!", "unimplemented!", "dbg!"],
        allowed: &[],
        within: &[],
        tests_too: true,
        because: "finish it, or return an error that says what is not supported yet",
    },
    Place {
        patterns: &["#[allow"],
        allowed: &[],
        within: &[],
        tests_too: true,
        because: "use #[expect(..., reason = \"...\")]: it complains when it is no longer needed",
    },
];

/// Marks that something was left for later; they live in comments, so the whole text is searched.
const LEFT_OVERS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Every construct of the table stands only where it may, and nothing is marked as left for later.
pub(crate) fn stay_where_they_belong(sources: &[Source]) -> Vec<Violation> {
    // The table above is itself made of these words.
    let bound = |source: &&Source| source.is_rust() && source.path != "crates/xtask/src/tidy/constructs.rs";
    sources.iter().filter(bound).flat_map(in_file).collect()
}

fn in_file(source: &Source) -> Vec<Violation> {
    let code = code::only(&source.text);
    let product = code::product(&code);
    let mut violations = Vec::new();
    for place in PLACES {
        let bound = place.within.is_empty() || lies_in(&source.path, place.within);
        if !bound || lies_in(&source.path, place.allowed) || (source.is_test() && !place.tests_too) {
            continue;
        }
        let searched = if place.tests_too { &code } else { product };
        for pattern in place.patterns {
            let found = code::lines_with(searched, pattern).into_iter();
            let what = format!("`{pattern}` does not belong here: {}", place.because);
            violations.extend(found.map(|line| Violation::at("constructs", &source.path, line, &what)));
        }
    }
    for mark in LEFT_OVERS {
        let found = code::lines_with(&source.text, mark).into_iter();
        let what = format!("`{mark}`: do it now, or write down elsewhere what remains");
        violations.extend(found.map(|line| Violation::at("left-overs", &source.path, line, &what)));
    }
    violations
}

fn lies_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| if place.ends_with('/') { path.starts_with(place) } else { path == *place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        stay_where_they_belong(&[Source::new(path, text)]).len()
    }

    #[test]
    fn each_construct_is_found_outside_its_place_and_free_inside() {
        for (text, outside, inside) in [
            ("fn f() { unsafe { g() } }", "crates/server/src/a.rs", "crates/agent/src/driver/process.rs"),
            ("use openraft::Raft;", "crates/server/src/a.rs", "crates/raft/src/replica.rs"),
            ("let r = Raft::new(id);", "simulation/src/world.rs", "crates/raft/src/replica.rs"),
            ("let r = Replica::start(c).await;", "crates/quorate/src/main.rs", "crates/server/src/replica.rs"),
            ("let d = rocksdb::DB::open();", "crates/raft/src/a.rs", "crates/disk/src/lib.rs"),
            ("let d = RocksDisk::open(p);", "crates/server/src/replica.rs", "crates/quorate/src/server.rs"),
            ("let c = SystemClock;", "crates/server/src/replica.rs", "crates/quorate/src/server.rs"),
            ("let t = SystemTime::now();", "crates/agent/src/a.rs", "crates/seams/src/clock.rs"),
            ("let x = rand::rng();", "crates/client/src/a.rs", "simulation/src/seed.rs"),
            ("let l = TcpListener::bind(a);", "crates/server/src/a.rs", "crates/seams/src/network.rs"),
            ("use std::collections::HashMap;", "crates/state/src/a.rs", "crates/agent/src/a.rs"),
            ("let x: f64 = 0.5;", "crates/scheduler/src/a.rs", "crates/bench/src/a.rs"),
            ("async fn f() {}", "crates/state/src/a.rs", "crates/raft/src/a.rs"),
        ] {
            assert!(found(outside, text) > 0, "{text} in {outside}");
            assert_eq!(found(inside, text), 0, "{text} in {inside}");
        }
    }

    #[test]
    fn constructs_that_belong_nowhere_are_found_also_in_tests() {
        for text in ["todo!()", "dbg!(x)", "#[allow(dead_code)]", "futures_util::select! {}"] {
            assert_eq!(found("tests/e2e.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn unit_tests_may_use_what_the_product_may_not() {
        assert_eq!(found("crates/state/src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n use std::fs;\n}\n"), 0);
    }

    #[test]
    fn a_sentence_about_a_construct_is_not_one() {
        assert_eq!(found("crates/server/src/a.rs", "// never Raft::new here\nlet s = \"unsafe\";\n"), 0);
    }

    #[test]
    fn marks_for_later_are_found_in_comments() {
        assert_eq!(found("crates/server/src/a.rs", concat!("// TO", "DO: later\n")), 1);
    }
}

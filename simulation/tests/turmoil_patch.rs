//! What our patch adds to turmoil (ADR 0025): hosts that pause as after SIGSTOP, and clocks that drift.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Sim};

/// How far two readings of the same moment may be apart: a timer that ends with a tick fires on the
/// next one.
const SLACK: Duration = Duration::from_millis(2);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn simulation(tick: Duration) -> Sim<'static> {
    Builder::new()
        .rng_seed(7)
        .tick_duration(tick)
        .simulation_duration(Duration::from_secs(10_000))
        .min_message_latency(ms(1))
        .max_message_latency(ms(20))
        .enable_random_order()
        .build()
}

fn run_for(sim: &mut Sim<'_>, time: Duration) {
    let end = sim.elapsed() + time;
    while sim.elapsed() < end {
        sim.step().unwrap();
    }
}

fn assert_near(left: Duration, right: Duration, slack: Duration) {
    assert!(left.abs_diff(right) <= slack, "{left:?} and {right:?} are more than {slack:?} apart");
}

/// What a host last saw on its clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    /// `sim_elapsed`, which the simulation takes for the truth.
    simulated: Duration,
    /// tokio's clock, since the host's software was started.
    own: Duration,
    /// How often the host has looked.
    looks: u64,
    /// How often its software was started.
    starts: u64,
}

/// A host that looks at its clocks all the `period`.
fn watcher(sim: &mut Sim<'_>, name: &str, period: Duration) -> Rc<Cell<Clocks>> {
    let seen = Rc::new(Cell::new(Clocks::default()));
    let shared = seen.clone();
    sim.host(name, move || {
        let seen = shared.clone();
        async move {
            let started = Instant::now();
            seen.set(Clocks { starts: seen.get().starts + 1, ..seen.get() });
            loop {
                tokio::time::sleep(period).await;
                let simulated = turmoil::sim_elapsed().unwrap();
                assert!(simulated >= seen.get().simulated, "simulated time went back");
                let looks = seen.get().looks + 1;
                seen.set(Clocks { simulated, own: started.elapsed(), looks, ..seen.get() });
            }
        }
    });
    seen
}

#[test]
fn timers_of_a_paused_host_wait_for_the_resume_and_then_fire_at_once() {
    let mut sim = simulation(ms(1));
    let fired = Rc::new(RefCell::new(Vec::new()));
    let shared = fired.clone();
    sim.host("host", move || {
        let fired = shared.clone();
        async move {
            for after in [20, 100, 200, 2_000] {
                let fired = fired.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(ms(after)).await;
                    fired.borrow_mut().push((after, turmoil::sim_elapsed().unwrap()));
                });
            }
            std::future::pending().await
        }
    });
    run_for(&mut sim, ms(50));
    assert_eq!(fired.borrow().len(), 1);

    sim.pause("host");
    assert!(sim.is_paused("host"));
    run_for(&mut sim, ms(500));
    assert_eq!(fired.borrow().len(), 1, "a paused host runs");

    sim.resume("host");
    assert!(!sim.is_paused("host"));
    run_for(&mut sim, ms(1));
    assert_eq!(fired.borrow()[1..], [(100, ms(550)), (200, ms(550))]);

    run_for(&mut sim, ms(2_000));
    let (after, at) = fired.borrow()[3];
    assert_eq!(after, 2_000, "a timer that was not due fired early, or not at all");
    assert_near(at, ms(2_000), SLACK);
}

#[test]
fn the_clocks_of_a_host_agree_with_simulated_time_after_a_pause() {
    let mut sim = simulation(ms(1));
    let (paused, other) = (watcher(&mut sim, "paused", ms(1)), watcher(&mut sim, "other", ms(1)));
    for _ in 0..3 {
        run_for(&mut sim, ms(100));
        let before = paused.get();
        sim.pause("paused");
        sim.pause("paused");
        run_for(&mut sim, ms(1_234));
        assert_eq!(paused.get().looks, before.looks);
        assert_near(other.get().own, sim.elapsed(), SLACK);

        sim.resume("paused");
        sim.resume("paused");
        run_for(&mut sim, ms(1));
        assert_near(paused.get().simulated, sim.elapsed(), SLACK);
        assert_near(paused.get().own, sim.elapsed(), SLACK);
    }
}

/// A client that sends a number all 10 ms and a host that notes what came and when.
fn numbers(sim: &mut Sim<'_>) -> Rc<RefCell<Vec<(u8, Duration)>>> {
    let noted = Rc::new(RefCell::new(Vec::new()));
    let shared = noted.clone();
    sim.host("receiver", move || {
        let noted = shared.clone();
        async move {
            let listener = TcpListener::bind("0.0.0.0:1").await?;
            loop {
                let (mut stream, _) = listener.accept().await?;
                while let Ok(number) = stream.read_u8().await {
                    noted.borrow_mut().push((number, turmoil::sim_elapsed().unwrap()));
                }
            }
        }
    });
    sim.client("sender", async {
        let mut stream = TcpStream::connect("receiver:1").await?;
        for number in 0..60 {
            stream.write_u8(number).await?;
            tokio::time::sleep(ms(10)).await;
        }
        Ok(())
    });
    noted
}

#[test]
fn messages_to_a_paused_host_arrive_after_the_resume() {
    let mut sim = simulation(ms(1));
    let noted = numbers(&mut sim);
    run_for(&mut sim, ms(200));
    let before = noted.borrow().len();
    assert!(before > 0);

    sim.pause("receiver");
    run_for(&mut sim, ms(300));
    assert_eq!(noted.borrow().len(), before, "a paused host receives");

    sim.resume("receiver");
    run_for(&mut sim, ms(1));
    assert!(noted.borrow().len() > before + 20, "what has waited is not delivered");
    run_for(&mut sim, ms(500));
    let numbers: Vec<u8> = noted.borrow().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<u8>>());
    assert!(noted.borrow().iter().all(|(_, at)| *at < ms(200) || *at >= ms(500)));
}

#[test]
fn a_simulation_is_not_over_while_a_client_is_paused() {
    let mut sim = simulation(ms(1));
    sim.client("client", async { Ok(()) });
    sim.pause("client");
    assert!(!sim.step().unwrap());
    sim.resume("client");
    assert!(sim.step().unwrap());
}

#[test]
fn a_crash_or_a_bounce_ends_a_pause() {
    for crash in [true, false] {
        let mut sim = simulation(ms(1));
        let seen = watcher(&mut sim, "host", ms(1));
        run_for(&mut sim, ms(100));
        sim.pause("host");
        run_for(&mut sim, ms(100));
        if crash {
            sim.crash("host");
            assert!(!sim.is_paused("host"));
            sim.pause("host");
            assert!(!sim.is_paused("host"), "nothing runs that could be paused");
            run_for(&mut sim, ms(100));
        }
        sim.bounce("host");
        assert!(!sim.is_paused("host"));
        run_for(&mut sim, ms(50));
        assert_eq!(seen.get().starts, 2);
        assert_near(seen.get().own, ms(50), SLACK);
        assert_near(seen.get().simulated, sim.elapsed(), SLACK);
    }
}

#[test]
fn the_same_seed_with_the_same_pauses_and_rates_is_the_same_run() {
    let run = || {
        let mut sim = simulation(ms(1));
        let noted = numbers(&mut sim);
        sim.set_clock_rate("sender", 20_000);
        sim.set_clock_rate("receiver", -20_000);
        for host in ["receiver", "sender"] {
            run_for(&mut sim, ms(100));
            sim.pause(host);
            run_for(&mut sim, ms(130));
            sim.resume(host);
        }
        run_for(&mut sim, ms(600));
        noted.take()
    };
    let first = run();
    assert_eq!(first.len(), 60);
    assert_eq!(first, run());
}

#[test]
fn a_drifting_clock_leaves_simulated_time_alone() {
    let tick = ms(10);
    let mut sim = simulation(tick);
    let fast = watcher(&mut sim, "fast", ms(50));
    let slow = watcher(&mut sim, "slow", ms(50));
    let exact = watcher(&mut sim, "exact", ms(50));
    sim.set_clock_rate("fast", 500);
    sim.set_clock_rate("slow", -500);
    run_for(&mut sim, Duration::from_secs(1_000));
    for (clocks, ahead_ms) in [(fast, 500), (slow, -500), (exact, 0_i64)] {
        let Clocks { own, simulated, .. } = clocks.get();
        let now = sim.elapsed();
        assert!(simulated <= now);
        assert_near(simulated, now, ms(50) + tick);
        let ahead = i64::try_from(own.as_millis()).unwrap() - i64::try_from(simulated.as_millis()).unwrap();
        assert!((ahead - ahead_ms).abs() <= 10, "{ahead} ms ahead instead of {ahead_ms}");
    }
}

#[test]
fn simulated_time_stays_within_a_tick_of_the_truth_on_every_tick() {
    for (tick, ppm) in [-500_000, -70_001, 70_001, 500_000].map(|ppm| [(1, ppm), (10, ppm)]).concat() {
        let mut sim = simulation(ms(tick));
        let seen = watcher(&mut sim, "host", ms(1));
        sim.set_clock_rate("host", ppm);
        for _ in 0..2_000 / tick {
            let (before, looks) = (sim.elapsed(), seen.get().looks);
            sim.step().unwrap();
            if seen.get().looks > looks {
                let simulated = seen.get().simulated;
                assert!(before <= simulated && simulated <= sim.elapsed(), "{simulated:?} in the tick of {before:?}");
            }
        }
        let expected = ms(u64::try_from(2_000 * (1_000_000 + ppm) / 1_000_000).unwrap());
        assert_near(seen.get().own, expected, SLACK);
    }
}

#[test]
fn a_rate_outlives_a_crash_and_holds_during_a_pause() {
    let mut sim = simulation(ms(1));
    let seen = watcher(&mut sim, "host", ms(1));
    sim.set_clock_rate("host", 100_000);
    run_for(&mut sim, ms(100));
    sim.crash("host");
    run_for(&mut sim, ms(100));
    sim.bounce("host");
    run_for(&mut sim, ms(1_000));
    assert_near(seen.get().own, ms(1_100), SLACK);
    sim.pause("host");
    run_for(&mut sim, ms(1_000));
    sim.resume("host");
    run_for(&mut sim, ms(1));
    assert_near(seen.get().own, ms(2_200), SLACK);
    assert_near(seen.get().simulated, sim.elapsed(), SLACK);
}

#[test]
#[should_panic(expected = "within 500000 ppm")]
fn a_rate_that_is_no_drift_is_refused() {
    let mut sim = simulation(ms(1));
    watcher(&mut sim, "host", ms(1));
    sim.set_clock_rate("host", 500_001);
}

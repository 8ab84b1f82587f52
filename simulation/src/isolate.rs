//! One run on a thread of its own, prepared so that nothing of the process or of an earlier run shows
//! in it, and watched so that no panic passes unseen.

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, Once, PoisonError};

use crate::outcome::{End, Outcome, Stats};
use crate::overrides;
use crate::run::{self, Options};
use crate::scenario::Scenario;

/// The harness's own property: a run comes to its end, and nothing in it panics.
pub(crate) const HARNESS: &str = "H";

/// The whole product runs on this one stack, in a build that may not be optimised.
const STACK_BYTES: usize = 64 << 20;

/// Tokio spreads tasks over shards by their process-wide id: begin each run at the same place.
const TASK_ID_SHARDS: u64 = 64;

/// Runs a scenario. A panic anywhere in it violates [`HARNESS`], also one that a runtime caught and
/// that the run went on after.
pub(crate) fn run(scenario: Scenario, options: Options) -> Outcome {
    let seed = scenario.seed;
    let (ended, panic) = match alone(seed, move || run::run(&scenario, &options)) {
        Ok(ended) => ended,
        Err(error) => return broken(seed, format!("crashed: no thread for the run: {error}"), vec![]),
    };
    match (ended, panic) {
        (Some(outcome), None) => outcome,
        (Some(outcome), Some(panic)) => match outcome.end {
            End::Violated { .. } => outcome,
            End::Held | End::Stopped | End::Invalid { .. } => {
                let at_ms = outcome.stats.simulated_ms;
                let end = End::Violated { property: HARNESS.to_owned(), what: panic, at_ms, before: vec![] };
                Outcome { end, ..outcome }
            }
        },
        (None, panic) => broken(seed, panic.unwrap_or_else(|| "panicked".to_owned()), vec![]),
    }
}

/// Tells a story on a thread of its own: what it came to, unless it panicked, and the first panic.
pub(crate) fn alone<T: Send + 'static>(
    seed: u64,
    story: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<(Option<T>, Option<String>)> {
    let panics = Panics::default();
    let seen = panics.clone();
    let watched = move || {
        seen.watch();
        overrides::enter(seed);
        align_task_ids();
        story()
    };
    let ended = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(watched)?.join().ok();
    Ok((ended, panics.first()))
}

/// The outcome of a run that did not live to tell its own: `what` and its last words.
pub(crate) fn broken(seed: u64, what: String, before: Vec<String>) -> Outcome {
    let end = End::Violated { property: HARNESS.to_owned(), what, at_ms: 0, before };
    Outcome { seed, end, stats: Stats::default(), trace: String::new(), events: 0 }
}

/// The outcome of a run whose process died. If its last words tell of a panic of the product's, then a
/// host failed (C7), and what was dropped while its stack unwound took the process along.
pub(crate) fn died(seed: u64, what: String, last_words: Vec<String>) -> Outcome {
    let mut outcome = broken(seed, what, last_words);
    if let End::Violated { property, what, before, .. } = &mut outcome.end {
        let panic = before.iter().find_map(|line| line.strip_prefix(FIRST_PANIC));
        if let Some(panic) = panic.filter(|panic| !panic.contains(OWN_SOURCES)) {
            "C7".clone_into(property);
            *what = format!("a host {panic}; {what}");
        }
    }
    outcome
}

/// Before what the first panic said, on standard error, once there is a second.
const FIRST_PANIC: &str = "the first panic of the run: ";

/// Where a panic of the simulator's own comes from.
const OWN_SOURCES: &str = "at simulation/";

/// The first panic of a run. Cloning shares it.
#[derive(Clone, Debug, Default)]
struct Panics(Arc<Mutex<Option<String>>>);

thread_local! {
    static WATCHING: RefCell<Option<Panics>> = const { RefCell::new(None) };
}

impl Panics {
    /// From now on this thread's panics are kept here instead of being printed. With the second the first
    /// is told on standard error: a third may come while the stack unwinds, and ends the process.
    fn watch(self) {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !keep(panic) {
                    usual(panic);
                }
            }));
        });
        WATCHING.set(Some(self));
    }

    fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether the thread is watched.
fn keep(panic: &PanicHookInfo<'_>) -> bool {
    let watching = WATCHING.try_with(|watching| watching.try_borrow().ok().and_then(|panics| panics.clone()));
    let Ok(Some(panics)) = watching else { return false };
    let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    let word = panic.payload().downcast_ref::<String>().map(String::as_str);
    let word = word.or_else(|| panic.payload().downcast_ref::<&str>().copied()).unwrap_or("no message");
    let mut first = panics.0.lock().unwrap_or_else(PoisonError::into_inner);
    match &*first {
        None => *first = Some(format!("panicked{place}: {word}")),
        // Nobody may be there to read it.
        Some(first) => drop(writeln!(std::io::stderr().lock(), "{FIRST_PANIC}{}", first.replace('\n', " "))),
    }
    true
}

fn align_task_ids() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        loop {
            let id = tokio::spawn(std::future::ready(())).id().to_string();
            if id.parse::<u64>().is_ok_and(|id| id % TASK_ID_SHARDS == TASK_ID_SHARDS - 1) {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_died_of_a_panic_of_the_products_is_a_host_that_failed() {
        let property = |last_words: &[&str]| {
            let lines = last_words.iter().map(ToString::to_string).collect();
            match died(1, "crashed".to_owned(), lines).end {
                End::Violated { property, what, .. } => (property, what),
                End::Held | End::Stopped | End::Invalid { .. } => panic!("it died"),
            }
        };
        let first = format!("{FIRST_PANIC}panicked at crates/state/src/apply.rs:1: no row");
        assert_eq!(
            property(&["one", &first, "aborting"]),
            ("C7".to_owned(), "a host panicked at crates/state/src/apply.rs:1: no row; crashed".to_owned())
        );
        assert_eq!(property(&["aborting"]), (HARNESS.to_owned(), "crashed".to_owned()));
        let own = format!("{FIRST_PANIC}panicked at simulation/src/net.rs:1: no host");
        assert_eq!(property(&[&own]).0, HARNESS);
    }
}

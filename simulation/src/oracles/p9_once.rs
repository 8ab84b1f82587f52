//! P9: a timer fires once, whoever leads and however often that is asked for; and a reason to end an attempt stays what it
//! is.

use std::collections::BTreeSet;

use quorate_state::{Attempt, Command, Reply, Timer};

use super::history::{attempt_name, attempts};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Follows what has fired.
#[derive(Default)]
pub(crate) struct Once {
    fired: BTreeSet<Timer>,
}

impl Oracle for Once {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for (item, reply) in answered(step) {
            if let (Command::FireTimers { timers }, Ok(Reply::Counted(count))) = (&item.command, reply) {
                self.on_fired(timers, *count)?;
            }
        }
        attempts(step).try_for_each(|row| check_stop(step, row))
    }
}

impl Once {
    fn on_fired(&mut self, timers: &[Timer], count: u32) -> Verdict {
        let asked: BTreeSet<Timer> = timers.iter().copied().collect();
        let left = asked.difference(&self.fired).count();
        if count as usize > left {
            return Err(format!("{count} of {timers:?} fired, and only {left} of these had not fired before"));
        }
        // Where some did not fire, nobody knows which.
        if count as usize == timers.len() {
            self.fired.extend(asked.into_iter().filter(is_one_thing));
        }
        Ok(())
    }
}

/// One instant can mean two things: first that an attempt is lost, then that it is gone.
fn is_one_thing(timer: &Timer) -> bool {
    match timer {
        Timer::UnknownTooLong { .. } => false,
        Timer::TaskWait { .. }
        | Timer::RunTimeout { .. }
        | Timer::QueueTimeout { .. }
        | Timer::RunDeadline { .. }
        | Timer::GangStart { .. } => true,
    }
}

fn check_stop(step: &Step, row: &Attempt) -> Verdict {
    let before = step.before.attempt(row.id).and_then(|before| before.stop);
    match before {
        Some(before) if row.stop != Some(before) => {
            Err(format!("{} was to end for {before:?}, and is now for {:?}", attempt_name(row.id), row.stop))
        }
        Some(_) | None => Ok(()),
    }
}

//! Restarts of all replicas or all agents in turn, in the planned way: asked to stop, ended, started, and back before
//! the next one is asked. Other faults go on meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_seams::{BootInstant, Clock as _, SystemClock};

use super::Cluster;
use crate::hosts::REPLICAS;
use crate::schedule::Class;

/// One that was asked to stop and has not is killed after this: it may stand still, or wait for who is cut off.
const STOP_MAX: Duration = Duration::from_secs(25);
/// One that does not answer after its start is not waited for any longer.
const BACK_MAX: Duration = Duration::from_secs(8);
/// Of an agent nobody asks whether it is back.
const AGENT_BACK: Duration = Duration::from_secs(1);

/// Who has to be restarted yet, and who is.
pub(super) struct Rolling {
    waiting: VecDeque<usize>,
    phase: Phase,
    restarted: usize,
}

#[derive(Clone, Copy)]
enum Phase {
    /// The next one is to be asked.
    Next,
    /// This machine was asked to stop, then.
    Stopping(usize, BootInstant),
    /// It was started again, then.
    Back(usize, BootInstant),
}

impl Rolling {
    pub(super) fn of(machines: impl IntoIterator<Item = usize>) -> Self {
        Self { waiting: machines.into_iter().collect(), phase: Phase::Next, restarted: 0 }
    }

    /// True when this machine was asked to stop.
    pub(super) fn stops(&self, machine: usize) -> bool {
        matches!(self.phase, Phase::Stopping(stopping, _) if stopping == machine)
    }
}

impl Cluster {
    /// Goes on with the restarts, if there are any to be made.
    pub(super) fn roll(&mut self) {
        let Some(mut rolling) = self.rolling.take() else { return };
        let now = SystemClock.boot();
        rolling.phase = match rolling.phase {
            Phase::Next => {
                let Some(machine) = rolling.waiting.pop_front() else {
                    if rolling.restarted > 0 {
                        self.fire(Class::Rolling);
                    }
                    return;
                };
                // What another fault holds down is not restarted.
                if self.machines[machine].is_running() && !self.has_no_room(machine) {
                    self.machines[machine].terminate();
                    Phase::Stopping(machine, now)
                } else {
                    Phase::Next
                }
            }
            Phase::Stopping(machine, since) => match self.machines[machine].ended() {
                Some(status) => {
                    if !status.success() && !self.is_excused(machine) && !self.has_no_room(machine) {
                        self.deaths.push(self.machines[machine].obituary(status));
                    }
                    rolling.restarted += 1;
                    self.start(machine);
                    Phase::Back(machine, now)
                }
                // Somebody has killed it, and will start it.
                None if !self.machines[machine].is_running() => Phase::Next,
                None if now.since(since) > STOP_MAX => {
                    self.machines[machine].kill9();
                    self.start(machine);
                    Phase::Back(machine, now)
                }
                None => Phase::Stopping(machine, since),
            },
            Phase::Back(machine, since) => {
                let is_back = if machine < REPLICAS {
                    self.leaders.has_answered(machine, since)
                } else {
                    now.since(since) > AGENT_BACK
                };
                if is_back || now.since(since) > BACK_MAX { Phase::Next } else { Phase::Back(machine, since) }
            }
        };
        self.rolling = Some(rolling);
    }
}

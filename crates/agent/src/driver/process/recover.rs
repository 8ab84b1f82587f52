//! Where a shim was killed: ends what is left of its attempt, and says what is not certainly gone.
//!
//! The kernel has killed the leaders with their shims; what can be left are their descendants. They
//! are found in three ways, each of which finds what the others cannot: by the group that the leader
//! led, by the environment that they inherited, and by the control group they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::AttemptId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::pause;
use super::proc::{self, Stat};
use crate::cgroup::Cgroups;
use crate::driver::{Leftover, idempotency_key};

/// How long a killed process may take to be gone before its attempt is called alive.
const WAIT_MAX: Duration = Duration::from_secs(3);

pub(super) async fn recover(leftovers: Vec<Leftover>, groups: Option<&Cgroups>) -> BTreeSet<AttemptId> {
    // No process outlives a boot.
    let leftovers: Vec<Leftover> = leftovers.into_iter().filter(|leftover| leftover.same_boot).collect();
    let mut waited = Duration::ZERO;
    let mut looks = 0;
    loop {
        let found = if leftovers.is_empty() { Vec::new() } else { find(&leftovers) };
        if found.is_empty() && !groups.is_none_or(Cgroups::others_are_gone) {
            if waited >= WAIT_MAX {
                // Whose it is cannot be told any more.
                return leftovers.into_iter().map(|leftover| leftover.attempt).collect();
            }
        } else if found.is_empty() || waited >= WAIT_MAX {
            return found.into_iter().map(|(attempt, _, _)| attempt).collect();
        }
        for (attempt, pid, stat) in found {
            tracing::warn!(?attempt, pid, "killing a process that an earlier life of this agent left");
            kill(pid, stat);
        }
        tokio::time::sleep(pause(looks)).await;
        waited += pause(looks);
        looks += 1;
    }
}

/// Every living process of these attempts.
fn find(leftovers: &[Leftover]) -> Vec<(AttemptId, u32, Stat)> {
    let by_leader: BTreeMap<u32, (u64, AttemptId)> = leftovers
        .iter()
        .filter_map(|leftover| leftover.process.map(|(pid, ticks)| (pid, (ticks, leftover.attempt))))
        .collect();
    let by_key: BTreeMap<(Vec<u8>, Vec<u8>), AttemptId> = leftovers
        .iter()
        .map(|Leftover { attempt, .. }| {
            let key = format!("QUORATE_IDEMPOTENCY_KEY={}", idempotency_key(attempt.task));
            ((key.into_bytes(), format!("QUORATE_ATTEMPT={}", attempt.number).into_bytes()), *attempt)
        })
        .collect();
    let own = std::process::id();
    let mut found = Vec::new();
    for pid in proc::pids().into_iter().filter(|pid| *pid != own) {
        let Some(stat) = proc::stat(pid).filter(|stat| stat.lives()) else { continue };
        // A group keeps its number from being given away. So it is the one we know if its leader is
        // the process we know, or if there is no process of that number.
        let by_group = by_leader.get(&stat.group).filter(|(ticks, _)| {
            stat.ticks >= *ticks && proc::stat(stat.group).is_none_or(|leader| leader.ticks == *ticks)
        });
        let attempt = by_group.map(|(_, attempt)| *attempt).or_else(|| {
            let environment = proc::environment(pid);
            let starting = |name: &[u8]| environment.iter().find(|entry| entry.starts_with(name)).cloned();
            let key = (starting(b"QUORATE_IDEMPOTENCY_KEY=")?, starting(b"QUORATE_ATTEMPT=")?);
            by_key.get(&key).copied()
        });
        found.extend(attempt.map(|attempt| (attempt, pid, stat)));
    }
    found
}

/// Kills exactly the process that was looked at: the handle is taken first, then checked to be its.
fn kill(pid: u32, stat: Stat) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(number, PidfdFlags::empty()) else { return };
    if proc::stat(pid).is_some_and(|now| now.ticks == stat.ticks)
        && let Err(errno) = pidfd_send_signal(&handle, Signal::KILL)
    {
        tracing::error!(pid, %errno, "it cannot be killed: its attempt stays and holds its resources");
    }
}

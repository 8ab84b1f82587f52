//! After a restart: finds the attempts that have outlived the agent, by the files of their shims, and ends those that
//! nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{AttemptId, OnNodeLoss, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::records::Record;
use super::running::{self, Started};
use super::shim::{self, Begun, OnExit};
use super::{Shims, pause, recover, word};
use crate::cgroup::Cell;
use crate::driver::Leftover;

/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// How long a stranger may take to be gone when it is told to.
const STRANGER_MAX: Duration = Duration::from_secs(3);

/// An attempt that has outlived the agent, or has ended while there was none.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) begun: Begun,
    shim: Option<OwnedFd>,
    record: Arc<Record>,
    orphaned: bool,
    /// Its working directory is not another's by now.
    pub(super) has_workspace: bool,
}

impl Found {
    pub(super) fn started(self, cell: Option<Cell>, on_exit: OnExit) -> Started {
        let Self { begun, shim, record, orphaned, has_workspace: _ } = self;
        Started { begun, shim, record, cell, on_exit, orphaned }
    }
}

/// Those of `known` that run under a shim, or of which one says how they ended.
pub(super) async fn find(shims: &Shims, known: Vec<Leftover>) -> BTreeMap<AttemptId, Found> {
    match look(shims, known).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(directory = %shims.directory.display(), %error, "what an earlier life left running cannot be read");
            BTreeMap::new()
        }
    }
}

async fn look(shims: &Shims, known: Vec<Leftover>) -> io::Result<BTreeMap<AttemptId, Found>> {
    fs::create_dir_all(&shims.directory)?;
    wait_for_starts(shims).await?;
    let known: BTreeMap<(AttemptId, Token), Leftover> = known
        .into_iter()
        .filter(|leftover| leftover.same_boot)
        .map(|leftover| ((leftover.attempt, leftover.token), leftover))
        .collect();
    let lease_over = shim::Timer::until(shim::read_lease(&shims.lease()))?.is_none();
    let mut found = BTreeMap::new();
    let mut strangers = Vec::new();
    let mut left = Vec::new();
    for entry in fs::read_dir(&shims.directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| name.parse::<u64>().is_err()) {
            continue;
        }
        let record = entry.path();
        let said = shim::read_record(&record).filter(|(begun, _)| begun.boot_id == shims.boot_id);
        let said = said.and_then(|(begun, ended)| Some((shim::parse_name(&begun.attempt)?, begun, ended)));
        let Some((name, begun, ended)) = said else {
            // Nothing survives a boot, and what was not written whole was not left running.
            remove(&record)?;
            continue;
        };
        let attempt = name.0;
        let shim = running::watch(&begun)?;
        if shim.is_none() {
            left.push(leftover(attempt, &begun));
        }
        let goes_on = shim.is_some() && shims.options.on_exit == OnExit::Leave;
        // One that was told to end has no outcome of its own.
        let has_outcome = ended.is_some_and(|ended| !ended.asked && !ended.fenced);
        if known.contains_key(&name) && (goes_on || has_outcome) {
            if lease_over && shim::promised(begun.promise) == OnNodeLoss::Fenced {
                shim.as_ref().map(|shim| pidfd_send_signal(shim, shim::KILL));
            }
            let record = shims.records.record(record);
            shims.records.keep(attempt, name.1, record.clone());
            found.insert(attempt, Found { begun, shim, record, orphaned: false, has_workspace: true });
        } else {
            strangers.extend(shim.map(|shim| (attempt, begun, shim)));
            remove(&record)?;
        }
    }
    if found.values().all(|found| found.shim.is_none()) {
        // What stands there may be of an earlier boot, and nobody needs it.
        shim::write_lease(&shim::open_lease(&shims.lease())?, 0)?;
    }
    left.extend(strangers.iter().map(|(attempt, begun, _)| leftover(*attempt, begun)));
    end(strangers).await;
    // A shim that was killed may have left something, and one that came to its end has not.
    for attempt in recover::recover(left, None).await {
        if let Some(found) = found.get_mut(&attempt) {
            found.orphaned = true;
        }
    }
    share_out(&mut found);
    Ok(found)
}

/// What an attempt had may be another's by now, where the agent was killed before its journal knew of the end of the
/// first: then it is that of the one that lives, or began last. Cleaning up after the other must not meet it.
fn share_out(found: &mut BTreeMap<AttemptId, Found>) {
    let in_workspaces = owners(found, |one| Some(&one.begun.workspace));
    let in_cells = owners(found, |one| one.begun.cell.as_ref().map(|held| &held.name));
    for (attempt, one) in found {
        one.has_workspace = in_workspaces.contains(attempt);
        if !in_cells.contains(attempt) {
            one.begun.cell = None;
        }
    }
}

/// Whose each of these is.
fn owners(found: &BTreeMap<AttemptId, Found>, what: fn(&Found) -> Option<&String>) -> BTreeSet<AttemptId> {
    let mut last: BTreeMap<&String, (bool, u64, AttemptId)> = BTreeMap::new();
    for (attempt, one) in found {
        let Some(name) = what(one) else { continue };
        let claim = (one.shim.is_some(), one.begun.shim_ticks, *attempt);
        let best = last.entry(name).or_insert(claim);
        *best = claim.max(*best);
    }
    last.into_values().map(|(.., attempt)| attempt).collect()
}

/// The file of a shim, and what its attempt has said.
fn remove(record: &Path) -> io::Result<()> {
    match fs::remove_file(word::path_of(record)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::remove_file(record)
}

/// Waits until nothing that an earlier life asked for can still begin.
async fn wait_for_starts(shims: &Shims) -> io::Result<()> {
    let lock = shim::open_lock(&shims.lock())?;
    let mut waited = Duration::ZERO;
    let mut said = Duration::ZERO;
    for looks in 0.. {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if waited >= said + SAY_EVERY {
            said = waited;
            tracing::warn!("waiting for a start of the earlier agent: a process named quorate-shim does not go on");
        }
        tokio::time::sleep(pause(looks)).await;
        waited += pause(looks);
    }
    Ok(())
}

/// Ends attempts that the journal does not know, or that should have ended with their agent.
async fn end(strangers: Vec<(AttemptId, Begun, OwnedFd)>) {
    for (attempt, begun, shim) in &strangers {
        tracing::warn!(?attempt, shim = begun.shim, "ending an attempt that an earlier life of this agent left");
        let _ = pidfd_send_signal(shim, shim::KILL);
    }
    let mut waited = Duration::ZERO;
    let mut looks = 0;
    while strangers.iter().any(|(_, _, shim)| !has_ended(shim)) {
        if waited >= STRANGER_MAX {
            for (_, _, shim) in &strangers {
                let _ = pidfd_send_signal(shim, Signal::KILL);
            }
            return;
        }
        tokio::time::sleep(pause(looks)).await;
        waited += pause(looks);
        looks += 1;
    }
}

fn has_ended(shim: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(shim, PollFlags::IN)], Some(&at_once)) == Ok(1)
}

fn leftover(attempt: AttemptId, begun: &Begun) -> Leftover {
    Leftover { attempt, token: Token::default(), process: Some((begun.pid, begun.ticks)), same_boot: true }
}

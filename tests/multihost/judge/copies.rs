//! What must hold of the copies of a task: P1 and P2, by what they wrote down themselves and what the sink took.

use std::collections::{BTreeMap, BTreeSet};

use super::{End, Evidence};
use crate::history::Asked;
use crate::ledger::Execution;

/// What an attempt has started lives on for no longer than this after its first process, in microseconds: the time to kill.
const OUTLIVES_US: u64 = 2_000_000;

/// Of each attempt, the token that it was placed with.
pub(super) fn tokens(evidence: &Evidence) -> Vec<String> {
    let mut violations = Vec::new();
    let mut given = BTreeMap::new();
    for (id, run) in &evidence.runs {
        let mut attempts: Vec<(u32, u32, u64)> =
            run.attempts.iter().map(|(index, number, token, _)| (*index, *number, *token)).collect();
        attempts.sort_unstable();
        for pair in attempts.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let ((index, early, before), (_, late, after)) = (pair[0], pair[1]);
            if before >= after {
                violations.push(format!(
                    "{id}[{index}]: attempt {early} has token {before}, attempt {late} has token {after}"
                ));
            }
        }
        given.extend(attempts.into_iter().map(|(index, number, token)| ((id.as_str(), index, number), token)));
    }
    for one in &evidence.executions {
        let Execution { run, index, attempt, token, .. } = one;
        match given.get(&(run.as_str(), *index, *attempt)) {
            Some(placed) if placed == token => {}
            Some(placed) => violations.push(format!(
                "attempt {attempt} of {run}[{index}] was placed with token {placed}, and ran with {token}"
            )),
            // Of runs that are gone somebody else complains.
            None if !evidence.runs.contains_key(run) => {}
            None => violations.push(format!("attempt {attempt} of {run}[{index}] ran and was never placed")),
        }
    }
    violations
}

pub(super) fn starts(evidence: &Evidence) -> Vec<String> {
    let twice = evidence.executions.iter().filter(|execution| execution.starts > 1);
    twice
        .map(|one| format!("attempt {} of {}[{}] started {} times", one.attempt, one.run, one.index, one.starts))
        .collect()
}

/// Of each task with this promise, its attempts in the order of their numbers.
pub(super) fn by_task<'a>(evidence: &'a Evidence, promise: &'a str) -> impl Iterator<Item = Vec<&'a Execution>> {
    let mut tasks: BTreeMap<(&str, u32), Vec<&Execution>> = BTreeMap::new();
    for execution in evidence.executions.iter().filter(|execution| execution.promise == promise) {
        tasks.entry((&execution.run, execution.index)).or_default().push(execution);
    }
    tasks.into_values().map(|mut attempts| {
        attempts.sort_unstable_by_key(|one| one.attempt);
        attempts
    })
}

pub(super) fn fenced(evidence: &Evidence) -> Vec<String> {
    let overlaps = overlaps(evidence).into_iter().filter(|(early, late)| !is_waived(evidence, early, late));
    overlaps
        .map(|(early, late)| {
            format!(
                "{}[{}]: attempt {} on {} lived until {} us, attempt {} on {} had begun at {} us",
                early.run,
                early.index,
                early.attempt,
                early.node,
                early.last_us,
                late.attempt,
                late.node,
                late.first_us
            )
        })
        .collect()
}

/// How many overlaps of `fenced` copies were not held against anybody.
pub(crate) fn waived(evidence: &Evidence) -> usize {
    overlaps(evidence).into_iter().filter(|(early, late)| is_waived(evidence, early, late)).count()
}

/// Copies of `fenced` tasks of which the earlier one lived when the later one had begun.
fn overlaps(evidence: &Evidence) -> Vec<(&Execution, &Execution)> {
    let mut found = Vec::new();
    for task in by_task(evidence, "fenced") {
        // Not only neighbours: a third copy may meet the first.
        for (position, late) in task.iter().enumerate() {
            found.extend(
                task[..position].iter().filter(|early| early.last_us > late.first_us).map(|early| (*early, *late)),
            );
        }
    }
    found
}

/// The promise is one about time, and says nothing when the machine stood still after the earlier copy began.
fn is_waived(evidence: &Evidence, early: &Execution, late: &Execution) -> bool {
    evidence.stillness.iter().any(|(from, to)| *from <= late.first_us && *to >= early.first_us)
}

pub(super) fn at_most_once(evidence: &Evidence) -> Vec<String> {
    let several = by_task(evidence, "at_most_once").filter(|task| task.len() > 1);
    several.map(|task| format!("{}[{}] was started {} times", task[0].run, task[0].index, task.len())).collect()
}

/// A first process that is stopped writes nothing, and its child may: until it goes on it counts as alive.
pub(super) fn children(evidence: &Evidence) -> Vec<String> {
    let outlived = evidence.executions.iter().filter_map(|one| {
        let Execution { run, index, attempt, node, alone_us, children_us, .. } = one;
        let is_it =
            |struck: &&super::Struck| struck.run == *run && (struck.index, struck.attempt) == (*index, *attempt);
        let stopped = evidence.struck.iter().filter(is_it).map(|struck| struck.stopped_until_us);
        let until_us = stopped.max().unwrap_or(0).max(*alone_us);
        let stood_still = evidence.stillness.iter().any(|(from, to)| from <= children_us && to >= alone_us);
        let outlives_us = children_us.saturating_sub(until_us);
        let left = if one.has_left { ", which had left its group," } else { "" };
        (outlives_us > OUTLIVES_US && !stood_still).then(|| {
            format!("a child of attempt {attempt} of {run}[{index}] on {node}{left} outlived it by {outlives_us} us")
        })
    });
    outlived.collect()
}

/// Whatever befalls nodes and replicas: nobody else ends it, and its end is not lost. Only of runs in which nothing was
/// cancelled or struck, because one task may take the others of its run along.
pub(super) fn own_end(evidence: &Evidence) -> Vec<String> {
    let cancelled = evidence.calls.iter().filter_map(|call| match &call.asked {
        Asked::Cancel { run } => Some(run.as_str()),
        Asked::Submit { .. } | Asked::Annotate { .. } | Asked::Get { .. } => None,
    });
    let excused: BTreeSet<&str> = cancelled.chain(evidence.struck.iter().map(|struck| struck.run.as_str())).collect();
    let mut violations = Vec::new();
    let once = evidence.executions.iter().filter(|one| one.promise == "at_most_once");
    for Execution { run, index, attempt, node, has_ended, .. } in once.filter(|one| !excused.contains(one.run.as_str()))
    {
        // Of runs that are gone, or have not ended, somebody else complains.
        let Some(known) = evidence.runs.get(run).filter(|run| run.has_ended) else { continue };
        let mut attempts = known.attempts.iter();
        let known = attempts.find(|(of, number, ..)| (of, number) == (index, attempt)).map(|(.., end)| *end);
        if !has_ended || known != Some(End::Succeeded) {
            let real = if *has_ended { "came to its end" } else { "was ended" };
            violations.push(format!("attempt {attempt} of {run}[{index}] on {node} {real}, and is known as {known:?}"));
        }
    }
    violations
}

pub(super) fn sink(evidence: &Evidence) -> Vec<String> {
    let stale = evidence.taken.iter().filter_map(|(object, lines)| {
        let pair = lines.windows(2).find(|pair| pair[0].0 > pair[1].0)?;
        let ((before, _), (after, key)) = (&pair[0], &pair[1]);
        Some(format!("{object}: token {after} was taken for {key} after token {before}"))
    });
    stale.collect()
}

/// The last token at the sink is that of the attempt that succeeded.
pub(super) fn last_word(evidence: &Evidence) -> Vec<String> {
    let mut violations = Vec::new();
    for (id, run) in &evidence.runs {
        for (index, number, token, _) in run.attempts.iter().filter(|(.., end)| *end == End::Succeeded) {
            // Tasks that promise to run at most once, and those of nothing, write to none.
            let Some(lines) = evidence.taken.get(&format!("{id}-{index}")) else { continue };
            if let Some((last, key)) = lines.last().filter(|(last, _)| last != token) {
                violations.push(format!(
                    "{id}[{index}]: attempt {number} succeeded with token {token}, the sink had {key} from {last} last"
                ));
            }
        }
    }
    violations
}

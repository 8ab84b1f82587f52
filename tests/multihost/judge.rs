//! The properties that must have held, one function each, over what clients, tasks and disks show.
//!
//! They are those of the simulator of the same numbers, as far as they can be seen from outside; none
//! asks a replica what it believes where somebody else knows.

mod copies;
mod pairs;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Asked, Call, Told, Watched};
use crate::ledger::{Execution, Record};
use crate::sink::Taken;
pub(crate) use copies::waived;
pub(crate) use pairs::{Affair, Cause, Row, table};

/// Violations shown of one property.
const SHOWN_MAX: usize = 5;

/// What there is to judge.
#[derive(Default)]
pub(crate) struct Evidence {
    pub(crate) calls: Vec<Call>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) executions: Vec<Execution>,
    /// Every run that the cluster knew in the end, by id.
    pub(crate) runs: BTreeMap<String, FinalRun>,
    /// For each of `watched`, what a watch from the same revision delivered in the end.
    pub(crate) replays: Vec<Watched>,
    /// What the sink took.
    pub(crate) taken: Taken,
    /// What befell agents, and when leadership was passed on.
    pub(crate) affairs: Vec<Affair>,
    /// Tasks that were struck themselves.
    pub(crate) struck: Vec<Struck>,
    /// When the machine stood still, in microseconds since it was switched on.
    pub(crate) stillness: Vec<(u64, u64)>,
    /// What each replica holds: revision, and digest of the whole history.
    pub(crate) digests: Vec<(u64, String)>,
    /// Processes that ended by themselves without a reason.
    pub(crate) deaths: Vec<String>,
}

/// A run as it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct FinalRun {
    pub(crate) job: String,
    pub(crate) has_ended: bool,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Index, number, fencing token (the revision of the placement), and how it ended.
    pub(crate) attempts: Vec<(u32, u32, u64, End)>,
}

/// An attempt whose processes were killed or stopped by a fault of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Struck {
    pub(crate) run: String,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    /// Microseconds since the machine was switched on: until then it was stopped. Zero for one that was killed.
    pub(crate) stopped_until_us: u64,
}

impl Struck {
    pub(crate) fn of(record: &Record, stopped_until_us: u64) -> Self {
        let Record { run, index, attempt, .. } = record;
        Self { run: run.clone(), index: *index, attempt: *attempt, stopped_until_us }
    }
}

/// How an attempt ended, as the cluster has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    /// It was given up with its node.
    Lost,
    /// In another way, or not.
    Other,
}

/// A property, by its name.
type Property = (&'static str, fn(&Evidence) -> Vec<String>);

/// All of them.
const PROPERTIES: [Property; 16] = [
    ("C8 what was accepted is there, and every run ended", accepted),
    ("C8 what was annotated is there", annotated),
    ("C9 no submit was carried out twice, or although it was said not to be", once),
    ("R1 nobody was answered from the past", revisions),
    ("R3 watches had no gap", watches),
    ("P8 nothing was placed after its cancel", cancels),
    ("P1 tokens rise from attempt to attempt, and tasks were given them", copies::tokens),
    ("P2 no attempt was started twice", copies::starts),
    ("P2 no two copies of a fenced task ran at once", copies::fenced),
    ("P2 no at_most_once task was started twice", copies::at_most_once),
    ("P2 children end with their attempt, also those that left its group", copies::children),
    ("P14 an at_most_once task that was neither cancelled nor struck came to its end, which is known", copies::own_end),
    ("P2 the sink took no token below one that it had taken", copies::sink),
    ("P2 a task that succeeded had the last word at the sink", copies::last_word),
    ("Attempts do not lie: one that succeeded had run to its end", outcomes),
    ("C6 replicas agree, and none gave up", agreement),
];

/// What was found of one property.
pub(crate) struct Judged {
    pub(crate) name: &'static str,
    /// How often it did not hold.
    pub(crate) violations: usize,
    /// The first few times.
    pub(crate) shown: Vec<String>,
}

/// Judges all properties.
pub(crate) fn judge(evidence: &Evidence) -> Vec<Judged> {
    let judged = PROPERTIES.iter().map(|(name, property)| {
        let mut shown = property(evidence);
        let violations = shown.len();
        shown.truncate(SHOWN_MAX);
        Judged { name, violations, shown }
    });
    judged.collect()
}

fn accepted(evidence: &Evidence) -> Vec<String> {
    let submits = evidence.calls.iter().filter_map(|call| match (&call.asked, &call.told) {
        (Asked::Submit { job }, Told::Done { of_run, .. }) => Some((job, of_run)),
        _ => None,
    });
    let lost = submits.filter_map(|(job, run)| match evidence.runs.get(run) {
        None => Some(format!("run {run} of job {job} was accepted and is not known")),
        Some(known) if known.job != *job => Some(format!("run {run} was accepted as {job} and is {}", known.job)),
        Some(_) => None,
    });
    let stuck = evidence.runs.iter().filter(|(_, run)| !run.has_ended);
    lost.chain(stuck.map(|(id, run)| format!("run {id} of job {} has not ended", run.job))).collect()
}

fn annotated(evidence: &Evidence) -> Vec<String> {
    let told = |call: &Call| match (&call.asked, &call.told) {
        (Asked::Annotate { run, key, value }, Told::Done { .. }) => {
            let kept = evidence.runs.get(run).and_then(|run| run.annotations.get(key));
            (kept != Some(value)).then(|| format!("{key} = {value} was accepted at run {run}, which has {kept:?}"))
        }
        (Asked::Annotate { run, key, .. }, Told::Unavailable { .. } | Told::Refused { .. }) => {
            let kept = evidence.runs.get(run).and_then(|run| run.annotations.get(key));
            kept.map(|_| format!("{key} at run {run} was said not to be done, and is there"))
        }
        _ => None,
    };
    evidence.calls.iter().filter_map(told).collect()
}

fn once(evidence: &Evidence) -> Vec<String> {
    let mut runs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, run) in &evidence.runs {
        runs.entry(&run.job).or_default().push(id);
    }
    let told = |call: &Call| {
        let Asked::Submit { job } = &call.asked else { return None };
        let made = runs.get(job.as_str()).map_or(&[][..], Vec::as_slice);
        match &call.told {
            Told::Unavailable { .. } | Told::Refused { .. } if !made.is_empty() => {
                Some(format!("job {job} was said not to be submitted, and has runs {made:?}"))
            }
            _ if made.len() > 1 => Some(format!("job {job} was submitted once and has runs {made:?}")),
            _ => None,
        }
    };
    evidence.calls.iter().filter_map(told).collect()
}

/// What ended before something else began has no newer revision.
fn revisions(evidence: &Evidence) -> Vec<String> {
    let done = |call: &Call| match call.told {
        Told::Done { revision, .. } => Some((call.begun_us, call.ended_us, revision)),
        Told::Refused { .. } | Told::Unavailable { .. } | Told::Unknown { .. } => None,
    };
    let mut by_begin: Vec<(u64, u64, u64)> = evidence.calls.iter().filter_map(done).collect();
    by_begin.sort_unstable();
    let mut by_end: Vec<(u64, u64)> = by_begin.iter().map(|(_, ended, revision)| (*ended, *revision)).collect();
    by_end.sort_unstable();
    let (mut ended, mut newest) = (by_end.into_iter().peekable(), (0, 0));
    let mut violations = Vec::new();
    for (begun, _, revision) in by_begin {
        while let Some((at, of)) = ended.next_if(|(at, _)| *at < begun) {
            newest = newest.max((of, at));
        }
        if revision < newest.0 {
            let (known, at) = newest;
            violations.push(format!(
                "a call begun at {begun} us was answered as of revision {revision}, {known} was known at {at} us"
            ));
        }
    }
    violations
}

fn watches(evidence: &Evidence) -> Vec<String> {
    let pairs = evidence.watched.iter().zip(&evidence.replays);
    let gaps = pairs.filter_map(|(watched, replay)| {
        let shared = replay.events.iter().take(watched.events.len());
        if watched.events.iter().eq(shared) {
            return None;
        }
        let position = watched.events.iter().zip(&replay.events).take_while(|(seen, real)| seen == real).count();
        let (seen, real) = (watched.events.get(position), replay.events.get(position));
        let (who, run, from) = (&watched.who, &watched.run, watched.from);
        Some(format!("{who} watched run {run} from {from}: event {position} was {seen:?}, and is {real:?}"))
    });
    gaps.collect()
}

fn cancels(evidence: &Evidence) -> Vec<String> {
    let late = |call: &Call| {
        let (Asked::Cancel { run }, Told::Done { revision, .. }) = (&call.asked, &call.told) else { return None };
        let attempts = &evidence.runs.get(run)?.attempts;
        let (index, number, token, _) = attempts.iter().find(|(_, _, token, _)| token > revision)?;
        Some(format!("run {run} was cancelled at {revision}; attempt {number} of [{index}] was placed at {token}"))
    };
    evidence.calls.iter().filter_map(late).collect()
}

fn outcomes(evidence: &Evidence) -> Vec<String> {
    let written: BTreeSet<&str> = evidence.executions.iter().map(|execution| execution.run.as_str()).collect();
    let ended: BTreeSet<(&str, u32, u32)> = evidence
        .executions
        .iter()
        .filter(|execution| execution.has_ended)
        .map(|execution| (execution.run.as_str(), execution.index, execution.attempt))
        .collect();
    // Runs of nothing write nothing.
    let runs = evidence.runs.iter().filter(|(id, _)| written.contains(id.as_str()));
    let claims = runs.flat_map(|(id, run)| run.attempts.iter().map(move |attempt| (id, attempt)));
    let false_claims = claims.filter(|(id, (index, number, _, end))| {
        *end == End::Succeeded && !ended.contains(&(id.as_str(), *index, *number))
    });
    false_claims
        .map(|(id, (index, number, ..))| format!("attempt {number} of {id}[{index}] succeeded and did not end"))
        .collect()
}

fn agreement(evidence: &Evidence) -> Vec<String> {
    let mut violations = evidence.deaths.clone();
    let distinct: BTreeSet<&(u64, String)> = evidence.digests.iter().collect();
    if distinct.len() > 1 {
        violations.push(format!("replicas hold different histories: {:?}", evidence.digests));
    }
    violations
}

#[cfg(test)]
mod tests;

//! What the demo showed: a timeline of every attempt, and what became of the leader.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::v1;
use quorate_seams::BootInstant;
use serde::Serialize;

use super::attempt::Attempt;
use super::run::Run;
use super::table::{Rows, entry, faint, state};
use super::task::task_name;
use super::{Paint, View, time};
use crate::demo::millis_between;

/// The death of a leader, and what followed.
#[derive(Debug, Serialize)]
pub(crate) struct Takeover {
    /// The replica that was killed.
    killed_replica: u64,
    killed_term: u64,
    /// When, as time of day.
    pub(crate) killed_at_ms: u64,
    /// The replica that leads since.
    pub(crate) leader: Option<u64>,
    term: Option<u64>,
    /// From the kill until the new leader answered.
    leader_after_ms: Option<u64>,
    /// From the kill until the first task was placed.
    pub(crate) first_placement_ms: Option<u64>,
    #[serde(skip)]
    killed_at: BootInstant,
}

impl Takeover {
    /// Replica `replica`, leader of `term`, is killed now.
    pub(crate) fn begun(replica: u64, term: u64, wall_ms: u64, now: BootInstant) -> Self {
        Self {
            killed_replica: replica,
            killed_term: term,
            killed_at_ms: wall_ms,
            leader: None,
            term: None,
            leader_after_ms: None,
            first_placement_ms: None,
            killed_at: now,
        }
    }

    /// Replica `replica` leads in `term`; the milliseconds since the kill come back.
    pub(crate) fn led_by(&mut self, replica: u64, term: u64, now: BootInstant) -> u64 {
        let took = millis_between(self.killed_at, now);
        self.leader = Some(replica);
        self.term = Some(term);
        self.leader_after_ms = Some(took);
        took
    }
}

/// What the demo showed.
#[derive(Debug, Serialize)]
pub(crate) struct Demonstration {
    run: Run,
    took_ms: Option<u64>,
    takeover: Option<Takeover>,
    attempts: Vec<Attempt>,
    directory: Option<String>,
    #[serde(skip)]
    complaints: Vec<String>,
    #[serde(skip)]
    submitted_at_ms: u64,
}

impl Demonstration {
    /// Sums up a run that has ended.
    pub(crate) fn new(
        run: v1::Run,
        mut attempts: Vec<v1::Attempt>,
        takeover: Option<Takeover>,
        directory: Option<String>,
    ) -> Self {
        attempts.sort_by_key(|attempt| (started_ms(attempt), attempt.token));
        Self {
            complaints: complaints(&run, &attempts, takeover.as_ref()),
            submitted_at_ms: run.submitted_at_ms,
            took_ms: run.ended_at_ms.map(|ended| ended.saturating_sub(run.submitted_at_ms)),
            run: run.into(),
            takeover,
            attempts: attempts.into_iter().map(Into::into).collect(),
            directory,
        }
    }

    /// What should have been otherwise; nothing, when all went well.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

/// When an attempt started, or was placed when it never did.
fn started_ms(attempt: &v1::Attempt) -> u64 {
    attempt.started_at_ms.unwrap_or(attempt.placed_at_ms)
}

/// Judges by the run's own records, not by what the demo saw on the way.
fn complaints(run: &v1::Run, attempts: &[v1::Attempt], takeover: Option<&Takeover>) -> Vec<String> {
    let mut complaints = Vec::new();
    if run.state() != v1::RunState::Succeeded {
        complaints.push(format!("the run ended as {}", super::run::run_word(run.state)));
    }
    let counts = run.counts.unwrap_or_default();
    let others = counts.waiting
        + counts.ready
        + counts.placed
        + counts.running
        + counts.failed
        + counts.cancelled
        + counts.skipped;
    if others > 0 || counts.succeeded == 0 {
        complaints.push(format!("{} succeeded and {others} did not", time::count(counts.succeeded.into(), "task")));
    }
    let mut successes: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.state() == v1::AttemptState::Succeeded) {
        *successes.entry((&attempt.task, attempt.index)).or_default() += 1;
    }
    if successes.len() != counts.succeeded as usize {
        complaints.push(format!(
            "{} with a successful attempt, {} succeeded",
            time::count(successes.len() as u64, "task"),
            counts.succeeded
        ));
    }
    for ((task, index), _) in successes.iter().filter(|(_, count)| **count > 1) {
        complaints.push(format!("{task}[{index}] succeeded more than once"));
    }
    if takeover.is_some_and(|takeover| takeover.leader.is_none()) {
        complaints.push("no new leader was seen after the kill".to_owned());
    }
    complaints
}

impl View for Demonstration {
    const SCHEMA: &'static str = "quorate.v1.demo/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["TASK", "ATTEMPT", "REGION", "CLUSTER", "NODE", "START", "END", "OUTCOME"]);
        let since = |millis: u64| time::offset(millis.saturating_sub(self.submitted_at_ms));
        let arrays: BTreeSet<&str> =
            self.attempts.iter().filter(|attempt| attempt.index > 0).map(|attempt| attempt.task.as_str()).collect();
        let mut kill = self.takeover.as_ref();
        for attempt in &self.attempts {
            if let Some(takeover) =
                kill.take_if(|takeover| takeover.killed_at_ms <= attempt.started_at_ms.unwrap_or(attempt.placed_at_ms))
            {
                rows.row(kill_row(takeover, &since(takeover.killed_at_ms)));
            }
            rows.row(vec![
                entry(task_name(&attempt.task, attempt.index, arrays.contains(attempt.task.as_str()))),
                entry(attempt.number.to_string()),
                entry(&attempt.region),
                entry(&attempt.cluster),
                entry(&attempt.node),
                faint(since(attempt.started_at_ms.unwrap_or(attempt.placed_at_ms))),
                faint(attempt.ended_at_ms.map_or("-".to_owned(), since)),
                state(&attempt.state),
            ]);
        }
        if let Some(takeover) = kill {
            rows.row(kill_row(takeover, &since(takeover.killed_at_ms)));
        }
        format!("\n{}\n\n{}", rows.text(), self.summary())
    }
}

impl Demonstration {
    fn summary(&self) -> String {
        let nodes: BTreeSet<&str> = self.attempts.iter().map(|attempt| attempt.node.as_str()).collect();
        let regions: BTreeSet<&str> = self.attempts.iter().map(|attempt| attempt.region.as_str()).collect();
        let mut text = format!(
            "Run {} {}: {}, {} attempts on {} nodes in {} regions, {} in all\n",
            self.run.id,
            self.run.state,
            self.run.tasks.words(),
            self.attempts.len(),
            nodes.len(),
            regions.len(),
            self.took_ms.map_or("-".to_owned(), time::span)
        );
        if let Some(takeover) = &self.takeover {
            let after = |millis: Option<u64>| millis.map_or("never".to_owned(), |millis| format!("after {millis} ms"));
            text += &format!(
                "Leader (replica {}, term {}) killed with SIGKILL; new leader {} {}; first placement {}\n",
                takeover.killed_replica,
                takeover.killed_term,
                takeover.leader.map_or("-".to_owned(), |leader| format!("replica {leader}")),
                after(takeover.leader_after_ms),
                after(takeover.first_placement_ms)
            );
        }
        if let Some(directory) = &self.directory {
            text += &format!("Data and logs are kept in {directory}\n");
        }
        text
    }
}

fn kill_row(takeover: &Takeover, at: &str) -> Vec<super::table::Entry> {
    let mut row = vec![entry(format!("--- leader (replica {}) killed ---", takeover.killed_replica))];
    row.extend((0..4).map(|_| entry("")));
    row.extend([faint(at), entry(""), state("killed")]);
    row
}

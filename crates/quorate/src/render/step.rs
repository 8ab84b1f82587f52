//! Steps of a run: where their tasks stand, what they are for, and what was decided of them.

use quorate_proto::v1;
use serde::Serialize;

use super::Paint;
use super::run::Counts;
use super::table::{Rows, entry, faint, state};
use super::usage::UsageSum;

/// When a step has its turn in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Work,
    Undo,
    Finally,
}

impl Phase {
    fn head(self) -> &'static str {
        match self {
            Self::Work => "TASK",
            Self::Undo => "UNDO",
            Self::Finally => "FINALLY",
        }
    }

    /// What is said above a drawing; the work comes first and needs none.
    pub(super) fn heading(self) -> Option<&'static str> {
        match self {
            Self::Work => None,
            Self::Undo => Some("undoes what was done, when the work has not succeeded:"),
            Self::Finally => Some("at the end in any case:"),
        }
    }
}

/// One step of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(super) task: String,
    count: u32,
    /// How many there are is decided once its needs are met.
    open: bool,
    needs: Vec<String>,
    /// `work`, `fallback`, `undo` or `finally`.
    role: &'static str,
    /// What it stands in for, or undoes.
    of: Vec<String>,
    /// Its condition.
    when: Option<String>,
    /// `run`, `pass_over` or `fail`, if that had to be decided and is.
    decided: Option<&'static str>,
    /// Why it fails by that.
    decided_message: Option<String>,
    /// So many may fail.
    accept_failed: u32,
    /// So many succeeded in the run of which this one is a second try.
    kept: u32,
    /// Of what its tasks are runs, if they are: a job, with @ and its version where that is pinned.
    sub_run: Option<String>,
    /// Where it stands as a gang, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    gang: Option<Gang>,
    pub(super) tasks: Counts,
    /// What those of its attempts use that run, as far as it is known.
    pub(super) usage: Option<UsageSum>,
}

/// A gang.
#[derive(Debug, Serialize)]
struct Gang {
    /// How often it was placed.
    generation: u32,
    /// The others are stopped for one of it.
    is_breaking: bool,
}

impl From<v1::Step> for Step {
    fn from(step: v1::Step) -> Self {
        let decided = match step.decided() {
            v1::Decision::Unspecified => None,
            v1::Decision::Run => Some("run"),
            v1::Decision::PassOver => Some("pass_over"),
            v1::Decision::Fail => Some("fail"),
        };
        let (role, of) = match step.role.and_then(|role| role.role) {
            None => ("work", Vec::new()),
            Some(v1::role::Role::Fallback(fallback)) => ("fallback", fallback.of),
            Some(v1::role::Role::Undo(undo)) => ("undo", vec![undo.of]),
            Some(v1::role::Role::Finally(_)) => ("finally", Vec::new()),
        };
        Self {
            task: step.task,
            count: step.count,
            open: step.open,
            needs: step.needs,
            role,
            of,
            when: step.when,
            decided,
            decided_message: Some(step.decided_message).filter(|message| !message.is_empty()),
            accept_failed: step.accept_failed,
            kept: step.kept,
            sub_run: Some(step.sub_run).filter(|job| !job.is_empty()),
            gang: step.gang.map(|gang| Gang { generation: gang.generation, is_breaking: gang.is_breaking }),
            tasks: step.counts.unwrap_or_default().into(),
            usage: None,
        }
    }
}

impl Step {
    pub(super) fn phase(&self) -> Phase {
        match self.role {
            "undo" => Phase::Undo,
            "finally" => Phase::Finally,
            _ => Phase::Work,
        }
    }

    /// The steps that it waits for.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = &str> {
        let targets = if self.role == "fallback" { &*self.of } else { &[] };
        self.needs.iter().chain(targets).map(String::as_str)
    }

    /// There was nothing to do for it.
    pub(super) fn is_passed_over(&self) -> bool {
        self.decided == Some("pass_over")
    }

    /// More of it has failed than it accepts.
    pub(super) fn has_failed(&self) -> bool {
        self.tasks.failed > self.accept_failed || (self.decided == Some("fail") && self.tasks.failed > 0)
    }

    /// Where its tasks stand: a step of one task has one state.
    fn state_words(&self) -> String {
        match self.tasks.named().iter().find(|(_, count)| *count == 1 && self.count == 1) {
            _ if self.is_passed_over() => "passed over".to_owned(),
            Some(_) if self.tasks.quarantined > 0 => "waiting (quarantined)".to_owned(),
            Some((name, _)) => (*name).to_owned(),
            None if self.tasks.total() == 0 && self.role == "undo" => "-".to_owned(),
            None => self.tasks.words(),
        }
    }

    /// The same with how many of them have ended, where that is not all of them, and with what it stands in for.
    pub(super) fn words(&self) -> String {
        let (ended, words) = (self.tasks.ended(), self.state_words());
        let words =
            if self.count > 1 && ended < self.count { format!("{ended}/{}: {words}", self.count) } else { words };
        let words = match self.kept {
            0 => words,
            all if all == self.count => format!("{words} (kept)"),
            some => format!("{words} ({some} kept)"),
        };
        let words = format!("{words}{}", self.gang_words());
        match self.role {
            "fallback" if self.is_passed_over() => words,
            "fallback" if self.tasks.waiting == self.tasks.total() => format!("{words}, if {} fails", self.targets()),
            "fallback" => format!("{words}, instead of {}", self.targets()),
            _ => words,
        }
    }

    /// In which generation it is as a gang, behind something else; nothing of others.
    fn gang_words(&self) -> String {
        match &self.gang {
            Some(Gang { generation, is_breaking: true }) => format!(" (gang {generation}, stopping)"),
            Some(Gang { generation: 0, .. }) => " (gang)".to_owned(),
            Some(Gang { generation, .. }) => format!(" (gang {generation})"),
            None => String::new(),
        }
    }

    fn targets(&self) -> String {
        self.of.join(" or ")
    }

    /// What it needs, and what else has to be so that it runs.
    fn conditions(&self) -> String {
        let needs = self.needs.join(", ");
        match self.role {
            "fallback" if needs.is_empty() => format!("if {} fails", self.targets()),
            "fallback" => format!("{needs}; if {} fails", self.targets()),
            _ => needs,
        }
    }

    /// Why it stands there, where the state does not say that by itself; `all` are the steps of its run.
    fn why(&self, all: &[Self]) -> String {
        if let Some(message) = &self.decided_message {
            return message.clone();
        }
        if self.is_passed_over() {
            return match (&self.when, self.role) {
                (_, "fallback") if self.when.is_none() => format!("{} did not fail", self.targets()),
                (Some(when), _) => format!("not true, or nothing to do: {when}"),
                (None, _) => "there is nothing to do".to_owned(),
            };
        }
        let stands_in = |other: &&Self| {
            let is_done = other.count > 0 && other.tasks.ended() == other.count && !other.has_failed();
            let is_one = other.role == "fallback" && other.of.contains(&self.task) && !other.is_passed_over();
            is_one && is_done && other.tasks.skipped + other.tasks.cancelled == 0
        };
        match all.iter().find(stands_in) {
            Some(other) if self.has_failed() || self.tasks.skipped + self.tasks.cancelled > 0 => {
                format!("{} stands in for it", other.task)
            }
            Some(_) | None if self.tasks.failed > 0 && !self.has_failed() => {
                format!("{} may fail", self.accept_failed)
            }
            Some(_) | None => String::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(task: &str, needs: &[&str], tasks: v1::TaskCounts) -> Self {
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        let mut step = Self::from(v1::Step { task: task.into(), needs, counts: Some(tasks), ..v1::Step::default() });
        step.count = step.tasks.total();
        step
    }
}

/// The steps of a phase; `all` are those of the run.
pub(super) fn table(phase: Phase, steps: &[&Step], all: &[Step], paint: Paint) -> String {
    let whys: Vec<String> = steps.iter().map(|step| step.why(all)).collect();
    let has_whys = whys.iter().any(|why| !why.is_empty());
    let heads = [phase.head(), "COUNT", "STATE", "NEEDS", "WHY"];
    let mut rows = Rows::new(paint, if has_whys { &heads } else { &heads[..4] });
    for (step, why) in steps.iter().zip(whys) {
        let job = step.sub_run.as_ref().map_or_else(String::new, |job| format!(" (job://{job})"));
        let mut cells = vec![
            entry(format!("{}{job}{}", step.task, step.gang_words())),
            entry(if step.open { "?".to_owned() } else { step.count.to_string() }),
            // A step of one task has one state, which then has its colour.
            state(&step.state_words()),
            faint(step.conditions()),
        ];
        if has_whys {
            cells.push(faint(why));
        }
        rows.row(cells);
    }
    rows.text()
}

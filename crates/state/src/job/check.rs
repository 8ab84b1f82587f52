//! What makes a spec valid: one answer for the command line, the server and `apply`, with every
//! violation at once.

use std::collections::{BTreeMap, BTreeSet};

mod company;
mod flow;
mod gang;
mod place;
mod resources;
mod sub_run;

pub use flow::{EXPRESSION_BYTES_MAX, FALLBACKS_DEEP_MAX, PARAMS_MAX};

use super::{Driver, JobSpec, OnNodeLoss, OnRegionLoss, Retry, TaskSpec, Violation};
use crate::{Settings, TaskName};

/// Tries of one task, the first included.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// The longest duration in a spec: ten years, in milliseconds.
pub const DURATION_MS_MAX: u64 = 10 * 366 * 24 * 3_600_000;
/// Shortest silence that ends an attempt: an agent listens once a second.
const SILENT_MS_MIN: u64 = 1_000;
/// CPU of one task, in thousandths of a core: a million cores.
pub const CPU_MILLI_MAX: u64 = 1_000_000_000;
/// Memory of one task: one exbibyte.
pub const MEMORY_BYTES_MAX: u64 = 1 << 60;
/// Labels of a job, regions, clusters, pools or labels that a task demands, taints that it tolerates, and what is never retried.
pub const LIST_MAX: usize = 64;
/// Bytes of a label's key or value.
pub const LABEL_BYTES_MAX: usize = 256;

impl JobSpec {
    /// Checks everything that can be known from the spec and the settings alone.
    ///
    /// # Errors
    /// All violations, in file order.
    pub fn check(&self, settings: &Settings) -> Result<(), Vec<Violation>> {
        let mut found = Found::default();
        if self.priority > 100 {
            found.add("priority", format!("{} is above 100, the highest", self.priority));
        }
        check_labels("labels", &self.labels, &mut found);
        if let Some(timeout) = self.timeout_ms
            && !(1..=DURATION_MS_MAX).contains(&timeout)
        {
            found.add("timeout", "is not between 1 ms and 10 years".into());
        }
        let steps = self.tasks.len();
        if steps == 0 {
            found.add("task", "a job has at least one task".into());
        }
        if steps > settings.steps_max as usize {
            found.add(
                "task",
                format!("{steps} tasks are over steps_max ({}): use count, or split the job", settings.steps_max),
            );
            // The rest could take long on something this large.
            return Err(found.0);
        }
        let total: u64 = self.tasks.iter().map(|task| u64::from(task.count)).sum();
        if total > u64::from(settings.tasks_per_run_max) {
            let most = settings.tasks_per_run_max;
            found.add(
                "task",
                format!("{total} tasks with their counts are over tasks_per_run_max ({most}): split the job"),
            );
        }
        self.check_params(&mut found);
        self.check_result(&mut found);
        let names = self.check_names(&mut found);
        for task in &self.tasks {
            task.check(settings, &names, &mut found);
        }
        self.check_roles(&mut found);
        if found.0.is_empty() {
            self.check_acyclic(&mut found);
        }
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }

    fn check_names(&self, found: &mut Found) -> BTreeSet<&TaskName> {
        let mut names = BTreeSet::new();
        for task in &self.tasks {
            if !names.insert(&task.name) {
                found.add(&format!("task.{}", task.name), "another task has this name".into());
            }
        }
        names
    }
}

impl TaskSpec {
    fn check(&self, settings: &Settings, names: &BTreeSet<&TaskName>, found: &mut Found) {
        let at = |key: &str| format!("task.{}.{key}", self.name);
        self.check_command(settings, found);
        let mut seen = BTreeSet::new();
        for (position, need) in self.needs.iter().enumerate() {
            let field = at(&format!("needs[{position}]"));
            if *need == self.name {
                found.add(&field, "a task cannot need itself".into());
            } else if !names.contains(need) {
                found.add(&field, format!("no task is called {need:?}"));
            } else if !seen.insert(need) {
                found.add(&field, format!("{need:?} is listed twice"));
            }
        }
        if self.count == 0 || self.count > settings.tasks_per_run_max {
            found.add(
                &at("count"),
                format!("{} is not between 1 and tasks_per_run_max ({})", self.count, settings.tasks_per_run_max),
            );
        }
        self.check_resources(found);
        self.check_flow(found);
        self.check_sub_run(found);
        self.check_gang(found);
        self.check_region_loss(found);
        check_retry(&self.retry, &at("retry"), found);
        if self.on_node_loss == OnNodeLoss::AtMostOnce && self.retry.attempts > 1 {
            let message = "an at_most_once task is started once: leave retry out, or choose another on_node_loss";
            found.add(&at("retry.attempts"), message.into());
        }
        if let Some(timeout) = self.run_timeout_ms
            && !(1..=DURATION_MS_MAX).contains(&timeout)
        {
            found.add(&at("timeouts.run"), "is not between 1 ms and 10 years".into());
        }
        if let Some(timeout) = self.queued_timeout_ms
            && !(1..=DURATION_MS_MAX).contains(&timeout)
        {
            found.add(&at("timeouts.queued"), "is not between 1 ms and 10 years".into());
        }
        if let Some(timeout) = self.silent_timeout_ms
            && !(SILENT_MS_MIN..=DURATION_MS_MAX).contains(&timeout)
        {
            found.add(&at("timeouts.silent"), "is not between 1 second and 10 years".into());
        }
        self.check_place(found);
    }

    fn check_region_loss(&self, found: &mut Found) {
        let at = |key: &str| format!("task.{}.on_region_loss{key}", self.name);
        if self.on_region_loss.is_some() && self.sub_run.is_some() {
            found.add(&at(""), "a run is in no region: say what becomes of its tasks in that job".into());
        }
        if self.on_region_loss.is_some() && self.gang.is_some() {
            let message =
                "a gang begins anew as a whole, wherever it fits: leave this out, or say where in place.regions";
            found.add(&at(""), message.into());
        }
        let Some(OnRegionLoss::MoveAfter { after_ms, spill }) = &self.on_region_loss else { return };
        if *after_ms > DURATION_MS_MAX {
            found.add(&at(".move_after"), "is over 10 years".into());
        }
        if spill.len() > LIST_MAX {
            found.add(&at(".spill"), format!("more than {LIST_MAX} regions"));
        }
        let mut seen = BTreeSet::new();
        for (position, region) in spill.iter().enumerate() {
            let field = at(&format!(".spill[{position}]"));
            if !seen.insert(region) {
                found.add(&field, format!("{region} is listed twice"));
            }
            if !self.place.regions.is_empty() && !self.place.regions.contains(region) {
                found.add(&field, format!("{region} is not among place.regions, which holds also then: add it there"));
            }
        }
    }

    fn check_command(&self, settings: &Settings, found: &mut Found) {
        let at = |key: &str| format!("task.{}.{key}", self.name);
        match self.driver {
            Driver::Process if self.sub_run.is_none() && self.argv.first().is_none_or(String::is_empty) => {
                found.add(&at("run"), "a program is needed: run = [\"program\", \"argument\"]".into());
            }
            Driver::Process | Driver::Noop => {}
        }
        for (position, argument) in self.argv.iter().enumerate() {
            if argument.contains('\0') {
                found
                    .add(&at(&format!("run[{position}]")), "contains a NUL byte, which no program can be given".into());
            }
        }
        let mut bytes: usize = self.argv.iter().map(|argument| argument.len() + 1).sum();
        for (key, value) in &self.env {
            bytes += key.len() + value.len() + 2;
            if key.is_empty() || key.contains(['=', '\0']) {
                found.add(&at("env"), format!("{key:?} is not a variable's name"));
            } else if key.starts_with("QUORATE_") {
                found.add(&at(&format!("env.{key}")), "names that start with QUORATE_ are set by the agent".into());
            }
            if value.contains('\0') {
                found.add(&at(&format!("env.{key}")), "contains a NUL byte, which no program can be given".into());
            }
        }
        if bytes > settings.argv_bytes_max as usize {
            let most = settings.argv_bytes_max;
            found.add(
                &at("run"),
                format!("run and env take {bytes} bytes, over argv_bytes_max ({most}): put large input into a file"),
            );
        }
    }
}

fn check_labels(field: &str, labels: &BTreeMap<String, String>, found: &mut Found) {
    if labels.len() > LIST_MAX {
        found.add(field, format!("more than {LIST_MAX} labels"));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > LABEL_BYTES_MAX || value.len() > LABEL_BYTES_MAX {
            found.add(field, format!("a key has 1 to {LABEL_BYTES_MAX} bytes and a value at most {LABEL_BYTES_MAX}"));
        }
        if key.contains('\0') || value.contains('\0') {
            found.add(field, "contains a NUL byte".into());
        }
    }
}

fn check_retry(retry: &Retry, field: &str, found: &mut Found) {
    let at = |key: &str| format!("{field}.{key}");
    if !(1..=ATTEMPTS_MAX).contains(&retry.attempts) {
        found.add(
            &at("attempts"),
            format!("{} is not between 1 and {ATTEMPTS_MAX} (the first try counts)", retry.attempts),
        );
    }
    if !(1_000..=100_000).contains(&retry.factor_milli) {
        found.add(&at("factor"), "is not between 1 and 100".into());
    }
    if retry.jitter_milli > 1_000 {
        found.add(&at("jitter"), "is not between 0 and 1".into());
    }
    if retry.cap_ms > DURATION_MS_MAX {
        found.add(&at("cap"), "is over 10 years".into());
    }
    if retry.first_ms > retry.cap_ms {
        found.add(&at("first"), format!("{} ms is over cap ({} ms)", retry.first_ms, retry.cap_ms));
    }
    if retry.never.len() + retry.never_errors.len() > LIST_MAX {
        found.add(&at("never"), format!("more than {LIST_MAX} exit codes and error types"));
    }
}

/// No answer lists more: a wrong generator would otherwise fill the screen.
const VIOLATIONS_MAX: usize = 100;

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, field: &str, message: String) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation { field: field.into(), message });
        }
    }
}

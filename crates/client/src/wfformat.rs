//! WfFormat 1.5, the WfCommons format of recorded scientific workflows, into a job's spec.
//!
//! A recording says what depended on what and how long each task ran; the files and programs are
//! not in it. The imported job has the recording's shape and sleeps for its times, scaled as asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use quorate_state::{
    Driver, JobName, JobSpec, NAME_BYTES_MAX, Namespace, OnFailure, OnNodeLoss, Place, Resources, Retry, Role,
    Settings, TaskName, TaskSpec, Violation,
};

mod document;
mod files;

use document::{Document, Execution};

/// No workflow file is larger.
pub const WFFORMAT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The only version that is read.
pub const WFFORMAT_VERSION: &str = "1.5";

/// How a recording becomes a job.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Where the job will live.
    pub namespace: Namespace,
    /// Its name; none takes the workflow's.
    pub name: Option<JobName>,
    /// Seconds of the job per second of the recording: 0.01 runs it a hundred times as fast.
    pub time_scale: f64,
    /// No task sleeps longer, in milliseconds, after scaling.
    pub run_ms_max: Option<u64>,
    /// CPU of a task whose cores were not recorded, in thousandths of a core.
    pub cpu_milli_default: u64,
    /// No task takes more CPU, so that small nodes can run a large machine's recording.
    pub cpu_milli_max: Option<u64>,
    /// Memory of a task for which none was recorded, in bytes.
    pub memory_bytes_default: u64,
    /// No task takes more memory.
    pub memory_bytes_max: Option<u64>,
    /// How often a failed task is tried, the first try included.
    pub attempts: u32,
    /// Tasks hand on names and sizes of the files that they write, to those that read them. Such a job needs feature
    /// `task-flow`.
    pub files: bool,
    /// The limits that the job is checked against.
    pub settings: Settings,
}

impl ImportOptions {
    /// Times as recorded, a core and 64 MiB where nothing was recorded, nothing capped, without files.
    pub fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            name: None,
            time_scale: 1.0,
            run_ms_max: None,
            cpu_milli_default: 1_000,
            cpu_milli_max: None,
            memory_bytes_default: 64 << 20,
            memory_bytes_max: None,
            attempts: 1,
            files: false,
            settings: Settings::default(),
        }
    }
}

/// A job and what of the recording is not in it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The job.
    pub spec: JobSpec,
    /// One sentence for each thing that was left out or changed.
    pub unmapped: Vec<String>,
}

/// Why a workflow cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the workflow: {0}")]
    Read(String),
    /// Too large.
    #[error("a workflow file has at most {WFFORMAT_BYTES_MAX} bytes (WFFORMAT_BYTES_MAX), this one has more")]
    TooLarge,
    /// No JSON, or not the shape of WfFormat.
    #[error("line {line}, column {column}: {message}: is this a WfFormat {WFFORMAT_VERSION} file?")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What was found and expected.
        message: String,
    },
    /// Another version of the format.
    #[error("schemaVersion is {0:?}, only {WFFORMAT_VERSION:?} can be read: convert it with the WfCommons tools")]
    Version(String),
    /// It contradicts itself.
    #[error("the workflow contradicts itself: {}", .0.join("; "))]
    Inconsistent(Vec<String>),
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
    /// The job that it describes is not valid.
    #[error("the workflow is no valid job: {}", .0.iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
}

/// Reads at most [`WFFORMAT_BYTES_MAX`]; what is longer is refused without reading the rest.
///
/// # Errors
/// It is larger, or cannot be read.
pub fn read_bounded(input: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let limit = WFFORMAT_BYTES_MAX as u64 + 1;
    input.take(limit).read_to_end(&mut bytes).map_err(|error| Error::Read(error.to_string()))?;
    if bytes.len() > WFFORMAT_BYTES_MAX { Err(Error::TooLarge) } else { Ok(bytes) }
}

/// Complaints about one file.
const COMPLAINTS_MAX: usize = 100;

/// Makes a job of a WfFormat 1.5 file.
///
/// # Errors
/// It is not such a file, or contradicts itself.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Error> {
    if bytes.len() > WFFORMAT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if !(options.time_scale.is_finite() && options.time_scale >= 0.0) {
        return Err(Error::Option(format!("time_scale must be a number from 0 up, not {}", options.time_scale)));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|error| Error::Syntax {
        line: error.line(),
        column: error.column(),
        message: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    })?;
    if document.schema_version != WFFORMAT_VERSION {
        return Err(Error::Version(document.schema_version));
    }
    let mut import = Import { options, changed: Changed::default(), complaints: Vec::new() };
    let mut spec = import.job(&document);
    if !import.complaints.is_empty() {
        return Err(Error::Inconsistent(import.complaints));
    }
    import.changed.left = options.files.then(|| files::connect(&document, &mut spec.tasks));
    spec.check(&options.settings).map_err(Error::Invalid)?;
    quorate_flow::check(&spec).map_err(Error::Invalid)?;
    Ok(Imported { spec, unmapped: import.changed.sentences(&document, options) })
}

struct Import<'o> {
    options: &'o ImportOptions,
    changed: Changed,
    complaints: Vec<String>,
}

impl Import<'_> {
    fn job(&mut self, document: &Document) -> JobSpec {
        let specification = &document.workflow.specification;
        let names = self.names(document);
        let mut needs = self.needs(document, &names);
        let execution = document.workflow.execution.as_ref();
        let mut executions: BTreeMap<&str, &Execution> = BTreeMap::new();
        for task in execution.map_or(&[][..], |execution| &execution.tasks) {
            if !names.contains_key(task.id.as_str()) {
                self.complain(format!("execution of {:?}, which is no task of the specification", task.id));
            } else if executions.insert(&task.id, task).is_some() {
                self.complain(format!("two executions of {:?}", task.id));
            }
        }
        let mut tasks = Vec::with_capacity(specification.tasks.len());
        for task in &specification.tasks {
            let Some(name) = names.get(task.id.as_str()) else { continue };
            let needs = needs.remove(task.id.as_str()).unwrap_or_default();
            tasks.push(self.task(name.clone(), needs, &task.id, executions.get(task.id.as_str()).copied()));
        }
        let name = self.options.name.clone().unwrap_or_else(|| name_like(&document.name, "workflow"));
        JobSpec {
            namespace: self.options.namespace.clone(),
            name,
            priority: 50,
            labels: BTreeMap::from([("imported-from".to_owned(), format!("wfformat-{WFFORMAT_VERSION}"))]),
            on_failure: OnFailure::Finish,
            timeout_ms: None,
            params: BTreeMap::new(),
            result: BTreeMap::new(),
            tasks,
        }
    }

    /// A task name for every id: the id where the rule for names allows it, else something like it.
    fn names<'d>(&mut self, document: &'d Document) -> BTreeMap<&'d str, TaskName> {
        let mut names = BTreeMap::new();
        let mut unique = Names::default();
        for task in &document.workflow.specification.tasks {
            if names.contains_key(task.id.as_str()) {
                self.complain(format!("two tasks have the id {:?}", task.id));
                continue;
            }
            let name = unique.unique(&task.id);
            self.changed.renamed += usize::from(name.as_str() != task.id);
            names.insert(task.id.as_str(), name);
        }
        names
    }

    /// Every edge is recorded at both its ends; one end is enough.
    fn needs<'d>(
        &mut self,
        document: &'d Document,
        names: &BTreeMap<&'d str, TaskName>,
    ) -> BTreeMap<&'d str, Vec<TaskName>> {
        let mut edges: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut needs: BTreeMap<&str, Vec<TaskName>> = BTreeMap::new();
        for task in &document.workflow.specification.tasks {
            let parents = task.parents.iter().map(|parent| (task.id.as_str(), parent.as_str()));
            let children = task.children.iter().map(|child| (child.as_str(), task.id.as_str()));
            for (child, parent) in parents.chain(children) {
                if !edges.insert((child, parent)) {
                    continue;
                }
                match (names.get(child), names.get(parent)) {
                    (Some(_), Some(name)) => needs.entry(child).or_default().push(name.clone()),
                    (None, _) => self.complain(format!("{parent:?} has the child {child:?}, which is not there")),
                    (_, None) => self.complain(format!("{child:?} has the parent {parent:?}, which is not there")),
                }
            }
        }
        needs
    }

    fn task(&mut self, name: TaskName, needs: Vec<TaskName>, id: &str, execution: Option<&Execution>) -> TaskSpec {
        let options = self.options;
        self.changed.unrecorded += usize::from(execution.is_none());
        let seconds = execution.map_or(0.0, |execution| execution.runtime_in_seconds);
        if !(seconds >= 0.0 && seconds.is_finite()) {
            self.complain(format!("{id:?} ran for {seconds} seconds"));
        }
        let scaled_ms = milliseconds(seconds * options.time_scale);
        let run_ms = options.run_ms_max.map_or(scaled_ms, |most| scaled_ms.min(most));
        self.changed.shortened += usize::from(run_ms < scaled_ms);

        let cores = execution.and_then(|execution| execution.core_count);
        if cores.is_some_and(|cores| !(cores >= 0.0 && cores.is_finite())) {
            self.complain(format!("{id:?} ran on {cores:?} cores"));
        }
        // Thousandths of a core and thousandths of a second are the same arithmetic.
        let cpu = cores.map_or(options.cpu_milli_default, milliseconds);
        let cpu_milli = options.cpu_milli_max.map_or(cpu, |most| cpu.min(most));
        let memory = execution.and_then(|execution| execution.memory_in_bytes).unwrap_or(options.memory_bytes_default);
        let memory_bytes = options.memory_bytes_max.map_or(memory, |most| memory.min(most));
        self.changed.narrowed += usize::from(cpu_milli < cpu || memory_bytes < memory);

        TaskSpec {
            gpu_models: vec![],
            alternatives: vec![],
            name,
            driver: Driver::Process,
            argv: vec!["sleep".to_owned(), format!("{}.{:03}", run_ms / 1_000, run_ms % 1_000)],
            env: BTreeMap::new(),
            needs,
            count: 1,
            resources: Resources { cpu_milli, memory_bytes, gpu_milli: 0 },
            retry: Retry { attempts: options.attempts, ..Retry::default() },
            run_timeout_ms: None,
            queued_timeout_ms: None,
            silent_timeout_ms: None,
            place: Place::default(),
            on_node_loss: OnNodeLoss::AtLeastOnce,
            role: Role::Work,
            templated: false,
            when: None,
            each: None,
            on_region_loss: None,
            accept_failed: 0,
            sub_run: None,
            gang: None,
            preemptible: true,
        }
    }

    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }
}

/// How many tasks are not quite as recorded.
#[derive(Default)]
struct Changed {
    renamed: usize,
    unrecorded: usize,
    shortened: usize,
    narrowed: usize,
    /// What is left of the files, if they are in the job.
    left: Option<files::Left>,
}

impl Changed {
    fn sentences(&self, document: &Document, options: &ImportOptions) -> Vec<String> {
        let specification = &document.workflow.specification;
        let execution = document.workflow.execution.as_ref();
        let executions = execution.map_or(&[][..], |execution| &execution.tasks);
        let with = |has: fn(&Execution) -> bool| executions.iter().filter(|task| has(task)).count();
        let moved = specification.tasks.iter().filter(|task| task.has_files()).count();
        let has_files = self.left.is_some();
        let left = self.left.as_ref();
        let facts = [
            (with(|task| task.command.is_some()), "recorded commands are replaced by sleeping for the recorded time"),
            (
                if has_files { specification.files.len() } else { 0 },
                "files are names and sizes that tasks hand on: nothing is read or written",
            ),
            (if has_files { 0 } else { specification.files.len() }, "files are left out: nothing is read or written"),
            (if has_files { 0 } else { moved }, "tasks named files that they read or write"),
            (left.map_or(0, |left| left.too_many_made), "tasks write more files than they can hand on"),
            (left.map_or(0, |left| left.too_many_taken), "readings of files are more than a task is given"),
            (left.map_or(0, |left| left.unordered), "readings are of files of tasks that the reader does not wait for"),
            (
                execution.map_or(0, |execution| execution.machines.len()),
                "machines are left out: placement decides where tasks run",
            ),
            (with(|task| task.priority.is_some()), "task priorities are left out: a job has one priority"),
            (
                with(|task| task.has_usage()),
                "tasks have measurements (CPU use, bytes read and written, energy) that are left out",
            ),
            (self.unrecorded, "tasks have no recorded execution and end at once"),
            (
                self.renamed,
                "tasks have a name that differs from their id, which has characters that names must not have",
            ),
            (self.narrowed, "tasks ask for less CPU or memory than recorded, because of the limits given"),
            (self.shortened, "tasks run shorter than recorded, because of the limit given"),
        ];
        let mut sentences: Vec<_> =
            facts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if options.time_scale != 1.0 {
            sentences.push(format!("times are scaled by {}", options.time_scale));
        }
        sentences
    }
}

/// Thousandths, rounded up; what is no amount counts as none, having been complained about.
fn milliseconds(seconds: f64) -> u64 {
    // The cast saturates, and no task may take this long anyway.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating at both ends is meant")]
    let millis = (seconds * 1_000.0).ceil() as u64;
    millis.min(crate::jobfile::DURATION_MS_MAX)
}

/// Hands out task names, each once.
#[derive(Default)]
struct Names {
    taken: BTreeSet<TaskName>,
    /// The last number appended to a name that several ids became; starting anew each time would
    /// take forever on a file where all do.
    numbers: BTreeMap<TaskName, usize>,
}

impl Names {
    fn unique(&mut self, id: &str) -> TaskName {
        let plain: TaskName = name_like(id, "task");
        let mut name = plain.clone();
        while self.taken.contains(&name) {
            let number = self.numbers.entry(plain.clone()).or_insert(1);
            *number += 1;
            name = numbered(&plain, *number);
        }
        self.taken.insert(name.clone());
        name
    }
}

fn numbered(name: &TaskName, number: usize) -> TaskName {
    let suffix = format!("-{number}");
    let stem = &name.as_str()[..name.as_str().len().min(NAME_BYTES_MAX - suffix.len())];
    name_like(&format!("{stem}{suffix}"), "task")
}

/// A well-formed name as much like `text` as the rule for names allows.
fn name_like<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str, fallback: &str) -> T {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let start = text.find(|c: char| c.is_ascii_alphanumeric());
    let name: String =
        start.map_or(fallback, |start| &text[start..]).chars().map(allowed).take(NAME_BYTES_MAX).collect();
    name.parse().expect("letters, digits and marks after a letter or digit are a name")
}

#[cfg(test)]
mod tests;

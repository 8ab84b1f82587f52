//! `quorate job`: submit, plan, validate and list jobs, and look at their versions.

mod told;
mod versions;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate_client::jobfile;
use quorate_proto::{convert, v1};
use quorate_state::JobSpec;

use super::select::Select;
use super::source::Source;
use super::stale::Stale;
use super::{Context, PAGE_ROWS, wait};
use crate::exit::{Code, Error};
use crate::render::job::{JobList, JobPlan, JobSubmitted, JobValidated, Violation};
use crate::render::run::RunStatus;
use crate::settings;
use told::Told;
use versions::{Delete, Diff, History, Revert};

/// `quorate job`.
#[derive(Args, Debug)]
pub(crate) struct Job {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Submit a job file: when this returns, the run is committed and will not be lost
    Run(RunJob),
    /// Say what submitting would do, and where the tasks could go now
    Plan(Plan),
    /// Check a job file without a control plane
    Validate(Validate),
    /// List jobs
    List(List),
    /// List the versions of a job, the newest first
    History(History),
    /// Say how one version of a job differs from another
    Diff(Diff),
    /// Submit what an earlier version was once more: a new version, and a run of it
    Revert(Revert),
    /// Hide a job of which nothing runs; its runs stay, and its name can be submitted again
    Delete(Delete),
}

#[derive(Args, Debug)]
struct RunJob {
    /// The job file (TOML, YAML or JSON), or - for standard input
    file: PathBuf,
    /// Wait until the run has ended; the exit code says how
    #[arg(long)]
    wait: bool,
    /// With --wait: give up waiting after this time, such as 10m; the run goes on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = settings::timeout)]
    timeout: Option<std::time::Duration>,
    /// Refuse when the newest version of the job is not this one (0: when there is such a job); 'job plan' shows it
    #[arg(long, value_name = "VERSION")]
    check_generation: Option<u32>,
    /// Name of this request: the same name with the same file gives the same run, however often it is sent
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    told: Told,
}

#[derive(Args, Debug)]
struct Plan {
    /// The job file, or - for standard input
    file: PathBuf,
    /// Exit with 10 when submitting would make a new version
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    told: Told,
}

#[derive(Args, Debug)]
struct Validate {
    /// The job file, or - for standard input
    file: PathBuf,
}

/// What `job list --help` ends with.
const LIST_EXAMPLES: &str = "\
Examples:
  quorate job list --state failed          jobs whose newest run failed
  quorate job list -l team=risk -A         jobs with this label, in all namespaces
  quorate job list --until 30d             jobs that were not submitted for thirty days";

#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    #[command(flatten)]
    select: Select,
    /// Show at most this many
    #[arg(long, default_value_t = PAGE_ROWS, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Jobs of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    #[command(flatten)]
    stale: Stale,
}

impl Job {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Run(run) => run.execute(context).await,
            Verb::Plan(plan) => plan.execute(context).await,
            Verb::Validate(validate) => validate.execute(context),
            Verb::List(list) => list.execute(context).await,
            Verb::History(history) => history.execute(context).await,
            Verb::Diff(diff) => diff.execute(context).await,
            Verb::Revert(revert) => revert.execute(context).await,
            Verb::Delete(delete) => delete.execute(context).await,
        }
    }
}

impl RunJob {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let spec = read(context, &self.file)?;
        let args = self.told.args(&spec, &self.file)?;
        let (namespace, name) = (spec.namespace.to_string(), spec.name.to_string());
        let client = context.client()?;
        let request_id = self.request_id.clone().unwrap_or_else(|| client.mint_request_id());
        let (is_flow, version) = (spec.is_flow(), self.check_generation);
        let (spec, id) = (Some(convert::job::spec_to_wire(&spec)), request_id.clone());
        let response = match version {
            _ if is_flow => {
                let request = v1::SubmitFlowRequest { spec, args, version, request_id: id };
                let answer = client.submit_flow(request).await;
                answer.map_err(|error| {
                    Error::of_older(error, "params, when, each, on, undo, finally, accept and references")
                })?
            }
            None => client.submit_job(v1::SubmitJobRequest { spec, request_id: id }).await?,
            Some(version) => client.submit_job_at(v1::SubmitJobAtRequest { spec, version, request_id: id }).await?,
        };
        let run_id = response.run_id.clone();
        let submitted = JobSubmitted::new(&namespace, &name, &request_id, response);
        if !self.wait {
            context.output.show(&submitted)?;
            context
                .output
                .hint(&format!("follow it with 'quorate run wait {run_id}' or 'quorate run status {run_id}'"));
            return Ok(Code::Ok);
        }
        context.output.note(&format!("run {run_id} is accepted, waiting for its end"));
        let client = context.patient_client()?;
        match wait::to_end(&client, &run_id, self.timeout).await? {
            Some(ended) => {
                let code = wait::code(&client, &ended.run.clone().unwrap_or_default()).await?;
                context.output.show(&RunStatus::from(ended))?;
                if code != Code::Ok {
                    context.output.hint(&format!("see what happened with 'quorate run events {run_id}'"));
                }
                Ok(code)
            }
            None => {
                context.output.show(&submitted)?;
                context.output.note(&format!("run {run_id} had not ended when the timeout passed; it goes on"));
                Ok(Code::WaitTimedOut)
            }
        }
    }
}

impl Plan {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let spec = read(context, &self.file)?;
        let args = self.told.args(&spec, &self.file)?;
        let request = v1::PlanJobRequest { spec: Some(convert::job::spec_to_wire(&spec)), args };
        let plan = JobPlan::from(context.client()?.plan_job(request).await?);
        context.output.show(&plan)?;
        if plan.changed {
            context.output.hint(&format!("submit it with 'quorate job run {}'", self.file.display()));
        }
        Ok(if plan.changed && self.exit_code { Code::Changes } else { Code::Ok })
    }
}

impl Validate {
    fn execute(self, context: &Context) -> Result<Code, Error> {
        let source = Source::read(&self.file)?;
        let mut validated =
            JobValidated { file: source.name.clone(), valid: true, job: None, task_count: 0, violations: Vec::new() };
        match parse(&source, &self.file) {
            Ok(spec) => {
                validated.job = Some(format!("{}/{}", spec.namespace, spec.name));
                validated.task_count = spec.tasks.iter().map(|task| u64::from(task.count)).sum();
            }
            Err(errors) => {
                validated.valid = false;
                validated.violations = violations(&errors);
            }
        }
        context.output.show(&validated)?;
        Ok(if validated.valid { Code::Ok } else { Code::Error })
    }
}

impl List {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = self.stale.client(context)?;
        let namespace = if self.all_namespaces { String::new() } else { context.connection()?.namespace.to_string() };
        let selected = self.select.selected();
        let mut list = JobList { jobs: Vec::new(), revision: 0, more: false, next_page_token: None };
        let mut page_token = self.select.page_token.clone();
        loop {
            let room = self.limit.saturating_sub(u32::try_from(list.jobs.len()).unwrap_or(u32::MAX));
            let request = v1::ListJobsRequest {
                namespace: namespace.clone(),
                page_size: room.min(PAGE_ROWS),
                page_token,
                states: selected.states.clone(),
                labels: selected.labels.clone(),
                submitted_since_ms: selected.since_ms,
                submitted_until_ms: selected.until_ms,
            };
            let page = client.list_jobs(request).await?;
            list.revision = page.revision;
            list.jobs.extend(page.jobs.into_iter().map(Into::into));
            page_token = page.next_page_token;
            list.more = !page_token.is_empty();
            if !list.more || list.jobs.len() >= self.limit as usize {
                break;
            }
        }
        list.next_page_token = Some(page_token).filter(|token| !token.is_empty());
        context.output.show_read(&list, client.staleness())?;
        if list.more {
            context.output.hint("there are more: raise --limit, or narrow it down with --state, -l or --since");
        }
        Ok(Code::Ok)
    }
}

/// The spec in a job file; the namespace of the command line wins over the file's.
fn read(context: &Context, path: &Path) -> Result<JobSpec, Error> {
    let source = Source::read(path)?;
    let mut spec = parse(&source, path).map_err(|errors| {
        let violations = violations(&errors);
        Error::JobFile {
            origin: source.name.clone(),
            count: violations.len(),
            text: violations.iter().map(|violation| violation.line_of(&source.name)).collect::<Vec<_>>().join("\n"),
        }
    })?;
    if context.settings.is_set("namespace") {
        spec.namespace = context.connection()?.namespace;
    }
    Ok(spec)
}

/// A file's name says its format; standard input has none and is looked at.
fn parse(source: &Source, path: &Path) -> Result<JobSpec, jobfile::Errors> {
    let format = jobfile::Format::of(path).unwrap_or_else(|| jobfile::Format::guess(&source.bytes));
    // How many tasks a run may have depends on the cluster, which checks it.
    let settings = quorate_state::Settings { tasks_per_run_max: u32::MAX, ..quorate_state::Settings::default() };
    jobfile::parse(&source.bytes, format, &source.name, &settings)
}

fn violations(errors: &jobfile::Errors) -> Vec<Violation> {
    let mut violations: Vec<Violation> = errors
        .problems
        .iter()
        .map(|problem| Violation {
            line: Some(problem.line),
            column: Some(problem.column),
            field: problem.field.clone(),
            message: problem.message.clone(),
        })
        .collect();
    if errors.omitted > 0 {
        let message = format!("{} more problems", errors.omitted);
        violations.push(Violation { line: None, column: None, field: String::new(), message });
    }
    violations
}

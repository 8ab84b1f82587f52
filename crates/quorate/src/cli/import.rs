//! `quorate import`: workflows of other tools as job files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_client::{jobfile, wfformat};
use quorate_state::JobName;

use super::Context;
use super::source::Source;
use crate::exit::{Code, Error};
use crate::render::job::JobImported;

/// `quorate import`.
#[derive(Args, Debug)]
pub(crate) struct Import {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Format {
    /// A WfFormat 1.5 file (WfCommons): tasks that take as long as the recorded ones did
    Wfformat(Wfformat),
}

#[derive(Args, Debug)]
struct Wfformat {
    /// The workflow, or - for standard input
    file: PathBuf,
    /// Factor on the recorded run times
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Leave out the files: tasks hand on nothing, and the job needs no feature that older clusters lack
    #[arg(long)]
    no_files: bool,
    /// Name of the job; made from the workflow's name when not given
    #[arg(long)]
    name: Option<String>,
}

impl Import {
    pub(crate) fn execute(self, context: &Context) -> Result<Code, Error> {
        let Format::Wfformat(wfformat) = self.format;
        wfformat.execute(context)
    }
}

impl Wfformat {
    fn execute(self, context: &Context) -> Result<Code, Error> {
        let source = Source::read(&self.file)?;
        let wrong = |why: String| Error::Workflow { origin: source.name.clone(), why };
        let name = self.name.as_deref().map(JobName::new).transpose();
        let options = wfformat::ImportOptions {
            time_scale: self.time_scale,
            files: !self.no_files,
            name: name.map_err(|error| Error::Usage(format!("--name: {error}")))?,
            ..wfformat::ImportOptions::new(context.connection()?.namespace)
        };
        let imported = wfformat::import(&source.bytes, &options).map_err(|error| wrong(error.to_string()))?;
        for unmapped in &imported.unmapped {
            context.output.note(&format!("not mapped: {unmapped}"));
        }
        context.output.show(&JobImported {
            job: format!("{}/{}", imported.spec.namespace, imported.spec.name),
            task_count: imported.spec.tasks.len(),
            toml: jobfile::render_toml(&imported.spec),
            unmapped: imported.unmapped,
        })?;
        context.output.hint("submit it with 'quorate import wfformat FILE | quorate job run -'");
        Ok(Code::Ok)
    }
}

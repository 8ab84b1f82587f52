//! `quorate completions`: the completion script of a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde::Serialize;

use super::Context;
use crate::args::Cli;
use crate::exit::{Code, Error};
use crate::render::{Paint, View};

/// `quorate completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// The script.
#[derive(Debug, Serialize)]
struct Script {
    shell: String,
    script: String,
}

impl View for Script {
    const SCHEMA: &'static str = "quorate.v1.completions/1";

    fn human(&self, _: Paint) -> String {
        self.script.clone()
    }
}

impl Completions {
    pub(crate) fn execute(self, context: &Context) -> Result<Code, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "quorate", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        context.output.show(&Script { shell: self.shell.to_string(), script })?;
        Ok(Code::Ok)
    }
}

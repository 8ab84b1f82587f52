//! The one binary: reads the command line, carries out one command, says how it went.
//!
//! Read in this order: `args` (what may be typed), `settings` (what configures it), `cli` (one file
//! per noun), `render` (what is shown), `exit` (how it ends), `start` (how replicas and agents run), `fresh_dir`.
//!
//! **Invariant:** no logic beyond parse, call and render, because what only the command line can do
//! no other client could.

mod args;
mod settings;

mod cli;
mod demo;
mod fresh_dir;
mod start;

mod exit;
mod render;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use quorate_agent::driver::shim;

use args::{Cli, Command};
use cli::Context;
use exit::{Code, Error};
use render::Output;
use settings::Settings;

/// What replicas and agents log: the consensus library tells every try of an election at `info`, and
/// without a quorum there is no end of tries.
const LOG_FILTER: &str = "info,openraft=warn";

/// Replicas allocate many small, short-lived values on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A store is closed in this time, or never.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // No command: what an agent starts to have its tasks started.
    if arguments.get(1).is_some_and(|word| word == shim::HOST) {
        shim::host();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        // Help and the version are answers, and say so by their stream.
        Err(error) if !error.use_stderr() || !args::wants_json(&arguments) => error.exit(),
        Err(error) => {
            let error = args::usage_error(&error);
            Output { json: true }.failure(&error);
            return error.code().into();
        }
    };
    let output = Output { json: cli.global.json };
    match run(cli, output) {
        Ok(code) => code.into(),
        // Whoever read the output has seen enough.
        Err(error) if error.is_closed_pipe() => Code::Ok.into(),
        Err(error) => {
            output.failure(&error);
            error.code().into()
        }
    }
}

fn run(cli: Cli, output: Output) -> Result<Code, Error> {
    let config = cli.global.config_path(std::env::var_os("QUORATE_CONFIG"));
    let settings = Settings::load(cli.flags(), |name| std::env::var(name).ok(), config.as_deref())?;
    start_logging(&cli.command, &settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Setup)?;
    let context = Context { settings, output };
    let holds_a_store = matches!(cli.command, Command::Server(_) | Command::Dev(_));
    let result = runtime.block_on(cli::execute(cli.command, &context));
    if holds_a_store {
        // A store is closed by the task that lets go of it last. The process must not end in the middle of that.
        runtime.shutdown_timeout(CLOSE_MAX);
    } else {
        // A read of a terminal or a name lookup must not hold up the end.
        runtime.shutdown_background();
    }
    result
}

/// Logs to standard error: what runs for long says more than a command that answers and ends.
fn start_logging(command: &Command, settings: &Settings) -> Result<(), Error> {
    let default = match command {
        Command::Server(_) | Command::Agent(_) => LOG_FILTER,
        Command::Dev(_) => "warn",
        Command::Job(_)
        | Command::Run(_)
        | Command::Task(_)
        | Command::Node(_)
        | Command::Cluster(_)
        | Command::Region(_)
        | Command::Replica(_)
        | Command::Snapshot(_)
        | Command::Namespace(_)
        | Command::Preemption(_)
        | Command::Rebalance(_)
        | Command::Reservation(_)
        | Command::Retention(_)
        | Command::Cert(_)
        | Command::Import(_)
        | Command::Demo(_)
        | Command::Bench(_)
        | Command::Completions(_) => "error",
    };
    let filter = settings.log_filter()?.unwrap_or_else(|| default.to_owned());
    let filter: tracing_subscriber::EnvFilter = filter.parse().unwrap_or_default();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if settings.log_json()? {
        logs.json().init();
    } else {
        let colours =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        logs.with_ansi(colours).init();
    }
    Ok(())
}

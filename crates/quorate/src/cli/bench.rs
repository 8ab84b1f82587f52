//! `quorate bench`: measurements on this machine.

use clap::{Args, Subcommand, ValueEnum};
use quorate_bench::tasks::{self, TasksBench};

use super::Context;
use crate::exit::{Code, Error};
use crate::render::bench::{BenchTasks, Configuration};
use crate::start;

/// `quorate bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Submit many small tasks to a cluster of its own, and measure how they get through
    ///
    /// Starts replicas and agents as separate processes on loopback with product defaults. All tasks
    /// are submitted at once, as jobs of up to 100,000 tasks each (the product's tasks_per_run_max).
    /// p50_ms and p99_ms are the time from the submit until a task runs; "finished" holds the same for
    /// its end. Each task asks for 10m of CPU and 1 MiB.
    Tasks(Tasks),
}

#[derive(Args, Debug)]
struct Tasks {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Node agents
    #[arg(long, default_value_t = 2)]
    agents: usize,
    /// Tasks in all
    #[arg(long, default_value_t = 1000)]
    tasks: u32,
    /// What a task does: run /bin/true, or nothing but be acknowledged by the agent
    #[arg(long, value_enum, default_value_t = Driver::Process)]
    driver: Driver,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Driver {
    Process,
    Noop,
}

impl Bench {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let What::Tasks(tasks) = self.what;
        let bench = TasksBench {
            binary: std::env::current_exe().map_err(Error::Setup)?,
            replicas: tasks.replicas,
            agents: tasks.agents,
            tasks: tasks.tasks,
            driver: match tasks.driver {
                Driver::Process => tasks::Driver::Process,
                Driver::Noop => tasks::Driver::Noop,
            },
            keep: tasks.keep,
        };
        let output = context.output;
        let configuration = Configuration::of(&bench);
        if output.json {
            output.note(&configuration.text());
        }
        let shutdown = start::stop_on_signals(false)?;
        let note = move |text: &str| output.note(text);
        // Dropping the measurement drops its cluster, and with it every process.
        let report = tokio::select! { biased;
            () = shutdown.requested() => return Err(Error::Interrupted),
            report = Box::pin(bench.run(&note)) => report?,
        };
        output.show(&BenchTasks::new(configuration, report))?;
        Ok(Code::Ok)
    }
}

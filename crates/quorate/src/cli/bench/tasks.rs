//! `quorate bench tasks`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_bench::tasks::{self, TasksBench};

use super::{this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::{BenchSingle, BenchTasks, BenchTasksRow, Configuration};

#[derive(Args, Debug)]
pub(super) struct Tasks {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Node agents
    #[arg(long, default_value_t = 2)]
    agents: usize,
    /// Tasks at once; one row each with each driver
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    tasks: Vec<u32>,
    /// What a task does: run /bin/true, or nothing but be acknowledged by the agent
    #[arg(long = "driver", value_enum, value_delimiter = ',', default_value = "process")]
    drivers: Vec<Driver>,
    /// How often each row is measured
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Tasks that are submitted one by one, each to a cluster with nothing else to do
    #[arg(long, default_value_t = 0)]
    singles: u32,
    /// Tasks that have ended in the same cluster before the first number of tasks is measured; one row
    /// each with each driver
    #[arg(long, value_delimiter = ',')]
    history: Vec<u32>,
    /// A Python that has the package 'hyperqueue', to measure that beside it
    #[arg(long, value_name = "PATH")]
    hyperqueue: Option<PathBuf>,
    /// The quorate binary whose replicas and agents are measured, such as one of an older version; this one
    /// by default
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Driver {
    Process,
    Noop,
}

impl From<Driver> for tasks::Driver {
    fn from(driver: Driver) -> Self {
        match driver {
            Driver::Process => Self::Process,
            Driver::Noop => Self::Noop,
        }
    }
}

impl Tasks {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        let other = self.binary.clone();
        let bench = TasksBench {
            binary: self.binary.map_or_else(this_binary, Ok)?,
            hyperqueue: self.hyperqueue,
            replicas: self.replicas,
            agents: self.agents,
            tasks: self.tasks,
            drivers: self.drivers.into_iter().map(tasks::Driver::from).collect(),
            rounds: self.rounds,
            singles: self.singles,
            history: self.history,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        let configuration = Configuration::of(&bench, other.as_deref(), report.hyperqueue.clone());
        if !output.json {
            output.show(&BenchTasks::new(configuration, report))?;
            return Ok(Code::Ok);
        }
        // One object per row, so that a line can be read alone.
        for row in report.rows {
            output.show(&BenchTasksRow::new(configuration.clone(), row))?;
        }
        report.single.into_iter().try_for_each(|row| output.show(&BenchSingle::new(configuration.clone(), row)))?;
        Ok(Code::Ok)
    }
}

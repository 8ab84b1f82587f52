//! `quorate bench agents`.

use clap::Args;
use quorate_bench::agents::AgentsBench;
use quorate_state::Settings;

use super::{this_binary, unless_interrupted};
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::{BenchAgents, BenchAgentsRow};

#[derive(Args, Debug)]
pub(super) struct Agents {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// How many agents; one row each
    #[arg(long, value_delimiter = ',', default_value = "100,10000")]
    agents: Vec<usize>,
    /// How often each row is measured, in a new cluster
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long the agents are idle in each round, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Nodes that are lost in each round, one every half second
    #[arg(long, default_value_t = 40)]
    kills: usize,
    /// Sessions that share a connection
    #[arg(long, default_value_t = 500)]
    sessions_per_connection: usize,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

impl Agents {
    pub(super) async fn execute(self, output: Output) -> Result<Code, Error> {
        // The cluster is founded without settings of its own, so these are its.
        let lease = Settings::default().lease;
        let bench = AgentsBench {
            binary: this_binary()?,
            replicas: self.replicas,
            agents: self.agents,
            rounds: self.rounds,
            seconds: self.seconds,
            kills: self.kills,
            sessions_per_connection: self.sessions_per_connection,
            lease_server_ms: lease.server_ms,
            kill_ms: lease.kill_ms,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let rows = unless_interrupted(bench.run(&note)).await?;
        let code = if rows.iter().all(quorate_bench::agents::Row::is_clean) { Code::Ok } else { Code::Error };
        if !output.json {
            output.show(&BenchAgents { rows })?;
            return Ok(code);
        }
        // One object per row, so that a line can be read alone.
        rows.into_iter().try_for_each(|row| output.show(&BenchAgentsRow::from(row)))?;
        Ok(code)
    }
}

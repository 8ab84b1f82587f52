//! `quorate bench`: measurements on this machine.

mod agents;
mod archive;
mod elections;
mod pack;
mod placement;
mod region;
mod replay;
mod tasks;
mod timeouts;
mod workflow;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use quorate_bench::failover::{self, FailoverBench};
use quorate_bench::flood::FloodBench;
use quorate_bench::log::LogBench;
use quorate_bench::rolling::RollingBench;
use quorate_bench::state::StateBench;
use quorate_server::Tuning;

use super::Context;
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::render::bench::{BenchFailover, BenchFlood, BenchLog, BenchLogRow, BenchRolling, BenchState};
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
    /// Starts replicas and agents as separate processes on loopback with product defaults, anew in each round.
    /// All tasks of a row are submitted at once, as jobs of up to 100,000 tasks each (the product's
    /// tasks_per_run_max); "running" is the time from the submit until a task runs, "finished" until it has
    /// ended. Each task asks for 10m of CPU and 1 MiB. Beside the process driver two threads start /bin/true
    /// with posix_spawn and nothing around it: twice per task, as an agent starts two processes for each, the
    /// task and its shim ("spawn"), and once ("spawn_one"). With --hyperqueue the same tasks go through a
    /// HyperQueue server with one worker that has a slot per core, in turn. --singles submits tasks one by one
    /// to a quiet cluster, --history measures one cluster that remembers more and more.
    Tasks(tasks::Tasks),
    /// Count the changes that the replicated log takes per second, and what one costs
    ///
    /// Starts replicas as separate processes on loopback with product defaults and 10,000 runs of
    /// nothing, then lets callers annotate them with 256 bytes each, over the unary public API at the
    /// leader: every operation is a row, an event and a remembered request id, synced by a quorum. Then
    /// they do the same through the streaming API.
    /// Prints one row per level of concurrency, with medians of the rounds. With --etcd the same
    /// callers put as many bytes under as many keys of as many members of etcd, in turn.
    Log(Log),
    /// Take the leader away, and measure how long nothing is written and nothing placed
    ///
    /// Starts replicas and an agent as separate processes on loopback with product defaults. In each
    /// round work waits to be placed and a caller tries to write every 5 ms at each replica, while the
    /// leader is killed, stopped or cut off; eight writers go on all the time. In the end every write that was
    /// acknowledged is looked for: exits with 1 when one is lost, or any took effect twice. With --etcd the
    /// same is done to etcd, without that check, with its defaults and with timeouts like ours.
    Failover(Failover),
    /// Leave a cluster alone, idle or under load, and count the elections that it holds all the same
    ///
    /// Starts replicas and an agent as separate processes on loopback with product defaults, or other election
    /// times, and does nothing to them. Callers, if any, annotate runs without a pause (256 bytes each, without
    /// request ids) and go on with the next replica when one refuses. "false elections" are terms that began
    /// although the leader was there all the time, "silences" the times that a replica gave the leader up and
    /// asked for votes, most of which end there.
    Elections(elections::Elections),
    /// Measure what heartbeat and election times cost and bring
    ///
    /// For each choice of times starts replicas and an agent as separate processes on loopback. Leaders are
    /// stopped (SIGSTOP) and killed (SIGKILL) in turn, until the next committed write as in 'bench failover';
    /// then callers write for a while and elections are counted, as in 'bench elections'. One row per
    /// choice, one after the other.
    Timeouts(timeouts::Timeouts),
    /// Restart every replica in turn while callers write, and count what they notice of it
    ///
    /// Starts replicas and an agent as separate processes on loopback with product defaults. Callers
    /// submit and annotate with the product's client and its retries, without a pause, while each
    /// replica is asked to stop (SIGTERM), ends, and starts again on its data. Exits with 1 when a
    /// request failed or an accepted run is not known any more.
    Rolling(Rolling),
    /// Fill the state with waiting tasks, and measure what that costs
    ///
    /// Starts replicas as separate processes on loopback and submits runs of 100 tasks each, which wait:
    /// there is no agent. Then one follower is stopped and started again, and another time it is away,
    /// under load, until it needs a snapshot. Prints memory, times, and the 99th percentile of
    /// writes in each second, without and with that snapshot beside them.
    State(State),
    /// Let thousands of agents register, renew, fall silent and come back, and measure that
    ///
    /// Starts replicas as separate processes on loopback with product defaults, and as many agents as each row says in
    /// this process: they speak the whole protocol of agents, a session each, many sessions over one connection, and
    /// run nothing. "idle" is what replicas take while all agents only renew their leases. Then nodes with a task
    /// each fall silent one after the other, their connections left open: "from last word" is the time from the last
    /// thing such a node said until its task runs elsewhere, to be compared with the lease that the leader waits for
    /// (and the time to kill a task, if it is fenced). At last every agent runs a task, and all replicas are killed
    /// (SIGKILL) and started again. Exits with 1 when a task was lost by that.
    Agents(agents::Agents),
    /// Lose a region with all that runs there, and measure when its work runs elsewhere
    ///
    /// Starts replicas as separate processes on loopback with product defaults, and agents of three regions in this
    /// process: they speak the whole protocol of agents and run nothing. All tasks begin in one region; a fifth of those
    /// that may move are fenced, and a tenth as many must stay. It is foretold what would become of them ('region
    /// whatif'); then all machines of that region stop at once, their connections left open, and come back later with
    /// nothing on them. Exits with 1 when a task ran outside of its region, was started twice, did not move, or moved
    /// again after the return.
    Region(region::Region),
    /// Run one very large workflow, and measure what it costs the leader
    ///
    /// Starts replicas as separate processes on loopback with product defaults, and agents in this process: they speak
    /// the whole protocol of agents and run nothing, every task succeeds at once with a small result. Prints the tasks
    /// per second, how long a controller of the leader and the applying of entries took at a stretch (between two
    /// bounds: the leader keeps a histogram), memory, log, and how long pages of the list of tasks take meanwhile.
    /// Exits with 1 when the run did not succeed by the deadline.
    Workflow(workflow::Workflow),
    /// Let very many runs end, and measure how fast they are found in the archive, and what that costs
    ///
    /// Starts replicas as separate processes on loopback with product defaults, and agents in this process: they speak
    /// the whole protocol of agents and run nothing, every task ends at once. Runs of 4,000 jobs in 20 namespaces are
    /// submitted over the streaming API, without request ids; one in 20 fails. When all but those that stay in memory
    /// are in the archive, pages of 100 runs are asked for one after the other, five from each place on: a random instant, or
    /// one time in four the newest run. "short" is a page with fewer rows and a next one, "both" are the two labels
    /// before it. Then whole lists are compared with what was submitted, and the replica is restarted. Exits with 1
    /// when a run was missing in a list, there twice, or there and should not be.
    Archive(archive::Archive),
    /// Submit without end, and measure what that does to running tasks and to cancels
    ///
    /// Starts replicas and an agent as separate processes on loopback with product defaults. A chain of
    /// tasks that do nothing runs, and 20 runs a second are cancelled, first alone and then while callers
    /// submit jobs without end and ask again at once when they are refused. "task" is the time from the
    /// end of one task of the chain to the end of the next: two reports, a step and a plan. In the end
    /// every run that was accepted is looked for.
    Flood(Flood),
    /// Play a trace of GPU tasks against a placement policy, and measure how much of the GPUs it allocates
    ///
    /// Starts nothing. Reads nodes and tasks in the format of the OpenB trace; all tasks come in an order that the seed decides, and
    /// more drawn from them, until as many GPUs have come as --inflate says. Each is placed or dropped, and none leaves.
    /// Memory is not counted. "quorate" is the scheduler's own packing, which knows how frequent each shape is, but not
    /// what comes when; the others are the policies of the published table. Exits with 1 when a task was dropped that fits
    /// somewhere, or placed where it does not.
    Pack(pack::Pack),
    /// Play the log of a batch machine in simulated time, and measure how long its jobs would wait under a policy
    ///
    /// Starts nothing. Jobs come when the log says, or closer together, take what they took, and their users say up to
    /// --estimate-factor times as much. "quorate" is fair share by what each user has had of late, and conservative backfill as
    /// the scheduler's crate has it (placement::backfill), which 'plan' does not use yet; "backfill" is EASY. A bounded
    /// slowdown is what a job took in all by what it ran, or by ten seconds if it ran for less.
    Replay(replay::Replay),
    /// Count the tasks that the planner gives their places per second, on one core
    ///
    /// Starts nothing. Makes a state in memory by commands, nodes of several sizes in several clusters and regions and tasks of
    /// several shapes, some of them bound to a region or a label or spread over nodes or clusters, and plans as a leader does: a
    /// plan, its application, the next plan. Only the time of plans counts; how much more time applying takes is said beside it.
    /// Once the cluster is empty in the beginning, and once nine tenths of its cores are taken, where as many tasks end as come.
    /// Each round begins with the same state and a planner that knows nothing of it. Exits with 1 when a placement is refused.
    ///
    /// With --through-log replicas run as separate processes on loopback with product defaults, and as many agents as there are
    /// nodes in this process, which run nothing. All tasks are submitted at once, and each counts when its agent has it: planned,
    /// committed by a quorum with its syncs, and told. Exits with 1 when a task was started twice.
    Placement(placement::Placement),
}

#[derive(Args, Debug)]
struct State {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Tasks in all
    #[arg(long, default_value_t = 1_000_000)]
    tasks: u32,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Args, Debug)]
struct Flood {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Callers that submit
    #[arg(long, default_value_t = 1024)]
    callers: usize,
    /// Connections that the callers share
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// How long without and how long with the flood, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Args, Debug)]
struct Log {
    /// Replicas of the control plane, and members of etcd
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Callers at once; one row each
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    concurrency: Vec<usize>,
    /// Connections that the callers share
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// How often each level is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each time, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// An etcd binary to measure beside it
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Args, Debug)]
struct Failover {
    /// Replicas of the control plane, and members of etcd
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// How many leaders go
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What becomes of them: killed (SIGKILL), stopped (SIGSTOP) with their connections left open, or
    /// cut off from the other replicas, but not from clients and agents
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// An etcd binary to measure beside it
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Args, Debug)]
struct Rolling {
    /// Replicas of the control plane
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// How often each of them is restarted
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Callers that write all the time
    #[arg(long, default_value_t = 8)]
    callers: usize,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Fault {
    Kill,
    #[value(alias = "pause")]
    Stop,
    Partition,
}

impl Bench {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.what {
            What::Tasks(tasks) => tasks.execute(context.output).await,
            What::Log(log) => log.execute(context.output).await,
            What::Failover(failover) => failover.execute(context.output).await,
            What::Elections(elections) => elections.execute(context.output).await,
            What::Timeouts(timeouts) => timeouts.execute(context.output).await,
            What::Rolling(rolling) => rolling.execute(context.output).await,
            What::State(state) => state.execute(context.output).await,
            What::Agents(agents) => agents.execute(context.output).await,
            What::Region(region) => region.execute(context.output).await,
            What::Workflow(workflow) => workflow.execute(context.output).await,
            What::Archive(archive) => archive.execute(context.output).await,
            What::Flood(flood) => flood.execute(context.output).await,
            What::Pack(pack) => pack.execute(context.output).await,
            What::Replay(replay) => replay.execute(context.output),
            What::Placement(placement) => placement.execute(context.output).await,
        }
    }
}

impl Log {
    async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = LogBench {
            binary: this_binary()?,
            etcd: self.etcd,
            replicas: self.replicas,
            concurrency: self.concurrency,
            connections: self.connections,
            rounds: self.rounds,
            seconds: self.seconds,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let rows = unless_interrupted(bench.run(&note)).await?;
        if !output.json {
            output.show(&BenchLog { rows })?;
            return Ok(Code::Ok);
        }
        // One object per row, so that a line can be read alone.
        rows.into_iter().try_for_each(|row| output.show(&BenchLogRow::from(row)))?;
        Ok(Code::Ok)
    }
}

impl Failover {
    async fn execute(self, output: Output) -> Result<Code, Error> {
        // Its processes are started without settings of their own, so these are theirs.
        let tuning = Tuning::default();
        let bench = FailoverBench {
            binary: this_binary()?,
            etcd: self.etcd,
            replicas: self.replicas,
            rounds: self.rounds,
            fault: match self.fault {
                Fault::Kill => failover::Fault::Kill,
                Fault::Stop => failover::Fault::Stop,
                Fault::Partition => failover::Fault::Partition,
            },
            heartbeat_ms: tuning.heartbeat_ms,
            election_ms_min: tuning.election_ms_min,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let row = unless_interrupted(bench.run(&note)).await?;
        let code = if row.is_clean() { Code::Ok } else { Code::Error };
        output.show(&BenchFailover::from(row))?;
        Ok(code)
    }
}

impl State {
    async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = StateBench { binary: this_binary()?, replicas: self.replicas, tasks: self.tasks, keep: self.keep };
        let note = move |text: &str| output.note(text);
        let report = unless_interrupted(bench.run(&note)).await?;
        output.show(&BenchState::from(report))?;
        Ok(Code::Ok)
    }
}

impl Rolling {
    async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = RollingBench {
            binary: this_binary()?,
            replicas: self.replicas,
            rounds: self.rounds,
            callers: self.callers,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let row = unless_interrupted(bench.run(&note)).await?;
        let code = if row.is_clean() { Code::Ok } else { Code::Error };
        output.show(&BenchRolling::from(row))?;
        Ok(code)
    }
}

impl Flood {
    async fn execute(self, output: Output) -> Result<Code, Error> {
        let bench = FloodBench {
            binary: this_binary()?,
            replicas: self.replicas,
            callers: self.callers,
            connections: self.connections,
            seconds: self.seconds,
            keep: self.keep,
        };
        let note = move |text: &str| output.note(text);
        let row = unless_interrupted(bench.run(&note)).await?;
        let is_whole = row.submits.lost == 0;
        output.show(&BenchFlood::from(row))?;
        Ok(if is_whole { Code::Ok } else { Code::Error })
    }
}

fn this_binary() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::Setup)
}

/// A measurement until it ends or is interrupted; dropping it drops its clusters, and with them every
/// process.
async fn unless_interrupted<T>(measured: impl Future<Output = Result<T, quorate_bench::Error>>) -> Result<T, Error> {
    let shutdown = start::stop_on_signals(false)?;
    tokio::select! { biased;
        () = shutdown.requested() => Err(Error::Interrupted),
        report = Box::pin(measured) => Ok(report?),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| format!("{text:?} is not a duration ({why}): write 90s, 30m or 2h"))
}

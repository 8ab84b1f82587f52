//! `quorate demo`: a workflow on a cluster of real processes, whose leader is killed in mid-run.
//!
//! The demo knows nothing that a user could not: it starts the same binary, speaks the public API,
//! and judges by what the run's tasks and attempts say in the end.

mod board;
mod pace;
mod progress;

use std::path::PathBuf;
use std::time::Duration;

use quorate_bench::local::{AgentOptions, Leader, LocalCluster, Options};
use quorate_client::{Client, wfformat};
use quorate_proto::{convert, v1};
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use quorate_state::{JobSpec, Spread};

use crate::cli::{reference, run::all_attempts, source::Source, wait};
use crate::exit::Error;
use crate::render::Output;
use crate::render::demo::{Demonstration, Takeover};
use board::Board;
use progress::Progress;

/// The workflow shown when none is named.
const WORKFLOW: &[u8] = include_bytes!("demo/workflow.json");
/// The leader dies when this many percent of the tasks have ended.
const KILL_AT_PERCENT: usize = 37;
/// Log entries between two snapshots: few, so that a short run shows snapshots and a cut log.
const SNAPSHOT_ENTRIES: u64 = 50;
/// What each node offers.
const NODE_CORES: u64 = 8;
const NODE_MEMORY_GIB: u64 = 16;
/// The nodes: name, region, cluster.
const NODES: [(&str, &str, &str); 4] =
    [("eu-a-1", "eu", "eu-a"), ("eu-b-1", "eu", "eu-b"), ("us-a-1", "us", "us-a"), ("us-b-1", "us", "us-b")];
/// Longest silence of the run before the demo gives up.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Between two pictures of the live view.
const PICTURE_EVERY: Duration = Duration::from_millis(100);

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// A WfFormat 1.5 file instead of the demo's own.
    pub(crate) workflow: Option<PathBuf>,
    /// Seconds per recorded second; chosen by the workflow's length when not given.
    pub(crate) scale: Option<f64>,
    /// Factor on the chosen speed.
    pub(crate) speed: f64,
    /// Kill the leader in mid-run.
    pub(crate) kill: bool,
    /// Leave data and logs behind.
    pub(crate) keep: bool,
}

impl Script {
    /// Plays it; fails unless the run and every task of it succeeded.
    pub(crate) async fn play(&self, output: Output) -> Result<Demonstration, Error> {
        let spec = self.spec(output)?;
        output.note(&format!("starting 3 replicas and {} node agents as processes on 127.0.0.1 ...", NODES.len()));
        let mut cluster = LocalCluster::start(self.cluster()?).await?;
        output.note(&format!("they are up; data and logs are in {}", cluster.directory().display()));
        let client = cluster.client();
        let request = v1::SubmitJobRequest { spec: Some(convert::job::spec_to_wire(&spec)), request_id: String::new() };
        let run_id = client.submit_job(request).await?.run_id;
        output.note(&format!("run {run_id} of {} is accepted: {} tasks", spec.name, spec.tasks.len()));

        let mut stage = Stage { board: Board::new(&spec), progress: Progress::new(output, &spec), takeover: None };
        let followed = stage.follow(&mut cluster, &client, &run_id, self.kill).await;
        stage.progress.finish();
        followed?;
        cluster.check_processes()?;

        let run = client.get_run(v1::GetRunRequest { run: reference::by_id(&run_id) }).await?;
        let (attempts, _) = all_attempts(&client, &run_id).await?;
        let directory = self.keep.then(|| cluster.directory().display().to_string());
        Ok(Demonstration::new(run.run.unwrap_or_default(), attempts, stage.takeover, directory))
    }

    /// The workflow as a job that fits the demo's nodes and time.
    fn spec(&self, output: Output) -> Result<JobSpec, Error> {
        let source = match &self.workflow {
            Some(path) => Source::read(path)?,
            None => Source { name: "the demo's workflow".to_owned(), bytes: WORKFLOW.to_vec() },
        };
        let import = |time_scale| {
            let options = wfformat::ImportOptions {
                time_scale,
                run_ms_max: Some(pace::TASK_MS_MAX),
                cpu_milli_max: Some(NODE_CORES * 1000),
                memory_bytes_max: Some(NODE_MEMORY_GIB << 30),
                ..wfformat::ImportOptions::new(default_namespace()?)
            };
            wfformat::import(&source.bytes, &options)
                .map_err(|error| Error::Workflow { origin: source.name.clone(), why: error.to_string() })
        };
        let scale = match self.scale {
            Some(scale) => scale,
            None => {
                // Once at full length, only to measure it.
                let options = wfformat::ImportOptions::new(default_namespace()?);
                let recorded = wfformat::import(&source.bytes, &options)
                    .map_err(|error| Error::Workflow { origin: source.name.clone(), why: error.to_string() })?;
                pace::scale(&recorded.spec, NODES.len() as u64 * NODE_CORES * 1000)
            }
        };
        let mut imported = import(scale / self.speed)?;
        output.note(&format!(
            "{}: {} tasks, times scaled by {:.4}",
            source.name,
            imported.spec.tasks.len(),
            scale / self.speed
        ));
        for task in &mut imported.spec.tasks {
            // Over clusters first: the demo is about work in several regions.
            task.place.spread = Spread::Cluster;
        }
        Ok(imported.spec)
    }

    fn cluster(&self) -> Result<Options, Error> {
        let binary = std::env::current_exe().map_err(Error::Setup)?;
        let agent = |(node, region, cluster): (&str, &str, &str)| AgentOptions {
            node: node.to_owned(),
            region: region.to_owned(),
            cluster: cluster.to_owned(),
            cpu: Some(NODE_CORES.to_string()),
            memory: Some(format!("{NODE_MEMORY_GIB}Gi")),
            gpus: None,
            flags: Vec::new(),
        };
        Ok(Options {
            replica_regions: ["eu", "us", "eu"].map(str::to_owned).to_vec(),
            agents: NODES.into_iter().map(agent).collect(),
            snapshot_entries: Some(SNAPSHOT_ENTRIES),
            keep_entries: Some(0),
            keep: self.keep,
            ..Options::new(binary, 3, 0)
        })
    }
}

/// What is going on.
struct Stage {
    board: Board,
    progress: Progress,
    takeover: Option<Takeover>,
}

impl Stage {
    /// Follows the run to its end, and kills the leader on the way.
    async fn follow(
        &mut self,
        cluster: &mut LocalCluster,
        client: &Client,
        run_id: &str,
        kill: bool,
    ) -> Result<(), Error> {
        let request = v1::WatchRunRequest { run: reference::by_id(run_id), after_revision: 0 };
        let mut watch = client.watch_run(request);
        let mut pictures = tokio::time::interval(PICTURE_EVERY);
        pictures.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last_event = SystemClock.boot();
        let (successors, mut successor) = tokio::sync::mpsc::channel(1);
        let mut has_killed = !kill;
        loop {
            tokio::select! { biased;
                Some(leader) = successor.recv() => self.taken_over(leader),
                item = watch.next() => {
                    let Some(item) = item else { return Err(Error::Demo("the watch ended before the run".to_owned())) };
                    let moves = self.board.take(item?);
                    last_event = SystemClock.boot();
                    self.progress.moved(&self.board, &moves);
                    self.note_first_placement();
                    if self.board.has_ended() {
                        break;
                    }
                }
                _ = pictures.tick() => {
                    self.progress.draw(&self.board);
                    if SystemClock.boot().since(last_event) > SILENCE_MAX {
                        let silence = humantime::format_duration(SILENCE_MAX);
                        return Err(Error::Demo(format!("nothing happened to run {run_id} for {silence}")));
                    }
                }
            }
            if !has_killed && self.board.ended_percent() >= KILL_AT_PERCENT {
                has_killed = true;
                let leader = cluster.leader(|_| true).await?;
                let finder = cluster.leader_finder();
                self.kill(cluster, &leader);
                let successors = successors.clone();
                tokio::spawn(async move {
                    let found = finder.find(|next| next.replica != leader.replica).await;
                    // The stage may be over by then.
                    let _ = successors.send(found).await;
                });
            }
        }
        // A short workflow can end before the new leader was asked for its name.
        if self.takeover.as_ref().is_some_and(|takeover| takeover.leader.is_none())
            && let Ok(Some(found)) = tokio::time::timeout(SILENCE_MAX, successor.recv()).await
        {
            self.taken_over(found);
        }
        Ok(())
    }

    fn kill(&mut self, cluster: &mut LocalCluster, leader: &Leader) {
        self.progress.headline(&format!(
            "kill -9 replica {} (process {}), the leader of term {}",
            leader.id,
            cluster.replica_pid(leader.replica).unwrap_or(0),
            leader.term
        ));
        let killed = SystemClock.boot();
        self.takeover = Some(Takeover::begun(leader.id, leader.term, SystemClock.wall().0, killed));
        cluster.kill9(leader.replica);
    }

    fn taken_over(&mut self, found: Result<Leader, quorate_bench::Error>) {
        match (found, &mut self.takeover) {
            (Ok(leader), Some(takeover)) => {
                let took = takeover.led_by(leader.id, leader.term, SystemClock.boot());
                self.progress.headline(&format!(
                    "replica {} leads in term {}, {} ms after the kill",
                    leader.id, leader.term, took
                ));
            }
            (Err(error), _) => self.progress.headline(&format!("no new leader was seen: {error}")),
            (Ok(_), None) => {}
        }
    }

    fn note_first_placement(&mut self) {
        if let Some(takeover) = &mut self.takeover
            && takeover.first_placement_ms.is_none()
            && let Some(placed) = self.board.first_placement_since(takeover.killed_at_ms)
        {
            let after = placed.saturating_sub(takeover.killed_at_ms);
            takeover.first_placement_ms = Some(after);
            self.progress.headline(&format!("the first placement since came {after} ms after the kill"));
        }
    }
}

/// Says whether the demo showed what it is there to show.
pub(crate) fn verdict(shown: &Demonstration) -> Result<(), Error> {
    let complaints = shown.complaints();
    if complaints.is_empty() { Ok(()) } else { Err(Error::Demo(complaints.join("; "))) }
}

fn default_namespace() -> Result<quorate_state::Namespace, Error> {
    quorate_state::Namespace::new("default").map_err(|error| Error::Usage(error.to_string()))
}

/// Milliseconds from one boot instant to another.
pub(crate) fn millis_between(from: BootInstant, to: BootInstant) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

/// True when the run's state, as the wire has it, is final.
fn is_final(state: i32) -> bool {
    wait::has_ended(state)
}

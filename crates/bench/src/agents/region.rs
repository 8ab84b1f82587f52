//! What the loss of a region costs its work, and what its return brings.
//!
//! Three regions of fake agents. All work begins in one of them, because the others come later: most of it may run anywhere,
//! some must stay. Then all machines of that region stop at once, their connections left open. What was foretold of it before
//! stands beside what came of it. At last the machines are back, with nothing running on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;

use super::fleet::{Fleet, Site};
use super::{LONG, Processes, fake_job, seconds, submit};
use crate::Error;
use crate::local::{LocalCluster, Options};
use crate::samples::{Spread, rounded};

/// The regions; the first one is lost.
const REGIONS: [&str; 3] = ["eu", "us", "asia"];
/// Agents of one region at most.
const AGENTS_MAX: usize = 5_000;
/// Tasks at most.
const TASKS_MAX: usize = 100_000;
const ROUNDS_MAX: usize = 100;
/// Of the tasks that may move, so many out of a hundred are `fenced`.
const FENCED_PERCENT: usize = 20;
/// Beside the tasks that may move there are so many, for each hundred of them, that must stay.
const BOUND_PERCENT: usize = 10;
/// Between two looks at who is lost.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After the return it is watched for so long whether anything moves that should not.
const CALM: Duration = Duration::from_secs(10);
const SESSIONS_PER_CONNECTION: usize = 500;
const PAGE_ROWS: u32 = 1_000;

/// What is measured.
#[derive(Clone, Debug)]
pub struct RegionBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// Agents of each of the three regions.
    pub agents: usize,
    /// Tasks that may move.
    pub tasks: usize,
    /// How often, each time with a new cluster.
    pub rounds: usize,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// `region`.
    pub bench: &'static str,
    /// Agents of each region.
    pub agents: usize,
    /// Tasks that may move, and that must stay.
    pub tasks: usize,
    /// See `tasks`.
    pub bound: usize,
    /// How often it was measured.
    pub rounds: usize,
    /// From the last word of the region until everything that was to move had its place, as it was foretold.
    pub foretold_s: Spread,
    /// The same as it was.
    pub moved_s: Spread,
    /// From the last word until the first lease of a node was over.
    pub first_lease_over_s: Spread,
    /// From the last word until the lease of the last node was over: the brake keeps leases when a whole cluster falls silent.
    pub leases_over_s: Spread,
    /// From the end of a node's lease until its task ran elsewhere, the slowest of all.
    pub after_lease_s: Spread,
    /// What the brake said of it.
    pub brake: String,
    /// Tasks that moved, in all rounds; foretold and in fact.
    pub foretold_moved: u64,
    /// See `foretold_moved`.
    pub moved: u64,
    /// Tasks that must stay and ran elsewhere: none.
    pub strayed: u64,
    /// Starts of tasks elsewhere beyond the first of each: none.
    pub doubled: u64,
    /// From the return of the machines until all are registered and what must stay runs there again.
    pub returned_s: Spread,
    /// Tasks that had moved and were started once more within ten seconds of that: none.
    pub churned: u64,
}

impl Loss {
    /// True when nothing ran where it must not, or once too often.
    pub fn is_clean(&self) -> bool {
        self.strayed + self.doubled + self.churned == 0 && self.moved == (self.tasks * self.rounds) as u64
    }
}

/// What came of one round.
struct Round {
    foretold: v1::ForecastLossResponse,
    moved_s: f64,
    first_lease_over_s: f64,
    leases_over_s: f64,
    after_lease_s: f64,
    moved: u64,
    strayed: u64,
    doubled: u64,
    returned_s: f64,
    churned: u64,
}

/// A task: run, step and index.
type Task = (String, u32, u32);

impl RegionBench {
    /// Measures round by round; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Loss, Error> {
        self.check()?;
        let mut rounds = Vec::with_capacity(self.rounds);
        for number in 1..=self.rounds {
            let round = self.round(&|text: &str| note(&format!("round {number}: {text}"))).await?;
            rounds.push(round);
        }
        let none = || Error::Outcome("there was no round".to_owned());
        let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect()).ok_or_else(none);
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum();
        Ok(Loss {
            bench: "region",
            agents: self.agents,
            tasks: self.tasks,
            bound: self.bound(),
            rounds: self.rounds,
            foretold_s: spread(|round| round.foretold.settled_ms as f64 / 1e3)?,
            moved_s: spread(|round| round.moved_s)?,
            first_lease_over_s: spread(|round| round.first_lease_over_s)?,
            leases_over_s: spread(|round| round.leases_over_s)?,
            after_lease_s: spread(|round| round.after_lease_s)?,
            brake: rounds.last().map(|round| round.foretold.brake.clone()).unwrap_or_default(),
            foretold_moved: sum(|round| round.foretold.moved),
            moved: sum(|round| round.moved),
            strayed: sum(|round| round.strayed),
            doubled: sum(|round| round.doubled),
            returned_s: spread(|round| round.returned_s)?,
            churned: sum(|round| round.churned),
        })
    }

    fn bound(&self) -> usize {
        (self.tasks * BOUND_PERCENT / 100).max(1)
    }

    async fn round(&self, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<Round, Error> {
        tell("starting the replicas");
        let options = Options { keep: self.keep, ..Options::new(self.binary.clone(), self.replicas, 0) };
        let mut cluster = LocalCluster::start(options).await?;
        let client = cluster.client();
        let fleet = |region: &str| {
            let site = Site { prefix: region.to_owned(), region: region.to_owned(), cluster: format!("{region}-1") };
            Fleet::start(cluster.agent_addresses(), self.agents, SESSIONS_PER_CONNECTION, Processes::Endless, &site)
        };
        let lost = fleet(REGIONS[0])?;
        lost.all_registered(LONG).await?;
        let fenced = self.tasks * FENCED_PERCENT / 100;
        let process = v1::Driver::Process;
        let mut free = Vec::new();
        let promises = [(v1::OnNodeLoss::Fenced, fenced), (v1::OnNodeLoss::AtLeastOnce, self.tasks - fenced)];
        for (promise, count) in promises.into_iter().filter(|(_, count)| *count > 0) {
            let name = if promise == v1::OnNodeLoss::Fenced { "fenced" } else { "free" };
            free.push((submit(&client, fake_job(name, process, promise, count)).await?, count));
        }
        let mut spec = fake_job("bound", process, v1::OnNodeLoss::AtLeastOnce, self.bound());
        for place in spec.tasks.iter_mut().filter_map(|task| task.place.as_mut()) {
            place.regions = vec![REGIONS[0].to_owned()];
        }
        let bound = submit(&client, spec).await?;
        for (run, count) in free.iter().chain([&(bound.clone(), self.bound())]) {
            running(&lost, run, *count).await?;
        }
        let others = [fleet(REGIONS[1])?, fleet(REGIONS[2])?];
        for other in &others {
            other.all_registered(LONG).await?;
        }
        let scope = Some(v1::forecast_loss_request::Scope::Region(REGIONS[0].to_owned()));
        let foretold = client.forecast_loss(v1::ForecastLossRequest { scope }).await?;
        tell(&format!(
            "foretold: {} tasks move within {:.1} s; now the region falls silent",
            foretold.moved,
            foretold.settled_ms as f64 / 1e3
        ));
        let homes = homes(&lost, free.iter().map(|(run, _)| run.as_str()));
        let words: Vec<BootInstant> = (0..lost.len()).map(|agent| lost.silence(agent).0).collect();
        let last_word = words.into_iter().max().unwrap_or_default();
        let ends = leases_over(&client, self.agents, &others, self.tasks).await?;
        let starts = moves(&others);
        let moved_at = starts.iter().map(|(_, at)| *at).max().unwrap_or_default();
        let over_at = ends.values().max().copied().unwrap_or_default();
        let first_over_at = ends.values().min().copied().unwrap_or_default();
        let late = |(task, at): &(Task, BootInstant)| {
            let end = homes.get(task).and_then(|node| ends.get(node)).copied().unwrap_or(*at);
            seconds(end.min(*at), *at)
        };
        let after_lease_s = starts.iter().map(late).fold(0.0, f64::max);
        let tasks: BTreeSet<&Task> = starts.iter().map(|(task, _)| task).collect();
        let strayed = tasks.iter().filter(|task| task.0 == bound).count() as u64;
        let moved = tasks.len() as u64 - strayed;
        let doubled = (starts.len() - tasks.len()) as u64;
        let (moved_s, leases_over_s) = (seconds(last_word, moved_at), seconds(last_word, over_at));
        tell(&format!("{moved} tasks moved within {moved_s:.1} s, the last lease was over after {leases_over_s:.1} s"));
        let began = SystemClock.boot();
        lost.board().clear();
        lost.revive();
        lost.all_registered(LONG).await?;
        running(&lost, &bound, self.bound()).await?;
        let returned_s = seconds(began, SystemClock.boot());
        tokio::time::sleep(CALM).await;
        let again = moves(&others).len() - starts.len();
        let free_starts = lost.board().starts().iter().filter(|start| start.attempt.0 != bound).count();
        let churned = (again + free_starts) as u64;
        tell(&format!("all machines are back after {returned_s:.1} s; {churned} tasks moved again"));
        cluster.check_processes()?;
        for fleet in others.into_iter().chain([lost]) {
            fleet.end().await;
        }
        if self.keep {
            tell(&format!("data and logs are in {}", cluster.directory().display()));
        }
        Ok(Round {
            foretold,
            moved_s: rounded(moved_s),
            first_lease_over_s: rounded(seconds(last_word, first_over_at)),
            leases_over_s: rounded(leases_over_s),
            after_lease_s: rounded(after_lease_s),
            moved,
            strayed,
            doubled,
            returned_s: rounded(returned_s),
            churned,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let within = |what: &str, value: usize, min: usize, max: usize| {
            let wrong = || Error::Option(format!("{what}: {value} is not between {min} and {max}"));
            if (min..=max).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        within("replicas", self.replicas, 1, 64)?;
        within("agents", self.agents, 1, AGENTS_MAX)?;
        within("tasks", self.tasks, 1, TASKS_MAX)?;
        within("rounds", self.rounds, 1, ROUNDS_MAX)
    }
}

/// Waits until so many tasks of a run are running on these agents.
async fn running(fleet: &Fleet, run: &str, count: usize) -> Result<(), Error> {
    fleet
        .until("all tasks to run", LONG, |board| match board.running(run).len() {
            running if running >= count => Ok(()),
            running => Err(format!("{running} of {count} do")),
        })
        .await
}

/// On which node each task of these runs is.
fn homes<'a>(fleet: &Fleet, runs: impl Iterator<Item = &'a str>) -> BTreeMap<Task, String> {
    let board = fleet.board();
    let of_run = runs.flat_map(|run| board.running(run));
    of_run.map(|((run, step, index, _), agent)| ((run, step, index), fleet.node(agent))).collect()
}

/// What was started on these agents, and when.
fn moves(fleets: &[Fleet]) -> Vec<(Task, BootInstant)> {
    let of_fleet = |fleet: &Fleet| -> Vec<(Task, BootInstant)> {
        let of = |(run, step, index, _): &(String, u32, u32, u32)| (run.clone(), *step, *index);
        fleet.board().starts().iter().map(|start| (of(&start.attempt), start.at)).collect()
    };
    fleets.iter().flat_map(of_fleet).collect()
}

/// Waits until so many nodes are lost and so many tasks have been started elsewhere: when each node was seen to be lost.
async fn leases_over(
    client: &Client,
    nodes: usize,
    others: &[Fleet],
    tasks: usize,
) -> Result<BTreeMap<String, BootInstant>, Error> {
    let begun = SystemClock.boot();
    let mut ends: BTreeMap<String, BootInstant> = BTreeMap::new();
    loop {
        let mut page_token = String::new();
        loop {
            let page = client.list_nodes(v1::ListNodesRequest { page_size: PAGE_ROWS, page_token }).await?;
            let now = SystemClock.boot();
            for node in page.nodes.into_iter().filter(|node| node.status() == v1::NodeStatus::Lost) {
                ends.entry(node.name).or_insert(now);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let moved = moves(others).len();
        if ends.len() >= nodes && moved >= tasks {
            return Ok(ends);
        }
        if SystemClock.boot().since(begun) >= LONG {
            let detail = format!(": {} of {nodes} nodes are lost, {moved} of {tasks} tasks have moved", ends.len());
            return Err(Error::NotInTime { what: "the work of the region elsewhere".to_owned(), waited: LONG, detail });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

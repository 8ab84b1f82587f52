//! How long a node's tasks are missing after it fell silent.
//!
//! Nodes fall silent one after the other, far enough apart that nobody takes it for a failure of the network: each
//! with one task that is `fenced` or `at_least_once`, in turn. Their connections stay open, as those of a machine
//! without power do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::BootInstant;
use serde::Serialize;

use super::board::Board;
use super::body::Key;
use super::fleet::Fleet;
use super::{AgentsBench, LONG, fake_job, submit};
use crate::Error;
use crate::latency::Quantiles;
use crate::local::LocalCluster;

/// Between two nodes.
const KILL_EVERY: Duration = Duration::from_millis(500);
/// The goal: longer than the lease by no more than this, in milliseconds.
const GOAL_MS: u64 = 1_000;

/// What it comes to, over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Detection {
    /// How long the leader waits for a silent node, counted from its last word.
    pub lease_server_ms: u64,
    /// What a `fenced` task waits in addition, because killing the one before may take so long.
    pub kill_ms: u64,
    /// Tasks that may run again at once.
    pub at_least_once: Silence,
    /// Tasks that wait until the one before is certainly gone.
    pub fenced: Silence,
    /// Whether the 99th percentile is within a second of what has to be waited for, counted from the last word.
    pub is_within_goal: bool,
}

/// How long the tasks of lost nodes were missing.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Silence {
    /// How many.
    pub nodes: usize,
    /// From the node's last word that the replicas heard until the replacement ran.
    pub from_last_word: Quantiles,
    /// From the instant at which its machine stopped.
    pub from_stop: Quantiles,
}

/// What was seen in each round, in microseconds from the last word and from the stop.
#[derive(Default)]
pub(super) struct Rounds {
    at_least_once: Vec<(u32, u32)>,
    fenced: Vec<(u32, u32)>,
}

/// A node that was taken away.
struct Victim {
    task: (String, u32, u32),
    number: u32,
    is_fenced: bool,
    last_word: BootInstant,
    stopped: BootInstant,
}

impl Rounds {
    pub(super) async fn measure(
        &mut self,
        bench: &AgentsBench,
        cluster: &LocalCluster,
        fleet: &Fleet,
    ) -> Result<(), Error> {
        let client = cluster.client();
        let counts = [bench.kills / 2, bench.kills - bench.kills / 2];
        let (mut runs, mut placed) = (Vec::new(), Vec::new());
        for (promise, count) in [v1::OnNodeLoss::Fenced, v1::OnNodeLoss::AtLeastOnce].into_iter().zip(counts) {
            let name = promise.as_str_name().trim_start_matches("ON_NODE_LOSS_").to_lowercase().replace('_', "-");
            let run = submit(&client, fake_job(&name, v1::Driver::Process, promise, count)).await?;
            let running =
                fleet.until("the tasks of the nodes to be lost", LONG, |board| all(board, &run, count)).await?;
            placed.push(running);
            runs.push(run);
        }
        let mut victims = Vec::with_capacity(bench.kills);
        let mut ticks = tokio::time::interval(KILL_EVERY);
        for ((run, step, index, number), agent) in choose(&placed) {
            ticks.tick().await;
            let (last_word, stopped) = fleet.silence(agent);
            let is_fenced = run == runs[0];
            victims.push(Victim { task: (run, step, index), number, is_fenced, last_word, stopped });
        }
        let starts =
            fleet.until("every task of a lost node running elsewhere", LONG, |board| again(board, &victims)).await?;
        for (victim, start) in victims.iter().zip(starts) {
            let micros = |from: BootInstant| u32::try_from(start.since(from).as_micros()).unwrap_or(u32::MAX);
            let into = if victim.is_fenced { &mut self.fenced } else { &mut self.at_least_once };
            into.push((micros(victim.last_word), micros(victim.stopped)));
        }
        fleet.revive();
        fleet.all_registered(LONG).await
    }

    /// All rounds so far in words.
    pub(super) fn last(&self) -> String {
        let told = |of: &Vec<(u32, u32)>| {
            let Silence { nodes, from_last_word: Quantiles { p50_ms, p99_ms, .. }, .. } = silence(of);
            format!("{nodes} nodes, p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms")
        };
        format!(
            "from a last word until the task ran elsewhere: at_least_once {}; fenced {}",
            told(&self.at_least_once),
            told(&self.fenced)
        )
    }

    pub(super) fn come_to(self, lease_server_ms: u64, kill_ms: u64) -> Detection {
        let (at_least_once, fenced) = (silence(&self.at_least_once), silence(&self.fenced));
        let is_within = |seen: Silence, wait: u64| seen.from_last_word.p99_ms <= (wait + GOAL_MS) as f64;
        Detection {
            lease_server_ms,
            kill_ms,
            at_least_once,
            fenced,
            is_within_goal: is_within(at_least_once, lease_server_ms) && is_within(fenced, lease_server_ms + kill_ms),
        }
    }
}

fn silence(seen: &[(u32, u32)]) -> Silence {
    Silence {
        nodes: seen.len(),
        from_last_word: Quantiles::of(seen.iter().map(|(word, _)| *word).collect()),
        from_stop: Quantiles::of(seen.iter().map(|(_, stop)| *stop).collect()),
    }
}

/// What runs of a run, once all of it does.
fn all(board: &Board, run: &str, count: usize) -> Result<Vec<(Key, usize)>, String> {
    let running = board.running(run);
    if running.len() >= count { Ok(running) } else { Err(format!("{} of {count} run", running.len())) }
}

/// Which tasks lose their nodes, in turn of each run; no node is lost twice, and so one task may be left out.
fn choose(placed: &[Vec<(Key, usize)>]) -> Vec<(Key, usize)> {
    let longest = placed.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|at| placed.iter().filter_map(move |of_run| of_run.get(at)));
    let mut gone = BTreeSet::new();
    in_turn.filter(|(_, agent)| gone.insert(*agent)).cloned().collect()
}

/// When each task ran again.
fn again(board: &Board, victims: &[Victim]) -> Result<Vec<BootInstant>, String> {
    let mut first: BTreeMap<(&str, u32, u32, u32), BootInstant> = BTreeMap::new();
    for start in board.starts() {
        let (run, step, index, number) = &start.attempt;
        first.entry((run, *step, *index, *number)).or_insert(start.at);
    }
    let started = |victim: &Victim| {
        let (run, step, index) = &victim.task;
        first.get(&(run.as_str(), *step, *index, victim.number + 1)).copied()
    };
    let starts: Vec<BootInstant> = victims.iter().filter_map(started).collect();
    if starts.len() == victims.len() { Ok(starts) } else { Err(format!("{} of {} do", starts.len(), victims.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_lose_their_nodes_in_turn_and_no_node_is_lost_twice() {
        let on = |run: &str, index, agent| ((run.to_owned(), 0, index, 1), agent);
        let placed = [vec![on("f", 0, 3), on("f", 1, 4)], vec![on("a", 0, 5), on("a", 1, 3), on("a", 2, 6)]];
        let chosen: Vec<usize> = choose(&placed).into_iter().map(|(_, agent)| agent).collect();
        assert_eq!(chosen, [3, 5, 4, 6]);
    }

    #[test]
    fn the_goal_allows_a_second_beyond_what_each_promise_waits_for() {
        let come_to = |word: u32, fenced: u32| {
            let rounds = Rounds { at_least_once: vec![(word, 1)], fenced: vec![(fenced, 1)] };
            rounds.come_to(15_000, 3_000).is_within_goal
        };
        assert!(come_to(16_000_000, 19_000_000));
        assert!(!come_to(16_100_000, 19_000_000));
        assert!(!come_to(16_000_000, 19_100_000));
    }
}

//! How much of a cluster's GPUs is allocated when tasks come faster than it can hold: a placement policy on its own.
//!
//! Nothing runs and no replica is asked: tasks of a trace come one after the other, each is placed or dropped, and none
//! leaves. What a policy says is checked on an account of its own, so that a placement that does not fit, or a drop of
//! what does, ends the measurement.

mod arrivals;
mod policy;
mod trace;

use std::ops::Range;
use std::path::PathBuf;

use quorate_scheduler::placement::pack::{GpuHold, Mix, Packer, Room, Want};
use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use crate::Error;
use crate::samples::{quantile, rounded};
use arrivals::arrivals;
use policy::{Compared, Rule};
use trace::Trace;

/// Seeds at most.
const SEEDS_MAX: u64 = 1_000;
/// Times the cluster's GPUs that may come at most.
const INFLATE_MAX: f64 = 10.0;

/// How nodes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// What the scheduler does.
    Quorate,
    /// Where least is left of CPU and GPU together.
    BestFit,
    /// Fragmentation gradient descent, as published.
    Fgd,
    /// Where what is free and what is wanted are least alike.
    DotProd,
    /// Any node with room.
    Random,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct PackBench {
    /// The nodes, in the format of OpenB.
    pub nodes: PathBuf,
    /// The tasks, in the same.
    pub pods: PathBuf,
    /// How many times the cluster's GPUs come in all; all tasks of the file come anyway.
    pub inflate: f64,
    /// One round each.
    pub seeds: Range<u64>,
    /// How nodes are chosen.
    pub policy: Policy,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `pack`.
    pub bench: &'static str,
    /// The policy's name.
    pub policy: &'static str,
    /// How much of all devices was allocated in the end, in percent: the mean of the seeds.
    pub gpu_allocation_percent: f64,
    /// The same of the cores.
    pub cpu_allocation_percent: f64,
    /// Tasks that fitted nowhere: the mean of the seeds.
    pub dropped: f64,
    /// Half of all decisions took no longer, in microseconds.
    pub decision_us_p50: f64,
    /// 99 of 100 took no longer.
    pub decision_us_p99: f64,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many devices they have.
    pub gpus: u64,
    /// How many times as much as they are came.
    pub inflate: f64,
    /// Seed by seed.
    pub seeds: Vec<Round>,
}

/// What was measured with one seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Round {
    /// What decides the order of the tasks.
    pub seed: u64,
    /// How many came.
    pub tasks: usize,
    /// How much of all devices was allocated in the end, in percent.
    pub gpu_allocation_percent: f64,
    /// The same of the cores.
    pub cpu_allocation_percent: f64,
    /// Tasks that fitted nowhere.
    pub dropped: usize,
    /// Half of the decisions took no longer, in microseconds.
    pub decision_us_p50: f64,
    /// 99 of 100 took no longer.
    pub decision_us_p99: f64,
}

impl Policy {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quorate => "quorate",
            Self::BestFit => "bestfit",
            Self::Fgd => "fgd",
            Self::DotProd => "dotprod",
            Self::Random => "random",
        }
    }
}

impl PackBench {
    /// Reads the files and plays every seed; lets others run between two of them.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Report, Error> {
        if !(self.inflate > 0.0 && self.inflate <= INFLATE_MAX) {
            return Err(Error::Option(format!("inflate: {} is not above 0 and up to {INFLATE_MAX}", self.inflate)));
        }
        let count = self.seeds.end.saturating_sub(self.seeds.start);
        if count == 0 || count > SEEDS_MAX {
            return Err(Error::Option(format!("seeds: {count} of them are not between 1 and {SEEDS_MAX}")));
        }
        let trace = Trace::read(&self.nodes, &self.pods)?;
        let mut times = Vec::new();
        let mut seeds = Vec::new();
        for seed in self.seeds.clone() {
            let round = self.round(&trace, seed, &mut times)?;
            note(&format!("seed {seed}: {:.2} % of the GPUs allocated", round.gpu_allocation_percent));
            seeds.push(round);
            tokio::task::yield_now().await;
        }
        times.sort_unstable();
        let mean = |of: fn(&Round) -> f64| rounded(seeds.iter().map(of).sum::<f64>() / seeds.len() as f64);
        Ok(Report {
            bench: "pack",
            policy: self.policy.name(),
            gpu_allocation_percent: mean(|round| round.gpu_allocation_percent),
            cpu_allocation_percent: mean(|round| round.cpu_allocation_percent),
            dropped: mean(|round| round.dropped as f64),
            decision_us_p50: rounded(quantile(&times, 0.5) / 1e3),
            decision_us_p99: rounded(quantile(&times, 0.99) / 1e3),
            nodes: trace.rooms.len(),
            gpus: trace.rooms.iter().map(|room| room.devices().len() as u64).sum(),
            inflate: self.inflate,
            seeds,
        })
    }

    /// Plays one seed; nanoseconds that decisions took go to `times`.
    fn round(&self, trace: &Trace, seed: u64, times: &mut Vec<u32>) -> Result<Round, Error> {
        let tasks = arrivals(&trace.wants, seed, (trace.gpu_milli() as f64 * self.inflate) as u64);
        let mut chooser = Chooser::new(self.policy, trace, seed);
        let mut rooms = trace.rooms.clone();
        let mut took = Vec::with_capacity(tasks.len());
        let mut dropped = 0;
        for want in &tasks {
            let begun = SystemClock.boot();
            let placed = chooser.place(want);
            took.push(u32::try_from(SystemClock.boot().since(begun).as_nanos()).unwrap_or(u32::MAX));
            match placed {
                Some((node, hold)) => give(&mut rooms, node, want, hold)?,
                None if rooms.iter().any(|room| room.fits(want)) => {
                    return Err(Error::Outcome(format!("{want:?} was dropped although it fits")));
                }
                None => dropped += 1,
            }
        }
        took.sort_unstable();
        times.extend_from_slice(&took);
        let cpu_milli = |rooms: &[Room]| rooms.iter().map(|room| room.cpu_milli).sum::<u64>();
        let gpu_milli = |rooms: &[Room]| rooms.iter().map(Room::gpu_milli).sum::<u64>();
        let percent = |of: u64, left: u64| rounded(100.0 * (of - left) as f64 / of.max(1) as f64);
        Ok(Round {
            seed,
            tasks: tasks.len(),
            gpu_allocation_percent: percent(gpu_milli(&trace.rooms), gpu_milli(&rooms)),
            cpu_allocation_percent: percent(cpu_milli(&trace.rooms), cpu_milli(&rooms)),
            dropped,
            decision_us_p50: rounded(quantile(&took, 0.5) / 1e3),
            decision_us_p99: rounded(quantile(&took, 0.99) / 1e3),
        })
    }
}

/// Takes from the account what a task was given.
fn give(rooms: &mut [Room], node: usize, want: &Want, hold: GpuHold) -> Result<(), Error> {
    let left = rooms.get(node).filter(|room| room.fits(want)).and_then(|room| room.without(want, hold));
    let left =
        left.ok_or_else(|| Error::Outcome(format!("{want:?} was given {hold:?} of node {node}, which are not free")))?;
    if let Some(room) = rooms.get_mut(node) {
        *room = left;
    }
    Ok(())
}

enum Chooser {
    Quorate(Box<Packer>),
    Compared(Box<Compared>),
}

impl Chooser {
    fn new(policy: Policy, trace: &Trace, seed: u64) -> Self {
        let compared = |rule| Self::Compared(Box::new(Compared::new(rule, &trace.rooms, &trace.wants, seed)));
        match policy {
            Policy::Quorate => {
                let mix = Mix::of(trace.wants.iter().map(|want| (*want, 1)));
                Self::Quorate(Box::new(Packer::new(&trace.rooms, &mix)))
            }
            Policy::BestFit => compared(Rule::BestFit),
            Policy::Fgd => compared(Rule::Fgd),
            Policy::DotProd => compared(Rule::DotProduct),
            Policy::Random => compared(Rule::Random),
        }
    }

    fn place(&mut self, want: &Want) -> Option<(usize, GpuHold)> {
        match self {
            Self::Quorate(packer) => packer.place(want),
            Self::Compared(compared) => compared.place(want),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [Policy; 5] = [Policy::Quorate, Policy::BestFit, Policy::Fgd, Policy::DotProd, Policy::Random];

    /// Some nodes and tasks, on disk.
    fn bench(policy: Policy) -> (tempfile::TempDir, PackBench) {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes = "sn,cpu_milli,gpu,model\n".to_owned();
        for node in 0..12 {
            nodes += &format!(
                "node-{node:02},{},{},{}\n",
                32_000 + node % 3 * 16_000,
                1 << (node % 4),
                ["T4", "G2"][node % 2]
            );
        }
        let mut pods = "cpu_milli,num_gpu,gpu_milli,gpu_spec\n".to_owned();
        for pod in 0..40 {
            let (gpus, milli) = [(1, 300 + pod % 5 * 100), (1, 1_000), (2, 1_000), (0, 0)][pod % 4];
            pods += &format!("{},{gpus},{milli},{}\n", 1_000 + pod % 7 * 1_000, ["", "T4", "T4|G2"][pod % 3]);
        }
        let (nodes_path, pods_path) = (dir.path().join("nodes.csv"), dir.path().join("pods.csv"));
        std::fs::write(&nodes_path, nodes).unwrap();
        std::fs::write(&pods_path, pods).unwrap();
        (dir, PackBench { nodes: nodes_path, pods: pods_path, inflate: 1.3, seeds: 3..6, policy })
    }

    #[tokio::test]
    async fn every_policy_allocates_what_it_can_and_the_same_every_time() {
        for policy in POLICIES {
            let (_dir, bench) = bench(policy);
            let report = bench.run(&|_| ()).await.unwrap();
            let again = bench.run(&|_| ()).await.unwrap();
            let found = |report: &Report| {
                let of = |round: &Round| (round.seed, round.tasks, round.gpu_allocation_percent, round.dropped);
                report.seeds.iter().map(of).collect::<Vec<_>>()
            };
            assert_eq!(found(&report), found(&again));
            assert_eq!(report.seeds.iter().map(|round| round.seed).collect::<Vec<_>>(), [3, 4, 5]);
            assert_eq!((report.policy, report.nodes, report.gpus), (policy.name(), 12, 45));
            let percent = report.gpu_allocation_percent;
            assert!(percent > 70.0 && percent <= 100.0 && report.dropped > 0.0, "{policy:?}: {percent}");
        }
    }

    #[tokio::test]
    async fn options_out_of_range_are_refused() {
        let (_dir, bench) = bench(Policy::Quorate);
        for inflate in [0.0, -1.0, 11.0, f64::NAN] {
            let why = PackBench { inflate, ..bench.clone() }.run(&|_| ()).await.unwrap_err().to_string();
            assert!(why.starts_with("inflate: "), "{why}");
        }
        for seeds in [Range { start: 3, end: 3 }, Range { start: 4, end: 3 }, 0..1_001] {
            let why = PackBench { seeds, ..bench.clone() }.run(&|_| ()).await.unwrap_err().to_string();
            assert!(why.contains("between 1 and 1000"), "{why}");
        }
    }

    #[test]
    fn what_was_not_free_cannot_be_given() {
        use quorate_scheduler::placement::pack::{GpuWant, Models};
        let want = Want { cpu_milli: 1, memory_bytes: 0, gpu: GpuWant::Share(500), models: Models::ANY };
        let mut rooms = [Room::new(2, 0, 0, &[400, 600]).unwrap()];
        let hold = |devices| GpuHold { devices, milli: 500 };
        assert!(give(&mut rooms, 0, &want, hold(0b01)).is_err());
        assert!(give(&mut rooms, 1, &want, hold(0b10)).is_err());
        assert!(give(&mut rooms, 0, &want, hold(0b10)).is_ok());
        assert!(give(&mut rooms, 0, &want, hold(0b10)).is_err());
    }
}

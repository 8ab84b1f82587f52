//! What agents cost that do nothing but renew their leases.

use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use super::mib;
use crate::Error;
use crate::cost::processor_time;
use crate::local::LocalCluster;
use crate::samples::{Spread, rounded};

/// What it comes to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Idle {
    /// How long, in seconds.
    pub seconds: u64,
    /// The leader.
    pub leader: Load,
    /// Each of the others, on average.
    pub follower: Load,
    /// What the fake agents themselves took of one core, in per cent: where that and the replicas fill the machine, they
    /// wait for each other.
    pub agents_core_percent: Spread,
}

/// What a replica takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Processor time per agent and second, in microseconds.
    pub cpu_us_per_agent_s: Spread,
    /// Of one core, in per cent.
    pub core_percent: Spread,
    /// Resident memory at the end, in MiB.
    pub memory_mib: Spread,
}

/// What each round came to.
#[derive(Default)]
pub(super) struct Rounds {
    leader: Samples,
    follower: Samples,
    own_percent: Vec<f64>,
}

#[derive(Default)]
struct Samples {
    per_agent: Vec<f64>,
    percent: Vec<f64>,
    memory: Vec<f64>,
}

impl Samples {
    /// Time and memory of `replicas` processes together.
    fn add(&mut self, took: Duration, memory: f64, replicas: f64, agents: usize, over: Duration) {
        let share = took.as_secs_f64() / over.as_secs_f64() / replicas;
        self.per_agent.push(share * 1e6 / agents as f64);
        self.percent.push(share * 100.0);
        self.memory.push(memory / replicas);
    }

    fn come_to(self) -> Option<Load> {
        Some(Load {
            cpu_us_per_agent_s: Spread::of(self.per_agent)?,
            core_percent: Spread::of(self.percent)?,
            memory_mib: Spread::of(self.memory)?,
        })
    }
}

impl Rounds {
    /// Leaves the agents alone for this long.
    pub(super) async fn measure(
        &mut self,
        cluster: &mut LocalCluster,
        agents: usize,
        window: Duration,
    ) -> Result<(), Error> {
        let leader = cluster.leader(|_| true).await?;
        let others: Vec<usize> = (0..cluster.replica_count()).filter(|replica| *replica != leader.replica).collect();
        let pids = |of: &[usize]| -> Vec<u32> { of.iter().filter_map(|one| cluster.replica_pid(*one)).collect() };
        let processes = [pids(&[leader.replica]), pids(&others), vec![std::process::id()]];
        let used = || processes.iter().map(|pids| processor_time(pids)).collect::<Result<Vec<_>, _>>();
        let (begun, before) = (SystemClock.boot(), used()?);
        tokio::time::sleep(window).await;
        let (over, after) = (SystemClock.boot().since(begun), used()?);
        let took: Vec<Duration> =
            after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
        let memory = |of: &[usize]| of.iter().map(|one| cluster.replica_memory(*one).map(mib)).sum::<Result<f64, _>>();
        self.leader.add(took[0], memory(&[leader.replica])?, 1.0, agents, over);
        if !others.is_empty() {
            self.follower.add(took[1], memory(&others)?, others.len() as f64, agents, over);
        }
        self.own_percent.push(took[2].as_secs_f64() / over.as_secs_f64() * 100.0);
        let now = cluster.leader(|_| true).await?;
        if now != leader {
            return Err(Error::Outcome(format!("the leader changed while nothing happened: {leader:?}, then {now:?}")));
        }
        Ok(())
    }

    /// The last round in words.
    pub(super) fn last(&self) -> String {
        let last = |values: &Vec<f64>| values.last().copied().unwrap_or_default();
        format!(
            "leader {:.1} % of a core, {:.0} MiB; follower {:.1} %, {:.0} MiB; the agents themselves {:.0} %",
            last(&self.leader.percent),
            last(&self.leader.memory),
            last(&self.follower.percent),
            last(&self.follower.memory),
            last(&self.own_percent)
        )
    }

    pub(super) fn come_to(self, seconds: u64) -> Option<Idle> {
        let leader = self.leader.come_to()?;
        let nothing = Spread { median: 0.0, min: 0.0, max: 0.0 };
        let alone = Load { cpu_us_per_agent_s: nothing, core_percent: nothing, memory_mib: nothing };
        let follower = self.follower.come_to().unwrap_or(alone);
        let percent = self.own_percent.into_iter().map(rounded).collect();
        Some(Idle { seconds, leader, follower, agents_core_percent: Spread::of(percent)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_processes_take_is_shared_among_them_and_the_agents() {
        let mut samples = Samples::default();
        samples.add(Duration::from_secs(4), 300.0, 2.0, 1_000, Duration::from_secs(20));
        let load = samples.come_to().unwrap();
        assert_eq!((load.core_percent.median, load.cpu_us_per_agent_s.median), (10.0, 100.0));
        assert_eq!(load.memory_mib.median, 150.0);
    }
}

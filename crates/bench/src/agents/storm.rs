//! All replicas are gone at once and come back: how long until every agent is registered again and new work is
//! placed, and whether anything that ran was lost.

use std::collections::BTreeMap;

use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;

use super::body::Key;
use super::fleet::Fleet;
use super::{LONG, fake_job, mib, seconds, submit};
use crate::Error;
use crate::local::LocalCluster;
use crate::samples::{Spread, rounded};

/// Runs may be submitted for so long while nobody leads.
const SUBMIT_WAIT: std::time::Duration = std::time::Duration::from_secs(120);

/// What it comes to. All times begin when the last replica was killed.
#[derive(Clone, Debug, Serialize)]
pub struct Storm {
    /// Until every agent is registered, in seconds.
    pub registered_s: Spread,
    /// Until a task that was submitted meanwhile runs, in seconds.
    pub placed_s: Spread,
    /// The longest time, between the first and the last agent, in which none was registered, in milliseconds.
    pub longest_stall_ms: Spread,
    /// The most memory of any replica since, in MiB.
    pub peak_mib: Spread,
    /// Sessions that failed until then, by reason, in all rounds; the first of each agent was cut by the kill.
    pub failed_sessions: BTreeMap<&'static str, u64>,
    /// Tasks that ran before, in all rounds,
    pub tasks: usize,
    /// and so many of them do not run afterwards as the same attempt on the same agent.
    pub tasks_lost: usize,
}

/// What each round came to.
#[derive(Default)]
pub(super) struct Rounds {
    registered: Vec<f64>,
    placed: Vec<f64>,
    stall: Vec<f64>,
    peak: Vec<f64>,
    failed: BTreeMap<&'static str, u64>,
    tasks: usize,
    lost: usize,
}

impl Rounds {
    pub(super) async fn measure(&mut self, cluster: &mut LocalCluster, fleet: &Fleet) -> Result<(), Error> {
        let client = cluster.client_with(SUBMIT_WAIT);
        let (name, count) = ("held", fleet.len());
        let run = submit(&client, fake_job(name, v1::Driver::Process, v1::OnNodeLoss::AtLeastOnce, count)).await?;
        let before = fleet
            .until("a task on every agent", LONG, |board| {
                let running = board.running(&run);
                if running.len() == count { Ok(running) } else { Err(format!("{} of {count} run", running.len())) }
            })
            .await?;
        fleet.board().clear();
        for replica in 0..cluster.replica_count() {
            cluster.kill9(replica);
        }
        let gone = SystemClock.boot();
        for replica in 0..cluster.replica_count() {
            cluster.restart(replica)?;
        }
        let probe = async {
            let spec = fake_job("probe", v1::Driver::Noop, v1::OnNodeLoss::AtLeastOnce, 1);
            let probe = submit(&client, spec).await?;
            let find = |start: &super::board::Start| start.attempt.0 == probe;
            fleet
                .until("a new task placed", LONG, |board| {
                    let started = board.starts().iter().find(|start| find(start)).map(|start| start.at);
                    started.ok_or_else(|| "it waits".to_owned())
                })
                .await
        };
        let (placed, registered) = tokio::try_join!(probe, fleet.all_registered_again(LONG))?;
        cluster.wait_ready().await?;
        let after = fleet.board().running(&run);
        self.tasks += before.len();
        self.lost += missing(&before, &after);
        for (why, count) in fleet.board().failures() {
            *self.failed.entry(why).or_default() += count;
        }
        self.registered.push(seconds(gone, registered));
        self.placed.push(seconds(gone, placed));
        self.stall.push(longest_gap(fleet.board().registrations()) * 1e3);
        let mut peak = 0;
        for replica in 0..cluster.replica_count() {
            peak = peak.max(cluster.replica_peak_memory(replica)?);
        }
        self.peak.push(mib(peak));
        Ok(())
    }

    /// The last round in words.
    pub(super) fn last(&self) -> String {
        let last = |values: &Vec<f64>| values.last().copied().unwrap_or_default();
        format!(
            "all were back after {:.1} s, a new task ran after {:.1} s, longest stall {:.0} ms, peak {:.0} MiB, {} of {} \
             tasks lost, failed sessions {:?}",
            last(&self.registered),
            last(&self.placed),
            last(&self.stall),
            last(&self.peak),
            self.lost,
            self.tasks,
            self.failed
        )
    }

    pub(super) fn come_to(self) -> Option<Storm> {
        let spread = |values: Vec<f64>| Spread::of(values.into_iter().map(rounded).collect());
        Some(Storm {
            registered_s: spread(self.registered)?,
            placed_s: spread(self.placed)?,
            longest_stall_ms: spread(self.stall)?,
            peak_mib: spread(self.peak)?,
            failed_sessions: self.failed,
            tasks: self.tasks,
            tasks_lost: self.lost,
        })
    }
}

/// How many of the attempts before are not there afterwards, or elsewhere.
fn missing(before: &[(Key, usize)], after: &[(Key, usize)]) -> usize {
    let after: BTreeMap<&Key, usize> = after.iter().map(|(attempt, agent)| (attempt, *agent)).collect();
    before.iter().filter(|(attempt, agent)| after.get(attempt) != Some(agent)).count()
}

/// The longest time between two neighbours, in seconds.
fn longest_gap(instants: &[BootInstant]) -> f64 {
    instants.windows(2).map(|pair| seconds(pair[0], pair[1])).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_kept_only_as_the_same_on_the_same_agent() {
        let on = |index, number, agent| (("r".to_owned(), 0, index, number), agent);
        let before = [on(0, 1, 10), on(1, 1, 11), on(2, 1, 12)];
        assert_eq!(missing(&before, &before), 0);
        assert_eq!(missing(&before, &[on(0, 1, 10), on(1, 2, 11), on(2, 1, 13)]), 2);
    }

    #[test]
    fn the_longest_stall_is_between_two_registrations() {
        let at = |millis| BootInstant::from_millis(millis);
        assert_eq!(longest_gap(&[at(5_000), at(5_100), at(5_600), at(5_700)]), 0.5);
        assert_eq!(longest_gap(&[]), 0.0);
    }
}

//! How much there is in a scenario, for people who compare two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Ask, Class, Scenario, When};
use crate::report::{seconds, word};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    replicas: usize,
    regions: usize,
    racks: usize,
    agents: usize,
    sessions: usize,
    operations: usize,
    jobs: usize,
    /// Their copies included.
    tasks: u64,
    faults: BTreeMap<Class, usize>,
    heal_ms: u64,
    end_ms: u64,
}

impl Size {
    /// Counts.
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let replica_regions = scenario.replicas.iter().map(|replica| &replica.region);
        let regions: BTreeSet<_> = replica_regions.chain(scenario.racks.iter().map(|rack| &rack.region)).collect();
        let mut jobs = 0;
        let mut tasks = 0;
        // What only keeps the log going while the heal is put off says nothing about a scenario.
        let sessions = scenario.sessions.iter().filter(|session| session.when != When::UntilHealed);
        for step in sessions.clone().flat_map(|session| &session.steps) {
            if let Ask::Submit(job) = &step.what {
                jobs += 1;
                tasks += job.tasks.iter().map(|task| u64::from(task.count)).sum::<u64>();
            }
        }
        let mut faults = BTreeMap::new();
        for fault in &scenario.faults {
            *faults.entry(fault.class).or_default() += 1;
        }
        Self {
            replicas: scenario.replicas.len(),
            regions: regions.len(),
            racks: scenario.racks.len(),
            agents: scenario.racks.iter().map(|rack| rack.agents.len()).sum(),
            sessions: sessions.clone().count(),
            operations: sessions.map(|session| session.steps.len()).sum(),
            jobs,
            tasks,
            faults,
            heal_ms: scenario.heal_ms,
            end_ms: scenario.end_ms,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} replicas, {} agents on {} machines, {} regions; {} operations in {} sessions, {} jobs with {} tasks; ",
            self.replicas, self.agents, self.racks, self.regions, self.operations, self.sessions, self.jobs, self.tasks
        )?;
        let faults: Vec<_> = self.faults.iter().map(|(class, count)| format!("{} {count}", word(class))).collect();
        match faults.len() {
            0 => f.write_str("no faults")?,
            _ => write!(f, "{} faults ({})", self.faults.values().sum::<usize>(), faults.join(", "))?,
        }
        write!(f, "; healed at {}, ends not before {}", seconds(self.heal_ms), seconds(self.end_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;

    #[test]
    fn a_scenario_is_told_in_a_line() {
        assert_eq!(
            Size::of(&sample()).to_string(),
            "3 replicas, 3 agents on 2 machines, 2 regions; 7 operations in 3 sessions, 2 jobs with 5 tasks; 7 faults \
             (partition 2, crash 1, agent-kill 1, rack-crash 1, clock 1, poison 1); healed at 20.000 s, ends not before \
             50.000 s"
        );
    }
}

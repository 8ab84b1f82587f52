//! What each run is: its namespace, its job and its labels follow from its number and a seed.

use std::collections::BTreeSet;

use quorate_proto::v1;

use crate::dice::Dice;
use crate::jobs::{job_of, task};

/// Namespaces that runs are spread over.
pub(super) const NAMESPACES: u64 = 20;
/// Names of jobs in each of them.
const JOBS: u64 = 200;
/// Values of the label `team`, which belongs to the job.
const TEAMS: u64 = 50;
/// Values of the label `tier`, which belongs to the job too.
const TIERS: u64 = 5;
/// One run among so many that follow each other has the label `incident`.
pub(super) const ONE_IN_HAS_INCIDENT: u64 = 10_000;
/// One job in so many has two tasks.
const ONE_IN_HAS_TWO_TASKS: u64 = 8;
/// What one task takes: little, so that very many fit on a few agents.
const TASK_RESOURCES: v1::Resources = v1::Resources { cpu_milli: 10, memory_bytes: 1 << 20, gpu_milli: 0 };

/// The label that few runs have, and what it says.
pub(super) const INCIDENT: (&str, &str) = ("incident", "open");
/// The task that every job has.
pub(super) const TASK: &str = "work";

/// A run as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) namespace: String,
    pub(super) job: String,
    pub(super) team: String,
    pub(super) tier: String,
    pub(super) has_incident: bool,
    has_two_tasks: bool,
}

impl Drawn {
    /// The run of this number, the same for the same seed.
    pub(super) fn of(seed: u64, number: u64) -> Self {
        let mut dice = Dice(mixed(&[seed, number]));
        let (namespace, job) = (dice.below(NAMESPACES), dice.below(JOBS));
        let mut of_job = Dice(mixed(&[seed, namespace, job, 1]));
        let block = number / ONE_IN_HAS_INCIDENT;
        let incident = Dice(mixed(&[seed, block, 2])).below(ONE_IN_HAS_INCIDENT);
        Self {
            namespace: namespace_name(namespace),
            job: format!("job-{job:03}"),
            team: format!("team-{:02}", of_job.below(TEAMS)),
            tier: format!("tier-{}", of_job.below(TIERS)),
            has_two_tasks: of_job.below(ONE_IN_HAS_TWO_TASKS) == 0,
            has_incident: number % ONE_IN_HAS_INCIDENT == incident,
        }
    }

    /// The job that is submitted for it. Its commands are for agents whose processes answer.
    pub(super) fn spec(&self) -> v1::JobSpec {
        let answer = |name: &str| {
            let argv = ["answer", "{\"rows\":1024}"].map(str::to_owned).to_vec();
            task(name.to_owned(), v1::Driver::Process, argv, 1, TASK_RESOURCES)
        };
        let mut tasks = vec![answer(TASK)];
        if self.has_two_tasks {
            tasks.push(v1::TaskSpec { needs: vec![TASK.to_owned()], ..answer("publish") });
        }
        let incident = self.has_incident.then(|| label(INCIDENT.0, INCIDENT.1));
        let labels = incident.into_iter().chain([label("team", &self.team), label("tier", &self.tier)]);
        v1::JobSpec { namespace: self.namespace.clone(), labels: labels.collect(), ..job_of(self.job.clone(), tasks) }
    }
}

/// All namespaces.
pub(super) fn namespaces() -> BTreeSet<String> {
    (0..NAMESPACES).map(namespace_name).collect()
}

fn namespace_name(number: u64) -> String {
    format!("space-{number:02}")
}

/// A label.
pub(super) fn label(key: &str, value: &str) -> v1::Label {
    v1::Label { key: key.to_owned(), value: value.to_owned() }
}

/// One number out of several, so that neighbours are far from each other.
fn mixed(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |sum, part| Dice(sum ^ part).next())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn runs_follow_from_their_seed_and_their_number() {
        let all = |seed: u64| (0..1_000).map(|number| Drawn::of(seed, number)).collect::<Vec<_>>();
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }

    #[test]
    fn all_that_can_be_drawn_is_drawn_about_as_often() {
        let runs: Vec<Drawn> = (0..40_000).map(|number| Drawn::of(1, number)).collect();
        let counts = |of: fn(&Drawn) -> &String| {
            let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
            runs.iter().for_each(|run| *counts.entry(of(run)).or_default() += 1);
            (counts.len(), *counts.values().min().unwrap(), *counts.values().max().unwrap())
        };
        for ((kinds, min, max), wanted) in
            [(counts(|run| &run.namespace), 20), (counts(|run| &run.job), 200), (counts(|run| &run.team), 50)]
        {
            assert_eq!(kinds, wanted);
            assert!(min * 3 > max, "{wanted}: {min} to {max}");
        }
        assert_eq!(runs.iter().filter(|run| run.has_incident).count(), 4, "one in 10,000, whatever the seed");
        let two = runs.iter().filter(|run| run.spec().tasks.len() == 2).count();
        assert!((2_000..9_000).contains(&two), "{two}");
        assert!(runs.iter().all(|run| namespaces().contains(&run.namespace)));
    }

    #[test]
    fn a_job_is_the_same_each_time_but_for_incidents() {
        let mut specs: BTreeMap<(String, String), v1::JobSpec> = BTreeMap::new();
        for number in 0..20_000 {
            let run = Drawn::of(3, number);
            let spec = run.spec();
            assert!(spec.labels.is_sorted_by(|one, other| one.key < other.key), "{:?}", spec.labels);
            if run.has_incident {
                assert_eq!(spec.labels[0], label("incident", "open"));
                continue;
            }
            let first = specs.entry((run.namespace, run.job)).or_insert_with(|| spec.clone());
            assert_eq!(*first, spec);
        }
    }
}

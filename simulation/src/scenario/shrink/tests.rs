//! Smaller scenarios still fit together, and mean by what is left what the larger one meant.

use super::*;
use crate::scenario::sample::sample;
use crate::scenario::{SessionPlan, Size};

fn names(session: &SessionPlan) -> Vec<&str> {
    session.steps.iter().filter_map(|step| job_of(&step.what)).collect()
}

#[test]
fn cuts_halve_down_to_single_parts() {
    assert_eq!(cuts(0).count(), 0);
    assert!(cuts(1).eq(std::iter::once(0..1)));
    assert_eq!(cuts(3).collect::<Vec<_>>(), [0..3, 0..2, 2..3, 0..1, 1..2, 2..3]);
}

#[test]
fn every_smaller_scenario_fits_together_however_far_one_goes() {
    let mut waiting = vec![sample()];
    let mut seen = 0;
    let mut known = BTreeSet::new();
    // Two rounds from the sample reach every pair of edits.
    for _ in 0..2 {
        let round = std::mem::take(&mut waiting);
        for (scenario, edit) in
            round.iter().flat_map(|scenario| edits(scenario).into_iter().map(move |e| (scenario, e)))
        {
            let Some(smaller) = edit.applied(scenario) else { continue };
            check(&smaller).unwrap_or_else(|why| panic!("{edit:?}: {why}"));
            assert!(smaller.classes.is_sorted());
            assert_eq!(smaller.end_ms - smaller.heal_ms, scenario.end_ms - scenario.heal_ms, "{edit:?}");
            seen += 1;
            if known.insert(serde_json::to_string(&smaller).unwrap()) {
                waiting.push(smaller);
            }
        }
    }
    assert!(seen > 500, "{seen}");
}

#[test]
fn going_on_as_long_as_anything_goes_ends_with_next_to_nothing() {
    let mut scenario = sample();
    while let Some(smaller) = edits(&scenario).iter().find_map(|edit| edit.applied(&scenario)) {
        scenario = smaller;
    }
    assert_eq!(
        Size::of(&scenario).to_string(),
        "1 replicas, 0 agents on 0 machines, 1 regions; 0 operations in 0 sessions, 0 jobs with 0 tasks; no faults; \
         healed at 0.000 s, ends not before 30.000 s"
    );
}

#[test]
fn faults_follow_the_hosts_that_move_up() {
    let without_second = Edit::Replicas(1..2).applied(&sample()).unwrap();
    let what: Vec<_> = without_second.faults.iter().map(|fault| fault.what.clone()).collect();
    assert!(matches!(what[0], FaultWhat::Crash { target: crate::scenario::Target::Replica(1), .. }));
    assert!(matches!(&what[1], FaultWhat::Isolate { hosts, .. } if *hosts == [2, 4, 5]));
    assert!(matches!(what[5], FaultWhat::ClockJump { host: 5, .. }));

    let without_rack = Edit::Racks(0..1).applied(&sample()).unwrap();
    assert_eq!(without_rack.racks.len(), 1);
    let kills = |fault: &&crate::scenario::FaultPlan| matches!(fault.what, FaultWhat::AgentKill { rack: 0, agent: 0 });
    assert_eq!(without_rack.faults.iter().filter(kills).count(), 1);
    assert!(!without_rack.classes.contains(&Class::RackCrash), "its only fault went with its rack");
}

#[test]
fn what_is_asked_about_a_job_goes_with_it() {
    let smaller = Edit::Jobs(0..1).applied(&sample()).unwrap();
    assert_eq!(smaller.sessions.iter().map(names).collect::<Vec<_>>(), [vec!["two"], vec!["two", "two"]]);
    let smaller = Edit::Sessions(0..1).applied(&sample()).unwrap();
    assert_eq!(smaller.sessions.len(), 1, "the third session was about the first one's job");
    assert_eq!(smaller.sessions[0].host, 0, "its host moved up");
    assert!(matches!(&smaller.faults[1].what, FaultWhat::Isolate { hosts, .. } if *hosts == [1, 3, 5]));
}

#[test]
fn tasks_go_from_all_copies_of_their_job() {
    let smaller = Edit::Tasks(1..2).applied(&sample()).unwrap();
    let mut jobs = Vec::new();
    for step in smaller.sessions.iter().flat_map(|session| &session.steps) {
        if let Ask::Submit(job) | Ask::Resubmit(job) = &step.what {
            jobs.push((job.name.as_str(), job.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>()));
        }
    }
    let (one, two) = (("one", vec!["t0", "t2"]), ("two", vec!["t0", "t1"]));
    assert_eq!(jobs, [one.clone(), two.clone(), two, one]);
}

#[test]
fn a_task_keeps_an_agent_that_can_run_it() {
    assert_eq!(Edit::Racks(1..2).applied(&sample()), None, "it is the only one in region b");
    assert!(Edit::Agents(0..2).applied(&sample()).is_some());
    assert_eq!(Edit::Agents(2..3).applied(&sample()), None);
}

#[test]
fn a_class_that_the_workload_carries_goes_with_what_carries_it() {
    let smaller = Edit::Faults(0..7).applied(&sample()).unwrap();
    assert_eq!(smaller.classes, [Class::Clock, Class::Duplicates, Class::Poison]);
    let steady = Edit::TrueClocks.applied(&smaller).unwrap();
    assert_eq!(steady.classes, [Class::Duplicates, Class::Poison]);
    let without_jobs = Edit::Jobs(0..2).applied(&sample()).unwrap();
    assert!(!without_jobs.classes.contains(&Class::Poison));
    assert!(!without_jobs.faults.iter().any(|fault| fault.class == Class::Poison));
}

#[test]
fn it_ends_sooner_by_what_nothing_happens_in() {
    let smaller = Edit::Sooner.applied(&sample()).unwrap();
    assert_eq!((smaller.heal_ms, smaller.end_ms), (6_500, 36_500), "the last fault, other than the workload's, ends");
}

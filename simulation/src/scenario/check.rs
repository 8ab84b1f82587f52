//! Whether a scenario fits together: everything that it refers to is in it.

use std::collections::BTreeSet;

use super::{Ask, FaultPlan, FaultWhat, Scenario, Target};

/// Says what does not fit, if anything does not.
pub(crate) fn check(scenario: &Scenario) -> Result<(), String> {
    if scenario.replicas.is_empty() {
        return Err("it has no replica".to_owned());
    }
    if scenario.end_ms < scenario.heal_ms {
        return Err("it ends before its faults do".to_owned());
    }
    if !scenario.faults.is_sorted_by_key(|fault| fault.at_ms) {
        return Err("its faults are not in the order of their time".to_owned());
    }
    let mut nodes = BTreeSet::new();
    for agent in scenario.racks.iter().flat_map(|rack| &rack.agents) {
        if !nodes.insert(&agent.node) {
            return Err(format!("node {} is there twice", agent.node));
        }
    }
    jobs(scenario)?;
    for (position, fault) in scenario.faults.iter().enumerate() {
        strikes(scenario, fault).map_err(|why| format!("fault {position}: {why}"))?;
    }
    Ok(())
}

fn jobs(scenario: &Scenario) -> Result<(), String> {
    let mut submitted = BTreeSet::new();
    for step in scenario.sessions.iter().flat_map(|session| &session.steps) {
        let Ask::Submit(job) = &step.what else { continue };
        if !submitted.insert((job.name.as_str(), job.edition)) {
            return Err(format!("job {} is submitted twice", job.name));
        }
        if job.tasks.is_empty() {
            return Err(format!("job {} has no tasks", job.name));
        }
        let names: BTreeSet<_> = job.tasks.iter().map(|task| &task.name).collect();
        if let Some(missing) = job.tasks.iter().flat_map(|task| &task.needs).find(|name| !names.contains(name)) {
            return Err(format!("job {} has no task {missing}, which another needs", job.name));
        }
        let mut stood_by = job.tasks.iter().flat_map(|task| task.flow.stands_by());
        if let Some(missing) = stood_by.find(|name| !names.contains(name)) {
            return Err(format!("job {} has no task {missing}, for which another is there", job.name));
        }
    }
    Ok(())
}

fn strikes(scenario: &Scenario, fault: &FaultPlan) -> Result<(), String> {
    let (replicas, racks) = (scenario.replicas.len(), scenario.racks.len());
    let all = replicas + racks + scenario.client_hosts();
    let host = |at: usize| if at < all { Ok(()) } else { Err(format!("there is no host {at}")) };
    let replica = |at: usize| if at < replicas { Ok(()) } else { Err(format!("there is no replica {at}")) };
    let rack = |at: usize| if at < racks { Ok(()) } else { Err(format!("there is no rack {at}")) };
    let target = |target: &Target| match target {
        Target::Leader | Target::Follower(_) => Ok(()),
        Target::Replica(at) => replica(*at),
    };
    match &fault.what {
        FaultWhat::Loss { .. }
        | FaultWhat::LeaderMinority { .. }
        | FaultWhat::QuorumLoss { .. }
        | FaultWhat::BreakTransfer { .. }
        | FaultWhat::Backup
        | FaultWhat::Destroy { survivor: None }
        | FaultWhat::Workload => Ok(()),
        FaultWhat::Destroy { survivor: Some(at) } => replica(*at),
        FaultWhat::LinkLoss { one, other, .. } | FaultWhat::SlowLink { one, other, .. } => {
            host(*one).and_then(|()| host(*other))
        }
        FaultWhat::Bridge { one, other, .. } => replica(*one).and_then(|()| replica(*other)),
        FaultWhat::Isolate { hosts, .. } => hosts.iter().try_for_each(|at| host(*at)),
        FaultWhat::ClockJump { host: at, .. } => host(*at),
        FaultWhat::IsolateReplica { target: at, .. }
        | FaultWhat::Hold { target: at }
        | FaultWhat::Crash { target: at, .. }
        | FaultWhat::Absence { target: at, .. }
        | FaultWhat::Pause { target: at }
        | FaultWhat::Handover { target: at }
        | FaultWhat::Replace { target: at, .. }
        | FaultWhat::Transfer { target: at }
        | FaultWhat::SlowDisk { target: at, .. }
        | FaultWhat::DiskError { target: at, .. }
        | FaultWhat::DiskFull { target: at }
        | FaultWhat::DiskLow { target: at }
        | FaultWhat::OldImage { target: at, .. }
        | FaultWhat::Diverge { target: at, .. } => target(at),
        FaultWhat::IsolateRegion { region, .. } => {
            let here = scenario.replicas.iter().any(|replica| replica.region == *region)
                || scenario.racks.iter().any(|rack| rack.region == *region);
            if here { Ok(()) } else { Err(format!("there is nothing in region {region}")) }
        }
        FaultWhat::IsolateRack { rack: at, .. }
        | FaultWhat::IsolateFenced { rack: at, .. }
        | FaultWhat::LeaderWithRack { rack: at }
        | FaultWhat::RackCrash { rack: at }
        | FaultWhat::RackPause { rack: at } => rack(*at),
        FaultWhat::AgentKill { rack: at, agent } | FaultWhat::Upkeep { rack: at, agent, .. } => {
            match scenario.racks.get(*at) {
                Some(rack) if *agent < rack.agents.len() => Ok(()),
                _ => Err(format!("there is no agent {agent} on rack {at}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;

    #[test]
    fn what_does_not_fit_is_named() {
        check(&sample()).unwrap();
        let broken = |change: fn(&mut Scenario)| {
            let mut scenario = sample();
            change(&mut scenario);
            check(&scenario).unwrap_err()
        };
        assert_eq!(broken(|it| it.replicas.clear()), "it has no replica");
        assert_eq!(broken(|it| it.end_ms = 1), "it ends before its faults do");
        assert_eq!(broken(|it| it.faults.swap(0, 1)), "its faults are not in the order of their time");
        assert_eq!(broken(|it| it.racks[0].agents[0].node = "n3".to_owned()), "node n3 is there twice");
        assert_eq!(broken(|it| it.racks.truncate(1)), "fault 1: there is no host 6");
        assert_eq!(broken(|it| it.racks[1].agents.clear()), "fault 3: there is no agent 0 on rack 1");
        assert_eq!(broken(|it| it.replicas.truncate(2)), "fault 0: there is no replica 2");
        assert_eq!(broken(|it| it.sessions.truncate(1)), "fault 1: there is no host 6");
        assert_eq!(broken(|it| it.sessions.push(it.sessions[0].clone())), "job one is submitted twice");
    }
}

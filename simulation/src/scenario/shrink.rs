//! Smaller scenarios than a given one. Nothing else in a scenario moves when a part is taken out, so
//! what a smaller one shows is due to the parts that are left.
//!
//! Two things are never done, because they would bring about violations of their own: the time between
//! the end of the faults and the end of the run stays as it is, and a task that some agent could run
//! keeps an agent that can.

mod renumber;

use std::collections::BTreeSet;
use std::ops::Range;

use super::sub_runs::forget;
use super::{Ask, Class, FaultWhat, GpuPart, JobPlan, Part, RackPlan, Scenario, TaskPlan, check};
use renumber::Kept;

/// A way to make a scenario smaller. Ranges are positions among all parts of their sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Without these faults.
    Faults(Range<usize>),
    /// Without these sessions, and what others ask about their jobs.
    Sessions(Range<usize>),
    /// Without these jobs, in the order in which they are submitted, and what is asked about them.
    Jobs(Range<usize>),
    /// Without these tasks, over all jobs.
    Tasks(Range<usize>),
    /// One copy of each task.
    OneCopy,
    /// Without these operations other than submits, over all sessions.
    Operations(Range<usize>),
    /// Without these rebalances.
    Rebalances(Range<usize>),
    /// Without these reservations.
    Reservations(Range<usize>),
    /// Without these racks.
    Racks(Range<usize>),
    /// Without these agents, over all racks.
    Agents(Range<usize>),
    /// Without these replicas; the first one founds the cluster and stays.
    Replicas(Range<usize>),
    /// Every message takes the least time.
    SteadyNetwork,
    /// All clocks are right and run at the rate of true time.
    TrueClocks,
    /// Ends sooner where nothing happens before the faults have ended.
    Sooner,
}

/// What may be tried, the largest cuts of each sort first.
pub(crate) fn edits(scenario: &Scenario) -> Vec<Edit> {
    let agents = scenario.racks.iter().map(|rack| rack.agents.len()).sum();
    let tasks = submitted(scenario).map(|job| job.tasks.len()).sum();
    let operations = scenario.sessions.iter().flat_map(|session| &session.steps);
    let operations = operations.filter(|step| !is_submit(&step.what)).count();
    let followers = cuts(scenario.replicas.len().saturating_sub(1));
    let mut edits = Vec::new();
    edits.extend(cuts(scenario.faults.len()).map(Edit::Faults));
    edits.extend(cuts(submitted(scenario).count()).map(Edit::Jobs));
    edits.extend(cuts(scenario.sessions.len()).map(Edit::Sessions));
    edits.extend(cuts(scenario.racks.len()).map(Edit::Racks));
    edits.extend(cuts(agents).map(Edit::Agents));
    edits.extend(followers.map(|range| Edit::Replicas(range.start + 1..range.end + 1)));
    edits.extend(cuts(operations).map(Edit::Operations));
    edits.extend(cuts(scenario.rebalances.len()).map(Edit::Rebalances));
    edits.extend(cuts(scenario.reservations.len()).map(Edit::Reservations));
    edits.push(Edit::OneCopy);
    edits.extend(cuts(tasks).map(Edit::Tasks));
    edits.extend([Edit::Sooner, Edit::SteadyNetwork, Edit::TrueClocks]);
    edits
}

/// All of `count`, each half, each quarter, and so on down to each one.
fn cuts(count: usize) -> impl Iterator<Item = Range<usize>> {
    std::iter::successors(Some(count), |size| Some(size.div_ceil(2)).filter(|half| half < size))
        .filter(|size| *size > 0)
        .flat_map(move |size| (0..count).step_by(size).map(move |from| from..count.min(from + size)))
}

impl Edit {
    /// The smaller scenario; nothing when it would be the same, or would not make sense any more.
    pub(crate) fn applied(&self, scenario: &Scenario) -> Option<Scenario> {
        let mut smaller = scenario.clone();
        let mut kept = Kept::all(scenario);
        match self {
            Self::Faults(range) => without(&mut smaller.faults, range),
            Self::Sessions(range) => without(&mut smaller.sessions, range),
            Self::Rebalances(range) => without(&mut smaller.rebalances, range),
            Self::Reservations(range) => without(&mut smaller.reservations, range),
            Self::Jobs(range) => without_steps(&mut smaller, range, is_submit),
            Self::Tasks(range) => without_tasks(&mut smaller, range),
            Self::OneCopy => each_job(&mut smaller, one_copy),
            Self::Operations(range) => without_steps(&mut smaller, range, |ask| !is_submit(ask)),
            Self::Racks(range) => range.clone().for_each(|rack| kept.drop_rack(rack)),
            Self::Agents(range) => kept.drop_agents(range),
            Self::Replicas(range) => range.clone().for_each(|replica| kept.drop_replica(replica)),
            Self::SteadyNetwork => {
                smaller.network.latency_ms.1 = smaller.network.latency_ms.0;
                smaller.network.region_latency_ms.1 = smaller.network.region_latency_ms.0;
            }
            Self::TrueClocks => true_clocks(&mut smaller),
            Self::Sooner => sooner(&mut smaller),
        }
        without_orphans(scenario, &mut smaller);
        kept.renumber(&mut smaller);
        forget_classes(scenario, &mut smaller);
        let sensible = smaller != *scenario && keeps_agents(scenario, &smaller) && check(&smaller).is_ok();
        sensible.then_some(smaller)
    }
}

fn is_submit(ask: &Ask) -> bool {
    matches!(ask, Ask::Submit(_))
}

/// The job that an operation is about.
fn job_of(ask: &Ask) -> Option<&str> {
    match ask {
        Ask::Submit(job) | Ask::Resubmit(job) => Some(&job.name),
        Ask::Cancel { job }
        | Ask::Abandon { job }
        | Ask::Control { job, .. }
        | Ask::Restart { job, .. }
        | Ask::Get { job }
        | Ask::Tasks { job }
        | Ask::Attempts { job }
        | Ask::Watch { job } => Some(job),
        Ask::List => None,
        Ask::Pages { of, .. } => of.job(),
    }
}

fn submitted(scenario: &Scenario) -> impl Iterator<Item = &JobPlan> {
    scenario.sessions.iter().flat_map(|session| &session.steps).filter_map(|step| match &step.what {
        Ask::Submit(job) => Some(job),
        Ask::Resubmit(_)
        | Ask::Cancel { .. }
        | Ask::Abandon { .. }
        | Ask::Control { .. }
        | Ask::Restart { .. }
        | Ask::Get { .. }
        | Ask::List
        | Ask::Pages { .. }
        | Ask::Tasks { .. }
        | Ask::Attempts { .. }
        | Ask::Watch { .. } => None,
    })
}

/// Every job, also where it is sent again: both must stay the same.
fn each_job(scenario: &mut Scenario, mut change: impl FnMut(&mut JobPlan)) {
    for step in scenario.sessions.iter_mut().flat_map(|session| &mut session.steps) {
        if let Ask::Submit(job) | Ask::Resubmit(job) = &mut step.what {
            change(job);
        }
    }
}

/// What a job with a flow says of its tasks can hang on how many elements they have.
fn one_copy(job: &mut JobPlan) {
    if job.args.is_none() {
        job.tasks.iter_mut().for_each(|task| task.count = task.count.min(1));
    }
}

fn without<T>(parts: &mut Vec<T>, range: &Range<usize>) {
    parts.drain(range.start.min(parts.len())..range.end.min(parts.len()));
}

/// Without those of the steps that `counts` for which the range holds their number.
fn without_steps(scenario: &mut Scenario, range: &Range<usize>, counts: impl Fn(&Ask) -> bool) {
    let mut number = 0;
    for session in &mut scenario.sessions {
        session.steps.retain(|step| {
            let counted = counts(&step.what);
            let goes = counted && range.contains(&number);
            number += usize::from(counted);
            !goes
        });
    }
}

/// A job keeps its first task when all would go: without any it could not be submitted. What undoes a task goes with it.
fn without_tasks(scenario: &mut Scenario, range: &Range<usize>) {
    let mut going = BTreeSet::new();
    let mut number = 0;
    for job in submitted(scenario) {
        let tasks = job.tasks.len();
        let inside = (0..tasks).filter(|task| range.contains(&(number + task))).collect::<Vec<_>>();
        let spared = usize::from(inside.len() == tasks);
        going.extend(inside.into_iter().skip(spared).map(|task| (job.name.clone(), job.tasks[task].name.clone())));
        number += tasks;
    }
    each_job(scenario, |job| {
        let goes = |task: &String| going.contains(&(job.name.clone(), task.clone()));
        let undoes_one = |task: &TaskPlan| matches!(&task.flow.part, Part::Undo { of } if goes(of));
        let gone: Vec<String> = job
            .tasks
            .iter()
            .filter(|task| goes(&task.name) || undoes_one(task))
            .map(|task| task.name.clone())
            .collect();
        job.tasks.retain(|task| !gone.contains(&task.name));
        gone.iter().for_each(|gone| forget(&mut job.result, gone));
        for task in &mut job.tasks {
            task.needs.retain(|need| !gone.contains(need));
            gone.iter().for_each(|gone| task.flow.forget(gone));
            if let Some(sub) = &mut task.sub {
                gone.iter().for_each(|gone| forget(&mut sub.args, gone));
            }
        }
    });
}

fn true_clocks(scenario: &mut Scenario) {
    let replicas = scenario.replicas.iter_mut().map(|replica| &mut replica.clock);
    for clock in replicas.chain(scenario.racks.iter_mut().map(|rack| &mut rack.clock)) {
        (clock.wall_ahead_ms, clock.drift_ppm) = (0, 0);
    }
}

/// Faults end when the last one does. Operations before and after that stay on their side of it.
fn sooner(scenario: &mut Scenario) {
    let faults = scenario.faults.iter().filter(|fault| fault.what != FaultWhat::Workload);
    let faults = faults.map(|fault| fault.at_ms + fault.for_ms);
    let starts = scenario.replicas.iter().map(|replica| replica.start_ms);
    let steps = scenario.sessions.iter().flat_map(|session| &session.steps).map(|step| step.at_ms + 1);
    let before = faults.chain(starts).chain(steps.filter(|at| *at <= scenario.heal_ms));
    let heal_ms = before.max().unwrap_or(0);
    let Some(gained) = scenario.heal_ms.checked_sub(heal_ms) else { return };
    for step in scenario.sessions.iter_mut().flat_map(|session| &mut session.steps) {
        if step.at_ms >= scenario.heal_ms {
            step.at_ms -= gained;
        }
    }
    scenario.heal_ms = heal_ms;
    scenario.end_ms -= gained;
}

/// Nobody asks about jobs that went, and sessions with nothing to do go.
fn without_orphans(before: &Scenario, scenario: &mut Scenario) {
    let left: BTreeSet<&str> = submitted(scenario).map(|job| job.name.as_str()).collect();
    let gone: BTreeSet<String> =
        submitted(before).map(|job| job.name.clone()).filter(|job| !left.contains(job.as_str())).collect();
    for session in &mut scenario.sessions {
        session.steps.retain(|step| job_of(&step.what).is_none_or(|job| !gone.contains(job)));
    }
    scenario.sessions.retain(|session| !session.steps.is_empty());
}

/// A class goes with the last thing that makes it a part of the scenario. One that never had any stays:
/// whoever drew it knows what it is for.
fn forget_classes(before: &Scenario, scenario: &mut Scenario) {
    let carried: Vec<Class> = scenario.classes.iter().copied().filter(|class| is_carried(scenario, *class)).collect();
    scenario.faults.retain(|fault| fault.what != FaultWhat::Workload || carried.contains(&fault.class));
    let goes = |class: Class| is_part(before, class) && !is_part(scenario, class);
    let left: Vec<Class> = scenario.classes.iter().copied().filter(|class| !goes(*class)).collect();
    scenario.classes = left;
}

fn is_part(scenario: &Scenario, class: Class) -> bool {
    scenario.faults.iter().any(|fault| fault.class == class) || is_carried(scenario, class)
}

/// Whether something other than a fault of its own makes a class a part of the scenario.
fn is_carried(scenario: &Scenario, class: Class) -> bool {
    let mut asks = scenario.sessions.iter().flat_map(|session| &session.steps).map(|step| &step.what);
    match class {
        Class::Poison => submitted(scenario).flat_map(|job| &job.tasks).any(|task| task.poison),
        Class::Duplicates => asks.any(|ask| matches!(ask, Ask::Resubmit(_))),
        Class::CancelStorm => asks.any(|ask| matches!(ask, Ask::Cancel { .. })),
        Class::Join => {
            let first = scenario.replicas.first().map(|replica| replica.start_ms);
            scenario.replicas.iter().any(|replica| Some(replica.start_ms) > first)
        }
        Class::Clock => {
            let clocks = scenario.replicas.iter().map(|replica| replica.clock);
            clocks.chain(scenario.racks.iter().map(|rack| rack.clock)).any(|clock| clock.drift_ppm != 0)
        }
        Class::Loss
        | Class::SlowLink
        | Class::Partition
        | Class::Hold
        | Class::Crash
        | Class::Absence
        | Class::QuorumLoss
        | Class::Pause
        | Class::Handover
        | Class::Membership
        | Class::OldImage
        | Class::Divergence
        | Class::Restore
        | Class::Upgrade
        | Class::Upkeep
        | Class::AgentKill
        | Class::RackCrash
        | Class::RackPause
        | Class::SlowDisk
        | Class::DiskError
        | Class::DiskFull
        | Class::DiskLow => false,
    }
}

/// Whether each task that an agent could run still has one: it could never end otherwise.
fn keeps_agents(before: &Scenario, after: &Scenario) -> bool {
    before.racks == after.racks
        || submitted(after)
            .flat_map(|job| &job.tasks)
            .all(|task| !has_agent(&before.racks, task) || has_agent(&after.racks, task))
}

fn has_agent(racks: &[RackPlan], task: &TaskPlan) -> bool {
    if task.gang.as_ref().is_some_and(|gang| !gang.fits(task, racks)) {
        return false;
    }
    racks.iter().filter(|rack| task.regions.is_empty() || task.regions.contains(&rack.region)).any(|rack| {
        rack.agents.iter().any(|agent| {
            let allowed = task.clusters.is_empty() || task.clusters.contains(&agent.cluster);
            let pooled = task.pool.is_none() || task.pool == agent.pool;
            let fits = |cpu_milli: u64, memory_bytes: u64, gpu: &GpuPart| {
                gpu.fits(&agent.gpus) && cpu_milli <= agent.cpu_milli && memory_bytes <= agent.memory_bytes
            };
            let other = task.others.iter().any(|other| fits(other.cpu_milli, other.memory_bytes, &other.gpu));
            allowed
                && pooled
                && task.demands.allow(&agent.ground)
                && task.condition.as_ref().is_none_or(|condition| condition.allows(rack, agent))
                && (other || fits(task.cpu_milli, task.memory_bytes, &task.gpu))
        })
    })
}

#[cfg(test)]
mod tests;

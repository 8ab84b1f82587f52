//! What keeps one node from taking one task: every check that it fails, not only the first.

use std::fmt;

use quorate_state::{
    Census, Choice, Crowd, GPU_MILLI, GpuWant, Node, NodeCondition, NodeName, NodeStatus, Place, PoolName,
    ReservationName, Resources, Room, Run, Served, Shortfall, State, TaskId, TaskSpec, Withdrawal,
};

use super::nearest::{missing, missing_gpu};
use super::{Check, Explanation};
use crate::placement::admit;
use crate::{LogNow, Observed, Presence};

/// What speaks for and against a node as the place of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// The checks that it fails, in the order in which they are made; none: the task fits there now.
    pub failed: Vec<FailedCheck>,
    /// A part of the task's room is taken on the node by this task itself.
    pub has_copy: bool,
    /// Where the leader would place the task now, if anywhere.
    pub elsewhere: Option<NodeName>,
}

/// A check that a node fails for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCheck {
    /// Which.
    pub check: Check,
    /// What the task asks for, in words.
    pub wanted: String,
    /// What there is instead, in words.
    pub found: String,
    /// What the node would have to have more, beside what is used on it; nothing unless the check is about room.
    pub missing: Shortfall,
}

/// Whether `node` could take one element of a task now, with the queue left out of account, and why not; `explanation` is
/// what [`super::explain`] says of the task. `None` if the task has no run.
pub fn why_not(
    view: &State,
    observed: &Observed,
    now: LogNow,
    task: TaskId,
    node: &Node,
    explanation: &Explanation,
) -> Option<Fitness> {
    let run = view.run(task.run)?;
    let spec = run.spec.tasks.get(task.step as usize)?;
    let mut failed = Vec::new();
    let room = view.room_on(node);
    if let NodeStatus::Lost { at } = node.status {
        failed.push(lost(at, now.served));
    } else if observed.presence(node) == Presence::Silent {
        failed.push(FailedCheck::of(
            Check::NodeSilent,
            "a node that the leader hears",
            "nothing was heard for too long",
        ));
    }
    let said_of = [
        ("it".to_owned(), node.withdrawal.as_deref(), node.cordoned),
        (format!("cluster {}", node.cluster), node.around.cluster.as_deref(), node.around.cluster.is_some()),
        (format!("region {}", node.region), node.around.region.as_deref(), node.around.region.is_some()),
    ];
    for (who, withdrawal, _) in said_of.into_iter().filter(|(_, _, is_out)| *is_out) {
        failed.push(out(&who, withdrawal));
    }
    let place = &spec.place;
    if node.around.reservation != place.reservation {
        failed.push(not_of_its_reservation(node, place));
    }
    if !place.regions.is_empty() && !place.regions.contains(&node.region) {
        failed.push(FailedCheck::of(Check::Region, &any_of("region", &place.regions), node.region.as_str()));
    }
    let home = view.task(task).and_then(|task| task.home.as_ref());
    let bound = view.bound(home, spec, now.served);
    if let Some(regions) = bound.regions().filter(|_| !bound.allows(&node.region)) {
        let wanted = format!("{}, by what its job says of the loss of a region", any_of("region", regions));
        failed.push(FailedCheck::of(Check::Region, &wanted, node.region.as_str()));
    }
    if !place.clusters.is_empty() && !place.clusters.contains(&node.cluster) {
        failed.push(FailedCheck::of(Check::Cluster, &any_of("cluster", &place.clusters), node.cluster.as_str()));
    }
    if !place.accepts_pool(&node.offer.pool) {
        let pools = if place.pools.is_empty() { vec![PoolName::default()] } else { place.pools.clone() };
        failed.push(FailedCheck::of(Check::Pool, &any_of("pool", &pools), node.offer.pool.as_str()));
    }
    for (key, value) in &place.labels {
        let asked = [(key.clone(), value.clone())].into();
        if !(Place { labels: asked, ..Place::default() }).accepts_labels(&node.labels) {
            let found = node.labels.get(key).map_or_else(|| format!("no label {key}"), |has| format!("{key}={has}"));
            failed.push(FailedCheck::of(Check::Labels, &format!("{key}={value}"), &found));
        }
    }
    for (key, value) in &node.offer.taints {
        if place.refuses(&[(key.clone(), value.clone())].into()).is_some() {
            let tolerated = place.tolerate.get(key);
            let wanted =
                tolerated.map_or_else(|| format!("no taint {key}"), |said| format!("taint {key}={said} at most"));
            failed.push(FailedCheck::of(Check::Taint, &wanted, &format!("taint {key}={value}")));
        }
    }
    failed.extend(place.condition.as_ref().and_then(|condition| not_held(condition, node)));
    failed.extend(no_room_for_any(view, node, room, spec));
    failed.extend(too_near(view, (run, task.step), node));
    // What decides has the last word.
    let ways = spec.choices().filter_map(|choice| spec.chosen(choice));
    let verdicts: Result<Vec<Check>, ()> =
        ways.map(|way| admit(node, observed.presence(node), room, &way).err().ok_or(())).collect();
    if let Ok([check, ..]) = verdicts.as_deref()
        && failed.is_empty()
    {
        let check = *check;
        failed.push(FailedCheck::of(check, "another node", "it cannot take the task"));
    }
    let newest = view.task(task).and_then(|task| task.newest_attempt()).and_then(|attempt| view.attempt(attempt));
    let has_copy = newest.is_some_and(|attempt| attempt.node == node.name && attempt.holds_resources());
    let elsewhere = match explanation {
        Explanation::FitsNow { node } => Some(node.clone()),
        _ => None,
    };
    Some(Fitness { failed, has_copy, elsewhere })
}

/// What of its room keeps a node from each of the alternatives of a task; nothing where there is room for one.
fn no_room_for_any(view: &State, node: &Node, room: Room<'_>, spec: &TaskSpec) -> Vec<FailedCheck> {
    let ways = spec.choices().filter_map(|choice| Some((choice, spec.chosen(choice)?)));
    let failed: Vec<(Choice, Vec<FailedCheck>)> =
        ways.map(|(choice, way)| (choice, no_room_for(view, node, room, &way))).collect();
    if failed.iter().any(|(_, failed)| failed.is_empty()) {
        return Vec::new();
    }
    let told = failed.into_iter().flat_map(|(choice, failed)| {
        failed.into_iter().map(move |failed| match spec.has_choice() {
            true => FailedCheck { wanted: format!("want[{}]: {}", choice.number(), failed.wanted), ..failed },
            false => failed,
        })
    });
    told.collect()
}

/// The same of a task of which nothing is left to choose.
fn no_room_for(view: &State, node: &Node, room: Room<'_>, spec: &TaskSpec) -> Vec<FailedCheck> {
    let mut failed = Vec::new();
    let want = GpuWant::of(spec);
    let allowed = u64::from(want.allowed(node).count_ones());
    if allowed < want.devices() && spec.resources.fits(node.capacity) {
        let found = format!("{allowed} of its {} GPUs are", node.gpus.len());
        failed.push(FailedCheck::of(Check::GpuModel, &any_of("GPUs of model", want.models), &found));
    }
    failed.extend(short_of(view, node, spec.resources, missing_gpu(node, room.gpus, spec)));
    failed
}

/// The node, its cluster or its region takes no new work.
fn out(who: &str, withdrawal: Option<&Withdrawal>) -> FailedCheck {
    let drains = withdrawal.is_some_and(|withdrawal| withdrawal.drain.is_some());
    let (check, verb) = if drains { (Check::Draining, "drained") } else { (Check::Cordoned, "cordoned") };
    let reason = withdrawal.map(|withdrawal| &*withdrawal.reason).filter(|reason| !reason.is_empty());
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    FailedCheck::of(check, "a node that takes new work", &format!("{who} is {verb}{reason}"))
}

/// The node is set aside for another reservation than the task asks for, or one of both for none.
fn not_of_its_reservation(node: &Node, place: &Place) -> FailedCheck {
    let name = |reservation: Option<&ReservationName>| reservation.map_or("none".to_owned(), ToString::to_string);
    let check = if node.around.reservation.is_some() { Check::Reserved } else { Check::Unreserved };
    let wanted = format!("reservation {}", name(place.reservation.as_ref()));
    FailedCheck::of(check, &wanted, &format!("reservation {}", name(node.around.reservation.as_ref())))
}

/// What must hold of a node, and does not.
fn not_held(condition: &NodeCondition, node: &Node) -> Option<FailedCheck> {
    let found = match condition.decide(node) {
        Ok(true) => return None,
        Ok(false) => "it does not hold".to_owned(),
        Err(unsaid) => unsaid.to_string(),
    };
    Some(FailedCheck::of(Check::Where, condition.as_str(), &found))
}

/// What others on the node, or in what it is part of, keep a step of a run from.
fn too_near(view: &State, (run, step): (&Run, u32), node: &Node) -> Vec<FailedCheck> {
    let mut census = Census::of_state();
    let rules = census.rules(view, run, step);
    let refused = rules.bounds.iter().filter(|bound| !bound.allows(&census, Some(node)));
    let told = refused.map(|bound| {
        let (per, most) = (&bound.per, bound.below);
        let wanted = match bound.crowd(&census) {
            Some(Crowd::Group(_, group)) => format!("no task of group {group} in its {per}"),
            Some(Crowd::Wary(_, group, _)) => format!("no task in its {per} that stays apart from group {group}"),
            Some(Crowd::Step(..)) | None => format!("fewer than {most} of its step in its {per}"),
        };
        let found = match per.domain(node) {
            Some(domain) => format!("{} in {domain}", bound.there(&census, domain)),
            None => format!("no {per}"),
        };
        FailedCheck::of(Check::Apart, &wanted, &found)
    });
    told.collect()
}

/// What is missing of each resource, now and on the node when it is empty.
fn short_of(view: &State, node: &Node, want: Resources, missing_gpu: u64) -> Option<FailedCheck> {
    let used = view.load_on(&node.name).used;
    let lacking = Shortfall { gpu_milli: missing_gpu, ..missing(used, node.capacity, want) };
    if lacking == Shortfall::default() {
        return None;
    }
    let is_too_small = !want.fits(node.capacity);
    let have = if is_too_small { node.capacity } else { node.capacity.saturating_sub(used) };
    let mut wanted = Vec::new();
    let mut found = Vec::new();
    let mut tell = |missing: u64, want: String, have: String| {
        if missing > 0 {
            wanted.push(want);
            found.push(have);
        }
    };
    tell(lacking.cpu_milli, format!("{}m cpu", want.cpu_milli), format!("{}m cpu", have.cpu_milli));
    tell(
        lacking.memory_bytes,
        format!("{} bytes of memory", want.memory_bytes),
        format!("{} bytes of memory", have.memory_bytes),
    );
    let gpu_have = want.gpu_milli.saturating_sub(lacking.gpu_milli);
    let kind = if want.gpu_milli < GPU_MILLI { " of one device" } else { " in whole devices" };
    tell(lacking.gpu_milli, format!("{}m gpu{kind}", want.gpu_milli), format!("{gpu_have}m gpu{kind}"));
    let (check, of) = if is_too_small { (Check::TooSmall, "in all") } else { (Check::Full, "free") };
    let mut check = FailedCheck::of(check, &wanted.join(", "), &format!("{} {of}", found.join(", ")));
    check.missing = lacking;
    Some(check)
}

fn lost(at: Served, now: Served) -> FailedCheck {
    let found = format!("its lease ended {} ms ago", now.0.saturating_sub(at.0));
    FailedCheck::of(Check::NodeLost, "a node with a lease", &found)
}

fn any_of<T: fmt::Display>(what: &str, names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    format!("{what} {}", names.join(" or "))
}

impl FailedCheck {
    fn of(check: Check, wanted: &str, found: &str) -> Self {
        Self { check, wanted: wanted.to_owned(), found: found.to_owned(), missing: Shortfall::default() }
    }
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.failed[..], &self.elsewhere) {
            _ if self.has_copy => f.write_str("it is there"),
            ([], Some(node)) => write!(f, "it fits there, and is about to be placed on {node}"),
            ([], None) => f.write_str("it fits there"),
            ([one], _) => write!(f, "the node fails one check, {}", one.check.as_str()),
            (all, _) => {
                let words: Vec<&str> = all.iter().map(|failed| failed.check.as_str()).collect();
                write!(f, "the node fails {} checks: {}", all.len(), words.join(", "))
            }
        }
    }
}

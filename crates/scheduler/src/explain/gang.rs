//! Why a gang is not placed: how many of its members fit now, and where.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use quorate_state::{Census, GangSpec, GpuUse, GpuWant, Node, Resources, Room, Run, State, TaskSpec};

use super::copies;
use super::nearest::among;
use super::{Check, ExpectedStart, NoNodeFits};
use crate::Observed;

/// Why a gang that stands in the queue, or a part of which does, is not placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangWaits {
    /// How many members it has.
    pub members: u32,
    /// Those that stand in the queue. The others wait for something else, and it for them.
    pub ready: u32,
    /// So many would fit now, where most of them do.
    pub fits: u32,
    /// Which cluster, region or value of a label that is; none if they may be anywhere.
    pub domain: Option<String>,
    /// What keeps one more of them from the nodes there; none where nothing does.
    pub nearest: Option<NoNodeFits>,
    /// When all of it begins at the latest, if that is known.
    pub expected: Option<ExpectedStart>,
}

/// How a gang of `run` stands in the queue, with others left out of account.
pub(super) fn diagnose(
    view: &State,
    observed: &Observed,
    (run, step): (&Run, u32),
    (task, gang): (&TaskSpec, &GangSpec),
) -> GangWaits {
    let mut census = Census::of_state();
    let rules = census.rules(view, run, step);
    let holds_of = |node: &Node| {
        let room = copies(node, observed.presence(node), view.room_on(node), task);
        room.min(census.left_on(&rules, node)).min(u64::from(task.count))
    };
    let mut domains: BTreeMap<&str, (u64, Vec<&Node>)> = BTreeMap::new();
    for node in view.nodes() {
        let domain = gang.within.as_ref().map_or(Some(""), |within| within.domain(node));
        let Some(domain) = domain else { continue };
        let (holds, nodes) = domains.entry(domain).or_default();
        *holds = holds.saturating_add(holds_of(node));
        nodes.push(node);
    }
    let best = domains.into_iter().min_by_key(|(name, (holds, _))| (Reverse(*holds), *name));
    let (name, (holds, nodes)) = best.unwrap_or_default();
    let fits = u32::try_from(holds).unwrap_or(u32::MAX).min(task.count);
    let nearest = (fits < task.count).then(|| {
        let full: Vec<(&Node, Resources, GpuUse)> =
            nodes.into_iter().map(|node| filled(view, node, task, holds_of(node))).collect();
        let is_left = |node: &Node| {
            let (room, left) = (copies(node, observed.presence(node), view.room_on(node), task), holds_of(node));
            if left < room { Err(Check::Apart) } else { Ok(()) }
        };
        among(full.iter().map(|(node, used, gpus)| (*node, *used, gpus)), observed, task, is_left).err()
    });
    GangWaits {
        members: task.count,
        ready: view.step_counts(run.id, step).ready,
        fits,
        domain: gang.within.as_ref().map(|_| name.to_owned()),
        nearest: nearest.flatten(),
        expected: None,
    }
}

/// What is used of a node that holds so many members more.
fn filled<'a>(view: &State, node: &'a Node, task: &TaskSpec, holds: u64) -> (&'a Node, Resources, GpuUse) {
    let Room { gpus, .. } = view.room_on(node);
    let (mut used, mut gpus, want) = (view.used_on(&node.name), gpus.clone(), GpuWant::of(task));
    for _ in 0..holds {
        used = used.saturating_add(task.resources);
        gpus.take(want.choose(want.allowed(node), &gpus).unwrap_or_default());
    }
    (node, used, gpus)
}

impl fmt::Display for GangWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { members, ready, fits, domain, nearest, expected } = self;
        if ready < members {
            return write!(
                f,
                "{ready} of the {members} members of its gang stand in the queue: it is placed when the others do"
            );
        }
        write!(f, "{fits} of the {members} members of its gang fit now")?;
        match (domain, nearest) {
            (Some(domain), _) if !domain.is_empty() => write!(f, ", in {domain}")?,
            (Some(_) | None, _) => {}
        }
        match nearest {
            Some(why) => write!(f, ", and it is placed whole; for one more: {why}"),
            None => f.write_str(", and it is placed whole"),
        }?;
        expected.as_ref().map_or(Ok(()), |expected| write!(f, "; {expected}"))
    }
}

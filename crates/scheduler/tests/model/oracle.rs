//! What must be true of every row that is written, given all rows before it and what really happens
//! on the nodes. Nothing here asks an index, or a table of transitions, of the crates under test.

use std::collections::BTreeMap;

use quorate_state::{
    Attempt, AttemptState, Change, NodeStatus, OnNodeLoss, OnRegionLoss, RegionName, Resources, Run, RunId, RunState,
    Scope, Served, StopReason, Task, TaskSpec, TaskState, Wait,
};

use crate::history::holds;
use crate::nodes::Ground;
use crate::rows::Rows;

/// What the rows do not say.
pub(crate) struct Scene<'a> {
    pub(crate) revision: u64,
    /// Log time after this entry's stamp.
    pub(crate) served: Served,
    /// When each cancel was acknowledged.
    pub(crate) cancelled: &'a BTreeMap<RunId, u64>,
    pub(crate) ground: &'a Ground,
}

/// Judges a row that is about to be written over `rows`.
pub(crate) fn judge(rows: &Rows, change: &Change, scene: &Scene<'_>) {
    match change {
        Change::Meta(meta) => {
            assert_eq!(meta.revision.0, scene.revision);
            assert!(meta.now >= rows.meta.now && meta.served >= rows.meta.served, "log time went back");
        }
        Change::Run(run) => judge_run(rows, run),
        Change::Task(task) => judge_task(rows, task),
        Change::Attempt(attempt) => match rows.attempts.get(&attempt.id) {
            Some(before) => judge_move(rows, before, attempt, scene),
            None => judge_placement(rows, attempt, scene),
        },
        Change::Node(node) => {
            if let Some(before) = rows.nodes.get(&node.name) {
                assert!(node.epoch >= before.epoch, "a lease's epoch went back");
                let is_over = node.epoch == before.epoch && before.status != NodeStatus::Up;
                assert!(!is_over || node.status == before.status, "a lease came back to life");
            }
        }
        Change::Archived(archived) => {
            assert_eq!(
                rows.runs.get(&archived.run.id),
                Some(&archived.run),
                "a run was archived otherwise than it was"
            );
            assert!(archived.run.state.is_terminal(), "run {} was archived before its end", archived.run.id);
        }
        Change::TaskArchived(_, task) => {
            assert_eq!(rows.tasks.get(&task.id), Some(task), "what is archived is what was")
        }
        Change::AttemptArchived(_, attempt) => {
            assert_eq!(rows.attempts.get(&attempt.id), Some(attempt), "what is archived is what was");
            assert!(attempt.gone, "{:?} was archived while it held room", attempt.id);
        }
        Change::Reservation(row) => {
            let is_early = row.is_open && row.from > scene.served;
            assert!(!is_early, "reservation {} begins before its time: {row:?}", row.name);
        }
        Change::Settings(_)
        | Change::ReservationGone(_)
        | Change::Rebalance(_)
        | Change::Move(_)
        | Change::MoveGone(_)
        | Change::NodeGone(_)
        | Change::Namespace(..)
        | Change::Job(_)
        | Change::Spec(..)
        | Change::Step(_)
        | Change::Cluster(_)
        | Change::Scope(_)
        | Change::ScopeGone(_)
        | Change::Request(_)
        | Change::Annotation(_)
        | Change::RequestGone(_)
        | Change::EventsBelow(_)
        | Change::JoinToken(_)
        | Change::JoinTokenGone(_)
        | Change::Segment(_)
        | Change::SegmentGone(_)
        | Change::Leaving(..)
        | Change::Left(_)
        | Change::Version(_)
        | Change::VersionGone(_)
        | Change::ClaimGone(_)
        | Change::Feature(_) => {}
        Change::Claim(claim) => {
            let state = rows.tasks.get(&claim.task).map(|task| &task.state);
            let is_moved = rows.moves.get(&claim.task).is_some_and(|row| row.to == claim.node);
            assert!(state == Some(&TaskState::Ready) || is_moved, "room is kept for {:?}: {state:?}", claim.task);
            assert!(!rows.claims.contains_key(&claim.task), "room is kept twice for {:?}", claim.task);
        }
    }
}

fn spec<'a>(rows: &'a Rows, task: &Task) -> &'a TaskSpec {
    &rows.runs[&task.id.run].spec.tasks[task.id.step as usize]
}

/// A run ends once, when all its tasks have, and as they did.
fn judge_run(rows: &Rows, run: &Run) {
    let Some(before) = rows.runs.get(&run.id) else { return };
    assert!(!before.state.is_terminal(), "run {} moved after its end", run.id);
    assert!(run.cancelling || !before.cancelling, "the cancel of run {} was taken back", run.id);
    let tasks = || rows.tasks.values().filter(|task| task.id.run == run.id).map(|task| &task.state);
    let ended_as = if !run.state.is_terminal() {
        return;
    } else if tasks().any(|task| matches!(task, TaskState::Failed(_))) {
        RunState::Failed
    } else if tasks().any(|task| *task == TaskState::Cancelled) {
        RunState::Cancelled
    } else {
        RunState::Succeeded
    };
    assert!(tasks().all(TaskState::is_terminal), "run {} ended before its tasks", run.id);
    assert_eq!(run.state, ended_as, "run {} ended otherwise than its tasks", run.id);
}

/// P6 and P9.
fn judge_task(rows: &Rows, task: &Task) {
    let Some(before) = rows.tasks.get(&task.id) else { return };
    assert!(may_move(&before.state, &task.state), "{:?} went from {:?} to {:?}", task.id, before.state, task.state);
    assert_eq!(task.generation, before.generation + 1, "{:?} moved without a new generation", task.id);
    assert!(task.tries >= before.tries && task.losses >= before.losses && task.attempts >= before.attempts);
    let spec = spec(rows, task);
    assert!(task.tries <= spec.retry.attempts, "{:?} was tried too often", task.id);
    let losses_max = rows.settings.as_ref().map_or(0, |settings| settings.node_losses_max);
    // One more by the copy that is given up when the last one is placed.
    assert!(task.losses <= losses_max + 1, "{:?} lost too many nodes", task.id);
    if task.state.is_terminal() {
        return;
    }
    assert!(task.tries < spec.retry.attempts, "{:?} goes on though its tries are used up", task.id);
    if spec.gang.is_some() {
        // Those of a gang are counted for all of it: by `check`, and in the simulation.
        return;
    }
    let ended = |which: &[AttemptState]| {
        let attempts = rows.attempts.values().filter(|attempt| attempt.id.task == task.id);
        attempts.filter(|attempt| which.contains(&attempt.state)).count() as u32
    };
    assert_eq!(task.tries, ended(&[AttemptState::Failed, AttemptState::TimedOut]), "tries of {:?}", task.id);
    assert_eq!(task.losses, ended(&[AttemptState::Lost]), "losses of {:?}", task.id);
}

fn may_move(from: &TaskState, to: &TaskState) -> bool {
    use TaskState::{Cancelled, Failed, Placed, Ready, Running, Skipped, Succeeded, Waiting};
    match (from, to) {
        (Succeeded | Failed(_) | Cancelled | Skipped, _) => false,
        (_, Waiting(Wait::Needs)) => false,
        (_, Cancelled) => true,
        (Waiting(Wait::Needs), Ready | Skipped) => true,
        (Waiting(Wait::Needs), _) | (_, Skipped) => false,
        (Waiting(Wait::Backoff { .. }), Ready | Waiting(Wait::Quarantine)) => true,
        (Waiting(Wait::Backoff { .. }), _) => false,
        // Its copy came back, was proven lost, or has ended and is gone: never anything else, for
        // the copy is not heard before its node has a lease again.
        (Waiting(Wait::Fence { .. }), Ready | Placed | Running | Waiting(_) | Failed(_)) => true,
        (Waiting(Wait::Fence { .. }), Succeeded) => false,
        // Somebody let it go, or the same of its copies as from behind a fence.
        (Waiting(Wait::Quarantine), Ready | Placed | Running | Waiting(_) | Failed(_)) => true,
        (Waiting(Wait::Quarantine), Succeeded) => false,
        (Ready, Placed | Running | Ready | Waiting(_) | Failed(_)) => true,
        (Ready, Succeeded) => false,
        (Placed, Placed) | (Running, Placed | Running) => false,
        (Placed | Running, _) => true,
    }
}

/// P1, P2a, P3, P7, P8, P12, `at_most_once` and `fenced`, of a new attempt.
fn judge_placement(rows: &Rows, new: &Attempt, scene: &Scene<'_>) {
    let id = new.id;
    let task = &rows.tasks[&id.task];
    let run = &rows.runs[&id.task.run];
    let node = &rows.nodes[&new.node];
    let spec = spec(rows, task);
    let earlier = || rows.attempts.values().filter(|attempt| attempt.id.task == id.task);
    assert_eq!(task.state, TaskState::Ready, "{id:?} was placed");
    assert_eq!((new.state, new.token.0, new.epoch), (AttemptState::Assigned, scene.revision, node.epoch));
    assert_eq!(id.number as usize, earlier().count() + 1);
    assert!(earlier().all(|attempt| attempt.token < new.token), "the token of {id:?} does not rise");
    assert!(earlier().all(|attempt| attempt.state.is_terminal()), "{id:?} was placed while another copy lives");

    let cancelled = scene.cancelled.get(&run.id);
    assert!(!run.cancelling && cancelled.is_none(), "{id:?} was placed after the cancel at {cancelled:?}");
    for need in &spec.needs {
        let step = run.spec.tasks.iter().position(|task| task.name == *need).expect("a need");
        let mut needed = rows.tasks.values().filter(|task| task.id.run == run.id && task.id.step as usize == step);
        assert!(needed.all(|task| task.state == TaskState::Succeeded), "{id:?} was placed before {need} succeeded");
    }

    assert_eq!(node.status, NodeStatus::Up, "{id:?} was placed on a lost node");
    let is_allowed = (spec.place.regions.is_empty() || spec.place.regions.contains(&node.region))
        && (spec.place.clusters.is_empty() || spec.place.clusters.contains(&node.cluster))
        && spec
            .place
            .labels
            .iter()
            .all(|(key, want)| node.labels.get(key).is_some_and(|has| want == "*" || want == has));
    assert!(is_allowed, "{id:?} was placed in {}/{}", node.region, node.cluster);
    let (pool, pools) = (node.offer.pool.as_str(), &spec.place.pools);
    let is_asked_for = pools.iter().any(|asked| asked.as_str() == pool) || (pools.is_empty() && pool == "default");
    assert!(is_asked_for, "{id:?} was placed in pool {pool}, of {pools:?}");
    let tolerates =
        |key: &String, value: &String| spec.place.tolerate.get(key).is_some_and(|said| said == "*" || said == value);
    let taint = node.offer.taints.iter().find(|(key, value)| !tolerates(key, value));
    assert!(taint.is_none(), "{id:?} was placed on a node with {taint:?}");
    let holds = holds(spec, node.cluster.as_str(), &node.labels, &node.offer);
    assert!(holds, "{id:?} was placed on {node:?}, for which {:?} does not hold", spec.place.condition);
    let mut open = rows.reservations.values().filter(|row| row.is_open && row.nodes.contains(&node.name));
    let open = open.next().map(|row| &row.name);
    assert_eq!(open, spec.place.reservation.as_ref(), "{id:?} was placed on {}, which is set aside", node.name);
    if let (Some(policy), Some(last)) = (&spec.on_region_loss, earlier().next_back()) {
        judge_home(rows, policy, &rows.nodes[&last.node].region, new, scene);
    }
    let held = rows.attempts.values().filter(|attempt| attempt.node == new.node && !attempt.gone);
    let used = held.fold(new.resources, |used, attempt| used.checked_add(attempt.resources).expect("a small sum"));
    assert_eq!(new.resources, spec.resources_of(new.choice), "{id:?} takes something else than its choice");
    assert!(fits(used, node.capacity), "{id:?} over-commits {}: {used:?} of {:?}", new.node, node.capacity);

    match spec.on_node_loss {
        OnNodeLoss::AtLeastOnce => {}
        OnNodeLoss::Fenced => {
            assert!(!scene.ground.is_alive(id.task), "{id:?} was placed while a fenced copy runs");
            if let Some(last) = earlier().next_back().filter(|last| !last.gone) {
                // What really runs here keeps perfect time. The log's own word must be good for less.
                let node = &rows.nodes[&last.node];
                let kill_ms = node.lease.kill_ms;
                let passed = match node.status {
                    // Given up when its agent came without its journal: that lease was an earlier one.
                    _ if last.epoch != node.epoch => last.unknown_deadline.is_some_and(|at| at <= scene.served),
                    // Its fence was over before its node came back with what is left of it.
                    _ if last.ended_at.is_some_and(|at| at <= node.registered_at) => {
                        scene.served.0 >= node.lease.server_ms + kill_ms
                    }
                    NodeStatus::Lost { at } => scene.served >= at.plus(kill_ms),
                    NodeStatus::Up => false,
                };
                assert!(passed, "{id:?} was placed before its fence was over: {last:?}");
            }
        }
        OnNodeLoss::AtMostOnce => assert_eq!(id.number, 1, "{id:?}: a second start"),
    }
}

/// What ran in `home` is placed there while that lives, and then where and when its job says.
fn judge_home(rows: &Rows, policy: &OnRegionLoss, home: &RegionName, new: &Attempt, scene: &Scene<'_>) {
    let to = &rows.nodes[&new.node].region;
    let at_home = || rows.nodes.values().filter(|node| node.region == *home);
    let ends = at_home().map(|node| match node.status {
        NodeStatus::Up => Served::NEVER,
        NodeStatus::Lost { at } => at,
    });
    let lost = ends.max().unwrap_or(Served(0));
    let mut around = rows.scopes.values().filter(|row| row.scope == Scope::Region(home.clone()));
    let is_drained = around.any(|row| row.withdrawal.drain.is_some());
    let is_allowed = match policy {
        OnRegionLoss::Stay => to == home,
        OnRegionLoss::MoveAfter { after_ms, spill } => {
            let may_leave = is_drained || (lost != Served::NEVER && lost.plus(*after_ms) <= scene.served);
            if may_leave { spill.is_empty() || spill.contains(to) } else { to == home }
        }
    };
    assert!(
        is_allowed,
        "{:?} ran in {home}, lost at {lost:?}, and goes to {to} at {:?}: {policy:?}",
        new.id, scene.served
    );
}

fn fits(want: Resources, room: Resources) -> bool {
    want.cpu_milli <= room.cpu_milli && want.memory_bytes <= room.memory_bytes
}

/// P6 of an attempt, and that the log says of it only what happened.
fn judge_move(rows: &Rows, before: &Attempt, after: &Attempt, scene: &Scene<'_>) {
    let (id, ground, served) = (after.id, scene.ground, scene.served);
    assert_eq!(
        (&before.node, before.token, before.resources, before.placed_at),
        (&after.node, after.token, after.resources, after.placed_at),
        "{id:?} became another attempt"
    );
    let rank = |state| match state {
        AttemptState::Assigned => 0,
        AttemptState::Starting => 1,
        AttemptState::Running => 2,
        AttemptState::Stopping => 3,
        AttemptState::Unknown => 4,
        AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Lost
        | AttemptState::Cancelled
        | AttemptState::Preempted
        | AttemptState::TimedOut => 5,
    };
    let (from, to) = (rank(before.state), rank(after.state));
    let comes_back = before.state == AttemptState::Unknown && to < 4;
    assert!(
        before.state == after.state || (from < 5 && to > from) || comes_back,
        "{id:?} went from {:?} to {:?}",
        before.state,
        after.state
    );
    if comes_back {
        let node = &rows.nodes[&after.node];
        assert_eq!((after.epoch, node.status), (node.epoch, NodeStatus::Up), "{id:?} came back without its node");
    }
    assert!(before.stop.is_none() || before.stop == after.stop, "{id:?} has another reason to stop");
    if before.stop.is_none() && after.stop == Some(StopReason::Drained) {
        let (run, node) = (&rows.runs[&id.task.run], &rows.nodes[&after.node]);
        let promise = run.spec.tasks[id.task.step as usize].on_node_loss;
        let mut around = rows.scopes.values().filter(|row| row.scope.holds(node));
        let is_drained = node.own_drain().is_some() || around.any(|row| row.withdrawal.drain.is_some());
        assert!(is_drained, "{id:?} is moved off a node that is not drained");
        assert_ne!(promise, OnNodeLoss::AtMostOnce, "{id:?} is moved");
    }
    if before.stop.is_none() && after.stop == Some(StopReason::Rebalanced) {
        let (run, to) = (&rows.runs[&id.task.run], &after.moved.as_ref().expect("somewhere").to);
        let spec = &run.spec.tasks[id.task.step as usize];
        assert!(
            spec.on_node_loss != OnNodeLoss::AtMostOnce && spec.preemptible && spec.gang.is_none(),
            "{id:?} is moved"
        );
        assert!(*to != before.node && rows.nodes[to].status == NodeStatus::Up, "{id:?} is moved to {to}");
        let rebalance = rows.rebalance.as_ref().expect("somebody asked for it");
        assert!(rebalance.ended.is_none() && rebalance.ends > scene.served, "{id:?} is moved by {rebalance:?}");
        assert!(rebalance.begun <= rebalance.terms.moves_max, "{rebalance:?}");
        assert!(rows.moves.len() <= rebalance.terms.at_once.max(3) as usize, "{} are on the move", rows.moves.len());
    }
    if before.stop.is_none() && after.stop == Some(StopReason::Preempted) {
        let (run, by) = (&rows.runs[&id.task.run], after.preempted.expect("somebody"));
        let other = &rows.runs[&by.by.run];
        let policy = rows.settings.as_ref().and_then(|settings| settings.preemption).expect("a policy");
        assert!(run.priority() + policy.gap <= other.priority(), "{id:?} is as urgent as {:?}", by.by);
        assert_ne!(run.spec.tasks[id.task.step as usize].on_node_loss, OnNodeLoss::AtMostOnce, "{id:?} is preempted");
        assert!(rows.tasks[&id.task].preemptions < policy.times_max, "{id:?} is preempted too often");
        assert!(before.spared_until.is_none_or(|until| until <= served), "{id:?} is fresh");
    }
    assert!(after.gone || !before.gone, "{id:?} came back from the dead");
    if after.gone && !before.gone {
        assert!(!ground.is_copy_alive(id, after.token), "{id:?} is called gone while it runs");
    }
    if before.state == after.state {
        return;
    }
    match after.state {
        AttemptState::Running => assert!(ground.has_run(id, after.token), "{id:?} never ran"),
        AttemptState::Succeeded => assert!(ground.has_succeeded(id, after.token), "{id:?} never succeeded"),
        AttemptState::Cancelled | AttemptState::Preempted | AttemptState::TimedOut => {
            assert!(before.stop.is_some(), "{id:?} was stopped for no reason");
        }
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Stopping
        | AttemptState::Unknown
        | AttemptState::Failed
        | AttemptState::Lost => {}
    }
}

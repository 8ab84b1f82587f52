//! The state while an entry is being applied: every change is visible at once to what follows it,
//! recorded for the disk, and undone when its item is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Applied;
use crate::{
    Attempt, AttemptState, Change, Claim, Event, EventRow, Feature, Meta, Millis, NodeStatus, Rebalance, Rejection,
    Reply, Revision, Run, RunId, Served, Settings, State, Task, TaskId, TaskState,
};

pub(super) struct Overlay {
    /// As it was before the entry.
    before: State,
    state: State,
    revision: Revision,
    changes: Vec<Change>,
    events: Vec<Event>,
    /// An item of this entry had to be undone. A copy per item makes its nodes shared, and what is shared
    /// is copied when it changes: most entries need none, and one in which an item fails half-way is
    /// likely to hold more of them.
    keeps_copies: bool,
}

impl Overlay {
    pub(super) fn new(before: &State, revision: Revision, meta: Meta) -> Self {
        let mut state = before.clone();
        // Recorded once, by `finish`, as it is then.
        state.commit(&Change::Meta(meta));
        Self { before: before.clone(), state, revision, changes: Vec::new(), events: Vec::new(), keeps_copies: false }
    }

    pub(super) fn finish(mut self, replies: Vec<Result<Reply, Rejection>>) -> Applied {
        self.changes.push(Change::Meta(self.state.meta.clone()));
        let at = self.state.meta.now;
        let row = |(sequence, event)| EventRow { revision: self.revision, sequence, at, event };
        let events = (0_u32..).zip(self.events).map(row).collect();
        Applied { next: self.state, changes: self.changes, events, replies }
    }

    /// Runs `act`; when it is refused, everything is as before it.
    pub(super) fn atomically(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<Reply, Rejection>,
    ) -> Result<Reply, Rejection> {
        let copy = self.keeps_copies.then(|| self.state.clone());
        let (meta, changes, events) = (self.state.meta.clone(), self.changes.len(), self.events.len());
        let result = act(self);
        if result.is_err() {
            if self.changes.len() > changes {
                self.changes.truncate(changes);
                self.state = copy.unwrap_or_else(|| self.replayed());
                self.keeps_copies = true;
            }
            self.state.meta = meta;
            self.events.truncate(events);
        }
        result
    }

    /// The state before the entry, with the changes so far.
    fn replayed(&self) -> State {
        let mut state = self.before.clone();
        self.changes.iter().for_each(|change| state.commit(change));
        state
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn now(&self) -> Millis {
        self.state.meta.now
    }

    pub(super) fn served(&self) -> Served {
        self.state.meta.served
    }

    pub(super) fn settings(&self) -> Result<Arc<Settings>, Rejection> {
        self.state.settings.clone().ok_or(Rejection::NotBootstrapped)
    }

    pub(super) fn put(&mut self, change: Change) {
        self.state.commit(&change);
        for end in self.move_ended_by(&change) {
            self.state.commit(&end);
            self.changes.push(end);
        }
        for task in self.with_their_gangs(self.claims_ended_by(&change), &change) {
            let gone = Change::ClaimGone(task);
            self.state.commit(&gone);
            self.changes.push(gone);
        }
        self.changes.push(change);
    }

    /// Those that this has ended, with all for which room is kept beside them: what is kept for a gang goes as a whole.
    fn with_their_gangs(&self, mut ended: Vec<TaskId>, change: &Change) -> Vec<TaskId> {
        let own = if let Change::ClaimGone(task) = change { Some(*task) } else { None };
        if ended.is_empty() && own.is_none() || !self.state.has_feature(Feature::GangPreemption) {
            return ended;
        }
        let state = &self.state;
        let is_gang = |task: &TaskId| {
            let run = state.run(task.run);
            run.and_then(|run| run.spec.tasks.get(task.step as usize)).is_some_and(|spec| spec.gang.is_some())
        };
        let gangs: BTreeSet<(RunId, u32)> =
            ended.iter().chain(&own).filter(|task| is_gang(task)).map(|task| (task.run, task.step)).collect();
        let others: Vec<TaskId> = gangs
            .into_iter()
            .flat_map(|(run, step)| state.claims_of_gang(run, step).map(|claim| claim.task))
            .filter(|task| !ended.contains(task))
            .collect();
        ended.extend(others);
        ended
    }

    /// Tasks for which no room is kept any more when this has changed. Asked here of every change, so that no path forgets it.
    fn claims_ended_by(&self, change: &Change) -> Vec<TaskId> {
        let state = &self.state;
        if state.claims.is_empty() {
            return Vec::new();
        }
        match change {
            Change::Task(task) => {
                let waits = task.state == TaskState::Ready || state.task_move(task.id).is_some();
                let ends = !waits && state.claim(task.id).is_some();
                ends.then_some(task.id).into_iter().collect()
            }
            Change::Run(run) => {
                let ends = run.paused.is_some() || run.state.is_terminal();
                state.claims.keys().copied().filter(|task| ends && task.run == run.id).collect()
            }
            // Of a node, or of all in a cluster, a region or a reservation; it is in the state already.
            Change::Node(_) | Change::Scope(_) | Change::Reservation(_) => {
                let stays = |claim: &Claim| {
                    let node = state.node(&claim.node);
                    node.is_some_and(|node| {
                        let takes = node.status == NodeStatus::Up && !node.is_out() && node.epoch == claim.epoch;
                        takes && !state.is_set_apart(node, claim.task)
                    })
                };
                state.claims().filter(|claim| !stays(claim)).map(|claim| claim.task).collect()
            }
            Change::ReservationGone(_) => {
                let is_apart =
                    |claim: &Claim| state.node(&claim.node).is_some_and(|node| state.is_set_apart(node, claim.task));
                state.claims().filter(|claim| is_apart(claim)).map(|claim| claim.task).collect()
            }
            Change::NodeGone(node) => state.claims_on(node).map(|claim| claim.task).collect(),
            Change::Meta(_)
            | Change::Settings(_)
            | Change::Namespace(_)
            | Change::Job(_)
            | Change::Spec(..)
            | Change::Annotation(_)
            | Change::Step(_)
            | Change::Attempt(_)
            | Change::Cluster(_)
            | Change::Request(_)
            | Change::RequestGone(_)
            | Change::EventsBelow(_)
            | Change::Feature(_)
            | Change::JoinToken(_)
            | Change::JoinTokenGone(_)
            | Change::Segment(_)
            | Change::SegmentGone(_)
            | Change::Archived(_)
            | Change::Leaving(..)
            | Change::TaskArchived(..)
            | Change::AttemptArchived(..)
            | Change::Left(_)
            | Change::Version(_)
            | Change::VersionGone(_)
            | Change::ScopeGone(_)
            | Change::Claim(_)
            | Change::ClaimGone(_)
            | Change::Rebalance(_)
            | Change::Move(_)
            | Change::MoveGone(_) => Vec::new(),
        }
    }

    /// A task that is not on the move any more when this has changed: its row goes, and its rebalance counts it.
    fn move_ended_by(&self, change: &Change) -> Vec<Change> {
        let Change::Task(task) = change else { return Vec::new() };
        let Some(row) = self.state.task_move(task.id).filter(|row| row.is_over(task)) else { return Vec::new() };
        let newest = task.newest_attempt().and_then(|newest| self.state.attempt(newest));
        let has_arrived = task.attempts != row.attempt && newest.is_some_and(|newest| newest.node == row.to);
        let counted = self.state.rebalance().filter(|rebalance| rebalance.number == row.rebalance).map(|rebalance| {
            let (arrived, missed) = (u32::from(has_arrived), u32::from(!has_arrived));
            Change::Rebalance(Arc::new(Rebalance {
                arrived: rebalance.arrived.saturating_add(arrived),
                missed: rebalance.missed.saturating_add(missed),
                ..rebalance.clone()
            }))
        });
        counted.into_iter().chain([Change::MoveGone(task.id)]).collect()
    }

    pub(super) fn set_meta(&mut self, set: impl FnOnce(&mut Meta)) {
        set(&mut self.state.meta);
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn run(&self, run: RunId) -> Result<Arc<Run>, Rejection> {
        self.state.run(run).cloned().ok_or(Rejection::UnknownRun(run))
    }

    pub(super) fn put_run(&mut self, run: Run) {
        self.put(Change::Run(Arc::new(run)));
    }

    /// Moves a task; its generation rises, so that whatever was planned on the old state is refused.
    pub(super) fn move_task(&mut self, task: &Task, state: TaskState, edit: impl FnOnce(&mut Task)) {
        let queue_deadline = if state == TaskState::Ready { self.queue_deadline(task.id) } else { None };
        let generation = task.generation.saturating_add(1);
        let succeeded_at = task.succeeded_at.or_else(|| self.undoable_since(task.id, &state));
        let ready_since = self.ready_since(&state);
        let mut next =
            Task { state: state.clone(), generation, queue_deadline, ready_since, succeeded_at, ..task.clone() };
        edit(&mut next);
        self.put(Change::Task(Arc::new(next)));
        self.emit(Event::TaskMoved { task: task.id, state });
    }

    /// What is written down of a task that gets into a state now, so that it can be undone in its turn.
    fn undoable_since(&self, task: TaskId, state: &TaskState) -> Option<Revision> {
        let is_undone = self.state.run(task.run).is_some_and(|run| run.graph.undone_by(task.step).is_some());
        (*state == TaskState::Succeeded && is_undone).then_some(self.revision)
    }

    /// When a task that becomes ready now has waited long enough, if its job says so.
    pub(super) fn queue_deadline(&self, task: TaskId) -> Option<Served> {
        let spec = self.state.run(task.run)?.spec.tasks.get(task.step as usize)?;
        spec.queued_timeout_ms.map(|timeout| self.served().plus(timeout))
    }

    /// Since when a task is ready that gets into a state now.
    pub(super) fn ready_since(&self, state: &TaskState) -> Option<Served> {
        (*state == TaskState::Ready && self.state.has_feature(Feature::FairShare)).then(|| self.served())
    }

    /// Moves an attempt, and stamps its end.
    pub(super) fn move_attempt(&mut self, attempt: &Attempt, state: AttemptState, edit: impl FnOnce(&mut Attempt)) {
        let mut next = Attempt { state, ..attempt.clone() };
        if state.is_terminal() {
            next.ended_at = Some(self.now());
            next.unknown_deadline = None;
        }
        edit(&mut next);
        self.emit(Event::AttemptMoved {
            attempt: next.id,
            node: next.node.clone(),
            token: next.token,
            state,
            exit: next.exit,
        });
        self.put(Change::Attempt(Arc::new(next)));
    }

    pub(super) fn put_attempt(&mut self, attempt: Attempt) {
        self.put(Change::Attempt(Arc::new(attempt)));
    }
}

//! What is known of the run's tasks, from the events of its watch.

use std::collections::BTreeMap;

use quorate_proto::v1;
use quorate_state::JobSpec;

use super::is_final;
use crate::cli::wait;
use crate::render::attempt::attempt_word;

/// What is known of the run's tasks.
#[derive(Debug)]
pub(super) struct Board {
    tasks: BTreeMap<(String, u32), Seen>,
    /// Tasks by their distance from the start, in file order.
    levels: Vec<Vec<(String, u32)>>,
    run_state: i32,
    placements: BTreeMap<(String, u32, u32), u64>,
}

/// What is known of a task.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Where it stands.
    pub(super) state: v1::TaskState,
    /// Where its newest attempt was placed.
    pub(super) node: String,
    /// That node's cluster.
    pub(super) cluster: String,
    /// That cluster's region.
    pub(super) region: String,
    attempt: u32,
}

/// An attempt that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// `task` or `task[index]`.
    pub(super) task: String,
    /// Its number.
    pub(super) attempt: u32,
    /// The state it is in now, as a word.
    pub(super) state: String,
    /// It will not move again.
    pub(super) is_end: bool,
    /// Where it is.
    pub(super) node: String,
    /// That node's region.
    pub(super) region: String,
    /// How many tasks have ended, this one included when it has.
    pub(super) ended: usize,
}

impl Board {
    /// An empty board for the tasks of a job.
    pub(super) fn new(spec: &JobSpec) -> Self {
        let mut board = Self { tasks: BTreeMap::new(), levels: Vec::new(), run_state: 0, placements: BTreeMap::new() };
        for (task, level) in spec.tasks.iter().zip(levels(spec)) {
            for index in 0..task.count {
                let key = (task.name.to_string(), index);
                if board.levels.len() <= level {
                    board.levels.resize(level + 1, Vec::new());
                }
                board.levels[level].push(key.clone());
                board.tasks.insert(key, Seen::default());
            }
        }
        board
    }

    /// Takes in one item of the watch; the attempts that moved come back.
    pub(super) fn take(&mut self, item: v1::WatchRunResponse) -> Vec<Move> {
        let mut moves = Vec::new();
        match item.item {
            Some(v1::watch_run_response::Item::Snapshot(snapshot)) => {
                self.run_state = snapshot.run.map_or(self.run_state, |run| run.state);
                snapshot.tasks.iter().for_each(|task| self.task(task));
                // Only the events tell what is new; a snapshot repeats what may have been told.
                snapshot.attempts.into_iter().for_each(|attempt| drop(self.attempt(attempt)));
            }
            Some(v1::watch_run_response::Item::Event(event)) => match event.event {
                Some(v1::run_event::Event::Run(moved)) => self.run_state = moved.state,
                Some(v1::run_event::Event::Task(task)) => self.task(&task),
                Some(v1::run_event::Event::Attempt(attempt)) => moves.extend(self.attempt(attempt)),
                Some(
                    v1::run_event::Event::Annotated(_)
                    | v1::run_event::Event::Paused(_)
                    | v1::run_event::Event::Resumed(_)
                    | v1::run_event::Event::PrioritySet(_)
                    | v1::run_event::Event::Abandoned(_)
                    | v1::run_event::Event::Decided(_)
                    | v1::run_event::Event::Rest(_)
                    | v1::run_event::Event::Preempted(_)
                    | v1::run_event::Event::Rebalanced(_),
                )
                | None => {}
            },
            Some(v1::watch_run_response::Item::Bookmark(_)) | None => {}
        }
        moves
    }

    /// True once the run has ended.
    pub(super) fn has_ended(&self) -> bool {
        is_final(self.run_state)
    }

    /// How many tasks there are.
    pub(super) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// How many tasks will not move again.
    pub(super) fn ended(&self) -> usize {
        self.tasks.values().filter(|seen| wait::task_has_ended(seen.state)).count()
    }

    /// The same in percent.
    pub(super) fn ended_percent(&self) -> usize {
        self.ended() * 100 / self.count().max(1)
    }

    /// Tasks that run now.
    pub(super) fn running(&self) -> impl Iterator<Item = (&(String, u32), &Seen)> {
        self.tasks.iter().filter(|(_, seen)| seen.state == v1::TaskState::Running)
    }

    /// The state of each task, level by level.
    pub(super) fn levels(&self) -> impl Iterator<Item = Vec<v1::TaskState>> + '_ {
        let state = |key| self.tasks.get(key).map_or(v1::TaskState::Unspecified, |seen| seen.state);
        self.levels.iter().map(move |level| level.iter().map(state).collect())
    }

    /// What the tasks of each level are called: their common beginning.
    pub(super) fn level_names(&self) -> impl Iterator<Item = String> + '_ {
        self.levels.iter().map(|level| common_name(level))
    }

    /// When the first attempt since `millis` was placed.
    pub(super) fn first_placement_since(&self, millis: u64) -> Option<u64> {
        self.placements.values().copied().filter(|placed| *placed >= millis).min()
    }

    fn task(&mut self, task: &v1::Task) {
        self.tasks.entry((task.task.clone(), task.index)).or_default().state = task.state();
    }

    fn attempt(&mut self, attempt: v1::Attempt) -> Option<Move> {
        self.placements.insert((attempt.task.clone(), attempt.index, attempt.number), attempt.placed_at_ms);
        let ended = self.ended();
        let seen = self.tasks.entry((attempt.task.clone(), attempt.index)).or_default();
        if attempt.number < seen.attempt {
            return None;
        }
        let state = attempt.state();
        let moved = Move {
            task: if attempt.index == 0 { attempt.task } else { format!("{}[{}]", attempt.task, attempt.index) },
            attempt: attempt.number,
            state: attempt_word(attempt.state),
            is_end: is_end(state),
            node: attempt.node.clone(),
            region: attempt.region.clone(),
            // The event that ends the task comes right after that of its attempt.
            ended: ended + usize::from(state == v1::AttemptState::Succeeded && !wait::task_has_ended(seen.state)),
        };
        seen.attempt = attempt.number;
        seen.node = attempt.node;
        seen.cluster = attempt.cluster;
        seen.region = attempt.region;
        Some(moved)
    }
}

/// `perturb_m*` for `perturb_m01`, `perturb_m02`; nothing when they have nothing in common.
fn common_name(level: &[(String, u32)]) -> String {
    let Some(((first, _), rest)) = level.split_first() else { return String::new() };
    let same = |other: &str| first.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let length = rest.iter().map(|(name, _)| same(name)).min().unwrap_or(first.len());
    let common = first[..length].trim_end_matches(|c: char| c.is_ascii_digit());
    match (rest.is_empty(), common) {
        (true, _) => first.clone(),
        (false, "") => String::new(),
        (false, common) => format!("{common}*"),
    }
}

/// The distance of each task from the start, in file order.
fn levels(spec: &JobSpec) -> Vec<usize> {
    let positions: BTreeMap<&str, usize> =
        spec.tasks.iter().enumerate().map(|(position, task)| (task.name.as_str(), position)).collect();
    let needs: Vec<Vec<usize>> = spec
        .tasks
        .iter()
        .map(|task| task.needs.iter().filter_map(|need| positions.get(need.as_str()).copied()).collect())
        .collect();
    let mut levels = vec![0; needs.len()];
    // At most as many rounds as the longest chain has tasks: the job was checked for cycles.
    for _ in 0..needs.len() {
        let mut has_moved = false;
        for (position, needs) in needs.iter().enumerate() {
            let level = needs.iter().map(|need| levels[*need] + 1).max().unwrap_or(0);
            has_moved |= level > levels[position];
            levels[position] = level.max(levels[position]);
        }
        if !has_moved {
            break;
        }
    }
    levels
}

fn is_end(state: v1::AttemptState) -> bool {
    match state {
        v1::AttemptState::Succeeded
        | v1::AttemptState::Failed
        | v1::AttemptState::Lost
        | v1::AttemptState::Cancelled
        | v1::AttemptState::Preempted
        | v1::AttemptState::TimedOut => true,
        v1::AttemptState::Unspecified
        | v1::AttemptState::Assigned
        | v1::AttemptState::Starting
        | v1::AttemptState::Running
        | v1::AttemptState::Stopping
        | v1::AttemptState::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::wfformat;

    use super::*;

    fn board() -> Board {
        let namespace = quorate_state::Namespace::new("default").unwrap();
        let imported = wfformat::import(super::super::WORKFLOW, &wfformat::ImportOptions::new(namespace)).unwrap();
        Board::new(&imported.spec)
    }

    fn event(event: v1::run_event::Event) -> v1::WatchRunResponse {
        let event = v1::RunEvent { at_ms: 1, event: Some(event) };
        v1::WatchRunResponse { revision: 1, item: Some(v1::watch_run_response::Item::Event(event)) }
    }

    #[test]
    fn levels_follow_the_needs() {
        let board = board();
        let sizes: Vec<usize> = board.levels().map(|level| level.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), board.count());
        assert!(sizes.len() >= 5, "{sizes:?}");
    }

    #[test]
    fn levels_are_named_by_what_their_tasks_have_in_common() {
        let level = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 0)).collect::<Vec<_>>();
        for (names, common) in [
            (&["bulletin"][..], "bulletin"),
            (&["perturb_m01", "perturb_m02"], "perturb_m*"),
            (&["merge", "split"], ""),
            (&[], ""),
        ] {
            assert_eq!(common_name(&level(names)), common);
        }
    }

    #[test]
    fn events_move_tasks_and_attempts() {
        let mut board = board();
        let task =
            v1::Task { task: "fetch_sea_floor".into(), state: v1::TaskState::Succeeded.into(), ..v1::Task::default() };
        assert_eq!(board.take(event(v1::run_event::Event::Task(task))), []);
        assert_eq!(board.ended(), 1);
        let attempt = v1::Attempt {
            task: "fetch_sea_floor".into(),
            number: 1,
            state: v1::AttemptState::Succeeded.into(),
            placed_at_ms: 1000,
            ..v1::Attempt::default()
        };
        let moves = board.take(event(v1::run_event::Event::Attempt(attempt)));
        assert!(moves[0].is_end);
        assert_eq!(board.first_placement_since(1000), Some(1000));
        assert_eq!(board.first_placement_since(1001), None);
        let ended = v1::RunMoved { state: v1::RunState::Succeeded.into(), cancelling: false };
        board.take(event(v1::run_event::Event::Run(ended)));
        assert!(board.has_ended());
    }
}

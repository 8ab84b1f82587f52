//! Gangs: placed whole by whoever asks for it, or not at all.

use quorate_state::{
    Choice, Command, GangSpec, GpuHold, JobSpec, OnNodeLoss, Placement, Rejection, Reply, RunId, TaskId, TaskSpec,
};

use crate::{World, name, spec, task};

/// Jobs with a gang: fenced and with something that waits for it, and one that has to begin in time.
pub(super) fn with_gangs(shape: usize) -> JobSpec {
    let (promise, start_ms) =
        if shape == 7 { (OnNodeLoss::Fenced, None) } else { (OnNodeLoss::AtLeastOnce, Some(5_000)) };
    let gang = TaskSpec { gang: Some(GangSpec { within: None, start_ms }), ..task("gang", &[], 3, 300, promise) };
    let after = task("after", &["gang"], 1, 100, OnNodeLoss::AtLeastOnce);
    JobSpec { name: name(&format!("job-{shape}")), tasks: vec![gang, after], ..spec(0) }
}

impl World {
    /// Steps that are gangs, of runs that have not ended.
    pub(super) fn gangs(&self) -> Vec<(RunId, u32)> {
        let runs: Vec<RunId> = self.state.unfinished_runs().collect();
        let of_run = |run: RunId| {
            let tasks = &self.state.run(run).unwrap().spec.tasks;
            (0..).zip(tasks).filter(|(_, task)| task.gang.is_some()).map(|(step, _)| (run, step)).collect::<Vec<_>>()
        };
        runs.into_iter().flat_map(of_run).collect()
    }

    /// Somebody wants a gang on these nodes, or only a part of it, or by a view that is out of date.
    pub(super) fn place_gang(&mut self, pick: usize, nodes: &[usize], short: bool, stale: bool) {
        let gangs = self.gangs();
        let rows: Vec<_> = self.state.nodes().cloned().collect();
        let (Some((run, step)), false) = (gangs.get(pick % gangs.len().max(1)).copied(), rows.is_empty()) else {
            return;
        };
        let before = self.state.clone();
        let generation = before.gang(run, step).map_or(0, |gang| gang.generation);
        let tasks: Vec<TaskId> = (0..3 - u32::from(short)).map(|index| TaskId { run, step, index }).collect();
        let placements: Vec<Placement> = tasks
            .iter()
            .zip(nodes.iter().cycle())
            .map(|(task, node)| {
                let node = &rows[node % rows.len()];
                let generation = before.task(*task).map_or(0, |task| task.generation);
                let (node, epoch) = (node.name.clone(), node.epoch);
                Placement { task: *task, generation, node, epoch, choice: Choice::FIRST, gpus: GpuHold::NONE }
            })
            .collect();
        let asked = generation.wrapping_sub(u32::from(stale));
        match self.run(None, Command::CommitGang { run, step, generation: asked, placements }) {
            Ok(Reply::PlanCommitted(outcomes)) => {
                assert!(!short && !stale && outcomes.len() == 3);
                assert!(before.run(run).unwrap().paused.is_none(), "a gang of a paused run was placed");
                assert_eq!(self.state.gang(run, step).unwrap().generation, generation + 1);
                tasks.iter().for_each(|task| self.check_fence(&before, *task));
            }
            Ok(other) => panic!("{other:?}"),
            Err(why) => {
                assert!(!matches!(why, Rejection::Invariant(_)), "{why}");
                assert!(before.tasks_of(run).eq(self.state.tasks_of(run)), "a part of what was refused is there");
            }
        }
    }

    /// Places every gang that can be, wherever.
    pub(super) fn place_gangs(&mut self) {
        for pick in 0..self.gangs().len() {
            for nodes in [[0, 1, 2], [0, 0, 0], [1, 1, 1], [2, 2, 2]] {
                self.place_gang(pick, &nodes, false, false);
            }
        }
    }
}

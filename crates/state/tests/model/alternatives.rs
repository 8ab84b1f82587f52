//! Tasks that may take one of several things.

use quorate_state::{ALTERNATIVES_MAX, Alternative, Choice, GpuHold, Node, OnNodeLoss, Resources, TaskId, TaskSpec};

use crate::{World, task};

/// A task that would rather have a GPU, and is content with more cores, or with few.
pub(super) fn torn(text: &str, count: u32) -> TaskSpec {
    let mut spec = task(text, &[], count, 200, OnNodeLoss::AtLeastOnce);
    spec.resources.gpu_milli = 1_000;
    let other = |cpu_milli| {
        let resources = Resources { cpu_milli, gpu_milli: 0, ..spec.resources };
        Alternative { resources, gpu_models: vec![] }
    };
    spec.alternatives = vec![other(900), other(300)];
    spec
}

impl World {
    /// Any, also one that the task does not have, with what a planner would give for it, most often.
    pub(super) fn choose_for(&self, task: TaskId, node: &Node, generation: u32) -> (Choice, GpuHold) {
        let spec = &self.state.run(task.run).unwrap().spec.tasks[task.step as usize];
        let number = if spec.has_choice() { self.revision % ALTERNATIVES_MAX as u64 } else { self.revision / 7 % 2 };
        let choice = Choice::of(u32::try_from(number).unwrap()).unwrap();
        match spec.chosen(choice) {
            Some(way) => (choice, self.hold_for(&way, node, generation)),
            None => (choice, GpuHold::NONE),
        }
    }

    /// What is counted of a task and of its attempts is what it was given.
    pub(super) fn check_choices(&self) {
        for run in self.state.runs_newest_first(None) {
            for task in self.state.tasks_of(run.id) {
                let spec = &run.spec.tasks[task.id.step as usize];
                for attempt in self.state.attempts_of(task.id) {
                    assert_eq!(attempt.resources, spec.resources_of(attempt.choice), "{attempt:?}");
                }
            }
        }
    }
}

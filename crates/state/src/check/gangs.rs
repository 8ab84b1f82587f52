//! What must hold of gangs: at no revision is there a part of one.

use std::sync::Arc;

use crate::{AttemptState, Feature, Run, State, Step, TaskState};

impl State {
    pub(super) fn check_gangs(&self, broken: &mut Vec<String>) {
        for step in self.steps.values() {
            if let Some(run) = self.runs.get(&step.run) {
                self.check_gang(run, step, broken);
            }
        }
        let run = self.runs.values().find(|run| run.spec.has_gangs());
        if let Some(run) = run.filter(|_| !self.has_feature(Feature::Gangs)) {
            broken.push(format!("run {} has a gang, and feature {} is not enabled", run.id, Feature::Gangs));
        }
    }

    fn check_gang(&self, run: &Arc<Run>, step: &Step, broken: &mut Vec<String>) {
        let Some(gang) = step.gang else { return };
        let name = format!("gang {} of run {}", step.step, run.id);
        let spec = run.spec.tasks.get(step.step as usize).filter(|spec| spec.gang.is_some());
        let Some(spec) = spec else { return broken.push(format!("{name} is none by its spec")) };
        let tasks: Vec<_> = self.tasks_of_step(run.id, step.step).collect();
        if tasks.len() != spec.count as usize {
            broken.push(format!("{name} was placed, and has {} of {} members", tasks.len(), spec.count));
        }
        for task in tasks.iter().filter(|task| task.attempts != gang.generation) {
            let index = task.id.index;
            broken
                .push(format!("{name} is in generation {}, its member {index} in {}", gang.generation, task.attempts));
        }
        let newest = tasks.iter().filter_map(|task| self.attempt(task.newest_attempt()?));
        let states: Vec<AttemptState> = newest.map(|attempt| attempt.state).collect();
        let live = states.iter().filter(|state| !state.is_terminal()).count();
        if live != gang.live as usize {
            broken.push(format!("{name} has {live} live attempts, its row says {}", gang.live));
        }
        let is_up = |state: &TaskState| matches!(state, TaskState::Placed | TaskState::Running);
        let up = tasks.iter().filter(|task| is_up(&task.state)).count();
        let expected = if live > 0 { tasks.len() } else { 0 };
        if up != expected {
            broken.push(format!("{name} has {live} live attempts, and {up} members that are placed or run"));
        }
        let has_ended = states.iter().any(|state| state.is_terminal() && *state != AttemptState::Succeeded);
        if live > 0 && has_ended && !gang.is_breaking {
            broken.push(format!("{name} has lost a member, and goes on"));
        }
        let succeeded = tasks.iter().filter(|task| task.state == TaskState::Succeeded).count();
        if succeeded > 0 && succeeded < tasks.len() {
            broken.push(format!("{succeeded} of {} members of {name} succeeded", tasks.len()));
        }
    }
}

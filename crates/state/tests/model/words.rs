//! What people say of runs and tasks: words to keep, and that a task may run again.

use std::sync::Arc;

use quorate_state::{AnnotationKey, Command, Feature, Reply, RunId, TaskId, TaskState, Wait};

use crate::{World, name};

impl World {
    pub(super) fn annotate(&mut self, run: RunId, key: u8, value: u8) {
        let (key, value): (AnnotationKey, Arc<str>) = (name(&format!("key-{key}")), value.to_string().into());
        let before: Vec<_> = self.state.annotations_of(run).cloned().collect();
        let has_room = before.len() < 2 || before.iter().any(|annotation| annotation.key == key);
        let result = self.run(None, Command::AnnotateRun { run, key: key.clone(), value: value.clone() });
        assert_eq!(result.is_ok(), has_room, "{result:?}");
        match self.state.annotation(run, &key) {
            Some(annotation) => assert_eq!(annotation.value, value),
            None => assert!(!has_room),
        }
    }

    pub(super) fn release(&mut self, pick: usize) {
        let Some(run) = self.pick_run(pick) else { return };
        let task = TaskId { run, step: 0, index: 0 };
        let is_quarantined =
            self.state.task(task).is_some_and(|task| task.state == TaskState::Waiting(Wait::Quarantine));
        match self.run(None, Command::ReleaseTask { task }) {
            Ok(reply) => assert_eq!(reply, Reply::Counted(u32::from(is_quarantined))),
            Err(refused) => assert!(!self.state.has_feature(Feature::TaskOutcomes), "{refused}"),
        }
    }
}

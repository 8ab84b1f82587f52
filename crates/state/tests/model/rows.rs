//! What the rows say alone.

use quorate_state::State;

use crate::World;

impl World {
    /// The rows alone, in the order in which a disk would give them back.
    pub(super) fn check_rebuild(&self) {
        let mut rebuilt = State::default();
        for change in &self.rebuilt_from {
            rebuilt.commit(change);
        }
        assert_eq!(rebuilt.check(), Vec::<String>::new());
        assert_eq!(rebuilt.meta(), self.state.meta());
        let tasks = |state: &State| {
            state
                .runs_newest_first(None)
                .flat_map(|run| state.tasks_of(run.id).cloned().collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(tasks(&rebuilt), tasks(&self.state));
        assert!(rebuilt.features().eq(self.state.features()));
        let annotations = |state: &State| {
            state
                .runs_newest_first(None)
                .flat_map(|run| state.annotations_of(run.id).cloned().collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(annotations(&rebuilt), annotations(&self.state));
        assert_eq!(rebuilt.ready().collect::<Vec<_>>(), self.state.ready().collect::<Vec<_>>());
    }
}

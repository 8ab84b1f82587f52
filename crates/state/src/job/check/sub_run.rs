//! What makes tasks valid that are runs of other jobs, and what comes out of runs.

use std::collections::BTreeMap;

use super::{Driver, Found, JobSpec, OnNodeLoss, TaskSpec};
use crate::job::{Place, Role};
use crate::{ARGS_BYTES_MAX, NAME_BYTES_MAX, PARAMS_MAX, Resources};

impl JobSpec {
    pub(super) fn check_result(&self, found: &mut Found) {
        check_values("result", &self.result, found);
    }
}

impl TaskSpec {
    /// What a process is told says nothing to a run: it would be left out in silence.
    pub(super) fn check_sub_run(&self, found: &mut Found) {
        let Some(sub_run) = &self.sub_run else { return };
        let at = |key: &str| format!("task.{}.{key}", self.name);
        let process = [
            ("run", !self.argv.is_empty() || self.templated),
            ("env", !self.env.is_empty()),
            ("driver", self.driver != Driver::Process),
            ("resources", self.resources != Resources::ZERO),
            ("want", self.has_choice()),
            ("place", self.place != Place::default()),
            ("on_node_loss", self.on_node_loss != OnNodeLoss::default()),
            ("timeouts.queued", self.queued_timeout_ms.is_some()),
            ("timeouts.silent", self.silent_timeout_ms.is_some()),
        ];
        for (key, _) in process.into_iter().filter(|(_, is_said)| *is_said) {
            let message =
                format!("the task is a run of job {:?}: say this in that job, whose tasks have it", sub_run.job);
            found.add(&at(key), message);
        }
        if let Role::Undo { .. } = self.role {
            found.add(&at("run"), "what undoes a task is a command, not a run of a job".into());
        }
        if sub_run.version == Some(0) {
            found.add(&at("run"), "versions of a job count from 1".into());
        }
        check_values(&at("args"), &sub_run.args, found);
    }
}

/// Values by name, as JSON in which references stand.
fn check_values(field: &str, values: &BTreeMap<String, String>, found: &mut Found) {
    if values.len() > PARAMS_MAX {
        found.add(field, format!("has {} names, PARAMS_MAX is {PARAMS_MAX}", values.len()));
    }
    for name in values.keys().filter(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        found.add(field, format!("{name:?} is no name of 1 to NAME_BYTES_MAX ({NAME_BYTES_MAX}) bytes"));
    }
    let bytes: usize = values.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ARGS_BYTES_MAX {
        let message = "put large values into a file, and give its name";
        found.add(field, format!("has {bytes} bytes, ARGS_BYTES_MAX is {ARGS_BYTES_MAX}: {message}"));
    }
}

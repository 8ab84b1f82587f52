//! What makes a gang valid.

use super::{DURATION_MS_MAX, Found, LABEL_BYTES_MAX};
use crate::{GANG_MAX, OnNodeLoss, Role, TaskSpec, Within};

impl TaskSpec {
    pub(super) fn check_gang(&self, found: &mut Found) {
        let Some(gang) = &self.gang else { return };
        let at = |key: &str| format!("task.{}.{key}", self.name);
        if self.has_open_count() {
            let message = "a gang's size is known when it is submitted: let each be a list or a range, or use count";
            found.add(&at("each"), message.into());
        }
        if self.count > GANG_MAX {
            let message = format!("a gang of {} is over GANG_MAX ({GANG_MAX}): use fewer, larger elements", self.count);
            found.add(&at("count"), message);
        }
        if self.sub_run.is_some() {
            found.add(
                &at("gang"),
                "a run of another job is on no node: leave gang out, or make that job's task one".into(),
            );
        }
        if self.accept_failed > 0 {
            found.add(&at("accept.failed"), "a gang ends well only as a whole: leave accept out".into());
        }
        if self.on_node_loss == OnNodeLoss::AtMostOnce {
            let message = "a gang begins anew when a member is lost, and an at_most_once task never does: choose fenced or at_least_once";
            found.add(&at("on_node_loss"), message.into());
        }
        if matches!(self.role, Role::Undo { .. }) {
            found.add(&at("gang"), "what undoes a task runs for each of its elements by itself".into());
        }
        if let Some(Within::Label(key)) = &gang.within
            && (key.is_empty() || key.len() > LABEL_BYTES_MAX || key.contains('\0'))
        {
            found.add(&at("gang.within"), format!("a label's key has 1 to {LABEL_BYTES_MAX} bytes, none of them NUL"));
        }
        if gang.start_ms.is_some_and(|start| !(1..=DURATION_MS_MAX).contains(&start)) {
            found.add(&at("gang.start"), "is not between 1 ms and 10 years".into());
        }
    }
}

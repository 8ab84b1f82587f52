//! What makes valid what a task takes: its amounts, and its alternatives.

use super::{CPU_MILLI_MAX, Found, LIST_MAX, MEMORY_BYTES_MAX};
use crate::{ALTERNATIVES_MAX, Alternative, GPU_MILLI, GPUS_PER_NODE_MAX, TaskSpec};

impl TaskSpec {
    pub(super) fn check_resources(&self, found: &mut Found) {
        let at = |key: &str| format!("task.{}.{key}", self.name);
        let all: Vec<Alternative> = self.choices().filter_map(|choice| self.alternative(choice)).collect();
        if !self.has_choice() {
            all.iter().for_each(|alternative| check_amounts(&at("resources"), alternative, found));
            return;
        }
        let count = self.alternatives.len() + 1;
        if count > ALTERNATIVES_MAX {
            let message =
                format!("{count} alternatives are over ALTERNATIVES_MAX ({ALTERNATIVES_MAX}): leave out the last ones");
            found.add(&at("want"), message);
        }
        for (position, alternative) in all.iter().enumerate() {
            let field = at(&format!("want[{position}]"));
            check_amounts(&field, alternative, found);
            let before = all.iter().take(position).position(|earlier| earlier.does_with(alternative));
            if let Some(before) = before {
                let message = format!(
                    "is never taken: where there is room for it, there is room for want[{before}], which comes before it"
                );
                found.add(&field, message);
            }
        }
        if self.gang.is_some() {
            let message = "the members of a gang take the same, and which that is would be known of none of them alone: \
                           say one thing with resources";
            found.add(&at("want"), message.into());
        }
    }
}

/// Of one alternative, or of a task that has no other.
fn check_amounts(field: &str, alternative: &Alternative, found: &mut Found) {
    let at = |key: &str| format!("{field}.{key}");
    let Alternative { resources, gpu_models } = alternative;
    if resources.cpu_milli > CPU_MILLI_MAX {
        found.add(&at("cpu"), format!("{}m is over the limit of {CPU_MILLI_MAX}m", resources.cpu_milli));
    }
    if resources.memory_bytes > MEMORY_BYTES_MAX {
        let bytes = resources.memory_bytes;
        found.add(&at("memory"), format!("{bytes} bytes are over the limit of {MEMORY_BYTES_MAX}"));
    }
    let (milli, most) = (resources.gpu_milli, GPUS_PER_NODE_MAX as u64);
    if milli > most * GPU_MILLI {
        found.add(&at("gpu"), format!("{milli}m is over the limit: a node has at most {most} GPUs"));
    } else if milli > GPU_MILLI && !milli.is_multiple_of(GPU_MILLI) {
        let message = format!("{milli}m is neither a share of one GPU (below 1) nor whole GPUs: use a whole number");
        found.add(&at("gpu"), message);
    }
    if gpu_models.len() > LIST_MAX {
        found.add(&at("gpu_models"), format!("more than {LIST_MAX} models"));
    }
    if milli == 0 && !gpu_models.is_empty() {
        found.add(&at("gpu_models"), "the task takes no GPU: say how many with gpu = 1".into());
    }
}

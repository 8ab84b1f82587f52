//! Who may be preempted by whom, as sent and as stored.

use quorate_state::{Preempted, Preemption, State};

use crate::v1;

/// What was said of it.
pub fn preemption_to_wire(preemption: Preemption) -> v1::Preemption {
    let Preemption { by_priority, gap, spare_ms, times_max } = preemption;
    v1::Preemption { by_priority, gap: gap.into(), spare_ms, times_max }
}

/// The same of a message; none if the gap is none that there can be.
pub fn preemption_from_wire(preemption: v1::Preemption) -> Option<Preemption> {
    let v1::Preemption { by_priority, gap, spare_ms, times_max } = preemption;
    Some(Preemption { by_priority, gap: u8::try_from(gap).ok()?, spare_ms, times_max })
}

/// For whom an attempt was stopped; what that task is called is said if `view` knows its run.
pub fn preempted_to_wire(preempted: Preempted, view: &State) -> v1::PreemptedBy {
    let Preempted { by, priority } = preempted;
    let spec = view.run(by.run).and_then(|run| run.spec.tasks.get(by.step as usize));
    v1::PreemptedBy {
        run_id: by.run.to_string(),
        task: spec.map(|spec| spec.name.to_string()).unwrap_or_default(),
        index: by.index,
        priority: priority.into(),
    }
}

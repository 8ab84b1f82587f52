//! Who may be preempted by whom, as sent and as stored.

use quorate_state::{Namespace, Preempted, Preemption, SHARE_GAP_FIRST, ShareTaken, State};

use crate::v1;

/// What was said of it.
pub fn preemption_to_wire(preemption: Preemption) -> v1::Preemption {
    let Preemption { by_priority, gap, spare_ms, times_max, by_share, share_gap } = preemption;
    let share_gap = Some(u32::from(share_gap)).filter(|gap| *gap != u32::from(SHARE_GAP_FIRST));
    v1::Preemption { by_priority, gap: gap.into(), spare_ms, times_max, by_share, share_gap }
}

/// The same of a message; none if a gap is none that there can be.
pub fn preemption_from_wire(preemption: v1::Preemption) -> Option<Preemption> {
    let v1::Preemption { by_priority, gap, spare_ms, times_max, by_share, share_gap } = preemption;
    let share_gap = share_gap.map_or(Ok(SHARE_GAP_FIRST), u8::try_from).ok()?;
    Some(Preemption { by_priority, gap: u8::try_from(gap).ok()?, spare_ms, times_max, by_share, share_gap })
}

/// For whom an attempt of a run of `from` was stopped; what that task is called is said if `view` knows its run.
pub fn preempted_to_wire(preempted: Preempted, from: &Namespace, view: &State) -> v1::PreemptedBy {
    let Preempted { by, priority, share } = preempted;
    let run = view.run(by.run);
    let spec = run.and_then(|run| run.spec.tasks.get(by.step as usize));
    v1::PreemptedBy {
        run_id: by.run.to_string(),
        task: spec.map(|spec| spec.name.to_string()).unwrap_or_default(),
        index: by.index,
        priority: priority.into(),
        share: share.map(|share| share_between(share, run.map(|run| (&run.spec.namespace, from)), view)),
    }
}

/// What two namespaces had, and which they are, if that is known: of the task, and of the attempt.
pub fn share_between(share: ShareTaken, of: Option<(&Namespace, &Namespace)>, view: &State) -> v1::ShareTaken {
    let named = of.map(|(one, other)| view.siblings_of(one, other));
    let (namespace, from) = named.map(|(one, other)| (one.to_string(), other.to_string())).unwrap_or_default();
    v1::ShareTaken { namespace, from, ..share_to_wire(share) }
}

/// The same without names.
pub fn share_to_wire(share: ShareTaken) -> v1::ShareTaken {
    let ShareTaken { had_ppm, part_ppm, from_had_ppm, from_part_ppm, guaranteed } = share;
    let (namespace, from) = (String::new(), String::new());
    v1::ShareTaken { had_ppm, part_ppm, from_had_ppm, from_part_ppm, guaranteed, namespace, from }
}

/// The numbers of a message.
pub fn share_from_wire(share: &v1::ShareTaken) -> ShareTaken {
    let v1::ShareTaken { had_ppm, part_ppm, from_had_ppm, from_part_ppm, guaranteed, .. } = *share;
    ShareTaken { had_ppm, part_ppm, from_had_ppm, from_part_ppm, guaranteed }
}

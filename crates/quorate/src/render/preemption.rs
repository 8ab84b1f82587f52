//! Whose tasks are stopped to make room for others.

use quorate_proto::v1;
use serde::Serialize;

use super::{Paint, View, time};

/// What it is where the cluster does not say it.
const SHARE_GAP_FIRST: u32 = 10;

/// What was said of it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Preemption {
    by_priority: bool,
    gap: u32,
    spare_ms: u64,
    times_max: u32,
    by_share: bool,
    share_gap: u32,
}

impl From<v1::Preemption> for Preemption {
    fn from(preemption: v1::Preemption) -> Self {
        let v1::Preemption { by_priority, gap, spare_ms, times_max, by_share, share_gap } = preemption;
        Self { by_priority, gap, spare_ms, times_max, by_share, share_gap: share_gap.unwrap_or(SHARE_GAP_FIRST) }
    }
}

/// `preemption show` and `preemption set`.
#[derive(Debug, Serialize)]
pub(crate) struct PreemptionShown {
    /// None: nothing was said of it.
    preemption: Option<Preemption>,
    revision: u64,
}

impl PreemptionShown {
    /// How it is at a revision.
    pub(crate) fn new(preemption: Option<v1::Preemption>, revision: u64) -> Self {
        Self { preemption: preemption.map(Preemption::from), revision }
    }
}

impl View for PreemptionShown {
    const SCHEMA: &'static str = "quorate.v1.preemption/1";

    fn human(&self, _: Paint) -> String {
        let Some(preemption) = self.preemption else {
            return "Nobody is stopped to make room for others: 'quorate preemption set --by-priority on' changes that"
                .into();
        };
        let Preemption { by_priority, gap, spare_ms, times_max, by_share, share_gap } = preemption;
        let by_priority = if by_priority {
            format!("on: a task that fits nowhere takes the room of others that are at least {gap} less urgent")
        } else {
            "off: nobody is stopped for what is more urgent".into()
        };
        let by_share = if by_share {
            format!(
                "on: namespaces below their part take the room of others above theirs, which keep {share_gap}% more than it"
            )
        } else {
            "off: nobody is stopped for what namespaces have".into()
        };
        let spare = match spare_ms {
            0 => "nobody is spared for being placed a short time ago".to_owned(),
            spare => format!("for {} after it was placed, and twice as long after each time", time::span(spare)),
        };
        let times = time::count(times_max.into(), "time");
        format!(
            "By priority  {by_priority}\nBy share     {by_share}\nSpared       {spare}\nAt most      {times} each task"
        )
    }
}

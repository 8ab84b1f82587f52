//! What a controller is, what it decides from, and what a decision consists of.

use std::collections::BTreeMap;
use std::fmt;

use quorate_state::{ClusterName, Command, Epoch, Millis, Node, NodeName, Served, State};

use crate::Latencies;

/// One kind of decision of the leader. Level-triggered: it looks at what is, not at what happened,
/// so that stepping it again, or for the first time on a new leader, is always right.
pub trait Controller {
    /// A fixed word for metrics and logs.
    fn name(&self) -> &'static str;

    /// True when `view` holds nothing that it looks after: it is not stepped then.
    fn is_idle(&self, _view: &State) -> bool {
        false
    }

    /// False when a step at `now` would not look at what is observed: it is not gathered then, which costs as much as
    /// there are nodes (ADR 0043).
    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        true
    }

    /// True when nothing but time brings it work: it rests until an instant that it asked for, or the leader's regular
    /// look, whatever changes meanwhile.
    fn is_timed(&self) -> bool {
        false
    }

    /// What to do now. Not called again before the commands of the last step were applied or refused. What a controller
    /// remembers of earlier steps makes this one cheaper, or is counted for metrics; it never decides.
    fn step(&mut self, view: &State, observed: &Observed, now: LogNow, seed: u64, budget: Budget) -> Decision;
}

/// The log's two clocks, as the leader would stamp them now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogNow {
    /// Led time, on which every duration runs.
    pub served: Served,
    /// Wall time.
    pub now: Millis,
}

/// What the leader saw that is in no log. Losing it costs quality, never safety.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Nodes that have a lease, by name. One that is absent is one not heard of in this term.
    pub nodes: BTreeMap<NodeName, NodeObserved>,
    /// How far regions are from each other.
    pub latencies: Latencies,
}

/// What the leader knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeObserved {
    /// The lease that this is about; of no use once the view has another one.
    pub epoch: Epoch,
    /// When that lease ends unless it is renewed; none while this leader may not expire it.
    pub expires_at: Option<Served>,
    /// It has reported its attempts to this leader.
    pub reported_this_term: bool,
    /// Milliseconds since it was last heard; says nothing before it has reported.
    pub heard_ms_ago: u64,
}

impl NodeObserved {
    /// How present the node is, which may be silent for `agent_ms` before it gives up its work.
    pub(crate) fn presence(&self, agent_ms: u64) -> Presence {
        match self {
            Self { reported_this_term: false, .. } => Presence::Unheard,
            Self { heard_ms_ago, .. } if *heard_ms_ago > agent_ms => Presence::Silent,
            Self { .. } => Presence::Heard,
        }
    }
}

/// How present a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It reports.
    Heard,
    /// Not heard of since this leader took over: it may be about to report.
    Unheard,
    /// It reported and then fell silent for longer than the agent's own deadline.
    Silent,
}

impl Observed {
    /// How present `node` is, as far as this leader can tell.
    pub fn presence(&self, node: &Node) -> Presence {
        self.current(node).map_or(Presence::Unheard, |seen| seen.presence(node.lease.agent_ms))
    }

    /// True when `node` has told this leader what runs on it.
    pub fn has_reported(&self, node: &Node) -> bool {
        self.current(node).is_some_and(|seen| seen.reported_this_term)
    }

    fn current(&self, node: &Node) -> Option<&NodeObserved> {
        self.nodes.get(&node.name).filter(|seen| seen.epoch == node.epoch)
    }
}

/// How much work a step may do, in units such as one node looked at or one task moved. Work, never
/// time, so that a step is the same on a slow machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Units left.
    pub steps: u32,
}

impl Budget {
    /// What a leader gives a step: some tens of milliseconds of work at worst.
    pub const STEPS_DEFAULT: u32 = 200_000;

    /// Takes `steps`, or what is left of them. False when nothing was left: a piece of work may end
    /// over the budget, but none begins there, so that any budget above zero makes progress.
    pub(crate) fn take(&mut self, steps: usize) -> bool {
        let had = !self.is_spent();
        self.steps = self.steps.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        had
    }

    /// Keeps back one part in so many, to be spent after the rest.
    pub(crate) fn keep_back(&mut self, one_in: u32) -> Self {
        let back = Self { steps: self.steps.checked_div(one_in).unwrap_or(0) };
        self.steps -= back.steps;
        back
    }

    pub(crate) fn is_spent(self) -> bool {
        self.steps == 0
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: Self::STEPS_DEFAULT }
    }
}

/// What a controller wants done, and when it wants to look again even if nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be proposed in this order.
    pub commands: Vec<Command>,
    /// The next instant at which something becomes due; none when only a change can bring work.
    pub wake_at: Option<Served>,
    /// What it found, for people and metrics.
    pub report: Report,
}

/// What a step found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Numbers under fixed names.
    pub counts: Vec<(&'static str, u64)>,
    /// The budget or a limit ended the step before the work that is due did.
    pub truncated: bool,
    /// What an operator should know.
    pub notes: Vec<Note>,
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// So many nodes of a cluster fell silent at once that this looks like a failure of something
    /// they share; their leases are ended late and slowly.
    LeaseBrake {
        /// The cluster.
        cluster: ClusterName,
        /// Its nodes that are silent, or were declared lost a short time ago.
        silent: u32,
        /// Its nodes, without those that were lost long ago.
        nodes: u32,
        /// Leases that would have ended by now.
        held: u32,
    },
    /// Timers are due whose nodes have not reported to this leader yet.
    TimersHeld {
        /// How many.
        held: u32,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseBrake { cluster, silent, nodes, held } => write!(
                f,
                "{silent} of {nodes} nodes of cluster {cluster} fell silent at once: {held} leases are kept for now, in case the nodes come back"
            ),
            Self::TimersHeld { held } => {
                write!(
                    f,
                    "{held} due timers wait until their nodes have reported to this leader, or have lost their leases"
                )
            }
        }
    }
}

/// The earlier of two wake-ups.
pub(crate) fn earlier(wake_at: Option<Served>, due: Served) -> Option<Served> {
    Some(wake_at.map_or(due, |wake_at| wake_at.min(due)))
}

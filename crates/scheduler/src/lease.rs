//! Ends leases that nobody renewed, with a brake for the day when half a cluster falls silent.
//!
//! A node that dies alone is declared lost at once. When many nodes of a cluster are silent at the
//! same time, more likely something between them and us has failed, and their tasks are still
//! running: declaring all of them lost would start everything twice on what is left. So their leases
//! are kept for one more term of the lease, and then ended a few at a time.
//!
//! The brake reads all it needs from the view (leases that ended recently are in it), so a new
//! leader goes on where the old one stopped.

use std::collections::BTreeMap;

use quorate_planted::Bug;
use quorate_state::{ClusterName, Command, Epoch, Node, NodeName, NodeStatus, Served, State};

use crate::controller::earlier;
use crate::{Budget, Controller, Decision, LogNow, Note, Observed, Presence, Report};

/// Leases in one command.
pub(crate) const LEASES_PER_STEP_MAX: usize = 1_000;

/// The brake works from this many silent nodes of a cluster on: fewer are single failures.
pub(crate) const BRAKE_NODES_MIN: u32 = 4;

/// The brake works when more than this share of a cluster is silent, in per cent.
pub(crate) const BRAKE_SHARE_PERCENT: u32 = 50;

/// With the brake on, this share of a cluster's nodes (and at least one) may be declared lost per
/// [`BRAKE_INTERVAL_MS`], in per cent.
pub(crate) const BRAKE_RATE_PERCENT: u32 = 10;

/// See [`BRAKE_RATE_PERCENT`].
pub(crate) const BRAKE_INTERVAL_MS: u64 = 1_000;

/// Nodes lost within so many terms of their lease count as silent at the same time.
pub(crate) const BRAKE_MEMORY_TERMS: u64 = 2;

/// Ends leases.
pub(crate) struct Leases;

impl Controller for Leases {
    fn name(&self) -> &'static str {
        "lease"
    }

    /// A renewal only makes a lease longer, and a new one ends later than the next look.
    fn is_timed(&self) -> bool {
        true
    }

    fn step(&mut self, view: &State, observed: &Observed, now: LogNow, _seed: u64, budget: Budget) -> Decision {
        let (due, mut wake_at) = due(view, observed, now.served);
        let mut leases = Vec::new();
        let mut notes = Vec::new();
        let (mut held, mut truncated) = (0_u32, false);
        if !due.is_empty() {
            let clusters = survey(view, observed, now.served);
            let room = LEASES_PER_STEP_MAX.min(usize::try_from(budget.steps).unwrap_or(usize::MAX));
            for (cluster, nodes) in due {
                let survey = clusters.get(cluster).copied().unwrap_or_default();
                let verdict = survey.brake(nodes, now.served);
                if verdict.held > 0 {
                    held += verdict.held;
                    let Survey { silent, nodes, .. } = survey;
                    notes.push(Note::LeaseBrake { cluster: cluster.clone(), silent, nodes, held: verdict.held });
                }
                if let Some(at) = verdict.wake_at {
                    wake_at = earlier(wake_at, at);
                }
                truncated |= leases.len() + verdict.leases.len() > room;
                leases.extend(verdict.leases.into_iter().take(room - leases.len()));
            }
        }
        let counts = vec![("leases_expired", leases.len() as u64), ("leases_held", u64::from(held))];
        let commands = if leases.is_empty() { Vec::new() } else { vec![Command::ExpireLeases { leases }] };
        Decision { commands, wake_at, report: Report { counts, truncated, notes } }
    }
}

/// True while so many nodes of some cluster are silent at once that the brake works.
pub(crate) fn is_braked(view: &State, observed: &Observed, served: Served) -> bool {
    survey(view, observed, served).into_values().any(Survey::is_braked)
}

/// A lease that has run out.
struct Due<'a> {
    expires_at: Served,
    node: &'a Node,
}

/// Leases that have run out, by cluster, and when the next one will.
fn due<'a>(
    view: &'a State,
    observed: &Observed,
    served: Served,
) -> (BTreeMap<&'a ClusterName, Vec<Due<'a>>>, Option<Served>) {
    let mut due: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut wake_at = None;
    for (name, seen) in &observed.nodes {
        let Some(expires_at) = seen.expires_at else { continue };
        if expires_at > served {
            wake_at = earlier(wake_at, expires_at);
            continue;
        }
        let Some(node) = view.node(name) else { continue };
        if node.epoch == seen.epoch && node.status == NodeStatus::Up {
            due.entry(&node.cluster).or_default().push(Due { expires_at, node });
        }
    }
    (due, wake_at)
}

/// How a cluster's nodes are doing.
#[derive(Clone, Copy, Default)]
struct Survey {
    /// Its nodes, without those lost long ago.
    nodes: u32,
    /// Those of them that are silent or were lost a short time ago.
    silent: u32,
    /// Those lost in the last interval of the brake.
    lost_now: u32,
    /// When the first of these was lost.
    lost_first: Option<Served>,
}

fn survey<'a>(view: &'a State, observed: &Observed, served: Served) -> BTreeMap<&'a ClusterName, Survey> {
    let mut clusters: BTreeMap<_, Survey> = BTreeMap::new();
    for node in view.nodes() {
        let survey = clusters.entry(&node.cluster).or_default();
        match node.status {
            NodeStatus::Up => {
                survey.nodes += 1;
                survey.silent += u32::from(is_silent(node, observed, served));
            }
            NodeStatus::Lost { at } => {
                let memory_ms = node.lease.server_ms.saturating_mul(BRAKE_MEMORY_TERMS);
                if at.plus(memory_ms) > served {
                    survey.nodes += 1;
                    survey.silent += 1;
                }
                if at.plus(BRAKE_INTERVAL_MS) > served {
                    survey.lost_now += 1;
                    survey.lost_first = earlier(survey.lost_first, at);
                }
            }
        }
    }
    clusters
}

/// Its lease has run out, or is about to: nodes that fell silent together do not expire together.
fn is_silent(node: &Node, observed: &Observed, served: Served) -> bool {
    let has_run_out = observed
        .nodes
        .get(&node.name)
        .is_some_and(|seen| seen.epoch == node.epoch && seen.expires_at.is_some_and(|expires_at| expires_at <= served));
    has_run_out || observed.presence(node) == Presence::Silent
}

/// What the brake lets through.
#[derive(Default)]
struct Verdict {
    leases: Vec<(NodeName, Epoch)>,
    held: u32,
    wake_at: Option<Served>,
}

impl Survey {
    fn is_braked(self) -> bool {
        !quorate_planted::is(Bug::BrakeOff)
            && self.silent >= BRAKE_NODES_MIN
            && u64::from(self.silent) * 100 > u64::from(self.nodes) * u64::from(BRAKE_SHARE_PERCENT)
    }

    fn brake(self, mut due: Vec<Due<'_>>, served: Served) -> Verdict {
        due.sort_by_key(|due| due.expires_at);
        let rate = u64::from(self.nodes) * u64::from(BRAKE_RATE_PERCENT) / 100;
        let mut allowed = rate.max(1).saturating_sub(u64::from(self.lost_now));
        let mut verdict = Verdict::default();
        for Due { expires_at, node } in due {
            let released_at = if self.is_braked() { expires_at.plus(node.lease.server_ms) } else { expires_at };
            let blocked_until = if released_at > served {
                released_at
            } else if self.is_braked() && allowed == 0 {
                // When the first of those that have spent the interval's share leaves it.
                self.lost_first.unwrap_or(served).plus(BRAKE_INTERVAL_MS)
            } else {
                allowed = allowed.saturating_sub(1);
                verdict.leases.push((node.name.clone(), node.epoch));
                continue;
            };
            verdict.held += 1;
            verdict.wake_at = earlier(verdict.wake_at, blocked_until);
        }
        verdict
    }
}

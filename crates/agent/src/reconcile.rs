//! What to do next: what should be on this node, against what is.
//!
//! Pure. [`Desired`] merges what the control plane says, in the order it says it, and refuses what
//! is out of date; [`steps`] compares it with what runs. Neither remembers what it has done: asked
//! again with the same values, they answer the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::{AttemptId, Revision, Token};

use crate::assignment::Assignment;

/// How new something is: the life of the cluster's data, then the revision in that life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Raised when the cluster's data is restored.
    pub incarnation: u64,
    /// Within that life.
    pub revision: Revision,
}

/// Something the control plane says about what should be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// All of it.
    Full(Vec<Assignment>),
    /// What changed since `from`.
    Delta {
        /// The revision of the set that it changes.
        from: Revision,
        /// New or changed.
        set: Vec<Assignment>,
        /// No longer wanted.
        removed: Vec<AttemptId>,
    },
}

/// Why a statement was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is older than something this agent acted on: taking it could start what has ended.
    Older,
    /// It changes a set that this agent does not have: a full one is needed.
    Gap,
}

/// What a statement may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// Anything.
    All,
    /// These.
    Some(BTreeSet<AttemptId>),
}

/// What should be on this node, as far as it was told.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    seen: Seen,
    /// The revision of `set`, once this session has sent a full one.
    at: Option<Revision>,
    set: BTreeMap<AttemptId, Arc<Assignment>>,
}

impl Desired {
    /// Knows nothing but how new the newest thing is that an earlier life of this agent saw.
    pub fn resume(seen: Seen) -> Self {
        Self { seen, at: None, set: BTreeMap::new() }
    }

    /// The newest that was seen.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// A new session knows nothing of what the last one sent: its first statement must be full.
    pub fn session_opened(&mut self) {
        self.at = None;
    }

    /// Meets a message's life of the data. False: it is older than one seen, and so is everything
    /// its sender says. A newer one starts the revisions afresh.
    pub fn meet(&mut self, incarnation: u64) -> bool {
        if incarnation > self.seen.incarnation {
            self.seen = Seen { incarnation, revision: Revision(0) };
            self.at = None;
            self.set.clear();
        }
        incarnation == self.seen.incarnation
    }

    /// Notes the revision of an acknowledgement: no older desired set is taken any more, because it
    /// could still name the attempt whose end was acknowledged.
    pub fn acknowledged(&mut self, revision: Revision) {
        self.seen.revision = self.seen.revision.max(revision);
    }

    /// Takes a statement made at `revision`.
    pub fn take(&mut self, revision: Revision, statement: Statement) -> Result<Touched, Refusal> {
        if revision < self.seen.revision {
            return Err(Refusal::Older);
        }
        let touched = match statement {
            Statement::Full(all) => {
                self.set = all.into_iter().map(|one| (one.attempt, Arc::new(one))).collect();
                Touched::All
            }
            Statement::Delta { from, .. } if self.at != Some(from) => return Err(Refusal::Gap),
            Statement::Delta { from: _, set, removed } => {
                let mut touched = BTreeSet::new();
                for attempt in removed {
                    self.set.remove(&attempt);
                    touched.insert(attempt);
                }
                for one in set {
                    touched.insert(one.attempt);
                    self.set.insert(one.attempt, Arc::new(one));
                }
                Touched::Some(touched)
            }
        };
        self.seen.revision = revision;
        self.at = Some(revision);
        Ok(touched)
    }

    /// Strikes an attempt whose end was acknowledged: the set in hand is older than that.
    pub fn forget(&mut self, attempt: AttemptId, token: Token) {
        if self.set.get(&attempt).is_some_and(|one| one.token == token) {
            self.set.remove(&attempt);
        }
    }

    /// Every attempt that should be here.
    pub fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.set.keys().copied()
    }
}

/// What there is to know here of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its fencing token.
    pub token: Token,
    /// It was not told to end and has not.
    pub wanted: bool,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run it.
    Start(Arc<Assignment>),
    /// It should end before it was started here: say that there is nothing.
    Decline(Arc<Assignment>),
    /// Ask it to end.
    Stop(AttemptId),
}

/// What to do now, and what waits for room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// In the order to carry them out.
    pub now: Vec<Step>,
    /// Should run, but `room` is used up: ask about these again once there is some.
    pub waiting: BTreeSet<AttemptId>,
}

/// What to do about `attempts`, given what is `known` of each here and `room` for more.
pub fn steps(
    desired: &Desired,
    known: impl Fn(AttemptId) -> Option<Known>,
    attempts: impl IntoIterator<Item = AttemptId>,
    room: usize,
) -> Steps {
    // Without a full set from this session, nothing is known of what should be here.
    let Some(at) = desired.at else { return Steps::default() };
    let mut steps = Steps::default();
    let mut starts = Vec::new();
    for attempt in attempts {
        match (desired.set.get(&attempt), known(attempt)) {
            (None, None) => {}
            (Some(wanted), None) if wanted.stop => steps.now.push(Step::Decline(wanted.clone())),
            (Some(wanted), None) => starts.push(wanted.clone()),
            // The same name with a newer token comes from a restored cluster: the old one must end,
            // and be forgotten, before the new one can have the name. An older token is no longer true.
            (Some(wanted), Some(known)) => {
                let ends = wanted.token > known.token || (wanted.token == known.token && wanted.stop);
                if ends && known.wanted {
                    steps.now.push(Step::Stop(attempt));
                }
            }
            (None, Some(known)) => {
                // A set at this revision says nothing about what was placed later.
                let is_meant = known.token.0 <= at.0;
                if is_meant && known.wanted {
                    steps.now.push(Step::Stop(attempt));
                }
            }
        }
    }
    // The oldest placements first; ends before starts, they make room.
    starts.sort_by_key(|wanted| (wanted.token, wanted.attempt));
    for (position, wanted) in starts.into_iter().enumerate() {
        if position < room {
            steps.now.push(Step::Start(wanted));
        } else {
            steps.waiting.insert(wanted.attempt);
        }
    }
    steps
}

#[cfg(test)]
mod tests;

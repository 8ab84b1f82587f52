//! What to do next: what should be on this node, against what is.
//!
//! Pure. [`Desired`] merges what the control plane says, in the order it says it, and refuses what
//! is out of date; [`steps`] compares it with what runs. Neither remembers what it has done: asked
//! again with the same values, they answer the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{AttemptClaim, AttemptId, Revision, Token};

use crate::assignment::Assignment;

/// Attempts in one desired set, however many parts it comes in: far beyond what a node can run, so
/// that only a control plane that is broken reaches it.
pub const SET_MAX: usize = 100_000;

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
    /// All of it, or the last part of all of it.
    Full(Vec<Assignment>),
    /// Some of it; the rest follows at the same revision.
    Part(Vec<Assignment>),
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
    /// It changes a set that this agent does not have, or breaks into one that comes in parts: a full
    /// one is needed.
    Gap,
    /// The set has more than [`SET_MAX`] attempts.
    TooLarge,
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
    /// What the last statement struck from `set`.
    dropped: BTreeMap<AttemptId, Arc<Assignment>>,
    parts: Parts,
}

/// A set that comes in parts.
#[derive(Clone, Debug, Default)]
enum Parts {
    /// None is on its way.
    #[default]
    None,
    /// What has come of the set at this revision.
    Some(Revision, BTreeMap<AttemptId, Arc<Assignment>>),
    /// Something came in between. What follows, up to the last part, could be the rest of the broken
    /// set: taken for the beginning of another one, it would stop whatever the lost parts held.
    Broken,
}

impl Desired {
    /// Knows nothing but how new the newest thing is that an earlier life of this agent saw.
    pub fn resume(seen: Seen) -> Self {
        Self { seen, ..Self::default() }
    }

    /// The newest that was seen.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// A new session knows nothing of what the last one sent: its first statement must be full.
    pub fn session_opened(&mut self) {
        self.at = None;
        self.parts = Parts::None;
    }

    /// A full set has come in this session.
    pub fn is_known(&self) -> bool {
        self.at.is_some()
    }

    /// Meets a message's life of the data. False: it is older than one seen, and so is everything
    /// its sender says. A newer one starts the revisions afresh.
    pub fn meet(&mut self, incarnation: u64) -> bool {
        if incarnation > self.seen.incarnation {
            self.seen = Seen { incarnation, revision: Revision(0) };
            self.at = None;
            self.set.clear();
            self.dropped.clear();
            self.parts = Parts::None;
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
        let nothing = Touched::Some(BTreeSet::new());
        // Whatever goes wrong below leaves nothing of the parts so far, and nothing of the rest.
        let parts = std::mem::replace(&mut self.parts, Parts::Broken);
        let (before, was_broken) = match parts {
            Parts::None => (None, false),
            Parts::Some(at, before) => (Some((at, before)), false),
            Parts::Broken => (None, true),
        };
        let touched = match statement {
            Statement::Part(_) if was_broken => return Ok(nothing),
            Statement::Full(_) if was_broken => {
                self.parts = Parts::None;
                return Err(Refusal::Gap);
            }
            Statement::Part(some) => {
                let set = self.gather(revision, before, some)?;
                self.parts = Parts::Some(revision, set);
                return Ok(nothing);
            }
            Statement::Full(rest) => {
                let gathered = self.gather(revision, before, rest);
                // This was the last part, of a good set or of a bad one.
                self.parts = Parts::None;
                let old = std::mem::replace(&mut self.set, gathered?);
                self.dropped = old.into_iter().filter(|(attempt, _)| !self.set.contains_key(attempt)).collect();
                Touched::All
            }
            Statement::Delta { .. } if was_broken || before.is_some() => return Err(Refusal::Gap),
            Statement::Delta { from, set, removed } => {
                self.parts = Parts::None;
                if self.is_outdated(revision) {
                    return Err(Refusal::Older);
                }
                if self.at != Some(from) {
                    return Err(Refusal::Gap);
                }
                self.dropped.clear();
                let mut touched = BTreeSet::new();
                for attempt in removed {
                    self.dropped.extend(self.set.remove_entry(&attempt));
                    touched.insert(attempt);
                }
                for one in set {
                    touched.insert(one.attempt);
                    self.set.insert(one.attempt, Arc::new(one));
                }
                Touched::Some(touched)
            }
        };
        self.seen.revision = self.seen.revision.max(revision);
        self.at = Some(revision);
        Ok(touched)
    }

    fn is_outdated(&self, revision: Revision) -> bool {
        let takes_all = quorate_planted::is(Bug::OldSetStopsNewWork) || quorate_planted::is(Bug::OldSetStartsOldWork);
        revision < self.seen.revision && !takes_all
    }

    /// Adds a part to those `before` it.
    fn gather(
        &self,
        revision: Revision,
        before: Option<(Revision, BTreeMap<AttemptId, Arc<Assignment>>)>,
        part: Vec<Assignment>,
    ) -> Result<BTreeMap<AttemptId, Arc<Assignment>>, Refusal> {
        if self.is_outdated(revision) {
            return Err(Refusal::Older);
        }
        let mut set = match before {
            None => BTreeMap::new(),
            Some((at, set)) if at == revision => set,
            Some(_) => return Err(Refusal::Gap),
        };
        set.extend(part.into_iter().map(|one| (one.attempt, Arc::new(one))));
        if set.len() > SET_MAX { Err(Refusal::TooLarge) } else { Ok(set) }
    }

    /// Strikes an attempt whose end was acknowledged: the set in hand is older than that.
    pub fn forget(&mut self, attempt: AttemptId, token: Token) {
        self.dropped.remove(&attempt);
        if self.set.get(&attempt).is_some_and(|one| one.token == token) {
            self.set.remove(&attempt);
        }
    }

    /// Every attempt that should be here, or should have been until the last statement.
    pub fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.set.keys().chain(self.dropped.keys()).copied()
    }

    /// Those that wait here to be started, to be claimed like the ones that run: what a registration
    /// leaves out is called lost.
    pub fn claims(&self, is_known: impl Fn(AttemptId) -> bool) -> impl Iterator<Item = AttemptClaim> {
        let waits = move |one: &&Arc<Assignment>| !one.stop && !is_known(one.attempt);
        let claim = |one: &Arc<Assignment>| AttemptClaim {
            attempt: one.attempt,
            token: one.token,
            gpus: one.gpus,
            choice: one.choice.unwrap_or_default(),
        };
        self.set.values().filter(waits).map(claim)
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
    /// It is no longer wanted and was never started here, although it was claimed: say that there is
    /// nothing, because somebody may wait for exactly that.
    Disclaim(Arc<Assignment>),
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
            (None, None) => steps.now.extend(desired.dropped.get(&attempt).cloned().map(Step::Disclaim)),
            (Some(wanted), None) if wanted.stop => steps.now.push(Step::Decline(wanted.clone())),
            // The planted bug is to do harm by what an old set leaves out alone.
            (Some(_), None) if quorate_planted::is(Bug::OldSetStopsNewWork) && at < desired.seen.revision => {}
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
                let is_meant = known.token.0 <= at.0 || quorate_planted::is(Bug::OldSetStopsNewWork);
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

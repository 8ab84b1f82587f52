//! Features (`quorate_state::Feature`): who can do what, and from when on the cluster relies on it.
//!
//! The leader asks every member, and proposes to enable what all of them have. From then on whoever
//! lacks it must not become a member, or it would meet entries that it must not skip and would stop. Between
//! question and entry nobody slips in, for three reasons:
//!
//! - The members are asked first; then, under the lock that serialises changes of membership, the leader finds
//!   that term and membership are still those of the question, and *promises* the feature: for the rest of
//!   that term it takes in nobody without it, whatever becomes of the proposal.
//! - The command names that term, and is written in no other (`propose`); `apply` refuses it there, too. So the
//!   entry and all joins between the question and it are this very leader's.
//! - A leader takes in nobody before it has applied all that earlier leaders left in the log.
//!
//! What is left is a member that is replaced by an older version after it answered, and a joiner whose request
//! consensus had not looked at when the leader gave up waiting for it. They stop at the entry, or do not open
//! their stores: it costs a replica, never a history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_planted::Bug;
use quorate_state::{Command, Entry, Feature, FeatureSet, Revision, State};

use crate::join::Registrar;
use crate::lead::Lead;
use crate::members::leading;
use crate::network::Links;
use crate::state_machine::Published;
use crate::type_config::{Metrics, Raft, ReplicaId};
use crate::{Error, ProposeError, compare};

/// What is known of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureStatus {
    /// Which.
    pub feature: Feature,
    /// The entry that enabled it.
    pub since: Option<Revision>,
    /// Why it is not enabled, in words; empty when it is.
    pub waits_for: String,
}

/// What a member said when it was asked last, or why it said nothing.
type Answer = Result<FeatureSet, String>;

/// What this replica can do, and what it knows of the others.
pub(crate) struct Features {
    own: FeatureSet,
    published: Arc<Published>,
    /// Of all members, as of the last question.
    answers: Mutex<BTreeMap<ReplicaId, Answer>>,
    promised: Mutex<Promised>,
}

/// What may be enabled at any moment by what was proposed in a term.
#[derive(Default)]
struct Promised {
    term: u64,
    features: BTreeSet<Feature>,
}

impl Features {
    pub(crate) fn new(own: FeatureSet, published: Arc<Published>) -> Self {
        Self { own, published, answers: Mutex::default(), promised: Mutex::default() }
    }

    /// What this replica knows and could enable, by number.
    pub(crate) fn statuses(&self, leads: bool) -> Vec<FeatureStatus> {
        let view = self.published.view();
        let status = |feature| {
            let since = view.features().find(|row| row.feature == feature).map(|row| row.revision);
            let waits_for = if since.is_some() { String::new() } else { self.waits_for(feature, leads) };
            FeatureStatus { feature, since, waits_for }
        };
        Feature::ALL.into_iter().map(status).collect()
    }

    /// What the leader's members keep from being enabled, in sentences.
    pub(crate) fn warnings(&self, leads: bool) -> Vec<String> {
        if !leads || self.lock_answers().is_empty() {
            return vec![];
        }
        let held = self.statuses(leads).into_iter().filter(|status| status.since.is_none());
        held.map(|status| format!("feature {} is not enabled: {}", status.feature, status.waits_for)).collect()
    }

    /// Refuses a command that waits for a feature.
    pub(crate) fn check(&self, command: &Command) -> Result<(), ProposeError> {
        let Some(feature) = command.needs() else { return Ok(()) };
        if self.published.view().has_feature(feature) {
            return Ok(());
        }
        Err(ProposeError::FeatureNotEnabled { feature, waits_for: self.waits_for(feature, true) })
    }

    /// A feature that a member must have in `term` and `theirs` has not.
    pub(crate) fn lacking(&self, theirs: &FeatureSet, term: u64) -> Option<Feature> {
        let view = self.published.view();
        let promised = self.lock_promised();
        let is_promised = |feature: &Feature| promised.term == term && promised.features.contains(feature);
        let required = Feature::ALL.into_iter().filter(|one| view.has_feature(*one) || is_promised(one));
        required.into_iter().find(|feature| !theirs.has(*feature))
    }

    /// Those that this replica has and that are not enabled.
    fn wanted(&self) -> Vec<Feature> {
        let view = self.published.view();
        let wanted = |one: &Feature| self.own.has(*one) && !view.has_feature(*one);
        Feature::ALL.into_iter().filter(|one| wanted(one) && !quorate_planted::is(Bug::FeaturesForgotten)).collect()
    }

    fn waits_for(&self, feature: Feature, leads: bool) -> String {
        if !self.own.has(feature) {
            return "this replica lacks it: replace its binary by a newer one".into();
        }
        if !leads {
            return "the leader knows what it waits for".into();
        }
        let answers = self.lock_answers();
        if answers.is_empty() {
            return "the members have not been asked yet".into();
        }
        let held_by: Vec<String> = answers.iter().filter_map(|(id, answer)| holds_back(*id, answer, feature)).collect();
        if held_by.is_empty() { "it is about to be enabled".into() } else { held_by.join("; ") }
    }

    fn lock_answers(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_promised(&self) -> MutexGuard<'_, Promised> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a member keeps a feature from being enabled, if it does.
fn holds_back(id: ReplicaId, answer: &Answer, feature: Feature) -> Option<String> {
    match answer {
        Ok(theirs) if theirs.has(feature) => None,
        Ok(_) => Some(format!("replica {id} lacks it: replace its binary by a newer one")),
        Err(why) => Some(format!("replica {id} does not say whether it has it ({why}): start it, or remove it")),
    }
}

impl Registrar {
    /// Asks all members what they can do. Answers with what enables that which all of them can, good
    /// in this term only.
    pub(crate) async fn to_enable(&self, raft: &Raft, lead: &Lead, links: &Links) -> Vec<Command> {
        let wanted = self.features.wanted();
        if wanted.is_empty() {
            return vec![];
        }
        let Ok(asked_as) = leading(self.metrics(raft).await, lead) else { return vec![] };
        // Not under the lock: one that does not answer takes its time.
        let mut answers = compare::ask_features(&asked_as, links).await;
        answers.insert(asked_as.id, Ok(self.features.own.clone()));
        self.features.lock_answers().clone_from(&answers);

        let _one = self.one.lock().await;
        let Ok(metrics) = leading(self.metrics(raft).await, lead) else { return vec![] };
        if !is_same(&asked_as, &metrics) {
            return vec![];
        }
        let has = |answer: &Answer, feature| {
            quorate_planted::is(Bug::FeaturesUnasked) || holds_back(metrics.id, answer, feature).is_none()
        };
        let ready = wanted.into_iter().filter(|feature| answers.values().all(|answer| has(answer, *feature)));
        let ready: BTreeSet<Feature> = ready.collect();
        let term = metrics.current_term;
        let mut promised = self.features.lock_promised();
        if promised.term != term {
            *promised = Promised { term, ..Promised::default() };
        }
        promised.features.extend(&ready);
        ready.into_iter().map(|feature| Command::EnableFeature { feature, term }).collect()
    }
}

/// The same leader of the same members, none of whom may yet be undone.
fn is_same(asked_as: &Metrics, now: &Metrics) -> bool {
    asked_as.current_term == now.current_term
        && asked_as.membership_config == now.membership_config
        && now.membership_config == now.committed_membership_config
}

/// Refuses a state that relies on what this replica cannot do.
pub(crate) fn check_state(state: &State, own: &FeatureSet) -> Result<(), Error> {
    let lacking = state.features().map(|row| row.feature).find(|feature| !own.has(*feature));
    lacking.map_or(Ok(()), |feature| Err(Error::LacksFeature(feature)))
}

/// Refuses an entry that asks for what this replica cannot do.
pub(crate) fn check_entry(entry: &Entry, own: &FeatureSet) -> Result<(), Error> {
    let mut asked_for = entry.items.iter().filter_map(|item| item.command.asks_for());
    asked_for.find(|feature| !own.has(*feature)).map_or(Ok(()), |feature| Err(Error::LacksFeature(feature)))
}

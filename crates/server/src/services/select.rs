//! Which runs and jobs a list is asked for, beside their names: by state, by labels, by when they were submitted.

use std::collections::BTreeMap;

use quorate_proto::convert::run::run_state_from_wire;
use quorate_proto::rows::Word;
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::Search;
use quorate_state::{ANY_VALUE, JobName, Millis, Namespace, Revision, RunState, State};

use super::violation;

/// Labels that one list may be asked for.
const LABELS_ASKED_MAX: usize = 32;

/// What is asked of each run, or of each job's newest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Select {
    /// Empty: any.
    states: Vec<RunState>,
    labels: BTreeMap<String, String>,
    since: Option<Millis>,
    until: Option<Millis>,
}

impl Select {
    /// Checks what a request says. States come as numbers, of which a client of another version may know more.
    pub(crate) fn of(
        states: &[i32],
        labels: &[v1::Label],
        since_ms: Option<u64>,
        until_ms: Option<u64>,
    ) -> Result<Self, ApiError> {
        let known = |number: &i32| v1::RunState::try_from(*number).ok().and_then(run_state_from_wire);
        let states: Option<Vec<RunState>> = states.iter().map(known).collect();
        let states = states.ok_or_else(|| violation("states", "names a state that this server does not know"))?;
        if labels.len() > LABELS_ASKED_MAX {
            let why = format!("has {} of them, LABELS_ASKED_MAX is {LABELS_ASKED_MAX}", labels.len());
            return Err(violation("labels", why));
        }
        let asked: BTreeMap<_, _> = labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect();
        if asked.len() < labels.len() || asked.contains_key("") {
            return Err(violation("labels", "every label needs a key of its own"));
        }
        Ok(Self { states, labels: asked, since: since_ms.map(Millis), until: until_ms.map(Millis) })
    }

    /// It was submitted late enough. In submit order those that were not are the first ones.
    pub(crate) fn takes_since(&self, submitted_at: Millis) -> bool {
        self.since.is_none_or(|since| submitted_at >= since)
    }

    /// All of it but [`Self::takes_since`].
    pub(crate) fn takes(&self, submitted_at: Millis, state: RunState, labels: &BTreeMap<String, String>) -> bool {
        let label =
            |(key, want): (&String, &String)| labels.get(key).is_some_and(|has| want == ANY_VALUE || has == want);
        self.until.is_none_or(|until| submitted_at < until)
            && (self.states.is_empty() || self.states.contains(&state))
            && self.labels.iter().all(label)
    }

    /// Runs of this revision and later ones were submitted too late; none, when none is too late.
    pub(crate) fn too_late_from(&self, view: &State) -> Option<Revision> {
        let until = self.until?;
        // Runs from `high` on were submitted too late, those below `low` were not. Log time never goes back.
        let (mut low, mut high) = (0, view.revision().0.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let last = view.runs_newest_first(Some(Revision(middle.saturating_add(1)))).next();
            match last.filter(|run| run.submitted_at >= until) {
                Some(run) => high = run.submitted_revision.0,
                None => low = middle.saturating_add(1),
            }
        }
        Some(Revision(high))
    }

    /// The same as it is asked of the archive.
    pub(crate) fn words_of(&self, namespace: Option<Namespace>, job: Option<JobName>) -> Search {
        let label = |(key, value): (&String, &String)| match value.as_str() {
            ANY_VALUE => Word::LabelKey(key.clone()),
            _ => Word::Label(key.clone(), value.clone()),
        };
        let state = match self.states.as_slice() {
            [state] => Some(Word::State(*state)),
            _ => None,
        };
        let named = namespace.map(Word::Namespace).into_iter().chain(job.map(Word::Job));
        let words = named.chain(state).chain(self.labels.iter().map(label)).collect();
        Search { words, states: self.states.clone(), since: self.since, until: self.until }
    }

    /// The same request says the same: a page token goes with it.
    pub(crate) fn words(&self) -> String {
        format!("{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn label(key: &str, value: &str) -> v1::Label {
        v1::Label { key: key.into(), value: value.into() }
    }

    fn labels(labels: &[v1::Label]) -> Select {
        Select::of(&[], labels, None, None).unwrap()
    }

    #[test]
    fn all_labels_asked_for_must_be_there() {
        let has = BTreeMap::from([("team".to_owned(), "risk".to_owned()), ("tier".to_owned(), String::new())]);
        let takes = |asked: &[v1::Label]| labels(asked).takes(Millis(1), RunState::Failed, &has);
        assert!(takes(&[]) && takes(&[label("team", "risk")]) && takes(&[label("team", "*"), label("tier", "")]));
        assert!(!takes(&[label("team", "ris")]) && !takes(&[label("team", "risk"), label("stage", "*")]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(Select::of(&[99], &[], None, None).is_err());
        assert!(Select::of(&[0], &[], None, None).is_err());
        assert!(Select::of(&[], &[label("a", "1"), label("a", "2")], None, None).is_err());
        assert!(Select::of(&[], &[label("", "1")], None, None).is_err());
        let many: Vec<_> = (0..=LABELS_ASKED_MAX).map(|number| label(&number.to_string(), "*")).collect();
        let error = Select::of(&[], &many, None, None).unwrap_err();
        assert!(error.to_string().contains("LABELS_ASKED_MAX"), "{error}");
    }

    #[test]
    fn times_bound_from_one_instant_to_before_the_other() {
        let select = Select::of(&[], &[], Some(10), Some(20)).unwrap();
        let takes = |at| select.takes_since(Millis(at)) && select.takes(Millis(at), RunState::Failed, &BTreeMap::new());
        assert_eq!([9, 10, 19, 20].map(takes), [false, true, true, false]);
    }

    #[test]
    fn runs_that_are_too_late_are_not_looked_at() {
        let mut world = World::new();
        for _ in 0..50 {
            world.submit(&["a"]);
        }
        let view = &world.state;
        let instants: Vec<u64> = view.runs_newest_first(None).map(|run| run.submitted_at.0).collect();
        for until in instants.iter().flat_map(|at| [at - 1, *at, at + 1]).chain([0, u64::MAX]) {
            let select = Select::of(&[], &[], None, Some(until)).unwrap();
            let from = select.too_late_from(view);
            let left: Vec<u64> = view.runs_newest_first(from).map(|run| run.submitted_at.0).collect();
            let wanted: Vec<u64> = instants.iter().copied().filter(|at| *at < until).collect();
            assert_eq!(left, wanted, "before {until}");
        }
        assert_eq!(labels(&[]).too_late_from(view), None);
    }
}

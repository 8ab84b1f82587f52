//! Which replica to ask next.

use std::sync::{Mutex, PoisonError};

use crate::channel::host_port;

/// Addresses learned from the cluster in addition to those given.
const LEARNED_MAX: usize = 32;

/// The replicas that are known, and the one that answered last.
pub(crate) struct Targets {
    state: Mutex<State>,
}

struct State {
    given: Vec<String>,
    learned: Vec<String>,
    /// It answered last, or is said to lead.
    preferred: Option<String>,
    /// Counts through both lists.
    next: usize,
}

impl Targets {
    /// # Panics
    /// When there is no address.
    pub(crate) fn new(given: Vec<String>, first: usize) -> Self {
        assert!(!given.is_empty(), "a client needs the address of at least one replica");
        let next = first % given.len();
        Self { state: Mutex::new(State { given, learned: Vec::new(), preferred: None, next }) }
    }

    /// The one to ask now.
    pub(crate) fn pick(&self) -> String {
        self.with(|state| state.preferred.clone().unwrap_or_else(|| state.at(state.next)))
    }

    /// It answered.
    pub(crate) fn works(&self, address: &str) {
        self.with(|state| {
            if state.preferred.as_deref() != Some(address) {
                state.preferred = Some(address.to_owned());
            }
        });
    }

    /// It did not; the next pick is another one, if there is one.
    pub(crate) fn fails(&self, address: &str) {
        self.with(|state| {
            if state.preferred.as_deref() == Some(address) {
                state.preferred = None;
            }
            if state.at(state.next) == address {
                state.next = (state.next + 1) % state.len();
            }
        });
    }

    /// Another replica is said to lead.
    pub(crate) fn redirect(&self, leader: &str) {
        if host_port(leader).is_some() {
            self.learn([leader.to_owned()]);
            self.with(|state| state.preferred = Some(leader.to_owned()));
        }
    }

    /// These belong to the cluster too; what is no address is left out, so that a replica which is
    /// configured wrongly cannot make a client fail that knows others.
    pub(crate) fn learn(&self, addresses: impl IntoIterator<Item = String>) {
        self.with(|state| {
            for address in addresses {
                let is_known = state.given.contains(&address) || state.learned.contains(&address);
                if is_known || host_port(&address).is_none() {
                    continue;
                }
                if state.learned.len() >= LEARNED_MAX {
                    // The oldest is the most likely to be gone.
                    state.learned.remove(0);
                }
                state.learned.push(address);
            }
        });
    }

    /// All that are known.
    pub(crate) fn all(&self) -> Vec<String> {
        self.with(|state| [&state.given[..], &state.learned[..]].concat())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn len(&self) -> usize {
        self.given.len() + self.learned.len()
    }

    fn at(&self, index: usize) -> String {
        let index = index % self.len();
        self.given.get(index).unwrap_or_else(|| &self.learned[index - self.given.len()]).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Targets {
        Targets::new(vec!["a:1".into(), "b:1".into()], 0)
    }

    #[test]
    fn it_stays_with_the_one_that_answers_and_turns_to_the_next_when_it_fails() {
        let targets = targets();
        assert_eq!(targets.pick(), "a:1");
        targets.fails("a:1");
        assert_eq!(targets.pick(), "b:1");
        targets.works("b:1");
        targets.fails("a:1");
        assert_eq!(targets.pick(), "b:1", "an old failure of another one changes nothing");
        targets.fails("b:1");
        assert_eq!(targets.pick(), "a:1");
    }

    #[test]
    fn a_leader_that_was_not_given_is_asked_and_remembered() {
        let targets = targets();
        targets.redirect("c:1");
        assert_eq!(targets.pick(), "c:1");
        for address in ["c:1", "a:1", "b:1"] {
            targets.fails(address);
        }
        assert_eq!(targets.pick(), "c:1", "it comes around again");
        targets.redirect("nonsense");
        assert_eq!(targets.pick(), "c:1", "a hint that is no address is not followed");
    }

    #[test]
    fn what_is_learned_is_bounded() {
        let targets = targets();
        targets.learn((0..100).map(|port| format!("x:{port}")));
        let all = targets.all();
        assert_eq!(all.len(), 2 + LEARNED_MAX);
        assert!(all.contains(&"x:99".to_owned()) && all.contains(&"a:1".to_owned()));
    }
}

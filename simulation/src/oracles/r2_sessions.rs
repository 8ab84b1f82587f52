//! R2: a session never sees the cluster go back, whichever replicas it talks to, and sees what it
//! has written.
//!
//! Kubernetes #59848: a client that moved to another server read older state.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Known, Oracle, Verdict};
use crate::facts::{Answer, Fact, Outcome};

/// See the module.
#[derive(Default)]
pub(crate) struct Sessions {
    /// The newest revision that each has seen.
    seen: BTreeMap<usize, u64>,
}

impl Oracle for Sessions {
    fn id(&self) -> &'static str {
        "R2"
    }

    fn outlives(&self) -> bool {
        true
    }

    fn fact(&mut self, _: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        let Fact::Operation(operation) = fact else { return Ok(()) };
        let Outcome::Answered(answer) = &operation.outcome else { return Ok(()) };
        let seen = self.seen.entry(operation.session).or_default();
        let revision = answer.revision();
        match answer {
            // A request that was carried out before is answered with the revision of that.
            Answer::Submitted(_) | Answer::Cancelled(_) | Answer::Abandoned(_) | Answer::Controlled { .. } => {}
            Answer::Run(_) | Answer::Runs(_) | Answer::Tasks(_) | Answer::Attempts(_) => {
                if revision < *seen {
                    let (session, request) = (operation.session, &operation.request);
                    return Err(format!(
                        "session {session} had seen revision {seen}, then {request:?} showed it revision {revision}"
                    ));
                }
            }
        }
        *seen = revision.max(*seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::v1;

    use super::*;
    use crate::facts::Request;
    use crate::oracles::trial::Trial;

    #[test]
    fn a_session_that_goes_back_is_caught_and_two_sessions_are_two() {
        let mut trial = Trial::new(1);
        let mut oracle = Sessions::default();
        let mut list = |session, revision| {
            let answer = Answer::Runs(v1::ListRunsResponse { revision, ..Default::default() });
            trial.operate(&mut oracle, session, 1, Request::List, Outcome::Answered(answer))
        };
        list(0, 7).unwrap();
        list(0, 7).unwrap();
        list(1, 3).unwrap();
        list(0, 6).unwrap_err();
    }
}

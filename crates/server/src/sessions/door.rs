//! Agents on their way in: how many at once, and who goes first when all of them come together.
//!
//! Registrations overtake work in the log, and after an outage there is one for each node. So a replica lets only some
//! of them into the log at a time, and turns away whoever would wait for longer than its agent does.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::status::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Agents that are on their way in on one replica, to it or through it, from the beginning of their session to the welcome.
const HELLOS_MAX: usize = 8_192;
/// Registrations that the leader has in its log and not applied; the others among the `HELLOS_MAX` wait for a turn.
const REGISTRATIONS_MAX: usize = 1_024;
/// An agent waits no longer for that turn: it gives a greeting up after six seconds.
const TURN_DEADLINE: Duration = Duration::from_secs(3);

/// Where agents come in.
pub(crate) struct Door {
    hellos: Arc<Semaphore>,
    hellos_max: usize,
    registrations: Semaphore,
    registrations_max: usize,
}

/// An agent that is on its way in until this is dropped.
pub(crate) struct Incoming {
    _permit: OwnedSemaphorePermit,
}

impl Default for Door {
    fn default() -> Self {
        Self::new(HELLOS_MAX, REGISTRATIONS_MAX)
    }
}

impl Door {
    fn new(hellos_max: usize, registrations_max: usize) -> Self {
        let (hellos, registrations) = (Arc::new(Semaphore::new(hellos_max)), Semaphore::new(registrations_max));
        Self { hellos, hellos_max, registrations, registrations_max }
    }

    /// An agent comes; refused when there are too many already.
    pub(crate) fn come(&self) -> Result<Incoming, ApiError> {
        let permit = self.hellos.clone().try_acquire_owned();
        let _permit = permit.map_err(|_| overloaded("HELLOS_MAX", self.hellos_max))?;
        Ok(Incoming { _permit })
    }

    /// Waits for a turn to register, in the order in which they ask, unless the agent is `gone` before.
    pub(super) async fn turn(&self, gone: impl Future<Output = ()>) -> Result<SemaphorePermit<'_>, ApiError> {
        let turn = tokio::select! {
            biased;
            turn = tokio::time::timeout(TURN_DEADLINE, self.registrations.acquire()) => turn,
            () = gone => return Err(ApiError::Cancelled("the agent is gone".into())),
        };
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(overloaded("REGISTRATIONS_MAX", self.registrations_max)),
        }
    }
}

fn overloaded(limit: &str, max: usize) -> ApiError {
    let advice = "many agents come at once: connect again in a few seconds".into();
    ApiError::Overloaded { limit: limit.into(), max: max as u64, advice }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn limit(refused: Result<impl Sized, ApiError>) -> String {
        match refused {
            Err(ApiError::Overloaded { limit, .. }) => limit,
            Err(other) => panic!("another refusal was expected: {other}"),
            Ok(_) => panic!("one too many"),
        }
    }

    #[test]
    fn one_agent_too_many_is_told_the_limit_and_comes_in_when_another_has() {
        let door = Door::new(2, 1);
        let one = door.come().unwrap();
        let _two = door.come().unwrap();
        assert_eq!(limit(door.come()), "HELLOS_MAX");
        drop(one);
        door.come().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn registrations_take_turns_in_order_and_nobody_waits_for_longer_than_its_agent() {
        let door = Door::new(8, 1);
        let first = door.turn(std::future::pending()).await.unwrap();
        let mut second = Box::pin(door.turn(std::future::pending()));
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(door.turn(std::future::pending()));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "the second one asked before");
        let second = second.await.unwrap();
        assert_eq!(limit(third.await), "REGISTRATIONS_MAX");
        drop(second);
    }

    #[tokio::test]
    async fn an_agent_that_is_gone_gives_its_turn_up() {
        let door = Door::new(8, 1);
        let first = door.turn(std::future::pending()).await.unwrap();
        let gone = door.turn(std::future::ready(())).await;
        assert!(matches!(gone, Err(ApiError::Cancelled(_))));
        drop(first);
        drop(door.turn(std::future::pending()).now_or_never().expect("nobody else waits").unwrap());
    }
}

//! One round of the quorum for all who wait. What comes while a round is under way waits for the next one, because a
//! renewal counts only after a round that began after it came (ADR 0005).

use std::sync::Arc;
use std::time::Duration;
use std::vec::Drain;

use quorate_seams::{BootInstant, Clock};
use tokio::sync::mpsc;

use super::{RENEWALS_WAITING_MAX, Waiting};

/// Up to this many are confirmed at once, whenever they come.
const RENEWALS_FEW: usize = 64;
/// With more than that, at most one round in this time.
const RENEWAL_TICK: Duration = Duration::from_millis(250);

/// What makes renewals count.
pub(super) trait Confirm: Send {
    /// A round of the quorum; true when it found that this replica still leads.
    fn round(&mut self) -> impl Future<Output = bool> + Send;

    /// These came before such a round began.
    fn confirmed(&mut self, waiting: Drain<'_, Waiting>);
}

/// Confirms what waits, until nobody is left who could ask. Whatever a failed round was for gets no answer.
pub(super) async fn run(mut waiting: mpsc::Receiver<Waiting>, clock: Arc<dyn Clock>, mut quorum: impl Confirm) {
    let mut batch = Vec::new();
    let mut last_round: Option<BootInstant> = None;
    while waiting.recv_many(&mut batch, RENEWALS_WAITING_MAX).await > 0 {
        if let Some(last) = last_round.filter(|_| count(&batch) > RENEWALS_FEW) {
            let rest = RENEWAL_TICK.saturating_sub(clock.boot().since(last));
            tokio::time::sleep(rest).await;
            while let Ok(more) = waiting.try_recv() {
                batch.push(more);
                if batch.len() >= RENEWALS_WAITING_MAX {
                    break;
                }
            }
        }
        last_round = Some(clock.boot());
        if quorum.round().await {
            quorum.confirmed(batch.drain(..));
        } else {
            tracing::debug!(dropped = count(&batch), "renewals stay unanswered");
            batch.clear();
        }
    }
}

fn count(batch: &[Waiting]) -> usize {
    batch.iter().map(Waiting::count).sum()
}

#[cfg(test)]
mod tests {
    use quorate_seams::SystemClock;
    use tokio::sync::oneshot;

    use super::*;

    /// A quorum that answers when the test says so: each round takes one word of it.
    struct Asked {
        begun: mpsc::Sender<()>,
        words: mpsc::Receiver<bool>,
    }

    impl Confirm for Asked {
        async fn round(&mut self) -> bool {
            self.begun.try_send(()).unwrap();
            self.words.recv().await.unwrap_or(false)
        }

        fn confirmed(&mut self, waiting: Drain<'_, Waiting>) {
            for one in waiting {
                let Waiting::Together { answer, .. } = one else { panic!("these tests ask for many at once") };
                let _ = answer.send(Vec::new());
            }
        }
    }

    struct Scene {
        renewals: mpsc::Sender<Waiting>,
        begun: mpsc::Receiver<()>,
        words: mpsc::Sender<bool>,
    }

    impl Scene {
        fn new() -> Self {
            let (renewals, waiting) = mpsc::channel(8);
            let (began, begun) = mpsc::channel(8);
            let (words, heard) = mpsc::channel(8);
            tokio::spawn(run(waiting, Arc::new(SystemClock), Asked { begun: began, words: heard }));
            Self { renewals, begun, words }
        }

        async fn ask(&self) -> oneshot::Receiver<Vec<u32>> {
            let (answer, confirmed) = oneshot::channel();
            self.renewals.send(Waiting::Together { renewals: Vec::new(), answer }).await.unwrap();
            confirmed
        }
    }

    #[tokio::test]
    async fn what_comes_during_a_round_is_confirmed_by_the_next_one() {
        let mut scene = Scene::new();
        let first = scene.ask().await;
        scene.begun.recv().await.unwrap();
        let mut late = scene.ask().await;

        scene.words.try_send(true).unwrap();
        first.await.unwrap();
        scene.begun.recv().await.unwrap();
        assert_eq!(late.try_recv(), Err(oneshot::error::TryRecvError::Empty), "that round began before it came");
        scene.words.try_send(true).unwrap();
        late.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_for_a_round_that_fails_gets_no_answer_and_the_next_one_does() {
        let mut scene = Scene::new();
        let first = scene.ask().await;
        scene.begun.recv().await.unwrap();
        scene.words.try_send(false).unwrap();
        first.await.expect_err("nobody has confirmed it");
        let second = scene.ask().await;
        scene.words.try_send(true).unwrap();
        second.await.unwrap();
    }
}

//! Worker processes: each runs one scenario after the other, apart from whoever asks, so that a run
//! that aborts, overflows its stack or never ends costs its own process and is told like any other
//! violation.

mod order;
mod worker;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::outcome::Outcome;

pub(crate) use order::Order;
pub(crate) use worker::SEED_WALL_MAX;
use worker::Worker;

/// A place for one worker: it starts one when there is something to do, and a new one after a loss.
#[derive(Debug, Default)]
pub(crate) struct Slot(Option<Worker>);

impl Slot {
    /// Has an order carried out. A lost worker is an outcome; an error is ours.
    pub(crate) fn run(&mut self, order: &Order) -> Result<Outcome, Error> {
        let worker = match &mut self.0 {
            Some(worker) => worker,
            empty @ None => empty.insert(Worker::start()?),
        };
        let told = worker.run(order);
        if told.is_err() {
            self.0 = None;
        }
        Ok(told.unwrap_or_else(|lost| lost.outcome(order.seed())))
    }

    /// Whether its worker has run something before.
    pub(crate) fn is_used(&self) -> bool {
        self.0.is_some()
    }
}

/// Takes `inputs` in their order, works on up to `jobs` of them at a time, each with a slot of its
/// own, and hands results to `each` as they come. After a break no more inputs are taken; those that
/// were come to their end and are handed over too, so whatever precedes a result was looked at.
pub(crate) fn spread<I: Send, T: Send>(
    jobs: usize,
    inputs: impl Iterator<Item = I> + Send,
    work: impl Fn(&mut Slot, I) -> Result<T, Error> + Sync,
    mut each: impl FnMut(T) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let inputs = Mutex::new(inputs.fuse());
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (sender, results) = sync_channel(jobs);
        for _ in 0..jobs {
            let sender = sender.clone();
            let (inputs, stopped, work) = (&inputs, &stopped, &work);
            scope.spawn(move || {
                let mut slot = Slot::default();
                while !stopped.load(Ordering::Relaxed) {
                    let Some(input) = inputs.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                    if sender.send(work(&mut slot, input)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for result in results {
            let went = result.and_then(&mut each).inspect_err(|_| stopped.store(true, Ordering::Relaxed))?;
            if went.is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_inputs_are_worked_on_once() {
        let mut seen = Vec::new();
        spread(
            3,
            0..100,
            |_, input| Ok(input),
            |result| {
                seen.push(result);
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_was_taken_before_a_break_is_handed_over() {
        let mut seen = Vec::new();
        spread(
            4,
            0..1_000_u32,
            |_, input| Ok(input),
            |result| {
                seen.push(result);
                Ok(if result >= 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )
        .unwrap();
        seen.sort_unstable();
        let taken = u32::try_from(seen.len()).unwrap();
        assert!(taken >= 11);
        assert_eq!(seen, (0..taken).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_it() {
        let result: Result<(), Error> =
            spread(2, 0.., |_, _: u32| Err::<(), _>(Error::Nothing(1)), |()| Ok(ControlFlow::Continue(())));
        assert!(result.is_err());
    }
}

//! The way of a proposal: checked, queued in its lane, batched with others into an entry, stamped,
//! replicated.

mod batches;
mod lane;
mod window;

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::log::EncodedItems;
use quorate_state::{Command, Feature, Item, Rejection, Reply};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::features::Features;
use crate::lead::Lead;
use crate::measures::Measures;
use crate::type_config::Raft;
use crate::{ProposeError, Role, Tuning};
use batches::Batches;
use lane::{Lane, Lanes};

pub(crate) type Answers = Vec<Result<Reply, Rejection>>;

/// The queue in front of the log.
pub(crate) struct Proposer {
    lead: Arc<Lead>,
    features: Arc<Features>,
    measures: Arc<Measures>,
    tuning: Tuning,
    /// One permit per item that has no answer yet.
    items: Arc<Semaphore>,
    /// One permit per byte of these.
    bytes: Arc<Semaphore>,
    lanes: Lanes<mpsc::Sender<Group>>,
}

/// Items of one caller that go into one entry, in their order.
struct Group {
    items: Vec<Item>,
    count: usize,
    encoded: EncodedItems,
    lane: Lane,
    proposed: Instant,
    answer: oneshot::Sender<Result<Answers, ProposeError>>,
    _room: Arc<Room>,
}

impl Group {
    /// It would enable a feature on the strength of what members said in another term. One who has joined
    /// since would stop at it, even though `apply` refuses it.
    fn is_late(&self, term: u64) -> bool {
        self.enables().is_some_and(|(_, asked_in)| asked_in != term)
    }

    fn refuse_late(self) {
        if let Some((feature, _)) = self.enables() {
            let waits_for = "the members were asked in another term: ask again".into();
            let _ = self.answer.send(Err(ProposeError::FeatureNotEnabled { feature, waits_for }));
        }
    }

    fn enables(&self) -> Option<(Feature, u64)> {
        self.items.iter().find_map(|item| match item.command {
            Command::EnableFeature { feature, term } => Some((feature, term)),
            _ => None,
        })
    }
}

/// What a proposal takes up of the queue, until all of it is answered.
struct Room {
    _items: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Items that fit into one entry.
#[derive(Default)]
struct Part {
    items: Vec<Item>,
    encoded: EncodedItems,
}

impl Proposer {
    /// The queue, and the task that works it off until the queue is dropped.
    pub(crate) fn new(
        raft: Raft,
        lead: Arc<Lead>,
        features: Arc<Features>,
        measures: Arc<Measures>,
        tuning: Tuning,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (lanes, waiting) = Lanes::channels(tuning.queue_items_max);
        let items = Arc::new(Semaphore::new(tuning.queue_items_max));
        let bytes = Arc::new(Semaphore::new(tuning.queue_bytes_max));
        let batches = Batches::new(raft, lead.clone(), measures.clone(), waiting, tuning.clone());
        (Self { lead, features, measures, tuning, items, bytes, lanes }, batches.run())
    }

    /// Proposes items in their order, as part of one entry or, where one cannot hold them, of
    /// several. An entry follows only when the one before it is applied, so that what becomes of
    /// the items is always a beginning of them. The answers are in their order too.
    pub(crate) async fn propose(&self, items: Vec<Item>) -> Result<Answers, ProposeError> {
        if items.is_empty() {
            return Ok(vec![]);
        }
        if items.len() > self.tuning.queue_items_max {
            return Err(too_large("queue_items_max", self.tuning.queue_items_max));
        }
        self.ready().await?;
        items.iter().try_for_each(|item| self.features.check(&item.command))?;
        let parts = self.parts(items)?;
        let room = Arc::new(self.room(&parts)?);
        let mut answers: Answers = vec![];
        for part in parts {
            match self.submit(part, room.clone()).await {
                Ok(more) => answers.extend(more),
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => {
                    let applied = answers.len();
                    return Err(unknown(&format!("the first {applied} items are applied; then: {error}")));
                }
            }
        }
        Ok(answers)
    }

    /// Groups that wait for an entry, by the name of their lane.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&'static str, usize)> {
        Lane::ALL.into_iter().map(|lane| {
            let queue = self.lanes.of(lane);
            (lane.name(), queue.max_capacity() - queue.capacity())
        })
    }

    /// Items that were proposed and have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.tuning.queue_items_max - self.items.available_permits()
    }

    /// Cuts items into what entries can hold.
    fn parts(&self, items: Vec<Item>) -> Result<Vec<Part>, ProposeError> {
        let mut parts = vec![];
        let mut part = Part::default();
        for item in items {
            // Encoded and decoded before anybody else sees it: an entry that does not survive this would halt
            // every replica.
            let mut encoded = EncodedItems::default();
            encoded.push(&item).map_err(|error| ProposeError::Undecodable(error.to_string()))?;
            if encoded.bytes() > self.tuning.entry_bytes_max {
                return Err(too_large("entry_bytes_max", self.tuning.entry_bytes_max));
            }
            let is_full = part.items.len() >= self.tuning.entry_items_max
                || part.encoded.bytes() + encoded.bytes() > self.tuning.entry_bytes_max;
            if is_full {
                parts.push(std::mem::take(&mut part));
            }
            part.items.push(item);
            part.encoded.append(encoded);
        }
        parts.push(part);
        Ok(parts)
    }

    /// Takes up room in the queue for all parts at once, or for none.
    fn room(&self, parts: &[Part]) -> Result<Room, ProposeError> {
        let bytes = parts.iter().map(|part| part.encoded.bytes()).sum::<usize>();
        if bytes > self.tuning.queue_bytes_max {
            return Err(too_large("queue_bytes_max", self.tuning.queue_bytes_max));
        }
        let take = |permits: &Arc<Semaphore>, count: usize, limit, max| {
            let taken = u32::try_from(count).ok().and_then(|count| permits.clone().try_acquire_many_owned(count).ok());
            taken.ok_or(ProposeError::Overloaded { limit, max: max as u64 })
        };
        let items = parts.iter().map(|part| part.items.len()).sum();
        Ok(Room {
            _items: take(&self.items, items, "queue_items_max", self.tuning.queue_items_max)?,
            _bytes: take(&self.bytes, bytes, "queue_bytes_max", self.tuning.queue_bytes_max)?,
        })
    }

    /// Queues one part and waits for its answers.
    async fn submit(&self, part: Part, room: Arc<Room>) -> Result<Answers, ProposeError> {
        let (answer, answered) = oneshot::channel();
        let Part { items, encoded } = part;
        // Items of one caller are of one kind; the least urgent of them decides.
        let lane = items.iter().map(|item| Lane::of(&item.command)).max().unwrap_or(Lane::Control);
        let proposed = Instant::now();
        let group = Group { count: items.len(), items, encoded, lane, proposed, answer, _room: room };
        self.lanes.of(lane).try_send(group).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ProposeError::Overloaded { limit: "queue_items_max", max: self.tuning.queue_items_max as u64 }
            }
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped("it was asked to stop".into()),
        })?;
        let answer = answered.await.unwrap_or_else(|_| Err(unknown("this replica stopped before it knew")));
        if answer.is_ok() {
            self.measures.answered(proposed);
        }
        answer
    }

    /// Waits while a new leader catches up with what its predecessors promised.
    async fn ready(&self) -> Result<(), ProposeError> {
        let patience = Duration::from_millis(2 * self.tuning.election_ms_max);
        let mut role = self.lead.role();
        let settled = role.wait_for(|role| !matches!(role, Role::Leader { ready: false, .. }));
        match tokio::time::timeout(patience, settled).await {
            Ok(Ok(role)) => match &*role {
                Role::Leader { .. } => Ok(()),
                Role::Follower { leader } => Err(ProposeError::NotLeader { leader: leader.clone() }),
            },
            Ok(Err(_)) => Err(ProposeError::Stopped("it was asked to stop".into())),
            Err(_) => Err(ProposeError::NotLeader { leader: None }),
        }
    }
}

fn too_large(limit: &'static str, max: usize) -> ProposeError {
    ProposeError::TooLarge { limit, max: max as u64 }
}

fn unknown(why: &str) -> ProposeError {
    ProposeError::OutcomeUnknown(why.into())
}

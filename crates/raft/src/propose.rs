//! The way of a proposal: checked, queued, batched with others into an entry, stamped, replicated.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use quorate_proto::log::{encode_checked, encode_entry};
use quorate_state::{Entry, Item, Rejection, Reply, Stamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::lead::Lead;
use crate::type_config::{Outcome, Payload, Raft, TypeConfig};
use crate::{ProposeError, Role, Tuning};

pub(crate) type Answers = Vec<Result<Reply, Rejection>>;

/// The queue in front of the log.
pub(crate) struct Proposer {
    lead: Arc<Lead>,
    tuning: Tuning,
    /// One permit per item that has no answer yet.
    items: Arc<Semaphore>,
    /// One permit per byte of these.
    bytes: Arc<Semaphore>,
    queue: mpsc::Sender<Group>,
}

/// Items of one caller that go into one entry, in their order.
struct Group {
    items: Vec<Item>,
    count: usize,
    bytes: usize,
    answer: oneshot::Sender<Result<Answers, ProposeError>>,
    _room: Arc<Room>,
}

/// What a proposal takes up of the queue, until all of it is answered.
struct Room {
    _items: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Items that fit into one entry.
struct Part {
    items: Vec<Item>,
    /// Encoded.
    bytes: usize,
}

impl Proposer {
    /// The queue, and the task that works it off until the queue is dropped.
    pub(crate) fn new(raft: Raft, lead: Arc<Lead>, tuning: Tuning) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(tuning.queue_items_max);
        let items = Arc::new(Semaphore::new(tuning.queue_items_max));
        let bytes = Arc::new(Semaphore::new(tuning.queue_bytes_max));
        let batches = Batches { raft, lead: lead.clone(), waiting, carried: None, tuning: tuning.clone() };
        (Self { lead, tuning, items, bytes, queue }, batches.run())
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

    /// Cuts items into what entries can hold.
    fn parts(&self, items: Vec<Item>) -> Result<Vec<Part>, ProposeError> {
        let mut parts = vec![];
        // The next items last.
        let mut waiting = vec![items];
        while let Some(mut items) = waiting.pop() {
            if items.len() > self.tuning.entry_items_max {
                waiting.push(items.split_off(self.tuning.entry_items_max));
            }
            // Encoded, decoded and encoded again before anybody else sees it: an entry that does not
            // survive this would halt every replica. What is sent is encoded with its stamp later.
            let entry = Entry { stamp: Stamp::default(), items };
            let encoded = encode_checked(&entry).map_err(|error| ProposeError::Undecodable(error.to_string()))?;
            let (mut items, bytes) = (entry.items, encoded.len());
            if bytes <= self.tuning.entry_bytes_max {
                parts.push(Part { items, bytes });
            } else if items.len() > 1 {
                waiting.push(items.split_off(items.len() / 2));
                waiting.push(items);
            } else {
                return Err(too_large("entry_bytes_max", self.tuning.entry_bytes_max));
            }
        }
        Ok(parts)
    }

    /// Takes up room in the queue for all parts at once, or for none.
    fn room(&self, parts: &[Part]) -> Result<Room, ProposeError> {
        let bytes = parts.iter().map(|part| part.bytes).sum::<usize>();
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
        let Part { items, bytes } = part;
        let group = Group { count: items.len(), items, bytes, answer, _room: room };
        self.queue.try_send(group).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ProposeError::Overloaded { limit: "queue_items_max", max: self.tuning.queue_items_max as u64 }
            }
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped("it was asked to stop".into()),
        })?;
        answered.await.unwrap_or_else(|_| Err(unknown("this replica stopped before it knew")))
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

/// The task that makes entries of groups.
struct Batches {
    raft: Raft,
    lead: Arc<Lead>,
    waiting: mpsc::Receiver<Group>,
    /// Came too late for the entry before.
    carried: Option<Group>,
    tuning: Tuning,
}

impl Batches {
    async fn run(mut self) {
        let slots = Arc::new(Semaphore::new(self.tuning.entries_in_flight_max));
        loop {
            // The slot first: while all are taken, groups gather, and the next entry is larger.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let Some(groups) = self.next().await else { return };
            self.send(groups, slot).await;
        }
    }

    /// Every group that waits, as far as one entry holds them.
    async fn next(&mut self) -> Option<Vec<Group>> {
        let first = match self.carried.take() {
            Some(group) => group,
            None => self.waiting.recv().await?,
        };
        let (mut items, mut bytes) = (first.count, first.bytes);
        let mut groups = vec![first];
        while let Ok(group) = self.waiting.try_recv() {
            items += group.count;
            bytes += group.bytes;
            if items > self.tuning.entry_items_max || bytes > self.tuning.entry_bytes_max {
                self.carried = Some(group);
                break;
            }
            groups.push(group);
        }
        Some(groups)
    }

    async fn send(&self, mut groups: Vec<Group>, slot: OwnedSemaphorePermit) {
        let Some(stamp) = self.lead.stamp() else {
            return answer_all(groups, &ProposeError::NotLeader { leader: self.lead.hint() });
        };
        let items = groups.iter_mut().flat_map(|group| std::mem::take(&mut group.items)).collect();
        let payload = Payload(encode_entry(&Entry { stamp, items }));
        let (responder, outcome) = ProgressResponder::<TypeConfig, _>::complete_only();
        // Only in the very term that the stamp names; entries reach openraft in the order of their
        // stamps, because this is the only task that writes.
        let written = self.raft.write(payload).with_leader(stamp.term).responder(responder).await;
        if let Err(fatal) = written {
            return answer_all(groups, &ProposeError::Stopped(fatal.to_string()));
        }
        let lead = self.lead.clone();
        tokio::spawn(async move {
            let outcome = outcome.await;
            drop(slot);
            match outcome {
                Ok(Ok(response)) => answer_each(groups, response.data),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                    answer_all(groups, &ProposeError::NotLeader { leader: lead.hint() });
                }
                Ok(Err(error)) => answer_all(groups, &unknown(&error.to_string())),
                Err(_) => answer_all(groups, &unknown("this replica stopped before it knew")),
            }
        });
    }
}

fn answer_each(groups: Vec<Group>, outcome: Outcome) {
    let mut answers = outcome.0.into_iter();
    for group in groups {
        let own: Answers = answers.by_ref().take(group.count).collect();
        let whole = if own.len() == group.count { Ok(own) } else { Err(unknown("apply answered too little")) };
        // Whoever dropped the future does not want to know.
        let _ = group.answer.send(whole);
    }
}

fn answer_all(groups: Vec<Group>, error: &ProposeError) {
    for group in groups {
        let _ = group.answer.send(Err(error.clone()));
    }
}

fn too_large(limit: &'static str, max: usize) -> ProposeError {
    ProposeError::TooLarge { limit, max: max as u64 }
}

fn unknown(why: &str) -> ProposeError {
    ProposeError::OutcomeUnknown(why.into())
}

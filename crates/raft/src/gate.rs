//! Who may speak: the check that every message passes before anything else looks at it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use openraft::async_runtime::WatchReceiver as _;
use quorate_planted::Bug;
use quorate_proto::format::GROUP;
use quorate_proto::raft::v1 as pb;
use quorate_seams::Disk;
use quorate_state::Uuid;
use tonic::Status;

use crate::halt::Halt;
use crate::state_machine::Published;
use crate::type_config::{Raft, ReplicaId};
use crate::{Error, Identity, StopReason, refusal, store, wire};

/// Our identity, and what we remember of the others'.
pub(crate) struct Gate {
    identity: Identity,
    /// This start of our store.
    start: pb::Start,
    disk: Arc<dyn Disk>,
    halt: Halt,
    published: Arc<Published>,
    /// Set for good once a peer has shown that this store is an old image: it may have promised what it
    /// does not know, so nothing reaches consensus while that is written down.
    is_stale: AtomicBool,
    /// The latest starts seen, by store; bounded by the replicas there ever were.
    starts: Mutex<BTreeMap<Uuid, pb::Start>>,
    /// Set once openraft is up; before that nobody's membership is known.
    raft: OnceLock<Raft>,
}

impl Gate {
    pub(crate) fn new(
        identity: Identity,
        start: pb::Start,
        disk: Arc<dyn Disk>,
        halt: Halt,
        published: Arc<Published>,
    ) -> Self {
        Self {
            identity,
            start,
            disk,
            halt,
            published,
            is_stale: AtomicBool::new(false),
            starts: Mutex::default(),
            raft: OnceLock::new(),
        }
    }

    /// From now on senders must be who the membership says they are.
    pub(crate) fn open(&self, raft: Raft) {
        let _ = self.raft.set(raft);
    }

    /// openraft, once it is up.
    pub(crate) fn raft(&self) -> Result<&Raft, Status> {
        self.raft.get().ok_or_else(|| Status::unavailable("this replica is starting"))
    }

    /// What our messages to `store` begin with.
    pub(crate) fn header(&self, store: Uuid) -> pb::Header {
        pb::Header {
            cluster: wire::uuid_to(self.identity.cluster),
            group: GROUP,
            from: self.identity.replica,
            from_store: wire::uuid_to(self.identity.store),
            from_start: Some(self.start),
            to_store: wire::uuid_to(store),
            // A disk that cannot be read here fails where it matters.
            to_start: self.start_of(store).ok().flatten(),
        }
    }

    /// Lets a message in, or says why not. Returns the sender's store.
    pub(crate) async fn check(&self, header: Option<&pb::Header>) -> Result<Uuid, Status> {
        let header = header.ok_or(wire::WireError::Missing("header"))?;
        let ours = &self.identity;
        let refuse = |why: String| Err(Status::failed_precondition(why));
        if self.is_stale.load(Ordering::SeqCst) {
            return refuse(format!("replica {} has an old image of its disk, and stops", ours.replica));
        }
        let cluster = wire::uuid_from("header.cluster", &header.cluster)?;
        if cluster != ours.cluster {
            return refuse(format!("replica {} belongs to cluster {}, not {cluster}", ours.replica, ours.cluster));
        }
        if header.group != GROUP {
            return refuse(format!("replica {} belongs to group {GROUP}, not {}", ours.replica, header.group));
        }
        let to_store = wire::uuid_from("header.to_store", &header.to_store)?;
        if to_store != ours.store {
            return refuse(format!("store {to_store} is not here; replica {} has {}", ours.replica, ours.store));
        }
        let from_store = wire::uuid_from("header.from_store", &header.from_store)?;
        if self.published.was_removed(header.from) {
            return Err(removed(header.from));
        }
        if self.store_of(header.from).is_some_and(|known| known != from_store) {
            return refuse(format!("store {from_store} is not that of replica {}", header.from));
        }
        if let Some(seen) = header.to_start.filter(|seen| !is_at_least(self.start, *seen)) {
            let why =
                format!("replica {} has seen start {} of it, this is {}", header.from, seen.count, self.start.count);
            // The first to say so is enough.
            if !self.is_stale.swap(true, Ordering::SeqCst) {
                tracing::error!(why, "this store is an old image of its disk");
                refusal::halt(&*self.disk, self.halt.clone(), StopReason::StaleStore(why.clone()));
            }
            return refuse(why);
        }
        self.check_start(from_store, header.from_start.ok_or(wire::WireError::Missing("header.from_start"))?).await?;
        Ok(from_store)
    }

    /// Lets an answer in, or says why not. What we find wrong with one is nobody's word about us: the
    /// leader that removes a replica gets answers from it for a while.
    pub(crate) async fn check_answer(&self, header: Option<&pb::Header>) -> Result<(), Status> {
        let checked = self.check(header).await;
        checked.map(drop).map_err(|status| Status::new(status.code(), status.message()))
    }

    /// Writes down that this store must not be used again. The caller halts.
    pub(crate) async fn give_up(&self, reason: &StopReason) {
        refusal::write(&*self.disk, reason).await;
    }

    /// The store that the membership knows a replica by.
    fn store_of(&self, replica: ReplicaId) -> Option<Uuid> {
        let metrics = self.raft.get()?.metrics();
        metrics.borrow_watched().membership_config.membership().get_node(&replica).map(|peer| peer.store)
    }

    /// A store whose start count went back was restored from an image: it may have forgotten votes
    /// and entries that it once promised to keep.
    async fn check_start(&self, store: Uuid, start: pb::Start) -> Result<(), Status> {
        // Nobody else hears of a write that fails here.
        let failed = |error: &dyn std::error::Error| {
            let why = store::with_causes(error);
            self.halt.because(StopReason::Storage(why.clone()));
            Status::internal(why)
        };
        let known = self.start_of(store).map_err(|error| failed(&error))?.unwrap_or_default();
        if known.count > 0 && !is_at_least(start, known) {
            return Err(Status::failed_precondition(format!(
                "store {store} was seen at start {} and is at {}: a restored image of a disk",
                known.count, start.count
            )));
        }
        if start.count > known.count {
            let saved = store::save(&*self.disk, store::start_of(store), &start).await;
            saved.map_err(|error| failed(&error))?;
            self.lock_starts().insert(store, start);
        }
        Ok(())
    }

    /// The latest start of a store that was seen.
    fn start_of(&self, store: Uuid) -> Result<Option<pb::Start>, Error> {
        if let Some(known) = self.lock_starts().get(&store) {
            return Ok(Some(*known));
        }
        let known: Option<pb::Start> = store::read(&*self.disk.view(), &store::start_of(store))?;
        if let Some(known) = known {
            self.lock_starts().entry(store).or_insert(known);
        }
        Ok(known)
    }

    fn lock_starts(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, pb::Start>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metadata key by which a replica learns that it belongs to its cluster no more. Whoever says
/// so has applied the entry that removed it.
const REMOVED: &str = "quorate-removed";

fn removed(replica: ReplicaId) -> Status {
    let mut status = Status::failed_precondition(format!("replica {replica} was removed from the cluster"));
    status.metadata_mut().insert(REMOVED, tonic::metadata::MetadataValue::from_static("true"));
    status
}

/// A peer says that we were removed.
pub(crate) fn says_removed(status: &Status) -> bool {
    status.metadata().contains_key(REMOVED)
}

/// True for the same start, or a later one of the same disk.
fn is_at_least(start: pb::Start, seen: pb::Start) -> bool {
    start.count > seen.count || start == seen || quorate_planted::is(Bug::OldImageAdmitted)
}

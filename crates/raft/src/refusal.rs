//! What a replica writes down about its own store before it halts for good.
//!
//! Halting alone would not last: the service manager starts the process again, the start is counted, and
//! then an old image looks newer than what its peers remember of it, and a wrong history leads until the
//! next checkpoint. With the record the store is refused whenever it is opened (`opening`). Only a verdict of
//! others writes it, never their silence: a replica that is cut off hears no verdict.

use quorate_proto::raft::v1 as pb;
use quorate_proto::raft::v1::refused::Reason;
use quorate_seams::{Batch, Disk, DiskError, Durability};

use crate::halt::Halt;
use crate::store;
use crate::{Error, StopReason};

/// Writes why, and halts once that is durable, or cannot be made so. Returns at once: whoever asks may be a
/// call that its peer gives up.
pub(crate) fn halt(disk: &dyn Disk, halt: Halt, reason: StopReason) {
    let batch = batch(&reason);
    let done = move |written| {
        note(written);
        halt.because(reason);
    };
    disk.submit_then(batch, Durability::Synced, Box::new(done));
}

/// Writes why, and returns once that is durable, or cannot be made so: the caller halts in either case.
pub(crate) async fn write(disk: &dyn Disk, reason: &StopReason) {
    note(disk.submit(batch(reason), Durability::Synced).await);
}

/// Refuses a store in which a replica wrote that it must not be used again.
pub(crate) fn check(record: Option<pb::Refused>) -> Result<(), Error> {
    let Some(record) = record else { return Ok(()) };
    Err(Error::StoreRefused(match record.reason {
        Some(Reason::Stale(why)) => {
            format!("{why}: it is an old image of this replica's disk, and has forgotten what it promised since")
        }
        Some(Reason::Diverged(revision)) => {
            format!("the history of this replica differs from the majority's at revision {revision}")
        }
        None => "it does not say why".to_owned(),
    }))
}

/// The record of a reason, for reasons that say something of the store.
fn batch(reason: &StopReason) -> Batch {
    let reason = match reason {
        StopReason::StaleStore(why) => Some(Reason::Stale(why.clone())),
        StopReason::Diverged { revision } => Some(Reason::Diverged(revision.0)),
        StopReason::Requested | StopReason::Storage(_) | StopReason::Removed | StopReason::Internal(_) => None,
    };
    let mut batch = Batch::default();
    if reason.is_some() {
        store::put(&mut batch, store::REFUSED, &pb::Refused { reason });
    }
    batch
}

/// Says aloud what could not be written: nothing but a person keeps that store from coming back.
fn note(written: Result<(), DiskError>) {
    if let Err(error) = written {
        tracing::error!(
            error = store::with_causes(&error),
            "that this store must not be used again could not be written to it: \
             wipe the data directory before this replica is started again"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_seams::{Completion, DiskView, NewRows, Table};
    use quorate_state::Revision;

    use super::*;

    /// A disk on which nothing becomes durable.
    struct Broken;

    impl Disk for Broken {
        fn submit(&self, _: Batch, _: Durability) -> Completion {
            Box::pin(std::future::ready(Err(DiskError::Io("the device is gone".into()))))
        }

        fn view(&self) -> Arc<dyn DiskView> {
            unreachable!("nobody reads")
        }

        fn replace(&self, _: &[Table], _: NewRows, _: Batch) -> Completion {
            unreachable!("nobody replaces")
        }
    }

    #[tokio::test]
    async fn a_replica_halts_also_where_the_record_cannot_be_written() {
        let halted = Halt::new();
        let reason = StopReason::StaleStore("seen".into());
        halt(&Broken, halted.clone(), reason.clone());
        assert_eq!(halted.stopped().await, reason);
        write(&Broken, &reason).await;
    }

    #[test]
    fn only_a_verdict_on_the_store_is_written() {
        for (reason, is_written) in [
            (StopReason::StaleStore("seen".into()), true),
            (StopReason::Diverged { revision: Revision(7) }, true),
            (StopReason::Requested, false),
            (StopReason::Storage("full".into()), false),
            (StopReason::Removed, false),
            (StopReason::Internal("bug".into()), false),
        ] {
            assert_eq!(!batch(&reason).is_empty(), is_written, "{reason:?}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        assert!(check(None).is_ok());
        let said = |reason| check(Some(pb::Refused { reason })).unwrap_err().to_string();
        for (reason, why) in [
            (Some(Reason::Stale("replica 2 has seen start 9 of it".into())), "replica 2 has seen start 9 of it"),
            (Some(Reason::Diverged(70)), "differs from the majority's at revision 70"),
            (None, "does not say why"),
        ] {
            let said = said(reason);
            assert!(said.contains(why) && said.contains("'quorate server join'"), "{said}");
        }
    }
}

//! The view that is sent to followers, kept while a transfer of it that broke may go on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use quorate_proto::backup::Chain;
use quorate_seams::{DiskView, Entropy};
use tokio::time::Instant;

use super::Place;
use crate::type_config::{ReplicaId, SnapshotMeta};

/// A view is given up when none of the followers that have pieces of it took one for so long: they have
/// gone, or need it no more.
const VIEW_IDLE_MAX: Duration = Duration::from_secs(300);
/// No transfer begins or goes on with a view that is older. It keeps the disk from freeing what was replaced since.
const VIEW_AGE_MAX: Duration = Duration::from_secs(1_800);

/// A point in time of our disk, as it is sent.
pub(crate) struct Outgoing {
    pub(crate) view: Arc<dyn DiskView>,
    meta: SnapshotMeta,
    id: OnceLock<u64>,
    taken: Instant,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    /// Where each piece that was ever cut ends, by its number. All transfers are cut alike.
    marks: Vec<Mark>,
    /// Who has some of it, and not all.
    partly: BTreeSet<ReplicaId>,
    /// When one of them last took a piece.
    taken_at: Option<Instant>,
}

/// The end of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) last: Place,
    pub(crate) chain: Chain,
}

impl Outgoing {
    pub(crate) fn new(meta: SnapshotMeta, view: Arc<dyn DiskView>) -> Self {
        Self { view, meta, id: OnceLock::new(), taken: Instant::now(), sent: Mutex::default() }
    }

    /// What it is called on its way.
    pub(crate) fn id(&self, entropy: &dyn Entropy) -> u64 {
        *self.id.get_or_init(|| entropy.u64())
    }

    /// Where to go on after so many pieces, if these have this digest. None for pieces that are not ours.
    pub(crate) fn after(&self, pieces: u64, digest: &[u8]) -> Option<Mark> {
        let number = usize::try_from(pieces.checked_sub(1)?).ok()?;
        self.lock().marks.get(number).filter(|mark| mark.chain.digest()[..] == *digest).cloned()
    }

    /// A piece was cut.
    pub(crate) fn cut(&self, number: u64, mark: Mark) {
        let marks = &mut self.lock().marks;
        if marks.len() as u64 == number {
            marks.push(mark);
        }
    }

    /// Nobody took any of it for long.
    fn is_idle(&self) -> bool {
        self.lock().taken_at.unwrap_or(self.taken).elapsed() >= VIEW_IDLE_MAX
    }

    fn is_old(&self) -> bool {
        self.taken.elapsed() >= VIEW_AGE_MAX
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one view that is kept, from the first piece of it that a follower takes. Transfers of an older one
/// may still be under way; they hold it themselves.
#[derive(Default)]
pub(crate) struct Views(Mutex<Option<Arc<Outgoing>>>);

impl Views {
    /// The view to send now: the one that is kept, or what `fresh` takes. `purged` is the last entry
    /// that is cut off: whoever installed a view from before it would need another at once.
    pub(crate) fn hand_out(
        &self,
        purged: Option<u64>,
        fresh: impl FnOnce() -> (SnapshotMeta, Arc<dyn DiskView>),
    ) -> (SnapshotMeta, Arc<Outgoing>) {
        let mut kept = self.lock();
        kept.take_if(|kept| {
            let last = kept.meta.last_log_id.map(|id| id.index);
            last < purged || kept.is_idle() || kept.is_old()
        });
        let out = kept.clone().unwrap_or_else(|| {
            let (meta, view) = fresh();
            Arc::new(Outgoing::new(meta, view))
        });
        (out.meta.clone(), out)
    }

    /// A follower has taken a piece of this one, and may come back for the rest.
    pub(crate) fn took(&self, out: &Arc<Outgoing>, follower: ReplicaId) {
        let mut sent = out.lock();
        sent.partly.insert(follower);
        sent.taken_at = Some(Instant::now());
        drop(sent);
        let mut kept = self.lock();
        // What is older than the one kept is of no use any more.
        if kept.as_ref().is_none_or(|kept| kept.taken <= out.taken) {
            *kept = Some(out.clone());
        }
    }

    /// A follower has all of it.
    pub(crate) fn ended(&self, out: &Arc<Outgoing>, follower: ReplicaId) {
        let mut sent = out.lock();
        sent.partly.remove(&follower);
        let wanted = !sent.partly.is_empty();
        drop(sent);
        self.lock().take_if(|kept| Arc::ptr_eq(kept, out) && !wanted);
    }

    /// Gives up what nobody comes back for. `may_come` says whether this one still may.
    pub(crate) fn tidy(&self, may_come: impl Fn(ReplicaId) -> bool) {
        let is_wanted = |kept: &Outgoing| {
            let partly = &mut kept.lock().partly;
            partly.retain(|follower| may_come(*follower));
            !partly.is_empty()
        };
        self.lock().take_if(|kept| kept.is_idle() || kept.is_old() || !is_wanted(kept));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Outgoing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use quorate_disk::RocksDisk;
    use quorate_seams::{Disk as _, Table};
    use tokio::time::advance;

    use super::*;
    use crate::type_config::{StoredMembership, log_id};

    struct Bench {
        _dir: tempfile::TempDir,
        disk: RocksDisk,
        views: Views,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let disk = RocksDisk::open(dir.path()).unwrap();
            Self { _dir: dir, disk, views: Views::default() }
        }

        /// Asks while `last` is applied and the log up to `purged` is cut off; which entry the view ends with.
        fn ask(&self, last: u64, purged: u64) -> (u64, Arc<Outgoing>) {
            let meta =
                SnapshotMeta { last_log_id: Some(log_id(1, last)), last_membership: StoredMembership::default() };
            let (meta, out) = self.views.hand_out(Some(purged), || (meta, self.disk.view()));
            (meta.last_log_id.unwrap().index, out)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_is_handed_out_again_while_somebody_has_some_of_it() {
        let bench = Bench::new();
        assert_eq!(bench.ask(5, 0).0, 5);
        let (last, out) = bench.ask(6, 0);
        assert_eq!(last, 6, "nobody took anything of the first");
        bench.views.took(&out, 2);
        assert_eq!(bench.ask(7, 6).0, 6);
        advance(VIEW_IDLE_MAX - Duration::from_secs(1)).await;
        bench.views.took(&out, 3);
        advance(VIEW_IDLE_MAX - Duration::from_secs(1)).await;
        bench.views.tidy(|_| true);
        assert_eq!(bench.ask(8, 6).0, 6);
        bench.views.ended(&out, 2);
        assert_eq!(bench.ask(8, 6).0, 6, "replica 3 has some of it");
        bench.views.ended(&out, 3);
        assert!(bench.views.lock().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_is_given_up_when_it_is_idle_or_old_or_of_no_use() {
        let bench = Bench::new();
        let (_, first) = bench.ask(5, 0);
        bench.views.took(&first, 2);
        advance(Duration::from_secs(1)).await;
        let (last, out) = bench.ask(9, 6);
        assert_eq!(last, 9, "what comes after the first is cut off");
        bench.views.took(&out, 3);
        bench.views.took(&first, 2);
        assert_eq!(bench.ask(10, 6).0, 9, "an older one that is still under way does not come back");

        advance(VIEW_IDLE_MAX).await;
        let (last, out) = bench.ask(10, 6);
        assert_eq!(last, 10);
        bench.views.took(&out, 2);
        advance(VIEW_IDLE_MAX).await;
        bench.views.tidy(|_| true);
        assert!(bench.views.lock().is_none(), "also when nobody asks");

        let (_, out) = bench.ask(11, 6);
        bench.views.took(&out, 2);
        while out.taken.elapsed() < VIEW_AGE_MAX {
            bench.views.took(&out, 2);
            assert_eq!(bench.ask(12, 6).0, 11);
            advance(VIEW_IDLE_MAX / 2).await;
        }
        bench.views.took(&out, 2);
        assert_eq!(bench.ask(12, 6).0, 12);
    }

    #[tokio::test]
    async fn a_view_is_given_up_when_whoever_has_some_of_it_has_gone() {
        let bench = Bench::new();
        let (_, out) = bench.ask(5, 0);
        bench.views.took(&out, 2);
        bench.views.took(&out, 3);
        bench.views.tidy(|follower| follower != 2);
        assert_eq!(bench.ask(6, 0).0, 5);
        bench.views.tidy(|follower| follower == 2);
        assert!(bench.views.lock().is_none());
    }

    #[tokio::test]
    async fn a_transfer_goes_on_only_after_pieces_that_were_cut_of_this_view() {
        let bench = Bench::new();
        let (_, out) = bench.ask(5, 0);
        let mark = |name: &'static str| Mark {
            last: (Table::State, name.into()),
            chain: Chain::default().with(name.as_bytes()),
        };
        out.cut(0, mark("a"));
        out.cut(1, mark("b"));
        out.cut(0, mark("a"));
        assert_eq!(out.after(2, mark("b").chain.digest()), Some(mark("b")));
        assert_eq!(out.after(1, mark("b").chain.digest()), None, "another piece");
        assert_eq!(out.after(3, mark("b").chain.digest()), None, "never sent");
        assert_eq!(out.after(0, &[]), None);
    }
}

//! From waiting groups to entries of the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::errors::ClientWriteError;
use quorate_planted::Bug;
use quorate_proto::log::join_items;
use quorate_state::Entry;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::lane::{Lane, Lanes};
use super::window::{Sent, Window};
use super::{Answers, Group, unknown};
use crate::lead::Lead;
use crate::measures::{Measures, Passage};
use crate::type_config::{Outcome, Payload, Raft, Told, Waits, Written};
use crate::{ProposeError, Tuning};

/// With more entries than these on their way the next one waits for [`PACE`], so that those who come meanwhile
/// share it: an entry costs every replica about as much as a hundred of its items do.
const UNPACED_MAX: usize = 1;
/// Where replicas are far apart an entry is on its way for long; then one follows the other in this time.
const PACE: Duration = Duration::from_millis(4);
/// Of the items and bytes of an entry, one part in so many is left for less urgent lanes where something
/// waits there: what is urgent comes first, but keeps nobody out for ever.
const LEFT_FOR_OTHERS: usize = 8;
/// Bytes in flight are counted in units of so many.
const UNIT_BYTES: usize = 1_024;

/// The task that makes entries of groups.
pub(super) struct Batches {
    raft: Raft,
    lead: Arc<Lead>,
    measures: Arc<Measures>,
    waiting: Waiting,
    tuning: Tuning,
}

/// What waits to become part of an entry.
struct Waiting {
    lanes: Lanes<mpsc::Receiver<Group>>,
    /// Came too late for the entry before, one per lane.
    carried: Lanes<Option<Group>>,
    new_work: Arc<NewWork>,
    items_max: usize,
    bytes_max: usize,
}

/// New work on its way, and whoever waits until there is less of it.
pub(super) struct NewWork {
    window: Mutex<Window>,
    landed: Notify,
    measures: Arc<Measures>,
}

/// New work of one entry; it is on its way until this is dropped.
struct OnTheWay {
    sent: Sent,
    new_work: Arc<NewWork>,
}

/// What an entry takes up of the pipeline until it is applied.
struct Flight {
    _new_work: Option<OnTheWay>,
    _slot: OwnedSemaphorePermit,
    _unpaced: Option<OwnedSemaphorePermit>,
    _items: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Batches {
    pub(super) fn new(
        raft: Raft,
        lead: Arc<Lead>,
        measures: Arc<Measures>,
        lanes: Lanes<mpsc::Receiver<Group>>,
        tuning: Tuning,
    ) -> Self {
        let new_work = NewWork::new(tuning.items_in_flight_max, measures.clone());
        let waiting = Waiting::new(lanes, tuning.entry_items_max, tuning.entry_bytes_max, new_work);
        Self { raft, lead, measures, waiting, tuning }
    }

    pub(super) async fn run(mut self) {
        let slots = Arc::new(Semaphore::new(self.tuning.entries_in_flight_max));
        let items_max = self.tuning.items_in_flight_max.min(Semaphore::MAX_PERMITS);
        let items = Arc::new(Semaphore::new(items_max));
        let units_max = (self.tuning.bytes_in_flight_max / UNIT_BYTES).max(1);
        let units = Arc::new(Semaphore::new(units_max));
        let take = |of: &Arc<Semaphore>, count: usize, max: usize| {
            // More than there is counts as all there is: such an entry travels alone.
            let count = u32::try_from(count.min(max)).unwrap_or(u32::MAX);
            of.clone().acquire_many_owned(count)
        };
        let unpaced = Arc::new(Semaphore::new(UNPACED_MAX));
        loop {
            // The room first: while it is taken, groups gather, and the next entry is larger.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let unpaced = tokio::time::timeout(PACE, unpaced.clone().acquire_owned()).await.ok().and_then(Result::ok);
            let Ok(one) = take(&items, 1, items_max).await else { return };
            drop(one);
            let Some(groups) = self.waiting.next().await else { return };
            let (count, bytes) = size(&groups);
            let Ok(items) = take(&items, count, items_max).await else { return };
            let Ok(units) = take(&units, bytes.div_ceil(UNIT_BYTES), units_max).await else { return };
            let new_work = self.waiting.new_work.send(&groups);
            let flight = Flight { _new_work: new_work, _slot: slot, _unpaced: unpaced, _items: items, _bytes: units };
            self.send(groups, flight).await;
        }
    }

    async fn send(&self, groups: Vec<Group>, flight: Flight) {
        let Some(stamp) = self.lead.stamp() else {
            return answer_all(groups, &ProposeError::NotLeader { leader: self.lead.hint() });
        };
        let (late, mut groups): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.is_late(stamp.term));
        late.into_iter().for_each(Group::refuse_late);
        if groups.is_empty() {
            return;
        }
        let bytes = join_items(stamp, groups.iter().map(|group| &group.encoded));
        let items: Vec<_> = groups.iter_mut().flat_map(|group| std::mem::take(&mut group.items)).collect();
        let passage = self.measures.entry(items.len(), bytes.len(), groups.iter().map(|group| group.proposed));
        let payload = Payload::made(bytes, Entry { stamp, items });
        let answering = Answering { groups, passage, _flight: flight, lead: self.lead.clone() };
        // Only in the very term that the stamp names; entries reach openraft in the order of their
        // stamps, because this is the only task that writes. An error means that consensus has ended: it
        // has dropped the groups, and who waits for them hears that nobody knows.
        let _ = self.raft.write(payload).with_leader(stamp.term).responder(Told(Box::new(answering))).await;
    }
}

/// Groups of an entry that wait for what becomes of it. They are answered where that is found out: by the
/// task that applied it, or by openraft's own.
struct Answering {
    groups: Vec<Group>,
    passage: Passage,
    lead: Arc<Lead>,
    _flight: Flight,
}

impl Waits<Written> for Answering {
    fn committed(&mut self) {
        self.passage.committed();
    }

    fn done(self: Box<Self>, result: Written) {
        let Self { groups, passage, lead, _flight: flight } = *self;
        passage.done();
        // The room first: who proposes again at once finds it.
        drop(flight);
        match result {
            Ok(response) => answer_each(groups, response.data),
            Err(ClientWriteError::ForwardToLeader(_)) => {
                answer_all(groups, &ProposeError::NotLeader { leader: lead.hint() });
            }
            Err(error) => answer_all(groups, &unknown(&error.to_string())),
        }
    }
}

impl NewWork {
    fn new(items_max: usize, measures: Arc<Measures>) -> Arc<Self> {
        Arc::new(Self { window: Mutex::new(Window::new(items_max)), landed: Notify::new(), measures })
    }

    /// How many items of it may go now.
    fn room(&self) -> usize {
        self.with(|window, now| window.room(now))
    }

    /// True when none of it is on its way: then a group may go that its window does not hold.
    fn is_idle(&self) -> bool {
        self.with(|window, _| window.is_idle())
    }

    /// What of it is in these.
    fn send(self: &Arc<Self>, groups: &[Group]) -> Option<OnTheWay> {
        // What the leader itself decides also comes where nobody waits for it.
        if groups.iter().any(|group| matches!(group.lane, Lane::Reports | Lane::Cancels)) {
            self.with(Window::urgent);
        }
        let items = groups.iter().filter(|group| group.lane == Lane::Submits).map(|group| group.count).sum();
        let sent = (items > 0).then(|| self.with(|window, now| window.send(items, now)));
        sent.map(|sent| OnTheWay { sent, new_work: self.clone() })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Window, Instant) -> T) -> T {
        work(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        let items = self.new_work.with(|window, now| {
            window.land(self.sent, now);
            window.items(now)
        });
        self.new_work.measures.new_work_window(items);
        self.new_work.landed.notify_one();
    }
}

impl Waiting {
    fn new(lanes: Lanes<mpsc::Receiver<Group>>, items_max: usize, bytes_max: usize, new_work: Arc<NewWork>) -> Self {
        Self { lanes, carried: Lanes::default(), new_work, items_max, bytes_max }
    }

    /// Groups that wait, the most urgent first, as far as one entry holds them and new work has room.
    async fn next(&mut self) -> Option<Vec<Group>> {
        let mut room = self.new_work.room();
        while !Lane::ALL.into_iter().any(|lane| may_go(lane, room) && self.carried.of(lane).is_some()) {
            tokio::select! {
                biased;
                first = self.lanes.recv(|lane| may_go(lane, room)) => {
                    let first = first?;
                    let lane = first.lane;
                    *self.carried.of_mut(lane) = Some(first);
                }
                () = self.new_work.landed.notified(), if room == 0 => room = self.new_work.room(),
            }
        }
        let (mut groups, mut items, mut bytes) = (vec![], 0_usize, 0_usize);
        for lane in Lane::ALL.into_iter().filter(|lane| may_go(*lane, room)) {
            let mut others = Lane::ALL.into_iter().filter(|other| *other > lane && may_go(*other, room));
            let others_wait = others.any(|other| self.has(other));
            let share = |max: usize| if others_wait { max - max / LEFT_FOR_OTHERS } else { max };
            let items_max = match lane {
                Lane::Submits => self.items_max.min(items.saturating_add(room)),
                Lane::Control | Lane::Reports | Lane::Cancels => share(self.items_max),
            };
            let bytes_max = share(self.bytes_max);
            let mut goes_alone = lane == Lane::Submits && self.new_work.is_idle();
            while let Some(group) = self.take(lane) {
                let items_max = if std::mem::take(&mut goes_alone) { self.items_max } else { items_max };
                let fits = items + group.count <= items_max && bytes + group.encoded.bytes() <= bytes_max;
                // A group that no share could hold still goes, alone.
                if !fits && !groups.is_empty() {
                    *self.carried.of_mut(lane) = Some(group);
                    break;
                }
                items += group.count;
                bytes += group.encoded.bytes();
                groups.push(group);
            }
        }
        Some(groups)
    }

    fn take(&mut self, lane: Lane) -> Option<Group> {
        self.carried.of_mut(lane).take().or_else(|| self.lanes.of_mut(lane).try_recv().ok())
    }

    fn has(&self, lane: Lane) -> bool {
        self.carried.of(lane).is_some() || !self.lanes.of(lane).is_empty()
    }
}

/// New work only goes where it has room.
fn may_go(lane: Lane, room: usize) -> bool {
    lane != Lane::Submits || room > 0
}

fn size(groups: &[Group]) -> (usize, usize) {
    groups.iter().fold((0, 0), |(items, bytes), group| (items + group.count, bytes + group.encoded.bytes()))
}

fn answer_each(mut groups: Vec<Group>, outcome: Outcome) {
    if quorate_planted::is(Bug::AnswersSwapped) {
        groups.reverse();
    }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use quorate_proto::log::EncodedItems;

    use super::super::Room;
    use super::*;

    const ITEMS_MAX: usize = 80;

    fn waiting() -> (Lanes<mpsc::Sender<Group>>, Waiting) {
        waiting_with(1_000_000)
    }

    /// With a window that is open as far as this.
    fn waiting_with(window_max: usize) -> (Lanes<mpsc::Sender<Group>>, Waiting) {
        let (senders, receivers) = Lanes::channels(1_000);
        let new_work = NewWork::new(window_max, Arc::new(Measures::new().unwrap()));
        new_work.with(|window, now| {
            let sent = window.send(1, now);
            window.land(sent, now);
        });
        (senders, Waiting::new(receivers, ITEMS_MAX, 1_000_000, new_work))
    }

    fn queue(senders: &Lanes<mpsc::Sender<Group>>, lane: Lane, groups: usize, count: usize) {
        for _ in 0..groups {
            let (answer, _) = oneshot::channel();
            let permits = Arc::new(Semaphore::new(2));
            let permit = || permits.clone().try_acquire_owned().unwrap();
            let room = Arc::new(Room { _items: permit(), _bytes: permit() });
            let (encoded, proposed) = (EncodedItems::default(), tokio::time::Instant::now());
            let group = Group { items: vec![], count, encoded, lane, proposed, answer, _room: room };
            assert!(senders.of(lane).try_send(group).is_ok());
        }
    }

    async fn next(waiting: &mut Waiting) -> Vec<(Lane, usize)> {
        let groups = waiting.next().await.unwrap();
        let count = |lane: &Lane| groups.iter().filter(|group| group.lane == *lane).map(|group| group.count).sum();
        Lane::ALL.into_iter().map(|lane| (lane, count(&lane))).filter(|(_, items)| *items > 0).collect()
    }

    #[tokio::test]
    async fn what_is_urgent_overtakes_a_flood_and_leaves_it_a_share() {
        let (senders, mut waiting) = waiting();
        queue(&senders, Lane::Submits, 300, 1);
        queue(&senders, Lane::Cancels, 2, 1);
        queue(&senders, Lane::Control, 1, 3);
        let first = next(&mut waiting).await;
        assert_eq!(first, [(Lane::Control, 3), (Lane::Cancels, 2), (Lane::Submits, ITEMS_MAX - 5)]);
        queue(&senders, Lane::Reports, 500, 1);
        let share = ITEMS_MAX / LEFT_FOR_OTHERS;
        assert_eq!(next(&mut waiting).await, [(Lane::Reports, ITEMS_MAX - share), (Lane::Submits, share)]);
    }

    #[tokio::test]
    async fn new_work_without_room_waits_in_its_lane_and_what_is_urgent_passes_it() {
        let (senders, mut waiting) = waiting();
        queue(&senders, Lane::Submits, 80, 1);
        let groups = waiting.next().await.unwrap();
        let on_the_way: Vec<_> = (0..20).filter_map(|_| waiting.new_work.send(&groups)).collect();
        queue(&senders, Lane::Submits, 80, 1);
        queue(&senders, Lane::Cancels, 2, 1);
        assert_eq!(next(&mut waiting).await, [(Lane::Cancels, 2)]);
        assert!(waiting.next().now_or_never().is_none(), "more than its window is on its way");
        queue(&senders, Lane::Reports, 1, 1);
        assert_eq!(next(&mut waiting).await, [(Lane::Reports, 1)]);
        drop(on_the_way);
        assert_eq!(next(&mut waiting).await, [(Lane::Submits, 80)]);
    }

    #[tokio::test]
    async fn a_flood_goes_no_faster_than_its_window_also_where_nothing_is_on_its_way() {
        let (senders, mut waiting) = waiting_with(10);
        queue(&senders, Lane::Submits, 40, 1);
        assert_eq!(next(&mut waiting).await, [(Lane::Submits, 10)]);
        queue(&senders, Lane::Submits, 1, 60);
        queue(&senders, Lane::Cancels, 1, 1);
        assert_eq!(next(&mut waiting).await, [(Lane::Cancels, 1), (Lane::Submits, 10)]);
        let _ = (next(&mut waiting).await, next(&mut waiting).await);
        queue(&senders, Lane::Cancels, 1, 1);
        let large = [(Lane::Cancels, 1), (Lane::Submits, 60)];
        assert_eq!(next(&mut waiting).await, large, "one that the window never holds is not held back for ever");
    }

    #[tokio::test]
    async fn within_a_lane_the_order_stays_and_a_group_too_large_for_a_share_goes_alone() {
        let (senders, mut waiting) = waiting();
        queue(&senders, Lane::Control, 2, ITEMS_MAX);
        queue(&senders, Lane::Submits, 1, 1);
        queue(&senders, Lane::Submits, 1, ITEMS_MAX);
        queue(&senders, Lane::Submits, 1, 2);
        assert_eq!(next(&mut waiting).await, [(Lane::Control, ITEMS_MAX)]);
        assert_eq!(next(&mut waiting).await, [(Lane::Control, ITEMS_MAX)]);
        assert_eq!(next(&mut waiting).await, [(Lane::Submits, 1)]);
        assert_eq!(next(&mut waiting).await, [(Lane::Submits, ITEMS_MAX)], "not overtaken by the smaller one");
        assert_eq!(next(&mut waiting).await, [(Lane::Submits, 2)]);
        drop(senders);
        assert!(waiting.next().await.is_none());
    }
}

//! How much new work is on its way at once, so that what is urgent need not wait behind it.
//!
//! The log is in order: whatever is proposed waits for all that is on its way already, in whatever lane it
//! came. More on its way than keeps disks, network and processors busy brings no throughput, only waiting,
//! and in the one place where a lane cannot overtake. So new work has a window: where entries take much longer
//! than they need to, less of it is on its way and more of it waits in its lane; and where there is something
//! urgent at all, less again.
//!
//! How long an entry needs is what one took when little was on its way. It is measured again every
//! [`NEEDED_FOR`], for which the window closes down to [`ITEMS_MIN`] for a moment, as BBR does
//! (Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016): measured under load it would
//! creep up with the load.

use std::time::Duration;

use tokio::time::Instant;

/// The window is never smaller, and what an entry needs is measured with no more on its way.
const ITEMS_MIN: usize = 16;
/// The window at first.
const ITEMS_FIRST: usize = 1_024;
/// An entry may take a quarter longer than it needs, and this much: about what a busy machine's scheduling adds.
const SLACK: Duration = Duration::from_millis(20);
/// The same while something urgent is about: whatever is urgent waits for the entries before it, once per step of
/// what it brings about.
const SLACK_URGENT: Duration = Duration::from_millis(4);
/// Something urgent is about for so long after it came.
const URGENT_FOR: Duration = Duration::from_secs(1);
/// What was measured holds for so long.
const NEEDED_FOR: Duration = Duration::from_secs(10);
/// The window grows by one part in so many each time as much as it holds has come through.
const GROW_ONE_IN: usize = 8;

/// Items of new work that may be on their way.
#[derive(Debug)]
pub(super) struct Window {
    items: usize,
    items_max: usize,
    on_the_way: usize,
    needed: Option<Needed>,
    cut_at: Option<Instant>,
    urgent_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Needed {
    time: Duration,
    measured_at: Instant,
}

/// New work of one entry, while it is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    items: usize,
    /// With these.
    on_the_way: usize,
    at: Instant,
}

impl Window {
    pub(super) fn new(items_max: usize) -> Self {
        let items = ITEMS_FIRST.min(items_max);
        Self { items, items_max, on_the_way: 0, needed: None, cut_at: None, urgent_at: None }
    }

    /// How many items may be on their way.
    pub(super) fn items(&self, now: Instant) -> usize {
        let is_known = self.needed.is_some_and(|needed| now < needed.measured_at + NEEDED_FOR);
        if is_known { self.items } else { self.items.min(ITEMS_MIN) }
    }

    /// True when nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.on_the_way == 0
    }

    /// How many more may go now. None go until half of the window is free, so that they share an entry.
    pub(super) fn room(&self, now: Instant) -> usize {
        let items = self.items(now);
        let room = items.saturating_sub(self.on_the_way);
        if room >= items.div_ceil(2) { room } else { 0 }
    }

    /// Something of a more urgent lane goes into an entry.
    pub(super) fn urgent(&mut self, now: Instant) {
        self.urgent_at = Some(now);
    }

    pub(super) fn send(&mut self, items: usize, now: Instant) -> Sent {
        self.on_the_way += items;
        Sent { items, on_the_way: self.on_the_way, at: now }
    }

    /// It is applied, or will never be.
    pub(super) fn land(&mut self, sent: Sent, now: Instant) {
        self.on_the_way = self.on_the_way.saturating_sub(sent.items);
        let took = now.saturating_duration_since(sent.at);
        if sent.on_the_way <= ITEMS_MIN {
            let is_known = |needed: &Needed| took > needed.time && now < needed.measured_at + NEEDED_FOR;
            if !self.needed.as_ref().is_some_and(is_known) {
                self.needed = Some(Needed { time: took, measured_at: now });
            }
        }
        let Some(needed) = self.needed else { return };
        let is_urgent = self.urgent_at.is_some_and(|at| now < at + URGENT_FOR);
        let may_take = needed.time + needed.time / 4 + if is_urgent { SLACK_URGENT } else { SLACK };
        if took <= may_take {
            let was_used = sent.on_the_way >= self.items / 2;
            let more = if was_used { sent.items.div_ceil(GROW_ONE_IN) } else { 0 };
            self.items = (self.items + more).min(self.items_max);
        } else if self.cut_at.is_none_or(|cut_at| sent.at >= cut_at) {
            // Once for all that were on their way together: the next ones show whether it was enough.
            let share = (may_take.as_secs_f64() / took.as_secs_f64()).clamp(0.5, 0.9);
            self.items = ((self.items as f64 * share) as usize).max(ITEMS_MIN.min(self.items_max));
            self.cut_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4_096;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A window that knows that an entry needs 2 ms.
    fn window(now: Instant) -> Window {
        let mut window = Window::new(MAX);
        let sent = window.send(1, now);
        window.land(sent, now + millis(2));
        window
    }

    /// A server that works off one item after the other: for a while, as much as may goes at once, and takes
    /// `each` per item. The longest time that anything took in the last half.
    fn flood(window: &mut Window, mut now: Instant, each: Duration, rounds: u32) -> (Instant, Duration) {
        let mut longest = Duration::ZERO;
        let mut flying: Option<(Sent, usize)> = None;
        for round in 0..rounds {
            let items = window.room(now);
            let next = (items > 0).then(|| (window.send(items, now), items));
            if let Some((sent, items)) = flying {
                now += each * u32::try_from(items).unwrap();
                window.land(sent, now);
                if round > rounds / 2 {
                    longest = longest.max(now - sent.at);
                }
            }
            flying = next;
        }
        if let Some((sent, items)) = flying {
            now += each * u32::try_from(items).unwrap();
            window.land(sent, now);
        }
        (now, longest)
    }

    #[test]
    fn a_flood_on_a_slow_machine_waits_in_its_lane() {
        let start = Instant::now();
        let mut window = window(start);
        let (now, longest) = flood(&mut window, start, Duration::from_micros(200), 2_000);
        assert!(now - start > 2 * NEEDED_FOR, "it was measured again");
        assert!(longest < millis(45), "an entry took {longest:?}");
        assert!(window.items(now) < 250, "{}", window.items(now));
    }

    #[test]
    fn where_something_is_urgent_new_work_is_held_shorter() {
        let start = Instant::now();
        let (mut window, mut now) = (window(start), start);
        for _ in 0..200 {
            window.urgent(now);
            (now, _) = flood(&mut window, now, Duration::from_micros(200), 10);
        }
        assert!(now - start < NEEDED_FOR, "it was not measured again");
        let held = window.items(now);
        let (later, _) = flood(&mut window, now + URGENT_FOR, Duration::from_micros(200), 200);
        assert!(later - start < NEEDED_FOR + URGENT_FOR);
        assert!(3 * held < window.items(later), "{held} while it was urgent, {} after", window.items(later));
    }

    #[test]
    fn a_fast_one_gets_all_it_can_take() {
        let start = Instant::now();
        let mut window = window(start);
        let (now, _) = flood(&mut window, start, Duration::from_micros(3), 2_000);
        assert_eq!(window.items, MAX, "{:?}", now - start);
    }

    #[test]
    fn far_replicas_are_not_taken_for_slow_ones() {
        let start = Instant::now();
        let mut window = Window::new(MAX);
        let mut now = start;
        for _ in 0..200 {
            let room = window.room(now);
            let sent = window.send(room, now);
            now += millis(150);
            window.land(sent, now);
        }
        assert_eq!(window.items, MAX);
    }

    #[test]
    fn one_stall_costs_one_cut_and_is_forgotten() {
        let start = Instant::now();
        let mut window = window(start);
        let sent: Vec<Sent> = (0..4).map(|_| window.send(200, start)).collect();
        assert_eq!(window.room(start), 0);
        for sent in sent {
            window.land(sent, start + Duration::from_secs(1));
        }
        assert_eq!(window.items, ITEMS_FIRST / 2);
        let (_, _) = flood(&mut window, start + Duration::from_secs(1), Duration::from_micros(10), 200);
        assert!(window.items > ITEMS_FIRST, "{}", window.items);
    }

    #[test]
    fn what_an_entry_needs_is_measured_with_little_on_its_way() {
        let start = Instant::now();
        let mut window = window(start);
        let later = start + NEEDED_FOR + millis(3);
        assert_eq!(window.items(start + millis(3)), ITEMS_FIRST);
        assert_eq!(window.items(later), ITEMS_MIN);
        let many = window.send(500, later);
        window.land(many, later + millis(400));
        assert_eq!(window.items(later), ITEMS_MIN, "under load nothing is learnt");
        let few = window.send(ITEMS_MIN, later);
        window.land(few, later + millis(30));
        assert_eq!(window.needed.map(|needed| needed.time), Some(millis(30)));
        assert!(window.items(later + millis(30)) > ITEMS_MIN);
    }

    #[test]
    fn none_go_until_half_of_the_window_is_free() {
        let now = Instant::now();
        let mut window = window(now);
        assert_eq!((window.room(now), window.is_idle()), (ITEMS_FIRST, true));
        let large = window.send(10 * MAX, now);
        assert_eq!((window.room(now), window.is_idle()), (0, false));
        window.land(large, now + millis(1));
        let half = window.items(now) / 2;
        let first = window.send(half, now);
        assert_eq!(window.room(now), half);
        window.send(half / 2, now);
        assert_eq!(window.room(now), 0);
        window.land(first, now + millis(1));
        assert!(window.room(now) >= half);
    }
}

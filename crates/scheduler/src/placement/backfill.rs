//! Backfill: who may begin before others that wait for more, without delaying any of them.
//!
//! Conservative: everything that waits is given, in the order of the queue, the earliest stretch of time in which it fits
//! beside what runs and beside all that is before it. What has its stretch now begins; the others' beginnings are what they are
//! told. Times are those by which tasks must have ended (their limits), so what ends sooner only brings others forward, as
//! long as nothing with a better place in the queue comes.
//!
//! Amounts are those of a whole, such as a cluster: whether single nodes have the room is the next question, not this one.
//! `quorate bench replay` plays logs of others against it (ADR 0059); `plan`, which has many nodes, keeps some of them instead (ADR 0066).

use quorate_state::Resources;

/// Stretches that are given out in one pass; what stands behind them in the queue does not begin before something changes.
pub const RESERVATIONS_MAX: usize = 1_000;

/// Something that takes room for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// How much.
    pub want: Resources,
    /// How long at most, in milliseconds; none: nobody knows.
    pub limit_ms: Option<u64>,
}

/// What is free from now on, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// From each of these instants on, this much, until the next; rising, and the first is now.
    steps: Vec<(u64, Resources)>,
}

impl Timeline {
    /// With this much free `now`, and these amounts given back at these instants. What should have ended by now is expected
    /// at any moment: it is given back in the next millisecond.
    pub fn new(now_ms: u64, free: Resources, ends: impl IntoIterator<Item = (u64, Resources)>) -> Self {
        let mut ends: Vec<(u64, Resources)> =
            ends.into_iter().map(|(at, held)| (at.max(now_ms.saturating_add(1)), held)).collect();
        ends.sort_unstable_by_key(|(at, _)| *at);
        let mut steps = vec![(now_ms, free)];
        for (at, held) in ends {
            let before = steps.last().map_or(free, |(_, free)| *free);
            // Amounts of a whole that exists, which its own sum has not overflowed.
            let after = before.checked_add(held).unwrap_or(before);
            match steps.last_mut() {
                Some((last, free)) if *last == at => *free = after,
                _ => steps.push((at, after)),
            }
        }
        Self { steps }
    }

    /// When it fits for as long as it may take, at the earliest; none: never. One of which nobody knows how long it takes must
    /// fit for good.
    pub fn earliest(&self, span: &Span) -> Option<u64> {
        let mut from = 0;
        while let Some((start, _)) = self.steps.get(from) {
            let end = span.limit_ms.map_or(u64::MAX, |limit| start.saturating_add(limit.max(1)));
            let during = self.steps.iter().enumerate().skip(from).take_while(|(_, (at, _))| *at < end);
            let mut lacking = during.filter(|(_, (_, free))| !span.want.fits(*free)).map(|(at, _)| at);
            match lacking.next() {
                None => return Some(*start),
                Some(at) => from = at + 1,
            }
        }
        None
    }

    /// Takes the room from `start` on, where it fits.
    pub fn reserve(&mut self, start: u64, span: &Span) {
        let end = span.limit_ms.map_or(u64::MAX, |limit| start.saturating_add(limit.max(1)));
        let (from, to) = (self.cut(start), self.cut(end));
        for (_, free) in self.steps.iter_mut().take(to).skip(from) {
            *free = free.saturating_sub(span.want);
        }
    }

    /// The position of the step that begins at an instant, which there is afterwards unless it lies before now or is the end of
    /// all time.
    fn cut(&mut self, at: u64) -> usize {
        let position = self.steps.partition_point(|(step, _)| *step < at);
        let is_there = self.steps.get(position).is_some_and(|(step, _)| *step == at);
        if !is_there
            && at != u64::MAX
            && let Some((_, free)) = position.checked_sub(1).and_then(|before| self.steps.get(before)).copied()
        {
            self.steps.insert(position, (at, free));
        }
        position
    }
}

/// When each of these begins, in the order of the queue, at the latest as far as is known now; none: it fits never, or stands
/// behind [`RESERVATIONS_MAX`] others. What begins now is told the timeline's first instant.
pub fn starts<'a>(timeline: &mut Timeline, queue: impl IntoIterator<Item = &'a Span>) -> Vec<Option<u64>> {
    let mut give = |(number, span): (usize, &Span)| {
        let start = if number < RESERVATIONS_MAX { timeline.earliest(span) } else { None }?;
        timeline.reserve(start, span);
        Some(start)
    };
    queue.into_iter().enumerate().map(&mut give).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cores(cpu_milli: u64) -> Resources {
        Resources { cpu_milli, ..Resources::ZERO }
    }

    fn span(cpu_milli: u64, limit_ms: u64) -> Span {
        Span { want: cores(cpu_milli), limit_ms: Some(limit_ms) }
    }

    #[test]
    fn what_is_small_and_short_goes_before_what_waits_and_what_would_delay_it_does_not() {
        // Four of eight are free, the others at 100.
        let open = || Timeline::new(0, cores(4), [(100, cores(4))]);
        let queue = [span(8, 50), span(4, 100), span(4, 101), span(1, 500)];
        assert_eq!(starts(&mut open(), &queue), [Some(100), Some(0), Some(150), Some(150)]);
        let endless = Span { want: cores(1), limit_ms: None };
        assert_eq!(starts(&mut open(), &[span(8, 50), endless]), [Some(100), Some(150)]);
        assert_eq!(starts(&mut open(), &[endless, span(8, 50)]), [Some(0), None]);
        assert_eq!(starts(&mut open(), &[span(9, 1)]), [None]);
    }

    #[test]
    fn what_should_have_ended_is_expected_at_any_moment() {
        let timeline = Timeline::new(1_000, cores(0), [(10, cores(2)), (400, cores(1)), (2_000, cores(1))]);
        assert_eq!(timeline.steps, [(1_000, cores(0)), (1_001, cores(3)), (2_000, cores(4))]);
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        let one = (0_u64..9, 0_u64..5, prop_oneof![5 => (0_u64..60).prop_map(Some), 1 => Just(None)]).prop_map(
            |(cpu_milli, memory_bytes, limit_ms)| Span {
                want: Resources { cpu_milli, memory_bytes, gpu_milli: 0 },
                limit_ms,
            },
        );
        prop::collection::vec(one, 0..24)
    }

    proptest! {
        /// At no instant more is promised than there is, nobody delays those before them, and nobody waits for longer than needed.
        #[test]
        fn what_is_promised_fits_and_is_the_earliest(queue in spans(), running in spans(), free in (0_u64..9, 0_u64..5)) {
            let free = Resources { cpu_milli: free.0, memory_bytes: free.1, gpu_milli: 0 };
            let ends: Vec<(u64, Resources)> =
                running.iter().filter_map(|span| Some((span.limit_ms?, span.want))).collect();
            let open = Timeline::new(5, free, ends.iter().copied());
            let given = starts(&mut open.clone(), &queue);
            let free_at = |at: u64, upto: usize| {
                let mut left = free;
                for (end, held) in &ends {
                    if (*end).max(6) <= at {
                        left = left.checked_add(*held).unwrap();
                    }
                }
                for (span, start) in queue.iter().zip(&given).take(upto) {
                    let Some(start) = *start else { continue };
                    let end = span.limit_ms.map_or(u64::MAX, |limit| start + limit.max(1));
                    if start <= at && at < end {
                        prop_assert!(span.want.fits(left), "more is promised at {at} than there is");
                        left = left.checked_sub(span.want).unwrap();
                    }
                }
                Ok(left)
            };
            for (number, (span, start)) in queue.iter().zip(&given).enumerate() {
                let horizon = 4_000;
                let fits_from = |from: u64| -> Result<bool, TestCaseError> {
                    let end = span.limit_ms.map_or(horizon, |limit| from + limit.max(1));
                    for at in from..end {
                        if !span.want.fits(free_at(at, number)?) {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                };
                match start {
                    Some(start) => {
                        prop_assert!(fits_from(*start)?);
                        for earlier in 5..*start {
                            prop_assert!(!fits_from(earlier)?, "{number} could begin at {earlier}, not only at {start}");
                        }
                    }
                    None => prop_assert!(!fits_from(horizon - 1)?),
                }
            }
        }
    }
}

//! Whether a leader with a slow device should pass leadership on, and to whom.
//!
//! Wrong is worse than late: leadership stays unless the device has been slow for a while, somebody else
//! is known to be much faster right now, and this leader has led for long enough that leadership cannot
//! go round in circles. Where all devices are slow, it stays.

use std::time::Duration;

use crate::Tuning;
use crate::type_config::ReplicaId;

/// A successor's device takes at most one part in so many of the leader's time.
const FASTER_TIMES: u32 = 4;

/// What a leader sees.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// What a wait for its own device takes, typically.
    pub(crate) own: Duration,
    /// For how long without a break that has been slow.
    pub(crate) slow_for: Duration,
    /// For how long it leads.
    pub(crate) led_for: Duration,
    /// The other voters.
    pub(crate) voters: Vec<Voter>,
}

/// Another voter.
#[derive(Clone, Debug)]
pub(crate) struct Voter {
    pub(crate) id: ReplicaId,
    /// Its log ends close to ours.
    pub(crate) caught_up: bool,
    /// How long ago it answered, if it ever did.
    pub(crate) silent: Option<Duration>,
    /// What it says that its device takes at most, and how long ago it did.
    pub(crate) sync: Option<(Duration, Duration)>,
}

/// What counts as slow, and as recent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From here on a device is slow.
    pub(crate) slow: Duration,
    /// For so long.
    pub(crate) slow_for: Duration,
    /// A leader leads for this long before it passes leadership on.
    pub(crate) pause: Duration,
    /// What is older says nothing of a voter.
    pub(crate) patience: Duration,
}

/// Who should lead, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) to: ReplicaId,
    /// What a wait for the device takes here.
    pub(crate) own: Duration,
    /// And there.
    pub(crate) theirs: Duration,
}

impl Voter {
    pub(crate) fn answers_within(&self, patience: Duration) -> bool {
        self.silent.is_some_and(|silent| silent <= patience)
    }
}

impl Limits {
    pub(crate) fn of(tuning: &Tuning) -> Self {
        Self {
            slow: Duration::from_millis(tuning.slow_sync_ms),
            slow_for: Duration::from_millis(tuning.slow_for_ms),
            pause: Duration::from_millis(tuning.hand_over_pause_ms),
            patience: Duration::from_millis(tuning.election_ms_max),
        }
    }
}

/// Who should lead instead, if anybody.
pub(crate) fn verdict(observed: &Observed, limits: &Limits) -> Option<HandOver> {
    let Observed { own, slow_for, led_for, voters } = observed;
    if *own < limits.slow || *slow_for < limits.slow_for || *led_for < limits.pause {
        return None;
    }
    let lately = |age: Duration| age <= limits.patience;
    let fit = voters.iter().filter(|voter| voter.caught_up && voter.answers_within(limits.patience));
    let known = fit.filter_map(|voter| voter.sync.filter(|(_, said)| lately(*said)).map(|(took, _)| (took, voter.id)));
    // The fastest; of equals the one that joined first, so that the same is seen and decided again.
    let (theirs, to) = known.filter(|(took, _)| *took < limits.slow && *took * FASTER_TIMES <= *own).min()?;
    Some(HandOver { to, own: *own, theirs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const LIMITS: Limits = Limits { slow: ms(200), slow_for: ms(5_000), pause: ms(30_000), patience: ms(1_000) };

    fn voter(id: ReplicaId, sync: u64) -> Voter {
        Voter { id, caught_up: true, silent: Some(ms(50)), sync: Some((ms(sync), ms(50))) }
    }

    /// A leader that is slow in every respect, with two followers that are not.
    fn slow() -> Observed {
        Observed { own: ms(400), slow_for: ms(6_000), led_for: ms(40_000), voters: vec![voter(2, 5), voter(3, 3)] }
    }

    fn to(observed: &Observed) -> Option<ReplicaId> {
        verdict(observed, &LIMITS).map(|hand_over| hand_over.to)
    }

    #[test]
    fn a_leader_that_stays_slow_passes_leadership_on_to_the_fastest() {
        assert_eq!(verdict(&slow(), &LIMITS), Some(HandOver { to: 3, own: ms(400), theirs: ms(3) }));
    }

    #[test]
    fn it_stays_unless_everything_speaks_for_it() {
        for (why, change) in [
            ("its disk is fast", (|seen| seen.own = ms(199)) as fn(&mut Observed)),
            ("it is slow only since a moment ago", |seen| seen.slow_for = ms(4_999)),
            ("it leads only since a moment ago", |seen| seen.led_for = ms(29_999)),
            ("nobody else votes", |seen| seen.voters.clear()),
            ("all disks are slow", |seen| seen.voters.iter_mut().for_each(|voter| voter.sync = Some((ms(300), ms(9))))),
            ("none is much faster", |seen| {
                seen.voters.iter_mut().for_each(|voter| voter.sync = Some((ms(101), ms(9))))
            }),
            ("nobody says how fast it is", |seen| seen.voters.iter_mut().for_each(|voter| voter.sync = None)),
            ("they said it long ago", |seen| {
                seen.voters.iter_mut().for_each(|voter| voter.sync = Some((ms(3), ms(1_001))));
            }),
            ("nobody has caught up", |seen| seen.voters.iter_mut().for_each(|voter| voter.caught_up = false)),
            ("nobody answers", |seen| seen.voters.iter_mut().for_each(|voter| voter.silent = Some(ms(1_001)))),
            ("nobody ever answered", |seen| seen.voters.iter_mut().for_each(|voter| voter.silent = None)),
        ] {
            let mut observed = slow();
            change(&mut observed);
            assert_eq!(to(&observed), None, "{why}");
        }
    }

    #[test]
    fn who_is_not_fit_is_passed_over() {
        let mut observed = slow();
        observed.voters[1].caught_up = false;
        assert_eq!(to(&observed), Some(2));
        observed.voters.push(voter(4, 5));
        assert_eq!(to(&observed), Some(2), "of equals the one that joined first");
    }

    /// The new leader is fast, and would go back only to somebody who is faster still by far.
    #[test]
    fn leadership_does_not_go_back_and_forth() {
        for own in [200, 400, 5_000] {
            for theirs in [1, 49, 100, 199, 400] {
                let there = Observed { own: ms(own), voters: vec![voter(2, theirs)], ..slow() };
                let back = Observed { own: ms(theirs), voters: vec![voter(1, own)], ..slow() };
                assert!(to(&there).is_none() || to(&back).is_none(), "{own} {theirs}");
            }
        }
    }
}

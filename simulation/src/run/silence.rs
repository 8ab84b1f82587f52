//! Since when machines with agents cannot have had a lease renewed.
//!
//! A lease runs from the sending of what renewed it, or of the greeting that asked for it, and the answer may come long after: a
//! replica that has nobody but the machine keeps what it heard until a quorum has it again, and answers then, even when
//! nothing that the machine says reaches it any more. So words are followed on their way, to whoever can confirm them and back.

use std::time::Duration;

use super::network::Cuts;

/// What machines said last, and how far it can have come.
pub(super) struct Silence {
    links: Links,
    /// The tick before.
    last: Duration,
    racks: Vec<Words>,
}

/// Who can hear whom, from one change of it to the next.
#[derive(Debug, Default, PartialEq, Eq)]
struct Links {
    /// Which replicas have power, and which of them do not stand still.
    has_power: Vec<bool>,
    acts: Vec<bool>,
    /// The changes of cuts and of the ledger that are taken in.
    since: (u64, u64),
    /// Which replicas can be part of a quorum.
    confirms: Vec<bool>,
    /// From a replica to another.
    between: Vec<Vec<bool>>,
    /// From a rack to a replica, and back.
    there: Vec<Vec<bool>>,
    back: Vec<Vec<bool>>,
}

/// When a machine said the last that can have come so far.
struct Words {
    /// To each replica.
    heard: Vec<Option<Duration>>,
    /// To each replica, once a quorum has confirmed it.
    confirmed: Vec<Option<Duration>>,
    /// Back to the machine.
    renewed: Duration,
}

impl Silence {
    pub(super) fn new(replicas: usize, racks: usize) -> Self {
        let words = || Words { heard: vec![None; replicas], confirmed: vec![None; replicas], renewed: Duration::ZERO };
        Self { links: Links::default(), last: Duration::ZERO, racks: (0..racks).map(|_| words()).collect() }
    }

    /// Takes in how things stand at this tick: which replicas have power, which of them do not stand still, how many voters are a
    /// quorum, and how often voters have changed. Says since when each machine is silent, where that is so.
    pub(super) fn note(
        &mut self,
        now: Duration,
        cuts: &Cuts,
        (has_power, acts): (Vec<bool>, Vec<bool>),
        quorum: impl Fn() -> usize,
        who_changes: u64,
    ) -> Vec<Option<Duration>> {
        let since = (cuts.changes(), who_changes);
        let is_new = (&self.links.has_power, &self.links.acts, self.links.since) != (&has_power, &acts, since);
        if is_new {
            // Until now it was as before.
            self.pass(self.last);
            self.links = Links::new(cuts, self.racks.len(), has_power, acts, quorum(), since);
        }
        // Where nobody was silent and nothing has changed, nobody is.
        if is_new || self.racks.iter().any(|words| words.renewed < self.last) {
            self.pass(now);
        } else {
            self.racks.iter_mut().for_each(|words| words.renewed = now);
        }
        self.last = now;
        self.racks.iter().map(|words| Some(words.renewed).filter(|renewed| *renewed < now)).collect()
    }

    /// Lets words come as far as they can at this instant.
    fn pass(&mut self, now: Duration) {
        let links = &self.links;
        for ((words, there), back) in self.racks.iter_mut().zip(&links.there).zip(&links.back) {
            for (at, has_power) in links.has_power.iter().enumerate() {
                if !has_power {
                    (words.heard[at], words.confirmed[at]) = (None, None);
                } else if there[at] {
                    words.heard[at] = Some(now);
                }
            }
            links.spread(&mut words.heard);
            for (at, _) in links.confirms.iter().enumerate().filter(|(_, confirms)| **confirms) {
                words.confirmed[at] = words.confirmed[at].max(words.heard[at]);
            }
            links.spread(&mut words.confirmed);
            let told = (0..back.len()).filter(|at| links.acts[*at] && back[*at]).filter_map(|at| words.confirmed[at]);
            words.renewed = told.fold(words.renewed, Duration::max);
        }
    }
}

impl Links {
    fn new(cuts: &Cuts, racks: usize, has_power: Vec<bool>, acts: Vec<bool>, quorum: usize, since: (u64, u64)) -> Self {
        let replicas = acts.len();
        let row = |from: usize, is_back: bool| {
            (0..replicas).map(|at| if is_back { cuts.passes(at, from) } else { cuts.passes(from, at) }).collect()
        };
        Self {
            confirms: (0..replicas).map(|at| acts[at] && cuts.reach(at, &acts) + 1 >= quorum).collect(),
            between: (0..replicas).map(|from| row(from, false)).collect(),
            there: (0..racks).map(|rack| row(replicas + rack, false)).collect(),
            back: (0..racks).map(|rack| row(replicas + rack, true)).collect(),
            has_power,
            acts,
            since,
        }
    }

    /// Replicas pass on what they have. One that stands still hears it when it goes on.
    fn spread(&self, what: &mut [Option<Duration>]) {
        loop {
            let mut has_moved = false;
            for from in (0..what.len()).filter(|from| self.acts[*from]) {
                for to in 0..what.len() {
                    if self.has_power[to] && self.between[from][to] && what[to] < what[from] {
                        what[to] = what[from];
                        has_moved = true;
                    }
                }
            }
            if !has_moved {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use turmoil::{Builder, Sim};

    use super::*;
    use crate::scenario::Way;
    use crate::scenario::sample::sample;

    /// Three replicas, all of them voters, and two machines.
    struct Ground {
        sim: Sim<'static>,
        cuts: Cuts,
        silence: Silence,
        has_power: Vec<bool>,
        acts: Vec<bool>,
    }

    impl Ground {
        fn new() -> Self {
            let scenario = sample();
            let mut sim = Builder::new().build();
            for host in scenario.hosts() {
                sim.host(host, std::future::pending);
            }
            let all = vec![true; 3];
            let silence = Silence::new(3, 2);
            Self { sim, cuts: Cuts::new(&scenario), silence, has_power: all.clone(), acts: all }
        }

        /// Since which second the first machine is silent at this one.
        fn at(&mut self, second: u64) -> Option<u64> {
            let standing = (self.has_power.clone(), self.acts.clone());
            let silent = self.silence.note(Duration::from_secs(second), &self.cuts, standing, || 2, 1);
            silent[0].map(|since| since.as_secs())
        }

        fn cut(&mut self, inside: &[usize], outside: &[usize], way: Way) -> Vec<(usize, usize)> {
            let cut = self.cuts.around(inside, outside, way);
            self.cuts.cut(&self.sim, &cut);
            cut
        }

        fn mend(&mut self, cut: &[(usize, usize)]) {
            self.cuts.mend(&self.sim, cut);
        }
    }

    const RACK: usize = 3;

    #[test]
    fn a_machine_is_silent_since_it_last_said_something_that_a_quorum_confirmed() {
        let mut ground = Ground::new();
        assert_eq!((ground.at(1), ground.at(2)), (None, None));
        let cut = ground.cut(&[RACK], &[0, 1, 2], Way::Both);
        assert_eq!((ground.at(3), ground.at(4)), (Some(2), Some(2)));
        ground.mend(&cut);
        assert_eq!(ground.at(5), None);
        ground.acts = vec![true, false, false];
        assert_eq!((ground.at(6), ground.at(7)), (Some(5), Some(5)), "one of three confirms nothing");
    }

    #[test]
    fn what_a_replica_heard_before_it_was_mute_is_confirmed_once_a_quorum_is_back() {
        // The machine and a replica have each other alone, and later not even that, both ways.
        let minority = |is_heard: bool| {
            let mut ground = Ground::new();
            assert_eq!(ground.at(1), None);
            let apart = ground.cut(&[0, RACK], &[1, 2], Way::Both);
            if !is_heard {
                ground.cut(&[RACK], &[0], Way::Mute);
            }
            assert_eq!(ground.at(10), Some(1));
            ground.cut(&[RACK], &[0, 1, 2], Way::Mute);
            assert_eq!(ground.at(20), Some(1));
            ground.mend(&apart);
            (ground.at(21), ground.at(22))
        };
        assert_eq!(minority(true), (Some(10), Some(10)));
        assert_eq!(minority(false), (Some(1), Some(1)));
    }

    #[test]
    fn a_replica_that_loses_power_forgets_what_it_heard_and_one_that_stands_still_does_not() {
        let back = |loses_power: bool| {
            let mut ground = Ground::new();
            let apart = ground.cut(&[0, RACK], &[1, 2], Way::Both);
            assert_eq!(ground.at(10), Some(0));
            ground.cut(&[RACK], &[0], Way::Mute);
            (ground.acts[0], ground.has_power[0]) = (false, !loses_power);
            assert_eq!(ground.at(20), Some(0));
            (ground.acts[0], ground.has_power[0]) = (true, true);
            ground.mend(&apart);
            ground.cut(&[RACK], &[1, 2], Way::Mute);
            ground.at(30)
        };
        assert_eq!(back(false), Some(10));
        assert_eq!(back(true), Some(0));
    }
}

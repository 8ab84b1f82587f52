//! Numbers that follow from a seed (splitmix64).

/// A stream of numbers; the same seed gives the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of this seed for one purpose: streams with different labels do not disturb each other.
    pub(crate) fn of(seed: u64, label: &str) -> Self {
        label.bytes().fold(Self(seed), |draw, byte| Self(draw.0 ^ u64::from(byte)).stepped())
    }

    fn stepped(mut self) -> Self {
        self.next();
        self
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `low..high`, which must not be empty.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// One of these, of which there is at least one.
    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let position = self.next() % choices.len() as u64;
        &choices[usize::try_from(position).unwrap_or(0)]
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.next() % 100 < share
    }

    /// The same things in another order.
    pub(crate) fn shuffled<T>(&mut self, mut things: Vec<T>) -> Vec<T> {
        let mut shuffled = Vec::with_capacity(things.len());
        while !things.is_empty() {
            let position = usize::try_from(self.next() % things.len() as u64).unwrap_or(0);
            shuffled.push(things.swap_remove(position));
        }
        shuffled
    }
}

//! Graphics processors and their like: what a node has, what a task takes of them, and which of them it is given.
//!
//! A task takes a share of one device, or whole devices. Which ones is decided with its placement and checked again in
//! `apply`, like all else that it takes: a device is never promised twice.

use crate::{GpuModel, Node, TaskSpec};

/// A whole device, in thousandths.
pub const GPU_MILLI: u64 = 1_000;

/// Devices of one node, and so the most that one task can have.
pub const GPUS_PER_NODE_MAX: usize = 64;

/// The devices that an attempt holds of its node's, and how much of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GpuHold {
    /// A bit for each, the lowest for the first device that the node has named.
    pub devices: u64,
    /// Thousandths of each of them: [`GPU_MILLI`] of whole ones, less of one that is shared.
    pub milli: u16,
}

impl GpuHold {
    /// Nothing.
    pub const NONE: Self = Self { devices: 0, milli: 0 };

    /// Positions of the devices, in order.
    pub fn positions(self) -> impl Iterator<Item = usize> {
        let mut left = self.devices;
        std::iter::from_fn(move || {
            let at = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(at)
        })
    }

    /// All of it together, in thousandths.
    pub fn total_milli(self) -> u64 {
        u64::from(self.devices.count_ones()) * u64::from(self.milli)
    }
}

/// How much of each device of a node is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuUse {
    /// Thousandths, by position; nothing is taken of those behind the last.
    taken: Vec<u32>,
}

impl GpuUse {
    /// Nothing.
    pub fn none() -> &'static Self {
        static NONE: GpuUse = GpuUse { taken: Vec::new() };
        &NONE
    }

    /// What is taken of the device at a position, in thousandths.
    pub fn of(&self, at: usize) -> u64 {
        self.taken.get(at).copied().unwrap_or_default().into()
    }

    /// What is left of the device at a position.
    pub fn free(&self, at: usize) -> u64 {
        GPU_MILLI.saturating_sub(self.of(at))
    }

    /// Takes something; more than a device has, if it must be.
    pub fn take(&mut self, hold: GpuHold) {
        for at in hold.positions() {
            if self.taken.len() <= at {
                self.taken.resize(at + 1, 0);
            }
            if let Some(taken) = self.taken.get_mut(at) {
                *taken = taken.saturating_add(hold.milli.into());
            }
        }
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, hold: GpuHold) {
        for at in hold.positions() {
            if let Some(taken) = self.taken.get_mut(at) {
                *taken = taken.saturating_sub(hold.milli.into());
            }
        }
        while self.taken.last() == Some(&0) {
            self.taken.pop();
        }
    }

    /// What is taken of each in the one or the other, whichever is more.
    pub(crate) fn each_max(&self, other: &Self) -> Self {
        self.each(other, u32::max)
    }

    /// Takes what is taken there as well.
    pub fn take_all(&mut self, other: &Self) {
        *self = self.each(other, u32::saturating_add);
    }

    fn each(&self, other: &Self, by: impl Fn(u32, u32) -> u32) -> Self {
        let both = (0..self.taken.len().max(other.taken.len())).map(|at| {
            let of = |taken: &[u32]| taken.get(at).copied().unwrap_or_default();
            by(of(&self.taken), of(&other.taken))
        });
        Self { taken: both.collect() }
    }

    /// True when more is taken of a device than there is.
    pub fn is_overcommitted(&self) -> bool {
        self.taken.iter().any(|taken| u64::from(*taken) > GPU_MILLI)
    }
}

/// What a task takes of GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuWant<'a> {
    /// Thousandths: less than [`GPU_MILLI`] of one device, or a multiple of it.
    pub milli: u64,
    /// Models of which they may be; none: of any.
    pub models: &'a [GpuModel],
}

impl<'a> GpuWant<'a> {
    /// What one element of a task takes, of which nothing is left to choose.
    pub fn of(task: &'a TaskSpec) -> Self {
        debug_assert!(!task.has_choice(), "asked of one alternative, not of a task that has several");
        Self { milli: task.resources.gpu_milli, models: &task.gpu_models }
    }

    /// True of one that is content with a part of a device.
    pub fn is_shared(self) -> bool {
        self.milli > 0 && self.milli < GPU_MILLI
    }

    /// Devices that it takes.
    pub fn devices(self) -> u64 {
        self.milli.div_ceil(GPU_MILLI)
    }

    /// The devices of a node that it may have, a bit for each.
    pub fn allowed(self, node: &Node) -> u64 {
        if self.milli == 0 {
            return 0;
        }
        let models = node.gpus.iter().take(GPUS_PER_NODE_MAX).zip(0_u32..);
        let fits = |model: &GpuModel| self.models.is_empty() || self.models.contains(model);
        models.filter(|(model, _)| fits(model)).fold(0, |all, (_, at)| all | 1 << at)
    }

    /// How much of it can be had of the devices that are allowed, as these are taken: of the emptiest one for a share, of
    /// whole ones else.
    pub fn usable(self, allowed: u64, taken: &GpuUse) -> u64 {
        let free = GpuHold { devices: allowed, milli: 0 }.positions().map(|at| taken.free(at));
        if self.is_shared() { free.max().unwrap_or_default() } else { free.filter(|free| *free == GPU_MILLI).sum() }
    }

    /// The devices that it is given, none if there are not as many: for a share the fullest that has it left, so that
    /// others stay whole.
    pub fn choose(self, allowed: u64, taken: &GpuUse) -> Option<GpuHold> {
        if self.milli == 0 {
            return Some(GpuHold::NONE);
        }
        let open = GpuHold { devices: allowed, milli: 0 };
        if self.is_shared() {
            let room = open.positions().map(|at| (taken.free(at), at)).filter(|(free, _)| *free >= self.milli);
            let (_, at) = room.min()?;
            return Some(GpuHold { devices: 1 << at, milli: u16::try_from(self.milli).ok()? });
        }
        let count = usize::try_from(self.devices()).ok()?;
        let whole = open.positions().filter(|at| taken.of(*at) == 0).take(count);
        let devices = whole.fold(0_u64, |all, at| all | 1 << at);
        let hold = GpuHold { devices, milli: GPU_MILLI as u16 };
        (hold.total_milli() == self.milli).then_some(hold)
    }

    /// True of a hold that is what it takes, and is left of the devices that are allowed.
    pub fn accepts(self, hold: GpuHold, allowed: u64, taken: &GpuUse) -> bool {
        let milli = u64::from(hold.milli);
        let is_it = if self.is_shared() {
            milli == self.milli && hold.devices.count_ones() == 1
        } else {
            hold.total_milli() == self.milli && (milli == GPU_MILLI || hold == GpuHold::NONE)
        };
        is_it && hold.devices & !allowed == 0 && hold.positions().all(|at| taken.free(at) >= milli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(milli: u64) -> GpuWant<'static> {
        GpuWant { milli, models: &[] }
    }

    #[test]
    fn a_share_goes_to_the_fullest_device_that_has_it_left_and_whole_ones_to_untouched_devices() {
        let mut taken = GpuUse::default();
        let mut give = |milli: u64| {
            let hold = want(milli).choose(0b111, &taken);
            if let Some(hold) = hold {
                assert!(want(milli).accepts(hold, 0b111, &taken), "{hold:?} of {taken:?}");
                taken.take(hold);
            }
            hold.map(|hold| (hold.devices, hold.milli))
        };
        assert_eq!(give(600), Some((0b001, 600)));
        assert_eq!(give(500), Some((0b010, 500)));
        assert_eq!(give(400), Some((0b001, 400)));
        assert_eq!(give(2_000), None);
        assert_eq!(give(1_000), Some((0b100, 1_000)));
        assert_eq!(give(501), None);
        assert_eq!(give(0), Some((0, 0)));
        assert!(!taken.is_overcommitted());
    }

    #[test]
    fn what_is_taken_is_what_is_given_back() {
        let mut taken = GpuUse::default();
        let holds = [GpuHold { devices: 0b1010, milli: 1_000 }, GpuHold { devices: 1, milli: 300 }];
        holds.into_iter().for_each(|hold| taken.take(hold));
        assert_eq!((0..4).map(|at| taken.of(at)).collect::<Vec<_>>(), [300, 1_000, 0, 1_000]);
        holds.into_iter().for_each(|hold| taken.give_back(hold));
        assert_eq!(taken, GpuUse::default());
    }

    #[test]
    fn nothing_is_accepted_but_what_is_wanted_of_what_is_allowed_and_left() {
        let mut taken = GpuUse::default();
        taken.take(GpuHold { devices: 0b01, milli: 300 });
        let accepts =
            |milli, devices, each, allowed| want(milli).accepts(GpuHold { devices, milli: each }, allowed, &taken);
        assert!(accepts(700, 0b01, 700, 0b11) && accepts(1_000, 0b10, 1_000, 0b11) && accepts(0, 0, 0, 0));
        assert!(!accepts(701, 0b01, 701, 0b11), "it is not left");
        assert!(!accepts(1_000, 0b01, 1_000, 0b11), "somebody has a share of it");
        assert!(!accepts(500, 0b10, 500, 0b01), "not of that model");
        assert!(!accepts(500, 0b10, 499, 0b11) && !accepts(1_000, 0b11, 500, 0b11), "not what was wanted");
        assert!(!accepts(2_000, 0b10, 1_000, 0b11) && !accepts(0, 0b10, 1, 0b11));
    }

    #[test]
    fn what_can_be_had_is_counted_as_it_can_be_used() {
        let mut taken = GpuUse::default();
        taken.take(GpuHold { devices: 0b001, milli: 300 });
        taken.take(GpuHold { devices: 0b010, milli: 600 });
        assert_eq!(want(800).usable(0b011, &taken), 700);
        assert_eq!(want(2_000).usable(0b111, &taken), 1_000);
        assert_eq!(want(500).usable(0, &taken), 0);
    }
}

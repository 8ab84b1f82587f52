//! What is free on a node, what a task takes of it, and whether the one fits in the other.

use quorate_state::{GPU_MILLI, GPUS_PER_NODE_MAX, GpuHold};

/// Devices that a node may have: as many as a [`GpuHold`] has bits.
pub const DEVICES_MAX: usize = GPUS_PER_NODE_MAX;

/// Models that can be told apart: as many as [`Models`] has bits.
pub const MODELS_MAX: usize = 64;

/// A whole device, in thousandths.
pub const WHOLE: u16 = GPU_MILLI as u16;

/// Some models of GPUs, by numbers that the caller gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Models(u64);

impl Models {
    /// Whatever there is.
    pub const ANY: Self = Self(u64::MAX);
    /// None, so that nothing fits.
    pub const NONE: Self = Self(0);

    /// These and one more; a number from [`MODELS_MAX`] on is left out.
    #[must_use]
    pub fn with(self, model: u8) -> Self {
        Self(self.0 | 1_u64.checked_shl(u32::from(model)).unwrap_or(0))
    }

    /// Whether a model is among them.
    pub fn contain(self, model: u8) -> bool {
        1_u64.checked_shl(u32::from(model)).is_some_and(|bit| self.0 & bit != 0)
    }
}

/// What is free on a node. All of its devices are of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Number of the model of its devices.
    pub model: u8,
    count: u8,
    /// Free thousandths, device by device; 0 behind the last one.
    free: [u16; DEVICES_MAX],
}

/// What a task of some shape takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Of the GPUs.
    pub gpu: GpuWant,
    /// Models that will do, when it takes any of the GPUs.
    pub models: Models,
}

/// What a task takes of a node's GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuWant {
    /// Nothing.
    None,
    /// Thousandths of one device, which others may share: 1 to 999.
    Share(u16),
    /// Whole devices, which nobody shares: 1 to [`DEVICES_MAX`].
    Whole(u8),
}

impl GpuWant {
    /// From thousandths: nothing, less than one device, or whole ones. `None` for anything else.
    pub fn from_milli(milli: u64) -> Option<Self> {
        let whole = u64::from(WHOLE);
        match milli {
            0 => Some(Self::None),
            _ if milli < whole => u16::try_from(milli).ok().map(Self::Share),
            _ if milli.is_multiple_of(whole) && milli / whole <= DEVICES_MAX as u64 => {
                u8::try_from(milli / whole).ok().map(Self::Whole)
            }
            _ => None,
        }
    }

    /// True when this is as many devices, and as much of each, as it asks for.
    pub fn is_held_by(self, hold: GpuHold) -> bool {
        let devices = hold.devices.count_ones();
        match self {
            Self::None => devices == 0,
            Self::Share(milli) => devices == 1 && hold.milli == milli,
            Self::Whole(count) => devices == u32::from(count) && hold.milli == WHOLE,
        }
    }

    /// How many devices must be free at once, when that is more than one; else 0.
    pub(super) fn devices_together(self) -> u8 {
        match self {
            Self::None | Self::Share(_) | Self::Whole(0 | 1) => 0,
            Self::Whole(devices) => devices,
        }
    }

    /// Thousandths of a device in all.
    pub fn milli(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Share(milli) => u64::from(milli),
            Self::Whole(devices) => u64::from(devices) * u64::from(WHOLE),
        }
    }
}

impl Room {
    /// Of a node with these devices, given by what is free of each. `None` if they are more than [`DEVICES_MAX`],
    /// or more than [`WHOLE`] is free of one.
    pub fn new(cpu_milli: u64, memory_bytes: u64, model: u8, devices: &[u16]) -> Option<Self> {
        if devices.iter().any(|free| *free > WHOLE) {
            return None;
        }
        let mut free = [0; DEVICES_MAX];
        free.get_mut(..devices.len())?.copy_from_slice(devices);
        Some(Self { cpu_milli, memory_bytes, model, count: u8::try_from(devices.len()).ok()?, free })
    }

    /// Free thousandths, device by device.
    pub fn devices(&self) -> &[u16] {
        self.free.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Free thousandths of all devices together.
    pub fn gpu_milli(&self) -> u64 {
        self.devices().iter().copied().map(u64::from).sum()
    }

    /// True when a task that takes this has room.
    pub fn fits(&self, want: &Want) -> bool {
        want.cpu_milli <= self.cpu_milli
            && want.memory_bytes <= self.memory_bytes
            && match want.gpu {
                GpuWant::None => true,
                GpuWant::Share(milli) => {
                    want.models.contain(self.model) && self.devices().iter().any(|free| *free >= milli)
                }
                GpuWant::Whole(devices) => {
                    let whole = self.devices().iter().filter(|free| **free == WHOLE).count();
                    want.models.contain(self.model) && whole >= usize::from(devices)
                }
            }
    }

    /// What is left when a task has taken what it wants and holds these devices. `None` if it is not there, or the hold is
    /// not what the task wants.
    pub fn without(&self, want: &Want, hold: GpuHold) -> Option<Self> {
        if !want.gpu.is_held_by(hold) {
            return None;
        }
        let mut left = *self;
        left.cpu_milli = left.cpu_milli.checked_sub(want.cpu_milli)?;
        left.memory_bytes = left.memory_bytes.checked_sub(want.memory_bytes)?;
        for device in hold.positions() {
            let free = left.device_mut(device)?;
            *free = free.checked_sub(hold.milli)?;
        }
        Some(left)
    }

    /// What there is when a task has gone that took what it wanted and held these devices. `None` when that would be
    /// more than there can be.
    pub fn with(&self, want: &Want, hold: GpuHold) -> Option<Self> {
        if !want.gpu.is_held_by(hold) {
            return None;
        }
        let mut more = *self;
        more.cpu_milli = more.cpu_milli.checked_add(want.cpu_milli)?;
        more.memory_bytes = more.memory_bytes.checked_add(want.memory_bytes)?;
        for device in hold.positions() {
            let free = more.device_mut(device)?;
            *free = free.checked_add(hold.milli).filter(|free| *free <= WHOLE)?;
        }
        Some(more)
    }

    /// The same with its devices by rising room: what packing can tell two nodes apart by.
    pub(in crate::placement) fn sorted(mut self) -> Self {
        if let Some(devices) = self.free.get_mut(..usize::from(self.count)) {
            devices.sort_unstable();
        }
        self
    }

    fn device_mut(&mut self, device: usize) -> Option<&mut u16> {
        self.free.get_mut(..usize::from(self.count))?.get_mut(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_nothing_a_share_or_whole_devices() {
        for (milli, want) in [
            (0, Some(GpuWant::None)),
            (1, Some(GpuWant::Share(1))),
            (999, Some(GpuWant::Share(999))),
            (1_000, Some(GpuWant::Whole(1))),
            (64_000, Some(GpuWant::Whole(64))),
            (1_500, None),
            (65_000, None),
        ] {
            assert_eq!(GpuWant::from_milli(milli), want, "{milli}");
            assert_eq!(want.map_or(milli, GpuWant::milli), milli);
        }
    }

    #[test]
    fn a_room_has_no_more_devices_and_no_larger_ones_than_there_can_be() {
        assert!(Room::new(1, 1, 0, &[1_000; 64]).is_some());
        assert_eq!(Room::new(1, 1, 0, &[1_000; 65]), None);
        assert_eq!(Room::new(1, 1, 0, &[1_001]), None);
    }

    #[test]
    fn a_shared_device_is_not_whole_and_a_missing_one_has_no_room() {
        let want = |gpu| Want { cpu_milli: 1, memory_bytes: 0, gpu, models: Models::NONE.with(3) };
        let room = Room::new(1, 0, 3, &[999, 1_000]).unwrap();
        assert!(room.fits(&want(GpuWant::Whole(1))) && !room.fits(&want(GpuWant::Whole(2))));
        assert!(room.fits(&want(GpuWant::Share(999))));
        assert!(!Room { model: 4, ..room }.fits(&want(GpuWant::Share(1))));
        assert!(Room { model: 4, ..room }.fits(&want(GpuWant::None)));
        let hold = GpuHold { devices: 0b100, milli: 1 };
        assert_eq!(room.without(&want(GpuWant::Share(1)), hold), None);
        assert_eq!(room.with(&want(GpuWant::Share(1)), hold), None);
    }

    #[test]
    fn nothing_is_given_back_that_was_not_taken() {
        let want = Want { cpu_milli: 1, memory_bytes: 2, gpu: GpuWant::Share(300), models: Models::ANY };
        let room = Room::new(5, 5, 0, &[300, 800]).unwrap();
        let hold = |device: u32| GpuHold { devices: 1 << device, milli: 300 };
        let left = room.without(&want, hold(0)).unwrap();
        assert_eq!((left.cpu_milli, left.memory_bytes, left.devices()), (4, 3, &[0, 800][..]));
        assert_eq!(left.with(&want, hold(0)), Some(room));
        assert_eq!(room.with(&want, hold(1)), None);
    }
}

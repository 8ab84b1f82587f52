//! Which devices of a node a placement takes, and how much of each.

/// What one placement takes of a node's GPUs. Nothing, for a task without any, is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GpuHold {
    /// The devices, by their number on the node: bit 0 is the first.
    pub devices: u64,
    /// Thousandths of each of them; 1000 is a whole device.
    pub milli: u16,
}

impl GpuHold {
    /// Thousandths of a device in all.
    pub fn total_milli(self) -> u64 {
        u64::from(self.devices.count_ones()) * u64::from(self.milli)
    }
}

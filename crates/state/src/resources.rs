//! Checked integer resource vectors: what a node has and what a task takes.

/// An amount of every resource that placement knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Thousandths of a CPU core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Thousandths of GPUs: of all devices together where it is what a node has. Needs [`crate::Feature::Gpus`].
    pub gpu_milli: u64,
}

impl Resources {
    /// Nothing of everything.
    pub const ZERO: Self = Self { cpu_milli: 0, memory_bytes: 0, gpu_milli: 0 };

    /// The sum, or `None` when it does not fit the type.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_add(other.cpu_milli)?,
            memory_bytes: self.memory_bytes.checked_add(other.memory_bytes)?,
            gpu_milli: self.gpu_milli.checked_add(other.gpu_milli)?,
        })
    }

    /// The sum, as much as the type holds where it does not fit.
    pub fn saturating_add(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            gpu_milli: self.gpu_milli.saturating_add(other.gpu_milli),
        }
    }

    /// The difference, or `None` when `other` has more of anything.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_sub(other.cpu_milli)?,
            memory_bytes: self.memory_bytes.checked_sub(other.memory_bytes)?,
            gpu_milli: self.gpu_milli.checked_sub(other.gpu_milli)?,
        })
    }

    /// The difference, zero where `other` has more: what is free on a node that shrank below its use.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            gpu_milli: self.gpu_milli.saturating_sub(other.gpu_milli),
        }
    }

    /// The larger amount of each.
    pub fn each_max(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            gpu_milli: self.gpu_milli.max(other.gpu_milli),
        }
    }

    /// True when `room` holds this much of everything.
    pub fn fits(self, room: Self) -> bool {
        self.cpu_milli <= room.cpu_milli && self.memory_bytes <= room.memory_bytes && self.gpu_milli <= room.gpu_milli
    }
}

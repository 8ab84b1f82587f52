//! GPUs that somebody holds.

use quorate_state::{GPU_MILLI, GpuHold};

use crate::v1;

/// A hold as it is sent and stored; nothing is said of nothing.
pub fn gpu_hold_to_wire(hold: GpuHold) -> Option<v1::GpuHold> {
    (hold != GpuHold::NONE).then(|| v1::GpuHold { devices: hold.devices, milli: hold.milli.into() })
}

/// The hold that was sent or stored; none where it is of no device, or of nothing or more than all of one.
pub fn gpu_hold_from_wire(hold: Option<v1::GpuHold>) -> Option<GpuHold> {
    let Some(v1::GpuHold { devices, milli }) = hold else { return Some(GpuHold::NONE) };
    let milli = u16::try_from(milli).ok().filter(|milli| (1..=GPU_MILLI).contains(&u64::from(*milli)))?;
    (devices != 0).then_some(GpuHold { devices, milli })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_said_and_nothing_is_not() {
        for hold in [GpuHold::NONE, GpuHold { devices: 5, milli: 1_000 }, GpuHold { devices: 1 << 63, milli: 1 }] {
            assert_eq!(gpu_hold_from_wire(gpu_hold_to_wire(hold)), Some(hold));
        }
        assert_eq!(gpu_hold_to_wire(GpuHold::NONE), None);
        for (devices, milli) in [(0, 1_000), (1, 0), (1, 1_001), (0, 0), (1, 1 << 20)] {
            assert_eq!(gpu_hold_from_wire(Some(v1::GpuHold { devices, milli })), None, "{devices} {milli}");
        }
    }
}

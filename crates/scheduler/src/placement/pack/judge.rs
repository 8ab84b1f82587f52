//! What a task costs where it goes: how much more of a node's GPUs will stay idle, and what is left there.

use super::GpuHold;
use super::mix::{Draws, LINES, Mix};
use super::outlook::Outlook;
use super::pressure::{CHARGE_MAX, Pressures};
use super::room::{DEVICES_MAX, GpuWant, Room, WHOLE, Want};

/// Idle thousandths that every score has on top, so that one that falls is a number as well.
const IDLE_OFFSET: u64 = 1 << 20;
const _: () = assert!(IDLE_MAX < IDLE_OFFSET && IDLE_OFFSET + IDLE_MAX + CHARGE_MAX < 1 << (64 - GROWTH_SHIFT));

/// The most that an outlook tells.
const IDLE_MAX: u64 = LINES as u64 * DEVICES_MAX as u64 * WHOLE as u64;

/// Where in a value the growth of what stays idle begins; below it are a bit for nodes with GPUs and 32 for what is left.
const GROWTH_SHIFT: u32 = 33;

/// One core counts as much as one 16th of a GPU when it comes to what a placement leaves, and a GPU as much as 64 GiB: about
/// what machines have of each. It decides between nodes with the same outlook only.
const CORES_PER_GPU: u64 = 16;
const MEMORY_BITS_PER_MILLI: u32 = 26;

/// What nodes are judged by.
pub(in crate::placement) struct Judge {
    outlook: Outlook,
    pressures: Pressures,
}

/// What a task costs on a node; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct Worth {
    /// How much more of the GPUs will stay idle, with the charge for their model, and [`IDLE_OFFSET`] on top: less than 2^31.
    pub(in crate::placement) growth: u64,
    /// A task that takes no GPU would be on a node that has any.
    pub(in crate::placement) keeps_from_gpus: bool,
    /// What is left there, of everything together, in thousandths of a GPU: less than 2^32.
    pub(in crate::placement) left: u64,
}

impl Worth {
    /// On a node of whose GPUs nothing can be foretold, or that has none. `left` is what is left there.
    pub(in crate::placement) fn unforeseen(keeps_from_gpus: bool, left: u64) -> Self {
        Self { growth: IDLE_OFFSET, keeps_from_gpus, left: left.min(u64::from(u32::MAX)) }
    }

    /// All of it in one number.
    pub(super) fn value(self) -> u64 {
        self.growth << GROWTH_SHIFT | u64::from(self.keeps_from_gpus) << 32 | self.left
    }
}

/// How much less of the GPUs will stay idle, over all futures that are looked at, in thousandths.
pub(in crate::placement) fn idle_milli(worth: Worth) -> i64 {
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    signed(IDLE_OFFSET) - signed(worth.growth)
}

/// So much of everything together, in thousandths of a GPU.
pub(in crate::placement) fn together(cpu_milli: u64, memory_bytes: u64, gpu_milli: u64) -> u64 {
    cpu_milli / CORES_PER_GPU + (memory_bytes >> MEMORY_BITS_PER_MILLI) + gpu_milli
}

impl Judge {
    /// Of nodes with these rooms, to be filled with tasks of this mix.
    pub(in crate::placement) fn new<'a>(mix: &Mix, rooms: impl Iterator<Item = &'a Room> + Clone) -> Self {
        let mut judge =
            Self { outlook: Outlook::new(Draws::of(mix)), pressures: Pressures::of(mix, std::iter::empty()) };
        judge.look_again(mix, rooms);
        judge
    }

    /// Some of the nodes are other machines now.
    pub(super) fn look_again<'a>(&mut self, mix: &Mix, rooms: impl Iterator<Item = &'a Room> + Clone) {
        rooms.clone().for_each(|room| self.outlook.add_model_of(room));
        self.pressures = Pressures::of(mix, rooms);
    }

    /// What a task costs on a node with this room, and what it would hold there. `None` if it does not fit. `idle` is what this
    /// judge has said of the room before, if it has.
    pub(in crate::placement) fn look(
        &mut self,
        room: &Room,
        idle: &mut Option<u32>,
        want: &Want,
    ) -> Option<(Worth, GpuHold)> {
        if !room.fits(want) {
            return None;
        }
        let Self { outlook, pressures } = self;
        let before = *idle.get_or_insert_with(|| outlook.idle(room));
        let (after, hold) = least_idle(outlook, room, want)?;
        let growth = match want.gpu {
            // Fewer cores are never worth more, whatever a few futures say.
            GpuWant::None => IDLE_OFFSET + u64::from(after.saturating_sub(before)),
            GpuWant::Share(_) | GpuWant::Whole(_) => {
                IDLE_OFFSET + u64::from(after) - u64::from(before) + pressures.charge(room.model, want.gpu.milli())
            }
        };
        let keeps_from_gpus = want.gpu == GpuWant::None && !room.devices().is_empty();
        let left = together(
            room.cpu_milli - want.cpu_milli,
            room.memory_bytes - want.memory_bytes,
            room.gpu_milli() - want.gpu.milli(),
        );
        Some((Worth { growth, keeps_from_gpus, left: left.min(u64::from(u32::MAX)) }, hold))
    }
}

/// The devices with which the least stays idle, and how much that is. The task fits in the room.
fn least_idle(outlook: &mut Outlook, room: &Room, want: &Want) -> Option<(u32, GpuHold)> {
    match want.gpu {
        GpuWant::None => {
            let hold = GpuHold::default();
            Some((outlook.idle(&room.without(want, hold)?), hold))
        }
        GpuWant::Whole(devices) => {
            let whole = room.devices().iter().zip(0_u32..).filter(|(free, _)| **free == WHOLE);
            let devices = whole.take(usize::from(devices)).fold(0, |set, (_, device)| set | 1 << device);
            let hold = GpuHold { devices, milli: WHOLE };
            Some((outlook.idle(&room.without(want, hold)?), hold))
        }
        GpuWant::Share(milli) => {
            let mut best: Option<(u32, u16, GpuHold)> = None;
            for (number, free) in room.devices().iter().enumerate().filter(|(_, free)| **free >= milli) {
                if room.devices().iter().take(number).any(|before| before == free) {
                    continue;
                }
                let hold = GpuHold { devices: 1 << number, milli };
                let idle = outlook.idle(&room.without(want, hold)?);
                if best.is_none_or(|(least, on, _)| (idle, *free) < (least, on)) {
                    best = Some((idle, *free, hold));
                }
            }
            best.map(|(idle, _, hold)| (idle, hold))
        }
    }
}

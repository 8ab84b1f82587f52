//! How much of a node's GPUs will stay idle once more of the mix has come.
//!
//! Fragmentation as FGD counts it ("Beware of Fragmentation", USENIX ATC '23) is what the *next* task cannot use, in
//! expectation over the mix. Here a node is instead filled, in a few futures drawn from the mix, until little more would
//! fit, and what is free then is counted. So a rest that two tasks together use up is worth more than one that only the
//! first can use, and a node whose cores will run out before its devices is told from one in balance.

use super::mix::Draws;
use super::room::{DEVICES_MAX, Room, WHOLE};

/// Devices that most nodes have at most: rooms of these are copied and searched as one small piece.
const FEW: usize = 8;

/// Rooms whose outlook is remembered; two that would stand in the same place take turns. A node's
/// room after a placement is one that was looked at before it, and many nodes are alike.
const REMEMBERED: usize = 1 << 13;

/// Looks into the futures of rooms, and remembers some. What it remembers changes how fast it answers, never what.
pub(super) struct Outlook {
    draws: Draws,
    remembered: Vec<Option<(Room, u32)>>,
}

impl Outlook {
    pub(super) fn new(draws: Draws) -> Self {
        Self { draws, remembered: vec![None; REMEMBERED] }
    }

    /// Makes sure that rooms of this one's model can be looked at.
    pub(super) fn add_model_of(&mut self, room: &Room) {
        self.draws.add_model_of(room);
    }

    /// Thousandths of devices that stay idle, summed over the futures. At most what is free in each of them.
    pub(super) fn idle(&mut self, room: &Room) -> u32 {
        let room = room.sorted();
        if room.gpu_milli() == 0 {
            return 0;
        }
        let place = digest(&room) as usize % REMEMBERED;
        if let Some(Some((known, idle))) = self.remembered.get(place)
            && *known == room
        {
            return *idle;
        }
        let idle = match room.devices().len() {
            0..=FEW => self.fill::<FEW>(&room),
            _ => self.fill::<DEVICES_MAX>(&room),
        };
        if let Some(entry) = self.remembered.get_mut(place) {
            *entry = Some((room, idle));
        }
        idle
    }

    fn fill<const N: usize>(&self, room: &Room) -> u32 {
        let mut devices = [0; N];
        for (device, free) in devices.iter_mut().zip(room.devices()) {
            *device = *free;
        }
        let mut idle = 0;
        for line in self.draws.lines(room.model, room.devices().len()) {
            let mut rest = Rest::new(room.cpu_milli, room.memory_bytes, devices);
            for draw in line {
                if draw.cpu_milli > rest.cpu_milli
                    || draw.memory_bytes > rest.memory_bytes
                    || draw.share_milli > rest.largest
                    || draw.whole > rest.whole
                {
                    continue;
                }
                rest.cpu_milli -= draw.cpu_milli;
                rest.memory_bytes -= draw.memory_bytes;
                if draw.whole > 0 {
                    rest.take_whole(draw.whole)
                } else {
                    rest.take_share(draw.share_milli)
                }
                if rest.largest == 0 {
                    break;
                }
            }
            idle += rest.devices.iter().copied().map(u32::from).sum::<u32>();
        }
        idle
    }
}

/// What is left of a room in one future.
struct Rest<const N: usize> {
    cpu_milli: u64,
    memory_bytes: u64,
    devices: [u16; N],
    /// The most that is free on one device.
    largest: u16,
    /// How many devices are whole.
    whole: u8,
}

impl<const N: usize> Rest<N> {
    fn new(cpu_milli: u64, memory_bytes: u64, devices: [u16; N]) -> Self {
        let mut rest = Self { cpu_milli, memory_bytes, devices, largest: 0, whole: 0 };
        rest.count();
        rest
    }

    fn count(&mut self) {
        self.largest = self.devices.iter().copied().fold(0, u16::max);
        self.whole = self.devices.iter().map(|free| u8::from(*free == WHOLE)).sum();
    }

    /// From the first whole ones. The caller has seen that there are so many.
    fn take_whole(&mut self, mut devices: u8) {
        for free in &mut self.devices {
            if *free == WHOLE && devices > 0 {
                *free = 0;
                devices -= 1;
            }
        }
        self.count();
    }

    /// From the device that has the least room for it. The caller has seen that one has.
    fn take_share(&mut self, milli: u16) {
        let least =
            self.devices.iter().map(|free| if *free < milli { u16::MAX } else { *free }).fold(u16::MAX, u16::min);
        if let Some(free) = self.devices.iter_mut().find(|free| **free == least) {
            *free -= milli;
        }
        self.count();
    }
}

/// A number that differs where packing can tell two rooms apart, as good as always (FNV-1a, word by word).
pub(in crate::placement) fn digest(sorted: &Room) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |word: u64| digest = (digest ^ word).wrapping_mul(0x0100_0000_01b3);
    take(sorted.cpu_milli);
    take(sorted.memory_bytes);
    take(u64::from(sorted.model) << 8 | sorted.devices().len() as u64);
    for four in sorted.devices().chunks(4) {
        take(four.iter().fold(0, |word, free| word << 16 | u64::from(*free)));
    }
    quorate_state::mix(digest)
}

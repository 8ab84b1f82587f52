//! The wide area: every packet between two regions waits for as long as the way takes.
//!
//! The kernel may not know how to delay packets, so they come through a tunnel device to a thread
//! here, which gives them back when it is time. Ways can be made slow for a while: they take longer, and lose some.

#![expect(unsafe_code, reason = "a tunnel device is asked for with an ioctl that has no safe form; see the block")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use quorate_seams::{BootInstant, Clock as _, SystemClock};

use crate::draw::Draw;
use crate::hosts::{REGIONS, region_of};
use crate::network::{HUB, enter};

/// Name of the device.
pub(crate) const DEVICE: &str = "wide";
/// Every two regions.
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];
/// A round trip between two regions takes between these, in milliseconds.
const ROUND_TRIP_MS: (u64, u64) = (20, 151);
/// Packets on their way at once; more are lost, as in a router.
const PACKETS_MAX: usize = 16_384;
/// Bytes of a packet.
const PACKET_BYTES_MAX: usize = 65_536;
/// So many packets of a hundred are lost on a slow way.
const SLOW_LOSS_PERCENT: u64 = 3;
/// Longest wait without a look at anything.
const IDLE: Duration = Duration::from_secs(60);

/// Asks the kernel for a device by name: `TUNSETIFF`.
const SET_DEVICE: libc::Ioctl = 0x4004_54ca;

/// Round trips between regions, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoundTrips([[u64; REGIONS.len()]; REGIONS.len()]);

impl RoundTrips {
    pub(crate) fn of(seed: u64) -> Self {
        let mut draw = Draw::of(seed, "round trips");
        let mut trips = [[0; REGIONS.len()]; REGIONS.len()];
        for (near, far) in PAIRS {
            let millis = draw.between(ROUND_TRIP_MS.0, ROUND_TRIP_MS.1);
            trips[near][far] = millis;
            trips[far][near] = millis;
        }
        Self(trips)
    }

    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let trips = PAIRS.map(|(a, b)| format!("{}-{} {} ms", REGIONS[a], REGIONS[b], self.0[a][b]));
        trips.join(", ")
    }

    /// From which region to which a packet goes; none for one that is not ours.
    fn ends(packet: &[u8]) -> Option<(usize, usize)> {
        let address = |at: usize| packet.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        // Version 4 alone; source and destination lie at fixed places.
        packet.first().filter(|first| **first >> 4 == 4)?;
        Some((region_of(address(12)?)?, region_of(address(16)?)?))
    }

    /// How long it is on its way.
    fn way(&self, from: usize, to: usize) -> Duration {
        Duration::from_millis(self.0[from][to]) / 2
    }
}

/// Ways that are slow now.
#[derive(Debug, Default)]
pub(crate) struct SlowWays {
    /// By region, how much longer each packet from it or to it is on its way, in milliseconds.
    extra_ms: [AtomicU64; REGIONS.len()],
    /// Packets that were slow, or lost for it.
    touched: AtomicU64,
}

impl SlowWays {
    /// From now on.
    pub(crate) fn set(&self, region: usize, extra_ms: u64) {
        self.extra_ms[region].store(extra_ms, Ordering::Relaxed);
    }

    /// How many packets it has met.
    pub(crate) fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    /// What a packet between these regions takes longer; none when it is lost.
    fn extra(&self, from: usize, to: usize, draw: &mut Draw) -> Option<Duration> {
        let [from, to] = [from, to].map(|region| self.extra_ms[region].load(Ordering::Relaxed));
        let extra_ms = from.max(to);
        if extra_ms == 0 {
            return Some(Duration::ZERO);
        }
        self.touched.fetch_add(1, Ordering::Relaxed);
        (!draw.percent(SLOW_LOSS_PERCENT)).then(|| Duration::from_millis(extra_ms))
    }
}

/// A packet on its way. The number keeps the order of those that arrive together.
type Waiting = Reverse<(BootInstant, u64, Vec<u8>)>;

/// Makes the device and begins to pass packets on, for as long as the process lives.
pub(crate) fn start(seed: u64) -> Result<Arc<SlowWays>, String> {
    let round_trips = RoundTrips::of(seed);
    let slow = Arc::new(SlowWays::default());
    let slow_ways = slow.clone();
    let (opened, open) = sync_channel(1);
    std::thread::spawn(move || {
        let device = enter(HUB).and_then(|()| device());
        let (near, far) = match device.and_then(|near| Ok((near.try_clone().map_err(|e| e.to_string())?, near))) {
            Ok(both) => both,
            Err(why) => return drop(opened.send(Err(why))),
        };
        let (sender, receiver) = sync_channel(PACKETS_MAX);
        std::thread::spawn(move || give_back(far, &receiver));
        // Nobody waits any more: nothing to be told.
        let _ = opened.send(Ok(()));
        take(near, &round_trips, &slow_ways, Draw::of(seed, "packets"), &sender);
    });
    open.recv().map_err(|error| error.to_string())??;
    Ok(slow)
}

fn device() -> Result<File, String> {
    let path = "/dev/net/tun";
    let file = File::options().read(true).write(true).open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut request = [0_u8; size_of::<libc::ifreq>()];
    request[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
    request[libc::IFNAMSIZ..libc::IFNAMSIZ + 2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the descriptor is open, and the request has the size and the layout of an `ifreq`: a name
    // that ends in zeroes, then the flags.
    let failed = unsafe { libc::ioctl(file.as_raw_fd(), SET_DEVICE, request.as_mut_ptr()) } < 0;
    if failed { Err(format!("{path}: {}", std::io::Error::last_os_error())) } else { Ok(file) }
}

fn take(
    mut device: File,
    round_trips: &RoundTrips,
    slow: &SlowWays,
    mut draw: Draw,
    sender: &SyncSender<(BootInstant, Vec<u8>)>,
) {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    while let Ok(length) = device.read(&mut packet) {
        let Some((from, to)) = RoundTrips::ends(&packet[..length]) else { continue };
        let Some(extra) = slow.extra(from, to, &mut draw) else { continue };
        let due = SystemClock.boot() + round_trips.way(from, to) + extra;
        // A queue that is full loses the packet.
        let _ = sender.try_send((due, packet[..length].to_vec()));
    }
}

fn give_back(mut device: File, receiver: &Receiver<(BootInstant, Vec<u8>)>) {
    let mut waiting: BinaryHeap<Waiting> = BinaryHeap::new();
    let mut number = 0;
    loop {
        let now = SystemClock.boot();
        while waiting.peek().is_some_and(|Reverse((due, _, _))| *due <= now) {
            if let Some(Reverse((_, _, packet))) = waiting.pop() {
                // Without a route or room it is lost.
                let _ = device.write_all(&packet);
            }
        }
        let patience = waiting.peek().map_or(IDLE, |Reverse((due, _, _))| due.since(now));
        match receiver.recv_timeout(patience) {
            Ok((due, packet)) => {
                number += 1;
                waiting.push(Reverse((due, number, packet)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45; 12];
        packet.extend(from);
        packet.extend(to);
        packet
    }

    #[test]
    fn a_packet_takes_half_a_round_trip_and_a_foreign_one_is_lost() {
        let trips = RoundTrips([[0, 40, 0], [40, 0, 0], [0, 0, 0]]);
        assert_eq!(RoundTrips::ends(&packet([10, 77, 1, 11], [10, 77, 2, 11])), Some((0, 1)));
        assert_eq!(trips.way(0, 1), Duration::from_millis(20));
        assert_eq!(RoundTrips::ends(&packet([10, 77, 1, 11], [8, 8, 8, 8])), None);
        assert_eq!(RoundTrips::ends(&[0x60; 40]), None);
        assert_eq!(RoundTrips::ends(&[]), None);
    }

    #[test]
    fn a_slow_region_delays_what_comes_and_goes_there_and_loses_some() {
        let (slow, mut draw) = (SlowWays::default(), Draw::of(1, "packets"));
        slow.set(1, 300);
        let ways: Vec<_> = (0..1_000).map(|_| slow.extra(0, 1, &mut draw)).collect();
        assert!(ways.iter().flatten().all(|extra| *extra == Duration::from_millis(300)));
        assert!((1..100).contains(&ways.iter().filter(|way| way.is_none()).count()));
        assert_eq!(slow.extra(0, 2, &mut draw), Some(Duration::ZERO));
        assert_eq!(slow.touched(), 1_000);
        slow.set(1, 0);
        assert_eq!(slow.extra(1, 0, &mut draw), Some(Duration::ZERO));
    }

    #[test]
    fn round_trips_are_the_same_both_ways_and_follow_from_the_seed() {
        for seed in 0..100 {
            let RoundTrips(trips) = RoundTrips::of(seed);
            assert_eq!(RoundTrips(trips), RoundTrips::of(seed));
            for (near, far) in PAIRS {
                assert_eq!(trips[near][far], trips[far][near]);
                assert!((ROUND_TRIP_MS.0..ROUND_TRIP_MS.1).contains(&trips[near][far]));
            }
        }
    }
}

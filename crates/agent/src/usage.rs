//! What an attempt used, from what the kernel says at its end, and what it uses while it runs.

use quorate_state::Usage;

use crate::report::Progress;

/// Bytes of the blocks that `rusage` counts.
const BLOCK_BYTES: u64 = 512;
/// Bytes of the unit in which `rusage` gives memory.
const KIB: u64 = 1_024;

/// What an attempt that runs uses; zero where the machine does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// CPU time since it began, user and system, in microseconds.
    pub cpu_us: u64,
    /// Thousandths of a core over the time since the measurement before; none when this is the first.
    pub cpu_milli: Option<u64>,
    /// Bytes of memory now, without what the kernel would give up at once.
    pub memory_bytes: u64,
    /// The most that was seen so far.
    pub memory_peak_bytes: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// How far it is by its own words; none: it has not said.
    pub progress: Option<Progress>,
}

/// Sums up the end of a group leader: its own use and that of the children it waited for. `io` is
/// the kernel's finer count of storage traffic, where it could be read.
pub(crate) fn of(rusage: &libc::rusage, io: Option<(u64, u64)>) -> Usage {
    let micros = |time: libc::timeval| positive(time.tv_sec).saturating_mul(1_000_000) + positive(time.tv_usec);
    let blocks = || {
        let bytes = |count| positive(count).saturating_mul(BLOCK_BYTES);
        (bytes(rusage.ru_inblock), bytes(rusage.ru_oublock))
    };
    let (read_bytes, written_bytes) = io.unwrap_or_else(blocks);
    Usage {
        cpu_us: micros(rusage.ru_utime).saturating_add(micros(rusage.ru_stime)),
        memory_peak_bytes: positive(rusage.ru_maxrss).saturating_mul(KIB),
        read_bytes,
        written_bytes,
    }
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

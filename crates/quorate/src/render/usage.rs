//! What running attempts use: one by one, and together.

use quorate_proto::v1;
use serde::Serialize;

use super::time;

/// What one attempt uses.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    /// Since it began.
    pub(crate) cpu_us: u64,
    /// Over the time between its last two measurements; none after the first.
    pub(crate) cpu_milli: Option<u64>,
    /// Now.
    pub(crate) memory_bytes: u64,
    /// The most that was seen.
    pub(crate) memory_peak_bytes: u64,
    /// From storage.
    pub(crate) read_bytes: u64,
    /// To storage.
    pub(crate) written_bytes: u64,
    /// How long ago the leader heard it.
    pub(crate) age_ms: u64,
}

impl From<v1::LiveUsage> for Usage {
    fn from(usage: v1::LiveUsage) -> Self {
        let v1::LiveUsage { cpu_us, cpu_milli, memory_bytes, memory_peak_bytes, read_bytes, written_bytes, age_ms } =
            usage;
        Self { cpu_us, cpu_milli, memory_bytes, memory_peak_bytes, read_bytes, written_bytes, age_ms }
    }
}

/// What several attempts use together, as far as it is known.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct UsageSum {
    /// Of how many it is known.
    pub(crate) attempts: u32,
    cpu_us: u64,
    cpu_milli: u64,
    memory_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    /// Of the oldest.
    age_ms: u64,
}

impl From<v1::UsageSum> for UsageSum {
    fn from(sum: v1::UsageSum) -> Self {
        let v1::UsageSum { attempts, cpu_us, cpu_milli, memory_bytes, read_bytes, written_bytes, age_ms } = sum;
        Self { attempts, cpu_us, cpu_milli, memory_bytes, read_bytes, written_bytes, age_ms }
    }
}

impl UsageSum {
    /// This and another one.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            cpu_us: self.cpu_us.saturating_add(other.cpu_us),
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
            age_ms: self.age_ms.max(other.age_ms),
        }
    }

    /// `1200m cores, 3.1Gi of memory, 2m10s of CPU time in 3 of 4 attempts, heard up to 4.9s ago`.
    pub(crate) fn words(&self, of: u64) -> String {
        format!(
            "{} cores, {} of memory, {} of CPU time in {} of {}, heard up to {} ago",
            time::cores(self.cpu_milli),
            time::bytes(self.memory_bytes),
            cpu_time(self.cpu_us),
            self.attempts,
            time::count(of, "attempt"),
            time::span(self.age_ms)
        )
    }
}

/// Microseconds of processors as people read them.
pub(crate) fn cpu_time(micros: u64) -> String {
    time::span(micros / 1_000)
}

/// Something that may not be known.
pub(crate) fn or_dash<T>(known: Option<T>, show: impl FnOnce(T) -> String) -> String {
    known.map_or_else(|| "-".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_said_in_one_line() {
        let one = UsageSum {
            attempts: 2,
            cpu_us: 61_000_000,
            cpu_milli: 1_200,
            memory_bytes: 300 << 20,
            age_ms: 4_900,
            ..UsageSum::default()
        };
        let all = one.and(&UsageSum { attempts: 1, memory_bytes: 20 << 20, age_ms: 12, ..UsageSum::default() });
        assert_eq!(
            all.words(4),
            "1200m cores, 320Mi of memory, 1m01s of CPU time in 3 of 4 attempts, heard up to 4.9s ago"
        );
    }
}

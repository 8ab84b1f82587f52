//! What attempts use while they run: by their control groups where those count it, else by their processes.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quorate_seams::BootInstant;
use quorate_state::AttemptId;

use super::proc;
use crate::cgroup::Dial;
use crate::driver::Meter;
use crate::report::{LastWord, Reader};
use crate::usage::Live;

/// Processes of an attempt that are looked at one by one; of more, those are left out that come last.
const PROCESSES_MAX: usize = 256;

/// The gauges of attempts that run, by their names. It keeps none alive.
#[derive(Debug, Default)]
pub(super) struct Gauges(Mutex<BTreeMap<AttemptId, Weak<Gauge>>>);

impl Gauges {
    pub(super) fn add(&self, attempt: AttemptId, gauge: &Arc<Gauge>) {
        self.lock().insert(attempt, Arc::downgrade(gauge));
    }

    pub(super) fn remove(&self, attempt: AttemptId) {
        self.lock().remove(&attempt);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Weak<Gauge>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter for Gauges {
    fn measure(&self, attempts: &[AttemptId], now: BootInstant) -> Vec<(AttemptId, Live)> {
        let known: Vec<_> = {
            let gauges = self.lock();
            attempts.iter().filter_map(|attempt| Some((*attempt, gauges.get(attempt)?.upgrade()?))).collect()
        };
        let groups = Groups::default();
        known.into_iter().filter_map(|(attempt, gauge)| Some((attempt, gauge.read(&groups, now)?))).collect()
    }
}

/// Measures one attempt.
#[derive(Debug)]
pub(super) struct Gauge {
    /// Its first process, and when that began.
    pid: u32,
    ticks: u64,
    /// Its control groups, if it has any.
    dial: Option<Dial>,
    memory_peak_bytes: AtomicU64,
    /// CPU time at the measurement before, and when that was.
    before: Mutex<Option<(BootInstant, u64)>>,
    /// Where it may say something of itself, and what was read of that.
    report: PathBuf,
    reader: Mutex<Reader>,
}

impl Gauge {
    pub(super) fn new(pid: u32, ticks: u64, dial: Option<Dial>, report: PathBuf) -> Self {
        let (memory_peak_bytes, before, reader) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self { pid, ticks, dial, memory_peak_bytes, before, report, reader }
    }

    /// What it has said of its end. Waits for the disk.
    pub(super) fn last_word(&self) -> LastWord {
        self.reader().last_word(&self.report)
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most that any measurement has seen.
    pub(super) fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }

    /// What it uses now; none once its first process has ended.
    fn read(&self, groups: &Groups, now: BootInstant) -> Option<Live> {
        let members = match &self.dial {
            Some(dial) => dial.members(),
            None => groups.members(self.pid),
        };
        let members = &members[..members.len().min(PROCESSES_MAX)];
        let sum = |of: fn(u32) -> Option<u64>| members.iter().filter_map(|pid| of(*pid)).fold(0, u64::saturating_add);
        let cpu_us = self.dial.as_ref().and_then(Dial::cpu_us);
        let cpu_us = cpu_us.unwrap_or_else(|| sum(|pid| proc::stat(pid).map(|stat| stat.cpu_us)));
        let memory_bytes = self.dial.as_ref().and_then(Dial::memory_bytes);
        let memory_bytes = memory_bytes.unwrap_or_else(|| sum(|pid| proc::memory(pid).map(|(now, _)| now)));
        let first_peak = proc::memory(self.pid).map_or(0, |(_, peak)| peak);
        let read_bytes = sum(|pid| proc::io(pid).map(|(read, _)| read));
        let written_bytes = sum(|pid| proc::io(pid).map(|(_, written)| written));
        // Asked last: what was read before is its own, and not that of whoever came after it.
        proc::stat(self.pid).filter(|stat| stat.lives() && stat.ticks == self.ticks)?;
        let peak = memory_bytes.max(first_peak);
        let memory_peak_bytes = self.memory_peak_bytes.fetch_max(peak, Ordering::Relaxed).max(peak);
        let cpu_milli = self.rate(now, cpu_us);
        let progress = self.reader().look(&self.report);
        Some(Live { cpu_us, cpu_milli, memory_bytes, memory_peak_bytes, read_bytes, written_bytes, progress })
    }

    fn rate(&self, now: BootInstant, cpu_us: u64) -> Option<u64> {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).replace((now, cpu_us));
        let (at, spent_us) = before?;
        let passed_us = u64::try_from(now.since(at).as_micros()).ok()?;
        cpu_us.saturating_sub(spent_us).saturating_mul(1_000).checked_div(passed_us)
    }
}

/// Which processes each process group has, looked up once at the most.
#[derive(Default)]
struct Groups(OnceCell<BTreeMap<u32, Vec<u32>>>);

impl Groups {
    fn members(&self, group: u32) -> Vec<u32> {
        let all = self.0.get_or_init(|| {
            let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for pid in proc::pids() {
                if let Some(stat) = proc::stat(pid) {
                    all.entry(stat.group).or_default().push(pid);
                }
            }
            all
        });
        all.get(&group).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_time_since_the_measurement_before() {
        let gauge = Gauge::new(1, 1, None, PathBuf::new());
        let at = |seconds: u64| BootInstant::from_millis(seconds * 1_000);
        assert_eq!(gauge.rate(at(0), 7_000_000), None);
        assert_eq!(gauge.rate(at(2), 10_000_000), Some(1_500));
        assert_eq!(gauge.rate(at(2), 10_000_000), None, "no time has passed");
        assert_eq!(gauge.rate(at(12), 10_000_000), Some(0));
    }

    #[test]
    fn a_process_that_is_not_the_one_that_began_is_not_measured() {
        let own = std::process::id();
        let ticks = proc::stat(own).unwrap().ticks;
        let (groups, now) = (Groups::default(), BootInstant::from_millis(1));
        assert_eq!(Gauge::new(own, ticks + 1, None, PathBuf::new()).read(&groups, now), None);
        let live = Gauge::new(own, ticks, None, PathBuf::new()).read(&groups, now).unwrap();
        assert!(live.memory_peak_bytes >= live.memory_bytes, "{live:?}");
    }
}

//! Load in a closed loop: so many callers, each of which asks again when it has been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::Error;
use crate::cost::{metrics, processor_time};
use crate::samples::quantile;

/// Bytes of what is written by one operation.
pub(crate) const VALUE_BYTES: usize = 256;
/// Objects that operations are spread over.
pub(crate) const OBJECTS: usize = 10_000;
/// No call may take longer, and none of a system that works does.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a connection to a member of either system is given to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is put under load.
pub(crate) trait Target: Send + Sync + 'static {
    /// Carries out operation `number` over connection `connection`; it is committed when this ends.
    fn operate(&self, connection: usize, number: u64) -> impl Future<Output = Result<(), String>> + Send;
}

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Callers.
    pub(crate) concurrency: usize,
    /// Connections that they share.
    pub(crate) connections: usize,
    /// Load before anything is measured.
    pub(crate) warm_up: Duration,
    /// Load that is measured,
    pub(crate) time: Duration,
    /// which ends after so many operations, whatever the time.
    pub(crate) operations_max: u64,
}

/// Where it is seen what the load costs.
#[derive(Clone)]
pub(crate) struct Meter {
    /// The processes that serve it.
    pub(crate) pids: Vec<u32>,
    /// Where they show their metrics; the first is the leader.
    pub(crate) addresses: Vec<String>,
    /// Metrics whose sum counts the waits for the disk.
    pub(crate) syncs: &'static [&'static str],
    /// The metric that counts entries of the log.
    pub(crate) entries: &'static str,
}

/// What was measured under one load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Operations per second.
    pub(crate) ops_per_s: f64,
    /// Median latency, in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile, in microseconds.
    pub(crate) p99_us: f64,
    /// Processor time of all servers together per operation, in microseconds.
    pub(crate) cpu_us_per_op: f64,
    /// Operations per entry of the log.
    pub(crate) ops_per_entry: f64,
    /// Waits of one server for its disk per entry of the log, the mean of all servers.
    pub(crate) syncs_per_entry: f64,
}

/// Phases of a load; before these it warms up.
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What all callers see.
#[derive(Default)]
struct Shared {
    phase: AtomicU8,
    /// Operations begun since the start: their numbers.
    begun: AtomicU64,
    /// Operations that ended while they were measured.
    counted: AtomicU64,
}

impl Load {
    /// Puts `target` under this load. `from` is the number of the first operation; the number that
    /// the next load begins with comes back too, so that no two operations are the same.
    pub(crate) async fn run<T: Target>(self, target: &Arc<T>, meter: &Meter, from: u64) -> Result<(Cell, u64), Error> {
        let shared = Arc::new(Shared { begun: AtomicU64::new(from), ..Shared::default() });
        let mut callers = JoinSet::new();
        for caller in 0..self.concurrency {
            let (target, shared) = (target.clone(), shared.clone());
            callers.spawn(call(target, shared, caller % self.connections));
        }
        let measured = self.measure(&mut callers, &shared, meter).await;
        shared.phase.store(OVER, Ordering::Relaxed);
        let mut latencies: Vec<u32> = Vec::new();
        while let Some(ended) = callers.join_next().await {
            latencies.extend(outcome(ended)?);
        }
        let (elapsed, costs) = measured?;
        latencies.sort_unstable();
        if latencies.is_empty() {
            return Err(Error::Outcome(format!("no operation ended within {:?}", self.time)));
        }
        let operations = latencies.len() as f64;
        let cell = Cell {
            ops_per_s: operations / elapsed.as_secs_f64(),
            p50_us: quantile(&latencies, 0.5),
            p99_us: quantile(&latencies, 0.99),
            cpu_us_per_op: costs.cpu.as_secs_f64() * 1e6 / operations,
            ops_per_entry: operations / costs.entries.max(1.0),
            syncs_per_entry: costs.syncs / meter.addresses.len() as f64 / costs.entries.max(1.0),
        };
        Ok((cell, shared.begun.load(Ordering::Relaxed)))
    }

    async fn measure(
        self,
        callers: &mut JoinSet<Result<Vec<u32>, String>>,
        shared: &Shared,
        meter: &Meter,
    ) -> Result<(Duration, Costs), Error> {
        self.pass(callers, || false, self.warm_up).await?;
        let before = meter.read().await?;
        let begun = SystemClock.boot();
        shared.phase.store(MEASURED, Ordering::Relaxed);
        let is_enough = || shared.counted.load(Ordering::Relaxed) >= self.operations_max;
        self.pass(callers, is_enough, self.time).await?;
        shared.phase.store(OVER, Ordering::Relaxed);
        let elapsed = SystemClock.boot().since(begun);
        let after = meter.read().await?;
        Ok((elapsed, after.minus(&before)))
    }

    /// Lets time pass, as long as all callers go on.
    async fn pass(
        self,
        callers: &mut JoinSet<Result<Vec<u32>, String>>,
        is_enough: impl Fn() -> bool,
        time: Duration,
    ) -> Result<(), Error> {
        let begun = SystemClock.boot();
        while SystemClock.boot().since(begun) < time && !is_enough() {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(ended) = callers.try_join_next() {
                outcome(ended)?;
                return Err(Error::Outcome("a caller ended early".to_owned()));
            }
        }
        Ok(())
    }
}

/// One caller; the latencies of what was measured come back, in microseconds.
async fn call<T: Target>(target: Arc<T>, shared: Arc<Shared>, connection: usize) -> Result<Vec<u32>, String> {
    let mut latencies = Vec::new();
    while shared.phase.load(Ordering::Relaxed) != OVER {
        let number = shared.begun.fetch_add(1, Ordering::Relaxed);
        let begun = SystemClock.boot();
        target.operate(connection, number).await?;
        if shared.phase.load(Ordering::Relaxed) == MEASURED {
            let micros = SystemClock.boot().since(begun).as_micros();
            latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
            shared.counted.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(latencies)
}

fn outcome(ended: Result<Result<Vec<u32>, String>, tokio::task::JoinError>) -> Result<Vec<u32>, Error> {
    let ended = ended.map_err(|error| Error::Outcome(format!("a caller ended early: {error}")))?;
    ended.map_err(|why| Error::Outcome(format!("an operation failed: {why}")))
}

#[derive(Debug)]
struct Costs {
    cpu: Duration,
    syncs: f64,
    entries: f64,
}

impl Costs {
    fn minus(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            syncs: self.syncs - before.syncs,
            entries: self.entries - before.entries,
        }
    }
}

impl Meter {
    async fn read(&self) -> Result<Costs, Error> {
        let cpu = processor_time(&self.pids)?;
        let mut syncs = 0.0;
        for address in &self.addresses {
            syncs += metrics(address, self.syncs).await?;
        }
        let leader = self.addresses.first().map_or("", String::as_str);
        Ok(Costs { cpu, syncs, entries: metrics(leader, &[self.entries]).await? })
    }
}

/// A connection that is made when it is first used, the same for either system.
pub(crate) fn channel(address: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Error::Option(format!("{address}: {error}")))?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy())
}

/// What operation `number` writes.
pub(crate) fn value(number: u64) -> String {
    let mut value = format!("{number:016x}").repeat(VALUE_BYTES / 16);
    value.truncate(VALUE_BYTES);
    value
}

/// The object that operation `number` writes to: all in turn, neighbours far from each other.
pub(crate) fn object(number: u64) -> usize {
    const STRIDE: u64 = 7_919;
    (number.wrapping_mul(STRIDE) % OBJECTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Quick(AtomicU64);

    impl Target for Quick {
        async fn operate(&self, _: usize, number: u64) -> Result<(), String> {
            tokio::task::yield_now().await;
            self.0.fetch_add(1, Ordering::Relaxed);
            if number == 5_000_000 { Err("refused".into()) } else { Ok(()) }
        }
    }

    fn load() -> Load {
        let warm_up = Duration::ZERO;
        Load { concurrency: 3, connections: 1, warm_up, time: CALL_DEADLINE, operations_max: 100 }
    }

    const NOBODY: Meter = Meter { pids: Vec::new(), addresses: Vec::new(), syncs: &[], entries: "" };

    #[tokio::test]
    async fn a_failed_operation_fails_the_measurement() {
        let target = Arc::new(Quick(AtomicU64::new(0)));
        // Without a server to read metrics of, the callers must have been told to stop all the same.
        assert!(matches!(load().run(&target, &NOBODY, 0).await, Err(Error::Metric { .. })));
        let error = load().run(&target, &NOBODY, 5_000_000).await.unwrap_err().to_string();
        assert!(error.contains("refused") || error.contains("no metric"), "{error}");
    }

    #[test]
    fn operations_go_to_all_objects_and_write_what_they_should() {
        let objects: std::collections::BTreeSet<usize> = (0..OBJECTS as u64).map(object).collect();
        assert_eq!(objects.len(), OBJECTS);
        assert_eq!(value(7).len(), VALUE_BYTES);
        assert_ne!(value(7), value(8));
    }
}

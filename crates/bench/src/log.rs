//! How many changes the replicated log takes, and what one costs, through the unary public API: each
//! operation annotates one of 10,000 runs, which writes a row, an event and a request id.
//!
//! With an etcd at hand the same callers put values of the same size over as many keys of a cluster
//! of it, in turn with ours: what the machine does to one it does to the other. A call that does nothing is
//! measured as well: more of any kind this machine does not carry.

mod annotate;
mod empty;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub(crate) use annotate::{Annotate, idle_job, make_runs};
use empty::EmptyCall;
use stream::AnnotateStream;

use crate::Error;
use crate::etcd::{Etcd, KeyValue};
use crate::load::{Cell, Load, Meter, OBJECTS, channel};
use crate::local::{LocalCluster, Options};
pub use crate::samples::Spread;
use crate::samples::rounded;

/// Callers at most.
const CONCURRENCY_MAX: usize = 16_384;
/// Levels of concurrency at most.
const LEVELS_MAX: usize = 16;
/// Rounds at most.
const ROUNDS_MAX: usize = 100;
/// Seconds of load per round and level at most.
const SECONDS_MAX: u64 = 300;
/// Operations of one cluster at most: the product remembers `requests_max` (1,000,000) request ids
/// and refuses more.
const OPERATIONS_MAX: u64 = 900_000;
/// Load before each measurement is this part of it.
const WARM_UP_PART: u32 = 5;

/// What is measured.
#[derive(Clone, Debug)]
pub struct LogBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// An `etcd` binary to measure beside it.
    pub etcd: Option<PathBuf>,
    /// How many replicas, and members of etcd.
    pub replicas: usize,
    /// Callers at once; one row each.
    pub concurrency: Vec<usize>,
    /// Connections that the callers share; never more than there are callers.
    pub connections: usize,
    /// How often each level is measured.
    pub rounds: usize,
    /// How long each time, in seconds.
    pub seconds: u64,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// Through which API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// A call per operation.
    Unary,
    /// A stream per connection.
    Stream,
    /// A call per operation, which asks one replica whether it serves: nothing is logged.
    Empty,
}

/// What was measured at one level of concurrency.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `log`.
    pub bench: &'static str,
    /// Ours; etcd is asked by calls.
    pub api: Api,
    /// Callers.
    pub concurrency: usize,
    /// Rounds that the medians are of.
    pub rounds: usize,
    /// Operations per second, median.
    pub quorate: f64,
    /// The same of etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<f64>,
    /// The median of the rounds' ratios; above 1 we are faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// More of ours.
    pub quorate_detail: Detail,
    /// More of etcd's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_detail: Option<Detail>,
}

/// Medians of the rounds, with the range where it says most.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// Operations per second.
    pub ops_per_s: Spread,
    /// Median latency, in microseconds.
    pub p50_us: Spread,
    /// 99th percentile, in microseconds.
    pub p99_us: Spread,
    /// Processor time of all servers per operation, in microseconds.
    pub cpu_us_per_op: Spread,
    /// Operations per entry of the log, where they are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_per_entry: Option<Spread>,
    /// Waits of one server for its disk, per entry, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syncs_per_entry: Option<Spread>,
}

impl LogBench {
    /// Starts the clusters and measures all levels in turn, round by round; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Vec<Row>, Error> {
        self.check()?;
        note("starting the replicas");
        let mut ours = Ours::start(self).await?;
        let mut theirs = None;
        if let Some(binary) = &self.etcd {
            note("starting etcd");
            theirs = Some(Theirs::start(self, binary).await?);
        }
        let mut cells: Vec<Vec<Measured>> = vec![Vec::new(); self.concurrency.len()];
        for round in 0..self.rounds {
            for (level, concurrency) in self.concurrency.iter().enumerate() {
                let load = self.load(*concurrency);
                // Whoever comes second finds a warmer machine, or a fuller disk: not always the same.
                let comes_first = round % 2 == 1;
                let mut other = None;
                if let Some(theirs) = theirs.as_mut().filter(|_| comes_first) {
                    other = Some(theirs.0.run(load).await?);
                }
                let cell = ours.unary.run(load).await?;
                let stream = ours.stream.run(load).await?;
                let empty = ours.empty.run(load).await?;
                if let Some(theirs) = theirs.as_mut().filter(|_| !comes_first) {
                    other = Some(theirs.0.run(load).await?);
                }
                let told = |name: &str, cell: &Cell| {
                    let (ops, p99) = (cell.ops_per_s, cell.p99_us / 1e3);
                    format!("{name} {ops:.0}/s (p99 {p99:.1} ms, {:.0} us of CPU each)", cell.cpu_us_per_op)
                };
                let other_told = other.as_ref().map_or_else(String::new, |cell| format!(", {}", told("etcd", cell)));
                let ours_told = [("quorate", &cell), ("by stream", &stream), ("empty", &empty)];
                let ours_told = ours_told.map(|(name, cell)| told(name, cell)).join(", ");
                note(&format!("round {}, {concurrency} callers: {ours_told}{other_told}", round + 1));
                cells[level].push(Measured { unary: cell, stream, empty, etcd: other });
            }
        }
        ours.cluster.check_processes()?;
        if self.keep {
            note(&format!("data and logs are in {}", ours.cluster.directory().display()));
        }
        let rows = |api| {
            let levels = self.concurrency.iter().zip(&cells);
            levels.filter_map(move |(concurrency, cells)| row(api, *concurrency, cells))
        };
        Ok(rows(Api::Unary).chain(rows(Api::Stream)).chain(rows(Api::Empty)).collect())
    }

    fn load(&self, concurrency: usize) -> Load {
        let time = Duration::from_secs(self.seconds);
        let cells = (2 * self.rounds * self.concurrency.len()) as u64;
        let operations_max = OPERATIONS_MAX * u64::from(WARM_UP_PART) / u64::from(WARM_UP_PART + 1) / cells;
        let connections = self.connections.min(concurrency);
        Load { concurrency, connections, warm_up: time / WARM_UP_PART, time, operations_max }
    }

    fn check(&self) -> Result<(), Error> {
        let within = |what: &str, value: usize, max: usize| match value {
            0 => Err(Error::Option(format!("{what}: at least 1 is needed"))),
            _ if value > max => Err(Error::Option(format!("{what}: {value} is over {max}"))),
            _ => Ok(()),
        };
        within("concurrency: levels", self.concurrency.len(), LEVELS_MAX)?;
        for concurrency in &self.concurrency {
            within("concurrency", *concurrency, CONCURRENCY_MAX)?;
        }
        within("connections", self.connections, CONCURRENCY_MAX)?;
        within("rounds", self.rounds, ROUNDS_MAX)?;
        within("seconds", usize::try_from(self.seconds).unwrap_or(usize::MAX), SECONDS_MAX as usize)
    }
}

/// A target with its meter, and the number of its next operation.
struct Contender<T> {
    target: Arc<T>,
    meter: Meter,
    next: u64,
}

impl<T: crate::load::Target> Contender<T> {
    async fn run(&mut self, load: Load) -> Result<Cell, Error> {
        let (cell, next) = load.run(&self.target, &self.meter, self.next).await?;
        self.next = next;
        Ok(cell)
    }
}

/// One round of one level.
#[derive(Clone, Copy)]
struct Measured {
    unary: Cell,
    stream: Cell,
    empty: Cell,
    etcd: Option<Cell>,
}

struct Ours {
    unary: Contender<Annotate>,
    stream: Contender<AnnotateStream>,
    empty: Contender<EmptyCall>,
    cluster: LocalCluster,
}

impl Ours {
    async fn start(bench: &LogBench) -> Result<Self, Error> {
        // One agent, so that the runs end; then nothing is left but what the callers ask for.
        let mut options = Options::new(bench.binary.clone(), bench.replicas, 1);
        options.keep = bench.keep;
        let mut cluster = LocalCluster::start(options).await?;
        let runs = make_runs(&cluster.client(), OBJECTS).await?;
        cluster.stop_agent(0).await?;
        let leader = cluster.leader(|_| true).await?.replica;
        let connections = connect(bench, &cluster.api_addresses()[leader])?;
        let streams = connect(bench, &cluster.api_addresses()[leader])?;
        let mut addresses = cluster.ops_addresses().to_vec();
        addresses.swap(0, leader);
        let meter = Meter {
            pids: (0..cluster.replica_count()).filter_map(|replica| cluster.replica_pid(replica)).collect(),
            addresses,
            syncs: &["quorate_disk_syncs_total"],
            entries: "quorate_applied_revision",
        };
        let stream = Arc::new(AnnotateStream::open(streams, runs.clone()).await?);
        let stream = Contender { target: stream, meter: meter.clone(), next: 0 };
        let empty = Arc::new(EmptyCall::new(connections.clone()));
        let empty = Contender { target: empty, meter: meter.clone(), next: 0 };
        let unary = Contender { target: Arc::new(Annotate::new(connections, runs)), meter, next: 0 };
        Ok(Self { unary, stream, empty, cluster })
    }
}

struct Theirs(Contender<KeyValue>, #[expect(dead_code, reason = "dropping it ends the processes")] Etcd);

impl Theirs {
    async fn start(bench: &LogBench, binary: &std::path::Path) -> Result<Self, Error> {
        let mut etcd = Etcd::start(binary, bench.replicas, None, false).await?;
        let leader = etcd.wait_ready().await?;
        let target = Arc::new(KeyValue(connect(bench, &etcd.addresses()[leader])?));
        Ok(Self(Contender { target, meter: etcd.meter(leader), next: 0 }, etcd))
    }
}

/// As many connections to the leader as the most callers may share.
fn connect(bench: &LogBench, leader: &str) -> Result<Vec<tonic::transport::Channel>, Error> {
    (0..bench.connections).map(|_| channel(leader)).collect()
}

fn row(api: Api, concurrency: usize, cells: &[Measured]) -> Option<Row> {
    let of_api = |cell: &Measured| match api {
        Api::Unary => cell.unary,
        Api::Stream => cell.stream,
        Api::Empty => cell.empty,
    };
    let ours: Vec<Cell> = cells.iter().map(of_api).collect();
    let theirs: Option<Vec<Cell>> = cells.iter().map(|cell| cell.etcd).collect();
    let pairs = theirs.iter().flat_map(|theirs| ours.iter().zip(theirs));
    let ratio = Spread::of(pairs.map(|(our, their)| our.ops_per_s / their.ops_per_s).collect());
    let (mut quorate_detail, etcd_detail) = (Detail::of(&ours)?, theirs.as_deref().and_then(Detail::of));
    if api == Api::Empty {
        (quorate_detail.ops_per_entry, quorate_detail.syncs_per_entry) = (None, None);
    }
    Some(Row {
        bench: "log",
        api,
        concurrency,
        rounds: cells.len(),
        quorate: quorate_detail.ops_per_s.median,
        etcd: etcd_detail.as_ref().map(|detail| detail.ops_per_s.median),
        ratio: ratio.map(|ratio| rounded(ratio.median)),
        quorate_detail,
        etcd_detail,
    })
}

impl Detail {
    fn of(cells: &[Cell]) -> Option<Self> {
        let spread = |value: fn(&Cell) -> f64| Spread::of(cells.iter().map(value).collect());
        Some(Self {
            ops_per_s: spread(|cell| cell.ops_per_s)?,
            p50_us: spread(|cell| cell.p50_us)?,
            p99_us: spread(|cell| cell.p99_us)?,
            cpu_us_per_op: spread(|cell| cell.cpu_us_per_op)?,
            ops_per_entry: spread(|cell| cell.ops_per_entry),
            syncs_per_entry: spread(|cell| cell.syncs_per_entry),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(ops_per_s: f64) -> Cell {
        Cell { ops_per_s, p50_us: 1.0, p99_us: 2.0, cpu_us_per_op: 3.0, ops_per_entry: 4.0, syncs_per_entry: 0.5 }
    }

    #[test]
    fn the_ratio_is_that_of_rounds_measured_side_by_side() {
        // The machine was three times as fast in the last round, for both.
        let measured = |ours: f64, theirs: Option<f64>| Measured {
            unary: cell(ours),
            stream: cell(3.0 * ours),
            empty: cell(9.0 * ours),
            etcd: theirs.map(cell),
        };
        let cells = [measured(10.0, Some(5.0)), measured(20.0, Some(10.0)), measured(30.0, Some(30.0))];
        let unary = row(Api::Unary, 64, &cells).unwrap();
        assert_eq!((unary.quorate, unary.etcd, unary.ratio), (20.0, Some(10.0), Some(2.0)));
        assert_eq!(row(Api::Stream, 64, &cells).unwrap().ratio, Some(6.0));
        let empty = row(Api::Empty, 64, &cells).unwrap();
        assert_eq!(empty.ratio, Some(18.0));
        assert!(empty.quorate_detail.ops_per_entry.is_none() && unary.quorate_detail.ops_per_entry.is_some());
        assert_eq!(row(Api::Unary, 1, &[measured(10.0, None)]).unwrap().ratio, None);
        assert!(row(Api::Unary, 1, &[]).is_none());
    }

    #[tokio::test]
    async fn senseless_sizes_are_refused_before_anything_starts() {
        let bench = LogBench {
            binary: "/nonexistent".into(),
            etcd: None,
            replicas: 3,
            concurrency: vec![1, 64],
            connections: 8,
            rounds: 1,
            seconds: 1,
            keep: false,
        };
        for wrong in [
            LogBench { concurrency: vec![], ..bench.clone() },
            LogBench { concurrency: vec![0], ..bench.clone() },
            LogBench { connections: 0, ..bench.clone() },
            LogBench { rounds: ROUNDS_MAX + 1, ..bench.clone() },
            LogBench { seconds: 0, ..bench.clone() },
        ] {
            assert!(matches!(wrong.run(&|_| {}).await, Err(Error::Option(_))), "{wrong:?}");
        }
        assert!(bench.load(1).connections == 1, "no caller has two connections");
        let most = bench.load(64).operations_max * 2;
        assert!(most < OPERATIONS_MAX);
    }
}

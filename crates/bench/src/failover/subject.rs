//! The clusters whose leaders go: ours, and etcd's.

use std::path::Path;
use std::sync::Arc;

use quorate_client::Client;
use quorate_seams::{Clock as _, SystemClock};

use super::{FailoverBench, Fault, millis, next_write, work};
use crate::Error;
use crate::etcd::{Etcd, KeyValue, Timing};
use crate::load::channel;
use crate::local::{LocalCluster, Options};
use crate::log::{Annotate, make_runs};

/// Cores that the one agent offers: so many tasks run, the others wait.
const AGENT_CPU: &str = "4";

pub(super) struct Ours {
    cluster: LocalCluster,
    client: Client,
    target: Arc<Annotate>,
    next: u64,
}

/// How long it took until all was well again, in milliseconds.
pub(super) struct Back {
    pub(super) write_ms: f64,
    pub(super) placement_ms: f64,
}

impl Ours {
    pub(super) async fn start(bench: &FailoverBench) -> Result<Self, Error> {
        let mut options = Options::new(bench.binary.clone(), bench.replicas, 1);
        options.keep = bench.keep;
        options.relayed = bench.fault == Fault::Partition;
        options.agents[0].cpu = Some(AGENT_CPU.to_owned());
        let cluster = LocalCluster::start(options).await?;
        let client = cluster.client();
        let runs = make_runs(&client, 1).await?;
        let members = cluster.api_addresses().iter().map(|address| channel(address)).collect::<Result<_, _>>()?;
        Ok(Self { cluster, client, target: Arc::new(Annotate::new(members, runs)), next: 0 })
    }

    pub(super) fn directory(&self) -> &Path {
        self.cluster.directory()
    }

    /// Takes the leader away while work waits, and gives it back in the end.
    pub(super) async fn round(&mut self, fault: Fault) -> Result<Back, Error> {
        self.cluster.wait_ready().await?;
        let run = work::begin(&self.client).await?;
        let leader = self.cluster.leader(|_| true).await?.replica;
        let members = self.cluster.replica_count();
        self.next += 2;
        // Every connection is up and the writer at work when it happens.
        next_write(&self.target, members, self.next).await?;
        let (gone, gone_wall) = (SystemClock.boot(), SystemClock.wall());
        match fault {
            Fault::Kill => self.cluster.kill9(leader),
            Fault::Stop => self.cluster.pause(leader),
            Fault::Partition => self.cluster.cut_off(Some(leader)),
        }
        let written = next_write(&self.target, members, self.next + 1).await?;
        let placed = work::first_placement_after(&self.client, &run, gone_wall.0).await?;
        match fault {
            Fault::Kill => self.cluster.restart(leader)?,
            Fault::Stop => self.cluster.resume(leader),
            Fault::Partition => self.cluster.cut_off(None),
        }
        work::end(&self.client, &run).await?;
        Ok(Back { write_ms: millis(gone, written), placement_ms: placed.saturating_sub(gone_wall.0) as f64 })
    }
}

pub(super) struct Theirs {
    etcd: Etcd,
    target: Arc<KeyValue>,
    next: u64,
}

impl Theirs {
    pub(super) async fn start(binary: &Path, members: usize, timing: Option<Timing>) -> Result<Self, Error> {
        let etcd = Etcd::start(binary, members, timing).await?;
        let connections = etcd.addresses().iter().map(|address| channel(address)).collect::<Result<_, _>>()?;
        Ok(Self { etcd, target: Arc::new(KeyValue(connections)), next: 0 })
    }

    pub(super) async fn round(&mut self, fault: Fault) -> Result<f64, Error> {
        let leader = self.etcd.wait_ready().await?;
        let members = self.etcd.addresses().len();
        self.next += 2;
        next_write(&self.target, members, self.next).await?;
        let gone = SystemClock.boot();
        match fault {
            Fault::Kill => self.etcd.kill9(leader),
            // A partition is refused at the start: there is no relay between its members.
            Fault::Stop | Fault::Partition => self.etcd.pause(leader),
        }
        let written = next_write(&self.target, members, self.next + 1).await?;
        match fault {
            Fault::Kill => self.etcd.restart(leader)?,
            Fault::Stop | Fault::Partition => self.etcd.resume(leader),
        }
        Ok(millis(gone, written))
    }
}

//! The clusters whose leaders go: ours, and etcd's.

use std::path::Path;
use std::sync::Arc;

use quorate_client::Client;
use quorate_seams::{Clock as _, SystemClock};
use tonic::transport::Channel;

use super::writers::Writers;
use super::written::{Book, Page, Verdict, WRITES_MAX};
use super::{FailoverBench, Fault, millis, next_write, work};
use crate::Error;
use crate::etcd::{Etcd, KeyValue, Timing};
use crate::load::channel;
use crate::local::{LocalCluster, Options};

/// Cores that the one agent offers: so many tasks run, the others wait.
const AGENT_CPU: &str = "4";
/// The writes before and after the leader goes have the first numbers of their round, the writers the rest.
const BEFORE: u64 = 0;
const AFTER: u64 = 1;
/// Of the writers' numbers, those from here on are for when the leader comes back.
const COME_BACK: u64 = WRITES_MAX / 2;

pub(super) struct Ours {
    cluster: LocalCluster,
    client: Client,
    members: Vec<Channel>,
    book: Book,
    /// When all was up for the first time.
    first_term: u64,
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
        let mut cluster = LocalCluster::start(options).await?;
        let client = cluster.client();
        let members = cluster.api_addresses().iter().map(|address| channel(address)).collect::<Result<_, _>>()?;
        let first_term = cluster.leader(|_| true).await?.term;
        Ok(Self { cluster, client, members, book: Book::default(), first_term })
    }

    pub(super) fn directory(&self) -> &Path {
        self.cluster.directory()
    }

    /// Takes the leader away while work waits, and gives it back in the end.
    pub(super) async fn round(&mut self, fault: Fault) -> Result<Back, Error> {
        self.cluster.wait_ready().await?;
        let (mut page, places) = Page::begin(&self.client, &self.members).await?;
        let places = Arc::new(places);
        let run = work::begin(&self.client).await?;
        let leader = self.cluster.leader(|_| true).await?.replica;
        let members = self.members.len();
        let writers = Writers::start(&places, members, AFTER + 1..COME_BACK);
        // Every connection is up and the writer at work when it happens.
        next_write(&places, members, BEFORE).await?;
        let (gone, gone_wall) = (SystemClock.boot(), SystemClock.wall());
        fault.strike(&mut self.cluster, leader);
        let written = next_write(&places, members, AFTER).await?;
        let placed = work::first_placement_after(&self.client, &run, gone_wall.0).await?;
        // It comes back under load, and may believe to lead still.
        let more = Writers::start(&places, members, COME_BACK..WRITES_MAX);
        fault.mend(&mut self.cluster, leader)?;
        work::end(&self.client, &run).await?;
        self.cluster.wait_ready().await?;
        let acknowledged = writers.stop().await?.into_iter().chain(more.stop().await?);
        acknowledged.chain([BEFORE, AFTER]).for_each(|number| page.acknowledged(number));
        // Every replica has all of it, so each can say what took effect.
        self.cluster.wait_ready().await?;
        page.count(&self.client).await?;
        self.book.add(page);
        Ok(Back { write_ms: millis(gone, written), placement_ms: placed.saturating_sub(gone_wall.0) as f64 })
    }

    /// What became of all writes, and how many elections there were since the start.
    pub(super) async fn settle(&mut self) -> Result<(Verdict, u64), Error> {
        self.cluster.wait_ready().await?;
        let verdict = self.book.settle(&self.client).await?;
        let term = self.cluster.leader(|_| true).await?.term;
        Ok((verdict, term.saturating_sub(self.first_term)))
    }
}

impl Fault {
    /// Takes replica `leader` away.
    pub(crate) fn strike(self, cluster: &mut LocalCluster, leader: usize) {
        match self {
            Self::Kill => cluster.kill9(leader),
            Self::Stop => cluster.pause(leader),
            Self::Partition => cluster.cut_off(Some(leader)),
        }
    }

    /// Gives it back.
    pub(crate) fn mend(self, cluster: &mut LocalCluster, leader: usize) -> Result<(), Error> {
        match self {
            Self::Kill => cluster.restart(leader)?,
            Self::Stop => cluster.resume(leader),
            Self::Partition => cluster.cut_off(None),
        }
        Ok(())
    }
}

pub(super) struct Theirs {
    etcd: Etcd,
    target: Arc<KeyValue>,
    next: u64,
}

impl Theirs {
    pub(super) async fn start(bench: &FailoverBench, binary: &Path, timing: Option<Timing>) -> Result<Self, Error> {
        let is_relayed = bench.fault == Fault::Partition;
        let etcd = Etcd::start(binary, bench.replicas, timing, is_relayed).await?;
        let connections = etcd.addresses().iter().map(|address| channel(address)).collect::<Result<_, _>>()?;
        Ok(Self { etcd, target: Arc::new(KeyValue(connections)), next: 0 })
    }

    /// The same with etcd, under the same writers.
    pub(super) async fn round(&mut self, fault: Fault) -> Result<f64, Error> {
        let leader = self.etcd.wait_ready().await?;
        let members = self.etcd.addresses().len();
        let first = self.next;
        self.next += WRITES_MAX;
        let writers = Writers::start(&self.target, members, first + AFTER + 1..first + COME_BACK);
        next_write(&self.target, members, first + BEFORE).await?;
        let gone = SystemClock.boot();
        match fault {
            Fault::Kill => self.etcd.kill9(leader),
            Fault::Stop => self.etcd.pause(leader),
            Fault::Partition => self.etcd.cut_off(Some(leader)),
        }
        let written = next_write(&self.target, members, first + AFTER).await?;
        match fault {
            Fault::Kill => self.etcd.restart(leader)?,
            Fault::Stop => self.etcd.resume(leader),
            Fault::Partition => self.etcd.cut_off(None),
        }
        writers.stop().await?;
        Ok(millis(gone, written))
    }
}

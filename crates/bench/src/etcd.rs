//! Members of an etcd cluster as processes on loopback, to measure beside ours on the same machine.
//!
//! Started with etcd's own defaults; whatever is set differs for a measurement that says so.

mod kv;

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use tempfile::TempDir;

pub(crate) use kv::KeyValue;

use crate::cost::metrics;
use crate::load::Meter;
use crate::process::Process;
use crate::relay::Relay;
use crate::{Error, ports};

/// Longest wait for a leader that all members know.
const READY_WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Waits for the disk: of the log, and of the store that is written behind it.
const SYNCS: &[&str] =
    &["etcd_disk_wal_fsync_duration_seconds_count", "etcd_disk_backend_commit_duration_seconds_count"];

/// When a follower believes that the leader is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Between two signs of life.
    pub(crate) heartbeat_ms: u64,
    /// etcd draws the time for an election from this to twice this.
    pub(crate) election_ms: u64,
}

/// The members, killed when dropped.
pub(crate) struct Etcd {
    members: Vec<Process>,
    addresses: Vec<String>,
    relay: Option<Relay>,
    // After the processes: fields drop in order, and they write into it.
    _directory: TempDir,
}

impl Etcd {
    /// Starts `members` members of `binary`, and returns when all of them know a leader. Those that are
    /// relayed can be cut off from each other.
    pub(crate) async fn start(
        binary: &Path,
        members: usize,
        timing: Option<Timing>,
        is_relayed: bool,
    ) -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let directory = tempfile::Builder::new().prefix("etcd-").tempdir_in(&parent);
        let directory = directory.map_err(|source| Error::Write { path: parent, source })?;
        let ports = ports::free(members * 2)?;
        let url = |index: usize| format!("http://127.0.0.1:{}", ports[index]);
        let listens = |number: usize| format!("127.0.0.1:{}", ports[members + number]);
        let relay = if is_relayed { Some(Relay::start((0..members).map(listens).collect()).await?) } else { None };
        // Members dial what the others advertise.
        let advertised: Vec<String> = match &relay {
            Some(relay) => relay.addresses().iter().map(|address| format!("http://{address}")).collect(),
            None => (0..members).map(|number| url(members + number)).collect(),
        };
        let named = advertised.iter().enumerate().map(|(number, url)| format!("m{number}={url}"));
        let cluster = named.collect::<Vec<String>>().join(",");
        let (binary, prefix) = dies_with_us(binary);
        let mut processes = Vec::new();
        for (number, advertised) in advertised.iter().enumerate() {
            let name = format!("m{number}");
            let home = directory.path().join(&name);
            let (client, peer) = (url(number), url(members + number));
            let mut arguments = prefix.clone();
            for (flag, value) in [
                ("--name", name.as_str()),
                ("--data-dir", &home.join("data").display().to_string()),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", advertised),
                ("--initial-cluster", &cluster),
                ("--initial-cluster-state", "new"),
            ] {
                arguments.extend([flag.to_owned(), value.to_owned()]);
            }
            if let Some(timing) = timing {
                arguments.push(format!("--heartbeat-interval={}", timing.heartbeat_ms));
                arguments.push(format!("--election-timeout={}", timing.election_ms));
            }
            std::fs::create_dir_all(&home).map_err(|source| Error::Write { path: home.clone(), source })?;
            let mut process = Process::new(&name, binary.clone(), arguments, home.join("log"));
            process.start()?;
            if let Some(relay) = &relay {
                relay.learn(number, process.pid());
            }
            processes.push(process);
        }
        let addresses = (0..members).map(|number| format!("127.0.0.1:{}", ports[number])).collect();
        let mut etcd = Self { members: processes, addresses, relay, _directory: directory };
        etcd.wait_ready().await?;
        Ok(etcd)
    }

    /// Addresses for clients, in the order of the members.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Waits until every member knows a leader; which one leads comes back.
    pub(crate) async fn wait_ready(&mut self) -> Result<usize, Error> {
        let begun = SystemClock.boot();
        loop {
            self.members.iter_mut().try_for_each(Process::check)?;
            let seen = match self.look().await {
                Ok(Some(leader)) => return Ok(leader),
                Ok(None) => "none leads, or more than one, or not all know who".to_owned(),
                Err(error) => error.to_string(),
            };
            if SystemClock.boot().since(begun) > READY_WAIT {
                let what = "an etcd cluster with a leader".to_owned();
                return Err(Error::NotInTime { what, waited: READY_WAIT, detail: format!(": {seen}") });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Result<Option<usize>, Error> {
        let mut leader = None;
        for (number, address) in self.addresses.iter().enumerate() {
            if metrics(address, &["etcd_server_has_leader"]).await? < 1.0 {
                return Ok(None);
            }
            if metrics(address, &["etcd_server_is_leader"]).await? >= 1.0 {
                // One that was away may still believe to lead.
                if leader.replace(number).is_some() {
                    return Ok(None);
                }
            }
        }
        Ok(leader)
    }

    /// Where it is seen what load costs.
    pub(crate) fn meter(&self, leader: usize) -> Meter {
        let mut addresses = self.addresses.clone();
        addresses.swap(0, leader);
        Meter {
            pids: self.members.iter().filter_map(Process::pid).collect(),
            addresses,
            syncs: SYNCS,
            entries: "etcd_server_proposals_applied_total",
        }
    }

    /// Kills a member with SIGKILL.
    pub(crate) fn kill9(&mut self, member: usize) {
        self.members[member].kill9();
    }

    /// Starts it again, on its data.
    pub(crate) fn restart(&mut self, member: usize) -> Result<(), Error> {
        self.members[member].start()?;
        if let Some(relay) = &self.relay {
            relay.learn(member, self.members[member].pid());
        }
        Ok(())
    }

    /// Takes the processor away from a member.
    pub(crate) fn pause(&self, member: usize) {
        self.members[member].pause();
    }

    /// Gives it back.
    pub(crate) fn resume(&self, member: usize) {
        self.members[member].resume();
    }

    /// Cuts a member off from the others, or mends that with none; clients still reach it. Does nothing
    /// when they are not relayed.
    pub(crate) fn cut_off(&self, member: Option<usize>) {
        if let Some(relay) = &self.relay {
            relay.cut(member);
        }
    }
}

/// etcd does not stop when its standard input closes: where it is there, `setpriv` lets the kernel end
/// it with us, also when we are killed ourselves.
fn dies_with_us(etcd: &Path) -> (PathBuf, Vec<String>) {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return (etcd.to_path_buf(), Vec::new());
    }
    let arguments = ["--pdeathsig", "KILL", "--"].map(str::to_owned).into_iter();
    (setpriv.to_path_buf(), arguments.chain([etcd.display().to_string()]).collect())
}

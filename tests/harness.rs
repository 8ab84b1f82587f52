//! What the end-to-end tests share: the built binary, clusters of real processes, commands run as a
//! user would, and a ledger that tasks themselves write.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quorate_bench::local::{AgentOptions, LeaseOptions, LocalCluster, Options};
use quorate_client::{Client, ClientConfig, snapshot_file};
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock, SystemEntropy, TcpNetwork};
use quorate_state::Settings;

/// No test waits longer for one thing.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The built binary: `QUORATE_BIN`, or beside the test's own executable.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("QUORATE_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a test knows its own path");
    let beside = own.ancestors().nth(2).expect("target/<profile>/deps/<test>").join("quorate");
    assert!(beside.exists(), "{} is missing: build it first with 'cargo build'", beside.display());
    beside
}

/// Terms of the leases: short enough that a test can wait for one to end, long enough that a machine on which two
/// processors are shared by a dozen unoptimised processes seldom loses one unasked. Tests count on no such luck: they
/// assert what holds when it does, or have the product's leases ([`steady`]) where they wait for no end of one.
pub const LEASE: LeaseOptions = LeaseOptions {
    server: Duration::from_millis(8_000),
    agent: Duration::from_millis(5_000),
    kill: Duration::from_millis(2_000),
    margin: Duration::from_millis(500),
};

/// Three replicas and one agent in each of four clusters of two regions, with the leases of [`LEASE`] and snapshots after
/// every 50 entries.
pub fn options(replicas: usize) -> Options {
    options_of(binary(), replicas)
}

/// The same with the product's leases, for tests that assert that no node was lost.
pub fn steady(replicas: usize) -> Options {
    Options { lease: None, ..options(replicas) }
}

/// The same as [`options`] of another binary.
pub fn options_of(binary: PathBuf, replicas: usize) -> Options {
    let agent = |number: usize, region: &str, cluster: &str| AgentOptions {
        node: format!("node-{number}"),
        region: region.to_owned(),
        cluster: cluster.to_owned(),
        cpu: Some("4".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: None,
        flags: Vec::new(),
    };
    Options {
        agents: vec![agent(1, "eu", "eu-a"), agent(2, "eu", "eu-b"), agent(3, "us", "us-a"), agent(4, "us", "us-b")],
        snapshot_entries: Some(50),
        keep_entries: Some(0),
        lease: Some(LEASE),
        // Only the tests of the reserve ask how full this machine's disk is.
        disk_reserve: Some("off".to_owned()),
        ..Options::new(binary, replicas, 0)
    }
}

/// Starts a cluster, or fails the test with what the processes said.
pub async fn start(options: Options) -> LocalCluster {
    match LocalCluster::start(options).await {
        Ok(cluster) => cluster,
        Err(error) => panic!("the cluster did not start: {error}"),
    }
}

/// Waits until `look` gives a value; its last complaint explains a wait that ran out.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let begun = SystemClock.boot();
    loop {
        let complaint = match look().await {
            Ok(value) => return value,
            Err(complaint) => complaint,
        };
        assert!(SystemClock.boot().since(begun) < WAIT_MAX, "{what} did not happen in {WAIT_MAX:?}: {complaint}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A run by its id.
pub fn run_ref(run_id: &str) -> Option<v1::RunRef> {
    Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(run_id.to_owned())) })
}

/// The run's state and counts.
pub async fn get_run(client: &Client, run_id: &str) -> Result<v1::Run, String> {
    let answer = client.get_run(v1::GetRunRequest { run: run_ref(run_id) }).await.map_err(|error| error.to_string())?;
    answer.run.ok_or_else(|| "no run in the answer".to_owned())
}

/// Waits for the end of a run.
pub async fn run_end(client: &Client, run_id: &str) -> v1::Run {
    until(&format!("the end of run {run_id}"), || async {
        let run = get_run(client, run_id).await?;
        match run.state() {
            v1::RunState::Succeeded | v1::RunState::Failed | v1::RunState::Cancelled => Ok(run),
            v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => {
                Err(format!("{:?} {:?}", run.state(), run.counts))
            }
        }
    })
    .await
}

/// Every attempt of a run.
pub async fn attempts(client: &Client, run_id: &str) -> Vec<v1::Attempt> {
    let mut attempts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListAttemptsRequest {
            run: run_ref(run_id),
            page_size: 500,
            page_token,
            ..v1::ListAttemptsRequest::default()
        };
        let page = client.list_attempts(request).await.expect("attempts are listed");
        attempts.extend(page.attempts);
        if page.next_page_token.is_empty() {
            return attempts;
        }
        page_token = page.next_page_token;
    }
}

/// A client that knows the replica at this address alone.
pub fn ask(address: &str) -> Client {
    let config = ClientConfig::new(vec![address.to_owned()]);
    Client::new(config, Arc::new(TcpNetwork), Arc::new(SystemEntropy))
}

/// What each replica holds, once all of them have the same revision: that revision, and the digest of
/// the whole history up to it. A file in `directory` is overwritten.
pub async fn history_of(addresses: &[String], directory: &Path) -> Result<Vec<(u64, String)>, String> {
    let begun = SystemClock.boot();
    loop {
        let mut histories = Vec::new();
        for address in addresses {
            let pieces = ask(address).save_snapshot(v1::SaveSnapshotRequest { stale: true }).await;
            let pieces = pieces.map_err(|error| format!("{address}: {error}"))?;
            let written = snapshot_file::save(pieces, &directory.join("snapshot"), true).await;
            let header = written.map_err(|error| format!("{address}: {error}"))?.header;
            let hex = header.history.iter().map(|byte| format!("{byte:02x}")).collect();
            histories.push((header.revision, hex));
        }
        if histories.iter().all(|(revision, _)| *revision == histories[0].0) {
            return Ok(histories);
        }
        if SystemClock.boot().since(begun) > WAIT_MAX {
            return Err(format!("the replicas never had the same revision: {histories:?}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Parses a job file and submits it; returns the run's id.
pub async fn submit(client: &Client, job: &str) -> String {
    let request = v1::SubmitJobRequest { spec: Some(spec(job)), request_id: String::new() };
    client.submit_job(request).await.expect("the job is accepted").run_id
}

/// A job file as a spec for the wire.
pub fn spec(job: &str) -> v1::JobSpec {
    let format = quorate_client::jobfile::Format::Toml;
    let spec = quorate_client::jobfile::parse(job.as_bytes(), format, "job.toml", &Settings::default());
    quorate_proto::convert::job::spec_to_wire(&spec.expect("the test's own job file is valid"))
}

/// A file to which tasks append a line per start and per end: what really ran, whatever the
/// control plane believes.
pub struct Ledger {
    directory: tempfile::TempDir,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The argv of a task that records its start, sleeps, and records its end.
    pub fn task(&self, seconds: &str) -> String {
        self.recorded(&format!("sleep {seconds}"))
    }

    /// The argv of a task that records its start, waits until this gate is open, and records its end.
    pub fn task_until(&self, gate: &str) -> String {
        self.recorded(&format!("while ! [ -e {} ]; do sleep 0.05; done", self.gate(gate).display()))
    }

    /// Opens a gate, for good.
    pub fn open(&self, gate: &str) {
        std::fs::write(self.gate(gate), "").expect("the directory can be written");
    }

    fn recorded(&self, meanwhile: &str) -> String {
        let path = self.path();
        let line = |what: &str| {
            format!("echo {what} $QUORATE_TASK $QUORATE_TASK_INDEX $QUORATE_ATTEMPT >> {}", path.display())
        };
        let script = format!("{}; {meanwhile}; {}", line("start"), line("end"));
        format!("[\"sh\", \"-c\", \"{script}\"]")
    }

    /// Lines of one kind (`start` or `end`), each "task index attempt".
    pub fn lines(&self, kind: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix(kind)).map(|line| line.trim().to_owned()).collect()
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.open"))
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `quorate` with `arguments` against the replicas at `addresses`, in `directory`.
pub fn quorate(addresses: &[String], directory: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", directory);
    if !addresses.is_empty() {
        command.env("QUORATE_SERVERS", addresses.join(","));
    }
    said(&command.output().expect("the binary runs"))
}

/// What a finished command said.
pub fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A replica that a test started by itself; killed when dropped.
pub struct Server(std::process::Child);

impl Server {
    /// Runs `quorate server` with `arguments` in `directory`.
    pub fn spawn(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("server").args(arguments).current_dir(directory).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

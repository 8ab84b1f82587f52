//! A whole agent against a control plane that a test plays: sessions, leases, restarts.

mod control_plane;
mod distances;
mod sets;
mod silence;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_plane::{CLUSTER, ControlPlane, Conversation, PATIENCE, assignment, attempt, full, says};
use quorate_agent::driver::shim::{self, OnExit};
use quorate_agent::{Config, Error, Limits, Seams, cgroup};
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as FromAgent;
use quorate_proto::v1::server_message::Message as ToAgent;
use quorate_seams::{Shutdown, ShutdownHandle, SystemClock, SystemEntropy, TcpNetwork};
use quorate_state::{ClusterName, NodeName, RegionName, Resources};
use tokio::task::JoinHandle;
use tonic::Status;
use v1::AttemptPhase::{Ended, Lost, Running};

/// Long enough never to end within a test.
const LEASE_MS: u64 = 60_000;

fn config(servers: &[String], data_dir: &Path) -> Config {
    Config {
        gpus: vec![],
        servers: servers.to_vec(),
        node: NodeName::new("n1").unwrap(),
        region: RegionName::new("eu").unwrap(),
        cluster: ClusterName::new("eu-1").unwrap(),
        capacity: Resources { cpu_milli: 2_000, memory_bytes: 1 << 30, gpu_milli: 0 },
        labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        offer: Default::default(),
        join_token: None,
        data_dir: data_dir.to_owned(),
        uuid: None,
        machine: None,
        ops: None,
        measure_latency: true,
        insecure: false,
        limits: Limits {
            stop_grace: Duration::from_millis(100),
            shutdown_grace: Duration::from_millis(500),
            ..Limits::default()
        },
    }
}

/// Not a test of its own: the host of the shims of the others, which start this binary again.
#[test]
#[ignore = "a process of the other tests"]
fn shim_host() {
    shim::host();
}

fn shims(on_exit: OnExit) -> shim::Options {
    let own = std::env::current_exe().unwrap();
    let arguments = ["--exact", "shim_host", "--ignored", "--nocapture", "--test-threads=1"];
    shim::Options { on_exit, host: [own].into_iter().chain(arguments.map(Into::into)).collect() }
}

async fn run(config: Config, on_exit: OnExit, shutdown: Shutdown) -> Result<(), Error> {
    let groups = cgroup::Options {
        mode: cgroup::Use::Auto,
        data_dir: config.data_dir.clone(),
        node: config.node.clone(),
        processes_max: cgroup::PROCESSES_MAX_DEFAULT,
    };
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        network: Arc::new(TcpNetwork),
        journal: Arc::new(quorate_agent::open_journal(&config.data_dir)?),
        drivers: quorate_agent::driver::system(groups, shims(on_exit))?,
    };
    quorate_agent::run(config, seams, shutdown).await
}

struct Agent {
    handle: ShutdownHandle,
    task: JoinHandle<Result<(), Error>>,
}

impl Agent {
    /// One whose tasks end with it.
    fn start(config: Config) -> Self {
        Self::with(config, OnExit::Kill)
    }

    fn with(config: Config, on_exit: OnExit) -> Self {
        let (handle, shutdown) = Shutdown::new();
        Self { handle, task: tokio::spawn(run(config, on_exit, shutdown)) }
    }

    fn of(plane: &ControlPlane, data_dir: &Path) -> Self {
        Self::start(config(&[plane.address.to_string()], data_dir))
    }

    async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the agent ends").expect("it does not panic")
    }

    /// Ends it without giving it time for anything.
    async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// An address that is free, and stays so until it is asked for by number: no connection goes out from this host.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap().to_string()
}

/// Answers renewals until that has ended.
async fn renewed<T>(session: &mut Conversation, until: impl Future<Output = T>) -> T {
    let mut until = std::pin::pin!(until);
    loop {
        tokio::select! {
            value = &mut until => return value,
            _ = session.reports() => {}
        }
    }
}

async fn until_dead(pid: u32) {
    let path = format!("/proc/{pid}/stat");
    let wait = async {
        // A dead process that nobody has reaped yet is dead.
        while std::fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("process {pid} still lives"));
}

async fn written(path: &Path) -> u32 {
    let wait = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().parse().unwrap(),
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{} is not written", path.display()))
}

fn phases(reports: &[v1::AttemptReport]) -> Vec<(u32, v1::AttemptPhase, bool)> {
    let step = |report: &v1::AttemptReport| report.attempt.as_ref().map_or(u32::MAX, |attempt| attempt.step);
    reports.iter().map(|report| (step(report), report.phase(), report.gone)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_runs_and_its_output_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let work = assignment(0, 50, &["sh", "-c", "echo hello; echo oh >&2; exit 3"]);
    let mut session = plane.welcomed(10, LEASE_MS, vec![work]).await;
    assert_eq!(session.hello.node, "n1");
    assert_eq!((session.hello.epoch, session.hello.revision, session.hello.attempts.len()), (0, 0, 0));
    assert_eq!(session.hello.capacity, Some(v1::Resources { cpu_milli: 2_000, memory_bytes: 1 << 30, gpu_milli: 0 }));

    let heard = session.until(says(0, Ended, true)).await;
    assert_eq!(phases(&heard), [(0, Running, false), (0, Ended, true)]);
    let last = heard.last().unwrap();
    assert_eq!(last.exit, Some(v1::Exit { exit: Some(v1::exit::Exit::Code(3)) }));
    assert_eq!((last.token, last.stopped), (50, false));
    assert!(last.usage.unwrap().memory_peak_bytes > 0);

    for (stream, offset, expected) in
        [(v1::LogStream::Stdout, 0, "hello\n"), (v1::LogStream::Stdout, 2, "llo\n"), (v1::LogStream::Stderr, 0, "oh\n")]
    {
        let request = v1::LogRequest {
            id: 9,
            attempt: Some(attempt(0)),
            stream: stream.into(),
            offset,
            bytes_max: 100,
            wait_ms: 1_000,
            ..v1::LogRequest::default()
        };
        session.say(ToAgent::LogRequest(request)).await;
        let FromAgent::LogChunk(chunk) = session.hear().await else { panic!("not output") };
        assert_eq!((chunk.id, chunk.end, chunk.offset), (9, true, offset));
        assert_eq!(std::str::from_utf8(&chunk.data).unwrap(), expected);
    }
    agent.handle.request();
    agent.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_attempt_ends_and_one_that_never_started_is_declined() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let _agent = Agent::of(&plane, directory.path());
    let sleeps = assignment(0, 50, &["sleep", "1000"]);
    let mut session = plane.welcomed(10, LEASE_MS, vec![sleeps.clone()]).await;
    session.until(says(0, Running, false)).await;
    session.revision = 120;
    let stopped = |work: v1::Assignment| v1::Assignment { stop: true, ..work };
    let set = vec![stopped(sleeps), stopped(assignment(1, 110, &["sleep", "1000"]))];
    session.say(ToAgent::Delta(v1::DesiredDelta { from: 100, set, removed: Vec::new() })).await;
    let mut ended = std::collections::BTreeMap::new();
    while ended.len() < 2 {
        let heard = session.until(|report| report.gone).await;
        for report in heard.into_iter().filter(|report| report.gone) {
            assert!(report.stopped, "{report:?}");
            ended.insert(report.attempt.as_ref().unwrap().step, (report.phase(), report.exit));
        }
    }
    let sigterm = v1::Exit { exit: Some(v1::exit::Exit::Signal(15)) };
    assert_eq!(ended, BTreeMap::from([(0, (Ended, Some(sigterm))), (1, (Ended, None))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_kills_nothing_and_its_unanswered_reports_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let _agent = Agent::of(&plane, directory.path());
    let set = vec![assignment(0, 50, &["true"]), assignment(1, 51, &["sleep", "1000"])];
    let mut session = plane.welcomed(10, LEASE_MS, set).await;
    // Nothing is acknowledged.
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(session.reports().await.reports);
    }
    session.refuse(Status::unavailable("the leader has changed")).await;

    let mut session = plane.session().await;
    assert_eq!(session.hello.epoch, 10, "its lease has not run out");
    let claimed: Vec<u32> = session.hello.attempts.iter().map(|claim| claim.attempt.as_ref().unwrap().step).collect();
    assert_eq!(claimed, [0, 1], "an end that nobody has acknowledged is still to be told");
    session.welcome(10, LEASE_MS).await;
    let heard = session.until(says(0, Ended, true)).await;
    assert!(phases(&heard).contains(&(0, Running, false)), "{:?}", phases(&heard));
    // That of the acknowledgement of its end, which may have come behind another batch.
    let revision = session.revision;
    session.refuse(Status::unavailable("again")).await;
    let session = plane.session().await;
    assert_eq!(session.hello.attempts.len(), 1, "the acknowledged one is forgotten");
    assert_eq!(session.hello.revision, revision, "with the revision that it was forgotten at");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_leases_end_only_what_is_fenced_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let free = free_address();
    let ops = Some(free.clone());
    let _agent = Agent::start(Config { ops, ..config(&[plane.address.to_string()], directory.path()) });
    let script = |name: &str| {
        let path = directory.path().join(name);
        format!("echo $$ > {0}.part; mv {0}.part {0}; exec sleep 1000", path.display())
    };
    let promise = |step: u32, name: &str, promise: v1::OnNodeLoss| {
        let work = assignment(step, 50, &["sh", "-c", &script(name)]);
        v1::Assignment { on_node_loss: promise.into(), ..work }
    };
    let set = vec![
        promise(0, "fenced", v1::OnNodeLoss::Fenced),
        promise(1, "often", v1::OnNodeLoss::AtLeastOnce),
        promise(2, "once", v1::OnNodeLoss::AtMostOnce),
    ];
    let lease = Duration::from_secs(3);
    let mut session = plane.welcomed(10, lease.as_millis() as u64, set.clone()).await;
    let paths = ["fenced", "often", "once"].map(|name| directory.path().join(name));
    let begun = async { (written(&paths[0]).await, written(&paths[1]).await, written(&paths[2]).await) };
    let (fenced, often, once) = renewed(&mut session, begun).await;
    // Longer than one lease, renewed: everything runs on.
    renewed(&mut session, tokio::time::sleep(lease * 3 / 2)).await;
    for pid in [fenced, often, once] {
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
    // From now on nobody confirms anything.
    drop(session);
    let silent = tokio::time::Instant::now();
    let keep_silent = async {
        loop {
            let mut session = plane.session().await;
            session.renews = false;
            if session.hello.epoch == 0 {
                return session;
            }
        }
    };
    let (mut session, ()) = tokio::join!(keep_silent, until_dead(fenced));
    assert!(silent.elapsed() < lease + Duration::from_secs(5), "{:?}", silent.elapsed());
    for pid in [often, once] {
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "it must run through any outage");
    }
    session.renews = true;
    session.revision = 200;
    session.welcome(150, LEASE_MS).await;
    let heard = session.until(says(0, Lost, true)).await;
    assert!(heard.iter().all(|report| report.attempt == Some(attempt(0)) || !report.gone), "{heard:?}");
    let metrics = get(&free, "/metrics").await;
    assert!(metrics.contains("quorate_agent_fence_seconds_count 1"), "{metrics}");
    assert!(metrics.contains("quorate_agent_fence_seconds_bucket{le=\"3\"} 1"), "{metrics}");
    let set = vec![set[1].clone(), set[2].clone()];
    session.say(full(set)).await;
    for pid in [often, once] {
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_control_plane_does_not_know_is_stopped_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let _agent = Agent::of(&plane, directory.path());
    let path = directory.path().join("pid");
    let script = format!("echo $$ > {0}.part; mv {0}.part {0}; exec sleep 1000", path.display());
    let mut session = plane.welcomed(10, LEASE_MS, vec![assignment(0, 50, &["sh", "-c", &script])]).await;
    let pid = written(&path).await;
    let reports = session.reports().await;
    session.acknowledge(&reports, vec![attempt(0)]).await;
    until_dead(pid).await;
    session.refuse(Status::unavailable("later")).await;
    let mut session = plane.session().await;
    // It may still be on its way out at that instant; it is not claimed for that.
    assert_eq!(session.hello.attempts, []);
    session.welcome(10, LEASE_MS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_fails_the_attempt_not_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let _agent = Agent::of(&plane, directory.path());
    let unknown = v1::Assignment { driver: 77, ..assignment(1, 50, &["true"]) };
    let set = vec![assignment(0, 50, &["no-such-program"]), unknown, assignment(2, 50, &["true"])];
    let mut session = plane.welcomed(10, LEASE_MS, set).await;
    let mut over: BTreeMap<u32, v1::AttemptReport> = BTreeMap::new();
    while over.len() < 3 {
        for report in session.until(|report| report.gone).await.into_iter().filter(|report| report.gone) {
            over.insert(report.attempt.as_ref().unwrap().step, report);
        }
    }
    assert_eq!((over[&0].phase(), over[&0].exit), (Ended, None));
    assert!(over[&0].message.contains("no-such-program"), "{}", over[&0].message);
    assert_eq!(over[&1].phase(), Lost, "a driver this agent does not have: elsewhere, perhaps");
    assert_eq!(over[&2].phase(), Ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_leaves_out_what_is_gone_and_starts_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let marks = directory.path().join("starts");
    let script = format!("echo x >> {}; exec sleep 1000", marks.display());
    let set = vec![assignment(0, 50, &["sh", "-c", &script]), assignment(1, 51, &["true"])];
    let mut session = plane.welcomed(10, LEASE_MS, set.clone()).await;
    let identity = (session.hello.uuid.clone(), session.hello.journal.clone());
    // All is acknowledged but the end of the second attempt.
    let mut told = Vec::new();
    while !told.iter().any(says(1, Ended, true)) || !told.iter().any(says(0, Running, false)) {
        let batch = session.reports().await;
        if !batch.reports.iter().any(says(1, Ended, true)) {
            session.acknowledge(&batch, Vec::new()).await;
        }
        told.extend(batch.reports);
    }
    // One more start: what the journal was told before it is durable once that one runs.
    session.revision = 130;
    let third = assignment(2, 129, &["sleep", "1000"]);
    session.say(ToAgent::Delta(v1::DesiredDelta { from: 100, set: vec![third], removed: vec![] })).await;
    while !session.reports().await.reports.iter().any(says(2, Running, false)) {}
    agent.crash().await;

    let agent = Agent::of(&plane, directory.path());
    let mut session = plane.session().await;
    assert_eq!((session.hello.uuid.clone(), session.hello.journal.clone()), identity);
    assert_eq!(session.hello.epoch, 0, "a lease does not survive its agent");
    assert_eq!(session.hello.cluster_id, CLUSTER);
    let claimed: Vec<u32> = session.hello.attempts.iter().map(|claim| claim.attempt.as_ref().unwrap().step).collect();
    assert_eq!(claimed, [1], "the running one died with its agent; the outcome of the other is known");
    session.revision = 210;
    session.welcome(205, LEASE_MS).await;
    session.revision = 211;
    // A set that still names both must not start either again.
    session.say(full(set)).await;
    let mut heard = Vec::new();
    while !heard.iter().any(says(0, Lost, true)) || !heard.iter().any(says(1, Ended, true)) {
        heard.extend(session.until(|report| report.gone).await);
    }
    assert!(heard.iter().all(|report| report.phase() != Running), "{:?}", phases(&heard));
    agent.handle.request();
    agent.end().await.unwrap();
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_says_what_became_of_its_attempts() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let mut session = plane.welcomed(10, LEASE_MS, vec![assignment(0, 50, &["sleep", "1000"])]).await;
    session.until(says(0, Running, false)).await;
    agent.handle.request();
    session.until(says(0, Lost, true)).await;
    agent.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_ends_the_agent_and_an_absent_leader_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    plane.session().await.refuse(Status::unavailable("no leader")).await;
    plane.session().await.refuse(Status::aborted("the epoch is over")).await;
    plane.session().await.refuse(Status::already_exists("node name n1 is held by another agent")).await;
    let error = agent.end().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("n1") && error.to_string().contains("held by another agent"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_serves_one_agent_and_one_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let session = plane.welcomed(10, LEASE_MS, vec![]).await;
    let second = Agent::of(&plane, directory.path()).end().await.unwrap_err();
    assert!(matches!(&second, Error::Locked { .. }), "{second}");
    session.refuse(Status::unavailable("moving")).await;

    let mut session = plane.session().await;
    let welcome = v1::Welcome {
        cluster_id: "00000000000000000000000000000bad".into(),
        epoch: 3,
        lease_agent_ms: 1,
        kill_ms: 1,
        ..v1::Welcome::default()
    };
    session.say(ToAgent::Welcome(welcome)).await;
    let error = agent.end().await.unwrap_err();
    assert!(matches!(&error, Error::OtherCluster { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_whether_it_is_ready_and_what_it_counts() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    // Asked for by number, as an operator would.
    let free = free_address();
    let ops = Some(free.clone());
    let agent = Agent::start(Config { ops: ops.clone(), ..config(&[plane.address.to_string()], directory.path()) });
    let session = plane.session().await;
    assert!(get(&free, "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = get(&free, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("no session"), "{ready}");
    let mut session = session;
    session.welcome(10, LEASE_MS).await;
    // The first renewal is sent once the welcome counts.
    session.renews = true;
    session.say(full(vec![assignment(0, 50, &["true"])])).await;
    session.until(says(0, Ended, true)).await;
    assert!(get(&free, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(&free, "/metrics").await;
    assert!(metrics.contains("quorate_agent_attempts_started_total 1"), "{metrics}");

    let other = tempfile::tempdir().unwrap();
    let taken = Agent::start(Config { ops, ..config(&[plane.address.to_string()], other.path()) });
    let error = taken.end().await.unwrap_err();
    assert!(error.to_string().contains("`agent.ops`"), "{error}");
    drop(agent);
}

#[expect(clippy::disallowed_methods, reason = "the other side of the agent's network is a real one")]
async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Where the stand-in below finds its control plane, its data directory, and what is to become of its tasks.
const STAND_IN: &str = "QUORATE_TEST_AGENT";

/// Not a test of its own: the agent process of the next ones, which start this binary again.
#[tokio::test(flavor = "multi_thread")]
async fn stand_in() {
    let Ok(what) = std::env::var(STAND_IN) else { return };
    let [server, data_dir, on_exit] = *what.split(' ').collect::<Vec<_>>() else { panic!("{what}") };
    let (_handle, shutdown) = Shutdown::new();
    let on_exit = if on_exit == "leave" { OnExit::Leave } else { OnExit::Kill };
    run(config(&[server.to_owned()], Path::new(data_dir)), on_exit, shutdown).await.unwrap();
}

fn agent_process(plane: &ControlPlane, data_dir: &Path, on_exit: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stand_in", "--nocapture"])
        .env(STAND_IN, format!("{} {} {on_exit}", plane.address, data_dir.display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_an_agent_ends_all_of_its_tasks_where_they_end_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let data_dir = directory.path().join("data");
    let mut process = agent_process(&plane, &data_dir, "kill");
    let (leader, child) = (directory.path().join("leader"), directory.path().join("child"));
    let script = format!(
        "sh -c 'echo $$ > {1}.part; mv {1}.part {1}; exec sleep 1000' & echo $$ > {0}.part; mv {0}.part {0}; wait",
        leader.display(),
        child.display()
    );
    let mut session = plane.welcomed(10, LEASE_MS, vec![assignment(0, 50, &["sh", "-c", &script])]).await;
    session.until(says(0, Running, false)).await;
    let (leader, child) = (written(&leader).await, written(&child).await);
    process.kill().unwrap();
    process.wait().unwrap();
    until_dead(leader).await;
    until_dead(child).await;

    let agent = Agent::of(&plane, &data_dir);
    let mut session = plane.session().await;
    assert_eq!(session.hello.attempts, [], "nothing of it is left, so nothing is claimed");
    session.revision = 300;
    session.welcome(250, LEASE_MS).await;
    session.until(says(0, Lost, true)).await;
    agent.handle.request();
    agent.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_outlive_kill_9_of_their_agent_and_the_next_one_goes_on_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let data_dir = directory.path().join("data");
    let mut process = agent_process(&plane, &data_dir, "leave");
    let [marks, go, end] = ["marks", "go", "end"].map(|name| directory.path().join(name));
    let script = format!("echo x >> {}; while ! [ -e {} ]; do sleep 0.01; done; exit 5", marks.display(), go.display());
    let lives = |step, token| assignment(step, token, &["sh", "-c", &script]);
    let until_end = format!("while ! [ -e {} ]; do sleep 0.01; done; exit 6", end.display());
    let set = vec![lives(0, 50), assignment(1, 51, &["sh", "-c", &until_end])];
    let mut session = plane.welcomed(10, LEASE_MS, set.clone()).await;
    let mut heard = Vec::new();
    while !heard.iter().any(says(0, Running, false)) || !heard.iter().any(says(1, Running, false)) {
        heard.extend(session.until(|_| true).await);
    }
    process.kill().unwrap();
    process.wait().unwrap();
    std::fs::write(&end, "").unwrap();

    let mut agent = Agent::with(config(&[plane.address.to_string()], &data_dir), OnExit::Leave);
    let mut epoch = 205;
    // Killed, and then asked to stop: it is the same for them.
    for is_last in [false, true] {
        let mut session = plane.session().await;
        let step = |claim: &v1::AttemptClaim| claim.attempt.as_ref().unwrap().step;
        let claimed: Vec<u32> = session.hello.attempts.iter().map(step).collect();
        assert!(claimed.contains(&0), "it goes on: {claimed:?}");
        session.revision = epoch + 5;
        session.welcome(epoch, LEASE_MS).await;
        session.revision = epoch + 6;
        session.say(full(set.clone())).await;
        let mut heard = Vec::new();
        while !heard.iter().any(says(0, Running, false)) || !(is_last || heard.iter().any(says(1, Ended, true))) {
            heard.extend(session.until(|_| true).await);
        }
        let second = heard.iter().find(|report| says(1, Ended, true)(report));
        assert!(second.is_none_or(|report| report.exit == Some(v1::Exit { exit: Some(v1::exit::Exit::Code(6)) })));
        if is_last {
            std::fs::write(&go, "").unwrap();
            let ended = session.until(says(0, Ended, true)).await;
            let ended = ended.into_iter().find(|report| says(0, Ended, true)(report)).unwrap();
            assert_eq!(ended.exit, Some(v1::Exit { exit: Some(v1::exit::Exit::Code(5)) }));
            assert!(!ended.stopped);
        }
        agent.handle.request();
        agent.end().await.unwrap();
        if is_last {
            break;
        }
        agent = Agent::with(config(&[plane.address.to_string()], &data_dir), OnExit::Leave);
        epoch += 50;
    }
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "x\n");
}

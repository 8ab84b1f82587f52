//! The process driver with real processes.

mod without_agent;

use std::collections::BTreeMap;
use std::path::Path;

use quorate_state::{
    ClusterName, GpuHold, JobName, Namespace, NodeName, OnNodeLoss, Outcome, RegionName, Resources, RunId, TaskId,
    TaskName, Token,
};
use tokio::sync::watch;

use super::shim::OnExit;
use super::*;
use crate::assignment::Assignment;
use crate::config::Limits;
use crate::driver::{Ending, Event, Place, Wish};
use crate::logs::{Outputs, STDERR, STDOUT};
use crate::workspace::Workspaces;

/// What a test may take at the most: far beyond what it needs, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What this process has made: an agent of its own for each, although directories of tests that have ended give
/// their identity to others.
static AGENTS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn groups(data_dir: &Path, mode: cgroup::Use) -> cgroup::Options {
    let number = AGENTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let node = NodeName::new(&format!("test-{number}")).unwrap();
    cgroup::Options { mode, data_dir: data_dir.to_owned(), node, processes_max: 64 }
}

/// Not a test of its own: the host of the shims of the others, which start this binary again.
#[test]
#[ignore = "a process of the other tests"]
fn shim_host() {
    shim::host();
}

fn shims(on_exit: OnExit) -> shim::Options {
    let own = std::env::current_exe().unwrap();
    let arguments = ["--exact", "driver::process::tests::shim_host", "--ignored", "--nocapture", "--test-threads=1"];
    shim::Options { on_exit, host: [own].into_iter().chain(arguments.map(Into::into)).collect() }
}

struct Bench {
    directory: tempfile::TempDir,
    node: cgroup::Options,
    driver: ProcessDriver,
    outputs: Arc<Outputs>,
    workspaces: Arc<Workspaces>,
    tidier: Arc<Tidier>,
    number: u32,
}

impl Bench {
    /// One whose attempts end with it.
    fn new() -> Self {
        Self::of(OnExit::Kill)
    }

    fn of(on_exit: OnExit) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(directory.path().join("output"), Limits::default(), &BTreeSet::new()).unwrap();
        let workspaces = Arc::new(Workspaces::open(directory.path().join("work"), &BTreeSet::new()).unwrap());
        let tidier = Arc::new(Tidier::start(outputs.clone(), workspaces.clone(), 100).unwrap());
        let node = groups(directory.path(), cgroup::Use::Auto);
        let driver = ProcessDriver::new(node.clone(), shims(on_exit)).unwrap();
        Self { driver, node, directory, outputs, workspaces, tidier, number: 0 }
    }

    /// The agent ends and the next one begins; `leftovers` are what its journal says. Who goes on?
    async fn restart(&mut self, leftovers: Vec<Leftover>) -> Vec<Survivor> {
        let groups = Arc::downgrade(&self.driver.groups);
        self.driver = ProcessDriver::new(self.node.clone(), shims(self.driver.shims.options.on_exit)).unwrap();
        // Two processes would be certain not to meet.
        while groups.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.driver.survivors(leftovers).await
    }

    async fn resume(&self, attempt: AttemptId) -> Box<dyn Execution> {
        self.driver.resume(attempt, &self.workspaces, &self.tidier).await.expect("it is taken over")
    }

    /// The newest attempt, as a journal knows it.
    fn leftover(&mut self, process: Option<(u32, u64)>) -> Leftover {
        let (_, start) = self.start_of(&["true"]);
        self.number -= 1;
        let attempt = AttemptId { number: self.number, ..start.assignment.attempt };
        Leftover { attempt, token: start.assignment.token, process, same_boot: true }
    }

    fn start_of(&mut self, argv: &[&str]) -> (watch::Sender<Wish>, Start) {
        self.number += 1;
        // A run of its own for each test: what is found by name after a restart is killed.
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let hash = test.bytes().fold(5_381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
        let run = RunId(u64::from(std::process::id()) << 32 | u64::from(hash));
        let attempt = AttemptId { task: TaskId { run, step: 3, index: 4 }, number: self.number };
        let assignment = Assignment {
            choice: None,
            gpus: GpuHold::NONE,
            attempt,
            token: Token(77),
            namespace: Namespace::new("acme").unwrap(),
            job: JobName::new("nightly").unwrap(),
            task: TaskName::new("split").unwrap(),
            driver: quorate_state::Driver::Process,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::from([
                ("GREETING".to_owned(), "hello".to_owned()),
                ("QUORATE_FENCING_TOKEN".to_owned(), "forged".to_owned()),
            ]),
            resources: Resources::ZERO,
            on_node_loss: OnNodeLoss::AtLeastOnce,
            stop: false,
            count: 9,
            silent_max: None,
            flaw: None,
            gang: None,
        };
        let place = Place {
            has_gpus: false,
            node: NodeName::new("n1").unwrap(),
            region: RegionName::new("eu").unwrap(),
            cluster: ClusterName::new("eu-1").unwrap(),
        };
        let (sender, wish) = watch::channel(Wish::Run);
        let start = Start {
            assignment: Arc::new(assignment),
            place: Arc::new(place),
            outputs: self.outputs.clone(),
            workspaces: self.workspaces.clone(),
            tidier: self.tidier.clone(),
            wish,
        };
        (sender, start)
    }

    async fn start(&mut self, argv: &[&str]) -> Result<Box<dyn Execution>, NotStarted> {
        let (_wish, start) = self.start_of(argv);
        self.driver.start(start).await
    }

    async fn sh(&mut self, script: &str) -> Box<dyn Execution> {
        self.start(&["sh", "-c", script]).await.expect("sh starts")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn output(&self, name: &str) -> String {
        let entries = std::fs::read_dir(self.path("output")).unwrap();
        let run = entries.flatten().find(|entry| entry.path().is_dir()).unwrap();
        std::fs::read_to_string(run.path().join(format!("3.4.{}.{name}", self.number))).unwrap()
    }
}

/// The ending, and whether all was gone with it; then waits until all is gone.
async fn ending(execution: &mut Box<dyn Execution>) -> (Ending, bool) {
    let event = tokio::time::timeout(PATIENCE, execution.next()).await.expect("it ends");
    let Event::Ended { ending, gone } = event else { panic!("not an ending: {event:?}") };
    if !gone {
        let event = tokio::time::timeout(PATIENCE, execution.next()).await.expect("it goes");
        assert_eq!(event, Event::Gone);
    }
    (ending, gone)
}

/// Waits for a file that a script writes to say that it has come so far.
async fn written(path: &Path) -> String {
    let wait = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{} is not written", path.display()))
}

fn lives(pid: u32) -> bool {
    proc::stat(pid).is_some_and(proc::Stat::lives)
}

async fn dies(pid: u32) {
    let wait = async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("process {pid} still lives"));
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let mut bench = Bench::new();
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 64", Exit::Code(64)),
        ("kill -TERM $$", Exit::Signal(libc::SIGTERM)),
        ("kill -KILL $$", Exit::Signal(libc::SIGKILL)),
    ] {
        let mut execution = bench.sh(script).await;
        assert_eq!(ending(&mut execution).await.0.exit, Some(exit), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_the_jobs_mistake_and_says_so() {
    let mut bench = Bench::new();
    for argv in [&["/no/such/program"][..], &["no-such-program-anywhere"], &["/etc/passwd"], &["a\0b"], &["/"], &[]] {
        match bench.start(argv).await {
            Err(NotStarted::Job(why)) => assert!(why.contains(argv.first().map_or("run", |_| "cannot start")), "{why}"),
            Err(other) => panic!("{argv:?}: {other:?}"),
            Ok(_) => panic!("{argv:?} started"),
        }
    }
}

#[tokio::test]
async fn a_task_gets_its_identity_its_own_directory_and_nothing_else_of_ours() {
    let mut bench = Bench::new();
    let mut execution = bench.sh("env | sort; pwd >&2; touch here").await;
    ending(&mut execution).await;
    let environment = bench.output(STDOUT);
    for line in [
        "GREETING=hello",
        "QUORATE_ATTEMPT=1",
        "QUORATE_CLUSTER=eu-1",
        "QUORATE_FENCING_TOKEN=77",
        "QUORATE_JOB=nightly",
        "QUORATE_NAMESPACE=acme",
        "QUORATE_NODE=n1",
        "QUORATE_REGION=eu",
        "QUORATE_TASK=split",
        "QUORATE_TASK_COUNT=9",
        "QUORATE_TASK_INDEX=4",
    ] {
        assert!(environment.lines().any(|found| found == line), "{line} is missing in\n{environment}");
    }
    assert!(environment.contains("QUORATE_IDEMPOTENCY_KEY="), "{environment}");
    let foreign = environment.lines().filter(|line| line.starts_with("CARGO")).count();
    assert_eq!(foreign, 0, "{environment}");
    let directory = bench.output(STDERR);
    assert!(directory.starts_with(bench.path("work").to_str().unwrap()), "it ran in {directory}");
    let work = Path::new(directory.trim_end());
    assert!(work.exists(), "the end does not wait for the disk");
    drop(execution);
    let tidied = async {
        while work.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tidied).await.expect("what it left there goes");
}

#[tokio::test]
async fn what_a_task_reports_is_read_while_it_runs_and_at_its_end() {
    let mut bench = Bench::new();
    let go = bench.path("go");
    let script = format!(
        "echo '{{\"progress\": 0.5, \"message\": \"half\"}}' >> $QUORATE_REPORT; echo $QUORATE_REPORT; \
         while ! [ -e {} ]; do sleep 0.01; done; echo '{{\"result\": [1, 2]}}' >> $QUORATE_REPORT",
        go.display()
    );
    let mut execution = bench.sh(&script).await;
    let attempt = bench.leftover(None).attempt;
    let meter = bench.driver.meter().unwrap();
    let half = async {
        loop {
            let measured = meter.measure(&[attempt], BootInstant::from_millis(1));
            match measured.into_iter().next().and_then(|(_, live)| live.progress) {
                Some(progress) => return progress,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let progress = tokio::time::timeout(PATIENCE, half).await.expect("it says how far it is");
    assert_eq!((progress.done_milli, progress.words.as_str()), (Some(500), "half"));
    std::fs::write(&go, "").unwrap();
    let said = ending(&mut execution).await.0;
    assert_eq!(said.outcome, Some(Arc::new(Outcome::Result(b"[1, 2]".as_slice().into()))));
    assert!(bench.output(STDOUT).starts_with(bench.path("work").to_str().unwrap()));

    for (script, outcome, words) in [
        ("exit 0", None, None),
        (
            "echo '{\"error\": \"BadInput\", \"message\": \"no rows\"}' > $QUORATE_REPORT; exit 3",
            Some("BadInput"),
            Some("no rows"),
        ),
        ("echo nonsense > $QUORATE_REPORT", Some("BadReport"), Some("line 1 of its report is not understood")),
        ("mkfifo $QUORATE_REPORT", None, None),
        ("mkdir $QUORATE_REPORT", Some("BadReport"), Some("its report cannot be read")),
    ] {
        let mut execution = bench.sh(script).await;
        let said = ending(&mut execution).await.0;
        let outcome = outcome.map(|error| Arc::new(Outcome::Error(error.parse().unwrap())));
        assert_eq!(said.outcome, outcome, "{script}");
        let message = said.message.as_deref().unwrap_or_default();
        assert!(message.starts_with(words.unwrap_or_default()) && (words.is_some() || message.is_empty()), "{message}");
    }
}

#[tokio::test]
async fn a_disk_that_hangs_delays_no_end_and_no_kill() {
    let mut bench = Bench::new();
    let (tidier, _hung) = Tidier::hung(2);
    bench.tidier = Arc::new(tidier);
    let mut short = bench.sh("exit 0").await;
    let mut long = bench.sh("exec sleep 1000").await;
    assert_eq!(ending(&mut short).await.0.exit, Some(Exit::Code(0)));
    drop(short);
    long.tend();
    long.kill();
    assert_eq!(ending(&mut long).await.0.exit, Some(Exit::Signal(libc::SIGKILL)));
    drop(long);
    // Nothing is given back, so nothing more starts; what waits for that can still be withdrawn.
    let (wish, start) = bench.start_of(&["true"]);
    let withdraw = async { wish.send_replace(Wish::Kill) };
    let (outcome, _) = tokio::time::timeout(PATIENCE, async { tokio::join!(bench.driver.start(start), withdraw) })
        .await
        .expect("it does not wait for the disk");
    assert_eq!(outcome.err(), Some(NotStarted::Withdrawn));
}

#[tokio::test]
async fn one_that_has_ended_does_not_hear_of_a_stop() {
    let mut bench = Bench::new();
    let mut execution = bench.sh("exit 5").await;
    let (pid, _) = execution.process().unwrap();
    dies(pid).await;
    assert!(!execution.stop() && !execution.kill());
    assert_eq!(ending(&mut execution).await.0.exit, Some(Exit::Code(5)));
    assert!(!execution.stop() && !execution.kill());
    let mut execution = bench.sh("exec sleep 1000").await;
    assert!(execution.stop(), "one that runs does");
    ending(&mut execution).await;
}

#[tokio::test]
async fn use_is_counted() {
    let mut bench = Bench::new();
    let mut execution = bench.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").await;
    let (ending, _) = ending(&mut execution).await;
    assert!(ending.usage.cpu_us > 0, "{:?}", ending.usage);
    assert!(ending.usage.memory_peak_bytes > 100_000, "{:?}", ending.usage);
}

#[tokio::test]
async fn what_a_leader_leaves_behind_is_killed_and_only_then_is_it_gone() {
    let mut bench = Bench::new();
    let file = bench.path("grandchild");
    // The grandchild ignores everything that can be ignored.
    let script = format!(
        "(trap '' TERM HUP INT; echo $$ >/dev/null; sh -c 'echo $PPID > {0}.part; mv {0}.part {0}; exec sleep 1000') & while [ ! -e {0} ]; do :; done; exit 3",
        file.display()
    );
    let mut execution = bench.sh(&script).await;
    let (ending, _) = ending(&mut execution).await;
    assert_eq!(ending.exit, Some(Exit::Code(3)));
    let grandchild: u32 = written(&file).await.trim().parse().unwrap();
    assert!(!lives(grandchild), "gone was said while {grandchild} lived");
}

#[tokio::test]
async fn a_stop_reaches_the_whole_group_and_a_kill_those_who_ignore_it() {
    let mut bench = Bench::new();
    let (ready, asked) = (bench.path("ready"), bench.path("asked"));
    let script = format!(
        "trap 'echo asked > {}' TERM; sh -c 'trap \"\" TERM; echo $$ > {}; exec sleep 1000' & while :; do wait; done",
        asked.display(),
        ready.display()
    );
    let mut execution = bench.sh(&script).await;
    let child: u32 = written(&ready).await.trim().parse().unwrap();
    execution.stop();
    assert_eq!(written(&asked).await, "asked\n");
    assert!(lives(child), "it ignores being asked");
    execution.kill();
    let (ending, _) = ending(&mut execution).await;
    assert_eq!(ending.exit, Some(Exit::Signal(libc::SIGKILL)));
    assert!(!lives(child));
}

#[tokio::test]
async fn what_was_killed_takes_nobody_along() {
    let mut bench = Bench::new();
    let mut first = bench.sh("exec sleep 1000").await;
    first.kill();
    ending(&mut first).await;
    drop(first);
    let mut second = bench.sh("exit 3").await;
    assert_eq!(ending(&mut second).await.0.exit, Some(Exit::Code(3)), "its control group may have been the other's");
}

#[tokio::test]
async fn what_was_withdrawn_meanwhile_does_not_start() {
    let mut bench = Bench::new();
    let file = bench.path("ran");
    let (wish, start) = bench.start_of(&["touch", file.to_str().unwrap()]);
    wish.send_replace(Wish::Stop);
    assert_eq!(bench.driver.start(start).await.err(), Some(NotStarted::Withdrawn));
    assert!(!file.exists());
}

#[tokio::test]
async fn a_dropped_execution_is_killed() {
    let mut bench = Bench::new();
    let execution = bench.sh("exec sleep 1000").await;
    let (pid, _) = execution.process().unwrap();
    drop(execution);
    dies(pid).await;
}

#[tokio::test]
async fn where_attempts_end_with_their_agent_all_of_them_does() {
    let mut bench = Bench::new();
    let child = bench.path("child");
    let script = format!("setsid sh -c 'echo $$ > {}; exec sleep 1000' & wait", child.display());
    let execution = bench.sh(&script).await;
    let (pid, _) = execution.process().unwrap();
    let child: u32 = written(&child).await.trim().parse().unwrap();
    // As if the agent had no time for anything: nobody kills the group, the spawners just end.
    std::mem::forget(execution);
    drop(bench.driver);
    dies(pid).await;
    dies(child).await;
}

/// True where control groups limit all three; elsewhere there is nothing to test.
fn is_limited() -> bool {
    let data = tempfile::tempdir().unwrap();
    cgroup::Cgroups::open(&groups(data.path(), cgroup::Use::Require), BTreeSet::new()).is_ok()
}

#[tokio::test]
async fn what_leaves_its_session_and_forgets_where_it_came_from_ends_with_its_task() {
    if !is_limited() {
        return;
    }
    let mut bench = Bench::new();
    let pid = bench.path("pid");
    let script = format!(
        "env -i setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' & while ! [ -e {0} ]; do :; done",
        pid.display()
    );
    let mut execution = bench.sh(&script).await;
    let escaped = written(&pid).await.trim().parse().unwrap();
    let (ending, _) = ending(&mut execution).await;
    assert_eq!(ending.exit, Some(Exit::Code(0)));
    assert!(!lives(escaped), "gone means that this is gone as well");
}

#[tokio::test]
async fn want_of_memory_is_called_by_its_name() {
    if !is_limited() {
        return;
    }
    let mut bench = Bench::new();
    let hog = &["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $x | wc -c"];
    for (memory_bytes, message) in [(16 << 20, true), (0, false)] {
        let (_wish, mut start) = bench.start_of(hog);
        Arc::make_mut(&mut start.assignment).resources = Resources { cpu_milli: 100, memory_bytes, gpu_milli: 0 };
        let mut execution = bench.driver.start(start).await.unwrap();
        let (ending, _) = ending(&mut execution).await;
        assert_eq!(ending.exit != Some(Exit::Code(0)), message, "{ending:?}");
        let told =
            ending.message.as_deref().is_some_and(|text| text.contains("out of memory") && text.contains("16 MiB"));
        assert_eq!(told, message, "{ending:?}");
        assert!(ending.usage.memory_peak_bytes >= 16 << 20, "{ending:?}");
    }
}

#[tokio::test]
async fn want_of_memory_of_the_machine_is_not_blamed_on_the_attempt() {
    if !is_limited() {
        return;
    }
    let mut bench = Bench::new();
    let hog = &["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $x | wc -c"];
    let groups = bench.driver.opened_groups().await.unwrap();
    let cell = groups.take(Resources { cpu_milli: 100, memory_bytes: 0, gpu_milli: 0 }).unwrap();
    let places = cell.entrances().into_iter().map(|path| path.parent().unwrap().to_owned()).chain(cell.group());
    let own: Vec<_> = places.map(|place| place.parent().unwrap().to_owned()).collect();
    drop(cell);
    // The group of all of the agent's attempts stands for a machine of this size.
    let shrink = |bytes: u64| {
        for file in ["memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
            for limit in own.iter().map(|own| own.join(file)).filter(|limit| limit.exists()) {
                std::fs::write(limit, bytes.to_string()).unwrap();
            }
        }
    };
    let cases: [(u64, u64, &str); 4] = [
        (1 << 40, 64 << 20, "it reached its limit of 64 MiB"),
        // In the room of the one before, which has reached the same limit.
        (32 << 20, 64 << 20, "its own limit of 64 MiB"),
        (32 << 20, 16 << 20, "it reached its limit of 16 MiB"),
        (32 << 20, 0, "no limit"),
    ];
    for (machine_bytes, memory_bytes, told) in cases {
        shrink(machine_bytes);
        let (_wish, mut start) = bench.start_of(hog);
        Arc::make_mut(&mut start.assignment).resources = Resources { cpu_milli: 100, memory_bytes, gpu_milli: 0 };
        let mut execution = bench.driver.start(start).await.unwrap();
        let (ending, _) = ending(&mut execution).await;
        assert!(ending.exit != Some(Exit::Code(0)), "{ending:?}");
        assert!(ending.message.as_deref().is_some_and(|text| text.contains(told)), "{told}: {ending:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_only_multiplies_is_stopped_by_its_number_of_processes() {
    if !is_limited() {
        return;
    }
    let mut bench = Bench::new();
    let mut execution = bench.sh("for i in $(seq 200); do sleep 1000 & done; echo all").await;
    let (ending, _) = ending(&mut execution).await;
    assert!(ending.exit != Some(Exit::Code(0)), "{ending:?}");
    assert!(!bench.output(STDOUT).contains("all"));
}

#[tokio::test]
async fn a_task_stands_in_all_groups_of_its_cell_from_its_first_instruction_on() {
    let mut bench = Bench::new();
    let (_wish, start) = bench.start_of(&["cat", "/proc/self/cgroup"]);
    let mut execution = bench.driver.start(start).await.unwrap();
    ending(&mut execution).await;
    let Some(groups) = bench.driver.opened_groups().await else { return };
    let cell = groups.take(Resources { cpu_milli: 100, memory_bytes: 0, gpu_milli: 0 }).unwrap();
    let version_1 = cell.entrances().into_iter().map(|path| path.parent().unwrap().to_owned());
    let places: Vec<_> = version_1.chain(cell.group()).collect();
    let own = places[0].parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let standing = bench.output(STDOUT);
    assert_eq!(standing.lines().filter(|line| line.contains(&own)).count(), places.len(), "{standing}");
}

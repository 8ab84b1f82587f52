//! Attempts whose agent, host or shim is gone.

use super::*;

#[tokio::test]
async fn what_a_killed_shim_leaves_is_found_by_group_and_by_environment() {
    let mut bench = Bench::of(OnExit::Leave);
    let (in_group, escaped) = (bench.path("in-group"), bench.path("escaped"));
    // One stays in the group, one makes a session of its own; both outlive the leader.
    let script = format!(
        "sh -c 'echo $$ > {}; exec sleep 1000' & setsid sh -c 'echo $$ > {}; exec sleep 1000' & wait",
        in_group.display(),
        escaped.display()
    );
    let execution = bench.sh(&script).await;
    let process = execution.process();
    let leader = process.unwrap().0;
    let in_group: u32 = written(&in_group).await.trim().parse().unwrap();
    let escaped: u32 = written(&escaped).await.trim().parse().unwrap();
    drop(execution);
    kill_9(shim_of(leader));
    dies(leader).await;
    assert!(lives(in_group) && lives(escaped), "the kernel kills the leader only");

    let leftover = bench.leftover(process);
    let attempt = AttemptId { number: 999, ..leftover.attempt };
    let other = Leftover { attempt, process: None, ..leftover };
    assert_eq!(recover::recover(vec![other], None).await, BTreeSet::new(), "another attempt's is left alone");
    assert!(lives(in_group) && lives(escaped));
    let rebooted = Leftover { same_boot: false, ..leftover };
    assert_eq!(recover::recover(vec![rebooted], None).await, BTreeSet::new(), "nothing survives a boot");
    assert!(lives(in_group) && lives(escaped));

    assert_eq!(recover::recover(vec![leftover], None).await, BTreeSet::new());
    assert!(!lives(in_group) && !lives(escaped));
}

/// The parent of an attempt's first process.
fn shim_of(leader: u32) -> u32 {
    proc::stat(leader).unwrap().parent
}

fn kill_9(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn an_attempt_goes_on_without_its_agent_and_the_next_one_takes_it_over() {
    let mut bench = Bench::of(OnExit::Leave);
    let go = bench.path("go");
    let script = format!(
        "echo before; while ! [ -e {} ]; do sleep 0.01; done; echo after; \
         echo '{{\"error\": \"Late\"}}' >> $QUORATE_REPORT; exit 7",
        go.display()
    );
    let execution = bench.sh(&script).await;
    let process = execution.process();
    drop(execution);
    let leftover = bench.leftover(process);
    let attempt = leftover.attempt;
    let survivors = bench.restart(vec![leftover.clone()]).await;
    assert_eq!(survivors.iter().map(|survivor| survivor.attempt).collect::<Vec<_>>(), [attempt]);
    assert_eq!(survivors[0].on_node_loss, OnNodeLoss::AtLeastOnce);
    assert!(bench.path("work").join(&survivors[0].workspace).is_dir());
    let mut execution = bench.resume(attempt).await;
    assert_eq!(execution.process(), process);
    assert!(lives(process.unwrap().0));
    std::fs::write(&go, "").unwrap();
    let (ending, gone) = ending(&mut execution).await;
    assert_eq!((ending.exit, gone, ending.asked, ending.fenced), (Some(Exit::Code(7)), true, false, false));
    assert!(ending.usage.memory_peak_bytes > 100_000, "{:?}", ending.usage);
    assert_eq!(ending.outcome, Some(Arc::new(Outcome::Error("Late".parse().unwrap()))));
    assert_eq!(bench.output(STDOUT), "before\nafter\n");
    drop(execution);

    // Told of and not yet forgotten, it is told of again; afterwards there is nothing to find.
    assert_eq!(bench.restart(vec![leftover.clone()]).await.len(), 1);
    let mut execution = bench.resume(attempt).await;
    let again = self::ending(&mut execution).await.0;
    assert_eq!(again.exit, Some(Exit::Code(7)));
    assert_eq!(again.outcome, Some(Arc::new(Outcome::Error("Late".parse().unwrap()))), "its report is gone since");
    drop(execution);
    bench.driver.forget(attempt, leftover.token);
    let mut next = bench.sh("exit 3").await;
    assert_eq!(self::ending(&mut next).await.0.exit, Some(Exit::Code(3)));
    let shims = std::fs::read_dir(bench.path("shims")).unwrap().flatten();
    let numbers = shims.filter(|file| file.file_name().to_str().unwrap().parse::<u64>().is_ok());
    assert_eq!(numbers.count(), 1, "the file of what was forgotten is used again");
    assert!(bench.restart(vec![leftover]).await.is_empty());
}

#[tokio::test]
async fn an_end_without_an_agent_is_told_by_the_next_one() {
    let mut bench = Bench::of(OnExit::Leave);
    let execution = bench.sh("echo all; exit 5").await;
    let process = execution.process();
    drop(execution);
    let leftover = bench.leftover(process);
    dies(process.unwrap().0).await;
    assert_eq!(bench.restart(vec![leftover.clone()]).await.len(), 1);
    let mut execution = bench.resume(leftover.attempt).await;
    assert!(!execution.stop() && !execution.kill(), "it has ended by itself");
    let (ending, _) = ending(&mut execution).await;
    assert_eq!((ending.exit, ending.asked), (Some(Exit::Code(5)), false));
    assert_eq!(bench.output(STDOUT), "all\n");
}

/// Its agent was killed when it had given back what the first had, and before the journal knew that it had ended.
#[tokio::test]
async fn what_has_ended_does_not_clean_up_after_whoever_has_its_place_now() {
    let mut bench = Bench::of(OnExit::Leave);
    let mut execution = bench.sh("pwd").await;
    let first = bench.leftover(execution.process());
    assert_eq!(ending(&mut execution).await.0.exit, Some(Exit::Code(0)));
    drop(execution);
    let place = bench.output(STDOUT);
    // Until the directory is in use again, which is given back by another thread.
    let mut tries = 0..100;
    let (execution, second) = loop {
        tries.next().expect("directories are used again");
        let mut execution = bench.sh("pwd; exec sleep 1000").await;
        let second = bench.leftover(execution.process());
        while bench.output(STDOUT).is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if bench.output(STDOUT) == place {
            break (execution, second);
        }
        execution.kill();
        ending(&mut execution).await;
        drop(execution);
        bench.driver.forget(second.attempt, second.token);
    };
    let process = execution.process();
    drop(execution);
    assert_eq!(bench.restart(vec![first.clone(), second.clone()]).await.len(), 2);
    let mut ended = bench.resume(first.attempt).await;
    let mut living = bench.resume(second.attempt).await;
    assert_eq!(ending(&mut ended).await.0.exit, Some(Exit::Code(0)));
    drop(ended);
    // A third is tidied after the first would have been.
    let mut third = bench.sh("exit 0").await;
    ending(&mut third).await;
    drop(third);
    assert!(lives(process.unwrap().0) && std::path::Path::new(place.trim()).is_dir());
    living.kill();
    ending(&mut living).await;
}

#[tokio::test]
async fn a_kill_that_its_agent_did_not_live_to_tell_of_is_no_outcome_of_the_attempts_own() {
    let mut bench = Bench::of(OnExit::Leave);
    for _ in 0..10 {
        let mut execution = bench.sh("exec sleep 1000").await;
        let process = execution.process();
        assert!(execution.kill());
        drop(execution);
        dies(process.unwrap().0).await;
        let leftover = bench.leftover(process);
        for survivor in bench.restart(vec![leftover.clone()]).await {
            let mut execution = bench.resume(survivor.attempt).await;
            assert!(self::ending(&mut execution).await.0.asked, "its shim was still at work");
        }
    }
}

#[tokio::test]
async fn what_the_journal_does_not_know_is_ended() {
    let mut bench = Bench::of(OnExit::Leave);
    let execution = bench.sh("trap '' TERM; while :; do sleep 1000; done").await;
    let (pid, _) = execution.process().unwrap();
    drop(execution);
    assert_eq!(bench.restart(Vec::new()).await, []);
    assert!(!lives(pid));
    // Nor does one of an earlier boot go on, whatever the numbers say.
    let execution = bench.sh("exec sleep 1000").await;
    let process = execution.process();
    drop(execution);
    let leftover = Leftover { same_boot: false, ..bench.leftover(process) };
    assert_eq!(bench.restart(vec![leftover]).await, []);
    assert!(!lives(process.unwrap().0));
}

#[tokio::test]
async fn what_only_looks_like_an_attempt_of_ours_is_left_alone() {
    let mut bench = Bench::of(OnExit::Leave);
    // Another agent's attempt, of another cluster perhaps, whose node has our name.
    let mut stranger = Bench::of(OnExit::Leave);
    let theirs = stranger.sh("exec sleep 1000").await;
    let (pid, _) = theirs.process().unwrap();
    // And what somebody has started by hand with a task's environment.
    let marks = [("QUORATE_NODE", "n1"), ("QUORATE_ATTEMPT", "1"), ("QUORATE_IDEMPOTENCY_KEY", "0000000000000.3.4")];
    let mut by_hand = std::process::Command::new("sleep").arg("1000").envs(marks).spawn().unwrap();
    assert_eq!(bench.restart(Vec::new()).await, []);
    assert!(lives(pid) && lives(by_hand.id()));
    by_hand.kill().unwrap();
    by_hand.wait().unwrap();
    drop(theirs);
    assert_eq!(stranger.restart(Vec::new()).await, []);
    dies(pid).await;
}

#[tokio::test]
async fn an_attempt_that_no_agent_can_find_any_more_ends() {
    let mut bench = Bench::of(OnExit::Leave);
    let execution = bench.sh("exec sleep 1000").await;
    let (pid, _) = execution.process().unwrap();
    drop(execution);
    std::fs::remove_dir_all(bench.path("shims")).unwrap();
    // It looks by itself every few seconds, and at every signal.
    let shim = i32::try_from(shim_of(pid)).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::CHILD).unwrap();
    dies(pid).await;
}

#[tokio::test]
async fn nothing_that_the_agent_was_started_with_is_held_by_its_tasks() {
    let mut bench = Bench::of(OnExit::Leave);
    let lock = std::fs::File::create(bench.path("lock-of-a-stranger")).unwrap();
    // Unlike what std opens, this is passed on to programs.
    let passed_on = rustix::io::dup(&lock).unwrap();
    let mut execution = bench.sh("ls -l /proc/self/fd /proc/$PPID/fd").await;
    ending(&mut execution).await;
    drop(passed_on);
    let open = bench.output(STDOUT);
    assert!(open.contains("/dev/null") && !open.contains("lock-of-a-stranger"), "{open}");
}

#[tokio::test]
async fn a_killed_host_takes_no_attempt_along_and_another_takes_its_place() {
    let mut bench = Bench::of(OnExit::Leave);
    let mut first = bench.sh("exec sleep 1000").await;
    let leader = first.process().unwrap().0;
    // Each spawner has a host; the others start theirs when they are first asked.
    let host = proc::stat(shim_of(leader)).unwrap().parent;
    kill_9(host);
    for _ in 0..2 * SPAWNERS_MAX {
        let mut next = bench.sh("exit 3").await;
        assert_eq!(ending(&mut next).await.0.exit, Some(Exit::Code(3)));
    }
    assert!(lives(leader));
    assert!(first.stop(), "and it is still heard");
    assert_eq!(ending(&mut first).await.0.exit, Some(Exit::Signal(libc::SIGTERM)));
}

#[tokio::test]
async fn an_attempt_without_its_shim_ends_and_nobody_says_how() {
    let mut bench = Bench::of(OnExit::Leave);
    let mut execution = bench.sh("exec sleep 1000").await;
    let leader = execution.process().unwrap().0;
    kill_9(shim_of(leader));
    let (ending, gone) = ending(&mut execution).await;
    assert_eq!((ending.exit, gone), (None, false));
    assert!(ending.message.unwrap().contains("shim was killed"));
    assert!(!lives(leader));
}

#[tokio::test]
async fn a_fenced_attempt_ends_with_the_lease_although_its_agent_does_nothing() {
    let mut bench = Bench::of(OnExit::Leave);
    let fenced = |bench: &mut Bench| {
        let (wish, mut start) = bench.start_of(&["sh", "-c", "sleep 1000 & wait"]);
        Arc::make_mut(&mut start.assignment).on_node_loss = OnNodeLoss::Fenced;
        (wish, start)
    };
    let now = || quorate_seams::Clock::boot(&quorate_seams::SystemClock);
    let (_wish, start) = fenced(&mut bench);
    let refused = bench.driver.start(start).await;
    assert!(matches!(refused.err(), Some(NotStarted::Node(why)) if why.contains("lease")), "there is no lease");

    // An attempt must have begun before it ends.
    let lease = Duration::from_secs(3);
    let began = now();
    bench.driver.lease(began + lease);
    let (_wish, start) = fenced(&mut bench);
    let mut execution = bench.driver.start(start).await.unwrap();
    // Nothing is done from here on but to renew once: the attempt lives as long as that says.
    let renewed = lease + Duration::from_millis(500);
    bench.driver.lease(began + renewed);
    let (ending, _) = ending(&mut execution).await;
    let lived = now().since(began);
    assert!(lived >= renewed, "it was killed after {lived:?}");
    assert!(ending.fenced && ending.exit == Some(Exit::Signal(libc::SIGKILL)), "{ending:?}");

    // The same, with the agent gone: the next one learns that it has no outcome.
    bench.driver.lease(now() + lease);
    let (_wish, start) = fenced(&mut bench);
    let execution = bench.driver.start(start).await.unwrap();
    let process = execution.process();
    drop(execution);
    let leftover = bench.leftover(process);
    let survivors = bench.restart(vec![leftover.clone()]).await;
    assert_eq!(survivors[0].on_node_loss, OnNodeLoss::Fenced);
    dies(process.unwrap().0).await;
    let mut execution = bench.resume(leftover.attempt).await;
    assert!(self::ending(&mut execution).await.0.fenced);
}

#[tokio::test]
async fn output_is_held_to_its_limit_without_an_agent_and_the_next_one_reads_on() {
    use std::os::unix::fs::MetadataExt as _;
    const LINES: u64 = 100_000;
    const BLOCK: u64 = 4 << 10;
    let mut bench = Bench::of(OnExit::Leave);
    let limits = Limits { log_bytes_max: 64 << 10, ..Limits::default() };
    bench.outputs = Outputs::open(bench.path("output"), limits.clone(), &BTreeSet::new()).unwrap();
    let (ready, go) = (bench.path("ready"), bench.path("go"));
    let script = format!(
        "seq -f %07.0f 0 {}; echo > {}; while ! [ -e {} ]; do sleep 0.01; done; seq -f %07.0f {LINES} {}",
        LINES - 1,
        ready.display(),
        go.display(),
        2 * LINES - 1
    );
    let execution = bench.sh(&script).await;
    let process = execution.process();
    drop(execution);
    // The agent is gone, and its hosts with it.
    bench.driver = ProcessDriver::new(bench.node.clone(), shims(OnExit::Leave)).unwrap();
    let leftover = bench.leftover(process);
    let attempt = leftover.attempt;
    let file = bench.outputs.create(attempt).unwrap().0;
    let is_held = || std::fs::metadata(&file).unwrap().blocks() * 512 <= limits.log_bytes_max + 3 * BLOCK;
    written(&ready).await;
    let held = async {
        while !is_held() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("what is too much is cut out although it writes no more");

    assert_eq!(bench.restart(vec![leftover]).await.len(), 1);
    let mut execution = bench.resume(attempt).await;
    let outputs = Outputs::open(bench.path("output"), limits.clone(), &BTreeSet::from([attempt])).unwrap();
    outputs.begin(attempt, quorate_state::Driver::Process);
    // All lines from the first one that is left to the end, each where it was.
    let read = |from, lines: u64| {
        let mut offset = from;
        while offset < lines * 8 {
            let piece = outputs.read(attempt, quorate_proto::v1::LogStream::Stdout, offset, usize::MAX).unwrap();
            assert!(offset == from || piece.offset == offset, "a gap at {offset}: {}", piece.offset);
            let expected = (piece.offset / 8..).flat_map(|number| format!("{number:07}\n").into_bytes());
            assert!(piece.data.iter().copied().eq(expected.take(piece.data.len())), "at {offset}");
            if offset == from {
                assert!(
                    piece.offset > 0 && lines * 8 - piece.offset <= limits.log_bytes_max + BLOCK,
                    "{}",
                    piece.offset
                );
            }
            offset = piece.offset + piece.data.len() as u64;
        }
        offset
    };
    assert_eq!(read(0, LINES), LINES * 8);
    std::fs::write(&go, "").unwrap();
    let (ending, _) = ending(&mut execution).await;
    assert_eq!(ending.exit, Some(Exit::Code(0)));
    assert!(is_held(), "what came last is cut as well");
    assert_eq!(read(LINES * 8, 2 * LINES), 2 * LINES * 8);
}

/// A control group in which a process stands, of those that a shim would kill; none where there are none.
async fn room_of(bench: &Bench, pid: u32) -> Option<std::path::PathBuf> {
    let cell = bench.driver.opened_groups().await?.take(Resources::ZERO).unwrap();
    let version_1 = cell.entrances().into_iter().next().map(|path| path.parent().unwrap().to_owned());
    let rooms = std::fs::read_dir(cell.group().or(version_1)?.parent()?).unwrap();
    let holds = |room: &std::path::PathBuf| {
        let members = std::fs::read_to_string(room.join("cgroup.procs")).unwrap_or_default();
        members.lines().any(|line| line == pid.to_string())
    };
    rooms.flatten().map(|entry| entry.path()).find(holds)
}

#[tokio::test]
async fn at_the_leases_end_whatever_stands_in_the_attempts_group_is_killed_without_an_agent() {
    let mut bench = Bench::of(OnExit::Leave);
    let now = || quorate_seams::Clock::boot(&quorate_seams::SystemClock);
    let lease = Duration::from_secs(3);
    bench.driver.lease(now() + lease);
    let file = bench.path("escaped");
    let script = format!("setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' & wait", file.display());
    let (_wish, mut start) = bench.start_of(&["sh", "-c", &script]);
    Arc::make_mut(&mut start.assignment).on_node_loss = OnNodeLoss::Fenced;
    let execution = bench.driver.start(start).await.unwrap();
    let process = execution.process();
    let leader = process.unwrap().0;
    let escapes = async {
        while !file.exists() {
            bench.driver.lease(now() + lease);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, escapes).await.expect("it leaves its group");
    let escaped: u32 = written(&file).await.trim().parse().unwrap();
    // Nobody's child as far as the shim can see: only the group tells whose it is.
    let null = std::process::Stdio::null;
    let mut stranger = std::process::Command::new("sleep").arg("60").stdout(null()).stderr(null()).spawn().unwrap();
    let room = room_of(&bench, leader).await;
    if let Some(room) = &room {
        std::fs::write(room.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    }
    drop(execution);
    bench.driver = ProcessDriver::new(bench.node.clone(), shims(OnExit::Leave)).unwrap();
    assert!(lives(leader) && lives(escaped) && lives(stranger.id()), "the lease is not over");
    dies(leader).await;
    dies(escaped).await;
    if room.is_some() {
        dies(stranger.id()).await;
    }
    let _ = stranger.kill();
    stranger.wait().unwrap();

    let leftover = bench.leftover(process);
    for survivor in bench.restart(vec![leftover]).await {
        let mut execution = bench.resume(survivor.attempt).await;
        assert!(self::ending(&mut execution).await.0.fenced, "its shim was still at work");
    }
}

#[tokio::test]
async fn what_a_shim_has_killed_at_the_leases_end_takes_nobody_along() {
    let mut bench = Bench::of(OnExit::Leave);
    let lease = Duration::from_secs(3);
    bench.driver.lease(quorate_seams::Clock::boot(&quorate_seams::SystemClock) + lease);
    let (_wish, mut start) = bench.start_of(&["sleep", "1000"]);
    Arc::make_mut(&mut start.assignment).on_node_loss = OnNodeLoss::Fenced;
    let mut execution = bench.driver.start(start).await.unwrap();
    let (ending, _) = ending(&mut execution).await;
    assert!(ending.fenced, "{ending:?}");
    drop(execution);
    let mut next = bench.sh("exit 3").await;
    assert_eq!(
        self::ending(&mut next).await.0.exit,
        Some(Exit::Code(3)),
        "its control group may have been the other's"
    );
}

#[tokio::test]
async fn where_the_record_cannot_be_written_nothing_begins() {
    let mut bench = Bench::new();
    let mut first = bench.sh("true").await;
    ending(&mut first).await;
    let (_, next) = bench.start_of(&["true"]);
    let of_first = AttemptId { number: next.assignment.attempt.number - 1, ..next.assignment.attempt };
    bench.driver.forget(of_first, next.assignment.token);
    drop(first);
    let file = bench.driver.shims.directory.join("0");
    // The next attempt gets the same file, which is on a full disk now.
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let begun = bench.path("begun");
    match bench.start(&["touch", begun.to_str().unwrap()]).await {
        Err(NotStarted::Node(why)) => assert!(why.contains("cannot be written down"), "{why}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was started"),
    }
    assert!(!begun.exists());
}

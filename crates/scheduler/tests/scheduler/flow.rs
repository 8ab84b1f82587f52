//! What runs decide and undo, and what is said of what waits for that.

use quorate_flow::Commands;
use quorate_scheduler::explain::explain;
use quorate_state::{Command, Decided, Payload, Payloads, READY_AHEAD_MAX, TaskId, TaskSpec};

use crate::world::{World, job, lines, resources, task};

fn check(world: &World, task: &str, expected: &str) {
    let said = explain(&world.state, &world.observed, world.now(), world.find(task));
    assert_eq!(said.to_string(), expected);
}

#[test]
fn conditions_are_decided_from_results_and_only_once_they_are_there() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 8Gi
        job  j
        task ask 1000m 1Gi
        task yes 1000m 1Gi needs=ask when=ask.result.n>2
        task no 1000m 1Gi needs=ask when=ask.result.n<2
        task what 1000m 1Gi needs=ask when=ask.result.text
        task each 1000m 1Gi needs=ask each=${ask.result.list}
        task none 1000m 1Gi needs=ask each=${ask.result.none}
    ",
    );
    assert_eq!(world.step("workflow").commands, []);
    check(&world, "j/yes[0]", "waiting for ask to succeed");
    world.succeed("j/ask[0]", r#"{"n":3,"text":"t","list":[1,2,3],"none":0}"#);
    assert_eq!(
        world.tasks(),
        lines(
            "
        j/ask[0] Succeeded
        j/yes[0] Ready
        j/no[0] Skipped
        j/what[0] Failed(Undecidable)
        j/each[0] Ready
        j/each[1] Ready
        j/each[2] Ready
        j/none[0] Skipped
    "
        )
    );
    check(&world, "j/no[0]", "passed over, because this was not so: ask.result.n<2");
    check(&world, "j/none[0]", "passed over, because there was nothing in the list that it is for");
    let what = explain(&world.state, &world.observed, world.now(), world.find("j/what[0]")).to_string();
    assert!(what.starts_with("failed, because what it asks for cannot be found out: when: "), "{what}");
}

#[test]
fn many_conditions_are_decided_in_pieces() {
    let mut spec = job("j", &[]);
    let condition = |number: usize| task(&format!("t{number}"), resources("1m", "1Mi"), &["when=run.id!=''"]);
    spec.tasks = (0..400).map(condition).collect();
    let mut world = World::empty();
    world.submit(spec);
    let first = world.step("workflow");
    let decided = |command: &&Command| matches!(command, Command::DecideStep { decided: Decided::Run, .. });
    assert!(first.report.truncated);
    assert!((1..400).contains(&first.commands.iter().filter(decided).count()), "{}", first.commands.len());
    world.release();
    assert_eq!(world.state.ready_count(), 400);
}

#[test]
fn what_waits_for_a_failure_or_for_the_end_says_so() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi
        task y 1000m 1Gi fallback=x
        task z 1000m 1Gi needs=x
        task x.undo 1000m 1Gi undoes=x
        task last 1000m 1Gi finally=yes
    ",
    );
    check(&world, "j/y[0]", "runs if one of x fails, and waits until they have ended");
    check(&world, "j/last[0]", "runs when the work of its run has ended, and what has to be was undone");
    world.succeed("j/x[0]", "1");
    check(&world, "j/y[0]", "passed over, because nothing that it stands in for failed");
    world.commit(&world.plan());
    world.end_all(1);
    world.release();
    assert_eq!(
        world.tasks(),
        lines(
            "
        j/x[0] Succeeded
        j/y[0] Skipped
        j/z[0] Failed(Failed)
        j/x.undo[0] Ready
        j/last[0] Waiting(Needs)
    "
        )
    );
}

#[test]
fn elements_of_a_large_step_enter_the_queue_when_it_is_their_turn() {
    let mut spec = job("j", &[]);
    let each = task("wide", resources("0m", "0Mi"), &["needs=first", "each=${first.result}"]);
    spec.tasks = vec![task("first", resources("1m", "1Mi"), &[]), each];
    let mut world = World::of("node a eu/eu-1 1000m 8Gi");
    world.submit(spec);
    world.release();
    world.succeed("j/first[0]", "25000");
    let run = world.find("j/first[0]").run;
    let counts = world.state.step_counts(run, 1);
    assert!((READY_AHEAD_MAX / 2 + 1..=READY_AHEAD_MAX).contains(&counts.ready), "{counts:?}");
    assert_eq!(counts.total(), 25_000);
    assert_eq!(world.step("workflow").commands, [], "enough of it stands in the queue");
}

/// What a task of the newest run would run, or why it would not.
fn command(world: &World, task: TaskId) -> String {
    let run = world.state.run(task.run).unwrap();
    match Commands::default().render(&world.state, run, task).expect("it has references") {
        Ok(command) => command.argv.join(" "),
        Err(flaw) => flaw.to_string(),
    }
}

#[test]
fn what_a_step_of_several_left_is_a_list_with_gaps() {
    let mut spec = job("j", &[]);
    let mut merge = task("merge", resources("1m", "1Mi"), &["needs=many,over"]);
    merge.argv = vec!["merge".into(), "${many.result}".into()];
    merge.templated = true;
    let mut lost = merge.clone();
    lost.name = "lost".parse().unwrap();
    lost.argv[1] = "${over.result}".into();
    let many = task("many", resources("1m", "1Mi"), &["count=3", "accept=2"]);
    let over = task("over", resources("1m", "1Mi"), &["when=run.id==''"]);
    spec.tasks = vec![many, over, merge, lost];
    let mut world = World::of("node a eu/eu-1 1000m 8Gi");
    let run = world.submit(spec);
    world.release();
    world.succeed("j/many[2]", r#"{"c": [1]}"#);
    world.end_all(1);
    world.release();
    let at = |step| TaskId { run, step, index: 0 };
    assert_eq!(world.state.step_counts(run, 0).failed, 2, "as many as are accepted");
    assert_eq!(command(&world, at(2)), r#"merge [null,null,{"c":[1]}]"#);
    assert_eq!(command(&world, at(3)), "`over.result` has no value");
}

#[test]
fn each_undo_sees_what_its_own_element_left() {
    let mut spec = job("j", &[]);
    let many = task("many", resources("1m", "1Mi"), &["count=2"]);
    let mut undo = task("many.undo", resources("1m", "1Mi"), &["undoes=many"]);
    (undo.argv, undo.templated) = (vec!["undo".into(), "${many.result.id}".into(), "${index}".into()], true);
    spec.tasks = vec![many, undo, task("bad", resources("1m", "1Mi"), &["needs=many"])];
    let mut world = World::of("node a eu/eu-1 1000m 8Gi");
    let run = world.submit(spec);
    world.release();
    world.succeed("j/many[0]", r#"{"id":"x"}"#);
    world.succeed("j/many[1]", r#"{"id":"y"}"#);
    world.commit(&world.plan());
    world.end_all(1);
    world.release();
    let of = |index| TaskId { run, step: 1, index };
    assert_eq!(world.state.ready().map(|place| place.task).collect::<Vec<_>>(), [of(1)], "the last one first");
    assert_eq!((command(&world, of(1)), command(&world, of(0))), ("undo y 1".into(), "undo x 0".into()));
}

/// Payloads in a bucket by name, with their sizes.
fn payloads(left: &[(&str, u64)]) -> Payloads {
    let mut payloads = Payloads::default();
    for (name, size) in left {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let payload = Payload::new(&format!("s3://b/{name}"), Some(*size), Some(digest)).unwrap();
        payloads.put(name.parse().unwrap(), payload).unwrap();
    }
    payloads
}

fn says(name: &str, settings: &[&str], texts: &[&str]) -> TaskSpec {
    let argv = std::iter::once(name).chain(texts.iter().copied()).map(str::to_owned).collect();
    TaskSpec { argv, templated: true, ..task(name, resources("1m", "1Mi"), settings) }
}

#[test]
fn what_was_left_is_told_decided_by_and_gone_through() {
    let mut spec = job("j", &[]);
    let of_many = ["${many.payload.1.part}", "${many.payload.0}"];
    spec.tasks = vec![
        task("split", resources("1m", "1Mi"), &[]),
        task("many", resources("1m", "1Mi"), &["count=2", "accept=1"]),
        says(
            "eat",
            &["needs=split"],
            &["${split.payload.model}", "${split.payload.model.size}", "${split.payload.a.b.uri}"],
        ),
        says("each", &["needs=split", "each=${split.payload}"], &["${each.name}", "${each.uri}", "${index}"]),
        says("merge", &["needs=many"], &of_many),
        says("typo", &["needs=split"], &["${split.payload.modle}"]),
        says("big", &["needs=split", "when=split.payload.model.size>1000"], &["${split.payload.model.digest}"]),
        task("small", resources("1m", "1Mi"), &["needs=split", "when=split.payload.model.size<1000"]),
        task("what", resources("1m", "1Mi"), &["needs=split", "when=split.payload.x.size<1000"]),
    ];
    let mut world = World::of("node a eu/eu-1 1000m 8Gi");
    let run = world.submit(spec);
    world.release();
    world.leave("j/split[0]", payloads(&[("model", 1_500), ("a.b", 7)]));
    world.leave("j/many[1]", payloads(&[("part", 1)]));
    assert_eq!(world.tasks().lines().filter(|line| line.contains("each")).count(), 2, "{}", world.tasks());
    let at = |step, index| TaskId { run, step, index };
    assert_eq!(command(&world, at(2, 0)), "eat s3://b/model 1500 s3://b/a.b");
    assert_eq!(command(&world, at(3, 0)), "each a.b s3://b/a.b 0");
    assert_eq!(command(&world, at(3, 1)), "each model s3://b/model 1");
    assert_eq!(
        command(&world, at(5, 0)),
        "`split.payload.modle`: the task has left no payload \"modle\": it left \"a.b\", \"model\"; did you mean \"model\"?"
    );
    assert_eq!(command(&world, at(6, 0)), format!("big sha256:{}", "ab".repeat(32)));
    for (task, state) in [("j/big[0]", "Placed"), ("j/small[0]", "Skipped"), ("j/what[0]", "Failed(Undecidable)")] {
        assert!(world.tasks().lines().any(|line| line.trim() == format!("{task} {state}")), "{}", world.tasks());
    }
    world.commit(&world.plan());
    world.end_all(1);
    world.release();
    assert_eq!(command(&world, at(4, 0)), "`many.payload.0` has no value", "that one has failed");
}

#[test]
fn each_undo_is_told_where_its_own_element_left_what() {
    let mut spec = job("j", &[]);
    let many = task("many", resources("1m", "1Mi"), &["count=2"]);
    let undo =
        TaskSpec { name: "many.undo".parse().unwrap(), ..says("undo", &["undoes=many"], &["${many.payload.x}"]) };
    spec.tasks = vec![many, undo, task("bad", resources("1m", "1Mi"), &["needs=many"])];
    let mut world = World::of("node a eu/eu-1 1000m 8Gi");
    let run = world.submit(spec);
    world.release();
    for index in 0..2 {
        let mut left = Payloads::default();
        left.put("x".parse().unwrap(), Payload::new(&format!("s3://b/{index}"), None, None).unwrap()).unwrap();
        world.leave(&format!("j/many[{index}]"), left);
    }
    world.commit(&world.plan());
    world.end_all(1);
    world.release();
    let of = |index| TaskId { run, step: 1, index };
    assert_eq!((command(&world, of(1)), command(&world, of(0))), ("undo s3://b/1".into(), "undo s3://b/0".into()));
}

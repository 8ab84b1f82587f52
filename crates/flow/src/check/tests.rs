//! Jobs whose expressions mean something where they stand, and jobs whose do not.

use std::collections::BTreeMap;

use quorate_state::{
    Driver, Each, JobSpec, OnFailure, OnNodeLoss, Param, Place, Resources, Retry, Role, TaskSpec, Violation,
};

use crate::{check, complete_args, names_payloads};

fn task(name: &str, needs: &[&str]) -> TaskSpec {
    TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: name.parse().unwrap(),
        driver: Driver::Process,
        argv: vec![format!("./{name}")],
        env: BTreeMap::new(),
        needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
        count: 1,
        resources: Resources::ZERO,
        retry: Retry::default(),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place::default(),
        on_node_loss: OnNodeLoss::default(),
        role: Role::Work,
        templated: false,
        when: None,
        each: None,
        on_region_loss: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: true,
    }
}

fn says(name: &str, needs: &[&str], text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["./program".into(), text.into()], templated: true, ..task(name, needs) }
}

fn fallback(of: &str) -> Role {
    Role::Fallback { of: vec![of.parse().unwrap()] }
}

fn undo(of: &str) -> Role {
    Role::Undo { of: of.parse().unwrap() }
}

/// A job with these tasks, which can be told a day and a number.
fn job(tasks: Vec<TaskSpec>) -> JobSpec {
    let param = |kind: &str, default: Option<&str>| Param {
        kind: kind.into(),
        default: default.map(Into::into),
        description: String::new(),
    };
    JobSpec {
        namespace: "default".parse().unwrap(),
        name: "job".parse().unwrap(),
        priority: 50,
        labels: BTreeMap::new(),
        on_failure: OnFailure::Finish,
        timeout_ms: None,
        params: BTreeMap::from([("day".into(), param("date", None)), ("parts".into(), param("integer", Some("4")))]),
        result: BTreeMap::new(),
        tasks,
    }
}

fn lines(violations: Vec<Violation>) -> Vec<String> {
    violations.into_iter().map(|violation| format!("{}: {}", violation.field, violation.message)).collect()
}

#[track_caller]
fn assert_flaw(tasks: Vec<TaskSpec>, expected: &str) {
    let found = lines(check(&job(tasks)).expect_err(expected));
    assert_eq!(found, [expected]);
}

#[test]
fn what_is_there_may_be_named() {
    let each = Some(Each::Result("${split.result.parts}".into()));
    let finally = Role::Finally;
    let tasks = vec![
        says("split", &[], "--day=${params.day} --run=${run.id} $${HOME}"),
        TaskSpec {
            each,
            when: Some("split.result.parts.size() > 0 && params.parts < 10".into()),
            ..says("score", &["split"], "${each.name} ${index} of ${split.result.parts}")
        },
        TaskSpec { role: fallback("score"), ..says("manual", &["split"], "${split.result}") },
        TaskSpec {
            each: Some(Each::Result("${split.payload}".into())),
            when: Some("split.payload.model.size > 1000".into()),
            ..says("each", &["split"], "${each.uri}")
        },
        says("publish", &["score"], "${score.result} ${score.payload.0.model.size} ${score.payload}"),
        TaskSpec {
            role: undo("score"),
            ..says("score.undo", &[], "${each} ${score.result.id} ${split.result} ${run.outcome} ${split.payload.a.b}")
        },
        TaskSpec { count: 3, ..says("three", &[], "${index}") },
        TaskSpec { role: finally.clone(), ..says("tidy", &[], "${run.outcome} ${run.job}") },
        TaskSpec { role: finally, when: Some("run.outcome == 'failed'".into()), ..task("mail", &["tidy"]) },
    ];
    assert_eq!(check(&job(tasks)), Ok(()));
}

#[test]
fn texts_without_references_are_not_looked_at() {
    let tasks = vec![TaskSpec { templated: false, ..says("shell", &[], "echo ${HOME} ${nobody.result}") }];
    assert_eq!(check(&job(tasks)), Ok(()));
}

#[test]
fn what_is_not_there_is_refused_with_what_was_meant() {
    assert_flaw(
        vec![says("a", &[], "${params.dya}")],
        "task.a.run[1]: `params.dya`: no parameter is called \"dya\"; did you mean \"day\"?",
    );
    assert_flaw(
        vec![task("split", &[]), says("a", &["split"], "${splitt.result}")],
        "task.a.run[1]: `splitt.result`: no task is called \"splitt\"; did you mean \"split\"?",
    );
    assert_flaw(
        vec![task("split", &[]), says("a", &[], "${split.result}")],
        "task.a.run[1]: `split.result`: \"split\" is not needed: add it to needs, so that its result is there",
    );
    assert_flaw(
        vec![says("a", &[], "${a.result}")],
        "task.a.run[1]: `a.result`: a task has no result before it has run",
    );
    assert_flaw(
        vec![task("a", &[]), TaskSpec { role: fallback("a"), ..says("b", &[], "${a.result}") }],
        "task.b.run[1]: `a.result`: \"a\" has no result when this runs: it stands in for it",
    );
    assert_flaw(
        vec![task("a", &[]), task("b", &[]), TaskSpec { role: undo("b"), ..says("b.undo", &[], "${a.result}") }],
        "task.b.undo.run[1]: `a.result`: what undoes \"b\" may name its result and those of what it needs, and \"a\" is neither",
    );
    assert_flaw(
        vec![task("a", &[]), TaskSpec { role: Role::Finally, ..says("b", &[], "${a.result}") }],
        "task.b.run[1]: `a.result`: what runs at the end in any case may name only results of what does, too",
    );
    assert_flaw(
        vec![TaskSpec { role: Role::Finally, ..task("a", &[]) }, says("b", &[], "${a.result}")],
        "task.b.run[1]: `a.result`: \"a\" runs when the work has ended, and this is part of it",
    );
    assert_flaw(
        vec![task("split", &[]), says("a", &["split"], "${splitt.payload.model}")],
        "task.a.run[1]: `splitt.payload.model`: no task is called \"splitt\"; did you mean \"split\"?",
    );
    assert_flaw(
        vec![task("split", &[]), says("a", &[], "${split.payload.model}")],
        "task.a.run[1]: `split.payload.model`: \"split\" is not needed: add it to needs, so that its payload is there",
    );
    assert_flaw(
        vec![TaskSpec { count: 2, ..task("split", &[]) }, says("a", &["split"], "${split.payload.model}")],
        "task.a.run[1]: `split.payload.model`: \"split\" has several elements: write split.payload.0.model for what the first of them has left",
    );
    let env = BTreeMap::from([("A".to_owned(), "${each}".to_owned())]);
    assert_flaw(
        vec![TaskSpec { env, templated: true, count: 2, ..task("a", &[]) }],
        "task.a.env.A: `each`: each is there in tasks with each only",
    );
    assert_flaw(
        vec![says("a", &[], "${index}")],
        "task.a.run[1]: `index`: index is there in tasks with each or count only",
    );
    assert_flaw(
        vec![says("a", &[], "${run.outcome}")],
        "task.a.run[1]: `run.outcome`: it is known when the work is over: only tasks with finally = true, and undo, may name it",
    );
}

#[test]
fn what_decides_of_all_elements_names_none() {
    let each = Some(Each::Range { from: 0 });
    let found = check(&job(vec![TaskSpec { each, count: 3, when: Some("each > 1".into()), ..task("a", &[]) }]));
    let found = lines(found.expect_err("it names one"));
    assert_eq!(
        found,
        ["task.a.when: `each`: each is there in run and env only: this is decided once for all elements"]
    );
}

#[test]
fn what_means_nothing_is_refused_where_it_stands() {
    for (flawed, field) in [
        (says("a", &[], "${oops"), "task.a.run[1]"),
        (TaskSpec { when: Some("1 +".into()), ..task("a", &[]) }, "task.a.when"),
        (TaskSpec { each: Some(Each::Result("${run.id}".into())), ..task("a", &[]) }, "task.a.each"),
        (
            TaskSpec { each: Some(Each::Items(vec!["1".into(), "oops".into()])), count: 2, ..task("a", &[]) },
            "task.a.each",
        ),
    ] {
        let found = check(&job(vec![flawed])).expect_err(field);
        assert_eq!(found.iter().map(|violation| &*violation.field).collect::<Vec<_>>(), [field]);
    }
    let mut job = job(vec![task("a", &[])]);
    job.params.insert("x".into(), Param { kind: "dat".into(), ..Param::default() });
    job.params.insert("y".into(), Param { kind: "date".into(), default: Some("1".into()), ..Param::default() });
    let found = check(&job).expect_err("no type, no date");
    let fields: Vec<_> = found.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["params.x.type", "params.y.default"]);
}

#[test]
fn no_answer_is_without_end() {
    let tasks = (0..1_000).map(|number| says(&format!("a{number}"), &[], "${a} ${b} ${oops.result}")).collect();
    assert_eq!(check(&job(tasks)).map_err(|violations| violations.len()), Err(super::FLAWS_MAX));
}

#[test]
fn a_run_is_told_a_value_for_each_parameter() {
    let job = job(vec![task("a", &[])]);
    let told = complete_args(&job, "{ \"day\": \"2026-11-21\" }");
    assert_eq!(told.as_deref(), Ok("{\"day\":\"2026-11-21\",\"parts\":4}"));
    for (args, expected) in [
        ("", "args: the parameter day is missing"),
        ("{\"day\": 7}", "args: the parameter day has the type date"),
        ("{\"day\": \"2026-11-21\", \"prats\": 1}", "args: the job has no parameter \"prats\": did you mean parts?"),
        ("[1]", "args: expected a JSON object"),
        ("{", "args: what the run is told is no JSON"),
    ] {
        let found = lines(complete_args(&job, args).expect_err(args));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
    let mut untold = job;
    untold.params.clear();
    assert_eq!(complete_args(&untold, "").as_deref(), Ok(""));
    assert_eq!(complete_args(&untold, "{}").as_deref(), Ok(""));
    assert!(complete_args(&untold, "{\"day\": \"2026-11-21\"}").is_err());
}

#[test]
fn more_than_a_run_can_be_told_is_refused() {
    let mut job = job(vec![task("a", &[])]);
    job.params.insert("text".into(), Param { kind: "string".into(), ..Param::default() });
    let args = format!("{{\"day\": \"2026-11-21\", \"text\": {:?}}}", "x".repeat(quorate_state::ARGS_BYTES_MAX));
    let found = lines(complete_args(&job, &args).expect_err("too much"));
    assert!(found[0].contains("ARGS_BYTES_MAX"), "{found:?}");
}

#[test]
fn it_is_known_whether_payloads_are_named() {
    let reads = |text: &str| says("a", &["split"], text);
    let env = BTreeMap::from([("A".to_owned(), "${split.payload.x}".to_owned())]);
    for (one, named) in [
        (reads("${split.payload.x.size}"), true),
        (TaskSpec { templated: false, ..reads("${split.payload.x}") }, false),
        (reads("$${split.payload.x} ${split.result.payload} a.payload"), false),
        (TaskSpec { env, templated: true, ..task("a", &["split"]) }, true),
        (TaskSpec { when: Some("has(split.payload.x)".into()), ..task("a", &["split"]) }, true),
        (TaskSpec { when: Some("split.result == 'x.payload'".into()), ..task("a", &["split"]) }, false),
        (TaskSpec { each: Some(Each::Result("${split.payload}".into())), ..task("a", &["split"]) }, true),
    ] {
        assert_eq!(names_payloads(&job(vec![task("split", &[]), one.clone()])), named, "{one:?}");
    }
}

#[test]
fn what_runs_within_a_run_are_told_and_what_comes_out_of_one_name_what_is_there() {
    let sub_run = |args: &[(&str, &str)]| {
        let args = args.iter().map(|(name, json)| ((*name).to_owned(), (*json).to_owned())).collect();
        Some(quorate_state::SubRun { job: "other".parse().unwrap(), version: None, args })
    };
    let sub = |args| TaskSpec { argv: Vec::new(), sub_run: sub_run(args), count: 2, ..task("sub", &["split"]) };
    let with_result = |json: &str, tasks| {
        let result = BTreeMap::from([("r".to_owned(), json.to_owned())]);
        JobSpec { result, ..job(tasks) }
    };
    let good = [("a", "\"${split.result.x} ${index}\""), ("b", "{\"c\":[1,\"${params.day}\"]}"), ("d", "\"$${HOME}\"")];
    let tasks = || vec![task("split", &[]), sub(&good), TaskSpec { role: Role::Finally, ..task("tidy", &[]) }];
    assert_eq!(check(&with_result("[\"${sub.result.0}\",\"${run.id}\",7]", tasks())), Ok(()));
    for (json, expected) in [
        ("\"${tidy.result}\"", "`tidy.result`: \"tidy\" is not part of the work, which this comes out of"),
        ("\"${slit.result}\"", "`slit.result`: no task is called \"slit\"; did you mean \"split\"?"),
        ("\"${run.outcome}\"", "`run.outcome`: a run without success has no result: it is always the same"),
        ("\"${index}\"", "`index`: it is there in the tasks of an each or count only"),
    ] {
        let found = lines(check(&with_result(json, tasks())).expect_err(json));
        assert_eq!(found, [format!("result.r: {expected}")]);
    }
    assert_flaw(
        vec![task("split", &[]), sub(&[("a", "{\"deep\":[\"${each}\"]}")])],
        "task.sub.args.a: `each`: each is there in tasks with each only",
    );
    for text in ["oops", "\"${\""] {
        let found = check(&with_result(text, tasks())).expect_err(text);
        assert_eq!(found[0].field, "result.r");
    }
}

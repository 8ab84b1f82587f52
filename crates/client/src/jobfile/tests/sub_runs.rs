//! Job files whose tasks are runs of other jobs.

use std::collections::BTreeMap;

use quorate_state::{OnNodeLoss, Resources, SubRun};

use super::super::{Format, render_toml};
use super::read;

const PARENT: &str = r#"
name         = "nightly"
on_node_loss = "fenced"
result       = { model = "${train.result.model}", day = "of ${params.day}", parts = [1, "${split.result}"] }

[params]
day = "date"

[task.split]
run = ["./split"]

[task.train]
run   = "job://train@3"
args  = { day = "${params.day}", parts = "${split.result.parts}", deep = { list = [true, "${index}"] } }
each  = "${split.result.days}"
retry = { attempts = 3 }
undo  = ["./untrain", "${train.result.model}"]

[task.newest]
run      = "job://report"
timeouts = { run = "1h" }
finally  = true
"#;

#[test]
fn a_task_names_a_job_a_version_and_what_it_is_told() {
    let spec = read(PARENT, Format::Toml).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(spec.is_flow() && spec.has_sub_runs());
    let train = &spec.tasks[1];
    let args = BTreeMap::from([
        ("day".to_owned(), "\"${params.day}\"".to_owned()),
        ("deep".to_owned(), "{\"list\":[true,\"${index}\"]}".to_owned()),
        ("parts".to_owned(), "\"${split.result.parts}\"".to_owned()),
    ]);
    assert_eq!(train.sub_run, Some(SubRun { job: "train".parse().unwrap(), version: Some(3), args }));
    assert_eq!((train.resources, train.on_node_loss), (Resources::ZERO, OnNodeLoss::AtLeastOnce));
    assert_eq!(train.needs, ["split".parse().unwrap()], "it refers to it");
    let newest = spec.tasks[2].sub_run.as_ref().unwrap();
    assert_eq!((newest.job.as_str(), newest.version), ("report", None));
    assert_eq!(spec.result["parts"], "[1,\"${split.result}\"]");
    let undo = spec.tasks.last().unwrap();
    assert_eq!((undo.name.as_str(), undo.on_node_loss), ("train.undo", OnNodeLoss::Fenced), "a process as others are");
    assert!(undo.resources != Resources::ZERO && undo.sub_run.is_none());
}

#[test]
fn a_job_with_sub_runs_written_out_is_read_back_the_same() {
    let spec = read(&PARENT.replace("on_node_loss = \"fenced\"", ""), Format::Toml).unwrap();
    let written = render_toml(&spec);
    assert_eq!(read(&written, Format::Toml).unwrap_or_else(|errors| panic!("{written}\n{errors}")), spec);
}

#[test]
fn the_three_spellings_mean_the_same() {
    let toml = "name = \"y\"\nresult = { a = \"${s.result}\" }\n[task.s]\nrun = \"job://x@2\"\nargs = { b = 1 }\n";
    let yaml = "name: y\nresult: {a: \"${s.result}\"}\ntask:\n  s:\n    run: job://x@2\n    args: {b: 1}\n";
    let json = r#"{"name":"y","result":{"a":"${s.result}"},"task":{"s":{"run":"job://x@2","args":{"b":1}}}}"#;
    let spec = read(toml, Format::Toml).unwrap();
    assert_eq!(read(yaml, Format::Yaml).unwrap(), spec);
    assert_eq!(read(json, Format::Json).unwrap(), spec);
}

#[test]
fn what_a_process_is_told_is_an_error_with_its_place_and_advice() {
    let lines = |text: &str| {
        let errors = read(text, Format::Toml).expect_err(text).to_string();
        errors
            .lines()
            .filter(|line| line.contains("job.toml") || line.contains(": "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let task = "name = \"y\"\n[task.s]\nrun = \"job://x\"\n";
    for (line, expected) in [
        ("env = {}", "task.s.env: a run is told args"),
        ("resources = { cpu = 1 }", "task.s.resources: a run holds none"),
        ("driver = \"process\"", "task.s.driver: a run has none"),
        ("place = {}", "task.s.place: a run is not placed"),
        ("on_node_loss = \"at_least_once\"", "task.s.on_node_loss: a run is on no node"),
        (
            "timeouts = { queued = \"1m\" }",
            "task.s.timeouts.queued: the task is a run of job \"x\": say this in that job",
        ),
        (
            "timeouts = { silent = \"1m\" }",
            "task.s.timeouts.silent: the task is a run of job \"x\": say this in that job",
        ),
        ("image = \"x\"", "task.s.image: not supported yet"),
        ("args = { a = \"${oops\" }", "task.s.args.a: "),
        ("args = { a = \"${t.result}\" }", "task.s.args.a: `t.result`: no task is called \"t\""),
        ("args = 7", "task.s.args: expected a table of values"),
    ] {
        let found = lines(&format!("{task}{line}\n"));
        assert!(found.iter().any(|found| found.contains("4:") && found.contains(expected)), "{line}: {found:#?}");
    }
    let bad = |run: &str| lines(&format!("name = \"y\"\n[task.s]\nrun = \"{run}\"\n"));
    for (run, expected) in [
        ("job://", "task.s.run: job name \"\" is empty"),
        ("job://x@y", "task.s.run: behind @ comes the number of a version"),
        ("job://x@0", "task.s.run: versions of a job count from 1"),
        ("./x", "task.s.run: expected a list of texts, or a job such as \"job://train\""),
    ] {
        let found = bad(run);
        assert!(found.iter().any(|found| found.contains("3:") && found.contains(expected)), "{run}: {found:#?}");
        assert_eq!(found.len(), 1, "{found:#?}");
    }
    let found = lines("name = \"y\"\n[task.s]\nrun = [\"x\"]\nargs = {}\n");
    assert!(found.len() == 1 && found[0].contains("args are for runs of other jobs"), "{found:#?}");
    let found = lines("name = \"y\"\nresult = { a = \"${each}\", b = \"${oops.result}\" }\n[task.s]\nrun = [\"x\"]\n");
    assert!(found.len() == 2 && found[0].contains("result.a: `each`") && found[1].contains("result.b: "), "{found:#?}");
}

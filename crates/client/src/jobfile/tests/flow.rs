//! Job files whose tasks refer to each other, decide, stand in, take back and come last.

use proptest::prelude::*;
use quorate_proto::convert::job::{spec_from_wire, spec_to_wire};
use quorate_state::{Each, JobSpec, Param, Role, Settings, TaskSpec};

use super::{check, read};
use crate::jobfile::{Format, render_toml};

const FLOW: &str = r#"
name = "claims"

[params]
day = { type = "date", default = "2026-11-21", description = "of the claims" }
parts = { type = "integer", default = 4 }
who = "string"

[task.split]
run = ["./split", "--day=${params.day}", "$${HOME}"]

[task.score]
each = "${split.result.parts}"
run = ["./score", "${each.name}"]
env = { PLACE = "${index}" }
when = "size(split.result.parts) > 0"
accept = { failed = 3 }

[task.manual]
on = { failed = ["score"] }
run = ["./manual", "${split.result.file}"]

[task.publish]
needs = ["score"]
run = ["./publish", "plain"]
undo = ["./unpublish", "${publish.result.id}"]
timeouts = { run = "5m" }

[task.list]
each = ["a", 1, { b = 2.5, a = [true] }]
run = ["./list", "${each}"]

[task.range]
each = { from = -1, to = 9 }
run = ["sh", "-c", "echo $${HOME}"]
undo = ["true"]

[task.tidy]
finally = true
run = ["./tidy", "${run.outcome}"]
"#;

fn flow() -> JobSpec {
    read(FLOW, Format::Toml).unwrap_or_else(|errors| panic!("{errors}"))
}

fn task<'s>(spec: &'s JobSpec, name: &str) -> &'s TaskSpec {
    spec.tasks.iter().find(|task| task.name.as_str() == name).unwrap_or_else(|| panic!("no task {name}"))
}

fn needs(task: &TaskSpec) -> Vec<&str> {
    task.needs.iter().map(|need| need.as_str()).collect()
}

#[test]
fn what_a_run_can_be_told_has_a_type_and_maybe_a_default() {
    let spec = flow();
    let day =
        Param { kind: "date".into(), default: Some("\"2026-11-21\"".into()), description: "of the claims".into() };
    assert_eq!(spec.params["day"], day);
    assert_eq!(spec.params["parts"].default.as_deref(), Some("4"));
    assert_eq!(spec.params["who"], Param { kind: "string".into(), ..Param::default() });
}

#[test]
fn a_task_needs_what_it_refers_to() {
    let spec = flow();
    assert_eq!(needs(task(&spec, "split")), [""; 0]);
    assert_eq!(needs(task(&spec, "score")), ["split"], "once, though named three times");
    assert_eq!(needs(task(&spec, "manual")), ["split"], "and not what it stands in for");
    assert_eq!(needs(task(&spec, "publish")), ["score"]);
    assert_eq!(needs(task(&spec, "publish.undo")), [""; 0], "that goes by its task");
}

#[test]
fn texts_stay_as_they_are_written_only_where_something_is_put_in() {
    let spec = flow();
    let split = task(&spec, "split");
    assert!(split.templated);
    assert_eq!(split.argv, ["./split", "--day=${params.day}", "$${HOME}"]);
    let range = task(&spec, "range");
    assert!(!range.templated);
    assert_eq!(range.argv, ["sh", "-c", "echo ${HOME}"]);
    assert!(!task(&spec, "publish").templated);
}

#[test]
fn elements_are_known_from_the_file_or_only_later() {
    let spec = flow();
    let each = |name: &str| (task(&spec, name).each.clone().unwrap(), task(&spec, name).count);
    assert_eq!(each("score"), (Each::Result("${split.result.parts}".into()), 1));
    let items = ["\"a\"", "1", "{\"a\":[true],\"b\":2.5}"].map(str::to_owned);
    assert_eq!(each("list"), (Each::Items(items.into()), 3));
    assert_eq!(each("range"), (Each::Range { from: -1 }, 10));
    let short = read("name = \"y\"\n[task.a]\nrun = [\"x\"]\neach = 100\n", Format::Toml).unwrap();
    assert_eq!((short.tasks[0].each.clone(), short.tasks[0].count), (Some(Each::Range { from: 0 }), 100));
    assert_eq!(task(&spec, "score").accept_failed, 3);
}

#[test]
fn what_undoes_a_task_is_a_task_under_the_same_conditions() {
    let spec = flow();
    let names: Vec<&str> = spec.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names[7..], ["publish.undo", "range.undo"], "behind all that is written");
    let (publish, undo) = (task(&spec, "publish"), task(&spec, "publish.undo"));
    assert_eq!(undo.role, Role::Undo { of: publish.name.clone() });
    assert_eq!((undo.resources, undo.run_timeout_ms), (publish.resources, publish.run_timeout_ms));
    assert!(undo.templated && undo.argv == ["./unpublish", "${publish.result.id}"]);
    assert_eq!(task(&spec, "range.undo").count, 1);
    assert_eq!(task(&spec, "manual").role, Role::Fallback { of: vec!["score".parse().unwrap()] });
    assert_eq!(task(&spec, "tidy").role, Role::Finally);
}

#[test]
fn a_job_with_a_flow_written_out_is_read_back_the_same() {
    let spec = flow();
    let written = render_toml(&spec);
    assert_eq!(read(&written, Format::Toml).unwrap_or_else(|errors| panic!("{written}\n{errors}")), spec);
    assert!(spec.is_flow());
}

#[test]
fn a_job_without_a_flow_needs_no_server_that_knows_of_one() {
    let plain = "name = \"y\"\n[task.a]\nrun = [\"sh\", \"-c\", \"echo $HOME $${HOME}\"]\n";
    let spec = read(plain, Format::Toml).unwrap();
    assert!(!spec.is_flow());
    assert_eq!(spec.tasks[0].argv[2], "echo $HOME ${HOME}");
}

#[test]
fn a_shells_own_braces_are_not_guessed_at() {
    check(
        "name = \"y\"\n[task.a]\nrun = [\"sh\", \"-c\", \"echo ${HOME}\"]\n",
        &["3:20: task.a.run[2]: `${HOME}` is no reference: write `$${HOME}` if the text is meant"],
    );
}

#[test]
fn everything_that_is_wrong_with_a_flow_is_told_at_its_place() {
    check(
        r#"
name = "y"
labels = { day = "${params.day}" }

[params]
day = "dat"
many = { type = "integer", default = "x" }
late = { type = "date", default = 2026-11-21 }
none = {}
bad = 5
kind = { typ = "date", type = "date" }

[task.a]
run = ["x", "${params.dya}", "${b.result"]
env = { X = "${nobody.result}" }
count = 2
each = [1]

[task.b]
run = ["x"]
each = []
when = "1 +"
accept = { faild = 1 }
undo = ["y", "${a.result}"]

[task."b.undo"]
run = ["x"]
each = "split"

[task.c]
run = ["x"]
on = { failed = ["aa"] }
finally = true
each = { from = 3, to = 3 }

[task.d]
run = ["x"]
on = {}
each = { from = 1 }
finally = "yes"

[task.e]
run = ["x", "${d.result}"]
finally = true
undo = ["x"]
each = -1
"#,
        &[
            "3:18: labels.day: the expression \"${params.day}\" means nothing here",
            "6:7: params.day.type: \"dat\" is no type of a parameter",
            "7:38: params.many.default: the parameter many has the type integer",
            "8:35: params.late.default: a date needs quotes",
            "9:8: params.none.type: required",
            "10:7: params.bad: expected a type such as \"date\", or a table",
            "11:10: params.kind: unknown key \"typ\": did you mean \"type\"?",
            "14:13: task.a.run[1]: `params.dya`: no parameter is called \"dya\"; did you mean \"day\"?",
            "14:30: task.a.run[2]: `${b.result` has no closing `}`",
            "15:13: task.a.env.X: `nobody.result`: no task is called \"nobody\"",
            "17:1: task.a.each: each says how many there are: leave count out",
            "21:8: task.b.each: there is nothing to do",
            "22:8: task.b.when:",
            "23:12: task.b.accept: unknown key \"faild\": did you mean \"failed\"?",
            "26:1: task.b.undo: what undoes \"b\" is called so: rename this",
            "28:8: task.b.undo.each: \"split\" is no list: write one reference",
            "32:1: task.c.on: a task stands in for others or comes at the end, not both",
            "34:8: task.c.each: there is nothing to do",
            "38:6: task.d.on.failed: required",
            "39:8: task.d.each.to: required",
            "40:11: task.d.finally: expected true or false, found the text \"yes\"",
            "43:13: task.e.run[1]: `d.result`: what runs at the end in any case may name only results",
            "45:1: task.e.undo: what comes at the end is not undone",
            "46:8: task.e.each: expected a list, a number",
        ],
    );
}

#[test]
fn what_undoes_a_task_is_complained_about_where_it_is_written() {
    check(
        "name = \"y\"\n[task.a]\nrun = [\"x\"]\nresources = { cpu = 1 }\nundo = [\"\"]\n",
        &["5:8: task.a.undo: a program is needed"],
    );
    check(
        "name = \"y\"\n[task.b]\nrun = [\"x\"]\n[task.a]\nrun = [\"x\"]\nenv = { \"A=B\" = \"\" }\nundo = [\"x\", \"${b.result}\"]\n",
        &[
            "6:7: task.a.env: \"A=B\" is not a variable's name",
            "7:14: task.a.undo[1]: `b.result`: what undoes \"a\" may name its result and those of what it needs",
        ],
    );
}

#[test]
fn what_the_page_shows_is_valid() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = |path: &str| std::fs::read_to_string(top.join(path)).expect(path);
    let page = text("docs/job-file.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 6, "{}", blocks.len());
    for block in blocks {
        let name = if block.starts_with("name") { "" } else { "name = \"shown\"\n" };
        read(&format!("{name}{block}"), Format::Toml).unwrap_or_else(|errors| panic!("{block}\n{errors}"));
    }
    let example = read(&text("examples/dataflow.toml"), Format::Toml).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(example.is_flow());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flow_that_is_accepted_is_the_same_flow_everywhere(
        edits in proptest::collection::vec((0..2_000_usize, 0..3_usize, "[$\\[\\]{}=,.\"'# a1-]{0,3}"), 1..4),
    ) {
        let mut text = FLOW.to_owned();
        for (at, length, with) in edits {
            let at = text.char_indices().map(|(at, _)| at).nth(at % text.chars().count()).unwrap_or(0);
            text = format!("{}{with}{}", &text[..at], text[at..].chars().skip(length).collect::<String>());
        }
        if let Ok(spec) = read(&text, Format::Toml) {
            prop_assert_eq!(spec.check(&Settings::default()), Ok(()));
            prop_assert_eq!(quorate_flow::check(&spec), Ok(()));
            prop_assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec.clone()));
            let written = render_toml(&spec);
            prop_assert_eq!(read(&written, Format::Toml).map_err(|errors| TestCaseError::fail(format!("{written}\n{errors}")))?, spec);
        }
    }
}

//! Job files that say what the loss of a region means.

use quorate_state::OnRegionLoss;

use super::super::{Format, render_toml};
use super::read;

fn with(job: &str, task: &str) -> String {
    format!("name = \"j\"\n{job}\n[task.a]\nrun = [\"a\"]\n{task}\n[task.b]\nrun = [\"b\"]\n")
}

fn moves(after_ms: u64, spill: &[&str]) -> Option<OnRegionLoss> {
    let spill = spill.iter().map(|region| region.parse().unwrap()).collect();
    Some(OnRegionLoss::MoveAfter { after_ms, spill })
}

#[test]
fn a_task_says_it_for_itself_and_the_job_for_those_that_do_not() {
    let (stay, table) =
        ("on_region_loss = \"stay\"", "on_region_loss = { move_after = \"10m\", spill = [\"us\", \"asia\"] }");
    let said = || moves(600_000, &["us", "asia"]);
    for (job, task, expected) in [
        ("", "", [None, None]),
        (stay, "", [Some(OnRegionLoss::Stay), Some(OnRegionLoss::Stay)]),
        ("", stay, [Some(OnRegionLoss::Stay), None]),
        (stay, "on_region_loss = \"move\"", [None, Some(OnRegionLoss::Stay)]),
        (stay, table, [said(), Some(OnRegionLoss::Stay)]),
        (table, stay, [Some(OnRegionLoss::Stay), said()]),
        ("", "on_region_loss = {}", [moves(0, &[]), None]),
        ("", "[task.a.on_region_loss]\nmove_after = \"1s\"", [moves(1_000, &[]), None]),
    ] {
        let spec = read(&with(job, task), Format::Toml).unwrap_or_else(|errors| panic!("{errors}"));
        let found = [0, 1].map(|at| spec.tasks[at].on_region_loss.clone());
        assert_eq!(found, expected, "{job} {task}");
        assert_eq!(read(&render_toml(&spec), Format::Toml).unwrap(), spec);
    }
}

#[test]
fn a_run_of_another_job_takes_nothing_over_and_says_nothing() {
    let text = with("on_region_loss = \"stay\"", "").replace("run = [\"b\"]", "run = \"job://other\"");
    let spec = read(&text, Format::Toml).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(spec.tasks[1].on_region_loss, None);
    let text = with("", "on_region_loss = \"stay\"").replace("run = [\"a\"]", "run = \"job://other\"");
    let errors = read(&text, Format::Toml).unwrap_err().to_string();
    assert!(errors.contains("a run is in no region"), "{errors}");
}

#[test]
fn what_means_nothing_is_refused_where_it_stands() {
    for (text, said) in [
        ("\"leave\"", "expected \"move\", \"stay\", or a table such as { move_after = \"10m\", spill = [\"us\"] }"),
        ("{ move_after = 5 }", "expected a duration"),
        ("{ after = \"5s\" }", "move_after"),
        ("{ spill = [\"us\", \"us\"] }", "us is listed twice"),
        ("{ spill = [\"us\"] }\nplace = { regions = [\"eu\"] }", "us is not among place.regions"),
        ("\"stay\"\ncount = 2\ngang = true", "a gang begins anew as a whole"),
    ] {
        let errors = read(&with("", &format!("on_region_loss = {text}")), Format::Toml).unwrap_err().to_string();
        assert!(errors.contains(said), "{text}: {errors}");
    }
}

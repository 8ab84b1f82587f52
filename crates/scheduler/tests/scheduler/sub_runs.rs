//! Tasks that are runs of other jobs: when they begin, with what, and what is said of those that do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_scheduler::explain::explain;
use quorate_scheduler::{Budget, controllers};
use quorate_state::{
    Change, Command, FailReason, JobSpec, Param, Resources, RunId, RunState, Settings, SubRun, TaskState,
};

use crate::world::{World, job, resources, task};

fn says(world: &World, task: &str) -> String {
    explain(&world.state, &world.observed, world.now(), world.find(task)).to_string()
}

fn param(kind: &str) -> Param {
    Param { kind: kind.into(), ..Param::default() }
}

/// A job that is told a number and says what its task found out.
fn child() -> JobSpec {
    JobSpec {
        params: BTreeMap::from([("n".into(), param("integer"))]),
        result: BTreeMap::from([
            ("found".into(), "\"${a.result.found}\"".into()),
            ("n".into(), "\"${params.n}\"".into()),
        ]),
        tasks: vec![task("a", resources("100m", "1Mi"), &[])],
        ..job("child", &[])
    }
}

/// A job that asks for a list and has a run of the other one for each of its elements, then names what they found.
fn parent(n: &str) -> JobSpec {
    let args = BTreeMap::from([("n".to_owned(), n.to_owned())]);
    let mut sub = task("sub", Resources::ZERO, &["needs=ask", "each=${ask.result.list}", "attempts=2"]);
    sub.driver = quorate_state::Driver::Process;
    sub.sub_run = Some(SubRun { job: "child".parse().unwrap(), version: None, args });
    JobSpec {
        result: BTreeMap::from([("all".into(), "\"${sub.result}\"".into())]),
        tasks: vec![task("ask", resources("100m", "1Mi"), &[]), sub],
        ..job("parent", &[])
    }
}

/// A cluster that knows the child, with a run of the parent whose list has two elements.
fn family(n: &str) -> World {
    let mut world = World::of("node a eu/eu-1 8000m 8Gi");
    world.submit(child());
    world.release();
    world.succeed("child/a[0]", r#"{"found":0}"#);
    world.submit(parent(n));
    world.release();
    world
}

fn result(world: &World, run: RunId) -> String {
    String::from_utf8(world.state.run(run).unwrap().result.as_ref().expect("a result").to_vec()).unwrap()
}

#[test]
fn runs_are_told_what_results_say_and_say_what_came_of_it() {
    let mut world = family("\"${each}\"");
    assert_eq!(says(&world, "parent/sub[0]"), "waiting for ask to succeed");
    world.succeed("parent/ask[0]", r#"{"list":[7,8]}"#);
    let sub = |index| world.find(&format!("parent/sub[{index}]"));
    let children = [sub(0), sub(1)].map(|task| world.state.task(task).unwrap().sub_run.expect("it has begun"));
    let told = children.map(|run| world.state.run(run).unwrap().args.to_string());
    assert_eq!(told, ["{\"n\":7}", "{\"n\":8}"]);
    let expected = format!("it is run {} of child version 1, which waits for its first task to be placed", children[0]);
    assert_eq!(says(&world, "parent/sub[0]"), expected);
    assert_eq!(world.plan().placements.len(), 2, "only tasks of the runs within it are placed");

    let parent = sub(0).run;
    world.succeed("child/a[0]", r#"{"found":[1]}"#);
    world.end_all(0);
    world.release();
    let states = children.map(|run| world.state.run(run).unwrap().state);
    assert!(
        states.contains(&RunState::Succeeded) && states.contains(&RunState::Failed),
        "one found nothing: {states:?}"
    );
    assert_eq!(world.state.run(parent).unwrap().state, RunState::Running);
    let flawed = children.iter().find_map(|run| world.state.run(*run).unwrap().flaw.clone()).expect("a flaw");
    assert!(flawed.starts_with("result.found: `a.result.found`"), "{flawed}");
    let both = ["parent/sub[0]", "parent/sub[1]"].map(|task| says(&world, task));
    assert!(both.iter().any(|said| said.starts_with("tried again in ")), "{both:?}");
}

#[test]
fn what_comes_out_of_a_run_goes_up() {
    let mut world = family("\"${index}\"");
    world.succeed("parent/ask[0]", r#"{"list":["x"]}"#);
    let parent = world.find("parent/sub[0]").run;
    world.succeed("child/a[0]", r#"{"found":{"a":[1.5,null]}}"#);
    assert_eq!(result(&world, parent), r#"{"all":[{"found":{"a":[1.5,null]},"n":0}]}"#);
}

#[test]
fn what_the_job_cannot_be_told_fails_the_task_for_good() {
    let mut world = family("\"${each}\"");
    world.succeed("parent/ask[0]", r#"{"list":["no number"]}"#);
    assert_eq!(world.state.task(world.find("parent/sub[0]")).unwrap().state, TaskState::Failed(FailReason::NoSubRun));
    let said = says(&world, "parent/sub[0]");
    let expected =
        "failed, because no run of its job can be begun: job child cannot be told this: args: the parameter n";
    assert!(said.starts_with(expected), "{said}");

    let mut world = family("\"${ask.result.oops}\"");
    world.succeed("parent/ask[0]", r#"{"list":[1]}"#);
    let said = says(&world, "parent/sub[0]");
    assert!(said.contains("can be begun: args.n: `ask.result.oops`"), "{said}");
}

#[test]
fn a_job_that_has_gone_since_fails_the_task_for_good() {
    let mut world = family("\"${each}\"");
    let child = world.state.jobs().find(|job| job.name.as_str() == "child").unwrap().clone();
    world.control(Command::DeleteJob { namespace: child.namespace.clone(), job: child.name.clone() });
    world.succeed("parent/ask[0]", r#"{"list":[1]}"#);
    let said = says(&world, "parent/sub[0]");
    assert!(said.ends_with("/child does not exist any more"), "{said}");
}

#[test]
fn where_there_is_no_room_it_waits_and_says_so() {
    let mut world = family("\"${each}\"");
    let settings = world.state.settings().unwrap().clone();
    world.state.commit(&Change::Settings(Arc::new(Settings { runs_unfinished_max: 2, ..settings.clone() })));
    world.succeed("parent/ask[0]", r#"{"list":[1,2]}"#);
    assert_eq!(world.state.unfinished_count(), 2, "one of them has begun");
    assert_eq!(world.step("workflow").commands, [], "and nothing is tried in vain");
    let said = says(&world, "parent/sub[1]");
    assert!(said.starts_with("as many runs as may be (runs_unfinished_max, 2) have not ended"), "{said}");
    world.succeed("child/a[0]", r#"{"found":1}"#);
    assert!(world.state.task(world.find("parent/sub[1]")).unwrap().sub_run.is_some(), "it begins when that has ended");
}

#[test]
fn whoever_leads_decides_the_same_and_no_two_steps_mint_the_same_ids() {
    let mut world = family("\"${each}\"");
    let list: Vec<u32> = (0..40).collect();
    let settings = world.state.settings().unwrap().clone();
    world.state.commit(&Change::Settings(Arc::new(Settings { runs_unfinished_max: 1, ..settings.clone() })));
    world.succeed("parent/ask[0]", &format!("{{\"list\":{list:?}}}"));
    world.state.commit(&Change::Settings(Arc::new(settings)));
    let decided = |seed| {
        let mut workflow = controllers().into_iter().find(|controller| controller.name() == "workflow").unwrap();
        workflow.step(&world.state, &world.observed, world.now(), seed, Budget::default()).commands
    };
    let ids = |commands: &[Command]| -> Vec<RunId> {
        let begun = commands.iter().filter_map(|command| match command {
            Command::StartSubRun(start) => Some(start.run),
            _ => None,
        });
        begun.collect()
    };
    let (first, again, other) = (decided(1), decided(1), decided(2));
    assert_eq!(first, again);
    assert_eq!(ids(&first).len(), 40);
    assert!(ids(&first).iter().all(|id| !ids(&other).contains(id)));
}

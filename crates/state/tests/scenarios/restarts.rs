//! Runs that are tried a second time.

use std::sync::Arc;

use quorate_state::{Command, Decided, Digest, Rejection, Reply, RunId, RunState, TaskSpec};

use crate::cluster::{Cluster, job, task};
use crate::flow::{RUN, World, cluster, drive, ended, finally, saga, submit, when};

fn restart(cluster: &mut Cluster, from: &[&str]) -> Result<Reply, Rejection> {
    let from = from.iter().map(|name| name.parse().unwrap()).collect();
    cluster.run(Command::RestartRun { run: RunId(2), of: RUN, from })
}

#[test]
fn a_restart_keeps_what_succeeded_and_runs_the_rest_again() {
    let mut cluster = cluster();
    let many = TaskSpec { count: 3, ..task("many", &["a"]) };
    let spec = job(vec![task("a", &[]), many, task("b", &["many"]), task("c", &["a"]), finally("f", &[])]);
    submit(&mut cluster, spec).unwrap();
    assert!(matches!(restart(&mut cluster, &[]), Err(Rejection::Invalid(_))), "it has not ended");
    drive(&mut cluster, &World::failing(&[("many", 1)]));
    assert_eq!(ended(&cluster), RunState::Failed);
    restart(&mut cluster, &[]).unwrap();
    let again = cluster.state.run(RunId(2)).unwrap().clone();
    assert_eq!((again.restart_of, again.job_version, &*again.args), (Some(RUN), 1, r#"{"day":"2026-01-01"}"#));
    assert_eq!(drive(&mut cluster, &World::default()), ["many[1]", "b", "f"]);
    assert_eq!(cluster.state.run(RunId(2)).unwrap().state, RunState::Succeeded);
    assert_eq!(cluster.state.run_counts(RunId(2)).succeeded, 7);
    let kept: Vec<_> = cluster.state.elements_from(RunId(2), 1, 0).map(|task| task.attempts).collect();
    assert_eq!(kept, [0, 1, 0], "each element is there once");
}

#[test]
fn a_restart_from_a_task_runs_all_again_that_waits_for_it() {
    let mut cluster = cluster();
    let spec = || job(vec![task("a", &[]), when(task("b", &["a"])), task("c", &["b"]), task("d", &["a"])]);
    submit(&mut cluster, spec()).unwrap();
    let world = World::default().deciding("b", Decided::PassOver, None);
    drive(&mut cluster, &world);
    assert_eq!(ended(&cluster), RunState::Succeeded);
    for (from, word) in [(vec![], "from"), (vec!["x"], "from[0]")] {
        let refused = restart(&mut cluster, &from);
        assert!(matches!(&refused, Err(Rejection::Invalid(found)) if found[0].field == word), "{refused:?}");
    }
    restart(&mut cluster, &["c"]).unwrap();
    assert_eq!(drive(&mut cluster, &World::default()), ["c"], "b is passed over as it was");
    let of = RunId(2);
    let from = vec!["b".parse().unwrap()];
    cluster.run(Command::RestartRun { run: RunId(3), of, from }).unwrap();
    assert_eq!(drive(&mut cluster, &World::default()), ["b", "c"], "it is decided anew");
}

#[test]
fn what_was_undone_is_done_again() {
    let mut cluster = cluster();
    submit(&mut cluster, saga(None)).unwrap();
    drive(&mut cluster, &World::failing(&[("three", 0)]));
    restart(&mut cluster, &[]).unwrap();
    assert_eq!(drive(&mut cluster, &World::default()), ["one", "two", "two[1]", "three", "f"]);
}

#[test]
fn a_restart_is_a_run_of_the_version_of_its_first_and_the_job_stays_what_it_is() {
    let mut cluster = cluster();
    submit(&mut cluster, job(vec![task("a", &[])])).unwrap();
    drive(&mut cluster, &World::failing(&[("a", 0)]));
    let newer = Arc::new(job(vec![task("z", &[])]));
    let (args, spec_digest) = ("".into(), Digest([2; 32]));
    cluster.run(Command::SubmitFlow { run: RunId(9), spec: newer, spec_digest, args, version: None }).unwrap();
    restart(&mut cluster, &[]).unwrap();
    let again = cluster.state.run(RunId(2)).unwrap();
    assert_eq!((again.job_version, again.spec.tasks[0].name.as_str()), (1, "a"));
    let row = cluster.state.job(&"acme".parse().unwrap(), &"job".parse().unwrap()).unwrap();
    assert_eq!((row.version, row.spec.tasks[0].name.as_str(), row.latest_run), (2, "z", RunId(2)));
}

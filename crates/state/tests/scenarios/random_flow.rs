//! Runs of drawn graphs in which drawn tasks fail.

use quorate_state::{Command, Decided, Each, JobSpec, OnFailure, Role, RunState, TaskSpec};

use crate::cluster::{job, task};
use crate::flow::{RUN, World, cluster, drive, execute, finally, submit, undo};

/// Numbers, one after the other.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % below
    }
}

/// Whatever the graph and whatever fails, a run comes to an end, in which everything has been looked at: every fallback
/// ran or was passed over rightly, and every success of a work that failed was undone once.
#[test]
fn every_run_ends_and_nothing_is_forgotten() {
    let mut accepted = 0;
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let steps = 2 + numbers.next(6) as usize;
        let mut tasks: Vec<TaskSpec> = Vec::new();
        for step in 0..steps {
            let mut spec = task(&format!("t{step}"), &[]);
            let work: Vec<_> =
                tasks.iter().filter(|task| !task.role.is_after()).map(|task| task.name.clone()).collect();
            for need in &work {
                if numbers.next(3) == 0 {
                    spec.needs.push(need.clone());
                }
            }
            spec.count = 1 + numbers.next(3) as u32;
            spec.accept_failed = if numbers.next(4) == 0 { 1 } else { 0 };
            let target = work.get(numbers.next(8) as usize).filter(|_| numbers.next(2) == 0).cloned();
            if let Some(of) = target.filter(|of| !spec.needs.contains(of)) {
                spec.role = Role::Fallback { of: vec![of] };
                spec.needs.clear();
            } else if numbers.next(4) == 0 {
                spec.when = Some("x".into());
            } else if numbers.next(4) == 0 {
                (spec.each, spec.count, spec.accept_failed) = (Some(Each::Result("${x}".into())), 1, 0);
            }
            let name = spec.name.to_string();
            tasks.push(spec);
            if numbers.next(3) == 0 {
                tasks.push(undo(&name));
            }
        }
        if numbers.next(2) == 0 {
            tasks.push(finally("last", &[]));
        }
        let on_failure = if numbers.next(3) == 0 { OnFailure::Cancel } else { OnFailure::Finish };
        let mut cluster = cluster();
        if submit(&mut cluster, JobSpec { on_failure, ..job(tasks.clone()) }).is_err() {
            continue;
        }
        accepted += 1;
        let mut world = World::default();
        for (step, spec) in tasks.iter().enumerate() {
            let name: &'static str = Box::leak(spec.name.to_string().into_boxed_str());
            let fails = (0..5).filter(|_| numbers.next(5) == 0).map(|index| (name, index)).collect::<Vec<_>>();
            world.fails.extend(fails);
            let decided = match (numbers.next(4), spec.has_open_count()) {
                (0, _) => (Decided::PassOver, None),
                (1, _) if step == 0 => (Decided::Fail("why".into()), None),
                (_, true) => (Decided::Run, Some(1 + numbers.next(4) as u32)),
                _ => (Decided::Run, None),
            };
            world.decided.insert(name, decided);
        }
        if numbers.next(6) == 0 {
            let first = cluster.state.ready().next().map(|next| next.task);
            first.into_iter().for_each(|task| execute(&mut cluster, &world, task));
            cluster.run(Command::CancelRun { run: RUN }).unwrap();
        }
        drive(&mut cluster, &world);
        let state = &cluster.state;
        let run = state.run(RUN).unwrap();
        assert!(run.state.is_terminal(), "seed {seed}: {run:#?} {:?}", state.run_counts(RUN));
        for (step, spec) in (0_u32..).zip(&tasks) {
            let counts = state.step_counts(RUN, step);
            match &spec.role {
                Role::Work => {}
                Role::Finally => assert_eq!(counts.succeeded + counts.failed, 1, "seed {seed}"),
                Role::Undo { .. } => {
                    let undone = run.graph.undoes(step).unwrap();
                    let done = state.step_counts(RUN, undone).succeeded;
                    let must = if state.work_outcome(run) == RunState::Succeeded { 0 } else { done };
                    assert_eq!(counts.total(), must, "seed {seed}: {}", spec.name);
                }
                Role::Fallback { .. } => {
                    let target = run.graph.stands_for(step)[0];
                    let failed = state.step_counts(RUN, target).failed > tasks[target as usize].accept_failed;
                    let is_cut = run.cancelling && counts.cancelled > 0;
                    assert!(!failed || is_cut || counts.skipped == 0, "seed {seed}: {}", spec.name);
                    assert!(
                        failed || counts.succeeded + counts.failed == 0 || state.is_passed_over(RUN, target),
                        "seed {seed}"
                    );
                }
            }
        }
    }
    assert!(accepted > 200, "{accepted} of the drawn jobs were valid");
}

//! How fast a recorded workflow must be replayed to fit a demo.

use std::collections::BTreeMap;

use quorate_state::{JobSpec, TaskSpec};

/// Seconds that the longest chain of tasks should take.
const CHAIN_S: f64 = 28.0;
/// Share of all cores that a workflow keeps busy at best: tasks of several cores leave gaps.
const BUSY: f64 = 0.8;
/// No task sleeps longer than this, in milliseconds.
pub(super) const TASK_MS_MAX: u64 = 20_000;

/// Seconds of the demo per recorded second, for nodes with `cpu_milli` in total.
///
/// Both bounds of a schedule count: the longest chain, and all the work over all the cores.
pub(super) fn scale(spec: &JobSpec, cpu_milli: u64) -> f64 {
    let chain = longest_chain_s(spec);
    let work: f64 = spec.tasks.iter().map(|task| seconds(task) * cores(task.resources.cpu_milli)).sum();
    let length = chain.max(work / (cores(cpu_milli) * BUSY));
    if length > 0.0 { CHAIN_S / length } else { 1.0 }
}

/// The recorded time of the longest chain of needs.
fn longest_chain_s(spec: &JobSpec) -> f64 {
    let positions: BTreeMap<&str, usize> =
        spec.tasks.iter().enumerate().map(|(position, task)| (task.name.as_str(), position)).collect();
    let mut ends: Vec<Option<f64>> = vec![None; spec.tasks.len()];
    let mut stack: Vec<usize> = (0..spec.tasks.len()).collect();
    // Depth first without recursion: a chain may be as long as the file.
    while let Some(position) = stack.pop() {
        if ends[position].is_some() {
            continue;
        }
        let task = &spec.tasks[position];
        let needs: Vec<usize> = task.needs.iter().filter_map(|need| positions.get(need.as_str()).copied()).collect();
        let open: Vec<usize> = needs.iter().copied().filter(|need| ends[*need].is_none()).collect();
        if open.is_empty() {
            let start = needs.iter().filter_map(|need| ends[*need]).fold(0.0, f64::max);
            ends[position] = Some(start + seconds(task));
        } else {
            stack.push(position);
            stack.extend(open);
        }
    }
    ends.into_iter().flatten().fold(0.0, f64::max)
}

/// How long an imported task sleeps.
fn seconds(task: &TaskSpec) -> f64 {
    task.argv.last().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}

fn cores(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use quorate_client::wfformat;

    use super::*;

    fn recorded() -> JobSpec {
        let namespace = quorate_state::Namespace::new("default").unwrap();
        wfformat::import(super::super::WORKFLOW, &wfformat::ImportOptions::new(namespace)).unwrap().spec
    }

    #[test]
    fn the_demos_workflow_is_a_valid_job_of_several_levels() {
        let spec = recorded();
        assert!((40..=60).contains(&spec.tasks.len()), "{}", spec.tasks.len());
        assert!(spec.tasks.iter().filter(|task| task.needs.is_empty()).count() >= 2);
        assert!(longest_chain_s(&spec) > 100.0);
    }

    #[test]
    fn the_longest_chain_is_scaled_to_the_demos_time() {
        let spec = recorded();
        let chain = longest_chain_s(&spec) * scale(&spec, 1_000_000_000);
        assert!((chain - CHAIN_S).abs() < 0.01, "{chain}");
    }

    #[test]
    fn few_cores_make_the_work_the_bound() {
        let spec = recorded();
        assert!(scale(&spec, 1000) < scale(&spec, 32_000));
    }

    #[test]
    fn a_workflow_without_times_is_left_alone() {
        let mut spec = recorded();
        for task in &mut spec.tasks {
            task.argv = vec!["sleep".to_owned(), "0.000".to_owned()];
        }
        assert!((scale(&spec, 32_000) - 1.0).abs() < f64::EPSILON);
    }
}

//! Large workflows, made of nothing but their shape, their size and a seed.
//!
//! Their commands are for agents whose processes answer: the second word is the task's result.

use std::collections::BTreeSet;

use prost::Message as _;
use quorate_proto::v1;
use serde::Serialize;

use crate::Error;
use crate::dice::Dice;
use crate::jobs::{job_of, task};

/// Steps of one job: the product's `steps_max`.
const STEPS_MAX: u32 = 50_000;
/// Tasks of one run: the product's `tasks_per_run_max`.
const TASKS_PER_RUN_MAX: u32 = 2_000_000;
/// What one task takes: little, so that very many fit on a few agents.
const TASK_RESOURCES: v1::Resources = v1::Resources { cpu_milli: 10, memory_bytes: 1 << 20, gpu_milli: 0 };
/// One task of the graph in so many is told the result of one that it needs.
const ONE_IN_IS_TOLD: u64 = 4;
/// Most tasks that one of the graph needs, where there are as many before it; one less is the least.
const NEEDS_MAX: usize = 3;

/// What a workflow looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One task finds out a number, one runs for each up to it, one comes behind them all.
    FanOut,
    /// One task with a count.
    Array,
    /// As many tasks, in layers, each of which needs two or three of the layer before.
    Dag,
}

impl Shape {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Array => "array",
            Self::Dag => "dag",
        }
    }

    /// The size at which it is measured.
    pub fn size_usual(self) -> u32 {
        match self {
            Self::FanOut => 100_000,
            Self::Array => 1_000_000,
            Self::Dag => STEPS_MAX,
        }
    }

    /// All tasks of such a workflow, elements included.
    pub(super) fn tasks(self, size: u32) -> u32 {
        match self {
            Self::FanOut => size.saturating_add(2),
            Self::Array | Self::Dag => size,
        }
    }

    /// Its largest step; none: they are all alike.
    pub(super) fn large_step(self) -> Option<&'static str> {
        match self {
            Self::FanOut => Some(FAN),
            Self::Array => Some(ALL),
            Self::Dag => None,
        }
    }

    /// Refuses a size that the product would refuse, and says which one it takes.
    pub(super) fn check(self, size: u32) -> Result<(), Error> {
        let (most, limit) = match self {
            Self::FanOut => (TASKS_PER_RUN_MAX - 2, "tasks_per_run_max without the two tasks around the fan-out"),
            Self::Array => (TASKS_PER_RUN_MAX, "tasks_per_run_max"),
            Self::Dag => (STEPS_MAX, "steps_max"),
        };
        if (1..=most).contains(&size) {
            return Ok(());
        }
        let name = self.name();
        Err(Error::Option(format!("size: {size} is not between 1 and {most}, the {limit}, for --shape {name}")))
    }

    /// The job, the same for the same size and seed.
    pub(super) fn job(self, size: u32, seed: u64) -> v1::JobSpec {
        let tasks = match self {
            Self::FanOut => fan_out(size),
            Self::Array => vec![answering(ALL.to_owned(), &["1"], Vec::new(), size)],
            Self::Dag => dag(size, seed),
        };
        job_of(format!("bench-{}", self.name()), tasks)
    }
}

/// Bytes of a job on the wire.
pub(super) fn bytes(job: &v1::JobSpec) -> usize {
    job.encoded_len()
}

const ALL: &str = "all";
const FAN: &str = "fan";
const SPLIT: &str = "split";

fn fan_out(size: u32) -> Vec<v1::TaskSpec> {
    let split = answering(SPLIT.to_owned(), &[format!("{{\"n\":{size}}}")], Vec::new(), 1);
    let mut fan = answering(FAN.to_owned(), &["${each}"], vec![SPLIT.to_owned()], 1);
    let over = format!("${{{SPLIT}.result.n}}");
    fan.each = Some(v1::Each { each: Some(v1::each::Each::Result(over)) });
    vec![split, fan, answering("join".to_owned(), &["true"], vec![FAN.to_owned()], 1)]
}

/// In layers of about the same number of tasks as there are layers.
fn dag(size: u32, seed: u64) -> Vec<v1::TaskSpec> {
    let width = size.isqrt().max(1);
    let mut dice = Dice(seed);
    let name = |number: u32| format!("t{number}");
    let one = |number: u32| {
        let layer = number / width;
        if layer == 0 {
            return answering(name(number), &[number.to_string()], Vec::new(), 1);
        }
        let wanted = NEEDS_MAX - dice.below(2) as usize;
        let before = (layer - 1) * width..layer * width;
        let mut needs = BTreeSet::new();
        while needs.len() < wanted.min(width as usize) {
            needs.insert(before.start + dice.below(u64::from(width)) as u32);
        }
        let needs: Vec<String> = needs.into_iter().map(name).collect();
        let mut words = vec![number.to_string()];
        if dice.below(ONE_IN_IS_TOLD) == 0 {
            let told = &needs[dice.below(needs.len() as u64) as usize];
            words.push(format!("${{{told}.result}}"));
        }
        answering(name(number), &words, needs, 1)
    };
    (0..size).map(one).collect()
}

/// A task whose result is the first of these words.
fn answering(name: String, words: &[impl AsRef<str>], needs: Vec<String>, count: u32) -> v1::TaskSpec {
    let words = words.iter().map(|word| word.as_ref().to_owned());
    let argv: Vec<String> = std::iter::once("answer".to_owned()).chain(words).collect();
    let templated = argv.iter().any(|word| word.contains("${"));
    let task = task(name, v1::Driver::Process, argv, count, TASK_RESOURCES);
    v1::TaskSpec { needs, templated, ..task }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product's `entry_bytes_max`: a submit is one entry of the log, and nearly the same on the wire.
    const ENTRY_BYTES_MAX: usize = 8 << 20;

    #[test]
    fn a_fan_out_goes_over_the_number_that_its_first_task_answers() {
        let job = Shape::FanOut.job(100_000, 1);
        let names: Vec<&str> = job.tasks.iter().map(|task| &*task.name).collect();
        assert_eq!(names, ["split", "fan", "join"]);
        assert_eq!(job.tasks[0].argv, ["answer", "{\"n\":100000}"]);
        let over = v1::each::Each::Result("${split.result.n}".into());
        assert_eq!(job.tasks[1].each.clone().unwrap().each, Some(over));
        let templated: Vec<bool> = job.tasks.iter().map(|task| task.templated).collect();
        assert_eq!(templated, [false, true, false]);
        assert_eq!((&*job.tasks[1].needs, &*job.tasks[2].needs), (&["split".to_owned()][..], &["fan".to_owned()][..]));
        assert_eq!(Shape::FanOut.tasks(100_000), 100_002);
    }

    #[test]
    fn an_array_is_one_task_with_a_count() {
        let job = Shape::Array.job(1_000_000, 1);
        assert_eq!((job.tasks.len(), job.tasks[0].count), (1, 1_000_000));
        assert!(!job.tasks[0].templated && job.tasks[0].each.is_none());
        assert!(bytes(&job) < 200);
    }

    #[test]
    fn a_graph_has_layers_and_names_results_of_needs_only() {
        let job = Shape::Dag.job(10_000, 7);
        assert_eq!(job.tasks.len(), 10_000);
        let number = |name: &str| name[1..].parse::<u32>().unwrap();
        let mut told = 0;
        for (at, task) in (0_u32..).zip(&job.tasks) {
            assert_eq!(number(&task.name), at);
            let layer = at / 100;
            assert_eq!(task.needs.is_empty(), layer == 0, "{at}");
            assert!(layer == 0 || (2..=3).contains(&task.needs.len()), "{at}");
            assert!(task.needs.iter().all(|need| number(need) / 100 + 1 == layer), "{at}");
            let references: Vec<&String> = task.argv.iter().filter(|word| word.contains("${")).collect();
            assert_eq!(task.templated, !references.is_empty());
            told += references.len();
            for reference in references {
                let named = reference.strip_prefix("${").unwrap().strip_suffix(".result}").unwrap();
                assert!(task.needs.iter().any(|need| need == named), "{at}");
            }
        }
        assert!((2_000..3_000).contains(&told), "{told}");
    }

    #[test]
    fn a_graph_follows_from_its_seed() {
        assert_eq!(Shape::Dag.job(1_000, 7), Shape::Dag.job(1_000, 7));
        assert_ne!(Shape::Dag.job(1_000, 7), Shape::Dag.job(1_000, 8));
    }

    #[test]
    fn graphs_of_a_few_tasks_end_too() {
        for size in 1..=10 {
            assert_eq!(Shape::Dag.job(size, 3).tasks.len(), size as usize);
        }
    }

    #[test]
    fn the_largest_graph_fits_into_an_entry() {
        let bytes = bytes(&Shape::Dag.job(STEPS_MAX, 1));
        assert!((3 << 20..ENTRY_BYTES_MAX).contains(&bytes), "{bytes}");
    }

    #[test]
    fn sizes_that_the_product_refuses_are_refused_with_its_limit() {
        for shape in [Shape::FanOut, Shape::Array, Shape::Dag] {
            shape.check(shape.size_usual()).unwrap();
            assert!(shape.check(0).is_err());
        }
        for (shape, size, limit) in [
            (Shape::FanOut, 1_999_999, "1999998, the tasks_per_run_max"),
            (Shape::Array, 2_000_001, "2000000, the tasks_per_run_max"),
            (Shape::Dag, 50_001, "50000, the steps_max, for --shape dag"),
        ] {
            let Err(Error::Option(why)) = shape.check(size) else { panic!("{shape:?} {size}") };
            assert!(why.contains(limit), "{why}");
        }
    }
}

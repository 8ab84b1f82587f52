//! In what order tasks come, and how many: as the trace's own simulator does it.

use quorate_scheduler::placement::pack::Want;

use crate::dice::Dice;

/// All tasks of the trace in an order that the seed decides, and then more of them, drawn with replacement, until one
/// more would take all together past this many thousandths of a device.
pub(super) fn arrivals(wants: &[Want], seed: u64, gpu_milli_max: u64) -> Vec<Want> {
    let mut dice = Dice(seed);
    let mut come = wants.to_vec();
    for last in (1..come.len()).rev() {
        let other = dice.below(last as u64 + 1) as usize;
        come.swap(last, other);
    }
    let mut total: u64 = come.iter().map(|want| want.gpu.milli()).sum();
    // Some task takes a GPU, so that this ends.
    while let Some(want) = wants.get(dice.below(wants.len() as u64) as usize) {
        total += want.gpu.milli();
        if total > gpu_milli_max {
            break;
        }
        come.push(*want);
    }
    come
}

#[cfg(test)]
mod tests {
    use quorate_scheduler::placement::pack::{GpuWant, Models};

    use super::*;

    #[test]
    fn all_tasks_come_and_then_more_up_to_the_limit() {
        let want = |share| Want { cpu_milli: 0, memory_bytes: 0, gpu: GpuWant::Share(share), models: Models::ANY };
        let wants: Vec<Want> = (1..=100).map(want).collect();
        let come = arrivals(&wants, 3, 10_000);
        assert_eq!(come, arrivals(&wants, 3, 10_000));
        assert_ne!(come, arrivals(&wants, 4, 10_000));
        let mut first = come[..100].to_vec();
        first.sort_unstable();
        assert_eq!(first, wants);
        let total: u64 = come.iter().map(|want| want.gpu.milli()).sum();
        assert!((9_900..=10_000).contains(&total), "{total}");
        assert_eq!(arrivals(&wants, 3, 0).len(), 100);
    }
}

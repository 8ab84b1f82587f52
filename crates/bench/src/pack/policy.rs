//! What Quorate's packing is compared with: the policies of the published table, with a cache of scores each.
//!
//! As in the paper ("Beware of Fragmentation", USENIX ATC '23) and its simulator, scores are cut to whole numbers from 0
//! to 100 and the node whose name comes first wins among equal ones, by which much of these policies' quality comes
//! about. Random is the exception.

use std::collections::BTreeMap;

use quorate_scheduler::placement::pack::{GpuHold, GpuWant, Room, WHOLE, Want};

use crate::dice::Dice;

/// The largest node of the trace, by which amounts are made comparable.
const CPU_MILLI_MOST: f64 = 128_000.0;
const GPU_MILLI_MOST: f64 = 8_000.0;

/// Of a hundred tasks, this many have one of the shapes that FGD goes by.
const COVERED_PERCENT: usize = 95;

/// How a node is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Where least is left of CPU and GPU together.
    BestFit,
    /// Where free capacity that typical tasks cannot use grows least.
    Fgd,
    /// Where what is free and what is wanted are least alike, both as vectors.
    DotProduct,
    /// Anywhere.
    Random,
}

/// Nodes, and the scores of each shape on them.
pub(super) struct Compared {
    rule: Rule,
    rooms: Vec<Room>,
    typical: Vec<(Want, f64)>,
    dice: Dice,
    scores: BTreeMap<Want, Known>,
    changes: Vec<usize>,
}

/// Scores of one shape, node by node, and how many changes are in them.
struct Known {
    scores: Vec<Option<f64>>,
    seen: usize,
}

impl Compared {
    pub(super) fn new(rule: Rule, rooms: &[Room], wants: &[Want], seed: u64) -> Self {
        let (rooms, dice) = (rooms.to_vec(), Dice(!seed));
        let (scores, changes) = (BTreeMap::new(), Vec::new());
        Self { rule, rooms, typical: typical(wants), dice, scores, changes }
    }

    /// Gives a task a node and devices, if it fits on any.
    pub(super) fn place(&mut self, want: &Want) -> Option<(usize, GpuHold)> {
        let Self { rule, rooms, typical, dice, scores, changes } = self;
        let score = |room: &Room| look(*rule, typical, room, want).map(|(score, _)| score);
        let known = scores
            .entry(*want)
            .or_insert_with(|| Known { scores: rooms.iter().map(score).collect(), seen: changes.len() });
        let mut changed = changes.get(known.seen..).unwrap_or_default().to_vec();
        changed.sort_unstable();
        changed.dedup();
        for node in changed {
            if let (Some(entry), Some(room)) = (known.scores.get_mut(node), rooms.get(node)) {
                *entry = score(room);
            }
        }
        known.seen = changes.len();
        let node = match rule {
            Rule::Random => any(&known.scores, dice),
            Rule::BestFit | Rule::Fgd | Rule::DotProduct => best(&known.scores),
        }?;
        let room = rooms.get_mut(node)?;
        let hold = match (*rule, want.gpu) {
            (Rule::Random, GpuWant::Share(milli)) => {
                let fitting: Vec<Option<f64>> =
                    room.devices().iter().map(|free| (*free >= milli).then_some(0.0)).collect();
                GpuHold { devices: 1 << any(&fitting, dice)?, milli }
            }
            _ => look(*rule, typical, room, want)?.1,
        };
        *room = room.without(want, hold)?;
        changes.push(node);
        Some((node, hold))
    }
}

/// The first node with the highest score.
fn best(scores: &[Option<f64>]) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (node, score) in scores.iter().enumerate() {
        if let Some(score) = *score
            && best.is_none_or(|(most, _)| score > most)
        {
            best = Some((score, node));
        }
    }
    best.map(|(_, node)| node)
}

/// Any with a score.
fn any(scores: &[Option<f64>], dice: &mut Dice) -> Option<usize> {
    let fitting = || scores.iter().enumerate().filter(|(_, score)| score.is_some()).map(|(at, _)| at);
    let count = fitting().count() as u64;
    if count == 0 { None } else { fitting().nth(dice.below(count) as usize) }
}

/// The score of a node, and what the task would hold there, if it fits.
fn look(rule: Rule, typical: &[(Want, f64)], room: &Room, want: &Want) -> Option<(f64, GpuHold)> {
    if !room.fits(want) {
        return None;
    }
    let parts = |room: &Room| (room.cpu_milli as f64 / CPU_MILLI_MOST, room.gpu_milli() as f64 / GPU_MILLI_MOST);
    let hold = fullest(room, want);
    match rule {
        Rule::Random => Some((0.0, hold)),
        Rule::BestFit => {
            let (cpu, gpu) = parts(&room.without(want, hold)?);
            Some((((1.0 - f64::midpoint(cpu, gpu)) * 100.0).floor(), hold))
        }
        Rule::DotProduct => {
            let (cpu, gpu) = parts(room);
            let (cpu_want, gpu_want) =
                (want.cpu_milli as f64 / CPU_MILLI_MOST, want.gpu.milli() as f64 / GPU_MILLI_MOST);
            Some((((1.0 - f64::midpoint(cpu * cpu_want, gpu * gpu_want)) * 100.0).floor(), hold))
        }
        Rule::Fgd => {
            let before = fragment(typical, room);
            let score = |hold| {
                let gain = before - fragment(typical, &room.without(want, hold)?);
                Some((100.0 / (1.0 + (-gain / 1_000.0).exp())).floor())
            };
            let GpuWant::Share(milli) = want.gpu else { return Some((score(hold)?, hold)) };
            let mut best: Option<(f64, GpuHold)> = None;
            for (number, _) in room.devices().iter().enumerate().filter(|(_, free)| **free >= milli) {
                let hold = GpuHold { devices: 1 << number, milli };
                let score = score(hold)?;
                if best.is_none_or(|(most, _)| score > most) {
                    best = Some((score, hold));
                }
            }
            best
        }
    }
}

/// Whole devices from the first on, or the one with the least room that is enough. The task fits.
fn fullest(room: &Room, want: &Want) -> GpuHold {
    let numbered = room.devices().iter().enumerate();
    match want.gpu {
        GpuWant::None => GpuHold::default(),
        GpuWant::Share(milli) => {
            let least = numbered.filter(|(_, free)| **free >= milli).min_by_key(|(_, free)| **free);
            GpuHold { devices: least.map_or(0, |(number, _)| 1 << number), milli }
        }
        GpuWant::Whole(count) => {
            let whole = numbered.filter(|(_, free)| **free == WHOLE).take(usize::from(count));
            GpuHold { devices: whole.fold(0, |set, (number, _)| set | 1 << number), milli: WHOLE }
        }
    }
}

/// Free thousandths of the node's devices that the next task cannot use, in expectation over the typical shapes.
fn fragment(typical: &[(Want, f64)], room: &Room) -> f64 {
    let free = room.gpu_milli();
    if free == 0 {
        return 0.0;
    }
    let unusable = |want: &Want| {
        let least = match want.gpu {
            GpuWant::Share(milli) => milli,
            GpuWant::Whole(_) => WHOLE,
            GpuWant::None => return free,
        };
        if !room.fits(want) {
            return free;
        }
        room.devices().iter().filter(|free| **free < least).copied().map(u64::from).sum()
    };
    typical.iter().map(|(want, share)| share * unusable(want) as f64).sum()
}

/// The most frequent shapes, tasks without GPUs included, and the share of the tasks that each has.
fn typical(wants: &[Want]) -> Vec<(Want, f64)> {
    let mut counts: BTreeMap<Want, usize> = BTreeMap::new();
    for want in wants {
        *counts.entry(*want).or_default() += 1;
    }
    let mut counted: Vec<(Want, usize)> = counts.into_iter().collect();
    counted.sort_by_key(|(want, count)| (std::cmp::Reverse(*count), *want));
    let mut covered = 0;
    counted.retain(|(_, count)| {
        let is_needed = covered * 100 < wants.len() * COVERED_PERCENT;
        covered += count;
        is_needed
    });
    let total: usize = counted.iter().map(|(_, count)| count).sum();
    counted.into_iter().map(|(want, count)| (want, count as f64 / total as f64)).collect()
}

#[cfg(test)]
mod tests {
    use quorate_scheduler::placement::pack::Models;

    use super::*;

    fn want(cpu_milli: u64, gpu: GpuWant) -> Want {
        Want { cpu_milli, memory_bytes: 0, gpu, models: Models::ANY }
    }

    fn room(cpu_milli: u64, devices: &[u16]) -> Room {
        Room::new(cpu_milli, 0, 0, devices).unwrap()
    }

    #[test]
    fn a_fragment_is_what_typical_tasks_cannot_use() {
        let typical =
            [(want(1, GpuWant::Share(500)), 0.5), (want(1, GpuWant::Whole(2)), 0.25), (want(1, GpuWant::None), 0.25)];
        assert_eq!(fragment(&typical, &room(9, &[400, 1_000, 1_000])), 0.75 * 400.0 + 0.25 * 2_400.0);
        assert_eq!(fragment(&typical, &room(9, &[400, 1_000, 0])), 0.5 * 400.0 + 0.5 * 1_400.0);
        assert_eq!(fragment(&typical, &room(0, &[1_000])), 1_000.0);
    }

    #[test]
    fn each_rule_chooses_its_node() {
        let rooms = [room(128_000, &[1_000; 8]), room(64_000, &[1_000; 2]), room(64_000, &[500, 1_000])];
        let wants = [want(1_000, GpuWant::Share(500)), want(1_000, GpuWant::Whole(1))];
        for (rule, node, devices) in [(Rule::BestFit, 2, 1), (Rule::Fgd, 2, 1), (Rule::DotProduct, 1, 1)] {
            let placed = Compared::new(rule, &rooms, &wants, 0).place(&wants[0]).unwrap();
            assert_eq!(placed, (node, GpuHold { devices, milli: 500 }), "{rule:?}");
        }
    }

    #[test]
    fn whatever_the_rule_what_fits_is_placed() {
        for rule in [Rule::BestFit, Rule::Fgd, Rule::DotProduct, Rule::Random] {
            let mut compared = Compared::new(rule, &[room(9, &[1_000, 500]), room(9, &[1_000])], &[], 1);
            let share = want(1, GpuWant::Share(500));
            for _ in 0..5 {
                assert!(compared.place(&share).is_some(), "{rule:?}");
            }
            assert_eq!(compared.place(&share), None, "{rule:?}");
        }
    }
}

//! Which part of which device of its node every attempt holds.

use std::collections::BTreeMap;

use quorate_state::{AttemptId, GpuHold, GpuModel};

use crate::oracles::history::Takes;

/// A whole device, in thousandths.
const WHOLE: u64 = 1_000;

/// The devices of one node, and who holds what of them.
#[derive(Clone, Default)]
pub(super) struct Devices {
    /// What the node says that they are, by position.
    models: Vec<GpuModel>,
    holds: BTreeMap<AttemptId, GpuHold>,
}

impl Devices {
    /// The node says that it has these now.
    pub(super) fn are(&mut self, models: &[GpuModel]) {
        self.models = models.to_vec();
    }

    /// An attempt is given a hold: says what is wrong with it, if anything is.
    pub(super) fn give(&mut self, attempt: AttemptId, hold: GpuHold, task: &Takes<'_>) -> Result<(), String> {
        let GpuHold { devices, milli } = hold;
        let (count, milli) = (u64::from(devices.count_ones()), u64::from(milli));
        let wants = task.resources.gpu_milli;
        let is_share = !wants.is_multiple_of(WHOLE);
        if count * milli != wants || count > 0 && (milli < WHOLE) != is_share || is_share && count != 1 {
            return Err(format!("holds {hold:?}, its job says {wants} thousandths"));
        }
        for position in positions(hold) {
            let Some(model) = self.models.get(position) else {
                return Err(format!("holds device {position} of {}", self.models.len()));
            };
            if !task.gpu_models.is_empty() && !task.gpu_models.contains(model) {
                return Err(format!("holds a device of model {model}, its job allows {:?}", task.gpu_models));
            }
        }
        self.holds.insert(attempt, hold);
        over(self.holds.values()).map_or(Ok(()), |(position, milli)| {
            Err(format!("takes device {position} to {milli} thousandths: {:?}", self.holds))
        })
    }

    /// It holds nothing any more.
    pub(super) fn take_back(&mut self, attempt: AttemptId) {
        self.holds.remove(&attempt);
    }
}

/// A device of which more is held than there is, and how much.
pub(super) fn over<'a>(holds: impl IntoIterator<Item = &'a GpuHold>) -> Option<(usize, u64)> {
    let mut taken: BTreeMap<usize, u64> = BTreeMap::new();
    for hold in holds {
        for position in positions(*hold) {
            *taken.entry(position).or_default() += u64::from(hold.milli);
        }
    }
    taken.into_iter().find(|(_, milli)| *milli > WHOLE)
}

fn positions(hold: GpuHold) -> impl Iterator<Item = usize> {
    (0..64).filter(move |position| hold.devices >> position & 1 == 1)
}

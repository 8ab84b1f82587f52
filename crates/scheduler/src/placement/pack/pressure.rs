//! How much more a model of GPUs is asked for than others.
//!
//! The outlook of a node looks at that node alone: what comes to it fills it, whether or not others could have taken the
//! same. So it does not see that a task which any model will do for should leave alone the one that many others need.

use super::mix::{LINES, Mix};
use super::room::{DEVICES_MAX, MODELS_MAX, Room, WHOLE};

/// The pressure on a model that is asked for as much as all of them on average.
const EVEN: u64 = 1_024;

/// A pressure above this counts as this.
const PRESSURE_MAX: u64 = 4 * EVEN;

/// A GPU taken under a pressure that is higher by [`EVEN`] is as bad as three quarters of a GPU that stays idle. With less, models
/// run out that others need; with more, cores run out on the nodes that are left.
const WEIGHT: (u64, u64) = (3, 4);

/// The most that any hold is charged.
pub(super) const CHARGE_MAX: u64 =
    DEVICES_MAX as u64 * WHOLE as u64 * LINES as u64 * PRESSURE_MAX * WEIGHT.0 / (EVEN * WEIGHT.1);

/// Pressures by model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pressures([u64; MODELS_MAX]);

impl Pressures {
    /// Of a mix on these nodes, whatever is free of them: every shape asks all models that will do for it in
    /// proportion to how many devices there are of each.
    pub(super) fn of<'a>(mix: &Mix, rooms: impl Iterator<Item = &'a Room>) -> Self {
        let mut devices = [0_u128; MODELS_MAX];
        for room in rooms {
            if let Some(count) = devices.get_mut(usize::from(room.model)) {
                *count += room.devices().len() as u128;
            }
        }
        let all: u128 = devices.iter().sum();
        let numbered = || devices.iter().zip(0_u8..);
        let mut asked = [0_u128; MODELS_MAX];
        let mut total = 0_u128;
        for (want, weight) in mix.shapes() {
            let milli = u128::from(*weight) * u128::from(want.gpu.milli());
            let will_do: u128 =
                numbered().filter(|(_, model)| want.models.contain(*model)).map(|(count, _)| count).sum();
            total += milli;
            if will_do == 0 {
                continue;
            }
            let part = milli * all * u128::from(EVEN) / will_do;
            for (asked, _) in asked.iter_mut().zip(0_u8..).filter(|(_, model)| want.models.contain(*model)) {
                *asked += part;
            }
        }
        let most = u128::from(PRESSURE_MAX);
        Self(asked.map(|asked| u64::try_from((asked / total.max(1)).min(most)).unwrap_or(PRESSURE_MAX)))
    }

    /// What a hold of so many thousandths of this model's devices is charged, in the unit of the outlook.
    pub(super) fn charge(&self, model: u8, milli: u64) -> u64 {
        let pressure = self.0.get(usize::from(model)).copied().unwrap_or(EVEN);
        milli * LINES as u64 * pressure * WEIGHT.0 / (EVEN * WEIGHT.1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GpuWant, Models, Want};
    use super::*;

    #[test]
    fn a_model_that_more_ask_for_than_for_others_is_charged_more() {
        let want = |models| Want { cpu_milli: 1, memory_bytes: 0, gpu: GpuWant::Whole(1), models };
        let rooms =
            [(0, 8), (1, 2), (2, 6)].map(|(model, devices)| Room::new(1, 1, model, &vec![WHOLE; devices]).unwrap());
        let of = |mix: &[(Want, u64)]| Pressures::of(&Mix::of(mix.iter().copied()), rooms.iter()).0[..3].to_vec();
        let (any, one) = (want(Models::ANY), want(Models::NONE.with(1)));
        assert_eq!(of(&[(any, 7)]), [EVEN; 3]);
        assert_eq!(of(&[]), [0; 3]);
        // Half of all ask for an eighth of the devices alone.
        assert_eq!(of(&[(any, 5), (one, 5)]), [EVEN / 2, PRESSURE_MAX, EVEN / 2]);
        assert_eq!(of(&[(any, 9), (one, 1)]), [EVEN * 9 / 10, EVEN * 17 / 10, EVEN * 9 / 10]);
        let none = want(Models::NONE.with(9));
        assert_eq!(of(&[(any, 9), (none, 1)]), [EVEN * 9 / 10; 3]);
    }

    #[test]
    fn no_charge_is_above_the_largest() {
        let most = Pressures([PRESSURE_MAX; MODELS_MAX]);
        assert_eq!(most.charge(0, DEVICES_MAX as u64 * u64::from(WHOLE)), CHARGE_MAX);
        assert_eq!(most.charge(64, 0), 0);
    }
}

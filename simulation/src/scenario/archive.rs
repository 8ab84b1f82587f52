//! How many runs that have ended stay in memory, drawn apart from all else: in some seeds very few.

use super::{Class, Kind, Scenario};
use crate::seeded::Stream;

/// Seeds out of a hundred in which runs leave memory.
const PERCENT: u64 = 40;
/// How many of those that have ended stay.
const STAY: (u64, u64) = (0, 6);

/// Says how many.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_drawn = dice.chance(PERCENT);
    let stay = dice.within(STAY.0, STAY.1);
    // Another life of the data begins with what is in memory; and of older replicas none can know the limit.
    let is_other = scenario.kind == Kind::Restore || scenario.classes.contains(&Class::Upgrade);
    scenario.settings.memory_runs_max = Some(stay).filter(|_| is_drawn && !is_other);
}

#[cfg(test)]
mod tests {
    use crate::scenario::draw::draw as expand;

    #[test]
    fn runs_leave_memory_in_a_part_of_the_seeds() {
        let having = (0..100).filter(|seed| expand(*seed).settings.memory_runs_max.is_some()).count();
        assert!((20..60).contains(&having), "{having}");
    }
}

//! A session that reads lists page by page to their end, drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, OperationPlan, Scenario, SessionPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have it.
const PERCENT: u64 = 25;
/// Between the beginnings of two lists.
const EVERY_MS: (u64, u64) = (1_000, 4_000);
/// Rows on a page: few, so that there are several, and the list changes in between.
const ROWS: (u64, u64) = (1, 12);
/// The last list is of a cluster that has healed.
const LAST_AFTER_HEAL_MS: u64 = 1_000;

/// What can be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Listing {
    Runs,
    Tasks { job: String },
    Attempts { job: String },
}

impl Listing {
    /// The job whose run it is about.
    pub(crate) fn job(&self) -> Option<&str> {
        match self {
            Self::Runs => None,
            Self::Tasks { job } | Self::Attempts { job } => Some(job),
        }
    }
}

/// Adds the session.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    if !dice.chance(PERCENT) {
        return;
    }
    let submits = scenario.sessions.iter().flat_map(|session| &session.steps);
    let submits: Vec<(u64, String)> = submits
        .filter_map(|step| match &step.what {
            Ask::Submit(job) => Some((step.at_ms, job.name.clone())),
            _ => None,
        })
        .collect();
    let mut steps = vec![];
    let mut at_ms = SETTLED_MS + dice.within(EVERY_MS.0, EVERY_MS.1);
    while at_ms < scenario.heal_ms + LAST_AFTER_HEAL_MS {
        let known: Vec<&String> = submits.iter().filter(|(at, _)| *at < at_ms).map(|(_, job)| job).collect();
        let of = match dice.weighted(&[2, 1, 1]) {
            1 if !known.is_empty() => Listing::Tasks { job: (*dice.pick(&known)).clone() },
            2 if !known.is_empty() => Listing::Attempts { job: (*dice.pick(&known)).clone() },
            _ => Listing::Runs,
        };
        let size = u32::try_from(dice.within(ROWS.0, ROWS.1)).unwrap_or(1);
        steps.push(OperationPlan { at_ms, what: Ask::Pages { of, size } });
        at_ms += dice.within(EVERY_MS.0, EVERY_MS.1);
    }
    scenario.sessions.push(SessionPlan { host: 0, when: When::Always, steps });
}

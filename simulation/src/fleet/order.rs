//! What a worker is asked to run: one line of JSON, or just a seed's number.

use quorate_planted::Bug;
use serde::{Deserialize, Serialize};

use crate::scenario::{self, Scenario};

/// One line to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) story: Story,
    /// The planted bug's name.
    #[serde(default)]
    pub(crate) planted: Option<String>,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Story {
    /// What this seed expands to.
    Seed(u64),
    /// A scenario as it is.
    Scenario(Box<Scenario>),
}

impl Order {
    /// A seed, with a bug or without.
    pub(crate) fn seed_with(seed: u64, bug: Option<Bug>) -> Self {
        Self { story: Story::Seed(seed), planted: bug.map(|bug| bug.name().to_owned()) }
    }

    /// A scenario, with a bug or without.
    pub(crate) fn scenario_with(scenario: Scenario, bug: Option<Bug>) -> Self {
        Self { story: Story::Scenario(Box::new(scenario)), planted: bug.map(|bug| bug.name().to_owned()) }
    }

    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Result<Self, serde_json::Error> {
        match line.trim().parse() {
            Ok(seed) => Ok(Self { story: Story::Seed(seed), planted: None }),
            Err(_) => serde_json::from_str(line),
        }
    }

    /// The seed that hosts draw from.
    pub(crate) fn seed(&self) -> u64 {
        match &self.story {
            Story::Seed(seed) => *seed,
            Story::Scenario(scenario) => scenario.seed,
        }
    }
}

impl Story {
    /// Spelled out.
    pub(crate) fn scenario(self) -> Scenario {
        match self {
            Self::Seed(seed) => scenario::draw(seed),
            Self::Scenario(scenario) => *scenario,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;

    #[test]
    fn orders_survive_their_line() {
        let bug = Bug::ALL.first().copied();
        for order in [Order::seed_with(u64::MAX, None), Order::scenario_with(sample(), bug)] {
            let line = serde_json::to_string(&order).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(Order::parse(&line).unwrap(), order);
        }
        assert_eq!(Order::parse("7").unwrap(), Order::seed_with(7, None));
        assert!(Order::parse("seven").is_err());
    }
}

//! Ranges of seeds, written `1..200`: the last one is not in it.

use std::ops::Range;
use std::str::FromStr;

/// A range with at least one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(Range<u64>);

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SeedsError {
    /// It looks different.
    #[error("write a range of seeds as `1..200`, which ends with 199")]
    Form,
    /// There is nothing in it.
    #[error("there is no seed in it: the second number is not in the range and must be the larger one")]
    Empty,
}

impl Seeds {
    /// From the first to the one before the second.
    pub(crate) fn range(&self) -> Range<u64> {
        self.0.clone()
    }

    /// Just this one.
    pub(crate) fn one(seed: u64) -> Self {
        Self(seed..seed.saturating_add(1))
    }
}

impl FromStr for Seeds {
    type Err = SeedsError;

    fn from_str(text: &str) -> Result<Self, SeedsError> {
        let (from, to) = text.split_once("..").ok_or(SeedsError::Form)?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| SeedsError::Form);
        let range = number(from)?..number(to)?;
        if range.is_empty() { Err(SeedsError::Empty) } else { Ok(Self(range)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_its_second_number() {
        assert_eq!("1..200".parse::<Seeds>().unwrap().range(), 1..200);
        assert_eq!("7 .. 8".parse::<Seeds>().unwrap(), Seeds::one(7));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "7", "1..", "..7", "1-7", "1..=7", "a..b", "-1..7", "1..2..3"] {
            assert_eq!(text.parse::<Seeds>(), Err(SeedsError::Form), "{text}");
        }
        for text in ["7..7", "8..7"] {
            assert_eq!(text.parse::<Seeds>(), Err(SeedsError::Empty), "{text}");
        }
    }
}

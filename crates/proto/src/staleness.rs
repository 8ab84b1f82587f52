//! Stale reads on the wire: metadata of requests and answers, the same for every method that reads.
//!
//! A caller that can do with what one replica has sends `quorate-stale`: `any`, or the most milliseconds
//! that the answer may be behind. Who answers so says it in `quorate-stale-revision`, and how far behind
//! that is at most in `quorate-stale-age-ms`, which is missing when the replica cannot tell. An answer
//! without the first of these is not stale, whatever was asked.

use quorate_state::Revision;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// On a request.
pub const TOLERANCE_KEY: &str = "quorate-stale";
/// On an answer: the revision of the state that it shows.
pub const REVISION_KEY: &str = "quorate-stale-revision";
/// On an answer: milliseconds.
pub const AGE_KEY: &str = "quorate-stale-age-ms";

/// How stale the answer to a read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// However far behind.
    Any,
    /// Behind by at most so many milliseconds.
    AtMostMs(u64),
}

/// How stale the answer to a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// The revision of the state that it shows.
    pub revision: Revision,
    /// Everything that was committed longer ago than this is in it, in milliseconds; none when that
    /// cannot be told.
    pub age_ms: Option<u64>,
}

impl Tolerance {
    /// What a request asks for; none when it takes nothing stale.
    ///
    /// # Errors
    /// What is wrong with the value: nobody knows what it was to mean, so it must not be ignored.
    pub fn of(request: &MetadataMap) -> Result<Option<Self>, String> {
        let Some(value) = request.get(TOLERANCE_KEY) else { return Ok(None) };
        match value.to_str() {
            Ok("any") => Ok(Some(Self::Any)),
            Ok(text) => match text.parse() {
                Ok(most) => Ok(Some(Self::AtMostMs(most))),
                Err(_) => Err(format!("{text:?} is neither 'any' nor a number of milliseconds")),
            },
            Err(_) => Err("is no text: write 'any' or a number of milliseconds".into()),
        }
    }

    /// Asks for it.
    pub fn write(self, request: &mut MetadataMap) {
        match self {
            Self::Any => request.insert(TOLERANCE_KEY, MetadataValue::from_static("any")),
            Self::AtMostMs(most) => request.insert(TOLERANCE_KEY, most.into()),
        };
    }

    /// True when an answer that is behind by that much will do.
    pub fn accepts(self, age_ms: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::AtMostMs(most) => age_ms.is_some_and(|age| age <= most),
        }
    }
}

impl Staleness {
    /// What an answer says of itself; none when it is not stale.
    pub fn of(answer: &MetadataMap) -> Option<Self> {
        let number = |value: &MetadataValue<Ascii>| value.to_str().ok()?.parse().ok();
        let revision = answer.get(REVISION_KEY).and_then(number)?;
        Some(Self { revision: Revision(revision), age_ms: answer.get(AGE_KEY).and_then(number) })
    }

    /// Says it.
    pub fn write(self, answer: &mut MetadataMap) {
        answer.insert(REVISION_KEY, self.revision.0.into());
        if let Some(age) = self.age_ms {
            answer.insert(AGE_KEY, age.into());
        }
    }

    /// What holds for two answers together: the older revision, the greater age.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let age_ms = self.age_ms.zip(other.age_ms).map(|(one, other)| one.max(other));
        Self { revision: self.revision.min(other.revision), age_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_arrives() {
        for tolerance in [Tolerance::Any, Tolerance::AtMostMs(0), Tolerance::AtMostMs(5_000)] {
            let mut request = MetadataMap::new();
            tolerance.write(&mut request);
            assert_eq!(Tolerance::of(&request), Ok(Some(tolerance)));
        }
        assert_eq!(Tolerance::of(&MetadataMap::new()), Ok(None));
    }

    #[test]
    fn a_tolerance_that_nobody_understands_is_not_ignored() {
        let mut request = MetadataMap::new();
        request.insert(TOLERANCE_KEY, MetadataValue::from_static("5s"));
        assert!(Tolerance::of(&request).is_err());
    }

    #[test]
    fn what_is_answered_arrives_and_an_answer_without_it_is_not_stale() {
        for age_ms in [None, Some(0), Some(1_200)] {
            let staleness = Staleness { revision: Revision(7), age_ms };
            let mut answer = MetadataMap::new();
            staleness.write(&mut answer);
            assert_eq!(Staleness::of(&answer), Some(staleness));
        }
        assert_eq!(Staleness::of(&MetadataMap::new()), None);
    }

    #[test]
    fn an_age_that_is_not_known_may_be_any() {
        assert!(Tolerance::Any.accepts(None));
        assert!(!Tolerance::AtMostMs(u64::MAX).accepts(None));
        assert!(Tolerance::AtMostMs(5).accepts(Some(5)));
        assert!(!Tolerance::AtMostMs(5).accepts(Some(6)));
        let known = Staleness { revision: Revision(9), age_ms: Some(3) };
        let unknown = Staleness { revision: Revision(4), age_ms: None };
        assert_eq!(known.and(unknown), unknown);
        assert_eq!(known.and(Staleness { age_ms: Some(8), ..known }).age_ms, Some(8));
    }
}

//! Typed identifiers: a run id is never mistaken for a revision.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// No name is longer, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Why a text is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(String);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name, after checking that it has 1 to [`NAME_BYTES_MAX`] of the characters
            /// `A-Z a-z 0-9 . _ -` and starts with a letter or digit.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check_name(text, $noun)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}

names! {
    /// A tenant's key space; every job lives in one.
    Namespace "namespace";
    /// A job's name, unique in its namespace.
    JobName "job name";
    /// A task's name, unique in its job.
    TaskName "task name";
    /// A machine's name, unique in the whole control plane.
    NodeName "node name";
    /// A set of nodes that share capacity and a failure domain; unique over all regions.
    ClusterName "cluster name";
    /// A place that holds clusters.
    RegionName "region name";
    /// What an annotation of a run is called, unique in the run.
    AnnotationKey "annotation key";
    /// What went wrong, as a process calls it.
    ErrorType "error type";
    /// What a process calls data that it leaves behind, unique in the attempt.
    PayloadName "payload name";
    /// What a kind of GPU is called, such as `A100-80G`.
    GpuModel "GPU model";
    /// A set of nodes that take the tasks that ask for it alone.
    PoolName "pool name";
    /// What tasks share that others stay apart from, within their namespace.
    GroupName "group name";
    /// What nodes that are set aside for a time are asked for by; unique in the whole control plane.
    ReservationName "reservation name";
}

/// The pool of nodes that name none, and of tasks that ask for none.
const DEFAULT_POOL: &str = "default";

impl PoolName {
    /// True of the one that nodes are in that name none.
    pub fn is_default(&self) -> bool {
        self.as_str() == DEFAULT_POOL
    }
}

impl Default for PoolName {
    fn default() -> Self {
        Self(DEFAULT_POOL.into())
    }
}

impl GpuModel {
    /// Stands for a model that nobody names.
    pub fn unknown() -> Self {
        Self("unknown".into())
    }
}

fn check_name(text: &str, noun: &str) -> Result<(), IdError> {
    let complain = |why: String| Err(IdError(format!("{noun} {text:?} {why}")));
    if text.is_empty() {
        return complain("is empty".into());
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(IdError(format!("{noun} has {} bytes, NAME_BYTES_MAX is {NAME_BYTES_MAX}", text.len())));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
        return complain(format!("contains {bad:?}; letters, digits, '.', '_' and '-' are allowed"));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return complain("must start with a letter or digit".into());
    }
    Ok(())
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Base + index of an applied log entry: the version of the whole state.
    Revision(u64);
    /// The revision at which a node's lease was granted.
    Epoch(u64);
    /// The fencing token of an attempt: the revision of its placement. Later attempts of a task
    /// have larger tokens, so that whoever guards a resource can refuse a late writer.
    Token(u64);
}

/// One execution of a job: 64 random bits, written as 13 characters of Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RUN_ID_CHARS: u32 = 13;

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for position in (0..RUN_ID_CHARS).rev() {
            let digit = (u128::from(self.0) >> (position * 5)) & 31;
            write!(f, "{}", char::from(BASE32[digit as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || {
            IdError(format!("{text:?} is not a run id: {RUN_ID_CHARS} characters of 0-9 and a-z without i, l, o, u"))
        };
        if text.len() != RUN_ID_CHARS as usize {
            return Err(wrong());
        }
        let number = text.bytes().try_fold(0_u128, |number, byte| {
            let digit = BASE32.iter().position(|known| *known == byte.to_ascii_lowercase()).ok_or_else(wrong)?;
            Ok((number << 5) | digit as u128)
        })?;
        u64::try_from(number).map(Self).map_err(|_| wrong())
    }
}

/// A join token, as people and logs call it: the first 64 bits of the digest of its secret, written as 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinTokenId(pub u64);

impl JoinTokenId {
    /// The id of the token whose secret has this digest.
    pub fn of(digest: Digest) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = digest.0;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Display for JoinTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for JoinTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JoinTokenId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError(format!("{text:?} is not the id of a join token: 16 hexadecimal digits"));
        // The parser would take a sign.
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(wrong)
    }
}

/// One unit of a run: the step's position in the spec, and the index within its `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The run.
    pub run: RunId,
    /// Position of the task's spec in [`crate::JobSpec::tasks`].
    pub step: u32,
    /// 0 for a task without `count`; else 0 to count - 1.
    pub index: u32,
}

/// One try of a task; numbers start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// 1 for the first attempt.
    pub number: u32,
}

/// 128 random bits that name a store, an agent's data directory or a journal.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = |_| IdError(format!("{text:?} is not a uuid: 32 hexadecimal digits"));
        u128::from_str_radix(text, 16).map(Self).map_err(wrong)
    }
}

/// The identity of a cluster's data; a restore mints a new one.
pub type ClusterId = Uuid;

/// A digest, BLAKE3 or (of the secret of a join token) SHA-256, computed by whoever proposes: `state` only compares it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who asks: set by the connection layer, never by the caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(pub Arc<str>);

impl Principal {
    /// The caller of a listener without TLS.
    pub fn anonymous_local() -> Self {
        Self("anonymous-local".into())
    }

    /// The leader's own controllers.
    pub fn controller() -> Self {
        Self("controller".into())
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client calls one of its requests, so that a retry is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub Arc<str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_survive_a_round_trip_as_text() {
        for id in [0, 1, 31, 32, u64::MAX, 0x0123_4567_89ab_cdef] {
            let text = RunId(id).to_string();
            assert_eq!(text.len(), 13);
            assert_eq!(text.parse(), Ok(RunId(id)));
        }
    }

    #[test]
    fn a_text_that_is_no_run_id_is_refused() {
        for text in ["", "0", "00000000000000", "000000000000u", "zzzzzzzzzzzzz", "é000000000000"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_join_token_is_called_by_the_beginning_of_its_digest() {
        let mut digest = Digest([0xff; 32]);
        digest.0[..8].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 0xab]);
        let id = JoinTokenId::of(digest);
        assert_eq!(id.to_string(), "00010203040506ab");
        assert_eq!("00010203040506AB".parse(), Ok(id));
        for text in ["", "1", "+0010203040506ab", "00010203040506ag", "00010203040506ab0"] {
            assert!(text.parse::<JoinTokenId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_checked() {
        assert!(JobName::new("claims-nightly_2.0").is_ok());
        for bad in ["", "-a", ".a", "a b", "a/b", "a\0", "ä", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(JobName::new(bad).is_err(), "{bad:?}");
        }
    }
}

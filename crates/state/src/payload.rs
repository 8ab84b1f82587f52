//! Data that a task leaves where it lies: what is kept of it is where that is, how large it is, and by what it is recognised.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use crate::PayloadName;

/// Payloads of one attempt.
pub const PAYLOADS_MAX: usize = 64;
/// Bytes of one address.
pub const PAYLOAD_URI_BYTES_MAX: usize = 2_048;
/// Bytes of all payloads of one attempt together, as [`Payloads::bytes`] counts them: they travel in one entry.
pub const PAYLOADS_BYTES_MAX: usize = 16 * 1024;
/// What a payload counts for beside its name and its address: size and digest, and how they are written down.
const PAYLOAD_OVERHEAD_BYTES: usize = 64;

/// One piece of data that a task has left somewhere. Nobody here reads it, and nobody removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    uri: Arc<str>,
    /// Its bytes, if the task has said so.
    pub size: Option<u64>,
    /// What it is recognised by, if the task has said so.
    pub digest: Option<PayloadDigest>,
}

impl Payload {
    /// Data that lies at `uri`.
    ///
    /// # Errors
    /// The address is too long, has no scheme, nothing behind it, or a control character.
    pub fn new(uri: &str, size: Option<u64>, digest: Option<PayloadDigest>) -> Result<Self, PayloadError> {
        if uri.len() > PAYLOAD_URI_BYTES_MAX {
            return Err(PayloadError::UriTooLong { bytes: uri.len() });
        }
        let (scheme, rest) = uri.split_once(':').unwrap_or_default();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !is_scheme || rest.is_empty() || uri.chars().any(char::is_control) {
            return Err(PayloadError::Uri { uri: uri.into() });
        }
        Ok(Self { uri: uri.into(), size, digest })
    }

    /// Where it lies.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

/// What recognises data: the output of a hash function over its bytes, written as `sha256:` or `blake3:` and 64
/// hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadDigest {
    /// SHA-256.
    Sha256([u8; 32]),
    /// BLAKE3 with its usual 32 bytes.
    Blake3([u8; 32]),
}

impl PayloadDigest {
    /// The name of the function.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Blake3(_) => "blake3",
        }
    }

    /// What came out of the function.
    pub fn bytes(&self) -> &[u8; 32] {
        match self {
            Self::Sha256(bytes) | Self::Blake3(bytes) => bytes,
        }
    }
}

impl FromStr for PayloadDigest {
    type Err = PayloadError;

    fn from_str(text: &str) -> Result<Self, PayloadError> {
        let read = || {
            let (algorithm, hex) = text.split_once(':')?;
            let bytes = from_hex(hex)?;
            match algorithm {
                "sha256" => Some(Self::Sha256(bytes)),
                "blake3" => Some(Self::Blake3(bytes)),
                _ => None,
            }
        };
        read().ok_or_else(|| PayloadError::Digest { digest: text.into() })
    }
}

impl fmt::Display for PayloadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm())?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes of 64 hexadecimal digits.
fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The payloads of one attempt by name, within their bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payloads(BTreeMap<PayloadName, Payload>);

/// Those of an attempt that has left none.
static NONE: Payloads = Payloads(BTreeMap::new());

impl Payloads {
    /// None at all.
    pub fn none() -> &'static Self {
        &NONE
    }

    /// Adds one; it takes the place of another of its name.
    ///
    /// # Errors
    /// There would be more than [`PAYLOADS_MAX`], or they would count for more than [`PAYLOADS_BYTES_MAX`]. Nothing is
    /// changed then.
    pub fn put(&mut self, name: PayloadName, payload: Payload) -> Result<(), PayloadError> {
        let before = self.0.get(&name);
        if before.is_none() && self.0.len() >= PAYLOADS_MAX {
            return Err(PayloadError::TooMany);
        }
        let freed = before.map_or(0, |before| bytes_of(&name, before));
        let bytes = self.bytes().saturating_sub(freed) + bytes_of(&name, &payload);
        if bytes > PAYLOADS_BYTES_MAX {
            return Err(PayloadError::TooLarge { bytes });
        }
        self.0.insert(name, payload);
        Ok(())
    }

    /// The one of this name.
    pub fn get(&self, name: &PayloadName) -> Option<&Payload> {
        self.0.get(name)
    }

    /// All, in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&PayloadName, &Payload)> {
        self.0.iter()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they count for together: the bytes of names and addresses, and a fixed amount for each.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, payload)| bytes_of(name, payload)).sum()
    }

    /// As an attempt holds them, which keeps nothing where there are none.
    pub fn kept(self) -> Option<Arc<Self>> {
        (!self.is_empty()).then(|| Arc::new(self))
    }
}

fn bytes_of(name: &PayloadName, payload: &Payload) -> usize {
    name.as_str().len() + payload.uri.len() + PAYLOAD_OVERHEAD_BYTES
}

/// Why something is no payload, or one too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// No address.
    #[error(
        "{} is no uri: write a scheme, ':' and where the data lies, such as s3://bucket/key, without control characters",
        short(uri)
    )]
    Uri {
        /// As it was given.
        uri: String,
    },
    /// An address that is too long.
    #[error("a uri has {bytes} bytes, PAYLOAD_URI_BYTES_MAX is {PAYLOAD_URI_BYTES_MAX}")]
    UriTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// No digest.
    #[error("{} is no digest: write sha256: or blake3: and 64 hexadecimal digits", short(digest))]
    Digest {
        /// As it was given.
        digest: String,
    },
    /// More than an attempt may have.
    #[error(
        "one payload too many: PAYLOADS_MAX is {PAYLOADS_MAX}; put many files into one directory or archive and report that"
    )]
    TooMany,
    /// More than fits.
    #[error(
        "the payloads take {bytes} bytes together, PAYLOADS_BYTES_MAX is {PAYLOADS_BYTES_MAX}: report fewer of them, or shorter addresses"
    )]
    TooLarge {
        /// What they count for.
        bytes: usize,
    },
}

/// The beginning of a text in quotes, on one line.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut short = String::from("\"");
    for c in text.chars().take(CHARS_MAX) {
        let _ = write!(short, "{}", c.escape_debug());
    }
    short.push_str(if text.chars().nth(CHARS_MAX).is_some() { "…\"" } else { "\"" });
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> PayloadName {
        format!("p{number}").parse().unwrap()
    }

    fn at(uri: &str) -> Payload {
        Payload::new(uri, None, None).unwrap()
    }

    #[test]
    fn an_address_has_a_scheme_and_something_behind_it() {
        for uri in ["s3://bucket/key", "file:///a b/ä", "urn:x", "hdfs+x.y-z://a?b#c", "A:1"] {
            assert_eq!(at(uri).uri(), uri);
        }
        for uri in ["", "a", "/a/b", ":a", "s3:", "1a:b", "ä:b", "a b:c", "s3://a\nb", "s3://a\u{85}", "s3://\u{7f}"] {
            assert_eq!(Payload::new(uri, None, None), Err(PayloadError::Uri { uri: uri.into() }), "{uri:?}");
        }
        let longest = format!("s3:{}", "x".repeat(PAYLOAD_URI_BYTES_MAX - 3));
        assert_eq!(at(&longest).uri(), longest);
        let error = Payload::new(&(longest + "x"), None, None).unwrap_err().to_string();
        assert!(error.contains("2049 bytes, PAYLOAD_URI_BYTES_MAX is 2048"), "{error}");
        let error = PayloadError::Uri { uri: "\n".repeat(1_000) }.to_string();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_digest_is_of_a_known_function_and_has_all_its_digits() {
        for (algorithm, made) in
            [("sha256", PayloadDigest::Sha256 as fn([u8; 32]) -> _), ("blake3", PayloadDigest::Blake3)]
        {
            let digest = made(std::array::from_fn(|place| 7 * place as u8));
            let text = digest.to_string();
            assert!(text.starts_with(algorithm) && text.len() == 7 + 64, "{text}");
            assert_eq!(text.parse(), Ok(digest));
            let loud = text.to_uppercase().replacen(&algorithm.to_uppercase(), algorithm, 1);
            assert_eq!(loud.parse(), Ok(digest), "{loud}");
        }
        let hex = "0".repeat(64);
        for text in [
            String::new(),
            hex.clone(),
            format!("md5:{hex}"),
            format!("SHA256:{hex}"),
            format!("sha256:{hex}0"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:+{}", &hex[1..]),
            format!("sha256:{}ä", &hex[2..]),
        ] {
            assert_eq!(text.parse::<PayloadDigest>(), Err(PayloadError::Digest { digest: text.clone() }), "{text}");
        }
    }

    #[test]
    fn payloads_of_one_attempt_are_bounded_in_number_and_bytes() {
        let mut payloads = Payloads::default();
        (0..PAYLOADS_MAX).for_each(|number| payloads.put(name(number), at("s3://a")).unwrap());
        assert_eq!(payloads.put(name(PAYLOADS_MAX), at("s3://a")), Err(PayloadError::TooMany));
        payloads.put(name(0), at("s3://b")).expect("the last one of a name counts");
        assert_eq!(payloads.iter().len(), PAYLOADS_MAX);
        assert_eq!(payloads.get(&name(0)).map(Payload::uri), Some("s3://b"));

        let long = format!("s3:{}", "x".repeat(PAYLOAD_URI_BYTES_MAX - 3));
        let mut payloads = Payloads::default();
        let fit = PAYLOADS_BYTES_MAX / (PAYLOAD_URI_BYTES_MAX + PAYLOAD_OVERHEAD_BYTES + 2);
        (0..fit).for_each(|number| payloads.put(name(number), at(&long)).unwrap());
        let before = payloads.clone();
        assert!(matches!(payloads.put(name(fit), at(&long)), Err(PayloadError::TooLarge { .. })));
        assert_eq!(payloads, before);
        payloads.put(name(0), at(&long)).expect("what it takes the place of does not count");
        assert!(payloads.bytes() <= PAYLOADS_BYTES_MAX);
    }
}

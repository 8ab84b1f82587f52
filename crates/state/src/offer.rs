//! What a node says of itself beside its size and its labels: which pool it is in, whom it keeps away, and what it costs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use crate::{LABEL_BYTES_MAX, PoolName, Violation};

/// Taints of one node.
pub const TAINTS_MAX: usize = 16;

/// Decimals of a [`Price`].
const PRICE_DECIMALS: usize = 5;
/// A whole unit of it.
const PRICE_UNIT: u64 = 100_000;
/// The highest: a million units.
pub const PRICE_MAX: Price = Price(1_000_000 * PRICE_UNIT);

/// What a node says of itself for those who choose among nodes. Anything but the default needs
/// [`crate::Feature::PlaceConstraints`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The pool that it is in: it takes tasks that ask for that one alone.
    pub pool: PoolName,
    /// It takes nothing that does not tolerate each of these; at most [`TAINTS_MAX`].
    pub taints: BTreeMap<String, String>,
    /// What it costs; none: it does not say.
    pub price: Option<Price>,
}

/// That of most nodes. They share it, so that whoever looks at one node after another finds it in the processor's cache.
static PLAIN: LazyLock<Arc<Offer>> = LazyLock::new(Arc::default);

impl Offer {
    /// The same, in one place for all nodes that say nothing of themselves.
    pub fn shared(offer: &Arc<Self>) -> Arc<Self> {
        if *offer == *PLAIN { PLAIN.clone() } else { offer.clone() }
    }

    /// Everything that is wrong with it.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut complain = |field: &str, message: String| found.push(Violation { field: field.into(), message });
        if self.taints.len() > TAINTS_MAX {
            complain("taints", format!("{} taints are over TAINTS_MAX ({TAINTS_MAX})", self.taints.len()));
        }
        let is_wrong = |text: &String| text.len() > LABEL_BYTES_MAX || text.contains('\0');
        for (key, value) in self.taints.iter().take(TAINTS_MAX) {
            if key.is_empty() || is_wrong(key) || is_wrong(value) {
                let most = LABEL_BYTES_MAX;
                complain("taints", format!("a key has 1 to {most} bytes, a value at most {most}, and neither a NUL"));
            }
        }
        if self.price.is_some_and(|price| price > PRICE_MAX) {
            complain("price", format!("is above {PRICE_MAX}, the highest"));
        }
        found
    }
}

/// What a node costs for an hour, in hundred-thousandths of a unit that is the same for all nodes; at most [`PRICE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub u64);

impl FromStr for Price {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a price for an hour: write 0.35, with at most {PRICE_DECIMALS} decimals");
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > PRICE_DECIMALS {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part: u64 = format!("{part:0<PRICE_DECIMALS$}").parse().map_err(|_| wrong())?;
        let price = whole.checked_mul(PRICE_UNIT).and_then(|units| units.checked_add(part)).map(Self);
        price
            .filter(|price| *price <= PRICE_MAX)
            .ok_or_else(|| format!("{text:?} is above {PRICE_MAX}, the highest price"))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:0PRICE_DECIMALS$}", self.0 % PRICE_UNIT);
        let part = part.trim_end_matches('0');
        write!(f, "{}{}{part}", self.0 / PRICE_UNIT, if part.is_empty() { "" } else { "." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_as_they_are_written() {
        for (text, units) in [("0", 0), ("0.35", 35_000), ("12", 1_200_000), ("0.00001", 1), ("3.10", 310_000)] {
            let price: Price = text.parse().unwrap();
            assert_eq!(price, Price(units), "{text}");
            assert_eq!(price.to_string().parse(), Ok(price));
        }
        assert_eq!(Price(310_000).to_string(), "3.1");
        assert_eq!("1000000".parse(), Ok(PRICE_MAX));
        for wrong in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.123456", "1000000.00001", "99999999999999999999", "1,5"]
        {
            assert!(wrong.parse::<Price>().is_err(), "{wrong:?}");
        }
    }
}

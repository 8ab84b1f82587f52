//! Bounds of the product that a simulation makes smaller, so that what lies behind them is reached with little work.

/// Such a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// How many tasks of one step stand in the queue at once.
    ReadyAhead,
}

#[cfg(feature = "planted")]
std::thread_local! {
    static READY_AHEAD: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "planted")]
fn cell(bound: Bound) -> &'static std::thread::LocalKey<std::cell::Cell<Option<u32>>> {
    match bound {
        Bound::ReadyAhead => &READY_AHEAD,
    }
}

/// Makes a bound smaller for all that runs on this thread from now on, or as it is.
#[cfg(feature = "planted")]
pub fn lower(bound: Bound, to: Option<u32>) {
    cell(bound).set(to);
}

/// What a bound is that is `usual` in the product: no more than that.
#[cfg(feature = "planted")]
pub fn at_most(bound: Bound, usual: u32) -> u32 {
    cell(bound).get().map_or(usual, |lower| lower.min(usual))
}

/// What a bound is that is `usual` in the product: that.
#[cfg(not(feature = "planted"))]
pub const fn at_most(_: Bound, usual: u32) -> u32 {
    usual
}

#[cfg(all(test, feature = "planted"))]
mod tests {
    use super::*;

    #[test]
    fn a_bound_gets_smaller_on_its_own_thread_and_never_larger() {
        assert_eq!(at_most(Bound::ReadyAhead, 10), 10);
        lower(Bound::ReadyAhead, Some(3));
        assert_eq!((at_most(Bound::ReadyAhead, 10), at_most(Bound::ReadyAhead, 2)), (3, 2));
        let elsewhere = std::thread::spawn(|| at_most(Bound::ReadyAhead, 10)).join();
        assert_eq!(elsewhere.unwrap(), 10);
        lower(Bound::ReadyAhead, None);
        assert_eq!(at_most(Bound::ReadyAhead, 10), 10);
    }
}

#[cfg(all(test, not(feature = "planted")))]
mod tests {
    use super::*;

    #[test]
    fn the_product_has_its_bounds() {
        const USUAL: u32 = at_most(Bound::ReadyAhead, 10);
        assert_eq!(USUAL, 10);
    }
}

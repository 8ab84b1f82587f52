//! Bugs for the simulator to find: where the product asks [`is`], it goes wrong if that bug is planted.
//!
//! Without the feature `planted` the answer is a constant `false` and every hook compiles away. With it,
//! each thread has at most one bug, so that simulations beside each other do not share theirs. The same holds for what
//! [`at_most`] says: bounds that a simulation makes smaller, which is no mistake.
//!
//! **Invariant:** this crate knows nothing of ours, because every crate may ask it.

mod bound;
mod bug;
mod hash_order;

#[cfg(feature = "planted")]
pub use bound::lower;
pub use bound::{Bound, at_most};
pub use bug::{Bug, UnknownBug};
pub use hash_order::in_hash_order;

#[cfg(feature = "planted")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for all that runs on this thread from now on, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// True where `bug` is planted.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// True where `bug` is planted: nowhere, in this build.
#[cfg(not(feature = "planted"))]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(all(test, feature = "planted"))]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_planted_alone_and_on_its_own_thread() {
        plant(Some(Bug::BrakeOff));
        let here: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| is(*bug)).collect();
        assert_eq!(here, [Bug::BrakeOff]);
        let elsewhere = std::thread::spawn(|| Bug::ALL.into_iter().any(is)).join();
        assert!(!elsewhere.unwrap());
        plant(None);
        assert!(!Bug::ALL.into_iter().any(is));
    }
}

#[cfg(all(test, not(feature = "planted")))]
mod tests {
    use super::*;

    #[test]
    fn the_product_has_no_bug_planted() {
        const NONE: bool = is(Bug::BrakeOff);
        assert!(!NONE && !Bug::ALL.into_iter().any(is));
    }
}

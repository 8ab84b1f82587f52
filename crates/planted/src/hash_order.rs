//! An order that differs from map to map: what a std hash map hands out.

use std::hash::Hash;

use crate::Bug;

/// `items`, in the order of a std hash map over their keys, which must differ, while `bug` is planted.
#[cfg(feature = "planted")]
pub fn in_hash_order<T, K: Hash + Eq>(
    bug: Bug,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    let items: Vec<T> = if crate::is(bug) {
        let map: std::collections::HashMap<K, T> = items.into_iter().map(|item| (key(&item), item)).collect();
        map.into_values().collect()
    } else {
        items.into_iter().collect()
    };
    items.into_iter()
}

/// `items` as they come: nothing is planted in this build.
#[cfg(not(feature = "planted"))]
pub fn in_hash_order<T, K: Hash + Eq>(
    _: Bug,
    items: impl IntoIterator<Item = T>,
    _: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    items.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(bug: Bug) -> Vec<u32> {
        in_hash_order(bug, 0..100, |number| *number).collect()
    }

    #[test]
    fn nothing_is_lost_and_the_order_changes_only_where_the_bug_is_planted() {
        assert_eq!(order(Bug::HashOrderInPlan), (0..100).collect::<Vec<_>>());
        #[cfg(feature = "planted")]
        {
            crate::plant(Some(Bug::HashOrderInPlan));
            let (one, other) = (order(Bug::HashOrderInPlan), order(Bug::HashOrderInPlan));
            crate::plant(None);
            assert_ne!(one, other, "every map has its own order");
            let mut sorted = one;
            sorted.sort_unstable();
            assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        }
    }
}

//! Which node is best for a shape, kept up to date node by node.
//!
//! A tournament: every place of a binary tree holds the better of the two nodes below it, so that a change of one node
//! costs a match on each level and the best is known at once.

use std::cmp::Ordering;

/// How good a node is for a shape; the least is the best.
pub(in crate::placement) trait Rank: Copy + Ord {
    /// The shape does not fit there.
    const NOWHERE: Self;

    /// The shape fits there.
    fn fits(self) -> bool;
}

/// The scores of all nodes for one shape. Nodes with the same score are told apart by `tie`, which whoever changes the ranking
/// brings along, and which must say the same of two nodes until the score of one of them is set again.
#[derive(Clone, Debug)]
pub(in crate::placement) struct Ranking<S> {
    scores: Vec<S>,
    /// Place 1 is the final, and the places below place `n` are `2n` and `2n + 1`. A place from `leaves` on is a node's own.
    winners: Vec<u32>,
    leaves: usize,
}

impl<S: Rank> Ranking<S> {
    pub(in crate::placement) fn new(scores: Vec<S>, tie: impl Fn(u32, u32) -> Ordering) -> Self {
        let leaves = scores.len().next_power_of_two();
        let mut ranking = Self { winners: vec![0; leaves], leaves, scores };
        for place in (1..leaves).rev() {
            ranking.play(place, &tie);
        }
        ranking
    }

    pub(in crate::placement) fn set(&mut self, node: usize, score: S, tie: impl Fn(u32, u32) -> Ordering) {
        let Some(old) = self.scores.get_mut(node) else { return };
        *old = score;
        let mut place = (self.leaves + node) / 2;
        while place > 0 {
            let before = self.winner(place);
            self.play(place, &tie);
            // Who has won here without it, before and now, meets the same further up.
            if self.winner(place) == before && before as usize != node {
                return;
            }
            place /= 2;
        }
    }

    /// How many nodes there are.
    pub(in crate::placement) fn len(&self) -> usize {
        self.scores.len()
    }

    /// The best node, the first of equal ones, if the shape fits anywhere.
    pub(in crate::placement) fn best(&self) -> Option<usize> {
        let best = self.winner(1);
        self.score(best).fits().then_some(best as usize)
    }

    /// The score of a node.
    pub(in crate::placement) fn score(&self, node: u32) -> S {
        self.scores.get(node as usize).copied().unwrap_or(S::NOWHERE)
    }

    fn play(&mut self, place: usize, tie: impl Fn(u32, u32) -> Ordering) {
        let (left, right) = (self.winner(2 * place), self.winner(2 * place + 1));
        let scores = (self.score(left), self.score(right));
        let order = match scores.1.cmp(&scores.0) {
            Ordering::Equal if scores.0.fits() => tie(right, left),
            order => order,
        };
        // The left one has the smaller number, so that it wins when they are equal.
        let winner = if order.is_lt() { right } else { left };
        if let Some(entry) = self.winners.get_mut(place) {
            *entry = winner;
        }
    }

    fn winner(&self, place: usize) -> u32 {
        match place.checked_sub(self.leaves) {
            Some(node) => node as u32,
            None => self.winners.get(place).copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Score(u64);

    impl Rank for Score {
        const NOWHERE: Self = Self(u64::MAX);

        fn fits(self) -> bool {
            self != Self::NOWHERE
        }
    }

    #[test]
    fn the_best_is_the_first_of_the_least_after_any_change() {
        for nodes in 0..9 {
            // Of nodes that value the same those with odd numbers are better.
            let tie = |one: u32, other: u32| one.is_multiple_of(2).cmp(&other.is_multiple_of(2));
            let mut scores: Vec<Score> = (0..nodes).map(|node| Score(node * 7 % 3)).collect();
            let mut ranking = Ranking::new(scores.clone(), tie);
            for step in 0..200_u64 {
                let fits = scores.iter().enumerate().filter(|(_, score)| score.fits());
                let expected =
                    fits.min_by_key(|(node, score)| (**score, node.is_multiple_of(2), *node)).map(|(node, _)| node);
                assert_eq!(ranking.best(), expected, "{scores:?}");
                let Some(node) = (step as usize * 5).checked_rem(scores.len()) else { break };
                scores[node] = if step % 4 == 0 { Score::NOWHERE } else { Score(step * step * 11 % 5) };
                ranking.set(node, scores[node], tie);
            }
        }
    }
}

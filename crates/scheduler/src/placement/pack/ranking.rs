//! Which node is best for a shape, kept up to date node by node.
//!
//! A tournament: every place of a binary tree holds the better of the two nodes below it, so that a change of one node
//! costs a match on each level and the best is known at once.

/// How good a node is for a shape; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    /// What matters, most important bits first.
    pub(super) value: u64,
    /// Tells rooms apart that are worth the same, whatever their nodes are called.
    pub(super) room: u64,
}

impl Score {
    /// The shape does not fit there.
    pub(super) const NOWHERE: Self = Self { value: u64::MAX, room: u64::MAX };
}

/// The scores of all nodes for one shape.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    scores: Vec<Score>,
    /// Place 1 is the final, and the places below place `n` are `2n` and `2n + 1`. A place from `leaves` on is a node's own.
    winners: Vec<u32>,
    leaves: usize,
}

impl Ranking {
    pub(super) fn new(scores: Vec<Score>) -> Self {
        let leaves = scores.len().next_power_of_two();
        let mut ranking = Self { winners: vec![0; leaves], leaves, scores };
        for place in (1..leaves).rev() {
            ranking.play(place);
        }
        ranking
    }

    pub(super) fn set(&mut self, node: usize, score: Score) {
        let Some(old) = self.scores.get_mut(node) else { return };
        *old = score;
        let mut place = (self.leaves + node) / 2;
        while place > 0 {
            self.play(place);
            place /= 2;
        }
    }

    /// The best node, the first of equal ones, if the shape fits anywhere.
    pub(super) fn best(&self) -> Option<usize> {
        let best = self.winner(1);
        (self.score(best) != Score::NOWHERE).then_some(best as usize)
    }

    fn play(&mut self, place: usize) {
        let (left, right) = (self.winner(2 * place), self.winner(2 * place + 1));
        // The left one has the smaller number, so that it wins when they are equal.
        let winner = if self.score(right) < self.score(left) { right } else { left };
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

    fn score(&self, node: u32) -> Score {
        self.scores.get(node as usize).copied().unwrap_or(Score::NOWHERE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: u64) -> Score {
        Score { value, room: 0 }
    }

    #[test]
    fn the_best_is_the_first_of_the_least_after_any_change() {
        for nodes in 0..9 {
            let mut scores: Vec<Score> = (0..nodes).map(|node| score(node * 7 % 3)).collect();
            let mut ranking = Ranking::new(scores.clone());
            for step in 0..50_u64 {
                let fits = scores.iter().enumerate().filter(|(_, score)| **score != Score::NOWHERE);
                let expected = fits.min_by_key(|(node, score)| (**score, *node)).map(|(node, _)| node);
                assert_eq!(ranking.best(), expected, "{scores:?}");
                let Some(node) = (step as usize * 5).checked_rem(scores.len()) else { break };
                scores[node] = if step % 4 == 0 { Score::NOWHERE } else { score(step * 11 % 5) };
                ranking.set(node, scores[node]);
            }
        }
    }
}

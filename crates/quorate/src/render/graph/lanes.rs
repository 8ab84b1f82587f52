//! Lines between the steps of a graph, drawn beside a list of them: one row per step, one column per lane.
//!
//! Steps that need the same and are needed by the same are one group: they stand below each other in one column.
//! What stands directly below another group, without a line from the side, follows it; so nothing else is put
//! there. A lane goes from a group down to the last one that needs it, and one that is in the way of a line keeps
//! its stroke.

/// Equal steps, whom they need and who needs them, by the places of those groups in the order of drawing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) steps: usize,
    pub(super) needs: Vec<usize>,
    pub(super) dependents: Vec<usize>,
}

/// One character of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Blank,
    /// The step itself.
    Step,
    /// A lane goes by.
    Down,
    /// A line from one lane to another.
    Across,
    /// A lane goes on, and a line leaves it: to the right, to the left, to both sides.
    ForkRight,
    ForkLeft,
    Cross,
    /// A lane ends in a line: to the right, to the left, on both sides.
    EndRight,
    EndLeft,
    EndBoth,
}

/// What is drawn beside one step: each lane is followed by what lies between it and the next.
pub(super) type Row = Vec<Cell>;

/// What is drawn of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    /// One per step.
    pub(super) rows: Vec<Row>,
    /// Groups that it needs to which no line could be drawn.
    pub(super) undrawn: Vec<usize>,
}

/// Draws groups in the order given, each behind all that it needs, with no more than `lanes_max` lanes: a group
/// for which there is none stands to the right of them, without lines to those who need it.
pub(super) fn draw(groups: &[Group], lanes_max: usize) -> Vec<Drawn> {
    let mut lanes = Lanes { open: Vec::new(), above: Vec::new(), lanes_max };
    groups.iter().enumerate().map(|(at, group)| lanes.draw(at, group)).collect()
}

struct Lanes {
    open: Vec<Option<Lane>>,
    /// The row drawn last.
    above: Row,
    lanes_max: usize,
}

/// Who is below a lane's group still, and needs it.
struct Lane {
    group: usize,
    dependents: Vec<usize>,
}

impl Lanes {
    fn draw(&mut self, at: usize, group: &Group) -> Drawn {
        let needed = |lane: &Option<Lane>| lane.as_ref().is_some_and(|lane| lane.dependents.contains(&at));
        let lines: Vec<usize> = (0..self.open.len()).filter(|column| needed(&self.open[*column])).collect();
        let drawn: Vec<usize> = lines.iter().filter_map(|column| Some(self.open[*column].as_ref()?.group)).collect();
        let undrawn = group.needs.iter().copied().filter(|need| !drawn.contains(need)).collect();
        for column in &lines {
            if let Some(lane) = &mut self.open[*column] {
                lane.dependents.retain(|dependent| *dependent != at);
            }
        }
        let is_over = |lane: &Option<Lane>| lane.as_ref().is_some_and(|lane| lane.dependents.is_empty());
        let ended: Vec<usize> = lines.iter().copied().filter(|column| is_over(&self.open[*column])).collect();
        let column = ended.first().copied().unwrap_or_else(|| self.free(lines.first().copied().unwrap_or_default()));

        let mut rows = vec![self.row(column, &lines, &ended)];
        for column in ended {
            self.open[column] = None;
        }
        if column < self.lanes_max && !group.dependents.is_empty() {
            if self.open.len() <= column {
                self.open.resize_with(column + 1, || None);
            }
            self.open[column] = Some(Lane { group: at, dependents: group.dependents.clone() });
        }
        for _ in 1..group.steps {
            rows.push(self.row(column, &[], &[]));
        }
        self.above = rows.last().cloned().unwrap_or_default();
        while self.open.last().is_some_and(Option::is_none) {
            self.open.pop();
        }
        Drawn { rows, undrawn }
    }

    /// A column where nothing is and nothing has just stood, beside a given one if there is one among the lanes.
    fn free(&self, beside: usize) -> usize {
        let is_free = |column: &usize| {
            let stood = self.above.get(2 * column).is_some_and(|cell| *cell == Cell::Step);
            !stood && self.open.get(*column).is_none_or(Option::is_none)
        };
        let among = (beside..self.lanes_max).chain(0..beside.min(self.lanes_max)).find(is_free);
        among.unwrap_or_else(|| (self.lanes_max..).find(is_free).unwrap_or(self.lanes_max))
    }

    fn row(&self, at: usize, lines: &[usize], ended: &[usize]) -> Row {
        let first = lines.first().map_or(at, |first| at.min(*first));
        let last = lines.last().map_or(at, |last| at.max(*last));
        let mut row = Row::new();
        for column in 0..self.open.len().max(last + 1) {
            let is_within = (first..last).contains(&column);
            row.push(match (ended.contains(&column), column == first, column == last) {
                _ if column == at => Cell::Step,
                (false, true, _) if lines.contains(&column) => Cell::ForkRight,
                (false, _, true) if lines.contains(&column) => Cell::ForkLeft,
                (false, ..) if lines.contains(&column) => Cell::Cross,
                (true, true, _) => Cell::EndRight,
                (true, _, true) => Cell::EndLeft,
                (true, ..) => Cell::EndBoth,
                (false, ..) if self.open.get(column).is_some_and(Option::is_some) => Cell::Down,
                (false, ..) if is_within => Cell::Across,
                (false, ..) => Cell::Blank,
            });
            row.push(if is_within { Cell::Across } else { Cell::Blank });
        }
        row
    }
}

impl Cell {
    /// The character, where `step` stands for the step.
    pub(super) fn character(self, is_unicode: bool, step: char) -> char {
        let (unicode, plain) = match self {
            Self::Blank => (' ', ' '),
            Self::Step => (step, step),
            Self::Down => ('│', '|'),
            Self::Across => ('─', '-'),
            Self::ForkRight => ('├', '+'),
            Self::ForkLeft => ('┤', '+'),
            Self::Cross => ('┼', '+'),
            Self::EndRight => ('╰', '`'),
            Self::EndLeft => ('╯', '\''),
            Self::EndBoth => ('┴', '+'),
        };
        if is_unicode { unicode } else { plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups named `a`, `b`, `c` …, by whom each needs; a digit before that says of how many steps it is.
    fn groups(needs: &[&str]) -> Vec<Group> {
        let place = |name: char| usize::from(name as u8 - b'a');
        let mut groups: Vec<Group> = Vec::new();
        for (at, text) in needs.iter().enumerate() {
            let steps = text.chars().find_map(|name| name.to_digit(10)).unwrap_or(1) as usize;
            let needs: Vec<usize> = text.chars().filter(char::is_ascii_lowercase).map(place).collect();
            needs.iter().for_each(|need| groups[*need].dependents.push(at));
            groups.push(Group { steps, needs, dependents: vec![] });
        }
        groups
    }

    fn lines(drawn: &[Drawn]) -> Vec<String> {
        let named = drawn.iter().zip('a'..).flat_map(|(drawn, name)| drawn.rows.iter().map(move |row| (row, name)));
        let line = |(row, name): (&Row, char)| row.iter().map(|cell| cell.character(true, name)).collect::<String>();
        named.map(|named| line(named).trim_end().to_owned()).collect()
    }

    fn check(needs: &[&str], expected: &[&str]) {
        let drawn = draw(&groups(needs), 8);
        assert_eq!(lines(&drawn), expected, "{needs:?}");
        assert!(drawn.iter().all(|drawn| drawn.undrawn.is_empty()), "{needs:?}");
    }

    #[test]
    fn a_chain_goes_straight_down() {
        check(&["", "a", "b"], &["a", "b", "c"]);
    }

    #[test]
    fn equal_steps_stand_below_each_other() {
        check(&["", "3a", "b"], &["a", "b", "b", "b", "c"]);
        check(&["", "2a", "a", "bc"], &["a", "├─b", "│ b", "c │", "d─╯"]);
    }

    #[test]
    fn what_follows_nothing_does_not_stand_below_it() {
        // Nobody needs b, so that c must not look as if it did.
        check(&["", "a", "a", "c", "ad"], &["a", "├─b", "├───c", "│   d", "e───╯"]);
        check(&["", ""], &["a", "  b"]);
    }

    #[test]
    fn lanes_that_are_in_the_way_keep_their_stroke() {
        check(&["", "", "a", "b", "bc", "ad"], &["a", "│ b", "├─│─c", "│ ├─│─d", "│ e─╯ │", "f─────╯"]);
    }

    #[test]
    fn lines_end_on_either_side() {
        check(&["", "", "", "b", "abc", "ac"], &["a", "│ b", "│ │ c", "│ ├─│─d", "├─e─┤", "f───╯"]);
    }

    #[test]
    fn without_a_lane_there_are_words_instead_of_lines() {
        // Five groups, each needed by one of five others.
        let drawn = draw(&groups(&["", "", "", "", "", "a", "b", "c", "d", "e"]), 4);
        assert!(drawn.iter().flat_map(|drawn| &drawn.rows).all(|row| row.len() <= 12));
        assert_eq!(drawn[9].undrawn, [4]);
        assert!(drawn[..9].iter().all(|drawn| drawn.undrawn.is_empty()));
    }

    /// Whom each group needs, as somebody would read it who sees nothing but the drawing.
    fn read(drawn: &[Drawn]) -> Vec<Vec<usize>> {
        let goes_down = |cell: Option<&Cell>| match cell {
            Some(Cell::Step | Cell::Down | Cell::ForkLeft | Cell::ForkRight | Cell::Cross) => true,
            Some(Cell::Blank | Cell::Across | Cell::EndLeft | Cell::EndRight | Cell::EndBoth) | None => false,
        };
        let mut above: Row = Vec::new();
        let mut holders: Vec<usize> = vec![usize::MAX; 64];
        let mut read = Vec::new();
        for (group, drawn) in drawn.iter().enumerate() {
            let mut needs = Vec::new();
            for row in &drawn.rows {
                let at = row.iter().position(|cell| *cell == Cell::Step).unwrap();
                if goes_down(above.get(at)) && holders[at] != group {
                    needs.push(holders[at]);
                }
                let left = (0..at).rev().take_while(|column| row[*column] != Cell::Blank);
                let left = left.scan(true, |joined, column| {
                    // A line is whole as long as what lies between the lanes is.
                    *joined &= column % 2 == 0 || row[column] == Cell::Across;
                    joined.then_some(column)
                });
                let right = (at + 1..row.len()).scan(true, |joined, column| {
                    *joined &= column % 2 == 0 || row[column] == Cell::Across;
                    joined.then_some(column)
                });
                let lanes = left.chain(right).filter(|column| column % 2 == 0);
                needs.extend(
                    lanes
                        .filter(|lane| row[*lane] != Cell::Down && row[*lane] != Cell::Across)
                        .map(|lane| holders[lane]),
                );
                holders[at] = group;
                above.clone_from(row);
            }
            needs.sort_unstable();
            read.push(needs);
        }
        read
    }

    #[test]
    fn a_drawing_says_who_needs_whom_and_nothing_else() {
        let mut seed = 7_u64;
        let mut below = |limit: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        for case in 0..2_000 {
            let mut groups: Vec<Group> = Vec::new();
            for at in 0..1 + below(12) {
                let mut needs: Vec<usize> = (0..below(4).min(at)).map(|_| below(at)).collect();
                needs.sort_unstable();
                needs.dedup();
                needs.iter().for_each(|need| groups[*need].dependents.push(at));
                groups.push(Group { steps: 1 + below(3) / 2, needs, dependents: vec![] });
            }
            let drawn = draw(&groups, 2 + below(8));
            for ((read, drawn_group), group) in read(&drawn).iter().zip(&drawn).zip(&groups) {
                let mut said = [&read[..], &drawn_group.undrawn].concat();
                said.sort_unstable();
                assert_eq!(said, group.needs, "case {case}:\n{}", lines(&drawn).join("\n"));
            }
        }
    }
}

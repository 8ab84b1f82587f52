//! The graph of a run: a line per step with where its tasks stand, and beside it the lines to what it needs.
//!
//! Of a graph that is too long those steps are shown that one looks for: what failed, then what is not finished.

mod lanes;

use std::collections::BTreeMap;

use super::canvas::{Canvas, cut};
use super::ink::ink;
use super::step::Step;
use super::table::Tone;
use super::{Paint, plain, time};
use lanes::{Cell, Group, Row};

/// Lanes beside the steps, however wide the terminal is.
const LANES_MAX: usize = 24;
/// Characters left to the names and words of steps, at least.
const WORDS_CHARS_MIN: usize = 48;
/// A name is cut behind this many characters.
const NAME_CHARS_MAX: usize = 40;
/// Steps named where lines are missing.
const NAMED_MAX: usize = 3;

/// Where a step stands as a whole, in the order in which one looks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Failed,
    Running,
    Waiting,
    Succeeded,
    Skipped,
}

impl Standing {
    fn of(step: &Step) -> Self {
        let tasks = &step.tasks;
        if step.has_failed() {
            Self::Failed
        } else if tasks.running > 0 || tasks.placed > 0 {
            Self::Running
        } else if tasks.waiting > 0 || tasks.ready > 0 || tasks.total() == 0 {
            Self::Waiting
        } else if tasks.skipped > 0 || tasks.cancelled > 0 {
            Self::Skipped
        } else {
            Self::Succeeded
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped or cancelled",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Failed => Tone::Bad,
            Self::Running => Tone::Busy,
            Self::Succeeded => Tone::Good,
            Self::Waiting | Self::Skipped => Tone::Faint,
        }
    }

    fn mark(self, is_unicode: bool) -> char {
        let (unicode, plain) = match self {
            Self::Failed => ('✗', 'x'),
            Self::Running => ('●', '*'),
            Self::Waiting => ('○', 'o'),
            Self::Succeeded => ('✓', '#'),
            Self::Skipped => ('⊘', '/'),
        };
        if is_unicode { unicode } else { plain }
    }

    /// What is looked for first; what has ended well is not.
    fn rank(self) -> u8 {
        match self {
            Self::Failed => 0,
            Self::Running => 1,
            Self::Waiting => 2,
            Self::Succeeded | Self::Skipped => 3,
        }
    }
}

/// The lines of a graph of at most `steps_max` steps.
pub(super) fn lines(steps: &[&Step], steps_max: usize, canvas: Canvas, paint: Paint) -> Vec<String> {
    let graph = Graph::of(steps);
    let shown = graph.shown(steps, steps_max);
    let groups = graph.groups(&shown);
    let lanes_max = (canvas.columns.saturating_sub(WORDS_CHARS_MIN) / 2).clamp(2, LANES_MAX);
    let drawn = lanes::draw(&links(&groups), lanes_max);

    let row_chars = drawn.iter().flat_map(|drawn| &drawn.rows).map(Vec::len).max().unwrap_or_default();
    let names = shown.iter().map(|at| steps[*at].task.chars().count()).max().unwrap_or_default();
    let page =
        Page { canvas, paint, row_chars, name_chars: names.min(NAME_CHARS_MAX), has_groups: is_grouped(&groups) };
    let mut lines = Vec::new();
    for (group, drawn) in groups.iter().zip(&drawn) {
        let undrawn = drawn.undrawn.iter().flat_map(|group| &groups[*group].steps).map(|at| &*steps[*at].task);
        let missing = group.missing(&undrawn.collect::<Vec<_>>());
        for (place, (at, row)) in group.steps.iter().zip(&drawn.rows).enumerate() {
            lines.push(page.line(steps[*at], row, (place, group.steps.len()), &missing));
        }
    }
    lines.extend(left_out(steps, &shown).map(|text| ink(paint, Tone::Faint, &text)));
    lines
}

/// Who needs whom, by place in the job file.
struct Graph {
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
}

/// Steps that need the same and are needed by the same.
struct Steps {
    steps: Vec<usize>,
    needs: Vec<usize>,
    dependents: Vec<usize>,
    /// Steps that they need and that are not shown.
    hidden: usize,
}

impl Graph {
    fn of(steps: &[&Step]) -> Self {
        let places: BTreeMap<&str, usize> = steps.iter().zip(0..).map(|(step, at)| (&*step.task, at)).collect();
        let mut dependents = vec![Vec::new(); steps.len()];
        let mut needs = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let mut of_step: Vec<usize> = step.waits_for().filter_map(|need| places.get(need).copied()).collect();
            of_step.sort_unstable();
            of_step.dedup();
            of_step.iter().for_each(|need| dependents[*need].push(at));
            needs.push(of_step);
        }
        Self { needs, dependents }
    }

    /// Each behind all that it needs; what follows a step comes as soon after it as it can, so that few lanes are
    /// open at once. Equal steps come one after the other.
    fn in_order(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut ready: Vec<usize> = (0..missing.len()).filter(|at| missing[*at] == 0).collect();
        self.stack(&mut ready);
        let mut order = Vec::with_capacity(missing.len());
        while let Some(at) = ready.pop() {
            order.push(at);
            let mut next = Vec::new();
            for dependent in &self.dependents[at] {
                missing[*dependent] -= 1;
                if missing[*dependent] == 0 {
                    next.push(*dependent);
                }
            }
            self.stack(&mut next);
            ready.append(&mut next);
        }
        order
    }

    /// The first in file order on top, and with it those that are equal to it.
    fn stack(&self, steps: &mut [usize]) {
        let mut first: BTreeMap<(&[usize], &[usize]), usize> = BTreeMap::new();
        for at in steps.iter() {
            first.entry((&*self.needs[*at], &*self.dependents[*at])).or_insert(*at);
        }
        let place = |at: &usize| (first.get(&(&*self.needs[*at], &*self.dependents[*at])).copied(), *at);
        steps.sort_unstable_by_key(|at| std::cmp::Reverse(place(at)));
    }

    /// The steps to show, in order.
    fn shown(&self, steps: &[&Step], steps_max: usize) -> Vec<usize> {
        let order = self.in_order();
        let mut ranked: Vec<(u8, usize)> =
            order.iter().zip(0..).map(|(at, place)| (Standing::of(steps[*at]).rank(), place)).collect();
        ranked.sort_unstable();
        let chosen: Vec<usize> = ranked.into_iter().take(steps_max).map(|(_, place)| order[place]).collect();
        // In an order of their own: of what lies between them nothing is drawn.
        let chosen = sorted(&chosen);
        self.part(&chosen).in_order().into_iter().map(|at| chosen[at]).collect()
    }

    /// The graph of some steps alone, given in file order, by their places among them.
    fn part(&self, steps: &[usize]) -> Self {
        let place = |at: &usize| steps.binary_search(at).ok();
        let of = |links: &[Vec<usize>]| {
            let part = steps.iter().map(|at| links[*at].iter().filter_map(place).collect());
            part.collect()
        };
        Self { needs: of(&self.needs), dependents: of(&self.dependents) }
    }

    /// They need the same, and are needed by the same.
    fn are_equal(&self, one: usize, other: usize) -> bool {
        self.needs[one] == self.needs[other] && self.dependents[one] == self.dependents[other]
    }

    fn groups(&self, shown: &[usize]) -> Vec<Steps> {
        let is_shown = sorted(shown);
        let only = |links: &[usize]| -> Vec<usize> {
            links.iter().copied().filter(|at| is_shown.binary_search(at).is_ok()).collect()
        };
        let mut groups: Vec<Steps> = Vec::new();
        for at in shown {
            let (needs, dependents) = (only(&self.needs[*at]), only(&self.dependents[*at]));
            let hidden = self.needs[*at].len() - needs.len();
            match groups.last_mut() {
                Some(last) if self.are_equal(last.steps[0], *at) => last.steps.push(*at),
                Some(_) | None => groups.push(Steps { steps: vec![*at], needs, dependents, hidden }),
            }
        }
        groups
    }
}

impl Steps {
    /// What they need without a line to it, in words.
    fn missing(&self, undrawn: &[&str]) -> String {
        let mut words = Vec::new();
        if !undrawn.is_empty() {
            let mut names = undrawn[..undrawn.len().min(NAMED_MAX)].join(", ");
            if undrawn.len() > NAMED_MAX {
                names += &format!(" and {} more", undrawn.len() - NAMED_MAX);
            }
            words.push(format!("needs {names}"));
        }
        if self.hidden > 0 {
            words.push(format!("needs {} not shown", time::count(self.hidden as u64, "step")));
        }
        words.join(", ")
    }
}

fn sorted(steps: &[usize]) -> Vec<usize> {
    let mut steps = steps.to_vec();
    steps.sort_unstable();
    steps
}

fn is_grouped(groups: &[Steps]) -> bool {
    groups.iter().any(|group| group.steps.len() > 1)
}

fn links(groups: &[Steps]) -> Vec<Group> {
    let of: BTreeMap<usize, usize> =
        groups.iter().zip(0..).flat_map(|(group, place)| group.steps.iter().map(move |at| (*at, place))).collect();
    let places = |steps: &[usize]| {
        let mut places: Vec<usize> = steps.iter().filter_map(|at| of.get(at).copied()).collect();
        places.sort_unstable();
        places.dedup();
        places
    };
    let group = |group: &Steps| Group {
        steps: group.steps.len(),
        needs: places(&group.needs),
        dependents: places(&group.dependents),
    };
    groups.iter().map(group).collect()
}

struct Page {
    canvas: Canvas,
    paint: Paint,
    row_chars: usize,
    name_chars: usize,
    has_groups: bool,
}

impl Page {
    /// The line of a step that is the `place`th of `steps` in its group.
    fn line(&self, step: &Step, row: &Row, (place, steps): (usize, usize), missing: &str) -> String {
        let standing = Standing::of(step);
        let is_unicode = self.canvas.is_unicode;
        let mut line = String::new();
        for cell in row {
            let character = cell.character(is_unicode, standing.mark(is_unicode)).to_string();
            let tone = if *cell == Cell::Step { standing.tone() } else { Tone::Faint };
            line += &if character == " " { character } else { ink(self.paint, tone, &character) };
        }
        line += &" ".repeat(self.row_chars.saturating_sub(row.len()));
        let mut chars = self.row_chars;
        if self.has_groups {
            line += &ink(self.paint, Tone::Faint, bracket(place, steps, is_unicode));
            line.push(' ');
            chars += 2;
        }
        let name = cut(&plain(&step.task), self.name_chars, self.canvas);
        line += &format!("{name:<width$}  ", width = self.name_chars);
        chars += self.name_chars + 2;
        let room = self.canvas.columns.saturating_sub(chars);
        let words = cut(&step.words(), room, self.canvas);
        line += &ink(self.paint, standing.tone(), &words);
        let room = room.saturating_sub(words.chars().count() + 2);
        if !missing.is_empty() && room > 0 {
            line += "  ";
            line += &ink(self.paint, Tone::Faint, &cut(&plain(missing), room, self.canvas));
        }
        line.trim_end().to_owned()
    }
}

/// Holds equal steps together.
fn bracket(place: usize, steps: usize, is_unicode: bool) -> &'static str {
    match (steps, place, is_unicode) {
        (1, ..) => " ",
        (_, 0, true) => "┌",
        (_, 0, false) => "/",
        (steps, place, true) if place + 1 == steps => "└",
        (steps, place, false) if place + 1 == steps => "\\",
        (_, _, true) => "│",
        (_, _, false) => "|",
    }
}

/// Says how many steps are not shown, and where they stand.
fn left_out(steps: &[&Step], shown: &[usize]) -> Option<String> {
    let mut left: BTreeMap<Standing, u64> = BTreeMap::new();
    let shown = sorted(shown);
    for (_, step) in steps.iter().enumerate().filter(|(at, _)| shown.binary_search(at).is_err()) {
        *left.entry(Standing::of(step)).or_default() += 1;
    }
    let count: u64 = left.values().sum();
    let words: Vec<String> = left.iter().map(|(standing, count)| format!("{count} {}", standing.word())).collect();
    (count > 0).then(|| format!("and {}: {} (--limit shows more)", time::count(count, "more step"), words.join(", ")))
}

#[cfg(test)]
mod tests {
    use quorate_proto::v1::TaskCounts as Counts;

    use super::*;

    const CANVAS: Canvas = Canvas { columns: 80, is_unicode: true };

    fn step(task: &str, needs: &[&str], tasks: Counts) -> Step {
        Step::for_tests(task, needs, tasks)
    }

    fn done() -> Counts {
        Counts { succeeded: 1, ..Counts::default() }
    }

    fn waits() -> Counts {
        Counts { waiting: 1, ..Counts::default() }
    }

    fn check(steps: &[Step], steps_max: usize, canvas: Canvas, expected: &[&str]) {
        let steps: Vec<&Step> = steps.iter().collect();
        let lines = lines(&steps, steps_max, canvas, Paint::Never);
        assert_eq!(lines, expected, "\n{}", lines.join("\n"));
        let bare: Vec<String> = super::lines(&steps, steps_max, canvas, Paint::Always);
        let bare = bare.iter().map(|line| anstream::adapter::strip_str(line).to_string());
        assert_eq!(bare.collect::<Vec<_>>(), expected, "colours change nothing else");
    }

    fn claims() -> Vec<Step> {
        let score = Counts { running: 1, waiting: 42, succeeded: 57, ..Counts::default() };
        let failed = Counts { failed: 1, ..Counts::default() };
        vec![
            step("fetch", &[], done()),
            step("split", &["fetch"], done()),
            step("score", &["split"], score),
            step("enrich", &["fetch"], failed),
            step("report", &["score", "enrich"], waits()),
            step("audit", &["score", "enrich"], waits()),
        ]
    }

    #[test]
    fn a_graph_is_drawn_beside_its_steps() {
        check(
            &claims(),
            50,
            CANVAS,
            &[
                "✓     fetch   succeeded",
                "├─✓   split   succeeded",
                "│ ●   score   57/100: 42 waiting, 1 running, 57 succeeded",
                "✗ │   enrich  failed",
                "○─╯ ┌ report  waiting",
                "○   └ audit   waiting",
            ],
        );
        check(
            &claims(),
            50,
            Canvas { columns: 40, is_unicode: false },
            &[
                "#     fetch   succeeded",
                "+-#   split   succeeded",
                "| *   score   57/100: 42 waiting, 1 run~",
                "x |   enrich  failed",
                "o-' / report  waiting",
                "o   \\ audit   waiting",
            ],
        );
    }

    #[test]
    fn what_failed_and_what_is_not_finished_comes_first() {
        check(
            &claims(),
            3,
            CANVAS,
            &[
                "●   score   57/100: 42 waiting, 1 running, 57 succeeded  needs 1 step not shown",
                "│ ✗ enrich  failed  needs 1 step not shown",
                "○─╯ report  waiting",
                "and 3 more steps: 1 waiting, 2 succeeded (--limit shows more)",
            ],
        );
    }

    #[test]
    fn a_graph_of_fifty_thousand_steps_is_bounded() {
        let name = |at: usize| format!("step-{at}");
        let steps: Vec<Step> = (0..50_000)
            .map(|at: usize| {
                let needs: Vec<String> =
                    [at.checked_sub(7), at.checked_sub(3)].into_iter().flatten().map(name).collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                step(&name(at), &needs, if at < 40_000 { done() } else { waits() })
            })
            .collect();
        let steps: Vec<&Step> = steps.iter().collect();
        let lines = lines(&steps, 50, CANVAS, Paint::Never);
        assert_eq!(lines.len(), 51);
        assert!(lines.iter().all(|line| line.chars().count() <= CANVAS.columns), "{}", lines.join("\n"));
        assert!(lines[50].starts_with("and 49950 more steps: 9950 waiting, 40000 succeeded"), "{}", lines[50]);
        assert!(lines[..50].iter().all(|line| line.contains("waiting")), "{}", lines.join("\n"));
    }
}

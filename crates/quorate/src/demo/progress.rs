//! The run as it goes: a live picture on a terminal, plain lines elsewhere.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use quorate_state::JobSpec;

use super::board::{Board, Move};
use super::millis_between;
use crate::render::{Output, plain};

/// Levels shown as a line each; deeper ones share the last line.
const LEVELS_MAX: usize = 10;
/// Tasks shown as a mark each in a level's line; beyond that, counts.
const MARKS_MAX: usize = 48;
/// What the marks mean.
const LEGEND: &str = "(. waiting, o queued, - placed, > running, # done, ! failed)";
/// Running tasks shown with their node.
const RUNNING_MAX: usize = 10;
/// Up to this many tasks, plain lines also tell when one starts.
const STARTS_TOLD_MAX: usize = 100;

/// The run as it goes.
pub(super) struct Progress {
    output: Output,
    begun: BootInstant,
    tells_starts: bool,
    live: Option<Live>,
}

struct Live {
    all: MultiProgress,
    bar: ProgressBar,
    levels: Vec<ProgressBar>,
    running: Vec<ProgressBar>,
}

impl Progress {
    /// Begins to show the run of a job.
    pub(super) fn new(output: Output, spec: &JobSpec) -> Self {
        let count: u64 = spec.tasks.iter().map(|task| u64::from(task.count)).sum();
        let live = output.is_live().then(|| Live::new(count));
        Self { output, begun: SystemClock.boot(), tells_starts: count <= STARTS_TOLD_MAX as u64, live }
    }

    /// Tells of attempts that moved.
    pub(super) fn moved(&self, board: &Board, moves: &[Move]) {
        for moved in moves.iter().filter(|moved| moved.is_end || (moved.state == "running" && self.tells_starts)) {
            // The live picture shows what runs; above it, only ends scroll by.
            if self.live.is_some() && !moved.is_end {
                continue;
            }
            let again = if moved.attempt > 1 { format!(" (attempt {})", moved.attempt) } else { String::new() };
            self.line(&format!(
                "{:<10} {:<28} {} in {}{again}   {}/{}",
                moved.state,
                plain(&moved.task),
                plain(&moved.node),
                plain(&moved.region),
                moved.ended,
                board.count()
            ));
        }
    }

    /// Something that nobody should miss.
    pub(super) fn headline(&self, text: &str) {
        let bold = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Yellow.into()));
        self.line(&format!("{bold}>>> {text}{bold:#}"));
    }

    /// Draws the picture anew.
    pub(super) fn draw(&self, board: &Board) {
        if let Some(live) = &self.live {
            live.draw(board);
        }
    }

    /// Takes the picture away.
    pub(super) fn finish(&self) {
        if let Some(live) = &self.live {
            // A terminal that is gone cannot be cleared.
            let _ = live.all.clear();
        }
    }

    fn line(&self, text: &str) {
        let millis = millis_between(self.begun, SystemClock.boot());
        let text = format!("{:>4}.{}s  {text}", millis / 1000, millis % 1000 / 100);
        match &self.live {
            Some(live) => live.all.suspend(|| self.output.note(&text)),
            None => self.output.note(&text),
        }
    }
}

impl Live {
    fn new(count: u64) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let bar = all.add(ProgressBar::new(count));
        bar.set_style(style("{elapsed:>5} [{bar:40}] {pos}/{len} tasks {msg}"));
        let text = || {
            let line = ProgressBar::new_spinner();
            line.set_style(style("{msg}"));
            line
        };
        let levels = (0..LEVELS_MAX).map(|_| all.add(text())).collect();
        let running = (0..RUNNING_MAX).map(|_| all.add(text())).collect();
        Self { all, bar, levels, running }
    }

    fn draw(&self, board: &Board) {
        self.bar.set_position(board.ended() as u64);
        let running: Vec<_> = board.running().collect();
        self.bar.set_message(format!("{} running   {LEGEND}", running.len()));
        let mut levels: Vec<Vec<v1::TaskState>> = board.levels().collect();
        let mut names: Vec<String> = board.level_names().collect();
        if levels.len() > LEVELS_MAX {
            let rest = levels.split_off(LEVELS_MAX - 1).concat();
            levels.push(rest);
            names.truncate(LEVELS_MAX - 1);
            names.push("later".to_owned());
        }
        for (number, line) in self.levels.iter().enumerate() {
            let text = levels.get(number).zip(names.get(number)).map(|(states, name)| {
                let name = if name.is_empty() { format!("level {}", number + 1) } else { plain(name) };
                format!("  {:<24} {}", name.chars().take(24).collect::<String>(), marks(states))
            });
            line.set_message(text.unwrap_or_default());
        }
        for (number, line) in self.running.iter().enumerate() {
            let text = running.get(number).map(|((task, index), seen)| {
                let name = if *index == 0 { plain(task) } else { format!("{}[{index}]", plain(task)) };
                format!(
                    "  running   {name:<28} {:<10} {} / {}",
                    plain(&seen.node),
                    plain(&seen.region),
                    plain(&seen.cluster)
                )
            });
            line.set_message(text.unwrap_or_default());
        }
    }
}

/// A mark for each task of a level, or counts when there are too many.
fn marks(states: &[v1::TaskState]) -> String {
    if states.len() <= MARKS_MAX {
        return states.iter().map(|state| mark(*state)).collect();
    }
    let count = |wanted| states.iter().filter(|state| mark(**state) == wanted).count();
    let (done, running, bad) = (count('#'), count('>'), count('!'));
    format!("{done} of {} succeeded, {running} running, {bad} failed", states.len())
}

fn mark(state: v1::TaskState) -> char {
    match state {
        v1::TaskState::Unspecified | v1::TaskState::Waiting => '.',
        v1::TaskState::Ready => 'o',
        v1::TaskState::Placed => '-',
        v1::TaskState::Running => '>',
        v1::TaskState::Succeeded => '#',
        v1::TaskState::Failed | v1::TaskState::Cancelled | v1::TaskState::Skipped => '!',
    }
}

/// The templates are constants; one that did not parse would show as the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_levels_show_a_mark_per_task_and_large_ones_counts() {
        let states = [v1::TaskState::Succeeded, v1::TaskState::Running, v1::TaskState::Waiting];
        assert_eq!(marks(&states), "#>.");
        let many = vec![v1::TaskState::Succeeded; MARKS_MAX + 1];
        assert_eq!(marks(&many), format!("{0} of {0} succeeded, 0 running, 0 failed", MARKS_MAX + 1));
    }
}

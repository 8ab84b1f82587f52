//! What goes wrong, where, when and for how long: drawn from a seed, printed, and read again.

use std::fmt;
use std::str::FromStr;

use crate::draw::Draw;
use crate::hosts::{AGENTS, REGIONS, REPLICAS};

/// One strike is due in so many milliseconds, on average.
const STRIKE_EVERY_MS: u64 = 3_500;
/// Load alone, before the first one.
const CALM_MS: u64 = 2_000;
/// A strike lasts between these,
const LASTS_MS: (u64, u64) = (500, 8_000);
/// and a node's up to twice its lease.
const NODE_LASTS_MS: (u64, u64) = (1_000, 14_000);
/// A clock jumps by up to an hour, either way.
const JUMP_MS_MAX: u64 = 3_600_000;
/// Lines of a schedule that is read.
const STRIKES_MAX: usize = 10_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// The process is killed (SIGKILL) and started again.
    Kill,
    /// It is stopped (SIGSTOP) and goes on.
    Pause,
    /// Nothing passes between it and others, either way.
    Cut,
    /// What it sends is lost.
    Mute,
    /// What is sent to it is lost.
    Deaf,
    /// No other replica reaches it, nor it them; clients and agents do.
    Lone,
    /// Its disk is full.
    DiskFull,
    /// Its time of day jumps, and jumps back.
    Clock,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whoever leads then, or has led last.
    Leader,
    /// This replica, from 1.
    Replica(usize),
    /// The agent of this node, from 1.
    Node(usize),
    /// Every host of this region.
    Region(usize),
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    /// When, in milliseconds since the load began.
    pub(crate) at_ms: u64,
    /// For how long.
    pub(crate) for_ms: u64,
    pub(crate) class: Class,
    pub(crate) target: Target,
    /// By how much a clock jumps; zero for all others.
    pub(crate) jump_ms: i64,
}

/// Every class, by the word for it.
pub(crate) const CLASSES: [(Class, &str); 8] = [
    (Class::Kill, "kill"),
    (Class::Pause, "pause"),
    (Class::Cut, "cut"),
    (Class::Mute, "mute"),
    (Class::Deaf, "deaf"),
    (Class::Lone, "lone"),
    (Class::DiskFull, "disk-full"),
    (Class::Clock, "clock"),
];

/// The faults of a seed within so many seconds, in the order of their times: each class once, and then
/// any.
pub(crate) fn draw(seed: u64, seconds: u64) -> Vec<Strike> {
    let mut draw = Draw::of(seed, "schedule");
    let time_ms = seconds * 1_000;
    let strikes = (time_ms.saturating_sub(CALM_MS) / STRIKE_EVERY_MS).max(CLASSES.len() as u64);
    let slot = (time_ms.saturating_sub(CALM_MS) / strikes).max(1);
    let mut classes = draw.shuffled(CLASSES.map(|(class, _)| class).to_vec());
    while (classes.len() as u64) < strikes {
        classes.push(draw.one_of(&CLASSES).0);
    }
    let mut at_ms = CALM_MS;
    let mut schedule = Vec::new();
    for class in classes {
        schedule.push(strike(&mut draw, at_ms, class));
        at_ms += draw.between(slot / 2, slot + slot / 2 + 1);
    }
    schedule
}

fn strike(draw: &mut Draw, at_ms: u64, class: Class) -> Strike {
    let target = match class {
        _ if draw.percent(40) => Target::Leader,
        Class::DiskFull | Class::Lone => Target::Replica(number(draw, REPLICAS)),
        Class::Kill | Class::Pause | Class::Clock if draw.percent(50) => Target::Node(number(draw, AGENTS)),
        Class::Cut | Class::Mute | Class::Deaf if draw.percent(30) => Target::Region(number(draw, REGIONS.len()) - 1),
        Class::Cut | Class::Mute | Class::Deaf if draw.percent(60) => Target::Node(number(draw, AGENTS)),
        Class::Kill | Class::Pause | Class::Clock | Class::Cut | Class::Mute | Class::Deaf => {
            Target::Replica(number(draw, REPLICAS))
        }
    };
    let (low, high) = if matches!(target, Target::Node(_)) { NODE_LASTS_MS } else { LASTS_MS };
    let for_ms = draw.between(low, high);
    let jump_ms = match class {
        Class::Clock => {
            let size = i64::try_from(draw.between(100, JUMP_MS_MAX)).unwrap_or(i64::MAX);
            if draw.percent(50) { size } else { -size }
        }
        Class::Kill | Class::Pause | Class::Cut | Class::Mute | Class::Deaf | Class::Lone | Class::DiskFull => 0,
    };
    Strike { at_ms, for_ms, class, target, jump_ms }
}

/// One of 1 to `count`.
fn number(draw: &mut Draw, count: usize) -> usize {
    usize::try_from(draw.between(1, count as u64 + 1)).unwrap_or(1)
}

/// Reads what [`Strike`]s are printed as, a line each; empty lines and comments (`#`) are skipped.
pub(crate) fn parse(text: &str) -> Result<Vec<Strike>, String> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.split('#').next().unwrap_or("").trim()));
    let strikes = lines.filter(|(_, line)| !line.is_empty());
    let mut schedule = strikes
        .map(|(number, line)| line.parse().map_err(|why| format!("line {number}: {why}")))
        .take(STRIKES_MAX)
        .collect::<Result<Vec<Strike>, String>>()?;
    schedule.sort_by_key(|strike| strike.at_ms);
    Ok(schedule)
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.at_ms, self.for_ms, self.class, self.target)?;
        if self.jump_ms == 0 { Ok(()) } else { write!(f, " {:+}", self.jump_ms) }
    }
}

impl FromStr for Strike {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&[at, lasts, class, target], rest) =
            words.split_first_chunk::<4>().ok_or("expected: AT_MS FOR_MS CLASS TARGET")?;
        let number = |word: &str| word.parse::<u64>().map_err(|_| format!("{word:?} is no number of milliseconds"));
        let class =
            CLASSES.iter().find(|(_, word)| *word == class).ok_or_else(|| format!("no fault is called {class:?}"))?.0;
        let jump_ms = match (class, rest) {
            (Class::Clock, [jump]) => jump.parse().map_err(|_| format!("{jump:?} is no number of milliseconds"))?,
            (Class::Clock, _) => return Err("a clock jumps by how many milliseconds?".to_owned()),
            (_, []) => 0,
            (_, [word, ..]) => return Err(format!("{word:?} means nothing here")),
        };
        let target: Target = target.parse()?;
        let wrong = match class {
            Class::DiskFull | Class::Lone => matches!(target, Target::Node(_) | Target::Region(_)),
            Class::Kill | Class::Pause | Class::Clock => matches!(target, Target::Region(_)),
            Class::Cut | Class::Mute | Class::Deaf => false,
        };
        if wrong {
            return Err(format!("{class} cannot strike {target}"));
        }
        Ok(Self { at_ms: number(at)?, for_ms: number(lasts)?, class, target, jump_ms })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLASSES.iter().find(|(class, _)| class == self).map_or("", |(_, word)| word))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("leader"),
            Self::Replica(number) => write!(f, "replica-{number}"),
            Self::Node(number) => write!(f, "node-{number}"),
            Self::Region(region) => write!(f, "region-{}", REGIONS[*region]),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "leader" {
            return Ok(Self::Leader);
        }
        let number = |text: &str, max: usize| text.parse().ok().filter(|number| (1..=max).contains(number));
        let found = match word.split_once('-') {
            Some(("replica", text)) => number(text, REPLICAS).map(Self::Replica),
            Some(("node", text)) => number(text, AGENTS).map(Self::Node),
            Some(("region", name)) => REGIONS.iter().position(|region| *region == name).map(Self::Region),
            _ => None,
        };
        found.ok_or_else(|| format!("there is no {word:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_faults_again_and_another_one_others() {
        assert_eq!(draw(7, 60), draw(7, 60));
        assert_ne!(draw(7, 60), draw(8, 60));
    }

    #[test]
    fn every_class_strikes_within_the_time_whatever_the_seed() {
        for seed in 0..200 {
            for seconds in [20, 60, 300] {
                let schedule = draw(seed, seconds);
                for (class, word) in CLASSES {
                    assert!(schedule.iter().any(|strike| strike.class == class), "seed {seed}: no {word}");
                }
                assert!(schedule.is_sorted_by_key(|strike| strike.at_ms));
                let last = schedule.last().unwrap();
                assert!(last.at_ms <= seconds * 1_500, "seed {seed}: {last}");
            }
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for seed in 0..50 {
            let schedule = draw(seed, 60);
            let printed: Vec<String> = schedule.iter().map(ToString::to_string).collect();
            assert_eq!(parse(&printed.join("\n")).unwrap(), schedule);
        }
    }

    #[test]
    fn a_schedule_of_ones_own_is_put_in_order_and_may_have_comments() {
        let schedule = parse("# mine\n\n9000 500 clock node-2 -60000\n 100 900 cut region-us # both ways\n").unwrap();
        assert_eq!(schedule[0].target, Target::Region(1));
        assert_eq!((schedule[1].class, schedule[1].jump_ms), (Class::Clock, -60_000));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for (line, expected) in [
            ("1 2 kill", "line 1: expected"),
            ("1 x kill leader", "\"x\" is no number"),
            ("1 2 melt leader", "no fault is called \"melt\""),
            ("1 2 kill replica-9", "there is no \"replica-9\""),
            ("1 2 disk-full node-1", "disk-full cannot strike node-1"),
            ("1 2 clock leader", "by how many"),
            ("1 2 kill leader 7", "\"7\" means nothing here"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }
}

//! What goes wrong, where, when and for how long: printed, and read again. `menu` draws it from a seed.

use std::fmt;
use std::str::FromStr;

use crate::hosts::{AGENTS, REGIONS, REPLICAS};

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
    /// Nothing passes between a region and the others.
    Isolate,
    /// What comes from a region or goes there takes longer, and some of it is lost.
    Slow,
    /// The disk of a replica is full.
    DiskFull,
    /// That of an agent.
    AgentDiskFull,
    /// Its time of day jumps, and jumps back.
    Clock,
    /// The first process of a task is killed, of each promise one that runs there.
    TaskKill,
    /// It is stopped, and goes on.
    TaskPause,
    /// All processes of a task are killed at once.
    GroupKill,
    /// They are stopped, and go on.
    GroupPause,
    /// One after the other is asked to stop (SIGTERM) and started again.
    Rolling,
    /// Leadership is passed on, again and again.
    Transfer,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whoever leads then, or has led last.
    Leader,
    /// This replica, from 1.
    Replica(usize),
    /// The agent of this node, from 1; or tasks there, or elsewhere if there are none.
    Node(usize),
    /// Every host of this region.
    Region(usize),
    /// All replicas.
    Replicas,
    /// All agents.
    Nodes,
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
    /// By how many milliseconds a clock jumps, or packets are late; zero for all others.
    pub(crate) by_ms: i64,
}

/// Every class, by the word for it.
pub(crate) const CLASSES: [(Class, &str); 17] = [
    (Class::Kill, "kill"),
    (Class::Pause, "pause"),
    (Class::Cut, "cut"),
    (Class::Mute, "mute"),
    (Class::Deaf, "deaf"),
    (Class::Lone, "lone"),
    (Class::Isolate, "isolate"),
    (Class::Slow, "slow"),
    (Class::DiskFull, "disk-full"),
    (Class::AgentDiskFull, "agent-disk-full"),
    (Class::Clock, "clock"),
    (Class::TaskKill, "task-kill"),
    (Class::TaskPause, "task-pause"),
    (Class::GroupKill, "group-kill"),
    (Class::GroupPause, "group-pause"),
    (Class::Rolling, "rolling"),
    (Class::Transfer, "transfer"),
];

impl Class {
    /// True when it can strike there.
    pub(crate) fn strikes(self, target: Target) -> bool {
        match self {
            Self::Kill | Self::Pause | Self::Clock => {
                matches!(target, Target::Leader | Target::Replica(_) | Target::Node(_))
            }
            Self::Cut | Self::Mute | Self::Deaf => !matches!(target, Target::Replicas | Target::Nodes),
            Self::Lone | Self::DiskFull => matches!(target, Target::Leader | Target::Replica(_)),
            Self::Isolate | Self::Slow => matches!(target, Target::Region(_)),
            Self::AgentDiskFull | Self::TaskKill | Self::TaskPause | Self::GroupKill | Self::GroupPause => {
                matches!(target, Target::Node(_))
            }
            Self::Rolling => matches!(target, Target::Replicas | Target::Nodes),
            Self::Transfer => target == Target::Replicas,
        }
    }

    /// True when it is said by how much.
    fn has_measure(self) -> bool {
        matches!(self, Self::Clock | Self::Slow)
    }
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
        if self.by_ms == 0 { Ok(()) } else { write!(f, " {:+}", self.by_ms) }
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
        let by_ms = match (class.has_measure(), rest) {
            (true, [by]) => by.parse().map_err(|_| format!("{by:?} is no number of milliseconds"))?,
            (true, _) => return Err(format!("{class} by how many milliseconds?")),
            (false, []) => 0,
            (false, [word, ..]) => return Err(format!("{word:?} means nothing here")),
        };
        let target: Target = target.parse()?;
        if !class.strikes(target) {
            return Err(format!("{class} cannot strike {target}"));
        }
        Ok(Self { at_ms: number(at)?, for_ms: number(lasts)?, class, target, by_ms })
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
            Self::Replicas => f.write_str("replicas"),
            Self::Nodes => f.write_str("nodes"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let number = |text: &str, max: usize| text.parse().ok().filter(|number| (1..=max).contains(number));
        let found = match word.split_once('-') {
            None if word == "leader" => Some(Self::Leader),
            None if word == "replicas" => Some(Self::Replicas),
            None if word == "nodes" => Some(Self::Nodes),
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
    fn a_schedule_of_ones_own_is_put_in_order_and_may_have_comments() {
        let schedule = parse("# mine\n\n9000 500 clock node-2 -60000\n 100 900 cut region-us # both ways\n").unwrap();
        assert_eq!(schedule[0].target, Target::Region(1));
        assert_eq!((schedule[1].class, schedule[1].by_ms), (Class::Clock, -60_000));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for (line, expected) in [
            ("1 2 kill", "line 1: expected"),
            ("1 x kill leader", "\"x\" is no number"),
            ("1 2 melt leader", "no fault is called \"melt\""),
            ("1 2 kill replica-9", "there is no \"replica-9\""),
            ("1 2 disk-full node-1", "disk-full cannot strike node-1"),
            ("1 2 agent-disk-full leader", "agent-disk-full cannot strike leader"),
            ("1 2 transfer leader", "transfer cannot strike leader"),
            ("1 2 slow region-eu", "by how many"),
            ("1 2 clock leader", "by how many"),
            ("1 2 kill leader 7", "\"7\" means nothing here"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }
}

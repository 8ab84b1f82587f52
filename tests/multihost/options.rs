//! The command line.

use std::path::PathBuf;

use crate::schedule::{Strike, parse};

/// What may be typed.
pub(crate) const HELP: &str = "\
usage: multihost [--seed N] [--minutes N | --seconds N] [--schedule FILE] [--keep DIR] [--print] [--check]

  --seed N         where everything that is drawn follows from (default 1)
  --minutes N      how long faults go on, 1 to 120
  --seconds N      the same, 20 to 7200 (default 60)
  --schedule FILE  these faults in the place of drawn ones; a line is what --print prints
  --keep DIR       put logs, history and ledger there
  --print          print what would happen, and do nothing
  --check          say whether this machine can do it, and do nothing else

ends with 0: all held; 1: something did not; 2: wrong usage; 3: the run shows nothing; 4: this machine cannot";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) schedule: Option<Vec<Strike>>,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) only_print: bool,
    pub(crate) only_check: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run(Options),
    Help,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Wish, String> {
        let mut options =
            Self { seed: 1, seconds: 60, schedule: None, keep: None, only_print: false, only_check: false };
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{flag}: {text:?} is no number"));
            match flag.as_str() {
                "--seed" => options.seed = number(value()?)?,
                "--seconds" => options.seconds = number(value()?)?,
                "--minutes" => options.seconds = number(value()?)?.saturating_mul(60),
                "--schedule" => {
                    let path = value()?;
                    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                    options.schedule = Some(parse(&text).map_err(|why| format!("{path}: {why}"))?);
                }
                "--keep" => options.keep = Some(value()?.into()),
                "--print" => options.only_print = true,
                "--check" => options.only_check = true,
                "--help" | "-h" => return Ok(Wish::Help),
                _ => return Err(format!("what is {flag:?}?")),
            }
        }
        if !(20..=7_200).contains(&options.seconds) {
            return Err(format!("faults go on for 20 to 7200 seconds, not for {}", options.seconds));
        }
        Ok(Wish::Run(options))
    }

    /// The command that does the same again.
    pub(crate) fn command(&self) -> String {
        let Self { seed, seconds, .. } = self;
        match (&self.schedule, seconds % 60) {
            (Some(_), _) => format!("multihost --seed {seed} --seconds {seconds} --schedule FILE"),
            (None, 0) => format!("make chaos MINUTES={} SEED={seed}", seconds / 60),
            (None, _) => format!("multihost --seed {seed} --seconds {seconds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(line: &str) -> Result<Wish, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<String>>())
    }

    #[test]
    fn flags_are_read_and_wrong_ones_named() {
        let Ok(Wish::Run(options)) = wish("--seed 7 --seconds 30 --print") else { panic!("it is right") };
        assert_eq!((options.seed, options.seconds, options.only_print), (7, 30, true));
        assert_eq!(wish("--help"), Ok(Wish::Help));
        for (line, expected) in
            [("--seed", "needs a value"), ("--seed x", "no number"), ("--minutes 300", "go on for"), ("-v", "what is")]
        {
            assert!(wish(line).unwrap_err().contains(expected), "{line}");
        }
    }

    #[test]
    fn the_command_to_repeat_it_means_the_same() {
        let command = |line: &str| {
            let Ok(Wish::Run(options)) = wish(line) else { panic!("{line}") };
            options.command()
        };
        assert_eq!(command("--minutes 60 --seed 9"), "make chaos MINUTES=60 SEED=9");
        assert_eq!(command("--seconds 45"), "multihost --seed 1 --seconds 45");
    }
}

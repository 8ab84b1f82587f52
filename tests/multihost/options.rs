//! The command line.

use std::path::PathBuf;

use crate::schedule::{Strike, parse};

/// What may be typed.
pub(crate) const HELP: &str = "\
usage: multihost [--seed N] [--seconds N] [--schedule FILE] [--keep DIR] [--print]

  --seed N         where everything that is drawn follows from (default 1)
  --seconds N      how long faults go on, 20 to 3600 (default 60)
  --schedule FILE  these faults in the place of drawn ones; a line is what --print prints
  --keep DIR       put logs, history and ledger there
  --print          print what would happen, and do nothing";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) schedule: Option<Vec<Strike>>,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) only_print: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run(Options),
    Help,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Wish, String> {
        let mut options = Self { seed: 1, seconds: 60, schedule: None, keep: None, only_print: false };
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{flag}: {text:?} is no number"));
            match flag.as_str() {
                "--seed" => options.seed = number(value()?)?,
                "--seconds" => options.seconds = number(value()?)?,
                "--schedule" => {
                    let path = value()?;
                    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                    options.schedule = Some(parse(&text).map_err(|why| format!("{path}: {why}"))?);
                }
                "--keep" => options.keep = Some(value()?.into()),
                "--print" => options.only_print = true,
                "--help" | "-h" => return Ok(Wish::Help),
                _ => return Err(format!("what is {flag:?}?")),
            }
        }
        if !(20..=3_600).contains(&options.seconds) {
            return Err(format!("--seconds: {} is not between 20 and 3600", options.seconds));
        }
        Ok(Wish::Run(options))
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
            [("--seed", "needs a value"), ("--seed x", "no number"), ("--seconds 5", "between"), ("-v", "what is")]
        {
            assert!(wish(line).unwrap_err().contains(expected), "{line}");
        }
    }
}

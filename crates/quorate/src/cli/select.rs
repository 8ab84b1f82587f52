//! The flags by which lists of runs and jobs are narrowed down; the control plane does the looking.

use clap::{Args, ValueEnum};
use quorate_proto::v1;

use super::moment::{Moment, moment};

/// Flags of a list.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Select {
    /// Only in this state; may be repeated
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only with this label of the job: KEY=VALUE, or KEY for any value; may be repeated, and then all must fit
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only what was submitted at this time or later, such as 2026-11-21T15:04:05Z, or so long ago, such as 5m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Only what was submitted before this time, or longer ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// Go on where an earlier list with the same flags ended (next_page_token of --json)
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub(crate) page_token: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// The same as requests say it.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// Empty: any.
    pub(crate) states: Vec<i32>,
    /// All must fit.
    pub(crate) labels: Vec<v1::Label>,
    /// Milliseconds since the Unix epoch.
    pub(crate) since_ms: Option<u64>,
    /// Milliseconds since the Unix epoch, excluded.
    pub(crate) until_ms: Option<u64>,
}

impl Select {
    /// What to ask for on every page: instants do not move on while a list is read.
    pub(crate) fn selected(&self) -> Selected {
        let label = |(key, value): &(String, String)| v1::Label { key: key.clone(), value: value.clone() };
        Selected {
            states: self.state.iter().map(|state| state.wire()).collect(),
            labels: self.labels.iter().map(label).collect(),
            since_ms: self.since.map(Moment::millis),
            until_ms: self.until.map(Moment::millis),
        }
    }
}

impl State {
    fn wire(self) -> i32 {
        let state = match self {
            Self::Pending => v1::RunState::Pending,
            Self::Running => v1::RunState::Running,
            Self::Succeeded => v1::RunState::Succeeded,
            Self::Failed => v1::RunState::Failed,
            Self::Cancelled => v1::RunState::Cancelled,
        };
        state.into()
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, "*"));
    if key.is_empty() {
        return Err(format!("{text:?} names no label: write KEY=VALUE, or KEY for any value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_value_or_stands_for_any() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(label("team=risk"), pair("team", "risk"));
        assert_eq!(label("team"), pair("team", "*"));
        assert_eq!(label("team="), pair("team", ""));
        assert_eq!(label("query=a=b"), pair("query", "a=b"));
        assert!(label("=risk").is_err() && label("").is_err());
    }
}

//! Pages of lists of runs, and single runs, one after the other, at places that a seed decides.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use super::drawn::{Drawn, INCIDENT, TASK, label};
use crate::Error;
use crate::dice::Dice;
use crate::jobs::run_by_id;
use crate::latency::{Latencies, Quantiles};
use crate::samples::rounded;

/// Runs of one page: what the product takes when nobody says.
pub const PAGE_SIZE: u32 = 100;
/// Pages that are read one after the other from one place on.
const PAGES_FROM_A_PLACE: usize = 5;
/// A window of time is such a part (1/50) of the time in which all were submitted.
const WINDOW_DIVISOR: u64 = 50;
/// Least characters of a prefix that names a run: the product's `PREFIX_CHARS_MIN`.
const PREFIX_CHARS_MIN: usize = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Runs, whatever they are.
    All,
    /// Those of a namespace.
    Namespace,
    /// Those of a job.
    Job,
    /// Those with a label that one in 50 has.
    Label,
    /// Those with a label that one in 10,000 has.
    RareLabel,
    /// Those with both.
    TwoLabels,
    /// Those that failed.
    Failed,
    /// Those that failed, with a label, submitted in a window of time.
    LabelFailedWindow,
    /// An archived run by its id.
    GetRun,
    /// An archived run by the shortest prefix of its id that no other one has.
    GetRunByPrefix,
    /// The tasks of an archived run.
    ListTasks,
    /// The attempts of an archived run.
    ListAttempts,
}

impl Kind {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 12] = [
        Self::All,
        Self::Namespace,
        Self::Job,
        Self::Label,
        Self::RareLabel,
        Self::TwoLabels,
        Self::Failed,
        Self::LabelFailedWindow,
        Self::GetRun,
        Self::GetRunByPrefix,
        Self::ListTasks,
        Self::ListAttempts,
    ];
}

/// How long pages of one kind took.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was asked for.
    pub kind: Kind,
    /// How often.
    pub pages: u64,
    /// How long each took.
    #[serde(flatten)]
    pub latency: Quantiles,
    /// Rows of a page, the mean.
    pub rows_mean: f64,
    /// Pages that had fewer rows than were asked for, and a next page.
    pub short: u64,
}

/// Runs, and where to look for them.
pub(super) struct Asked<'a> {
    pub(super) client: &'a Client,
    pub(super) seed: u64,
    /// Ids of all runs, by number.
    pub(super) ids: &'a [Box<str>],
    /// So many of the first ones are in the archive.
    pub(super) archived: usize,
    /// When the first and the last were submitted, in milliseconds since the Unix epoch.
    pub(super) submitted: (u64, u64),
    /// Pages of each kind, at least.
    pub(super) pages: u64,
}

/// One question that is asked.
enum Question<'a> {
    Runs(v1::ListRunsRequest),
    /// A run, and how it is named.
    Run(&'a str, &'a str),
    Tasks(&'a str),
    Attempts(&'a str),
}

#[derive(Default)]
struct Tally {
    latencies: Latencies,
    rows: u64,
    short: u64,
}

impl Tally {
    fn add(&mut self, took: Duration, rows: usize, is_short: bool) {
        self.latencies.record(took);
        self.rows += rows as u64;
        self.short += u64::from(is_short);
    }
}

impl Asked<'_> {
    /// Asks for pages of one kind.
    pub(super) async fn measure(&self, kind: Kind) -> Result<Measured, Error> {
        let (mut tally, mut dice) = (Tally::default(), Dice(self.seed ^ kind as u64));
        while tally.latencies.count() < self.pages {
            match self.question(kind, &mut dice) {
                Question::Runs(request) => self.pages_from(request, &mut tally).await?,
                Question::Run(id, named) => self.run(id, named, &mut tally).await?,
                Question::Tasks(id) => self.tasks(id, &mut tally).await?,
                Question::Attempts(id) => self.attempts(id, &mut tally).await?,
            }
        }
        let pages = tally.latencies.count();
        Ok(Measured {
            kind,
            pages,
            latency: tally.latencies.quantiles(),
            rows_mean: rounded(tally.rows as f64 / pages as f64),
            short: tally.short,
        })
    }

    fn question(&self, kind: Kind, dice: &mut Dice) -> Question<'_> {
        let like = Drawn::of(self.seed, dice.below(self.ids.len() as u64));
        let (first, last) = self.submitted;
        let until = first + 1 + dice.below(last.saturating_sub(first) + 1);
        let any = v1::ListRunsRequest {
            page_size: PAGE_SIZE,
            submitted_until_ms: Some(until),
            ..v1::ListRunsRequest::default()
        };
        let failed = vec![v1::RunState::Failed.into()];
        let team = label("team", &like.team);
        let id = &*self.ids[usize::try_from(dice.below(self.archived as u64)).unwrap_or(0)];
        Question::Runs(match kind {
            Kind::All => any,
            Kind::Namespace => v1::ListRunsRequest { namespace: like.namespace, ..any },
            Kind::Job => v1::ListRunsRequest { namespace: like.namespace, job: like.job, ..any },
            Kind::Label => v1::ListRunsRequest { labels: vec![team], ..any },
            Kind::RareLabel => v1::ListRunsRequest { labels: vec![label(INCIDENT.0, "*")], ..any },
            Kind::TwoLabels => v1::ListRunsRequest { labels: vec![label(INCIDENT.0, INCIDENT.1), team], ..any },
            Kind::Failed => v1::ListRunsRequest { states: failed, ..any },
            Kind::LabelFailedWindow => v1::ListRunsRequest {
                states: failed,
                labels: vec![team],
                submitted_since_ms: Some(until.saturating_sub(last.saturating_sub(first) / WINDOW_DIVISOR + 1)),
                ..any
            },
            Kind::GetRun => return Question::Run(id, id),
            Kind::GetRunByPrefix => return Question::Run(id, &id[..self.prefix_chars(id)]),
            Kind::ListTasks => return Question::Tasks(id),
            Kind::ListAttempts => return Question::Attempts(id),
        })
    }

    /// Pages one after the other, the first of which begins where the request says.
    async fn pages_from(&self, mut request: v1::ListRunsRequest, tally: &mut Tally) -> Result<(), Error> {
        for _ in 0..PAGES_FROM_A_PLACE {
            let begun = SystemClock.boot();
            let page = self.client.list_runs(request.clone()).await?;
            let is_last = page.next_page_token.is_empty();
            let is_short = page.runs.len() < PAGE_SIZE as usize && !is_last;
            tally.add(SystemClock.boot().since(begun), page.runs.len(), is_short);
            if is_last {
                break;
            }
            request.page_token = page.next_page_token;
        }
        Ok(())
    }

    async fn run(&self, id: &str, named: &str, tally: &mut Tally) -> Result<(), Error> {
        let begun = SystemClock.boot();
        let answer = self.client.get_run(v1::GetRunRequest { run: run_by_id(named) }).await?;
        tally.add(SystemClock.boot().since(begun), 1, false);
        expect(answer.run.is_some_and(|run| run.id == id), id, "another one")
    }

    async fn tasks(&self, id: &str, tally: &mut Tally) -> Result<(), Error> {
        let request =
            v1::ListTasksRequest { run: run_by_id(id), page_size: PAGE_SIZE, ..v1::ListTasksRequest::default() };
        let begun = SystemClock.boot();
        let tasks = self.client.list_tasks(request).await?.tasks;
        tally.add(SystemClock.boot().since(begun), tasks.len(), false);
        expect(tasks.iter().any(|task| task.task == TASK), id, "a list without its task")
    }

    async fn attempts(&self, id: &str, tally: &mut Tally) -> Result<(), Error> {
        let request =
            v1::ListAttemptsRequest { run: run_by_id(id), page_size: PAGE_SIZE, ..v1::ListAttemptsRequest::default() };
        let begun = SystemClock.boot();
        let attempts = self.client.list_attempts(request).await?.attempts;
        tally.add(SystemClock.boot().since(begun), attempts.len(), false);
        let is_its = |attempt: &v1::Attempt| attempt.run_id == id && attempt.task == TASK;
        expect(attempts.iter().any(is_its), id, "a list without its attempt")
    }

    /// How many characters of an id no other one begins with.
    fn prefix_chars(&self, id: &str) -> usize {
        let in_common = |other: &str| id.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
        let others = self.ids.iter().filter(|other| &***other != id).map(|other| in_common(other) + 1);
        others.max().unwrap_or(0).clamp(PREFIX_CHARS_MIN, id.len())
    }
}

fn expect(is_so: bool, run: &str, otherwise: &str) -> Result<(), Error> {
    if is_so { Ok(()) } else { Err(Error::Outcome(format!("who asked for run {run} got {otherwise}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(client: &'a Client, ids: &'a [Box<str>]) -> Asked<'a> {
        Asked { client, seed: 1, ids, archived: ids.len(), submitted: (1_000, 51_000), pages: 10 }
    }

    fn client() -> Client {
        use std::sync::Arc;
        let config = quorate_client::ClientConfig::new(vec!["127.0.0.1:1".into()]);
        Client::new(config, Arc::new(quorate_seams::TcpNetwork), Arc::new(quorate_seams::SystemEntropy))
    }

    #[test]
    fn lists_begin_within_the_time_in_which_runs_were_submitted() {
        let (client, ids) = (client(), vec![Box::<str>::from("0123456789abc"); 100]);
        let (asked, mut dice) = (asked(&client, &ids), Dice(5));
        for kind in Kind::ALL {
            for _ in 0..50 {
                let Question::Runs(request) = asked.question(kind, &mut dice) else { continue };
                let until = request.submitted_until_ms.unwrap();
                assert!((1_001..=51_001).contains(&until), "{request:?}");
                if let Some(since) = request.submitted_since_ms {
                    assert_eq!((kind, until - since), (Kind::LabelFailedWindow, 1_001));
                }
            }
        }
    }

    #[test]
    fn each_kind_asks_for_what_it_is_named_after() {
        let (client, ids) = (client(), vec![Box::<str>::from("0123456789abc"); 100]);
        let (asked, mut dice) = (asked(&client, &ids), Dice(5));
        let mut shape = |kind: Kind| {
            let Question::Runs(request) = asked.question(kind, &mut dice) else { return None };
            let keys: Vec<String> = request.labels.into_iter().map(|label| label.key).collect();
            Some((!request.namespace.is_empty(), !request.job.is_empty(), keys.join(","), request.states.len()))
        };
        assert_eq!(shape(Kind::All), Some((false, false, "".into(), 0)));
        assert_eq!(shape(Kind::Namespace), Some((true, false, "".into(), 0)));
        assert_eq!(shape(Kind::Job), Some((true, true, "".into(), 0)));
        assert_eq!(shape(Kind::TwoLabels), Some((false, false, "incident,team".into(), 0)));
        assert_eq!(shape(Kind::LabelFailedWindow), Some((false, false, "team".into(), 1)));
        assert_eq!(shape(Kind::GetRun), None);
    }

    #[test]
    fn a_prefix_is_as_long_as_it_has_to_be() {
        let ids = ["0123456789abc", "0123459999999", "zzzzzzzzzzzzz"].map(Box::<str>::from);
        let client = client();
        let asked = asked(&client, &ids);
        assert_eq!(ids.each_ref().map(|id| asked.prefix_chars(id)), [7, 7, 4]);
    }
}

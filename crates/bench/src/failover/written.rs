//! What was acknowledged while leaders went, and whether all of it is there in the end, and once.
//!
//! Every write goes to a place of its own, a key of a run, so that none hides what became of another. How
//! often it took effect is read from the run's events after each round; what stands there, at the end.

use std::collections::BTreeMap;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_proto::v1::run_event::Event;
use quorate_proto::v1::runs_client::RunsClient;
use quorate_proto::v1::watch_run_response::Item;
use quorate_seams::{Entropy as _, SystemEntropy};
use tonic::Request;
use tonic::transport::Channel;

use crate::Error;
use crate::jobs::run_by_id;
use crate::load::{CALL_DEADLINE, Target, value};
use crate::log::make_runs;

/// Places of one run: the product's `annotations_per_run_max`.
const PLACES_PER_RUN: u64 = 64;
/// Runs of one round. With the most rounds, their request ids stay below the product's `requests_max`.
const RUNS: usize = 32;
/// Writes of one round at most; they are numbered from 0.
pub(super) const WRITES_MAX: u64 = PLACES_PER_RUN * RUNS as u64;

/// Writes of one round: each puts its value under its place.
pub(super) struct Places {
    connections: Vec<RunsClient<Channel>>,
    runs: Vec<String>,
    nonce: u64,
}

impl Target for Places {
    async fn operate(&self, connection: usize, number: u64) -> Result<(), String> {
        let (run, key) = place(number);
        let mut request = Request::new(v1::AnnotateRunRequest {
            run: run_by_id(&self.runs[run]),
            key,
            value: content(self.nonce, number),
            request_id: format!("{:016x}{number:016x}", self.nonce),
        });
        request.set_timeout(CALL_DEADLINE);
        let answer = self.connections[connection].clone().annotate_run(request).await;
        answer.map(drop).map_err(|status| status.to_string())
    }
}

/// The run, by its position, and the key that operation `number` writes.
fn place(number: u64) -> (usize, String) {
    ((number / PLACES_PER_RUN) as usize, format!("w{}", number % PLACES_PER_RUN))
}

/// What it writes there: nothing else of this measurement writes the same.
fn content(nonce: u64, number: u64) -> String {
    value(nonce.wrapping_add(number))
}

/// What the writes of all rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Writes that were acknowledged,
    pub(super) acknowledged: u64,
    /// and so many of them are not there, or not as they were written, or have no event.
    pub(super) lost: u64,
    /// Writes that took effect more than once, acknowledged or not.
    pub(super) duplicated: u64,
}

/// The writes of all rounds.
#[derive(Default)]
pub(super) struct Book {
    pages: Vec<Page>,
}

/// The writes of one round.
pub(super) struct Page {
    runs: Vec<String>,
    nonce: u64,
    /// Everything that is written comes after this revision.
    since: u64,
    /// By number.
    writes: Vec<Write>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Write {
    is_acknowledged: bool,
    /// How often it took effect by the end of its round,
    effects: u32,
    /// and when it last did, in milliseconds since the epoch.
    at_ms: u64,
}

impl Page {
    /// Makes the runs of a round; `members` are connections to all replicas.
    pub(super) async fn begin(client: &Client, members: &[Channel]) -> Result<(Self, Places), Error> {
        let runs = make_runs(client, RUNS).await?;
        let request = v1::ListRunsRequest { page_size: 1, ..v1::ListRunsRequest::default() };
        let since = client.list_runs(request).await?.revision;
        let nonce = SystemEntropy.u64();
        let connections = members.iter().cloned().map(RunsClient::new).collect();
        let places = Places { connections, runs: runs.clone(), nonce };
        Ok((Self::new(runs, nonce, since), places))
    }

    fn new(runs: Vec<String>, nonce: u64, since: u64) -> Self {
        let writes = vec![Write::default(); PLACES_PER_RUN as usize * runs.len()];
        Self { runs, nonce, since, writes }
    }

    pub(super) fn acknowledged(&mut self, number: u64) {
        self.writes[number as usize].is_acknowledged = true;
    }

    /// Counts how often each write has taken effect.
    pub(super) async fn count(&mut self, client: &Client) -> Result<(), Error> {
        for run in 0..self.runs.len() {
            let request = v1::WatchRunRequest { run: run_by_id(&self.runs[run]), after_revision: self.since };
            let mut watch = client.watch_run(request);
            while let Some(message) = watch.next().await.transpose()? {
                match message.item {
                    Some(Item::Event(v1::RunEvent { at_ms, event: Some(Event::Annotated(annotated)) })) => {
                        self.took_effect(run, &annotated.key, at_ms);
                    }
                    // The run had ended before: after the events it is said once more how it stands.
                    Some(Item::Snapshot(_)) => break,
                    Some(Item::Event(_) | Item::Bookmark(_)) | None => {}
                }
            }
        }
        Ok(())
    }

    fn took_effect(&mut self, run: usize, key: &str, at_ms: u64) {
        let within = key.strip_prefix('w').and_then(|number| number.parse::<usize>().ok());
        let number = within.map(|within| run * PLACES_PER_RUN as usize + within);
        if let Some(write) = number.and_then(|number| self.writes.get_mut(number)) {
            write.effects += 1;
            write.at_ms = at_ms;
        }
    }

    /// What became of these writes, by what stands at the runs now, in their order.
    fn judge(&self, found: &[Vec<v1::Annotation>]) -> Verdict {
        let found: Vec<BTreeMap<&str, &v1::Annotation>> =
            found.iter().map(|all| all.iter().map(|one| (one.key.as_str(), one)).collect()).collect();
        let mut verdict = Verdict::default();
        for (number, write) in (0..).zip(&self.writes) {
            let (run, key) = place(number);
            let stands = found.get(run).and_then(|run| run.get(key.as_str()));
            let is_whole = stands.is_some_and(|stands| stands.value == content(self.nonce, number));
            verdict.acknowledged += u64::from(write.is_acknowledged);
            // One without an event is missing in the history, whatever stands there.
            verdict.lost += u64::from(write.is_acknowledged && (write.effects == 0 || !is_whole));
            // A later time than that of its round: it took effect once more since then.
            let is_later = write.effects > 0 && stands.is_some_and(|stands| stands.at_ms > write.at_ms);
            verdict.duplicated += u64::from(write.effects > 1 || is_later);
        }
        verdict
    }
}

impl Book {
    /// A round is over.
    pub(super) fn add(&mut self, page: Page) {
        self.pages.push(page);
    }

    /// Looks for every write.
    pub(super) async fn settle(&self, client: &Client) -> Result<Verdict, Error> {
        let mut all = Verdict::default();
        for page in &self.pages {
            let mut found = Vec::with_capacity(page.runs.len());
            for run in &page.runs {
                found.push(client.get_run(v1::GetRunRequest { run: run_by_id(run) }).await?.annotations);
            }
            let verdict = page.judge(&found);
            all.acknowledged += verdict.acknowledged;
            all.lost += verdict.lost;
            all.duplicated += verdict.duplicated;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = u64::MAX;

    fn stands(number: u64, value: String, at_ms: u64) -> v1::Annotation {
        v1::Annotation { key: place(number).1, value, at_ms, principal: String::new() }
    }

    fn whole(number: u64, at_ms: u64) -> v1::Annotation {
        stands(number, content(NONCE, number), at_ms)
    }

    /// Two runs; writes 0, 1, 64 and 65 were acknowledged and took effect at 100 ms, write 2 did neither.
    fn page() -> Page {
        let mut page = Page::new(vec!["a".to_owned(), "b".to_owned()], NONCE, 7);
        for number in [0, 1, 64, 65] {
            page.acknowledged(number);
            let (run, key) = place(number);
            page.took_effect(run, &key, 100);
        }
        page
    }

    #[test]
    fn every_write_has_a_place_and_a_content_of_its_own() {
        let places: std::collections::BTreeSet<_> = (0..WRITES_MAX).map(place).collect();
        assert_eq!(places.len() as u64, WRITES_MAX);
        assert_eq!(place(WRITES_MAX - 1).0, RUNS - 1);
        assert_ne!(content(NONCE, 0), content(NONCE, 1));
    }

    #[test]
    fn what_is_there_once_is_fine_also_when_nobody_acknowledged_it() {
        let found = [vec![whole(0, 100), whole(1, 100), whole(2, 300)], vec![whole(64, 100), whole(65, 100)]];
        assert_eq!(page().judge(&found), Verdict { acknowledged: 4, lost: 0, duplicated: 0 });
    }

    #[test]
    fn a_write_that_is_missing_or_changed_is_lost() {
        let found = [vec![whole(1, 100)], vec![stands(64, content(NONCE, 65), 100), whole(65, 100)]];
        assert_eq!(page().judge(&found), Verdict { acknowledged: 4, lost: 2, duplicated: 0 });
        assert_eq!(page().judge(&[]).lost, 4, "the runs themselves are gone");
        let mut page = page();
        page.acknowledged(2);
        let found = [vec![whole(0, 100), whole(1, 100), whole(2, 100)], vec![whole(64, 100), whole(65, 100)]];
        assert_eq!(page.judge(&found).lost, 1, "write 2 has no event");
    }

    #[test]
    fn a_write_that_took_effect_twice_is_told_also_when_that_was_later() {
        let found = [vec![whole(0, 100), whole(1, 250)], vec![whole(64, 100), whole(65, 100)]];
        assert_eq!(page().judge(&found).duplicated, 1, "at 100 ms and at 250 ms");
        let mut page = page();
        page.took_effect(1, "w0", 100);
        page.took_effect(1, "other", 100);
        assert_eq!(page.judge(&found).duplicated, 2);
    }
}

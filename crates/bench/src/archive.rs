//! What very many runs that have ended cost, and how fast they are found: runs are submitted and end, until all but those
//! that stay in memory are in the archive; then pages of lists are asked for.
//!
//! Read in this order: `drawn` (the runs), `fill` (their submits, until they are in the archive), `pages` (what is asked for
//! then, and how long it takes), `walk` (whether lists have all that they should), `disk` (the room that they take). The
//! agents are in this process and run nothing (`agents`): their processes end at once, and some fail.

mod drawn;

mod fill;
mod pages;
mod walk;

mod disk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig};
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock, SystemEntropy, TcpNetwork};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Error;
use crate::agents::{Fleet, Processes, fails};
use crate::jobs::run_by_id;
use crate::local::{LocalCluster, Options};
use crate::samples::rounded;
use crate::workflow::{Longest, Meter, Times, by_bounds};
use drawn::{Drawn, INCIDENT, label};
use fill::{Fill, Filled};
use pages::Asked;
pub use pages::{Kind, Measured, PAGE_SIZE};
pub use walk::Walk;

/// Ended runs that stay in memory: the product's `memory_runs_max`, and the eighth by which it is exceeded before any go.
const STAY_MAX: u64 = 10_000 + 10_000 / 8;
/// Runs that are begun and have not ended, as far as is known.
const UNFINISHED_MAX: u64 = 2_000;
/// Fewer runs leave next to nothing for the archive.
const RUNS_MIN: u32 = 15_000;
/// The product's `archive_runs_max`: with more, the oldest would be forgotten.
const RUNS_MAX: u32 = 1_000_000;
/// Replicas at most.
const REPLICAS_MAX: usize = 7;
/// Agents at most: few of them hold very many tasks.
const AGENTS_MAX: usize = 1_000;
/// Pages of each kind at most.
const PAGES_MAX: u64 = 100_000;
/// One run in so many fails.
const ONE_IN_FAILS: u64 = 20;
/// Sessions of one connection.
const SESSIONS_PER_CONNECTION: usize = 100;
/// Longest deadline of a measurement.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A cluster comes to rest before it is measured.
const REST: Duration = Duration::from_secs(1);
/// How long one try of a replica that starts is waited for.
const TRY: Duration = Duration::from_millis(500);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// What to do when there was not enough time.
const MORE_TIME: &str = "give it more time with --within, or take fewer --runs";

/// Told what goes on.
type Note<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What is measured.
#[derive(Clone, Debug)]
pub struct ArchiveBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many runs.
    pub runs: u32,
    /// How many replicas.
    pub replicas: usize,
    /// How many agents.
    pub agents: usize,
    /// Pages of each kind, at least.
    pub pages: u64,
    /// What runs and questions are drawn from.
    pub seed: u64,
    /// It is given up after so long, from the start of the cluster on.
    pub deadline: Duration,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured. What is one replica's is that of the replica that led in the beginning.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `archive`.
    pub bench: &'static str,
    /// How many runs.
    pub runs: u32,
    /// How many replicas.
    pub replicas: usize,
    /// How many agents.
    pub agents: usize,
    /// What runs and questions were drawn from.
    pub seed: u64,
    /// Runs in the archive; the other ones stay in memory.
    pub archived: u64,
    /// From the first submit until the last was accepted, in seconds.
    pub accepted_s: f64,
    /// Runs accepted per second, by that time.
    pub accepted_per_s: f64,
    /// From the first submit until all had ended, in seconds.
    pub ended_s: f64,
    /// Runs ended per second, by that time.
    pub ended_per_s: f64,
    /// From the first submit until no more of them went to the archive, in seconds.
    pub archived_s: f64,
    /// The longest that the leader's loop was busy with one step of one controller, until then.
    pub longest_step: Option<Longest>,
    /// Whose step that was.
    pub longest_step_of: String,
    /// The same of every controller.
    pub steps: BTreeMap<String, Times>,
    /// Applying entries and writing their rows: those that were written together count as one.
    pub apply: Option<Times>,
    /// Entries of the log in that time.
    pub entries: f64,
    /// Bytes appended to the log in that time, of one replica.
    pub log_bytes: f64,
    /// The memory of the replica before the first submit, in MiB,
    pub memory_before_mib: f64,
    /// when all that leaves memory had left it,
    pub memory_filled_mib: f64,
    /// when all pages had been read,
    pub memory_mib: f64,
    /// the most until then,
    pub memory_peak_mib: f64,
    /// and after a restart.
    pub memory_restarted_mib: f64,
    /// Room that its data takes on the disk, the log included.
    pub data_bytes: u64,
    /// The same per run.
    pub data_bytes_per_run: f64,
    /// From the start of the replica, which had been stopped in order, until it answers, in milliseconds.
    pub restart_ms: f64,
    /// Runs of one page.
    pub page_size: u32,
    /// How long pages took.
    pub kinds: Vec<Measured>,
    /// The longest of all.
    pub page_ms_max: f64,
    /// Lists that were read to their ends and compared with what was submitted.
    pub walks: Vec<Walk>,
    /// Sessions of agents that ended or did not come about before the restart, by reason.
    pub failed_sessions: BTreeMap<&'static str, u64>,
}

impl Report {
    /// True when every list that was read to its end had what it should.
    pub fn is_clean(&self) -> bool {
        self.walks.iter().all(Walk::is_whole)
    }
}

impl ArchiveBench {
    /// Starts the cluster, fills it, and asks; `note` is told what goes on.
    pub async fn run(&self, note: Note<'_>) -> Result<Report, Error> {
        self.check()?;
        let until = Instant::now() + self.deadline;
        note("starting the replicas");
        let started = tokio::time::timeout_at(until, self.start()).await;
        let (mut cluster, fleet) =
            started.map_err(|_| late("a cluster with all its agents", self.deadline, "it is not there"))??;
        tokio::time::sleep(REST).await;
        let measured = Box::pin(self.measure(&mut cluster, &fleet, until, note)).await;
        fleet.end().await;
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
        measured
    }

    async fn start(&self) -> Result<(LocalCluster, Fleet), Error> {
        let options = Options { keep: self.keep, ..Options::new(self.binary.clone(), self.replicas, 0) };
        let cluster = LocalCluster::start(options).await?;
        let client = cluster.client();
        for namespace in drawn::namespaces() {
            let request_id = String::new();
            client.create_namespace(v1::CreateNamespaceRequest { namespace, request_id }).await?;
        }
        let processes = Processes::AnswerOrFail { one_in: ONE_IN_FAILS };
        let fleet = Fleet::start(cluster.agent_addresses(), self.agents, SESSIONS_PER_CONNECTION, processes)?;
        fleet.all_registered(self.deadline).await?;
        Ok((cluster, fleet))
    }

    async fn measure(
        &self,
        cluster: &mut LocalCluster,
        fleet: &Fleet,
        until: Instant,
        note: Note<'_>,
    ) -> Result<Report, Error> {
        let replica = cluster.leader(|_| true).await?.replica;
        let memory_before_mib = mib(cluster.replica_memory(replica)?);
        note(&format!("submitting {} runs", self.runs));
        let (filled, meter) = self.fill(cluster, replica, until, note).await?;
        let ended_s = filled.ended.as_secs_f64();
        note(&format!("all have ended after {ended_s:.1} s; {} are in the archive", filled.archived_runs));
        tokio::time::sleep(REST).await;
        let memory_filled_mib = mib(cluster.replica_memory(replica)?);
        let data = cluster.directory().join(format!("replica-{}", replica + 1)).join("data");
        let data_bytes = disk::bytes_below(&data)?;

        let client = cluster.client();
        let asked = self.asked(&client, &filled);
        let kinds = tokio::time::timeout_at(until, async {
            let asked = asked.await?;
            let mut kinds = Vec::new();
            for kind in Kind::ALL {
                let measured = asked.measure(kind).await?;
                note(&format!("{kind:?}: {} pages, the longest {:.1} ms", measured.pages, measured.latency.max_ms));
                kinds.push(measured);
            }
            Ok::<_, Error>(kinds)
        });
        let kinds = kinds.await.map_err(|_| late("all pages", self.deadline, "some were not read"))??;
        let mut walks = self.walks(&client, &filled.ids, until, note).await?;
        let (memory_mib, memory_peak_mib) =
            (mib(cluster.replica_memory(replica)?), mib(cluster.replica_peak_memory(replica)?));
        let failed_sessions = fleet.failures();

        note("restarting the replica");
        let restart = self.restart(cluster, replica, until).await?;
        let memory_restarted_mib = mib(cluster.replica_memory(replica)?);
        walks.push(self.walk_incidents(&client, &filled.ids, " after the restart", until).await?);

        let steps = meter.steps.come_to();
        let longest = steps.iter().max_by(|one, other| by_bounds(&one.1.longest, &other.1.longest));
        let (log_bytes, entries) = meter.log();
        let per_s = |time: Duration| rounded(f64::from(self.runs) / time.as_secs_f64().max(1e-6));
        Ok(Report {
            bench: "archive",
            runs: self.runs,
            replicas: self.replicas,
            agents: self.agents,
            seed: self.seed,
            archived: filled.archived_runs,
            accepted_s: rounded(filled.accepted.as_secs_f64()),
            accepted_per_s: per_s(filled.accepted),
            ended_s: rounded(ended_s),
            ended_per_s: per_s(filled.ended),
            archived_s: rounded(filled.archived.as_secs_f64()),
            longest_step: longest.map(|(_, times)| times.longest),
            longest_step_of: longest.map(|(name, _)| name.clone()).unwrap_or_default(),
            apply: meter.applies.come_to().into_values().next(),
            entries,
            log_bytes,
            memory_before_mib,
            memory_filled_mib,
            memory_mib,
            memory_peak_mib,
            memory_restarted_mib,
            data_bytes,
            data_bytes_per_run: rounded(data_bytes as f64 / f64::from(self.runs)),
            restart_ms: rounded(restart.as_secs_f64() * 1e3),
            page_size: PAGE_SIZE,
            page_ms_max: kinds.iter().map(|kind| kind.latency.max_ms).fold(0.0, f64::max),
            kinds,
            walks,
            failed_sessions,
            steps,
        })
    }

    /// Submits all runs and waits for them, with what the leader measures of itself meanwhile.
    async fn fill(
        &self,
        cluster: &mut LocalCluster,
        replica: usize,
        until: Instant,
        note: Note<'_>,
    ) -> Result<(Filled, Meter), Error> {
        let (api, ops) = (cluster.api_addresses()[replica].clone(), cluster.ops_addresses()[replica].clone());
        let mut meter = Meter::begin(&ops).await?;
        let fill = Fill { seed: self.seed, runs: self.runs.into(), api: &api, ops: &ops, until, within: self.deadline };
        let (is_filled, filled) = oneshot::channel::<()>();
        let submits = async {
            let mut alive = || cluster.check_processes();
            let filled = fill.run(&mut alive, note).await;
            drop(is_filled);
            filled
        };
        let over = async {
            let _ = filled.await;
        };
        let (filled, metered) = tokio::join!(submits, meter.until(over));
        let filled = filled?;
        metered?;
        Ok((filled, meter))
    }

    /// Where to ask: when the first and the last were submitted is what the cluster says.
    async fn asked<'a>(&self, client: &'a Client, filled: &'a Filled) -> Result<Asked<'a>, Error> {
        let submitted = async |id: &str| {
            let found = client.get_run(v1::GetRunRequest { run: run_by_id(id) }).await?;
            Ok::<_, Error>(found.run.unwrap_or_default().submitted_at_ms)
        };
        let [first, .., last] = &*filled.ids else { return Err(Error::Outcome("there are no runs".to_owned())) };
        // The first to end are archived first; those that were under way at once may have ended in any order.
        let archived = filled.archived_runs.saturating_sub(UNFINISHED_MAX);
        Ok(Asked {
            client,
            seed: self.seed,
            archived: usize::try_from(archived).unwrap_or(usize::MAX).max(1),
            submitted: (submitted(first).await?, submitted(last).await?),
            pages: self.pages,
            ids: &filled.ids,
        })
    }

    /// Reads a namespace, the rare label and all that failed to their ends.
    async fn walks(
        &self,
        client: &Client,
        ids: &[Box<str>],
        until: Instant,
        note: Note<'_>,
    ) -> Result<Vec<Walk>, Error> {
        note("reading lists to their ends");
        let namespace = Drawn::of(self.seed, 0).namespace;
        let of_namespace = self.ids_of(ids, |run, _| run.namespace == namespace);
        let request = v1::ListRunsRequest { namespace: namespace.clone(), ..v1::ListRunsRequest::default() };
        let first = self.walk(client, format!("namespace {namespace}"), request, of_namespace, until).await?;
        let failed = self.ids_of(ids, |_, id| fails(id, ONE_IN_FAILS));
        let states = vec![v1::RunState::Failed.into()];
        let request = v1::ListRunsRequest { states, ..v1::ListRunsRequest::default() };
        let second = self.walk(client, "state failed".to_owned(), request, failed, until).await?;
        Ok(vec![first, second, self.walk_incidents(client, ids, "", until).await?])
    }

    async fn walk_incidents(
        &self,
        client: &Client,
        ids: &[Box<str>],
        when: &str,
        until: Instant,
    ) -> Result<Walk, Error> {
        let expected = self.ids_of(ids, |run, _| run.has_incident);
        let labels = vec![label(INCIDENT.0, INCIDENT.1)];
        let request = v1::ListRunsRequest { labels, ..v1::ListRunsRequest::default() };
        self.walk(client, format!("label {}{when}", INCIDENT.0), request, expected, until).await
    }

    async fn walk(
        &self,
        client: &Client,
        of: String,
        request: v1::ListRunsRequest,
        expected: Vec<&str>,
        until: Instant,
    ) -> Result<Walk, Error> {
        let walked = tokio::time::timeout_at(until, walk::walk(client, of, request, expected)).await;
        walked.map_err(|_| late("lists read to their ends", self.deadline, "one was not"))?
    }

    /// Ids of the runs that are wanted.
    fn ids_of<'a>(&self, ids: &'a [Box<str>], wanted: impl Fn(&Drawn, &str) -> bool) -> Vec<&'a str> {
        let numbered = (0_u64..).zip(ids);
        numbered.filter(|(number, id)| wanted(&Drawn::of(self.seed, *number), id)).map(|(_, id)| &**id).collect()
    }

    /// Stops a replica in order and starts it again; how long it takes from then on until it answers.
    async fn restart(&self, cluster: &mut LocalCluster, replica: usize, until: Instant) -> Result<Duration, Error> {
        cluster.stop(replica).await?;
        let config =
            ClientConfig { deadline: TRY, ..ClientConfig::new(vec![cluster.api_addresses()[replica].clone()]) };
        let client = Client::new(config, Arc::new(TcpNetwork), Arc::new(SystemEntropy));
        let begun = SystemClock.boot();
        cluster.restart(replica)?;
        let request = v1::ListRunsRequest { page_size: 1, ..v1::ListRunsRequest::default() };
        while let Err(error) = client.list_runs(request.clone()).await {
            cluster.check_processes()?;
            if Instant::now() >= until {
                return Err(late("an answer of the replica that was restarted", self.deadline, &error.to_string()));
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        Ok(SystemClock.boot().since(begun))
    }

    /// Refuses what cannot be measured.
    fn check(&self) -> Result<(), Error> {
        let within = |what: &str, value: u64, least: u64, most: u64, why: &str| {
            let wrong = || Error::Option(format!("{what}: {value} is not between {least} and {most}{why}"));
            if (least..=most).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        let why = ", the archive_runs_max: fewer all stay in memory, and of more the oldest are forgotten";
        within("runs", self.runs.into(), RUNS_MIN.into(), RUNS_MAX.into(), why)?;
        within("replicas", self.replicas as u64, 1, REPLICAS_MAX as u64, "")?;
        within("agents", self.agents as u64, 1, AGENTS_MAX as u64, "")?;
        within("pages", self.pages, 1, PAGES_MAX, "")?;
        if self.deadline.is_zero() || self.deadline > DEADLINE_MAX {
            return Err(Error::Option("within: it is not between a moment and 24h; try 60m".to_owned()));
        }
        Ok(())
    }
}

fn late(what: &str, waited: Duration, seen: &str) -> Error {
    Error::NotInTime { what: what.to_owned(), waited, detail: format!(" ({seen}): {MORE_TIME}") }
}

fn mib(bytes: u64) -> f64 {
    rounded(bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> ArchiveBench {
        ArchiveBench {
            binary: "/nonexistent".into(),
            runs: 20_000,
            replicas: 1,
            agents: 20,
            pages: 200,
            seed: 1,
            deadline: Duration::from_secs(60),
            keep: false,
        }
    }

    #[tokio::test]
    async fn what_cannot_be_measured_is_refused_before_anything_starts() {
        assert!(matches!(bench().run(&|_| {}).await, Err(Error::Spawn { .. })), "nothing is wrong but the binary");
        for (wrong, word) in [
            (ArchiveBench { runs: RUNS_MIN - 1, ..bench() }, "stay in memory"),
            (ArchiveBench { runs: RUNS_MAX + 1, ..bench() }, "archive_runs_max"),
            (ArchiveBench { replicas: 0, ..bench() }, "replicas"),
            (ArchiveBench { agents: 1_001, ..bench() }, "agents"),
            (ArchiveBench { pages: 0, ..bench() }, "pages"),
            (ArchiveBench { deadline: Duration::ZERO, ..bench() }, "60m"),
        ] {
            let Err(Error::Option(why)) = wrong.run(&|_| {}).await else { panic!("{wrong:?}") };
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn even_the_fewest_runs_leave_some_for_the_archive() {
        assert!(u64::from(RUNS_MIN) > STAY_MAX + UNFINISHED_MAX);
        assert!(u64::from(RUNS_MIN) > drawn::ONE_IN_HAS_INCIDENT, "and one of them has the rare label");
    }

    #[test]
    fn what_did_not_come_in_time_says_how_far_it_was_and_what_to_do() {
        let why = late("it", Duration::from_secs(9), "7 of 9").to_string();
        assert!(why.contains("7 of 9") && why.contains("--within") && why.contains("--runs"), "{why}");
    }

    #[test]
    fn the_runs_that_a_list_should_have_follow_from_the_seed() {
        let ids: Vec<Box<str>> = (0..20_000).map(|number| format!("{number:013}").into()).collect();
        let bench = bench();
        let incidents = bench.ids_of(&ids, |run, _| run.has_incident);
        assert_eq!(incidents.len(), 2);
        let number: u64 = incidents[0].parse().unwrap();
        assert!(Drawn::of(bench.seed, number).has_incident);
    }
}

//! Clients: in each region a few sessions that submit, annotate, cancel, read and watch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_client::{Client, ClientConfig, Error};
use quorate_proto::v1;
use quorate_seams::{SystemEntropy, TcpNetwork};
use quorate_tests::{run_ref, spec};
use tokio::task::JoinSet;
use v1::watch_run_response::Item;

use crate::draw::Draw;
use crate::history::{Asked, Call, History, Told, Watched};
use crate::hosts::{API, Host, replicas};
use crate::network::enter;

/// Sessions in each region.
const SESSIONS: usize = 3;
/// Pause between two requests of a session, in milliseconds.
const PAUSE_MS: (u64, u64) = (20, 200);
/// How long a request is tried, and how long at one replica.
const DEADLINE: Duration = Duration::from_secs(12);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Runs that a session comes back to.
const RUNS_MAX: usize = 12;
/// Words at one run; the product allows 64.
const ANNOTATIONS_MAX: usize = 50;
/// Watches of one session in all: each is compared with a replay.
const WATCHES_MAX: usize = 12;
/// A watch is given up so long after the load has ended.
const WATCH_WAIT: Duration = Duration::from_secs(60);
/// What a job promises when a node is lost.
const PROMISES: [&str; 3] = ["at_least_once", "at_most_once", "fenced"];

/// A client of the replicas at these addresses.
pub(crate) fn client(addresses: Vec<String>, deadline: Duration) -> Client {
    let config =
        ClientConfig { deadline, attempt_timeout: ATTEMPT_TIMEOUT.min(deadline), ..ClientConfig::new(addresses) };
    Client::new(config, Arc::new(TcpNetwork), Arc::new(SystemEntropy))
}

/// API addresses of all replicas.
pub(crate) fn api_addresses() -> Vec<String> {
    replicas().iter().map(|replica| replica.listens_at(API)).collect()
}

/// Sessions at work, a thread per host.
pub(crate) struct Sessions {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Sessions {
    /// Starts the sessions of every host; tasks write to `ledger`.
    pub(crate) fn start(hosts: &[Host], seed: u64, history: &Arc<History>, ledger: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |host: &Host| {
            let (host, history, stop, ledger) = (host.clone(), history.clone(), stop.clone(), ledger.to_path_buf());
            std::thread::spawn(move || {
                enter(&host.name)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| error.to_string())?;
                runtime.block_on(host_sessions(&host, seed, &history, &stop, &ledger))
            })
        };
        Self { threads: hosts.iter().map(thread).collect(), stop }
    }

    /// No session asks anything more.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// True once all have ended, their watches included.
    pub(crate) fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// What went wrong in one of them.
    pub(crate) fn end(self) -> Result<(), String> {
        let mut outcome = Ok(());
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err("a session panicked".to_owned()));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

async fn host_sessions(
    host: &Host,
    seed: u64,
    history: &Arc<History>,
    stop: &Arc<AtomicBool>,
    ledger: &Path,
) -> Result<(), String> {
    let mut sessions = JoinSet::new();
    for number in 1..=SESSIONS {
        let who = format!("{}.{number}", host.name);
        let session = Session {
            draw: Draw::of(seed, &who),
            client: client(api_addresses(), DEADLINE),
            history: history.clone(),
            ledger: ledger.to_path_buf(),
            runs: Vec::new(),
            asked: 0,
            watches: JoinSet::new(),
            watches_begun: 0,
            who,
        };
        sessions.spawn(session.go(stop.clone()));
    }
    while let Some(ended) = sessions.join_next().await {
        ended.map_err(|error| format!("a session of {} ended early: {error}", host.name))?;
    }
    Ok(())
}

struct Session {
    who: String,
    draw: Draw,
    client: Client,
    history: Arc<History>,
    ledger: PathBuf,
    /// Its last runs, with how often each was annotated.
    runs: Vec<(String, usize)>,
    asked: u64,
    watches: JoinSet<()>,
    watches_begun: usize,
}

impl Session {
    async fn go(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.one_request().await;
            let pause = self.draw.between(PAUSE_MS.0, PAUSE_MS.1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let all = async { while self.watches.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(WATCH_WAIT, all).await;
    }

    async fn one_request(&mut self) {
        self.asked += 1;
        let kind = self.draw.between(0, 100);
        if self.runs.is_empty() || kind < 50 {
            return self.submit().await;
        }
        let position = usize::try_from(self.draw.between(0, self.runs.len() as u64)).unwrap_or(0);
        let run = self.runs[position].0.clone();
        match kind {
            50..70 if self.runs[position].1 < ANNOTATIONS_MAX => {
                self.runs[position].1 += 1;
                self.annotate(run).await;
            }
            70..78 => self.cancel(run).await,
            // The newest has most of its life before it.
            78..90 if self.watches_begun < WATCHES_MAX => self.watch(self.runs[self.runs.len() - 1].0.clone()),
            _ => self.get(run).await,
        }
    }

    async fn submit(&mut self) {
        let job = format!("{}-{}", self.who.replace('.', "-"), self.asked);
        let text = if self.draw.percent(55) {
            let count = self.draw.between(1, 5);
            format!("name = \"{job}\"\n[task.t]\ndriver = \"noop\"\ncount = {count}\n")
        } else {
            let (ticks, count) = (self.draw.between(1, 16), self.draw.between(1, 3));
            let promise = self.draw.one_of(&PROMISES);
            process_job(&job, promise, count, ticks, &self.ledger)
        };
        let request = v1::SubmitJobRequest { spec: Some(spec(&text)), request_id: String::new() };
        let asked = Asked::Submit { job };
        let client = self.client.clone();
        let run = self.call(asked, async move {
            let answer = client.submit_job(request).await?;
            Ok((answer.revision, answer.run_id))
        });
        if let Some(run) = run.await {
            self.runs.push((run, 0));
            if self.runs.len() > RUNS_MAX {
                self.runs.remove(0);
            }
        }
    }

    async fn annotate(&mut self, run: String) {
        let (key, value) = (format!("k{}-{}", self.who.replace('.', "-"), self.asked), self.asked.to_string());
        let request = v1::AnnotateRunRequest {
            run: run_ref(&run),
            key: key.clone(),
            value: value.clone(),
            request_id: String::new(),
        };
        let client = self.client.clone();
        self.call(Asked::Annotate { run, key, value }, async move {
            let answer = client.annotate_run(request).await?;
            Ok((answer.revision, answer.run_id))
        })
        .await;
    }

    async fn cancel(&mut self, run: String) {
        let request = v1::CancelRunRequest { run: run_ref(&run), request_id: String::new() };
        let client = self.client.clone();
        self.call(Asked::Cancel { run }, async move {
            let answer = client.cancel_run(request).await?;
            Ok((answer.revision, answer.run_id))
        })
        .await;
    }

    async fn get(&mut self, run: String) {
        let request = v1::GetRunRequest { run: run_ref(&run) };
        let client = self.client.clone();
        self.call(Asked::Get { run }, async move {
            let answer = client.get_run(request).await?;
            Ok((answer.revision, answer.run.unwrap_or_default().id))
        })
        .await;
    }

    fn watch(&mut self, run: String) {
        self.watches_begun += 1;
        let (client, history, who) = (self.client.clone(), self.history.clone(), self.who.clone());
        self.watches.spawn(async move {
            for watched in follow(&client, &run, 0).await {
                history.watched(Watched { who: who.clone(), ..watched });
            }
        });
    }

    /// Makes a call and remembers it; the run that the answer names comes back.
    async fn call(
        &self,
        asked: Asked,
        call: impl Future<Output = Result<(u64, String), Error>> + Send,
    ) -> Option<String> {
        let begun_us = self.history.now_us();
        let told = match call.await {
            Ok((revision, of_run)) => Told::Done { revision, of_run },
            Err(error) => match &error {
                Error::Api(_) | Error::Address { .. } => Told::Refused { why: error.to_string() },
                Error::Unavailable { .. } => Told::Unavailable { why: error.to_string() },
                Error::OutcomeUnknown { .. } => Told::Unknown { why: error.to_string() },
            },
        };
        let run = if let Told::Done { of_run, .. } = &told { Some(of_run.clone()) } else { None };
        let ended_us = self.history.now_us();
        self.history.call(Call { who: self.who.clone(), begun_us, ended_us, asked, told });
        run
    }
}

/// Everything that a watch of the run delivers until it ends or fails, cut at its snapshots. With
/// `after` above zero it begins behind that revision instead of with a snapshot.
pub(crate) async fn follow(client: &Client, run: &str, after: u64) -> Vec<Watched> {
    let request = v1::WatchRunRequest { run: run_ref(run), after_revision: after };
    let mut watch = client.watch_run(request);
    let begin = |from: u64| Watched { who: String::new(), run: run.to_owned(), from, events: Vec::new() };
    let mut all = if after > 0 { vec![begin(after)] } else { Vec::new() };
    while let Some(Ok(message)) = watch.next().await {
        match message.item {
            Some(Item::Snapshot(_)) => all.push(begin(message.revision)),
            Some(Item::Event(event)) => {
                if let Some(watched) = all.last_mut() {
                    watched.events.push((message.revision, brief(&event)));
                }
            }
            Some(Item::Bookmark(_)) | None => {}
        }
    }
    all
}

/// What an event is about and says of it, without what the API adds as of the time of delivery (counters,
/// what is known of the node).
fn brief(event: &v1::RunEvent) -> String {
    use v1::run_event::Event;
    let at = event.at_ms;
    match &event.event {
        Some(Event::Run(run)) => format!("{at} run {}", run.state().as_str_name()),
        Some(Event::Task(task)) => format!("{at} {}[{}] {}", task.task, task.index, task.state().as_str_name()),
        Some(Event::Attempt(one)) => {
            let (number, node, token, state) = (one.number, &one.node, one.token, one.state().as_str_name());
            format!("{at} {}[{}] attempt {number} on {node} with {token} {state} {:?}", one.task, one.index, one.exit)
        }
        Some(Event::Annotated(word)) => format!("{at} word {}", word.key),
        None => format!("{at} nothing"),
    }
}

/// A job whose tasks write a line when they start, five times a second, and when they end.
fn process_job(job: &str, promise: &str, count: u64, ticks: u64, ledger: &Path) -> String {
    let path = ledger.display();
    let script = format!(
        "w() {{ read up rest < /proc/uptime; echo $1 $up $QUORATE_RUN_ID $QUORATE_TASK_INDEX $QUORATE_ATTEMPT \
         $QUORATE_NODE {promise} >> {path}; }}; w start; i=0; while [ $i -lt {ticks} ]; do sleep 0.2; w tick; \
         i=$((i+1)); done; w end"
    );
    format!(
        "name = \"{job}\"\non_node_loss = \"{promise}\"\n[task.t]\ncount = {count}\nrun = ['sh', '-c', '{script}']\n\
         resources = {{ cpu = \"250m\", memory = \"16Mi\" }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_are_valid_and_say_what_they_promise() {
        for promise in PROMISES {
            let job = spec(&process_job("a", promise, 2, 3, Path::new("/tmp/ledger")));
            assert_eq!(job.tasks[0].count, 2);
            assert!(job.tasks[0].argv[2].contains(promise));
        }
    }
}

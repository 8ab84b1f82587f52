//! Clients: in each region a few sessions that submit, annotate, cancel, read and watch.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use prost::Message as _;
use quorate_client::{Client, ClientConfig, Error};
use quorate_proto::v1;
use quorate_seams::{SystemEntropy, TcpNetwork};
use quorate_tests::{run_ref, spec};
use tokio::task::JoinSet;
use v1::watch_run_response::Item;

use crate::draw::Draw;
use crate::history::{Asked, Call, History, Stream, Told, Watched};
use crate::hosts::{API, Host, SINK, replicas, sink};
use crate::network::enter;
use crate::task::{APART, CHILD, NO_SINK, REFUSED, argv};

/// Sessions in each region.
const SESSIONS: usize = 3;
/// Pause between two requests of a session, in milliseconds: all of them together make some ten requests a second, of
/// which an hour still fits into memory, and its runs onto the replicas' disks.
const PAUSE_MS: (u64, u64) = (100, 1_500);
/// How long a request is tried, and how long at one replica.
const DEADLINE: Duration = Duration::from_secs(12);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Runs that a session comes back to.
const RUNS_MAX: usize = 12;
/// Words at one run; the product allows 64.
const ANNOTATIONS_MAX: usize = 50;
/// Watches that a session may begin at once, and one more in each of these times: each is compared with a replay.
const WATCHES_MAX: u64 = 12;
const WATCH_EVERY_US: u64 = 30_000_000;
/// So many tasks of a hundred work long enough to see the lease of their node run out.
const LONG_PERCENT: u64 = 50;
/// How long they work, in milliseconds, and how long the others do.
const LONG_MS: (u64, u64) = (9_000, 16_000);
const SHORT_MS: (u64, u64) = (200, 3_000);
/// A watch is given up so long after the load has ended.
const WATCH_WAIT: Duration = Duration::from_secs(60);
/// What a job promises when a node is lost; the one that is hardest to keep more often than the others.
const PROMISES: [&str; 4] = ["at_least_once", "at_most_once", "fenced", "fenced"];

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

/// What tasks are made of.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The program that they run.
    pub(crate) program: PathBuf,
    /// What they write, which is there.
    pub(crate) ledger: PathBuf,
}

/// Sessions at work, a thread per host.
pub(crate) struct Sessions {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Sessions {
    /// Starts the sessions of every host.
    pub(crate) fn start(hosts: &[Host], seed: u64, history: &Arc<History>, work: &Work) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |host: &Host| {
            let (host, history, stop, work) = (host.clone(), history.clone(), stop.clone(), work.clone());
            std::thread::spawn(move || {
                enter(&host.name)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| error.to_string())?;
                runtime.block_on(host_sessions(&host, seed, &history, &stop, &work))
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
    work: &Work,
) -> Result<(), String> {
    let mut sessions = JoinSet::new();
    for number in 1..=SESSIONS {
        let who = format!("{}.{number}", host.name);
        let session = Session {
            draw: Draw::of(seed, &who),
            client: client(api_addresses(), DEADLINE),
            history: history.clone(),
            work: work.clone(),
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
    work: Work,
    /// Its last runs, with how often each was annotated.
    runs: Vec<(String, usize)>,
    asked: u64,
    watches: JoinSet<()>,
    watches_begun: u64,
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
            78..90 if self.watches_begun < WATCHES_MAX + self.history.now_us() / WATCH_EVERY_US => {
                self.watch(self.runs[self.runs.len() - 1].0.clone())
            }
            _ => self.get(run).await,
        }
    }

    async fn submit(&mut self) {
        let job = format!("{}-{}", self.who.replace('.', "-"), self.asked);
        let text = if self.draw.percent(55) {
            let count = self.draw.between(1, 5);
            format!("name = \"{job}\"\n[task.t]\ndriver = \"noop\"\ncount = {count}\n")
        } else {
            let (low, high) = if self.draw.percent(LONG_PERCENT) { LONG_MS } else { SHORT_MS };
            let (lasts, count) = (Duration::from_millis(self.draw.between(low, high)), self.draw.between(1, 3));
            let promise = self.draw.one_of(&PROMISES);
            let child = self.draw.one_of(&[CHILD, APART]);
            process_job(&job, promise, count, lasts, child, &self.work)
        };
        let request = v1::SubmitJobRequest { spec: Some(spec(&text)), request_id: String::new() };
        let asked = Asked::Submit { job };
        let client = self.client.clone();
        let run = self.call(asked, async move {
            let answer = client.submit_job(request).await?;
            Ok((answer.revision, answer.run_id.clone(), answer.encode_to_vec()))
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
            Ok((answer.revision, answer.run_id.clone(), answer.encode_to_vec()))
        })
        .await;
    }

    async fn cancel(&mut self, run: String) {
        let request = v1::CancelRunRequest { run: run_ref(&run), request_id: String::new() };
        let client = self.client.clone();
        self.call(Asked::Cancel { run }, async move {
            let answer = client.cancel_run(request).await?;
            Ok((answer.revision, answer.run_id.clone(), answer.encode_to_vec()))
        })
        .await;
    }

    async fn get(&mut self, run: String) {
        let request = v1::GetRunRequest { run: run_ref(&run) };
        let client = self.client.clone();
        self.call(Asked::Get { run }, async move {
            let answer = client.get_run(request).await?;
            let of_run = answer.run.as_ref().map(|run| run.id.clone()).unwrap_or_default();
            Ok((answer.revision, of_run, answer.encode_to_vec()))
        })
        .await;
    }

    fn watch(&mut self, run: String) {
        self.watches_begun += 1;
        let (client, history, who) = (self.client.clone(), self.history.clone(), self.who.clone());
        self.watches.spawn(async move {
            let mut stream = Stream { run: run.clone(), opened_us: history.now_us(), ..Stream::default() };
            let heard = |message: &v1::WatchRunResponse| {
                stream.messages.push((history.now_us(), message.encode_to_vec()));
            };
            let (parts, failed) = follow(&client, &run, 0, heard).await;
            history.streamed(Stream { ended_us: history.now_us(), failed, ..stream });
            for watched in parts {
                history.watched(Watched { who: who.clone(), ..watched });
            }
        });
    }

    /// Makes a call and remembers it; the run that the answer names comes back.
    async fn call(
        &self,
        asked: Asked,
        call: impl Future<Output = Result<(u64, String, Vec<u8>), Error>> + Send,
    ) -> Option<String> {
        let begun_us = self.history.now_us();
        let mut answer = Vec::new();
        let told = match call.await {
            Ok((revision, of_run, encoded)) => {
                answer = encoded;
                Told::Done { revision, of_run }
            }
            Err(error) => match &error {
                Error::Api(_) | Error::Address { .. } => Told::Refused { why: error.to_string() },
                Error::Unavailable { .. } => Told::Unavailable { why: error.to_string() },
                Error::OutcomeUnknown { .. } => Told::Unknown { why: error.to_string() },
            },
        };
        let run = if let Told::Done { of_run, .. } = &told { Some(of_run.clone()) } else { None };
        let ended_us = self.history.now_us();
        self.history.call(Call { who: self.who.clone(), begun_us, ended_us, asked, told, answer });
        run
    }
}

/// Everything that a watch of the run delivers until it ends or fails, cut at its snapshots, and why it failed. With
/// `after` above zero it begins behind that revision instead of with a snapshot. `heard` is told of each message as it is.
pub(crate) async fn follow(
    client: &Client,
    run: &str,
    after: u64,
    mut heard: impl FnMut(&v1::WatchRunResponse),
) -> (Vec<Watched>, Option<String>) {
    let request = v1::WatchRunRequest { run: run_ref(run), after_revision: after };
    let mut watch = client.watch_run(request);
    let begin = |from: u64| Watched { who: String::new(), run: run.to_owned(), from, events: Vec::new() };
    let mut all = if after > 0 { vec![begin(after)] } else { Vec::new() };
    while let Some(message) = watch.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return (all, Some(error.to_string())),
        };
        heard(&message);
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
    (all, None)
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
        Some(Event::Paused(pause)) => format!("{at} paused by {}", pause.by),
        Some(Event::Resumed(resume)) => format!("{at} resumed by {}", resume.by),
        Some(Event::PrioritySet(set)) => format!("{at} priority {} by {}", set.priority, set.by),
        Some(Event::Abandoned(_)) => format!("{at} given up"),
        Some(Event::Decided(one)) => format!("{at} {} {} {}", one.task, one.decided().as_str_name(), one.elements),
        Some(Event::Rest(rest)) => {
            format!("{at} {}[{}..] {} {}", rest.task, rest.first, rest.count, rest.state().as_str_name())
        }
        Some(Event::Preempted(one)) => {
            let by = one.by.clone().unwrap_or_default();
            format!(
                "{at} {}[{}] attempt {} on {} for {}/{}",
                one.task, one.index, one.number, one.node, by.run_id, by.index
            )
        }
        Some(Event::Rebalanced(one)) => {
            let to = one.to.clone().unwrap_or_default();
            format!("{at} {}[{}] attempt {} on {} goes on at {}", one.task, one.index, one.number, one.node, to.node)
        }
        None => format!("{at} nothing"),
    }
}

/// A job whose tasks write down that they live. Those of which there may be several copies, now or one after the other,
/// leave their tokens at the sink, and are tried again when they fail; one that the sink refused is not needed. They
/// are spread over all nodes, so that whichever is struck has some.
fn process_job(job: &str, promise: &str, count: u64, lasts: Duration, child: &str, work: &Work) -> String {
    let is_once = promise == "at_most_once";
    let sink = if is_once { NO_SINK.to_owned() } else { sink().listens_at(SINK) };
    let retry = if is_once { String::new() } else { format!("retry = {{ attempts = 3, never = [{REFUSED}] }}\n") };
    let argv = argv(&work.program, &work.ledger, &sink, lasts, child, promise);
    let argv: Vec<String> = argv.iter().map(|word| format!("'{word}'")).collect();
    format!(
        "name = \"{job}\"\non_node_loss = \"{promise}\"\n[task.t]\ncount = {count}\nrun = [{}]\n{retry}\
         resources = {{ cpu = \"100m\", memory = \"64Mi\" }}\nplace = {{ spread = \"node\" }}\n",
        argv.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_are_valid_and_say_what_they_promise() {
        let work = Work { program: "/bin/multihost".into(), ledger: "/tmp/ledger".into() };
        for promise in PROMISES {
            let job = spec(&process_job("a", promise, 2, Duration::from_secs(3), APART, &work));
            let task = &job.tasks[0];
            assert_eq!(task.count, 2);
            assert_eq!(task.argv.last().unwrap(), promise);
            assert_eq!(task.argv.iter().any(|word| word == NO_SINK), promise == "at_most_once");
        }
    }
}

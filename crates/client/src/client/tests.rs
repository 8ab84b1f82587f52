//! A client against replicas that are made to misbehave, over a network in memory, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use quorate_proto::ApiError;
use quorate_proto::status::to_status;
use quorate_seams::{BoxedIo, Listener};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use v1::agents_server::{Agents, AgentsServer};
use v1::jobs_server::JobsServer;
use v1::runs_server::{Runs, RunsServer};
use v1::watch_run_response::Item;

use super::*;

mod jobs;
mod logs;

/// What a replica does with the next request.
enum Act {
    Refuse(ApiError),
    /// Never answers.
    Hang,
    Accept,
    /// Sends these, then ends the stream so.
    Watch(Vec<(u64, What)>, Result<(), ApiError>),
    Logs(Vec<(u64, &'static str)>, Result<(), ApiError>),
    /// Has nothing to send for so long, then ends the stream so.
    Quiet(Duration, ApiError),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Snapshot,
    /// The event of a task with this index.
    Task(u32),
    RunEnds,
    Bookmark,
}

/// A replica that follows a script and notes what it was asked.
#[derive(Clone, Default)]
struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    asked: Arc<Mutex<Vec<String>>>,
    is_old: bool,
}

impl Script {
    fn of(acts: impl IntoIterator<Item = Act>) -> Self {
        Self { acts: Arc::new(Mutex::new(acts.into_iter().collect())), ..Self::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics with it").clone()
    }

    async fn next(&self, asked: String) -> Result<Act, Status> {
        self.asked.lock().expect("no test panics with it").push(asked);
        let act = self.acts.lock().expect("no test panics with it").pop_front();
        match act {
            Some(Act::Refuse(error)) => Err(to_status(&error)),
            Some(Act::Hang) => std::future::pending().await,
            Some(act) => Ok(act),
            None => Err(to_status(&ApiError::Unsupported("the script is at its end".into()))),
        }
    }
}

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

fn messages<T: Send + 'static>(
    messages: Vec<T>,
    end: Result<(), ApiError>,
) -> futures_util::stream::BoxStream<'static, Result<T, Status>> {
    let end = end.err().map(|error| Err(to_status(&error)));
    futures_util::stream::iter(messages.into_iter().map(Ok).chain(end)).boxed()
}

#[tonic::async_trait]
impl Runs for Script {
    type WatchRunStream = futures_util::stream::BoxStream<'static, Result<v1::WatchRunResponse, Status>>;
    type ReadLogsStream = futures_util::stream::BoxStream<'static, Result<v1::ReadLogsResponse, Status>>;

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let request = request.into_inner();
        let run = match request.run.and_then(|run| run.r#ref) {
            Some(v1::run_ref::Ref::RunId(id)) => id,
            Some(v1::run_ref::Ref::Job(job)) => format!("latest of {}", job.name),
            None => "none".into(),
        };
        let Act::Watch(what, end) = self.next(format!("{run} after {}", request.after_revision)).await? else {
            return no();
        };
        let what = what.into_iter().map(|(revision, what)| v1::WatchRunResponse { revision, item: Some(item(what)) });
        Ok(Response::new(messages(what.collect(), end)))
    }

    async fn read_logs(&self, request: Request<v1::ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
        let request = request.into_inner();
        let place = [request.tail_lines.map(|lines| format!(" last {lines}")), request.since_ms.map(|_| " new".into())];
        let place: String = place.into_iter().flatten().collect();
        let asked = format!("attempt {} at {}{place}", request.attempt, request.offset);
        let (pieces, end) = match self.next(asked).await? {
            Act::Logs(pieces, end) => (pieces, end),
            Act::Quiet(time, end) => {
                let quiet = async move {
                    tokio::time::sleep(time).await;
                    Err(to_status(&end))
                };
                return Ok(Response::new(futures_util::stream::once(quiet).boxed()));
            }
            _ => return no(),
        };
        // Older replicas say no number, and know of no place but an offset.
        let attempt = if self.is_old { 0 } else { 2 };
        let pieces = pieces.into_iter();
        let pieces = pieces.map(|(offset, data)| v1::ReadLogsResponse { offset, data: data.into(), attempt });
        Ok(Response::new(messages(pieces.collect(), end)))
    }

    async fn list_attempts(
        &self,
        _: Request<v1::ListAttemptsRequest>,
    ) -> Result<Response<v1::ListAttemptsResponse>, Status> {
        let attempt = |number| v1::Attempt { run_id: "run".into(), number, ..Default::default() };
        Ok(Response::new(v1::ListAttemptsResponse { attempts: vec![attempt(1), attempt(2)], ..Default::default() }))
    }

    async fn cancel_runs(&self, _: Request<v1::CancelRunsRequest>) -> Result<Response<v1::CancelRunsResponse>, Status> {
        no()
    }

    async fn pause_run(&self, _: Request<v1::PauseRunRequest>) -> Result<Response<v1::PauseRunResponse>, Status> {
        no()
    }

    async fn resume_run(&self, _: Request<v1::ResumeRunRequest>) -> Result<Response<v1::ResumeRunResponse>, Status> {
        no()
    }

    async fn set_run_priority(
        &self,
        _: Request<v1::SetRunPriorityRequest>,
    ) -> Result<Response<v1::SetRunPriorityResponse>, Status> {
        no()
    }

    async fn list_run_events(
        &self,
        _: Request<v1::ListRunEventsRequest>,
    ) -> Result<Response<v1::ListRunEventsResponse>, Status> {
        no()
    }

    async fn get_run(&self, _: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunResponse>, Status> {
        no()
    }

    async fn list_runs(&self, _: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        no()
    }

    async fn list_tasks(&self, _: Request<v1::ListTasksRequest>) -> Result<Response<v1::ListTasksResponse>, Status> {
        no()
    }

    async fn abandon_run(&self, _: Request<v1::AbandonRunRequest>) -> Result<Response<v1::AbandonRunResponse>, Status> {
        no()
    }

    async fn cancel_run(&self, _: Request<v1::CancelRunRequest>) -> Result<Response<v1::CancelRunResponse>, Status> {
        no()
    }

    async fn annotate_run(
        &self,
        _: Request<v1::AnnotateRunRequest>,
    ) -> Result<Response<v1::AnnotateRunResponse>, Status> {
        no()
    }

    async fn release_task(
        &self,
        _: Request<v1::ReleaseTaskRequest>,
    ) -> Result<Response<v1::ReleaseTaskResponse>, Status> {
        no()
    }

    async fn get_usage(&self, _: Request<v1::GetUsageRequest>) -> Result<Response<v1::GetUsageResponse>, Status> {
        no()
    }

    async fn explain_task(
        &self,
        _: Request<v1::ExplainTaskRequest>,
    ) -> Result<Response<v1::ExplainTaskResponse>, Status> {
        no()
    }

    async fn get_expected_starts(
        &self,
        _: Request<v1::GetExpectedStartsRequest>,
    ) -> Result<Response<v1::GetExpectedStartsResponse>, Status> {
        no()
    }

    async fn explain_placement(
        &self,
        _: Request<v1::ExplainPlacementRequest>,
    ) -> Result<Response<v1::ExplainPlacementResponse>, Status> {
        no()
    }
}

#[tonic::async_trait]
impl Agents for Script {
    type SessionStream = ReceiverStream<Result<v1::ServerMessage, Status>>;

    /// Answers only after it has seen the first message, and says who that was in the revision.
    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.and_then(|message| message.message);
        let Some(v1::agent_message::Message::Hello(hello)) = first else { return no() };
        self.next(hello.node).await?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(_)) = incoming.message().await {
                let answer = v1::ServerMessage { revision: 7, ..Default::default() };
                if sender.send(Ok(answer)).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn item(what: What) -> Item {
    let event = |event| Item::Event(v1::RunEvent { at_ms: 0, event: Some(event) });
    match what {
        What::Snapshot => Item::Snapshot(v1::RunSnapshot {
            run: Some(v1::Run { id: "run".into(), state: v1::RunState::Running.into(), ..Default::default() }),
            ..Default::default()
        }),
        What::Task(index) => event(v1::run_event::Event::Task(v1::Task { index, ..Default::default() })),
        What::RunEnds => {
            event(v1::run_event::Event::Run(v1::RunMoved { state: v1::RunState::Succeeded.into(), cancelling: false }))
        }
        What::Bookmark => Item::Bookmark(v1::Bookmark {}),
    }
}

fn what(message: v1::WatchRunResponse) -> (u64, What) {
    let what = match message.item.expect("every message has one") {
        Item::Snapshot(_) => What::Snapshot,
        Item::Bookmark(_) => What::Bookmark,
        Item::Event(event) => match event.event.expect("every event has one") {
            v1::run_event::Event::Task(task) => What::Task(task.index),
            v1::run_event::Event::Run(_)
            | v1::run_event::Event::Attempt(_)
            | v1::run_event::Event::Annotated(_)
            | v1::run_event::Event::Paused(_)
            | v1::run_event::Event::Resumed(_)
            | v1::run_event::Event::PrioritySet(_)
            | v1::run_event::Event::Abandoned(_)
            | v1::run_event::Event::Decided(_)
            | v1::run_event::Event::Rest(_)
            | v1::run_event::Event::Preempted(_)
            | v1::run_event::Event::Rebalanced(_) => What::RunEnds,
        },
    };
    (message.revision, what)
}

/// Connections of one host that its server has not taken yet.
const CONNECTIONS_MAX: usize = 16;

/// Hosts in memory: each has a server that takes its connections.
#[derive(Default)]
struct Hosts(Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>>);

impl Hosts {
    fn serve(&self, address: &str, script: &Script) {
        let (sender, connections) = mpsc::channel(CONNECTIONS_MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address.into(), sender);
        let server = tonic::transport::Server::builder()
            .add_service(JobsServer::new(script.clone()))
            .add_service(RunsServer::new(script.clone()))
            .add_service(AgentsServer::new(script.clone()))
            .serve_with_incoming(ReceiverStream::new(connections).map(Ok::<_, io::Error>));
        tokio::spawn(server);
    }
}

#[async_trait]
impl Network for Hosts {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.get(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        host.try_send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Box::pin(ours))
    }
}

/// Not random at all: the first address comes first.
struct Dull;

impl Entropy for Dull {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A client of the replicas at `a:1`, `b:1` and so on, which follow the scripts.
fn client(addresses: &[&str], scripts: &[&Script]) -> Client {
    let config = ClientConfig::new(addresses.iter().map(|address| (*address).to_owned()).collect());
    Client::new(config, hosts(scripts), Arc::new(Dull))
}

fn hosts(scripts: &[&Script]) -> Arc<dyn Network> {
    let hosts = Hosts::default();
    for (name, script) in ["a:1", "b:1", "c:1"].into_iter().zip(scripts) {
        hosts.serve(name, script);
    }
    Arc::new(hosts)
}

fn submit(id: &str) -> v1::SubmitJobRequest {
    v1::SubmitJobRequest { spec: None, request_id: id.into() }
}

#[tokio::test(start_paused = true)]
async fn it_asks_the_leader_it_is_told_of_and_stays_there() {
    let follower = Script::of([Act::Refuse(ApiError::NotLeader { leader: Some("b:1".into()) })]);
    let leader = Script::of([Act::Accept, Act::Accept]);
    let client = client(&["a:1"], &[&follower, &leader]);
    client.submit_job(submit("one")).await.expect("accepted");
    client.submit_job(submit("two")).await.expect("accepted");
    assert_eq!(follower.asked(), ["one"]);
    assert_eq!(leader.asked(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_replica_is_passed_over() {
    let alive = Script::of([Act::Accept]);
    let nobody = Script::default();
    let client = client(&["x:1", "b:1"], &[&nobody, &alive]);
    client.submit_job(submit("one")).await.expect("accepted");
    assert_eq!(alive.asked(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_submit_without_a_known_outcome_is_repeated_under_its_id() {
    let first = Script::of([Act::Refuse(ApiError::OutcomeUnknown("the leader is gone".into())), Act::Accept]);
    let second = Script::of([Act::Hang]);
    let client = client(&["a:1", "b:1"], &[&first, &second]);
    client.submit_job(submit("")).await.expect("accepted");
    let minted = format!("{:032x}", 0);
    assert_eq!(first.asked(), [minted.as_str(), minted.as_str()]);
    assert_eq!(second.asked(), [minted]);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_that_name_each_other_are_not_asked_without_end() {
    let names = |leader: &str| {
        let leader = leader.to_owned();
        Script::of((0..1_000).map(move |_| Act::Refuse(ApiError::NotLeader { leader: Some(leader.clone()) })))
    };
    let (one, other) = (names("b:1"), names("a:1"));
    let error = client(&["a:1"], &[&one, &other]).submit_job(submit("one")).await.expect_err("no leader");
    assert!(matches!(&error, Error::Unavailable { waited, .. } if *waited <= DEADLINE_DEFAULT), "{error}");
    let asked = one.asked().len() + other.asked().len();
    assert!((10..500).contains(&asked), "{asked} tries in {DEADLINE_DEFAULT:?}");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_not_said_to_have_failed() {
    let silent = Script::of([Act::Hang, Act::Hang, Act::Hang, Act::Hang, Act::Hang]);
    let silent_client = client(&["a:1"], &[&silent]);
    let error = silent_client.submit_job(submit("one")).await.expect_err("no answer");
    assert!(matches!(&error, Error::OutcomeUnknown { request_id, .. } if request_id == "one"), "{error}");
    assert!(silent.asked().len() >= 2);

    let error = client(&["x:1"], &[]).submit_job(submit("one")).await.expect_err("nobody there");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("x:1") && error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_would_not_change_is_given_at_once() {
    let error = ApiError::NotFound { kind: "namespace".into(), name: "acme".into() };
    let script = Script::of([Act::Refuse(error.clone())]);
    let told = client(&["a:1", "b:1"], &[&script]).submit_job(submit("one")).await.expect_err("refused");
    assert_eq!(told.api(), Some(&error));
    assert_eq!(script.asked(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_leader_is_asked_again_and_no_other() {
    let overloaded = ApiError::Overloaded { limit: "queue".into(), max: 1, advice: "later".into() };
    let leader = Script::of([Act::Refuse(overloaded.clone()), Act::Refuse(overloaded), Act::Accept]);
    let other = Script::default();
    client(&["a:1", "b:1"], &[&leader, &other]).submit_job(submit("one")).await.expect("accepted");
    assert_eq!(leader.asked(), ["one", "one", "one"]);
    assert!(other.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_limit_does_not_say_that_an_earlier_try_came_to_nothing() {
    let limit = || Act::Refuse(ApiError::Limit { limit: "disk".into(), max: 1, advice: "make room".into() });
    let refused = client(&["a:1"], &[&Script::of([limit()])]).submit_job(submit("one")).await;
    assert!(matches!(refused, Err(Error::Api(ApiError::Limit { .. }))), "{refused:?}");

    let unknown = Act::Refuse(ApiError::OutcomeUnknown("the leader is gone".into()));
    let replica = Script::of(std::iter::once(unknown).chain(std::iter::repeat_with(limit).take(200)));
    let open = client(&["a:1"], &[&replica]).submit_job(submit("one")).await;
    assert!(matches!(open, Err(Error::OutcomeUnknown { .. })), "{open:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_stale_client_asks_for_less_and_it_tells_the_least_of_its_answers() {
    let replica = Script::of([Act::Accept, Act::Accept, Act::Accept]);
    let client = client(&["a:1"], &[&replica]);
    let stale = client.stale(Some(Duration::from_secs(5)));
    for asking in [&client, &stale, &stale] {
        asking.list_jobs(v1::ListJobsRequest::default()).await.expect("answered");
    }
    assert_eq!(replica.asked(), ["list", "list AtMostMs(5000)", "list AtMostMs(5000)"]);
    let least = Staleness { revision: quorate_state::Revision(97), age_ms: Some(30) };
    assert_eq!((client.staleness(), stale.staleness()), (None, Some(least)));
}

#[tokio::test(start_paused = true)]
async fn no_try_is_made_after_the_request_may_be_forgotten() {
    let script = Script::of((0..100).map(|_| Act::Refuse(ApiError::Unavailable("busy".into()))));
    let client = client(&["a:1"], &[&script]);
    client.shared.request_window_ms.store(1_000, Ordering::Relaxed);
    let began = tokio::time::Instant::now();
    client.submit_job(submit("one")).await.expect_err("busy");
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    let began = tokio::time::Instant::now();
    client.list_jobs(v1::ListJobsRequest::default()).await.expect_err("busy");
    assert!(began.elapsed() > Duration::from_secs(10), "reads have no such bound");
}

#[tokio::test(start_paused = true)]
async fn addresses_that_are_none_are_named() {
    for address in ["nonsense", "a:port", ":1", "a b:1", ""] {
        let error = client(&[address], &[]).submit_job(submit("one")).await.expect_err("no address");
        assert!(matches!(&error, Error::Address { address: named, .. } if named == address), "{error}");
    }
}

async fn watch_all(mut watch: RunWatch) -> (Vec<(u64, What)>, Option<Error>) {
    let mut seen = Vec::new();
    while let Some(message) = watch.next().await {
        match message {
            Ok(message) => seen.push(what(message)),
            Err(error) => return (seen, Some(error)),
        }
    }
    (seen, None)
}

fn watch_latest() -> v1::WatchRunRequest {
    let job = v1::JobRef { namespace: "acme".into(), name: "job".into() };
    v1::WatchRunRequest { run: Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::Job(job)) }), after_revision: 0 }
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_elsewhere_without_gap_or_duplicate() {
    use What::{Bookmark, RunEnds, Snapshot, Task};
    let gone = || Err(ApiError::Unavailable("shutting down".into()));
    let first = Script::of([
        // Cut off in the middle of revision 13.
        Act::Watch(vec![(10, Snapshot), (12, Task(0)), (13, Task(1)), (13, Task(2))], gone()),
        // Ended by a replica that stops, right after a bookmark.
        Act::Watch(vec![(14, Task(4)), (15, Task(5)), (15, Task(6)), (18, Bookmark)], Ok(())),
    ]);
    let second = Script::of([
        Act::Watch(vec![(13, Task(1)), (13, Task(2)), (13, Task(3)), (14, Task(4))], gone()),
        Act::Watch(vec![(20, Task(7)), (21, RunEnds)], Ok(())),
    ]);
    let client = client(&["a:1", "b:1"], &[&first, &second]);
    let (seen, error) = watch_all(client.watch_run(watch_latest())).await;
    assert!(error.is_none(), "{error:?}");
    let mut expected = vec![(10, Snapshot), (12, Task(0)), (13, Task(1)), (13, Task(2)), (13, Task(3)), (14, Task(4))];
    expected.extend([(15, Task(5)), (15, Task(6)), (18, Bookmark), (20, Task(7)), (21, RunEnds)]);
    assert_eq!(seen, expected);
    assert_eq!(first.asked(), ["latest of job after 0", "run after 13"]);
    assert_eq!(second.asked(), ["run after 12", "run after 18"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_history_is_gone_begins_again_with_a_snapshot() {
    use What::{RunEnds, Snapshot, Task};
    let script = Script::of([
        Act::Watch(vec![(10, Snapshot), (12, Task(0))], Err(ApiError::Unavailable("stopping".into()))),
        Act::Refuse(ApiError::Compacted { from: quorate_state::Revision(90) }),
        Act::Watch(vec![(100, Snapshot), (101, RunEnds)], Ok(())),
    ]);
    let (seen, error) = watch_all(client(&["a:1"], &[&script]).watch_run(watch_latest())).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(seen, [(10, Snapshot), (12, Task(0)), (100, Snapshot), (101, RunEnds)]);
    assert_eq!(script.asked().last().expect("asked").as_str(), "run after 0");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_revision_says_so() {
    let script = Script::of([Act::Refuse(ApiError::Compacted { from: quorate_state::Revision(90) })]);
    let request = v1::WatchRunRequest { after_revision: 5, ..watch_latest() };
    let (seen, error) = watch_all(client(&["a:1"], &[&script]).watch_run(request)).await;
    assert!(seen.is_empty());
    let error = error.expect("forgotten");
    assert!(matches!(error.api(), Some(ApiError::Compacted { .. })), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_opened_anew_and_gives_up_in_the_end() {
    let script = Script::of([Act::Hang, Act::Hang, Act::Hang, Act::Hang, Act::Hang, Act::Hang]);
    let (seen, error) = watch_all(client(&["a:1"], &[&script]).watch_run(watch_latest())).await;
    assert!(seen.is_empty());
    assert!(matches!(error, Some(Error::Unavailable { .. })), "{error:?}");
    assert!(script.asked().len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_taken_by_the_first_replica_that_can() {
    let busy = Script::of([Act::Refuse(ApiError::Unavailable("no leader".into()))]);
    let ready = Script::of([Act::Accept]);
    let hello = v1::Hello { node: "n1".into(), ..Default::default() };
    let addresses = ["x:1", "a:1", "b:1"].map(str::to_owned);
    let network = hosts(&[&busy, &ready]);
    let link = crate::agent_link::AgentLink::open(&addresses, 0, hello, &network).await;
    let mut link = link.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(link.address, "b:1");
    assert_eq!((busy.asked(), ready.asked()), (vec!["n1".to_owned()], vec!["n1".to_owned()]));
    link.sender.send(v1::AgentMessage::default()).await.expect("open");
    assert_eq!(link.receiver.message().await.expect("open").expect("an answer").revision, 7);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_none_will_take_is_told_at_once() {
    let taken = ApiError::Exists { kind: "node".into(), name: "n1".into(), why: "held by another agent".into() };
    let one = Script::of([Act::Refuse(taken.clone())]);
    let other = Script::of([Act::Accept]);
    let hello = v1::Hello { node: "n1".into(), ..Default::default() };
    let addresses = ["a:1", "b:1"].map(str::to_owned);
    let opened = crate::agent_link::AgentLink::open(&addresses, 2, hello, &hosts(&[&one, &other])).await;
    let error = opened.err().expect("refused");
    assert_eq!(error.api(), Some(&taken));
    assert!(other.asked().is_empty());
}

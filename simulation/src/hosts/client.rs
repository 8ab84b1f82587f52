//! Clients: sessions that do one thing after the other, through the production's client library, and
//! write down what they were told.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig, Error};
use quorate_proto::v1;
use tokio::sync::Notify;
use turmoil::Sim;

use super::job::{namespace, spec};
use super::operator::{self, Desk};
use super::release::{self, Releases};
use super::rivals;
use super::tenants;
use super::upkeep::{self, Duties};
use super::{API_PORT, addresses};
use super::{rebalances, reservations};
use crate::facts::{Answer, Fact, Facts, Operation, Outcome, Page, Request, Watch, Watched};
use crate::net::SimNetwork;
use crate::scenario::{Ask, Class, Control, Demands, JobPlan, Listing, OperationPlan, Scenario, TaskPlan, When};
use crate::seeded::{SimEntropy, Stream};

/// For one request, retries included.
pub(super) const DEADLINE: Duration = Duration::from_secs(6);
/// For one replica to answer.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Rows on one page of a listing.
pub(super) const PAGE: u32 = 50;
/// A client that is told of an unknown outcome asks again after this, and this many times in all.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
const TRIES: u32 = 6;
/// A client that wants a run to be tried a second time looks so often whether it has ended.
const LOOKS: u32 = 24;

/// The operator sits here.
const OPERATOR_HOST: usize = 0;
/// A session that waits for the heal looks for it so often.
const HEALED_EVERY: Duration = Duration::from_millis(20);

/// What sessions and the rest of the world know of each other.
#[derive(Clone, Default)]
pub(crate) struct Common {
    /// Sessions that have come to their end.
    pub(crate) done: Rc<Cell<usize>>,
    /// When the faults had ended, once they have.
    pub(crate) healed: Rc<Cell<Option<Duration>>>,
    /// What an operator is to do about who takes part.
    pub(crate) desk: Desk,
    /// What an operator is to do about nodes.
    pub(crate) duties: Duties,
    /// What an operator is to let run again.
    pub(crate) releases: Releases,
    /// Work that was not planned.
    pub(crate) reserve: Reserve,
    /// Watches so far.
    watches: Rc<Cell<usize>>,
}

/// Tasks that are submitted where too few of those that were planned were accepted. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Reserve {
    wanted: Rc<Cell<u64>>,
    asked: Rc<Notify>,
}

impl Reserve {
    /// So many more tasks are wanted, unless some are on their way.
    pub(crate) fn ask(&self, tasks: u64) {
        if self.wanted.get() == 0 {
            self.wanted.set(tasks);
            self.asked.notify_one();
        }
    }

    /// Submits what is wanted, as a session of its own, for as long as it is polled.
    async fn work(&self, scenario: &Scenario, facts: &Facts, common: &Common) {
        for job in 1.. {
            self.asked.notified().await;
            let session = Session::new(scenario, scenario.sessions.len(), facts, &common.watches);
            let count = u32::try_from(self.wanted.get()).unwrap_or(u32::MAX);
            let tasks = vec![TaskPlan { count, demands: Demands::for_all(scenario), ..TaskPlan::one() }];
            let job = JobPlan {
                edition: 0,
                result: vec![],
                name: format!("reserve-{job}"),
                priority: 50,
                cancel_on_failure: false,
                timeout_ms: None,
                args: None,
                tasks,
            };
            session.carry_out(&OperationPlan { at_ms: 0, what: Ask::Submit(job) }).await;
            self.wanted.set(0);
        }
    }
}

/// Starts a client host with its sessions.
pub(crate) fn start(sim: &mut Sim<'static>, scenario: &Rc<Scenario>, host: usize, facts: &Facts, common: &Common) {
    let (scenario, facts, common) = (scenario.clone(), facts.clone(), common.clone());
    sim.client(Scenario::client_host(host), async move {
        let sessions: Vec<_> = scenario
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, plan)| plan.host == host)
            .map(|(number, _)| {
                let session = Session::new(&scenario, number, &facts, &common.watches);
                let (scenario, common) = (scenario.clone(), common.clone());
                tokio::task::spawn_local(async move {
                    for step in &scenario.sessions[number].steps {
                        if due(&scenario, number, step.at_ms, &common.healed).await {
                            session.carry_out(step).await;
                        }
                    }
                    common.done.set(common.done.get() + 1);
                })
            })
            .collect();
        if host == OPERATOR_HOST
            && scenario
                .classes
                .iter()
                .any(|class| matches!(class, Class::Membership | Class::OldImage | Class::Divergence | Class::Restore))
        {
            tokio::task::spawn_local(operator::operate(scenario.clone(), facts.clone(), common.desk.clone()));
        }
        if host == OPERATOR_HOST && scenario.classes.contains(&Class::Upkeep) {
            let (duties, healed) = (common.duties.clone(), common.healed.clone());
            tokio::task::spawn_local(upkeep::keep_up(scenario.clone(), facts.clone(), duties, healed));
        }
        if host == OPERATOR_HOST && !scenario.rebalances.is_empty() {
            tokio::task::spawn_local(rebalances::order(scenario.clone(), common.healed.clone()));
        }
        if host == OPERATOR_HOST && !scenario.reservations.is_empty() {
            tokio::task::spawn_local(reservations::reserve(scenario.clone(), common.healed.clone()));
        }
        if host == OPERATOR_HOST && tenants::are_kept(&scenario) {
            tokio::task::spawn_local(tenants::keep(scenario.clone()));
        }
        if host == OPERATOR_HOST {
            tokio::task::spawn_local(release::let_go(scenario.clone(), common.releases.clone()));
        }
        let planned = async {
            for session in sessions {
                session.await?;
            }
            // Its watches go on until the run is over.
            std::future::pending().await
        };
        if host != OPERATOR_HOST {
            return planned.await;
        }
        tokio::select! {
            biased;
            ended = planned => ended,
            () = common.reserve.work(&scenario, &facts, &common) => Ok(()),
        }
    });
}

/// Waits for the time of a step. False when it is not to be done.
async fn due(scenario: &Scenario, session: usize, at_ms: u64, healed: &Cell<Option<Duration>>) -> bool {
    let sleep_until = async |at: Duration| {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        tokio::time::sleep(at.saturating_sub(now)).await;
    };
    let at = Duration::from_millis(at_ms);
    let planned = Duration::from_millis(scenario.heal_ms);
    match scenario.sessions[session].when {
        When::Always => sleep_until(at).await,
        When::UntilHealed => {
            sleep_until(at.min(planned + HEALED_EVERY)).await;
            while healed.get().is_none() && turmoil::sim_elapsed().is_some_and(|now| now < at) {
                tokio::time::sleep(HEALED_EVERY).await;
            }
            return healed.get().is_none();
        }
        When::Healed => {
            sleep_until(planned).await;
            let healed = loop {
                match healed.get() {
                    Some(healed) => break healed,
                    None => tokio::time::sleep(HEALED_EVERY).await,
                }
            };
            sleep_until(healed + at.saturating_sub(planned)).await;
        }
    }
    true
}

#[derive(Clone)]
struct Session {
    number: usize,
    seed: u64,
    client: Client,
    facts: Facts,
    watches: Rc<Cell<usize>>,
}

impl Session {
    fn new(scenario: &Scenario, number: usize, facts: &Facts, watches: &Rc<Cell<usize>>) -> Self {
        let entropy = SimEntropy::new(Stream::of(scenario.seed, &format!("session {number}")));
        let config = ClientConfig {
            deadline: DEADLINE,
            attempt_timeout: ATTEMPT_TIMEOUT,
            ..ClientConfig::new(addresses(scenario, API_PORT))
        };
        let client = Client::new(config, Arc::new(SimNetwork), Arc::new(entropy));
        Self { number, seed: scenario.seed, client, facts: facts.clone(), watches: watches.clone() }
    }

    async fn carry_out(&self, step: &OperationPlan) {
        let request = match &step.what {
            Ask::Submit(job) | Ask::Resubmit(job) => {
                rivals::make(self.seed, &self.client, namespace(&job.name)).await;
                let request_id = submit_id(job);
                Request::Submit { request_id, spec: Arc::new(spec(job)), args: job.args.clone() }
            }
            Ask::Cancel { job } => Request::Cancel { request_id: format!("cancel-{job}"), job: job.clone() },
            Ask::Abandon { job } => Request::Abandon { request_id: format!("abandon-{job}"), job: job.clone() },
            Ask::Control { job, what } => {
                // Each is a request of its own, whatever was said before.
                let request_id = format!("control-{job}-{}", step.at_ms);
                Request::Control { request_id, job: job.clone(), what: *what }
            }
            Ask::Restart { job, from, again_ms } => return self.restart(step.at_ms, job, from, *again_ms).await,
            Ask::Get { job } => Request::Get { job: job.clone() },
            Ask::List => Request::List,
            Ask::Tasks { job } => Request::Tasks { job: job.clone() },
            Ask::Attempts { job } => Request::Attempts { job: job.clone() },
            Ask::Pages { of, size } => return self.turn_pages(of, *size).await,
            Ask::Watch { job } => {
                let (session, job) = (self.clone(), job.clone());
                tokio::task::spawn_local(async move { session.watch(&job).await });
                return;
            }
        };
        let is_write = matches!(
            request,
            Request::Submit { .. } | Request::Cancel { .. } | Request::Abandon { .. } | Request::Control { .. }
        );
        // What is paused must not be forgotten.
        let tries = if let Ask::Control { what: Control::Resume, .. } = step.what { u32::MAX } else { TRIES };
        self.insist(&request, if is_write { tries } else { 1 }).await;
    }

    /// Makes a request until it is known what became of it, so many times at most.
    async fn insist(&self, request: &Request, tries: u32) {
        for attempt in 1.. {
            let is_unavailable = self.ask(request).await.is_err_and(|is_unavailable| is_unavailable);
            // As the client library advises: the same request id once more tells what became of it.
            if !(is_unavailable && attempt < tries) {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Has a job's latest run tried a second time, once it has ended or has had the time to.
    async fn restart(&self, at_ms: u64, job: &str, from: &[String], again_ms: Option<u64>) {
        let mut latest = None;
        for _ in 0..LOOKS {
            if let Ok(Answer::Run(answer)) = self.heard(&Request::Get { job: job.to_owned() }).await {
                let run = answer.run.unwrap_or_default();
                let has_ended = run.ended_at_ms.is_some();
                latest = Some(run.id);
                if has_ended {
                    break;
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        let Some(run) = latest else { return };
        let request_id = format!("restart-{job}-{at_ms}");
        let request = Request::Restart { request_id, job: job.to_owned(), run, from: from.to_vec() };
        self.insist(&request, TRIES).await;
        if let Some(again_ms) = again_ms {
            tokio::time::sleep(Duration::from_millis(again_ms)).await;
            self.insist(&request, TRIES).await;
        }
    }

    /// Reads a list to its end, or until nobody answers.
    async fn turn_pages(&self, of: &Listing, size: u32) {
        let mut page = Page { of: of.clone(), size, token: String::new(), after: None };
        while let Ok(Some((after, token))) = self.ask(&Request::Page(page.clone())).await {
            (page.after, page.token) = (Some(after), token);
        }
    }

    /// Makes a request once. What a list goes on with; or whether asking again may bring another answer.
    async fn ask(&self, request: &Request) -> Result<Option<(String, String)>, bool> {
        self.heard(request).await.map(|answer| answer.next_page())
    }

    /// Makes a request once, and writes down what was heard. Whether asking again may bring another answer.
    async fn heard(&self, request: &Request) -> Result<Answer, bool> {
        let called = turmoil::sim_elapsed().unwrap_or_default();
        let answered = self.send(request).await;
        let heard = match &answered {
            Ok(answer) => Ok(answer.clone()),
            Err(error) => Err(error.is_unavailable()),
        };
        let outcome = match answered {
            Ok(answer) => Outcome::Answered(answer),
            Err(error @ Error::OutcomeUnknown { .. }) => Outcome::Unknown(error.to_string()),
            Err(error) => Outcome::Refused(error.to_string()),
        };
        self.facts.add(Fact::Operation(Arc::new(Operation {
            session: self.number,
            called,
            request: request.clone(),
            outcome,
        })));
        heard
    }

    async fn send(&self, request: &Request) -> Result<Answer, Error> {
        let client = &self.client;
        match request {
            Request::Submit { request_id, spec, args } => {
                let (spec, request_id) = (Some((**spec).clone()), request_id.clone());
                let answer = match args.clone() {
                    None => client.submit_job(v1::SubmitJobRequest { spec, request_id }).await,
                    Some(args) => {
                        client.submit_flow(v1::SubmitFlowRequest { spec, args, version: None, request_id }).await
                    }
                };
                answer.map(Answer::Submitted)
            }
            Request::Cancel { request_id, job } => {
                let request = v1::CancelRunRequest { run: by_job(job), request_id: request_id.clone() };
                client.cancel_run(request).await.map(Answer::Cancelled)
            }
            Request::Abandon { request_id, job } => {
                let request = v1::AbandonRunRequest { run: by_job(job), request_id: request_id.clone() };
                client.abandon_run(request).await.map(Answer::Abandoned)
            }
            Request::Restart { request_id, run, from, .. } => {
                let run = Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(run.clone())) });
                let request = v1::RestartRunRequest { run, from: from.clone(), request_id: request_id.clone() };
                client.restart_run(request).await.map(Answer::Submitted)
            }
            Request::Control { request_id, job, what } => {
                let (run, request_id) = (by_job(job), request_id.clone());
                let controlled = |run_id, revision| Answer::Controlled { run_id, revision };
                match *what {
                    Control::Pause => {
                        let request = v1::PauseRunRequest { run, reason: "a drill".into(), request_id };
                        client.pause_run(request).await.map(|answer| controlled(answer.run_id, answer.revision))
                    }
                    Control::Resume => {
                        let request = v1::ResumeRunRequest { run, request_id };
                        client.resume_run(request).await.map(|answer| controlled(answer.run_id, answer.revision))
                    }
                    Control::Priority(priority) => {
                        let request = v1::SetRunPriorityRequest { run, priority: u32::from(priority), request_id };
                        client.set_run_priority(request).await.map(|answer| controlled(answer.run_id, answer.revision))
                    }
                }
            }
            Request::Get { job } => {
                let answer = client.get_run(v1::GetRunRequest { run: by_job(job) }).await;
                answer.map(|answer| Answer::Run(Box::new(answer)))
            }
            Request::List => {
                let request = v1::ListRunsRequest { page_size: PAGE, ..v1::ListRunsRequest::default() };
                client.list_runs(request).await.map(Answer::Runs)
            }
            Request::Tasks { job } => {
                let request =
                    v1::ListTasksRequest { run: by_job(job), page_size: PAGE, ..v1::ListTasksRequest::default() };
                client.list_tasks(request).await.map(Answer::Tasks)
            }
            Request::Attempts { job } => {
                let request =
                    v1::ListAttemptsRequest { run: by_job(job), page_size: PAGE, ..v1::ListAttemptsRequest::default() };
                client.list_attempts(request).await.map(Answer::Attempts)
            }
            Request::Page(page) => self.turn(page).await,
        }
    }

    async fn turn(&self, page: &Page) -> Result<Answer, Error> {
        let (page_size, page_token) = (page.size, page.token.clone());
        match &page.of {
            Listing::Runs => {
                let request = v1::ListRunsRequest { page_size, page_token, ..Default::default() };
                self.client.list_runs(request).await.map(Answer::Runs)
            }
            Listing::Tasks { job } => {
                let request = v1::ListTasksRequest { run: by_job(job), page_size, page_token, ..Default::default() };
                self.client.list_tasks(request).await.map(Answer::Tasks)
            }
            Listing::Attempts { job } => {
                let request = v1::ListAttemptsRequest { run: by_job(job), page_size, page_token, ..Default::default() };
                self.client.list_attempts(request).await.map(Answer::Attempts)
            }
        }
    }

    /// Follows a job's run to its end.
    async fn watch(&self, job: &str) {
        let run = loop {
            match self.client.get_run(v1::GetRunRequest { run: by_job(job) }).await {
                Ok(answer) => break answer.run.unwrap_or_default().id,
                // It may not have been accepted yet, or never be.
                Err(Error::Api(_)) => return,
                Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        };
        let number = self.watches.get();
        self.watches.set(number + 1);
        let tell = |what| self.facts.add(Fact::Watch(Arc::new(Watch { number, run: run.clone(), what })));
        let by_id = v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(run.clone())) };
        let mut after = 0;
        loop {
            let mut watch =
                self.client.watch_run(v1::WatchRunRequest { run: Some(by_id.clone()), after_revision: after });
            tell(Watched::Opened { after });
            loop {
                match watch.next().await {
                    Some(Ok(message)) => {
                        // Only a bookmark or a snapshot says that everything up to it was told.
                        if !matches!(message.item, Some(v1::watch_run_response::Item::Event(_))) {
                            after = message.revision;
                        }
                        tell(Watched::Message(message));
                    }
                    Some(Err(error)) => {
                        let is_final = !error.is_unavailable();
                        tell(Watched::Failed(error.to_string()));
                        if is_final {
                            return;
                        }
                        break;
                    }
                    None => return tell(Watched::Ended),
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// The id of the request that submits an edition of a job, however often and whoever sends it.
fn submit_id(job: &JobPlan) -> String {
    match job.edition {
        0 => format!("submit-{}", job.name),
        edition => format!("submit-{}-{edition}", job.name),
    }
}

fn by_job(job: &str) -> Option<v1::RunRef> {
    let job = v1::JobRef { namespace: namespace(job).into(), name: job.into() };
    Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::Job(job)) })
}

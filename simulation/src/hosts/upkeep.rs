//! An operator who sees to nodes, through the public API: each duty on its own, and what it says asked for again until
//! it is known what became of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{ApiError, Client, ClientConfig, Error};
use quorate_proto::v1;
use quorate_proto::v1::restore_scope_request::Scope as Restored;
use quorate_proto::v1::withdraw_scope_request::Scope as Withdrawn;

use super::client::{ATTEMPT_TIMEOUT, DEADLINE};
use super::{API_PORT, addresses};
use crate::facts::{Errand, Fact, Facts, Heard, Told};
use crate::net::SimNetwork;
use crate::scenario::{Chore, Scenario, Then};
use crate::seeded::{SimEntropy, Stream};

/// Between two looks for something to do.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two times of asking for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// Between two things that are said of one node.
const THEN_AFTER: Duration = Duration::from_millis(600);

/// What an operator is to do about a node, or about its cluster or region.
#[derive(Clone, Debug)]
pub(crate) struct Duty {
    /// The name of what it is about.
    pub(crate) node: String,
    pub(crate) chore: Chore,
    /// The node is given back then, or is back by itself.
    pub(crate) until: Duration,
}

/// Duties, and how many are not done yet. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Duties {
    coming: Rc<RefCell<VecDeque<Duty>>>,
    open: Rc<Cell<usize>>,
}

impl Duties {
    /// Gives one.
    pub(crate) fn put(&self, duty: Duty) {
        self.open.set(self.open.get() + 1);
        self.coming.borrow_mut().push_back(duty);
    }

    /// True when everything is done.
    pub(crate) fn is_clear(&self) -> bool {
        self.open.get() == 0
    }
}

/// Does its duties, for as long as the run lasts.
pub(super) async fn keep_up(scenario: Rc<Scenario>, facts: Facts, duties: Duties, healed: Rc<Cell<Option<Duration>>>) {
    let entropy = SimEntropy::new(Stream::of(scenario.seed, "keeper"));
    let addresses = addresses(&scenario, API_PORT);
    let config = ClientConfig { deadline: DEADLINE, attempt_timeout: ATTEMPT_TIMEOUT, ..ClientConfig::new(addresses) };
    let client = Client::new(config, Arc::new(SimNetwork), Arc::new(entropy));
    for number in 0_u64.. {
        let duty = loop {
            let next = duties.coming.borrow_mut().pop_front();
            match next {
                Some(duty) => break duty,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        let (client, facts, healed, duties) = (client.clone(), facts.clone(), healed.clone(), duties.clone());
        let keeper = Keeper { client, facts, healed, number, asked: Cell::new(0), duty };
        tokio::task::spawn_local(async move {
            keeper.carry_out().await;
            duties.open.set(duties.open.get() - 1);
        });
    }
}

/// One duty as it is done.
struct Keeper {
    client: Client,
    facts: Facts,
    healed: Rc<Cell<Option<Duration>>>,
    number: u64,
    /// Requests so far that were told apart.
    asked: Cell<u32>,
    duty: Duty,
}

impl Keeper {
    async fn carry_out(&self) {
        let begins = match &self.duty.chore {
            Chore::Cordon => Told::Cordon,
            Chore::Drain { wait_ms } => Told::Drain { wait_ms: *wait_ms },
            Chore::Maintain { wait_ms, lasts_ms, .. } => Told::Maintain { wait_ms: *wait_ms, lasts_ms: *lasts_ms },
            Chore::Forget { .. } => Told::Forget,
            Chore::Scope { region, drain } => Told::Withdraw { region: *region, drain: *drain },
            Chore::Empty => {
                while self.healed.get().is_none() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Told::Drain { wait_ms: 0 }
            }
            // The agent does it all.
            Chore::Relabel { .. } => return,
        };
        if !self.insist(begins).await {
            return;
        }
        match &self.duty.chore {
            Chore::Maintain { then: Then::Nothing, .. }
            | Chore::Forget { .. }
            | Chore::Scope { drain: Some((_, Some(_))), .. }
            | Chore::Relabel { .. } => return,
            Chore::Scope { region, .. } => {
                self.wait().await;
                self.insist(Told::Restore { region: *region }).await;
                return;
            }
            Chore::Maintain { then: Then::Drain, .. } => {
                tokio::time::sleep(THEN_AFTER).await;
                self.insist(Told::Drain { wait_ms: 0 }).await;
                self.wait().await;
            }
            Chore::Maintain { then: Then::Cordon, .. } => {
                tokio::time::sleep(THEN_AFTER).await;
                self.insist(Told::Uncordon).await;
                self.insist(Told::Cordon).await;
                self.wait().await;
            }
            Chore::Cordon | Chore::Drain { .. } => self.wait().await,
            Chore::Empty => self.wait_until_empty().await,
        }
        self.insist(Told::Uncordon).await;
    }

    /// Until the node is to be given back, or the faults have ended.
    async fn wait(&self) {
        while self.healed.get().is_none() && turmoil::sim_elapsed().is_some_and(|now| now < self.duty.until) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn wait_until_empty(&self) {
        loop {
            let request = v1::GetNodeRequest { node: self.duty.node.clone() };
            match self.client.get_node(request).await {
                Ok(answer) if answer.node.as_ref().is_some_and(|node| node.attempts > 0) => {}
                Ok(_) | Err(Error::Api(ApiError::NotFound { .. })) => return,
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Asks until it is done. False when there is no such node, or when it was refused to the end of the faults.
    async fn insist(&self, told: Told) -> bool {
        loop {
            let number = self.asked.get();
            match self.ask(told, format!("upkeep-{}-{number}", self.number)).await {
                (Heard::Done, _) => {
                    self.asked.set(number + 1);
                    return true;
                }
                (Heard::Refused(_), is_absent) => {
                    self.asked.set(number + 1);
                    let gives_back = matches!(told, Told::Uncordon | Told::Restore { .. });
                    if is_absent || (self.healed.get().is_some() && !gives_back) {
                        return false;
                    }
                }
                // The same request id once more tells what became of it.
                (Heard::Unknown(_), _) => {}
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Asks once. What was heard, and whether that is that there is no such node.
    async fn ask(&self, told: Told, request_id: String) -> (Heard, bool) {
        let (client, node) = (&self.client, self.duty.node.clone());
        let called = turmoil::sim_elapsed().unwrap_or_default();
        let (id, reason) = (request_id.clone(), "upkeep".to_owned());
        let answered = match told {
            Told::Cordon | Told::Uncordon => {
                let cordoned = told == Told::Cordon;
                client.cordon_node(v1::CordonNodeRequest { node, cordoned, request_id: id }).await.map(drop)
            }
            Told::Drain { wait_ms } => {
                client.drain_node(v1::DrainNodeRequest { node, wait_ms, reason, request_id: id }).await.map(drop)
            }
            Told::Maintain { wait_ms, lasts_ms: for_ms } => {
                let request = v1::MaintainNodeRequest { node, wait_ms, for_ms, reason, request_id: id };
                client.maintain_node(request).await.map(drop)
            }
            Told::Withdraw { region, drain } => {
                let scope = if region { Withdrawn::Region(node) } else { Withdrawn::Cluster(node) };
                let (wait_ms, for_ms) = drain.unwrap_or_default();
                let (scope, drain) = (Some(scope), drain.is_some());
                let request = v1::WithdrawScopeRequest { scope, drain, wait_ms, for_ms, reason, request_id: id };
                client.withdraw_scope(request).await.map(drop)
            }
            Told::Restore { region } => {
                let scope = if region { Restored::Region(node) } else { Restored::Cluster(node) };
                client.restore_scope(v1::RestoreScopeRequest { scope: Some(scope), request_id: id }).await.map(drop)
            }
            Told::Forget => client.forget_node(v1::ForgetNodeRequest { node, request_id: id }).await.map(drop),
        };
        let is_absent = matches!(answered, Err(Error::Api(ApiError::NotFound { .. })));
        let heard = match answered {
            Ok(()) => Heard::Done,
            Err(Error::Api(error @ (ApiError::Precondition { .. } | ApiError::NotFound { .. }))) => {
                Heard::Refused(error.to_string())
            }
            Err(error) => Heard::Unknown(error.to_string()),
        };
        let node = self.duty.node.clone();
        self.facts.add(Fact::Errand(Arc::new(Errand { called, request_id, node, asked: told, heard: heard.clone() })));
        (heard, is_absent)
    }
}

//! An operator who changes who takes part, through the public API: one thing after the other, each asked
//! for again until it is known what became of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{ApiError, Client, ClientConfig, Error};
use quorate_proto::backup::Writer;
use quorate_proto::v1;

use super::client::{ATTEMPT_TIMEOUT, DEADLINE, PAGE};
use super::{API_PORT, RAFT_PORT, addresses};
use crate::facts::{Answer, Asked, Change, Fact, Facts, Heard, Operation, Outcome, Request};
use crate::net::SimNetwork;
use crate::scenario::Scenario;
use crate::seeded::{SimEntropy, Stream};

/// Between two looks for something to do, and between two times of asking for the same.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Times that a replica that was removed is asked for what it knows, and how long for.
const QUESTIONS: u32 = 2;
const QUESTION_DEADLINE: Duration = Duration::from_secs(2);
/// Times that somebody is asked to lead.
const TRANSFERS_MAX: u32 = 3;

/// What an operator is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) wish: Wish,
    /// Not sooner.
    pub(crate) at: Duration,
}

/// See [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Remove a replica, known by its place and by the id that it has today; once another one has joined in
    /// its place as a learner, promote that, where it is one.
    Replace { position: usize, id: u64, learner: bool, gives_up: bool },
    /// Have a replica lead.
    Lead { id: u64 },
    /// Take a backup.
    Backup,
}

/// Orders, and how many are not done yet. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    orders: Rc<RefCell<VecDeque<Order>>>,
    open: Rc<Cell<usize>>,
    backup: Rc<RefCell<Option<Rc<Vec<u8>>>>>,
}

impl Desk {
    /// Gives an order.
    pub(crate) fn put(&self, order: Order) {
        self.open.set(self.open.get() + 1);
        self.orders.borrow_mut().push_back(order);
    }

    /// The backup that was taken last.
    pub(crate) fn backup(&self) -> Option<Rc<Vec<u8>>> {
        self.backup.borrow().clone()
    }

    /// True when everything is done.
    pub(crate) fn is_clear(&self) -> bool {
        self.open.get() == 0
    }
}

/// Does what is ordered, for as long as the run lasts.
pub(super) async fn operate(scenario: Rc<Scenario>, facts: Facts, desk: Desk) {
    let client = |addresses: Vec<String>, label: &str, deadline| {
        let entropy = SimEntropy::new(Stream::of(scenario.seed, label));
        let config = ClientConfig { deadline, attempt_timeout: ATTEMPT_TIMEOUT, ..ClientConfig::new(addresses) };
        Client::new(config, Arc::new(SimNetwork), Arc::new(entropy))
    };
    let all = client(addresses(&scenario, API_PORT), "operator", DEADLINE);
    let operator = Operator { client: all, facts };
    for number in 0_u64.. {
        let order = loop {
            let next = desk.orders.borrow_mut().pop_front();
            match next {
                Some(order) => break order,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        let now = turmoil::sim_elapsed().unwrap_or_default();
        tokio::time::sleep(order.at.saturating_sub(now)).await;
        match order.wish {
            Wish::Replace { position, id, learner, gives_up } => {
                if operator.insist(Asked::Remove(id), gives_up).await {
                    let host = Scenario::replica_host(position);
                    let label = format!("operator {number}");
                    let alone = client(vec![format!("{host}:{API_PORT}")], &label, QUESTION_DEADLINE);
                    // Behind the planned ones and the reserve, which may be at work meanwhile.
                    operator.question(&alone, scenario.sessions.len() + 1).await;
                    if learner {
                        operator.promote(&format!("{host}:{RAFT_PORT}"), id).await;
                    }
                }
            }
            Wish::Backup => {
                let taken = operator.back_up().await;
                desk.backup.replace(Some(Rc::new(taken)));
            }
            Wish::Lead { id } => {
                for _ in 0..TRANSFERS_MAX {
                    if operator.ask(Asked::Transfer(id)).await == Heard::Done {
                        break;
                    }
                }
            }
        }
        desk.open.set(desk.open.get() - 1);
    }
}

struct Operator {
    client: Client,
    facts: Facts,
}

impl Operator {
    /// Asks until it is done, or refused, if that is to be the end of it. True when it is done.
    async fn insist(&self, asked: Asked, gives_up: bool) -> bool {
        loop {
            match self.ask(asked).await {
                Heard::Done => return true,
                Heard::Refused(_) if gives_up => return false,
                Heard::Refused(_) | Heard::Unknown(_) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }

    async fn ask(&self, asked: Asked) -> Heard {
        let called = turmoil::sim_elapsed().unwrap_or_default();
        let answered = match asked {
            Asked::Remove(id) => self.client.remove_replica(v1::RemoveReplicaRequest { id }).await.map(drop),
            Asked::Promote(id) => self.client.promote_replica(v1::PromoteReplicaRequest { id }).await.map(drop),
            Asked::Transfer(to) => {
                let request = v1::TransferLeadershipRequest { to, ..Default::default() };
                self.client.transfer_leadership(request).await.map(drop)
            }
        };
        let heard = match answered {
            Ok(()) => Heard::Done,
            Err(Error::Api(error @ (ApiError::Precondition { .. } | ApiError::NotFound { .. }))) => {
                Heard::Refused(error.to_string())
            }
            Err(error) => Heard::Unknown(error.to_string()),
        };
        self.facts.add(Fact::Change(Arc::new(Change { called, asked, heard: heard.clone() })));
        heard
    }

    /// Takes a backup, as the bytes of its file.
    async fn back_up(&self) -> Vec<u8> {
        loop {
            if let Some(taken) = self.try_back_up().await {
                return taken;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn try_back_up(&self) -> Option<Vec<u8>> {
        let mut pieces = self.client.save_snapshot(v1::SaveSnapshotRequest::default()).await.ok()?;
        let mut writer = Writer::begin(Vec::new()).ok()?;
        while let Some(piece) = pieces.next().await.ok()? {
            writer.add(&piece.piece, &piece.digest).ok()?;
        }
        writer.finish().ok().map(|(_, bytes)| bytes)
    }

    /// Asks a replica that belongs to nobody any more for the runs: whatever it answers must be so.
    async fn question(&self, client: &Client, session: usize) {
        for _ in 0..QUESTIONS {
            let called = turmoil::sim_elapsed().unwrap_or_default();
            let request = v1::ListRunsRequest { page_size: PAGE, ..v1::ListRunsRequest::default() };
            let outcome = match client.list_runs(request).await {
                Ok(answer) => Outcome::Answered(Answer::Runs(answer)),
                Err(error) => Outcome::Refused(error.to_string()),
            };
            let request = Request::List;
            self.facts.add(Fact::Operation(Arc::new(Operation { session, called, request, outcome })));
        }
    }

    /// Promotes whoever has joined at an address since, as soon as the leader lets it.
    async fn promote(&self, raft_address: &str, before: u64) {
        loop {
            let listed = self.client.list_replicas(v1::ListReplicasRequest {}).await;
            let replicas = listed.map(|answer| answer.replicas).unwrap_or_default();
            let joined = replicas.into_iter().find(|it| it.raft_address == raft_address && it.id != before);
            match joined {
                Some(joined) if joined.voter => return,
                Some(joined) if self.ask(Asked::Promote(joined.id)).await == Heard::Done => return,
                Some(_) | None => {}
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

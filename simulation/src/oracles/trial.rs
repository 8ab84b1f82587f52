//! A small made-up run, told to one oracle fact by fact.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::convert::job::{spec_digest, spec_from_wire};
use quorate_proto::raft::v1 as pb;
use quorate_proto::v1;
use quorate_seams::{Batch, Table};
use quorate_state::{Command, Entry, Item, Millis, Namespace, Principal, RunId, Settings, Stamp, Uuid};

use super::{Known, Oracle, Room, Verdict};
use crate::facts::{Fact, Operation, Outcome, Request};
use crate::ledger::{Ledger, RaftRows as _};
use crate::scenario::{Ask, JobPlan, Kind, Network, OperationPlan, Scenario, SessionPlan, Tunables, When};

const NAMESPACE: &str = "default";

/// A cluster of made-up disks, of which the first writes and applies the log.
pub(super) struct Trial {
    pub(super) ledger: Ledger,
    pub(super) now: Duration,
    /// Since when each replica could lead.
    pub(super) fit: Vec<Option<Duration>>,
    /// The room on each replica's disk.
    pub(super) rooms: Vec<Room>,
    scenario: Scenario,
    /// Of each replica's newest batch.
    numbers: Vec<u64>,
    runs: u64,
}

impl Trial {
    /// Disks that know which replica they belong to: `r1` is replica 1.
    pub(super) fn new(replicas: usize) -> Self {
        let mut trial = Self {
            ledger: Ledger::new(replicas),
            now: Duration::from_secs(1),
            fit: vec![],
            rooms: vec![],
            scenario: scenario(),
            numbers: vec![0; replicas],
            runs: 0,
        };
        for replica in 0..replicas {
            let identity = pb::Identity { replica: replica as u64 + 1, ..Default::default() };
            let mut batch = Batch::default();
            batch.put(Table::Raft, &b"identity"[..], identity.encode_to_vec());
            let fact = trial.wrote(replica, batch);
            trial.ledger.take(trial.now, &fact).unwrap();
            trial.ledger.take(trial.now, &Fact::Synced { replica, through: 1 }).unwrap();
        }
        trial
    }

    /// The newest committed revision.
    pub(super) fn newest(&self) -> u64 {
        self.ledger.steps().last().unwrap().revision.0
    }

    /// Tells a fact as a run does.
    pub(super) fn feed(&mut self, oracle: &mut dyn Oracle, fact: Fact) -> Verdict {
        self.now += Duration::from_millis(10);
        let steps = self.ledger.take(self.now, &fact)?;
        let known = Known {
            scenario: &self.scenario,
            ledger: &self.ledger,
            healed: None,
            stalls: &[],
            silences: &[],
            fit: &self.fit,
            rooms: &self.rooms,
        };
        steps.iter().try_for_each(|step| oracle.step(step, &known))?;
        oracle.fact(self.now, &fact, &known)
    }

    pub(super) fn end(&mut self, oracle: &mut dyn Oracle) -> Verdict {
        let known = Known {
            scenario: &self.scenario,
            ledger: &self.ledger,
            healed: Some(Duration::ZERO),
            stalls: &[],
            silences: &[],
            fit: &self.fit,
            rooms: &self.rooms,
        };
        oracle.end(self.now, &known)
    }

    fn wrote(&mut self, replica: usize, batch: Batch) -> Fact {
        self.numbers[replica] += 1;
        Fact::Wrote { replica, number: self.numbers[replica], batch: Arc::new(batch), replaced: Arc::new([]) }
    }

    pub(super) fn write(&mut self, oracle: &mut dyn Oracle, replica: usize, batch: Batch) -> Verdict {
        let fact = self.wrote(replica, batch);
        self.feed(oracle, fact)
    }

    pub(super) fn vote(&mut self, oracle: &mut dyn Oracle, replica: usize, vote: pb::Vote) -> Verdict {
        let mut batch = Batch::default();
        batch.put(Table::Raft, &b"vote"[..], vote.encode_to_vec());
        self.write(oracle, replica, batch)
    }

    pub(super) fn sync(&mut self, oracle: &mut dyn Oracle, replica: usize) -> Verdict {
        self.feed(oracle, Fact::Synced { replica, through: self.numbers[replica] })
    }

    /// A loss of power that nothing unsynced survives.
    pub(super) fn crash(&mut self, oracle: &mut dyn Oracle, replica: usize) -> Verdict {
        self.feed(oracle, Fact::ReplicaGone { replica, survived: 0 })
    }

    /// An entry of nothing.
    pub(super) fn blank(term: u64, index: u64) -> Bytes {
        entry(term, index, pb::log_entry::Payload::Blank(pb::Blank {}))
    }

    /// The first entry of every log: who votes.
    pub(super) fn founding(replicas: usize) -> Bytes {
        let voters = pb::Voters { replicas: (1..=replicas as u64).collect() };
        let membership = pb::Membership { configs: vec![voters], peers: vec![] };
        entry(1, 0, pb::log_entry::Payload::Membership(membership))
    }

    /// An entry that says who takes part.
    pub(super) fn membership(index: u64, voters: &[&[u64]], replicas: &[u64]) -> Bytes {
        let configs = voters.iter().map(|voters| pb::Voters { replicas: voters.to_vec() });
        let peers = replicas.iter().map(|replica| pb::Peer { replica: *replica, ..Default::default() });
        let membership = pb::Membership { configs: configs.collect(), peers: peers.collect() };
        entry(1, index, pb::log_entry::Payload::Membership(membership))
    }

    /// The first replica stores and applies that others take part from now on.
    pub(super) fn members(&mut self, oracle: &mut dyn Oracle, voters: &[&[u64]], replicas: &[u64]) -> Verdict {
        self.commit(oracle, &Self::membership(self.ledger.steps().len() as u64, voters, replicas))
    }

    /// Some replicas store an entry.
    pub(super) fn log(&mut self, oracle: &mut dyn Oracle, replicas: &[usize], index: u64, entry: &Bytes) -> Verdict {
        replicas.iter().try_for_each(|replica| {
            let mut batch = Batch::default();
            batch.put(Table::Log, index.to_be_bytes().to_vec(), entry.clone());
            self.write(oracle, *replica, batch)
        })
    }

    /// The first replica stores the next entry and applies it.
    pub(super) fn commit(&mut self, oracle: &mut dyn Oracle, bytes: &Bytes) -> Verdict {
        let index = self.ledger.steps().len() as u64;
        if self.ledger.shadows()[0].live().entry(index).is_none() {
            self.log(oracle, &[0], index, bytes)?;
        }
        let applied = pb::Applied { log_id: Some(pb::LogId { term: 1, index }), ..Default::default() };
        let mut batch = Batch::default();
        batch.put(Table::Raft, &b"applied"[..], applied.encode_to_vec());
        self.write(oracle, 0, batch)
    }

    fn command(&mut self, oracle: &mut dyn Oracle, command: Command) -> Verdict {
        let stamp = Stamp { term: 1, elapsed_ms: 1, wall: Millis(1) };
        let items = vec![Item { principal: Principal::anonymous_local(), request: None, command }];
        let payload = quorate_proto::log::encode_entry(&Entry { stamp, items });
        let entry = entry(1, self.ledger.steps().len() as u64, pb::log_entry::Payload::Normal(payload));
        self.commit(oracle, &entry)
    }

    /// The cluster is founded: a membership of all, and a namespace.
    pub(super) fn found(&mut self, oracle: &mut dyn Oracle) -> Verdict {
        self.commit(oracle, &Self::founding(self.numbers.len()))?;
        if self.numbers.len() > 1 {
            return Ok(());
        }
        let settings = Box::new(Settings::default());
        self.command(oracle, Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings })?;
        self.command(oracle, Command::CreateNamespace { namespace: Namespace::new(NAMESPACE).unwrap() })
    }

    /// A job of one task is accepted.
    pub(super) fn submit(&mut self, oracle: &mut dyn Oracle, job: &str) -> Result<RunId, String> {
        self.runs += 1;
        let run = RunId(self.runs);
        let spec = spec_from_wire(spec(job)).unwrap();
        let command = Command::SubmitJob { run, spec_digest: spec_digest(&spec), spec: Arc::new(spec) };
        self.command(oracle, command)?;
        let step = self.ledger.steps().last().unwrap();
        assert!(step.replies.iter().all(Result::is_ok), "{:?}", step.replies);
        Ok(run)
    }

    pub(super) fn cancel(&mut self, oracle: &mut dyn Oracle, run: RunId) -> Verdict {
        self.command(oracle, Command::CancelRun { run })
    }

    /// A run that was cancelled comes to its end.
    pub(super) fn finish(&mut self, oracle: &mut dyn Oracle, run: RunId) -> Verdict {
        self.command(oracle, Command::AdvanceStep { run, step: 0, limit: 10 })?;
        self.command(oracle, Command::FinishRun { run })
    }

    /// A client's submit of a job, with the job's name as the request id.
    pub(super) fn submits(job: &str) -> Request {
        Request::Submit { request_id: job.into(), spec: Arc::new(spec(job)), args: None }
    }

    /// The scenario has one session more, which submits this job.
    pub(super) fn plan_submit(&mut self, name: &str) {
        let job = JobPlan {
            edition: 0,
            result: vec![],
            name: name.into(),
            priority: 50,
            cancel_on_failure: false,
            timeout_ms: None,
            args: None,
            tasks: vec![],
        };
        let steps = vec![OperationPlan { at_ms: 0, what: Ask::Submit(job) }];
        self.scenario.sessions.push(SessionPlan { host: 0, when: When::Always, steps });
    }

    /// A request that takes a moment.
    pub(super) fn operate(
        &mut self,
        oracle: &mut dyn Oracle,
        session: usize,
        took_ms: u64,
        request: Request,
        outcome: Outcome,
    ) -> Verdict {
        // It ends when the fact is told, a moment from now.
        let called = self.now + Duration::from_millis(10) - Duration::from_millis(took_ms);
        self.operate_since(oracle, called, session, request, outcome)
    }

    /// A request that was called at a time.
    pub(super) fn operate_since(
        &mut self,
        oracle: &mut dyn Oracle,
        called: Duration,
        session: usize,
        request: Request,
        outcome: Outcome,
    ) -> Verdict {
        let operation = Operation { session, called, request, outcome };
        self.feed(oracle, Fact::Operation(Arc::new(operation)))
    }
}

fn entry(term: u64, index: u64, payload: pb::log_entry::Payload) -> Bytes {
    let entry = pb::LogEntry { log_id: Some(pb::LogId { term, index }), payload: Some(payload) };
    entry.encode_to_vec().into()
}

fn spec(job: &str) -> v1::JobSpec {
    let task = v1::TaskSpec {
        name: "task".into(),
        driver: v1::Driver::Noop.into(),
        count: 1,
        resources: Some(v1::Resources { cpu_milli: 100, memory_bytes: 1 << 20, gpu_milli: 0 }),
        retry: Some(v1::Retry {
            attempts: 1,
            first_ms: 1_000,
            factor_milli: 2_000,
            cap_ms: 60_000,
            ..Default::default()
        }),
        place: Some(v1::Place { spread: v1::Spread::Pack.into(), ..Default::default() }),
        on_node_loss: v1::OnNodeLoss::AtLeastOnce.into(),
        ..Default::default()
    };
    v1::JobSpec {
        namespace: NAMESPACE.into(),
        name: job.into(),
        priority: 50,
        on_failure: v1::OnFailure::Finish.into(),
        tasks: vec![task],
        ..Default::default()
    }
}

fn scenario() -> Scenario {
    Scenario {
        seed: 1,
        kind: Kind::FaultFree,
        classes: vec![],
        network: Network { tick_ms: 1, latency_ms: (1, 1), region_latency_ms: (1, 1) },
        settings: Tunables {
            heartbeat_ms: 50,
            election_ms: (500, 1_000),
            snapshot_entries: 50,
            keep_entries: 0,
            snapshot_chunk_bytes: 1_024,
            digest_every: 10,
            lease_server_ms: 15_000,
            lease_agent_ms: 9_000,
            lease_kill_ms: 3_000,
            lease_margin_ms: 1_000,
            lease_rho_ppm: 1_000,
            node_losses_max: 3,
            unknown_ms_max: 60_000,
            event_revisions_max: 1_000,
            memory_runs_max: None,
            preempts: None,
            stop_grace_ms: 5_000,
            ready_ahead: None,
        },
        replicas: vec![],
        racks: vec![],
        sessions: vec![],
        rebalances: vec![],
        reservations: vec![],
        faults: vec![],
        spares_quorum: false,
        heal_ms: 0,
        end_ms: 0,
    }
}

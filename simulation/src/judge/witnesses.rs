//! What was seen of a run beside its log, from a file: a JSON object on each line, in any order, all times in microseconds of one
//! clock.
//!
//! ```json
//! {"cluster": {"election_ms_max": 3200, "healed_us": 9000, "end_us": 9900}}
//! {"node": {"name": "n1", "region": "eu", "cluster": "eu", "cpu_milli": 4000, "memory_bytes": 4294967296}}
//! {"stall": {"from_us": 3000, "to_us": 4000}}
//! {"call": {"session": 1, "called_us": 10, "at_us": 20, "ask": {"submit": "job"}, "heard": {"answer": "0a0d…"}}}
//! {"execution": {"node": "n1", "run": "…", "step": 0, "index": 0, "number": 1, "token": 12, "promise": "fenced",
//!                "started_us": 30, "ended_us": 40, "code": 0}}
//! {"watch": {"number": 1, "run": "…", "at_us": 25, "what": {"opened": 0}}}
//! ```
//!
//! Answers and messages to watches are those of the public API, encoded, in hexadecimal digits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_proto::v1;
use quorate_state::{AttemptId, Exit, GpuHold, NodeName, OnNodeLoss, TaskId, Token};
use serde::Deserialize;

use crate::facts::{Answer, Execution, Fact, Happening, Operation, Outcome, Request, Watch, Watched};
use crate::judge::CLOCK;
use crate::oracles::Stall;
use crate::scenario::{AgentPlan, Gpus, Ground, RackPlan};

/// See the module.
#[derive(Default)]
pub(crate) struct Witnesses {
    /// A machine for each node.
    pub(super) racks: Vec<RackPlan>,
    /// When the faults had ended.
    pub(super) healed: Option<Duration>,
    /// When the last process had ended.
    pub(super) end: Duration,
    pub(super) election_ms_max: u64,
    pub(super) stalls: Vec<Stall>,
    /// In the order of their times; each with the revision which it shows to have been applied by then, or 0.
    pub(super) facts: Vec<(Duration, u64, Fact)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Cluster { election_ms_max: u64, healed_us: u64, end_us: u64 },
    Node { name: String, region: String, cluster: String, cpu_milli: u64, memory_bytes: u64 },
    Stall { from_us: u64, to_us: u64 },
    Call { session: usize, called_us: u64, at_us: u64, ask: Ask, heard: Heard },
    Execution(Ran),
    Watch { number: usize, run: String, at_us: u64, what: Seen },
}

/// What a client asked, by the name of the job, which no other job has.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Submit(String),
    Cancel(String),
    Get(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Heard {
    Answer(String),
    Refused(String),
    Unknown(String),
}

/// One attempt, from its first instruction to its last.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ran {
    node: String,
    run: String,
    step: u32,
    index: u32,
    number: u32,
    token: u64,
    promise: String,
    started_us: u64,
    /// None while it runs.
    ended_us: Option<u64>,
    /// None if that is not known.
    code: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Seen {
    Opened(u64),
    Message(String),
    Ended,
    Failed(String),
}

impl Witnesses {
    /// Reads the lines of a file.
    ///
    /// # Errors
    /// With the line that makes no sense, and why.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut witnesses = Self::default();
        let mut stalls = vec![];
        for (number, line) in (1..).zip(text.lines()) {
            let line: Line = serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
            witnesses.take(number, line, &mut stalls).map_err(|why| format!("line {number}: {why}"))?;
        }
        let racks = witnesses.racks.len();
        let everywhere =
            |(from, to): (Duration, Duration)| (0..racks).map(move |rack| Stall { rack, from, to: Some(to) });
        witnesses.stalls = stalls.into_iter().flat_map(everywhere).collect();
        witnesses.facts.sort_by_key(|(at, ..)| *at);
        Ok(witnesses)
    }

    fn take(&mut self, number: usize, line: Line, stalls: &mut Vec<(Duration, Duration)>) -> Result<(), String> {
        match line {
            Line::Cluster { election_ms_max, healed_us, end_us } => {
                self.election_ms_max = election_ms_max;
                (self.healed, self.end) = (Some(Duration::from_micros(healed_us)), Duration::from_micros(end_us));
            }
            Line::Node { name, region, cluster, cpu_milli, memory_bytes } => {
                self.racks.push(rack(name, region, cluster, cpu_milli, memory_bytes));
            }
            Line::Stall { from_us, to_us } => {
                stalls.push((Duration::from_micros(from_us), Duration::from_micros(to_us)));
            }
            Line::Call { session, called_us, at_us, ask, heard } => {
                let outcome = outcome(&ask, heard)?;
                let proves = if let Outcome::Answered(answer) = &outcome { answer.revision() } else { 0 };
                let called = Duration::from_micros(called_us);
                let operation = Operation { session, called, request: request(number, ask), outcome };
                self.fact(at_us, proves, Fact::Operation(Arc::new(operation)));
            }
            Line::Execution(ran) => self.execution(&ran)?,
            Line::Watch { number, run, at_us, what } => {
                let (proves, what) = watched(what)?;
                self.fact(at_us, proves, Fact::Watch(Arc::new(Watch { number, run, what })));
            }
        }
        Ok(())
    }

    fn execution(&mut self, ran: &Ran) -> Result<(), String> {
        let run = ran.run.parse().map_err(|_| format!("{:?} is no run id", ran.run))?;
        let node: NodeName = ran.node.parse().map_err(|error| format!("{:?}: {error}", ran.node))?;
        let promise = match ran.promise.as_str() {
            "at_least_once" => OnNodeLoss::AtLeastOnce,
            "at_most_once" => OnNodeLoss::AtMostOnce,
            "fenced" => OnNodeLoss::Fenced,
            other => return Err(format!("{other:?} is no promise about the loss of a node")),
        };
        let attempt = AttemptId { task: TaskId { run, step: ran.step, index: ran.index }, number: ran.number };
        let token = Token(ran.token);
        let fact = |what| {
            Fact::Execution(Execution {
                node: node.clone(),
                attempt,
                token,
                promise,
                words: None,
                gpus: GpuHold::NONE,
                what,
            })
        };
        self.fact(ran.started_us, ran.token, fact(Happening::Started));
        if let Some(ended_us) = ran.ended_us {
            self.fact(ended_us, 0, fact(Happening::Ended { exit: ran.code.map(Exit::Code) }));
        }
        Ok(())
    }

    fn fact(&mut self, at_us: u64, proves: u64, fact: Fact) {
        self.facts.push((Duration::from_micros(at_us), proves, fact));
    }
}

/// A machine of its own for a node.
pub(super) fn rack(node: String, region: String, cluster: String, cpu_milli: u64, memory_bytes: u64) -> RackPlan {
    let agent = AgentPlan {
        node,
        cluster,
        cpu_milli,
        memory_bytes,
        start_ms: 0,
        kill_ms: 0,
        pool: None,
        gpus: Gpus::default(),
        ground: Ground::default(),
        zone: None,
    };
    RackPlan { region, clock: CLOCK, agents: vec![agent] }
}

/// Calls of one name are of one request: a job is submitted once.
fn request(number: usize, ask: Ask) -> Request {
    match ask {
        Ask::Submit(job) => {
            let spec = Arc::new(v1::JobSpec { name: job.clone(), ..v1::JobSpec::default() });
            Request::Submit { request_id: job, spec, args: None }
        }
        Ask::Cancel(job) => Request::Cancel { request_id: format!("line {number}"), job },
        Ask::Get(job) => Request::Get { job },
    }
}

fn outcome(ask: &Ask, heard: Heard) -> Result<Outcome, String> {
    let answer = match heard {
        Heard::Answer(digits) => digits,
        Heard::Refused(why) => return Ok(Outcome::Refused(why)),
        Heard::Unknown(why) => return Ok(Outcome::Unknown(why)),
    };
    Ok(Outcome::Answered(match ask {
        Ask::Submit(_) => Answer::Submitted(message(&answer)?),
        Ask::Cancel(_) => Answer::Cancelled(message(&answer)?),
        Ask::Get(_) => Answer::Run(Box::new(message(&answer)?)),
    }))
}

fn watched(seen: Seen) -> Result<(u64, Watched), String> {
    Ok(match seen {
        Seen::Opened(after) => (after, Watched::Opened { after }),
        Seen::Message(digits) => {
            let told: v1::WatchRunResponse = message(&digits)?;
            (told.revision, Watched::Message(told))
        }
        Seen::Ended => (0, Watched::Ended),
        Seen::Failed(why) => (0, Watched::Failed(why)),
    })
}

/// A message from its bytes in hexadecimal digits.
fn message<M: Message + Default>(digits: &str) -> Result<M, String> {
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    let bytes = bytes.filter(|_| digits.len().is_multiple_of(2)).ok_or("these are no hexadecimal digits")?;
    M::decode(Bytes::from(bytes)).map_err(|error| error.to_string())
}

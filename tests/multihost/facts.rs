//! What was seen of a run beside its log, in the form in which the simulator's `judge` takes it: docs/simulation.md.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::history::{Asked, Call, Stream, Told};
use crate::hosts::{CPU, MEMORY, REGIONS, agents};
use crate::judge::Evidence;
use crate::ledger::Execution;
use crate::machine::ELECTION_MS_MAX;

/// A task that wrote so shortly before the ledger was read still runs.
const LIVES_US: u64 = 1_000_000;
/// The only step of every job.
const STEP: u32 = 0;

/// When what was, in microseconds since the machine was switched on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The load began,
    pub(crate) began_us: u64,
    /// nothing struck any more and the cluster was whole,
    pub(crate) healed_us: u64,
    /// the ledger was read,
    pub(crate) read_us: u64,
    /// and no process was left.
    pub(crate) ended_us: u64,
}

/// Writes all of it, a line each.
pub(crate) fn write(path: &Path, evidence: &Evidence, streams: &[Stream], times: Times) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    for line in lines(evidence, streams, times) {
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.flush().map_err(failed)
}

fn lines<'a>(evidence: &'a Evidence, streams: &'a [Stream], times: Times) -> impl Iterator<Item = Value> + 'a {
    let Times { began_us, healed_us, read_us, ended_us } = times;
    let cluster = json!({ "election_ms_max": ELECTION_MS_MAX, "healed_us": healed_us, "end_us": ended_us });
    let nodes = agents().into_iter().map(|host| {
        let region = REGIONS[host.region];
        json!({ "node": { "name": host.name, "region": region, "cluster": region,
                          "cpu_milli": CPU.1, "memory_bytes": MEMORY.1 } })
    });
    let stalls = evidence.stillness.iter().map(|(from, to)| json!({ "stall": { "from_us": from, "to_us": to } }));
    let jobs = jobs(&evidence.calls);
    let mut sessions: BTreeMap<&str, usize> = BTreeMap::new();
    let calls = evidence.calls.iter().filter_map(move |call| {
        let next = sessions.len();
        let session = *sessions.entry(&call.who).or_insert(next);
        let ask = ask(&call.asked, &jobs)?;
        let (called_us, at_us) = (began_us + call.begun_us, began_us + call.ended_us);
        let heard = heard(call);
        Some(json!({ "call": { "session": session, "called_us": called_us, "at_us": at_us, "ask": ask, "heard": heard } }))
    });
    let executions = evidence.executions.iter().map(move |one| execution(one, read_us));
    let watches = streams.iter().enumerate().flat_map(move |(number, stream)| watch(number, stream, began_us));
    std::iter::once(json!({ "cluster": cluster }))
        .chain(nodes)
        .chain(stalls)
        .chain(calls)
        .chain(executions)
        .chain(watches)
}

/// The jobs of runs. Each job has a name of its own.
fn jobs(calls: &[Call]) -> BTreeMap<&str, &str> {
    let submitted = calls.iter().filter_map(|call| match (&call.asked, &call.told) {
        (Asked::Submit { job }, Told::Done { of_run, .. }) => Some((of_run.as_str(), job.as_str())),
        _ => None,
    });
    submitted.collect()
}

/// Annotations have no oracle.
fn ask(asked: &Asked, jobs: &BTreeMap<&str, &str>) -> Option<Value> {
    match asked {
        Asked::Submit { job } => Some(json!({ "submit": job })),
        Asked::Cancel { run } => Some(json!({ "cancel": jobs.get(run.as_str())? })),
        Asked::Get { run } => Some(json!({ "get": jobs.get(run.as_str())? })),
        Asked::Annotate { .. } => None,
    }
}

fn heard(call: &Call) -> Value {
    match &call.told {
        Told::Done { .. } => json!({ "answer": digits(&call.answer) }),
        Told::Refused { why } | Told::Unavailable { why } => json!({ "refused": why }),
        Told::Unknown { why } => json!({ "unknown": why }),
    }
}

/// What an attempt has started is judged here; for the simulator an attempt is its first process.
fn execution(one: &Execution, read_us: u64) -> Value {
    let Execution { run, index, attempt, token, node, promise, first_us, last_us, alone_us, has_ended, .. } = one;
    let last_us = if *alone_us > 0 { alone_us } else { last_us };
    let ended_us = (last_us + LIVES_US < read_us || *has_ended).then_some(last_us);
    let code = has_ended.then_some(0);
    json!({ "execution": { "node": node, "run": run, "step": STEP, "index": index, "number": attempt, "token": token,
                           "promise": promise, "started_us": first_us, "ended_us": ended_us, "code": code } })
}

fn watch(number: usize, stream: &Stream, began_us: u64) -> Vec<Value> {
    let seen = |at_us: u64, what: Value| json!({ "watch": { "number": number, "run": stream.run, "at_us": began_us + at_us, "what": what } });
    let mut lines = vec![seen(stream.opened_us, json!({ "opened": 0 }))];
    let messages = stream.messages.iter();
    lines.extend(messages.map(|(at_us, message)| seen(*at_us, json!({ "message": digits(message) }))));
    lines.push(seen(stream.ended_us, stream.failed.as_ref().map_or(json!("ended"), |why| json!({ "failed": why }))));
    lines
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { began_us: 1_000, healed_us: 5_000_000, read_us: 6_000_000, ended_us: 7_000_000 };

    fn call(asked: Asked, told: Told) -> Call {
        Call { who: "client-1.1".to_owned(), begun_us: 1, ended_us: 2, asked, told, answer: vec![10, 255] }
    }

    fn told(evidence: &Evidence, streams: &[Stream]) -> Vec<Value> {
        let about_machines = ["cluster", "node"];
        lines(evidence, streams, TIMES)
            .filter(|line| about_machines.iter().all(|what| line.get(what).is_none()))
            .collect()
    }

    #[test]
    fn calls_name_jobs_and_carry_what_was_heard() {
        let done = Told::Done { revision: 7, of_run: "r1".to_owned() };
        let why = || "busy".to_owned();
        let annotate = Asked::Annotate { run: "r1".to_owned(), key: String::new(), value: String::new() };
        let evidence = Evidence {
            calls: vec![
                call(Asked::Submit { job: "a".to_owned() }, done.clone()),
                call(annotate, done),
                call(Asked::Cancel { run: "r1".to_owned() }, Told::Unknown { why: why() }),
                call(Asked::Get { run: "r1".to_owned() }, Told::Unavailable { why: why() }),
            ],
            ..Evidence::default()
        };
        let of = |ask: Value, heard: Value| json!({ "call": { "session": 0, "called_us": 1_001, "at_us": 1_002, "ask": ask, "heard": heard } });
        let expected = [
            of(json!({ "submit": "a" }), json!({ "answer": "0aff" })),
            of(json!({ "cancel": "a" }), json!({ "unknown": "busy" })),
            of(json!({ "get": "a" }), json!({ "refused": "busy" })),
        ];
        assert_eq!(told(&evidence, &[]), expected);
    }

    #[test]
    fn an_attempt_ends_with_its_first_process_unless_that_lives() {
        let one = |alone_us: u64, has_ended: bool| Execution {
            run: "r1".to_owned(),
            index: 0,
            attempt: 1,
            token: 9,
            node: "node-1".to_owned(),
            promise: "fenced".to_owned(),
            starts: 1,
            first_us: 10,
            last_us: 5_999_000,
            alone_us,
            children_us: 5_999_000,
            has_left: true,
            has_ended,
        };
        let ended = |alone_us: u64, has_ended: bool| {
            let line = execution(&one(alone_us, has_ended), TIMES.read_us);
            (line["execution"]["ended_us"].clone(), line["execution"]["code"].clone())
        };
        assert_eq!(ended(50, false), (json!(50), Value::Null));
        assert_eq!(ended(5_998_000, true), (json!(5_998_000), json!(0)));
        assert_eq!(ended(5_998_000, false), (Value::Null, Value::Null));
    }

    #[test]
    fn a_watch_is_told_from_its_opening_to_its_end() {
        let stream =
            Stream { run: "r1".to_owned(), opened_us: 5, messages: vec![(6, vec![1])], ended_us: 7, failed: None };
        let failed = Stream { failed: Some("gone".to_owned()), messages: vec![], ..stream.clone() };
        let what: Vec<Value> =
            told(&Evidence::default(), &[stream, failed]).iter().map(|line| line["watch"]["what"].clone()).collect();
        let opened = || json!({ "opened": 0 });
        assert_eq!(what, [opened(), json!({ "message": "01" }), json!("ended"), opened(), json!({ "failed": "gone" })]);
    }
}

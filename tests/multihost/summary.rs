//! What is said at the end: what happened, what did not hold, how far apart copies were, and the same as JSON.

use std::collections::BTreeMap;

use serde_json::json;

use crate::history::Told;
use crate::judge::{Cause, Evidence, Judged, Row, judge, table, waived};
use crate::options::Options;
use crate::oracles::Opinion;
use crate::schedule::Class;

/// A run with fewer jobs accepted shows nothing.
pub(crate) const ACCEPTED_MIN: usize = 100;
/// A run in which leadership was seen in fewer hands shows nothing.
pub(crate) const LEADERS_MIN: usize = 2;
/// Of a run that goes on for longer, each cause of a second copy must have been seen.
const PAIRS_WANTED_SECONDS: u64 = 300;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Held,
    Violated,
    /// Nothing did not hold, and too little happened to say that everything did.
    Invalid,
}

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Violated => "violated",
            Self::Invalid => "invalid",
        }
    }
}

/// What is known of a run besides its evidence.
pub(crate) struct Course {
    /// How often each planned class did what it is for; zero is one that never did.
    pub(crate) fired: BTreeMap<Class, usize>,
    pub(crate) leaders: usize,
    pub(crate) transfers: usize,
    /// Requests that the sink refused.
    pub(crate) refused: usize,
    /// What the fullest replica's disk holds, in MiB.
    pub(crate) disk_mib: u64,
}

/// Says it; true when it is worth something and all held.
pub(crate) fn conclude(options: &Options, evidence: &Evidence, course: &Course, opinion: &Opinion) -> Verdict {
    let rows = table(evidence);
    say_what_happened(evidence, course);
    say_pairs(&rows);
    let judged = judge(evidence);
    say_properties(&judged);
    say_opinion(opinion);
    let all = judged.len() + opinion.properties.len();
    let broken = judged.iter().filter(|judged| judged.violations > 0).count() + opinion.violations().count();
    let mut lacking = lacking(options, evidence, course, &rows);
    lacking.extend(opinion.invalid.clone());
    let verdict = match (broken, lacking.is_empty()) {
        (1.., _) => Verdict::Violated,
        (0, false) => Verdict::Invalid,
        (0, true) => Verdict::Held,
    };
    match verdict {
        Verdict::Held => println!("all {all} properties held"),
        Verdict::Violated => println!("{broken} of {all} properties did not hold"),
        Verdict::Invalid => println!("INVALID, this shows nothing: {}", lacking.join("; ")),
    }
    println!("again: {}", options.command());
    println!("{}", line(options, evidence, course, &rows, &judged, opinion, verdict));
    verdict
}

fn accepted(evidence: &Evidence) -> usize {
    evidence.calls.iter().filter(|call| call.is_accepted_job()).count()
}

fn say_what_happened(evidence: &Evidence, course: &Course) {
    let told = |wanted: fn(&Told) -> bool| evidence.calls.iter().filter(|call| wanted(&call.told)).count();
    let events: usize = evidence.watched.iter().map(|watched| watched.events.len()).sum();
    println!(
        "{} calls: {} done, {} refused, {} unavailable, {} unknown; {} jobs accepted, {} runs",
        evidence.calls.len(),
        told(|told| matches!(told, Told::Done { .. })),
        told(|told| matches!(told, Told::Refused { .. })),
        told(|told| matches!(told, Told::Unavailable { .. })),
        told(|told| matches!(told, Told::Unknown { .. })),
        accepted(evidence),
        evidence.runs.len(),
    );
    println!(
        "{} executions, {} watches with {events} events, {} leaders seen, leadership passed on {} times, revision {}",
        evidence.executions.len(),
        evidence.watched.len(),
        course.leaders,
        course.transfers,
        evidence.digests.first().map_or(0, |(revision, _)| *revision),
    );
    println!(
        "{} writes taken by the sink, {} refused; {} MiB on the fullest replica's disk",
        writes(evidence),
        course.refused,
        course.disk_mib
    );
    let still: u64 = evidence.stillness.iter().map(|(from, to)| (to - from) / 1_000).sum();
    if still > 0 {
        println!(
            "the machine stood still for {still} ms; {} overlaps of copies are not held against anybody",
            waived(evidence)
        );
    }
    println!("{} attempts had a child that left its group", apart(evidence));
    let fired: Vec<String> = course.fired.iter().map(|(class, times)| format!("{class} {times}")).collect();
    println!("faults: {}", fired.join(", "));
}

fn writes(evidence: &Evidence) -> usize {
    evidence.taken.values().map(Vec::len).sum()
}

/// Attempts with a child that no signal to their group reaches.
fn apart(evidence: &Evidence) -> usize {
    evidence.executions.iter().filter(|execution| execution.has_left).count()
}

fn say_pairs(rows: &[Row]) {
    println!(
        "copies of fenced tasks one after the other, from the last instruction of the old to the first of the new:"
    );
    println!("  {:<20} {:>6}  {:>12}", "CAUSE", "PAIRS", "LEAST GAP");
    for row in rows {
        let gap = row.gap_us_min.map_or_else(|| "-".to_owned(), millis);
        println!("  {:<20} {:>6}  {gap:>12}", row.cause.to_string(), row.pairs);
    }
}

fn say_properties(judged: &[Judged]) {
    println!("  {:>10}  PROPERTY", "VIOLATIONS");
    for Judged { name, violations, shown } in judged {
        println!("  {violations:>10}  {name}");
        for one in shown {
            println!("              {one}");
        }
    }
}

/// What the simulator's oracles said of the log, and what they could not.
fn say_opinion(opinion: &Opinion) {
    let Opinion { entries, facts, .. } = opinion;
    println!(
        "{entries} committed entries applied once more, and {facts} facts, judged by the oracles of the simulation:"
    );
    for (property, what) in opinion.violations() {
        println!("  {property:>10}  VIOLATED: {what}");
    }
    let held = opinion.properties.iter().filter(|one| one.violation.is_none());
    let held: Vec<&str> = held.map(|one| one.property.as_str()).collect();
    println!("  {:>10}  {}", "held", held.join(" "));
    for left in &opinion.left_out {
        println!("  {:>10}  {}: only a simulation sees {}", "not judged", left.property, left.lacks);
    }
}

/// Microseconds, for people.
fn millis(us: i64) -> String {
    let size = us.unsigned_abs();
    format!("{}{}.{:03} ms", if us < 0 { "-" } else { "" }, size / 1_000, size % 1_000)
}

/// Why the run shows nothing, if it does not.
fn lacking(options: &Options, evidence: &Evidence, course: &Course, rows: &[Row]) -> Vec<String> {
    let quiet = course.fired.iter().filter(|(_, times)| **times == 0);
    let mut lacking: Vec<String> = quiet.map(|(class, _)| format!("{class} struck nobody")).collect();
    let accepted = accepted(evidence);
    if accepted < ACCEPTED_MIN {
        lacking.push(format!("only {accepted} jobs were accepted, {ACCEPTED_MIN} are the least"));
    }
    if course.leaders < LEADERS_MIN {
        lacking.push("leadership never moved".to_owned());
    }
    if writes(evidence) == 0 {
        lacking.push("nobody wrote to the sink".to_owned());
    }
    if apart(evidence) == 0 {
        lacking.push("no task had a child that left its group".to_owned());
    }
    if options.schedule.is_none() && options.seconds >= PAIRS_WANTED_SECONDS {
        let wanted = rows.iter().filter(|row| row.cause.is_wanted() && row.pairs == 0);
        lacking.extend(wanted.map(|row| format!("no copy followed another because of: {}", row.cause)));
        lacking.extend((course.refused == 0).then(|| "the sink refused nobody".to_owned()));
    }
    lacking
}

/// The same for programs.
fn line(
    options: &Options,
    evidence: &Evidence,
    course: &Course,
    rows: &[Row],
    judged: &[Judged],
    opinion: &Opinion,
    verdict: Verdict,
) -> serde_json::Value {
    let fired: BTreeMap<String, usize> =
        course.fired.iter().map(|(class, times)| (class.to_string(), *times)).collect();
    let unfinished = evidence.runs.values().filter(|run| !run.has_ended).count();
    let violations: BTreeMap<&str, usize> = judged.iter().map(|judged| (judged.name, judged.violations)).collect();
    let broken: Vec<&str> = opinion.violations().map(|(property, _)| property).collect();
    let oracles = json!({
        "entries": opinion.entries,
        "facts": opinion.facts,
        "judged": opinion.properties.len(),
        "violated": broken,
        "invalid": opinion.invalid,
    });
    let key = |cause: Cause| cause.to_string().replace([' ', '-'], "_");
    let pairs = rows.iter().map(|row| (key(row.cause), json!({ "pairs": row.pairs, "gap_us_min": row.gap_us_min })));
    let pairs: BTreeMap<String, serde_json::Value> = pairs.collect();
    json!({
        "chaos": verdict.word(),
        "seed": options.seed,
        "seconds": options.seconds,
        "faults": fired,
        "jobs_accepted": accepted(evidence),
        "runs": evidence.runs.len(),
        "runs_not_ended": unfinished,
        "executions": evidence.executions.len(),
        "children_apart": apart(evidence),
        "leaders": course.leaders,
        "transfers": course.transfers,
        "sink_taken": writes(evidence),
        "sink_refused": course.refused,
        "disk_mib": course.disk_mib,
        "overlaps_waived": waived(evidence),
        "violations": violations,
        "oracles": oracles,
        "copies": pairs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Wish;
    use crate::oracles::Property;

    fn course(fired: &[(Class, usize)]) -> Course {
        Course { fired: fired.iter().copied().collect(), leaders: 3, transfers: 1, refused: 1, disk_mib: 1 }
    }

    fn options(line: &str) -> Options {
        let Ok(Wish::Run(options)) = Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()) else {
            panic!("{line}")
        };
        options
    }

    #[test]
    fn gaps_keep_their_sign() {
        assert_eq!((millis(1_002_003), millis(-10)), ("1002.003 ms".to_owned(), "-0.010 ms".to_owned()));
    }

    #[test]
    fn a_run_in_which_too_little_happened_shows_nothing() {
        let evidence = Evidence::default();
        let course = course(&[(Class::Kill, 2), (Class::Slow, 0)]);
        let short = lacking(&options("--seconds 60"), &evidence, &course, &table(&evidence));
        assert_eq!(short.len(), 4, "{short:?}");
        assert!(short[0].contains("slow struck nobody") && short[1].contains("only 0 jobs"));
        let long = lacking(&options("--minutes 5"), &evidence, &course, &table(&evidence));
        assert_eq!(long.len(), short.len() + 4, "{long:?}");
        assert_eq!(conclude(&options("--seconds 60"), &evidence, &course, &Opinion::default()), Verdict::Invalid);
    }

    #[test]
    fn what_the_oracles_say_counts() {
        let options = options("--seconds 60");
        let evidence = Evidence::default();
        let course = course(&[]);
        let said = |violation: Option<&str>| Opinion {
            properties: vec![Property { property: "P3".to_owned(), violation: violation.map(str::to_owned) }],
            ..Opinion::default()
        };
        let verdict = |opinion: &Opinion| conclude(&options, &evidence, &course, opinion);
        assert_eq!(verdict(&said(Some("n1 is full"))), Verdict::Violated);
        // Too little happened for more.
        assert_eq!(verdict(&said(None)), Verdict::Invalid);
        let value = line(&options, &evidence, &course, &[], &[], &said(Some("n1 is full")), Verdict::Violated);
        assert_eq!(value["oracles"]["violated"], json!(["P3"]));
    }

    #[test]
    fn the_last_line_says_it_to_programs() {
        let evidence = Evidence { digests: vec![(1, "a".to_owned()), (1, "b".to_owned())], ..Evidence::default() };
        let (options, course) = (options("--seed 4"), course(&[(Class::Kill, 2)]));
        let opinion = Opinion::default();
        let rows = table(&evidence);
        let value = line(&options, &evidence, &course, &rows, &judge(&evidence), &opinion, Verdict::Violated);
        let violations: Vec<u64> =
            value["violations"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).collect();
        assert_eq!((violations.len(), violations.iter().sum::<u64>()), (judge(&evidence).len(), 1));
        assert_eq!((&value["chaos"], &value["seed"]), (&json!("violated"), &json!(4)));
        assert_eq!((&value["faults"]["kill"], &value["copies"]["agent_cut_one_way"]["pairs"]), (&json!(2), &json!(0)));
        assert_eq!(conclude(&options, &evidence, &course, &opinion), Verdict::Violated);
    }
}

//! Jobs from a file in the Standard Workload Format (Feitelson and others): eighteen numbers on a line, comments behind `;`.

use std::path::Path;

use crate::Error;

/// Lines of a file at most.
const LINES_MAX: usize = 10_000_000;

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// When it was submitted, in milliseconds from the first of all.
    pub(super) submitted_ms: u64,
    pub(super) run_ms: u64,
    pub(super) processors: u64,
    pub(super) user: u64,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// How many processors the machine has, if the file says it.
    pub(super) processors: Option<u64>,
    /// In the order of their submits.
    pub(super) jobs: Vec<Job>,
    /// Jobs that are left out, because the file does not say how long they ran or on how much.
    pub(super) left_out: u64,
}

impl Log {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let mut log = Self { processors: None, jobs: Vec::new(), left_out: 0 };
        let mut seconds: Vec<(u64, Job)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |why: &str| Error::Trace { path: path.to_owned(), line: number, why: why.to_owned() };
            if number > LINES_MAX {
                return Err(wrong("the file has more lines than are read: cut it"));
            }
            if let Some(comment) = line.trim_start().strip_prefix(';') {
                let said = comment.trim().strip_prefix("MaxProcs:").and_then(|count| count.trim().parse().ok());
                log.processors = log.processors.or(said);
                continue;
            }
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, submitted, _, ran, processors, _, _, _, _, _, _, user, ..] = fields[..] else {
                if fields.is_empty() {
                    continue;
                }
                return Err(wrong("a job has eighteen numbers: this is no line of the Standard Workload Format"));
            };
            let read = |field: &str| {
                field.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value as i64).ok_or_else(|| {
                    wrong(&format!("{field:?} is no number: times, processors and users are numbers, -1 where unknown"))
                })
            };
            let (submitted, ran, processors) = (read(submitted)?, read(ran)?, read(processors)?);
            let user = u64::try_from(read(user)?).unwrap_or_default();
            match (u64::try_from(submitted), u64::try_from(ran), u64::try_from(processors)) {
                (Ok(submitted), Ok(ran), Ok(processors)) if ran > 0 && processors > 0 => {
                    let run_ms = ran.saturating_mul(1_000);
                    seconds.push((submitted, Job { submitted_ms: 0, run_ms, processors, user }));
                }
                _ => log.left_out += 1,
            }
        }
        seconds.sort_by_key(|(submitted, _)| *submitted);
        let first = seconds.first().map_or(0, |(submitted, _)| *submitted);
        log.jobs = seconds
            .into_iter()
            .map(|(submitted, job)| Job { submitted_ms: (submitted - first).saturating_mul(1_000), ..job })
            .collect();
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Log, Error> {
        Log::parse(Path::new("log.swf"), text)
    }

    #[test]
    fn jobs_come_in_the_order_of_their_submits_and_unknown_ones_are_left_out() {
        let line = |submit, run, procs, user| {
            format!("1 {submit} -1 {run} {procs} -1 -1 -1 -1 -1 -1 {user} 1 -1 -1 -1 -1 -1\n")
        };
        let text = "; MaxProcs: 128\n;\n".to_owned()
            + &[line(20, 5, 2, 7), line(10, 3, 1, 8), line(11, -1, 1, 8), line(12, 4, 0, 8)].concat();
        let log = parse(&text).unwrap();
        assert_eq!((log.processors, log.left_out), (Some(128), 2));
        let job = |submitted_ms, run_ms, processors, user| Job { submitted_ms, run_ms, processors, user };
        assert_eq!(log.jobs, [job(0, 3_000, 1, 8), job(10_000, 5_000, 2, 7)]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (text, words) in [("1 2 3\n", "line 1"), ("\n1 x -1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "\"x\" is no number")]
        {
            let why = parse(text).unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        }
    }
}

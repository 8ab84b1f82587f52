//! What really ran: the lines that tasks wrote, put together by attempt.

use std::collections::BTreeMap;

/// One attempt of one task, as its own process told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    pub(crate) run: String,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) node: String,
    pub(crate) promise: String,
    /// How often it began: once, if all is well.
    pub(crate) starts: usize,
    /// Hundredths of a second since the machine was switched on: its first line and its last.
    pub(crate) first_cs: u64,
    pub(crate) last_cs: u64,
    pub(crate) has_ended: bool,
}

/// Reads the ledger; a line that is cut short by a kill does not count.
pub(crate) fn read(text: &str) -> Vec<Execution> {
    let mut executions: BTreeMap<(String, u32, u32), Execution> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[what, uptime, run, index, attempt, node, promise] = words.as_slice() else { continue };
        let (Some(at_cs), Ok(index), Ok(attempt)) = (hundredths(uptime), index.parse(), attempt.parse()) else {
            continue;
        };
        let execution = executions.entry((run.to_owned(), index, attempt)).or_insert_with(|| Execution {
            run: run.to_owned(),
            index,
            attempt,
            node: node.to_owned(),
            promise: promise.to_owned(),
            starts: 0,
            first_cs: at_cs,
            last_cs: at_cs,
            has_ended: false,
        });
        execution.first_cs = execution.first_cs.min(at_cs);
        execution.last_cs = execution.last_cs.max(at_cs);
        execution.starts += usize::from(what == "start");
        execution.has_ended |= what == "end";
    }
    executions.into_values().collect()
}

/// `12.34` as 1234.
fn hundredths(uptime: &str) -> Option<u64> {
    let (seconds, fraction) = uptime.split_once('.')?;
    let (seconds, fraction): (u64, u64) = (seconds.parse().ok()?, fraction.parse().ok()?);
    Some(seconds * 100 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_attempt_become_one_execution() {
        let text = "start 10.05 r1 0 1 node-1 fenced\ntick 10.25 r1 0 1 node-1 fenced\n\
                    start 12.00 r1 0 2 node-2 fenced\nend 12.20 r1 0 2 node-2 fenced\ntick 13";
        let executions = read(text);
        assert_eq!(executions.len(), 2);
        assert_eq!((executions[0].first_cs, executions[0].last_cs, executions[0].has_ended), (1005, 1025, false));
        assert_eq!((executions[1].attempt, executions[1].starts, executions[1].has_ended), (2, 1, true));
    }
}

//! How many read output through this replica at once: of all nodes, and of each.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_proto::status::ApiError;
use quorate_state::NodeName;

/// Streams of output at once. Each may hold two pieces (`LOG_CHUNK_BYTES_MAX`) for a client that is slow.
const LOG_STREAMS_MAX: usize = 1_024;
/// The same of one node: some fewer than an agent answers at a time, which may still wait for readers that
/// have gone.
const LOG_STREAMS_PER_NODE_MAX: usize = 96;

/// The streams that are open.
#[derive(Debug, Default)]
pub(crate) struct LogStreams {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_node: BTreeMap<NodeName, usize>,
}

/// One open stream; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    streams: &'a LogStreams,
    node: Option<NodeName>,
}

impl LogStreams {
    /// Takes one of this replica's streams, if there is one left.
    pub(super) fn enter(&self) -> Result<Reading<'_>, ApiError> {
        let mut open = self.lock();
        if open.count >= LOG_STREAMS_MAX {
            let advice = "this replica serves no more readers of output: end some, or try again later".to_owned();
            return Err(full("LOG_STREAMS_MAX", LOG_STREAMS_MAX, advice));
        }
        open.count += 1;
        Ok(Reading { streams: self, node: None })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading<'_> {
    /// Takes one of the node's streams for it, if there is one left. Whoever waits for an attempt to begin
    /// takes none.
    pub(super) fn of(&mut self, node: &NodeName) -> Result<(), ApiError> {
        let mut open = self.streams.lock();
        let streams = open.by_node.entry(node.clone()).or_default();
        if *streams >= LOG_STREAMS_PER_NODE_MAX {
            let advice = format!("no more readers of output of node {node}: end some, or try again later");
            return Err(full("LOG_STREAMS_PER_NODE_MAX", LOG_STREAMS_PER_NODE_MAX, advice));
        }
        *streams += 1;
        self.node = Some(node.clone());
        Ok(())
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.count -= 1;
        if let Some(node) = &self.node
            && let Some(streams) = open.by_node.get_mut(node)
        {
            *streams -= 1;
            if *streams == 0 {
                open.by_node.remove(node);
            }
        }
    }
}

fn full(limit: &str, max: usize, advice: String) -> ApiError {
    ApiError::Overloaded { limit: limit.into(), max: max as u64, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit<T: std::fmt::Debug>(refused: Result<T, ApiError>) -> String {
        match refused {
            Err(ApiError::Overloaded { limit, .. }) => limit,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn one_more_than_a_limit_is_refused_by_its_name_until_one_ends() {
        let streams = LogStreams::default();
        let node: NodeName = "n1".parse().unwrap();
        let mut open = Vec::new();
        for number in 0..LOG_STREAMS_MAX {
            let mut reading = streams.enter().unwrap();
            if number < LOG_STREAMS_PER_NODE_MAX {
                reading.of(&node).unwrap();
            } else if number == LOG_STREAMS_PER_NODE_MAX {
                assert_eq!(limit(reading.of(&node)), "LOG_STREAMS_PER_NODE_MAX");
            }
            open.push(reading);
        }
        assert_eq!(limit(streams.enter()), "LOG_STREAMS_MAX");
        open.swap_remove(0);
        let mut next = streams.enter().unwrap();
        next.of(&node).unwrap();
        open.push(next);
        open.clear();
        let open = streams.lock();
        assert_eq!((open.count, open.by_node.len()), (0, 0));
    }
}

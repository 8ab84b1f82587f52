//! What load costs the processes that serve it: processor time as the kernel counts it, and counters
//! that they show themselves.

use std::time::Duration;

use quorate_seams::{Network as _, TcpNetwork};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Error;

/// Parts of a second in which the kernel counts processor time for those who ask it, on every
/// architecture that this is built for.
const TICKS_PER_S: u64 = 100;
/// A page of metrics is there by then.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of a page of metrics.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// The processor time that these processes have used since their starts.
pub(crate) fn processor_time(pids: &[u32]) -> Result<Duration, Error> {
    let mut ticks = 0;
    for pid in pids {
        let failed = |source| Error::Usage { pid: *pid, source };
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
        ticks += ticks_of(&line).ok_or_else(|| failed(std::io::Error::other("its stat has another shape")))?;
    }
    Ok(Duration::from_micros(ticks * (1_000_000 / TICKS_PER_S)))
}

/// Time in user and kernel mode; the name before them may hold anything, in brackets.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + kernel)
}

/// The sum of these metrics (all of one process, without labels).
pub(crate) async fn metrics(address: &str, names: &[&str]) -> Result<f64, Error> {
    let page = metrics_page(address, names[0]).await?;
    names.iter().map(|name| metric_on(&page, address, name)).sum()
}

/// All that a process measures of itself, as text. What is `wanted` of it is named when it cannot be had.
pub(crate) async fn metrics_page(address: &str, wanted: &str) -> Result<String, Error> {
    let page = tokio::time::timeout(PAGE_DEADLINE, page(address, "/metrics")).await;
    let page = page.map_err(|_| no_metric(address, wanted, format!("no answer within {PAGE_DEADLINE:?}")))?;
    page.map_err(|error| no_metric(address, wanted, error.to_string()))
}

/// A metric without labels on a page from there.
pub(crate) fn metric_on(page: &str, address: &str, name: &str) -> Result<f64, Error> {
    metric(page, name).ok_or_else(|| no_metric(address, name, "it is not on the page".to_owned()))
}

fn no_metric(address: &str, metric: &str, why: String) -> Error {
    Error::Metric { address: address.to_owned(), metric: metric.to_owned(), why }
}

fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

async fn page(address: &str, path: &str) -> std::io::Result<String> {
    let mut connection = TcpNetwork.connect(address).await?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    connection.take(PAGE_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_brackets_and_spaces() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1000 10";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(ticks_of("42 (cut"), None);
        assert!(processor_time(&[std::process::id()]).is_ok());
    }

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# TYPE syncs counter\nsyncs_total 7\nsyncs 12\nsyncs{of=\"a\"} 1\n";
        assert_eq!(metric(page, "syncs"), Some(12.0));
        assert_eq!(metric(page, "sync"), None);
    }
}

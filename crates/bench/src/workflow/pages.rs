//! How long a page of the tasks takes while they run, at the beginning of the list and in its middle.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;
use tokio::sync::watch;

use super::{Progress, Shape};
use crate::Error;
use crate::jobs::run_by_id;
use crate::latency::{Latencies, Quantiles};

/// Tasks of one page: the product's largest page.
const PAGE_SIZE: u32 = 1_000;
/// Pages in the middle that are asked for,
const CALLS: usize = 20;
/// with so long between two of them.
const PAUSE: Duration = Duration::from_millis(50);
/// One task in so many has succeeded when the list is read: it is under way then.
const ONE_IN_DONE: u32 = 20;

/// What was measured. The list belongs to the largest step, or to the whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Pages {
    /// Tasks on each page.
    pub page_size: u32,
    /// Pages read one after the other, from the beginning to the middle.
    pub walked: u64,
    /// How long each of those took.
    pub walk: Quantiles,
    /// Where the page in the middle begins: so many tasks come before it.
    pub middle: u32,
    /// How often it was asked for before the run ended.
    pub calls: u64,
    /// How long each of those took.
    pub latency: Quantiles,
}

/// Reads pages while the run goes on; none when it ended before the middle was reached.
pub(super) async fn read(
    client: &Client,
    run: &str,
    shape: Shape,
    tasks: u32,
    mut progress: watch::Receiver<Progress>,
) -> Result<Option<Pages>, Error> {
    let is_under_way = |progress: &Progress| progress.is_over || progress.succeeded > tasks / ONE_IN_DONE;
    // Whoever says how far it is ends with the run.
    let Ok(_) = progress.wait_for(is_under_way).await.map(drop) else { return Ok(None) };
    let request = |page_token: String| v1::ListTasksRequest {
        run: run_by_id(run),
        task: shape.large_step().unwrap_or_default().to_owned(),
        page_size: PAGE_SIZE,
        page_token,
    };
    let (mut walk, mut middle, mut token) = (Latencies::default(), 0_u32, String::new());
    while middle < tasks / 2 {
        let begun = SystemClock.boot();
        let page = client.list_tasks(request(token)).await?;
        walk.record(SystemClock.boot().since(begun));
        middle += u32::try_from(page.tasks.len()).unwrap_or(u32::MAX);
        token = page.next_page_token;
        if token.is_empty() || progress.borrow().is_over {
            return Ok(None);
        }
    }
    let mut latency = Latencies::default();
    for _ in 0..CALLS {
        let begun = SystemClock.boot();
        client.list_tasks(request(token.clone())).await?;
        let took = SystemClock.boot().since(begun);
        if progress.borrow().is_over {
            break;
        }
        latency.record(took);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Some(Pages {
        page_size: PAGE_SIZE,
        walked: walk.count(),
        walk: walk.quantiles(),
        middle,
        calls: latency.count(),
        latency: latency.quantiles(),
    }))
}

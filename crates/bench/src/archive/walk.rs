//! Whether a list has every run that it should, once: all its pages against the ids that the submits were answered with.

use std::collections::BTreeMap;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use crate::Error;
use crate::samples::rounded;

/// Runs of one page: the product's largest page.
const PAGE_SIZE: u32 = 1_000;

/// A list that was read from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Walk {
    /// What was listed.
    pub of: String,
    /// Runs that it should have.
    pub expected: u64,
    /// Those that it did not have.
    pub missing: u64,
    /// Those that it had more than once.
    pub repeated: u64,
    /// Runs that it had and should not.
    pub foreign: u64,
    /// How many pages it had.
    pub pages: u64,
    /// How long all of them took, in seconds.
    pub elapsed_s: f64,
}

impl Walk {
    /// True when it had all that it should, once, and nothing else.
    pub fn is_whole(&self) -> bool {
        (self.missing, self.repeated, self.foreign) == (0, 0, 0)
    }
}

/// Reads all pages of what `request` lists.
pub(super) async fn walk(
    client: &Client,
    of: String,
    request: v1::ListRunsRequest,
    expected: Vec<&str>,
) -> Result<Walk, Error> {
    let begun = SystemClock.boot();
    let mut request = v1::ListRunsRequest { page_size: PAGE_SIZE, ..request };
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let page = client.list_runs(request.clone()).await?;
        pages += 1;
        listed.extend(page.runs.into_iter().map(|run| run.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let elapsed_s = rounded(SystemClock.boot().since(begun).as_secs_f64());
    Ok(Walk { pages, elapsed_s, ..compared(of, &expected, &listed) })
}

fn compared(of: String, expected: &[&str], listed: &[String]) -> Walk {
    let mut times: BTreeMap<&str, u64> = expected.iter().map(|id| (*id, 0)).collect();
    let mut foreign = 0;
    for id in listed {
        match times.get_mut(id.as_str()) {
            Some(times) => *times += 1,
            None => foreign += 1,
        }
    }
    let count = |wanted: fn(u64) -> bool| times.values().filter(|times| wanted(**times)).count() as u64;
    Walk {
        of,
        expected: expected.len() as u64,
        missing: count(|times| times == 0),
        repeated: count(|times| times > 1),
        foreign,
        pages: 0,
        elapsed_s: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_repeated_or_foreign_is_counted() {
        let walk = |listed: &[&str]| {
            let listed: Vec<String> = listed.iter().map(|id| (*id).to_owned()).collect();
            let walk = compared("all".into(), &["a", "b", "c"], &listed);
            (walk.missing, walk.repeated, walk.foreign, walk.is_whole())
        };
        assert_eq!(walk(&["c", "a", "b"]), (0, 0, 0, true));
        assert_eq!(walk(&["c", "a"]), (1, 0, 0, false));
        assert_eq!(walk(&["c", "a", "b", "a", "a"]), (0, 1, 0, false));
        assert_eq!(walk(&["c", "a", "b", "d"]), (0, 0, 1, false));
    }
}

//! The longest of what a histogram counts, between two bounds: it does not say it itself.
//!
//! Two things bound it. The highest bucket that got something since the first page: the longest lies in it. And what
//! came in between two pages: the longest is no longer than all of that together, and the mean of it is no longer than
//! the longest. Where steps are as long as the time between two pages, the second bound is nearly exact.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::samples::rounded;

/// The longest of some times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Longest {
    /// It took at least this, in milliseconds,
    pub at_least_ms: f64,
    /// and at most this.
    pub at_most_ms: f64,
}

/// What was measured of one kind of work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Times {
    /// How often it was done.
    pub count: u64,
    /// How long all of it took together, in seconds.
    pub total_s: f64,
    /// The longest.
    pub longest: Longest,
}

/// A histogram as a page shows it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Histogram {
    /// How many values are at most so large, by that bound, rising; the last bound is infinite.
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

/// A histogram, by the value of its label, over several pages.
#[derive(Debug)]
pub(crate) struct Seen {
    name: &'static str,
    kinds: BTreeMap<String, Kind>,
    is_begun: bool,
}

#[derive(Debug, Default)]
struct Kind {
    first: Histogram,
    last: Histogram,
    /// The largest sum, and the largest mean, of what came in between two pages.
    sum_max: f64,
    mean_max: f64,
}

impl Seen {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, kinds: BTreeMap::new(), is_begun: false }
    }

    /// Takes in a page, the first of which is the beginning.
    pub(crate) fn look(&mut self, page: &str) {
        let is_begun = std::mem::replace(&mut self.is_begun, true);
        for (label, now) in histograms(page, self.name) {
            if !is_begun {
                self.kinds.insert(label, Kind { first: now.clone(), last: now, ..Kind::default() });
                continue;
            }
            // One that was not there before had nothing.
            let kind = self.kinds.entry(label).or_default();
            let (sum, count) = (now.sum - kind.last.sum, now.count.saturating_sub(kind.last.count));
            if count > 0 {
                kind.sum_max = kind.sum_max.max(sum);
                kind.mean_max = kind.mean_max.max(sum / count as f64);
            }
            kind.last = now;
        }
    }

    /// What came in since the first page, by label; what did not happen is left out.
    pub(crate) fn come_to(&self) -> BTreeMap<String, Times> {
        let times = |(label, kind): (&String, &Kind)| Some((label.clone(), kind.come_to()?));
        self.kinds.iter().filter_map(times).collect()
    }
}

impl Kind {
    fn come_to(&self) -> Option<Times> {
        let count = self.last.count.checked_sub(self.first.count).filter(|count| *count > 0)?;
        let (over, up_to) = self.highest_bucket();
        let millis = |seconds: f64| rounded(seconds * 1e3);
        Some(Times {
            count,
            total_s: rounded(self.last.sum - self.first.sum),
            longest: Longest {
                at_least_ms: millis(over.max(self.mean_max)),
                at_most_ms: millis(up_to.min(self.sum_max)),
            },
        })
    }

    /// The bounds of the highest bucket that got something.
    fn highest_bucket(&self) -> (f64, f64) {
        let of_first = |bound: f64| {
            let same = self.first.buckets.iter().find(|(first, _)| *first == bound);
            same.map_or(0, |(_, count)| *count)
        };
        let (mut over, mut highest, mut below) = (0.0, (0.0, f64::INFINITY), 0);
        for (bound, count) in &self.last.buckets {
            let new = count.saturating_sub(of_first(*bound));
            if new > below {
                highest = (over, *bound);
            }
            (over, below) = (*bound, new);
        }
        highest
    }
}

/// The histograms of this name on a page, by the value of the label that they have; empty where they have none.
fn histograms(page: &str, name: &str) -> BTreeMap<String, Histogram> {
    let mut found: BTreeMap<String, Histogram> = BTreeMap::new();
    for line in page.lines() {
        let Some((part, labels, value)) = line.strip_prefix(name).and_then(parts) else { continue };
        let (mut bound, mut kind) = (None, "");
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            match label.split_once('=').map(|(key, value)| (key, value.trim_matches('"'))) {
                Some(("le", value)) => bound = value.parse::<f64>().ok(),
                Some((_, value)) => kind = value,
                None => {}
            }
        }
        let histogram = found.entry(kind.to_owned()).or_default();
        match (part, bound) {
            ("_bucket", Some(bound)) => histogram.buckets.push((bound, value as u64)),
            ("_sum", None) => histogram.sum = value,
            ("_count", None) => histogram.count = value as u64,
            (_, _) => {}
        }
    }
    // Another metric may go on with the same letters.
    found.retain(|_, histogram| !histogram.buckets.is_empty());
    found
}

/// What follows a name on its line: `_bucket`, `_sum` or `_count`, the labels, and the value.
fn parts(rest: &str) -> Option<(&str, &str, f64)> {
    let (name, value) = rest.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    match name.split_once('{') {
        Some((part, labels)) => Some((part, labels.strip_suffix('}')?, value)),
        None => Some((name, "", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the product shows it: cumulative counts up to 0.1, 0.5 and 1 second and of all, and the sum.
    fn page(kind: &str, counts: [u64; 4], sum: f64) -> String {
        let bounds = ["0.1", "0.5", "1", "+Inf"];
        let mut page = String::from("# TYPE steps histogram\nsteps_other_bucket{controller=\"a\",le=\"9\"} 7\n");
        for (bound, count) in bounds.iter().zip(counts) {
            page += &format!("steps_bucket{{controller=\"{kind}\",le=\"{bound}\"}} {count}\n");
        }
        page + &format!(
            "steps_sum{{controller=\"{kind}\"}} {sum}\nsteps_count{{controller=\"{kind}\"}} {}\n",
            counts[3]
        )
    }

    fn seen(pages: &[String]) -> Times {
        let mut seen = Seen::new("steps");
        pages.iter().for_each(|page| seen.look(page));
        let mut times = seen.come_to();
        assert_eq!(times.len(), 1, "{times:?}");
        times.remove("placement").unwrap()
    }

    fn of(counts: [u64; 4], sum: f64) -> String {
        page("placement", counts, sum)
    }

    #[test]
    fn the_highest_bucket_that_got_something_bounds_the_longest() {
        // The one above a second is from before.
        let times = seen(&[of([0, 0, 0, 1], 3.0), of([100, 104, 104, 105], 7.0)]);
        assert_eq!((times.count, times.total_s), (104, 4.0));
        assert_eq!(times.longest, Longest { at_least_ms: 100.0, at_most_ms: 500.0 });
    }

    #[test]
    fn what_came_between_two_pages_bounds_it_closer() {
        let pages = [of([0; 4], 0.0), of([5, 5, 5, 5], 0.1), of([5, 6, 6, 6], 0.43), of([9, 10, 10, 10], 0.5)];
        let Longest { at_least_ms, at_most_ms } = seen(&pages).longest;
        assert_eq!((at_least_ms, at_most_ms), (330.0, 330.0));
    }

    #[test]
    fn above_the_last_bucket_the_sum_is_the_bound() {
        let times = seen(&[of([0; 4], 0.0), of([2, 2, 2, 3], 8.0)]);
        assert_eq!(times.longest, Longest { at_least_ms: 2666.667, at_most_ms: 8_000.0 });
    }

    #[test]
    fn what_appears_later_had_nothing_before_and_what_did_not_happen_is_left_out() {
        let other = page("idle", [4, 4, 4, 4], 0.01);
        let times = seen(&[other.clone(), format!("{other}{}", of([1, 1, 1, 1], 0.05))]);
        assert_eq!(times, Times { count: 1, total_s: 0.05, longest: Longest { at_least_ms: 50.0, at_most_ms: 50.0 } });
    }

    #[test]
    fn a_histogram_without_labels_is_one_too() {
        let page = "apply_bucket{le=\"0.1\"} 0\napply_bucket{le=\"+Inf\"} 2\napply_sum 1.5\napply_count 2\napply 9\n";
        let found = histograms(page, "apply");
        let buckets = vec![(0.1, 0), (f64::INFINITY, 2)];
        assert_eq!(found, BTreeMap::from([(String::new(), Histogram { buckets, sum: 1.5, count: 2 })]));
    }
}

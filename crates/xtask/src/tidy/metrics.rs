//! The page about metrics against the code that makes them: what is measured is explained, and what is explained is
//! measured.

use std::collections::BTreeSet;

use super::Violation;
use super::clone::Source;
use super::code;

/// Where metrics are explained.
const PAGE: &str = "docs/operations/metrics.md";
/// What else tells operators to look at them.
const PAGES: &str = "docs/operations/";
/// What every metric begins with.
const PREFIX: &str = "quorate_";
/// Crates whose metrics are a replica's or an agent's. Others only read them.
const MAKERS: [&str; 5] =
    ["crates/agent/src/", "crates/disk/src/", "crates/raft/src/", "crates/server/src/", "crates/tls/src/"];
/// What the text format adds to the name of a histogram.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Every metric stands in backticks in the page, and every name of one in an operator's page is that of a metric.
pub(crate) fn are_documented(sources: &[Source]) -> Vec<Violation> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return vec![Violation::new("metrics", PAGE, "is missing")];
    };
    let made: BTreeSet<&str> = sources.iter().filter(|source| makes(source)).flat_map(|it| made_in(&it.text)).collect();
    let untold = made
        .iter()
        .filter(|name| !page.text.contains(&format!("`{name}`")) && !page.text.contains(&format!("`{name}{{")));
    let mut violations: Vec<Violation> =
        untold.map(|name| Violation::new("metrics", PAGE, format!("does not explain `{name}`"))).collect();
    for source in sources.iter().filter(|source| source.path.starts_with(PAGES)) {
        for (index, line) in source.text.lines().enumerate() {
            let unknown = named_in(line).filter(|name| !made.contains(whole(name)) && !made.contains(name));
            violations.extend(unknown.map(|name| {
                Violation::at("metrics", &source.path, index + 1, format!("names `{name}`, which nothing measures"))
            }));
        }
    }
    violations
}

fn makes(source: &Source) -> bool {
    source.is_rust() && !source.is_test() && MAKERS.iter().any(|maker| source.path.starts_with(maker))
}

/// Literals that are a name and nothing else, tests left out.
fn made_in(text: &str) -> Vec<&str> {
    let (text, opening) = (code::product(text), format!("\"{PREFIX}"));
    let literals = text.match_indices(&opening).filter_map(|(at, _)| text[at + 1..].split('"').next());
    literals.filter(|literal| is_metric(literal)).collect()
}

/// Names in a line of prose. One that goes on with an ellipsis stands for several.
fn named_in(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(PREFIX).filter_map(|(at, _)| {
        let rest = &line[at..];
        let name = &rest[..rest.find(|c| !code::is_name(c)).unwrap_or(rest.len())];
        (!rest[name.len()..].starts_with('…') && is_metric(name)).then_some(name)
    })
}

fn is_metric(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty() && rest.chars().all(code::is_name))
}

/// A histogram's own name.
fn whole(name: &str) -> &str {
    OF_HISTOGRAMS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "made.gauge(\"quorate_term\", \"Its term.\")?;\n\
        made.histograms(\"quorate_rpc_seconds\", \"Time.\", &[\"method\"])?;\n\
        #[cfg(test)]\nmod tests {\nconst OTHER: &str = \"quorate_of_a_test\";\n}\n";

    fn found(page: &str) -> Vec<String> {
        let sources = vec![
            Source::new("crates/server/src/telemetry.rs", CODE),
            Source::new("crates/bench/src/rows.rs", "\"quorate_detail\""),
            Source::new(PAGE, page),
        ];
        are_documented(&sources).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn what_is_measured_is_explained_and_the_other_way_round() {
        let page = "`quorate_term`, `quorate_rpc_seconds{method}`, `quorate_rpc_seconds_sum`, all `quorate_peer_…`";
        assert_eq!(found(page), Vec::<String>::new());
        assert_eq!(found("`quorate_term`"), ["does not explain `quorate_rpc_seconds`"]);
        assert_eq!(
            found("`quorate_term` and `quorate_rpc_seconds{method}`\nor `quorate_gone`"),
            ["names `quorate_gone`, which nothing measures"]
        );
    }
}

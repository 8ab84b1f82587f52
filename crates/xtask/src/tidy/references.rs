//! Reference pages against the tables in the code that they describe: nothing may be left out.

use super::Violation;
use super::clone::Source;

/// A table in the code, the page that explains each of its rows, and what opens a row.
struct Reference {
    table: &'static str,
    page: &'static str,
    /// What stands before the quoted key of a row, white space aside.
    opens: &'static [&'static str],
}

const REFERENCES: &[Reference] = &[
    Reference { table: "crates/client/src/jobfile/schema.rs", page: "docs/job-file.md", opens: &["key(", "later("] },
    Reference { table: "crates/quorate/src/settings.rs", page: "docs/cli.md", opens: &["keys! {", ";"] },
];

/// Every key of a table stands in backticks in the page about it.
pub(crate) fn pages_are_complete(sources: &[Source]) -> Vec<Violation> {
    REFERENCES.iter().flat_map(|reference| missing(reference, sources)).collect()
}

fn missing(reference: &Reference, sources: &[Source]) -> Vec<Violation> {
    let text = |path: &str| sources.iter().find(|source| source.path == path).map(|source| source.text.as_str());
    let (Some(table), Some(page)) = (text(reference.table), text(reference.page)) else {
        let what = format!("{} describes {}, and one of them is missing", reference.page, reference.table);
        return vec![Violation::new("references", reference.page, what)];
    };
    let keys = keys_in(table, reference.opens);
    if keys.is_empty() {
        return vec![Violation::new("references", reference.table, "no keys found: has the table changed its form?")];
    }
    let absent = keys.into_iter().filter(|key| !page.contains(&format!("`{key}`")));
    absent.map(|key| Violation::new("references", reference.page, format!("does not explain `{key}`"))).collect()
}

/// The dotted keys that follow directly after one of `opens`.
fn keys_in<'a>(table: &'a str, opens: &[&str]) -> Vec<&'a str> {
    let mut keys: Vec<&str> = Vec::new();
    for open in opens {
        for (at, _) in table.match_indices(open) {
            let rest = table[at + open.len()..].trim_start();
            let Some(key) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
            let is_key = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
            if !key.is_empty() && key.chars().all(is_key) {
                keys.push(key);
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(job_file: &str) -> Vec<Source> {
        vec![
            Source::new(
                "crates/client/src/jobfile/schema.rs",
                "key(\"name\", x), key(\n  \"task.NAME.run\", y), later(\"image\")",
            ),
            Source::new("docs/job-file.md", job_file),
            Source::new(
                "crates/quorate/src/settings.rs",
                "keys! {\n \"servers\" parse::a, \"text\";\n \"log.filter\" b;\n}",
            ),
            Source::new("docs/cli.md", "`servers` and `log.filter`"),
        ]
    }

    #[test]
    fn a_key_that_the_page_leaves_out_is_found() {
        assert_eq!(pages_are_complete(&with("`name`, `task.NAME.run`, `image`")), []);
        let found = pages_are_complete(&with("`name`, task.NAME.run, `image`"));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("task.NAME.run"));
    }

    #[test]
    fn a_missing_page_is_found() {
        assert_eq!(pages_are_complete(&[]).len(), 2);
    }

    #[test]
    fn a_table_that_changed_its_form_is_found() {
        let mut sources = with("`name`, `task.NAME.run`, `image`");
        sources[0].text = "row!(name)".to_owned();
        assert_eq!(pages_are_complete(&sources).len(), 1);
    }
}

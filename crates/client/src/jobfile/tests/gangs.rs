//! Job files with gangs.

use quorate_state::{GangSpec, Within};

use super::super::{Format, render_toml};
use super::read;

fn with(gang: &str) -> String {
    format!("name = \"j\"\n[task.train]\nrun = [\"train\"]\ncount = 3\ngang = {gang}\nundo = [\"forget\"]\n")
}

#[test]
fn a_gang_is_written_in_a_word_or_with_what_is_asked_of_it() {
    let label = Some(Within::Label("rack".into()));
    for (text, expected) in [
        ("false", None),
        ("true", Some(GangSpec::default())),
        ("{}", Some(GangSpec::default())),
        ("{ within = \"region\" }", Some(GangSpec { within: Some(Within::Region), start_ms: None })),
        (
            "{ within = \"cluster\", start = \"5m\" }",
            Some(GangSpec { within: Some(Within::Cluster), start_ms: Some(300_000) }),
        ),
        ("{ within = \"label:rack\" }", Some(GangSpec { within: label, start_ms: None })),
    ] {
        let spec = read(&with(text), Format::Toml).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(spec.tasks[0].gang, expected, "{text}");
        assert_eq!(spec.tasks[1].gang, None, "each member is undone by itself");
        assert_eq!(read(&render_toml(&spec), Format::Toml).unwrap(), spec);
    }
}

#[test]
fn what_is_no_gang_is_refused_where_it_stands() {
    for (text, said) in [
        ("3", "expected true, or a table such as { within = \"cluster\", start = \"5m\" }"),
        ("{ within = \"clustre\" }", "or \"label:KEY\" for the value of a label; did you mean \"cluster\"?"),
        ("{ within = \"label:\" }", "a label's key has 1 to 256 bytes"),
        ("{ start = 5 }", "expected a duration"),
    ] {
        let errors = read(&with(text), Format::Toml).unwrap_err().to_string();
        assert!(errors.contains(said), "{text}: {errors}");
    }
    let errors = read(&with("true").replace("count = 3", "count = 257"), Format::Toml).unwrap_err().to_string();
    assert!(errors.contains("4:9") && errors.contains("GANG_MAX (256)"), "{errors}");
}

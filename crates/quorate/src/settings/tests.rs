//! Layering, unknown keys, and errors that name their key.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load(flags: Flags, variables: &[(&str, &str)], text: &str) -> Result<Settings, SettingsError> {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::load(flags, |name| variables.get(name).cloned(), Some(file(text).path()))
}

fn complaints(result: Result<Settings, SettingsError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let text = "[server]\nregion = \"file\"\n";
    let region = |settings: Settings| ServerSettings::from(&settings).unwrap().region.to_string();
    assert_eq!(region(load(vec![], &[], "").unwrap()), "default");
    assert_eq!(region(load(vec![], &[], text).unwrap()), "file");
    let variables = [("QUORATE_SERVER_REGION", "variable")];
    assert_eq!(region(load(vec![], &variables, text).unwrap()), "variable");
    let flags = vec![("server.region", Some("flag".to_owned()))];
    assert_eq!(region(load(flags, &variables, text).unwrap()), "flag");
    let absent = vec![("server.region", None)];
    assert_eq!(region(load(absent, &variables, text).unwrap()), "variable");
}

#[test]
fn every_spelling_of_a_value_in_the_file_is_read() {
    let text = "servers = [\"a:1\", \"b:2\"]\n[server]\ninsecure = true\n[server.raft]\nsnapshot_entries = 50\nkeep_entries = 0\n[server.listen]\nops = \"off\"\n";
    let settings = load(vec![], &[], text).unwrap();
    assert_eq!(ClientSettings::from(&settings).unwrap().servers, ["a:1", "b:2"]);
    let server = ServerSettings::from(&settings).unwrap();
    assert!(server.insecure);
    assert_eq!(server.tuning.snapshot_entries, Some(50));
    assert_eq!(server.tuning.keep_entries, Some(0));
    assert_eq!(server.ops, None);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    let message = complaints(load(vec![], &[], "[server]\ndata_dri = \"x\"\n[sever]\nregion = \"eu\"\n"));
    assert!(message.contains("server.data_dri"), "{message}");
    assert!(message.contains("did you mean 'server.data_dir'?"), "{message}");
    assert!(message.contains("sever "), "{message}");
}

#[test]
fn every_wrong_value_is_named_with_its_key_and_where_it_stands() {
    let text = "deadline = \"soon\"\n[server]\nregion = { name = \"eu\" }\nraft = { snapshot_entries = 0 }\n";
    let message =
        complaints(load(vec![("servers", Some("nowhere".to_owned()))], &[("QUORATE_AGENT_CPU", "many")], text));
    for part in [
        "deadline (",
        "server.region (",
        "server.raft.snapshot_entries (",
        "servers (flag)",
        "agent.cpu (QUORATE_AGENT_CPU)",
    ] {
        assert!(message.contains(part), "{part} is not in:\n{message}");
    }
}

#[test]
fn lease_terms_that_could_run_two_copies_are_refused() {
    let settings = load(vec![], &[], "[server.lease]\nagent = \"20s\"\n").unwrap();
    let message = ServerSettings::from(&settings).map(drop).unwrap_err().to_string();
    assert!(message.contains("server.lease.server"), "{message}");
}

#[test]
fn a_missing_or_malformed_file_is_named() {
    let missing = Settings::load(vec![], |_| None, Some(Path::new("/nonexistent/quorate.toml")));
    assert!(complaints(missing).contains("/nonexistent/quorate.toml"));
    let message = complaints(load(vec![], &[], "servers = [\n"));
    assert!(message.contains("is not TOML"), "{message}");
}

#[test]
fn variables_follow_from_keys_and_keys_are_unique() {
    assert_eq!(variable("server.data_dir"), "QUORATE_SERVER_DATA_DIR");
    let names: std::collections::BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len());
}

#[test]
fn an_agent_keeps_as_much_output_as_is_set() {
    let text = "[agent]\ncpu = \"1\"\nlog_bytes_max = \"1Mi\"\nlogs_bytes_max = \"1Gi\"\nlogs_kept_max = 7\n";
    let limits = AgentSettings::from(&load(vec![], &[], text).unwrap()).unwrap().limits;
    assert_eq!((limits.log_bytes_max, limits.logs_bytes_max, limits.logs_kept_max), (1 << 20, 1 << 30, 7));
}

#[test]
fn the_example_files_are_accepted() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/example");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let settings = Settings::load(vec![], |_| None, Some(&path)).unwrap_or_else(|error| panic!("{error}"));
            ServerSettings::from(&settings).unwrap();
            AgentSettings::from(&settings).unwrap();
            count += 1;
        }
    }
    assert!(count > 0, "no example in {examples}");
}

#[test]
fn every_key_is_in_the_documentation() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md"));
    for key in KEYS {
        assert!(page.contains(&format!("| `{}` |", key.name)), "{} is missing in docs/cli.md", key.name);
    }
}

#[test]
fn tls_has_all_of_its_files_or_none() {
    let text = "[tls]\nca = \"ca.pem\"\ncert = \"a.pem\"\n";
    assert_eq!(load(vec![], &[], "").unwrap().tls().unwrap(), None);
    let message = load(vec![], &[], text).unwrap().tls().unwrap_err().to_string();
    assert!(message.contains("tls.key is not set") && message.contains("QUORATE_TLS_KEY"), "{message}");
    let files = load(vec![], &[("QUORATE_TLS_KEY", "a.key")], text).unwrap().tls().unwrap().unwrap();
    assert_eq!([files.ca, files.cert, files.key], ["ca.pem", "a.pem", "a.key"].map(std::path::PathBuf::from));
}

//! What is understood of a report, and what is not.

use std::path::PathBuf;

use super::*;

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    Place { _directory: directory, path }
}

fn last_word(text: &str) -> LastWord {
    let place = place();
    std::fs::write(&place.path, text).unwrap();
    Reader::default().last_word(&place.path)
}

fn result(text: &str) -> Option<Arc<Outcome>> {
    Some(Arc::new(Outcome::Result(text.as_bytes().into())))
}

fn error(text: &str) -> Option<Arc<Outcome>> {
    Some(Arc::new(Outcome::Error(text.parse().unwrap())))
}

#[test]
fn the_last_result_counts_byte_for_byte_and_an_error_counts_more() {
    let gone = Reader::default().last_word(&place().path);
    assert_eq!(gone.outcome, error(BAD_REPORT), "it had said something");
    for (text, outcome) in [
        ("", None),
        ("{\"progress\": 0.5}\n\n", None),
        ("{\"result\": {\"b\" : 1.0, \"a\": 2e3}}\n", result("{\"b\" : 1.0, \"a\": 2e3}")),
        ("{\"result\": 1}\n{\"result\": [2]}\n", result("[2]")),
        ("{\"result\": null}", result("null")),
        ("{\"result\": 1}\n{\"error\": \"BadInput\"}\n", error("BadInput")),
        ("{\"error\": \"BadInput\", \"message\": \"at first\"}\n{\"error\": \"Late\"}\n", error("Late")),
    ] {
        assert_eq!(last_word(text), LastWord { outcome, ..LastWord::default() }, "{text}");
    }
    let said = last_word("{\"error\": \"BadInput\", \"message\": \"no rows\"}\n");
    assert_eq!(said, LastWord { outcome: error("BadInput"), words: Some("no rows".into()), payloads: None });
}

#[test]
fn what_is_not_understood_is_named_by_its_line_and_fails_the_attempt() {
    let long = format!("{{\"result\": \"{}\"}}\n", "x".repeat(REPORT_LINE_BYTES_MAX));
    for (text, line, what) in [
        ("{\"result\": 1}\nnonsense\n", 2, "is not understood"),
        ("{\"result\": [1, }\n", 1, "is not understood"),
        ("{\"reslut\": 1}\n", 1, "unknown field"),
        ("{\"error\": \"no such file\"}\n", 1, "error type"),
        ("{\"progress\": 1.5}\n", 1, "from 0 to 1"),
        ("{\"metric\": {\"a b\": 1}}\n", 1, "name of a metric"),
        (long.as_str(), 1, "REPORT_LINE_BYTES_MAX"),
        ("{\"result\": 1", 1, "is not understood"),
    ] {
        let LastWord { outcome, words, payloads } = last_word(text);
        assert_eq!(payloads, None, "{text}");
        assert_eq!(outcome, error(BAD_REPORT), "{text}");
        let flaw = words.unwrap();
        assert!(flaw.contains(&format!("line {line}")) && flaw.contains(what), "{flaw}");
    }
    let own = last_word("{\"error\": \"Own\"}\nnonsense\n");
    assert_eq!(own.outcome, error("Own"), "its own word for what went wrong is better than ours");
}

fn payload(name: &str, uri: &str, size: Option<u64>, digest: Option<&str>) -> (PayloadName, Payload) {
    let digest = digest.map(|digest| digest.parse().unwrap());
    (name.parse().unwrap(), Payload::new(uri, size, digest).unwrap())
}

fn left(all: Vec<(PayloadName, Payload)>) -> Option<Arc<Payloads>> {
    let mut payloads = Payloads::default();
    all.into_iter().for_each(|(name, payload)| payloads.put(name, payload).unwrap());
    payloads.kept()
}

const DIGEST: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn the_last_payload_of_a_name_counts_beside_the_result() {
    let model = format!(
        "{{\"payload\": {{\"name\": \"model\", \"uri\": \"s3://b/k\", \"size\": 123, \"digest\": \"{DIGEST}\"}}}}\n"
    );
    let early = "{\"payload\": {\"name\": \"model\", \"uri\": \"s3://b/early\"}}\n";
    let log = "{\"payload\": {\"name\": \"a.log\", \"uri\": \"file:///a \\u00e4\"}, \"progress\": 1}\n";
    let said = last_word(&format!("{early}{{\"result\": 1}}\n{log}{model}"));
    let both =
        vec![payload("model", "s3://b/k", Some(123), Some(DIGEST)), payload("a.log", "file:///a \u{e4}", None, None)];
    assert_eq!(said, LastWord { outcome: result("1"), words: None, payloads: left(both) });
    let failed = last_word(&format!("{model}{{\"error\": \"Bad\"}}\n"));
    assert_eq!(failed, LastWord { outcome: error("Bad"), ..LastWord::default() }, "what went wrong left nothing");
}

#[test]
fn what_is_no_payload_is_named_by_its_line_and_fails_the_attempt() {
    let long = format!("s3:{}", "x".repeat(quorate_state::PAYLOAD_URI_BYTES_MAX));
    let line = |inside: &str| format!("{{\"progress\": 0}}\n{{\"payload\": {{{inside}}}}}\n");
    for (inside, what) in [
        ("\"name\": \"a\"".to_owned(), "missing field `uri`"),
        ("\"uri\": \"a:b\"".to_owned(), "missing field `name`"),
        ("\"name\": \"a\", \"uri\": \"a:b\", \"sise\": 1".to_owned(), "unknown field `sise`"),
        ("\"name\": \"a b\", \"uri\": \"a:b\"".to_owned(), "payload name"),
        ("\"name\": \"\", \"uri\": \"a:b\"".to_owned(), "payload name"),
        (format!("\"name\": \"{}\", \"uri\": \"a:b\"", "n".repeat(129)), "NAME_BYTES_MAX"),
        ("\"name\": \"a\", \"uri\": \"/tmp/a\"".to_owned(), "the payload a: \"/tmp/a\" is no uri"),
        ("\"name\": \"a\", \"uri\": \"a:b\\n\"".to_owned(), "without control characters"),
        (format!("\"name\": \"a\", \"uri\": \"{long}\""), "PAYLOAD_URI_BYTES_MAX"),
        ("\"name\": \"a\", \"uri\": \"a:b\", \"size\": -1".to_owned(), "expected u64"),
        ("\"name\": \"a\", \"uri\": \"a:b\", \"size\": 1.5".to_owned(), "expected u64"),
        ("\"name\": \"a\", \"uri\": \"a:b\", \"digest\": \"md5:00\"".to_owned(), "sha256: or blake3:"),
    ] {
        let LastWord { outcome, words, payloads } = last_word(&line(&inside));
        assert_eq!((outcome, payloads), (error(BAD_REPORT), None), "{inside}");
        let flaw = words.unwrap();
        assert!(flaw.contains("line 2 of its report") && flaw.contains(what), "{flaw}");
    }
}

#[test]
fn more_payloads_than_there_may_be_fail_the_attempt() {
    let line = |number: usize, uri: &str| format!("{{\"payload\": {{\"name\": \"p{number}\", \"uri\": \"{uri}\"}}}}\n");
    let most = quorate_state::PAYLOADS_MAX;
    let all: String = (0..most).map(|number| line(number, "a:b")).collect();
    assert_eq!(last_word(&(all.clone() + &line(0, "a:c"))).payloads.unwrap().iter().len(), most);
    let long = format!("s3:{}", "x".repeat(2_000));
    for (text, number, limit) in [
        (all + &line(most, "a:b"), most + 1, "PAYLOADS_MAX"),
        ((0..8).map(|number| line(number, &long)).collect(), 8, "PAYLOADS_BYTES_MAX"),
    ] {
        let LastWord { outcome, words, payloads } = last_word(&text);
        assert_eq!((outcome, payloads), (error(BAD_REPORT), None));
        let flaw = words.unwrap();
        assert!(flaw.contains(&format!("line {number} of its report")) && flaw.contains(limit), "{flaw}");
    }
}

proptest::proptest! {
    /// Whatever the bytes, what is wrong is an error with a name, and a word that was kept is the same word.
    #[test]
    fn no_bytes_make_it_panic(lines in proptest::collection::vec(proptest::prop_oneof![
        proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
        proptest::strategy::Strategy::prop_map("[{}\\[\\]\":,a-z0-9. \\\\-]{0,64}", String::into_bytes),
        proptest::strategy::Strategy::prop_map("[a:/\u{0}-\u{ff}\\\\\"]{0,12}", |uri| {
            format!("{{\"payload\": {{\"name\": \"m\", \"uri\": \"{uri}\", \"size\": 1}}}}").into_bytes()
        }),
    ], 0..8)) {
        let place = place();
        std::fs::write(&place.path, lines.join(&b'\n')).unwrap();
        let mut reader = Reader::default();
        reader.look(&place.path);
        let said = reader.last_word(&place.path);
        match said.outcome.as_deref() {
            Some(Outcome::Error(error)) if error.as_str() == BAD_REPORT => {
                proptest::prop_assert!(said.words.is_some() && said.payloads.is_none());
            }
            Some(_) | None => {}
        }
        // Words of ours that are long are cut.
        let kept = LastWord::from_lines(&said.to_lines());
        proptest::prop_assert_eq!((kept.outcome, kept.payloads), (said.outcome, said.payloads));
    }
}

#[test]
fn a_last_word_can_be_kept_in_lines() {
    for text in [
        "",
        "{\"progress\": 0.5}\n",
        "{\"result\": {\"a\": [1, \"\\n\"]}}\n",
        "{\"result\": null}\n",
        "{\"error\": \"BadInput\", \"message\": \"no \\\"rows\\\"\\n\"}\n",
        "{\"error\": \"BadInput\"}\n",
        "nonsense\n",
        "{\"payload\": {\"name\": \"a\", \"uri\": \"a:\\\"b\", \"size\": 0}}\n{\"result\": 1}\n\
         {\"payload\": {\"name\": \"b\", \"uri\": \"a:c\"}}\n",
    ] {
        let said = last_word(text);
        assert_eq!(LastWord::from_lines(&said.to_lines()), said, "{text}");
    }
}

#[test]
fn what_cannot_be_read_for_a_moment_is_read_at_the_end() {
    let place = place();
    let mut reader = Reader::default();
    std::fs::create_dir(&place.path).unwrap();
    assert_eq!(reader.look(&place.path), None);
    std::fs::remove_dir(&place.path).unwrap();
    std::fs::write(&place.path, "{\"result\": 1}\n").unwrap();
    assert_eq!(reader.last_word(&place.path), LastWord { outcome: result("1"), ..LastWord::default() });
}

/// A longer one in the place of a shorter one that was read.
#[test]
fn what_was_written_anew_counts_as_it_stands_in_the_end() {
    let place = place();
    let mut reader = Reader::default();
    std::fs::write(&place.path, "{\"progress\": 0.5}\n").unwrap();
    assert!(reader.look(&place.path).is_some());
    std::fs::write(&place.path, "{\"result\": \"longer than what was there\"}\n").unwrap();
    reader.look(&place.path);
    let outcome = result("\"longer than what was there\"");
    assert_eq!(reader.last_word(&place.path), LastWord { outcome, ..LastWord::default() });
}

#[test]
fn progress_is_read_while_the_file_grows_and_nothing_is_read_twice() {
    use std::io::Write as _;
    let place = place();
    let mut reader = Reader::default();
    assert_eq!(reader.look(&place.path), None);
    let mut file = std::fs::File::options().append(true).create(true).open(&place.path).unwrap();
    write!(file, "{{\"progress\": 0.25, \"message\": \"a quarter\"}}\n{{\"metric\": {{\"rows\"").unwrap();
    let quarter = Progress { done_milli: Some(250), words: "a quarter".into(), ..Progress::default() };
    assert_eq!(reader.look(&place.path), Some(quarter));
    writeln!(file, ": 7}}}}").unwrap();
    let progress = reader.look(&place.path).unwrap();
    assert_eq!(progress.metrics, BTreeMap::from([("rows".to_owned(), 7.0)]));
    assert_eq!(reader.lines, 2);
    writeln!(file, "{{\"progress\": 1}}\n{{\"result\": 5}}").unwrap();
    assert_eq!(reader.last_word(&place.path), LastWord { outcome: result("5"), ..LastWord::default() });
    // Somebody who writes it anew says all of it anew.
    std::fs::write(&place.path, "{\"result\": 6}").unwrap();
    assert_eq!(reader.last_word(&place.path).outcome, result("6"));
}

#[tokio::test]
async fn every_word_is_heard_also_one_that_says_the_same_again() {
    let place = place();
    let ear = Ear(place.path.clone());
    let mut heard = vec![ear.sign().await];
    assert_eq!(heard, [Sign::default()], "there is no file");
    for (second, line) in [(1, "{\"progress\": 0.5}\n"), (2, "{\"progress\": 0.6}\n")] {
        std::fs::write(&place.path, line).unwrap();
        // As if they had been written one after the other: both may be in one tick of the file system's clock.
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
        std::fs::File::options().write(true).open(&place.path).unwrap().set_modified(written).unwrap();
        let sign = ear.sign().await;
        assert!(!heard.contains(&sign), "{line}");
        assert_eq!(ear.sign().await, sign, "and nothing else");
        heard.push(sign);
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let place = place();
    std::fs::create_dir(&place.path).unwrap();
    assert!(Reader::default().last_word(&place.path).words.unwrap().contains("no file"));
    std::fs::remove_dir(&place.path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &place.path).unwrap();
    assert!(Reader::default().last_word(&place.path).words.unwrap().contains("cannot be read"));
}

#[test]
fn there_are_bounds_on_all_of_it() {
    let many: BTreeMap<String, f64> = (0..=METRICS_MAX).map(|number| (format!("m{number}"), 1.0)).collect();
    let flaw = last_word(&serde_json::json!({ "metric": many }).to_string()).words.unwrap();
    assert!(flaw.contains("METRICS_MAX"), "{flaw}");
    let place = place();
    let file = std::fs::File::create(&place.path).unwrap();
    file.set_len(REPORT_FILE_BYTES_MAX + 1).unwrap();
    assert!(Reader::default().last_word(&place.path).words.unwrap().contains("REPORT_FILE_BYTES_MAX"));
    let words = "é".repeat(WORDS_BYTES_MAX);
    assert_eq!(cut(words).len(), WORDS_BYTES_MAX);
}

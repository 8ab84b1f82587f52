//! Job files as users write them, right and wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_state::{
    Alternative, Driver, GangSpec, OnFailure, OnNodeLoss, OnRegionLoss, Place, Resources, Retry, Role, Spread,
    TaskSpec, Within,
};

use super::*;

mod flow;
mod gangs;
mod place;
mod region_loss;
mod sub_runs;

const TOML: &str = r#"
name = "claims-nightly"
namespace = "acme"
priority = 60
labels = { team = "claims", "a.b" = "ä" }
on_failure = "cancel"
timeout = "6h"
on_node_loss = "fenced"

[retry.io]
first = "1s"
factor = 2.5
cap = "100s"
jitter = 0.2
attempts = 6
never = [64, "BadInput", -1]

[task.split]
run = ["./split", "--day", "today \"quoted\""]
resources = { cpu = "500m", memory = "256Mi" }
retry = "io"
timeouts = { run = "10m", queued = "1h", silent = "20s" }
env = { MODE = "fast" }

[task.score]
needs = ["split"]
run = ["./score"]
count = 16
resources.cpu = 2
retry = { attempts = 3 }
place = { regions = ["eu", "us"], clusters = ["eu-1"], spread = "cluster" }
on_node_loss = "at_least_once"

[task."a.publish"]
needs = ["score", "split"]
driver = "noop"
"#;

const YAML: &str = r#"
name: claims-nightly
namespace: acme
priority: 60
labels: {team: claims, a.b: ä}
on_failure: cancel
timeout: 360m
on_node_loss: fenced
retry:
  io: {first: 1s, factor: 2.5, cap: 100s, jitter: 0.2, attempts: 6, never: [64, BadInput, -1]}
task:
  split:
    run: [./split, --day, 'today "quoted"']
    resources: {cpu: 500m, memory: 256Mi}
    retry: io
    timeouts: {run: 10m, queued: 60m, silent: 20s}
    env: {MODE: fast}
  score:
    needs: [split]
    run:
      - ./score
    count: 16
    resources: {cpu: 2.0}
    retry: {attempts: 3}
    place: {regions: [eu, us], clusters: [eu-1], spread: cluster}
    on_node_loss: at_least_once
  a.publish:
    needs: [score, split]
    driver: noop
"#;

const JSON: &str = r#"{
  "name": "claims-nightly", "namespace": "acme", "priority": 60,
  "labels": {"team": "claims", "a.b": "\u00e4"},
  "on_failure": "cancel", "timeout": "6h", "on_node_loss": "fenced",
  "retry": {"io": {"first": "1s", "factor": 25e-1, "cap": "100s", "jitter": 0.2, "attempts": 6,
    "never": [64, "BadInput", -1]}},
  "task": {
    "split": {
      "run": ["./split", "--day", "today \"quoted\""],
      "resources": {"cpu": 0.5, "memory": 268435456},
      "retry": "io", "timeouts": {"run": "600s", "queued": "3600s", "silent": "20000ms"}, "env": {"MODE": "fast"}
    },
    "score": {
      "needs": ["split"], "run": ["./score"], "count": 16, "resources": {"cpu": "2"}, "retry": {"attempts": 3},
      "place": {"regions": ["eu", "us"], "clusters": ["eu-1"], "spread": "cluster"}, "on_node_loss": "at_least_once"
    },
    "a.publish": {"needs": ["score", "split"], "driver": "noop"}
  }
}"#;

fn read(text: &str, format: Format) -> Result<JobSpec, Errors> {
    let name = match format {
        Format::Toml => "job.toml",
        Format::Yaml => "job.yaml",
        Format::Json => "job.json",
    };
    parse(text.as_bytes(), format, name, &Settings::default())
}

/// Parses TOML and compares every complaint, one per line, without the file's name.
#[track_caller]
fn check(toml: &str, complaints: &[&str]) {
    let errors = read(toml, Format::Toml).expect_err(toml).to_string();
    let lines: Vec<_> = errors.lines().map(|line| line.strip_prefix("job.toml:").unwrap_or(line)).collect();
    for (line, expected) in lines.iter().zip(complaints) {
        assert!(line.starts_with(expected), "expected {expected:?}\n   found {line:?}\nin all:\n{errors}");
    }
    assert_eq!(lines.len(), complaints.len(), "{errors}");
}

#[test]
fn three_spellings_of_a_job_are_one_job() {
    let toml = read(TOML, Format::Toml).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(read(YAML, Format::Yaml).unwrap_or_else(|e| panic!("{e}")), toml);
    assert_eq!(read(JSON, Format::Json).unwrap_or_else(|e| panic!("{e}")), toml);

    assert_eq!(toml.priority, 60);
    assert_eq!(toml.on_failure, OnFailure::Cancel);
    assert_eq!(toml.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>(), ["split", "score", "a.publish"]);
    let [split, score, publish] = &toml.tasks[..] else { panic!("three tasks") };
    assert_eq!(split.argv, ["./split", "--day", "today \"quoted\""]);
    assert_eq!(split.resources, Resources { cpu_milli: 500, memory_bytes: 256 << 20, gpu_milli: 0 });
    let io = Retry {
        attempts: 6,
        first_ms: 1_000,
        factor_milli: 2_500,
        cap_ms: 100_000,
        jitter_milli: 200,
        never: vec![64, -1],
        never_errors: vec!["BadInput".parse().unwrap()],
    };
    assert_eq!(split.retry, io);
    assert_eq!((split.run_timeout_ms, split.queued_timeout_ms), (Some(600_000), Some(3_600_000)));
    assert_eq!(split.silent_timeout_ms, Some(20_000));
    assert_eq!(toml.timeout_ms, Some(21_600_000));
    assert_eq!(split.on_node_loss, OnNodeLoss::Fenced, "the job's default");
    assert_eq!(score.on_node_loss, OnNodeLoss::AtLeastOnce, "its own");
    assert_eq!(score.resources, Resources { cpu_milli: 2_000, memory_bytes: 64 << 20, gpu_milli: 0 });
    assert_eq!(score.retry, Retry { attempts: 3, ..Retry::default() });
    assert_eq!(score.place.spread, Spread::Cluster);
    assert_eq!(publish.driver, Driver::Noop);
}

#[test]
fn unknown_keys_are_told_with_their_place_and_the_nearest_key() {
    check(
        "nam = \"x\"\nname = \"y\"\n\n[task.a]\nruns = [\"x\"]\nrun = [\"x\"]\nresources = { cpus = 1 }\n",
        &[
            "1:1: unknown key \"nam\": did you mean \"name\"?",
            "5:1: task.a: unknown key \"runs\": did you mean \"run\"?",
            "7:15: task.a.resources: unknown key \"cpus\": did you mean \"cpu\"?",
        ],
    );
    check(
        "name = \"y\"\n[task.a]\nrun = [\"x\"]\nplace = { zzzzz = 1 }\n",
        &[
            "4:11: task.a.place: unknown key \"zzzzz\": known here: regions, clusters, labels, pools, tolerate, where, reservation, prefer, cheap, near, near_weight, group, at_most, apart, balance, spread",
        ],
    );
}

#[test]
fn keys_that_do_not_run_yet_are_not_unknown() {
    for key in reference().iter().filter(|key| !key.supported) {
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let line = format!("{name} = 1\n");
        let inside = |wanted: &str| if table == wanted { line.as_str() } else { "" };
        let text = format!(
            "{}name = \"y\"\n[task.a]\nrun = [\"x\"]\n{}[task.a.resources]\n{}[task.a.timeouts]\n{}[task.a.place]\n{}",
            inside(""),
            inside("task.NAME"),
            inside("task.NAME.resources"),
            inside("task.NAME.timeouts"),
            inside("task.NAME.place"),
        );
        let errors = read(&text, Format::Toml).expect_err(key.path);
        assert_eq!(errors.problems.len(), 1, "{}: {errors}", key.path);
        assert_eq!(errors.problems[0].message, "not supported yet", "{}", key.path);
        assert_eq!(errors.problems[0].field, key.path.replace("NAME", "a"));
    }
}

#[test]
fn every_supported_key_is_read() {
    // A value of a kind that no key takes: whoever reads the key complains about it.
    for key in reference().iter().filter(|key| key.supported && key.kind != Kind::Any) {
        let mut path = key.path.replace("NAME", "a");
        if path == "retry" || path == "task" || path == "retry.a" || path == "task.a" || path == "params" {
            path.push_str(if path.ends_with(".a") { "" } else { ".b" });
        }
        let value = if matches!(key.kind, Kind::Bool | Kind::Gang) { "7" } else { "true" };
        // What stands in a list of tables is read in the first of them.
        let is_list = |path: &str| {
            let path = path.replace("task.a", "task.NAME");
            path != key.path && reference().iter().any(|table| table.kind == Kind::Tables && table.path == path)
        };
        let (mut text, mut place) = (value.to_owned(), String::new());
        let parts: Vec<&str> = path.split('.').collect();
        for at in (0..parts.len()).rev() {
            let in_list = is_list(&parts[..=at].join("."));
            text = if in_list { format!("[{text}]") } else { text };
            text = format!("{{\"{}\":{text}}}", parts[at]);
            let index = if in_list { "[0]" } else { "" };
            place = format!("{}{index}{}{place}", parts[at], if place.is_empty() { "" } else { "." });
        }
        let path = place;
        let errors = read(&text, Format::Json).expect_err(key.path);
        let complaint = errors.problems.iter().find(|problem| problem.field == path);
        assert!(complaint.is_some_and(|p| p.message.starts_with("expected ")), "{path}: {errors}");
    }
}

#[test]
fn documented_defaults_are_the_real_ones() {
    let base = "name = \"y\"\n[task.a]\nrun = [\"x\"]\n";
    let plain = read(base, Format::Toml).unwrap_or_else(|e| panic!("{e}"));
    for key in reference().iter().filter(|key| !key.default.is_empty() && key.default != "required") {
        let line = format!("{} = {}\n", key.path.replace("NAME", "a"), key.default);
        let text = match key.path.split_once('.') {
            Some(("retry", rest)) => {
                let line = format!("{} = {}\n", rest.replace("NAME.", ""), key.default);
                format!("{base}retry = \"p\"\n[retry.p]\n{line}")
            }
            Some(_) => format!("name = \"y\"\ntask.a.run = [\"x\"]\n{line}"),
            None => format!("{line}{base}"),
        };
        assert_eq!(read(&text, Format::Toml).unwrap_or_else(|e| panic!("{text}\n{e}")), plain, "{}", key.path);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    check(
        r#"
name = "a b"
priority = 101
on_failure = "stop"
labels = { a = 1 }

[retry.io]
attempts = 0
factor = 0.5
first = 5
never = [1, "Bad Input", 3000000000]

[task.a]
run = []
count = 4294967296
needs = ["b", "c", "misssing"]
resources = { cpu = -1, memory = "1 elephant" }
retry = "oi"
env = { A = true }
timeouts = { run = "10" }

[task.b]
needs = "a"
run = ["x", 5, "a\u0000b"]
resources = { cpu = "99999999999", memory = "1e40" }
on_node_loss = "fence"

[task.missing]
run = "x"
"#,
        &[
            "2:8: name: job name \"a b\" contains ' '",
            "3:12: priority: expected a whole number from 0 to 100, found the number 101",
            "4:14: on_failure: expected one of \"finish\", \"cancel\", found the text \"stop\"",
            "5:16: labels.a: expected a text, found the number 1; a text needs quotes",
            "8:12: retry.io.attempts: expected a whole number from 1 to 1000, found the number 0",
            "9:10: retry.io.factor: expected a number from 1 to 100, found the number 0.5",
            "10:9: retry.io.first: expected a duration such as",
            "11:13: retry.io.never[1]: error type \"Bad Input\" contains ' '",
            "11:26: retry.io.never[2]: expected an exit code (a whole number) or an error type (a name)",
            "14:7: task.a.run: a program is needed",
            "15:9: task.a.count: expected a whole number from 1 to 4294967295, found the number 4294967296",
            "16:15: task.a.needs[1]: no task is called \"c\"",
            "16:20: task.a.needs[2]: no task is called \"misssing\"; did you mean \"missing\"?",
            "17:21: task.a.resources.cpu: the number -1 is negative",
            "17:34: task.a.resources.memory: the text \"1 elephant\" cannot be read",
            "18:9: task.a.retry: there is no retry policy of the name \"oi\": did you mean \"io\"?",
            "19:13: task.a.env.A: expected a text, found true; a text needs quotes",
            "20:20: task.a.timeouts.run: the text \"10\" cannot be read: expected a duration",
            "23:9: task.b.needs: expected a list of names, found the text \"a\"",
            "24:13: task.b.run[1]: expected a text, found the number 5; a text needs quotes",
            "24:16: task.b.run[2]: a text must not contain NUL",
            "25:21: task.b.resources.cpu: the text \"99999999999\" is too large",
            "25:45: task.b.resources.memory: the text \"1e40\" is too large",
            "26:16: task.b.on_node_loss: expected one of \"at_least_once\", \"fenced\", \"at_most_once\", found the text \"fence\"; did you mean \"fenced\"?",
            "29:7: task.missing.run: expected a list of texts, or a job such as \"job://train\" or \"job://train@3\", found the text \"x\"",
        ],
    );
}

#[test]
fn gpus_are_shares_of_one_or_whole_ones() {
    let of = |resources: &str| format!("name = \"y\"\n[task.a]\nrun = [\"x\"]\nresources = {{ {resources} }}\n");
    let text = of("gpu = 0.25, gpu_models = [\"T4\", \"A100-80G\"]");
    let spec = read(&text, Format::Toml).unwrap_or_else(|error| panic!("{error}"));
    let models: Vec<_> = spec.tasks[0].gpu_models.iter().map(ToString::to_string).collect();
    assert_eq!((spec.tasks[0].resources.gpu_milli, models), (250, vec!["T4".to_owned(), "A100-80G".to_owned()]));
    check(
        &of("gpu = 1.5"),
        &["4:21: task.a.resources.gpu: 1500m is neither a share of one GPU (below 1) nor whole GPUs"],
    );
    check(&of("gpu = 65"), &["4:21: task.a.resources.gpu: the number 65 is too large: expected GPUs such as 1, 0.5"]);
    check(&of("gpu_models = [\"T4\"]"), &["4:28: task.a.resources.gpu_models: the task takes no GPU"]);
}

#[test]
fn what_a_task_takes_may_be_one_of_several_things() {
    let of = |words: &str| format!("name = \"y\"\n[task.a]\nrun = [\"x\"]\n{words}\n");
    let text = of("want = [{ cpu = 2, gpu = 1, gpu_models = [\"T4\"] }, { cpu = 16, memory = \"1Gi\" }]");
    let task = read(&text, Format::Toml).unwrap_or_else(|error| panic!("{error}")).tasks.remove(0);
    let all: Vec<_> = task.choices().filter_map(|choice| task.alternative(choice)).collect();
    let told = |at: usize| (all[at].resources.cpu_milli, all[at].resources.memory_bytes, all[at].gpu_models.len());
    assert_eq!((all.len(), told(0), told(1)), (2, (2_000, 64 << 20, 1), (16_000, 1 << 30, 0)));
    check(
        &of("want = [{ cpu = 2 }]"),
        &["4:1: task.a.want: has fewer than two alternatives, which leaves nothing to choose: use resources"],
    );
    check(
        &of("resources = { cpu = 1 }\nwant = [{ cpu = 2 }, { cpu = 1 }]"),
        &["5:1: task.a.want: is said in the place of resources: leave one of them out"],
    );
    check(&of("want = [{ cpu = 1 }, { cpu = 2 }]"), &["4:22: task.a.want[1]: is never taken"]);
    check(&of("want = [{ cpu = 1, cores = 2 }, {}]"), &["4:20: task.a.want[0]: unknown key \"cores\""]);
    check(&of("want = { cpu = 1 }"), &["4:8: task.a.want: expected"]);
}

#[test]
fn what_the_spec_means_is_checked_and_shown_in_the_file() {
    check(
        "name = \"y\"\n[task.a]\nrun = [\"x\"]\nneeds = [\"b\"]\n[task.b]\nrun = [\"x\"]\nneeds = [\"a\"]\n",
        &["4:9: task.a.needs: needs form a cycle: a -> b -> a"],
    );
    check(
        "name = \"y\"\non_node_loss = \"at_most_once\"\n[retry.io]\nattempts = 2\n[task.a]\nrun = [\"x\"]\nretry = \"io\"\n",
        &["7:9: task.a.retry.attempts: an at_most_once task is started once"],
    );
    check(
        "name = \"y\"\n[task.a]\nrun = [\"x\"]\nneeds = [\"a\"]\ncount = 4000000000\n",
        &[
            "2:2: task: 4000000000 tasks",
            "4:10: task.a.needs[0]: a task cannot need itself",
            "5:9: task.a.count: 4000000000",
        ],
    );
    check("name = \"y\"\n[task.a]\nrun = [\"\"]\n", &["3:7: task.a.run: a program is needed"]);
    check("name = \"y\"\n[task]\n", &["2:1: task: a job has at least one task"]);
}

#[test]
fn what_must_be_there_is_asked_for() {
    check("", &["1:1: name: required", "1:1: task: required"]);
    check("name = \"y\"\n[task.a]\n", &["2:1: task.a.run: required"]);
    check("name = \"y\"\n[task.a]\nimage = \"x\"\n", &["3:1: task.a.image: not supported yet"]);
    check("name = \"y\"\ntask = [1]\n", &["2:8: task: expected tables by name, found a list"]);
}

#[test]
fn input_that_is_no_text_is_refused_with_the_offset() {
    let parse =
        |bytes: &[u8]| parse(bytes, Format::Toml, "job.toml", &Settings::default()).expect_err("no text").to_string();
    assert_eq!(parse(b"name = \"a\xff\""), "job.toml:1:10: not UTF-8: byte 0xff at offset 9");
    assert_eq!(parse(b"name = 1\n\0"), "job.toml:2:1: a NUL byte at offset 9: this is no text file");
}

#[test]
fn a_file_too_large_is_refused_without_reading_it_all() {
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += buffer.len();
            assert!(self.0 <= 3 * JOB_FILE_BYTES_MAX, "it goes on reading");
            buffer.fill(b'#');
            Ok(buffer.len())
        }
    }
    let error = read_bounded(Endless(0), "big.toml").expect_err("too large");
    assert!(error.to_string().contains("JOB_FILE_BYTES_MAX"), "{error}");
    let full = vec![b'#'; JOB_FILE_BYTES_MAX];
    assert_eq!(read_bounded(&full[..], "full.toml").expect("just fits").len(), JOB_FILE_BYTES_MAX);
    let over = vec![b'#'; JOB_FILE_BYTES_MAX + 1];
    assert!(parse(&over, Format::Toml, "over.toml", &Settings::default()).is_err());
}

#[test]
fn files_are_known_by_their_names() {
    for (name, format) in [
        ("a.toml", Some(Format::Toml)),
        ("b.YML", Some(Format::Yaml)),
        ("c.yaml", Some(Format::Yaml)),
        ("d.json", Some(Format::Json)),
        ("e", None),
        ("f.txt", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
    assert_eq!(Format::guess(b" \n{\"name\""), Format::Json);
    assert_eq!(Format::guess(b"name = 1"), Format::Toml);
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[ -~äß€😀\t\n\r\\\\\"'\u{1}\u{7f}\u{85}]{1,12}").expect("it is a pattern")
}

fn any_task(index: usize) -> impl Strategy<Value = TaskSpec> {
    let retry = (
        1..9_u32,
        0..5_000_u64,
        1_000..3_000_u32,
        5_000..900_000_u64,
        0..=1_000_u32,
        proptest::collection::vec(any::<i32>(), 0..3),
        proptest::collection::vec("[A-Z][a-z.]{0,8}", 0..3),
    );
    let labels = proptest::collection::btree_map(any_text(), any_text(), 0..3);
    let wished =
        (0..4_usize, "[a-z.]{1,4}", any_text(), proptest::prop_oneof![-100..=-1_i32, 1..=100_i32], 0..=100_u32);
    let place = (any::<bool>(), any::<bool>(), 0..3_usize, labels, wished);
    (
        proptest::collection::vec(any_text(), 1..4),
        proptest::collection::btree_map("[A-Z]{1,4}", any_text(), 0..3),
        (1..50_u32, 0..4_000_u64, 0..1_u64 << 40, proptest::option::of(1..9_999_999_u64)),
        retry,
        place,
        0..3_usize,
        any::<bool>(),
    )
        .prop_map(move |(argv, env, (count, cpu_milli, memory_bytes, timeout), retry, place, loss, noop)| {
            let (attempts, first_ms, factor_milli, cap_ms, jitter_milli, never, errors) = retry;
            let never_errors = errors.iter().map(|error| error.parse().expect("a name")).collect();
            let on_node_loss = [OnNodeLoss::AtLeastOnce, OnNodeLoss::Fenced, OnNodeLoss::AtMostOnce][loss];
            let attempts = if on_node_loss == OnNodeLoss::AtMostOnce { 1 } else { attempts };
            let gang_kind = usize::try_from(memory_bytes % 4).expect("small");
            let gpu_milli = [0, 500, 1_000, 4_000][usize::try_from(cpu_milli % 4).expect("small")];
            TaskSpec {
                gpu_models: if gpu_milli > 0 { vec!["A100-80G".parse().unwrap()] } else { vec![] },
                alternatives: match (gang_kind, count % 5) {
                    (0, 0) if cpu_milli > 1 => {
                        let less = Resources { cpu_milli: cpu_milli / 2, memory_bytes, gpu_milli };
                        vec![Alternative { resources: less, gpu_models: vec![] }]
                    }
                    _ => vec![],
                },
                name: format!("t.{index}").parse().expect("a name"),
                driver: if noop { Driver::Noop } else { Driver::Process },
                argv,
                env,
                needs: (0..index).map(|need| format!("t.{need}").parse().expect("a name")).collect(),
                count,
                resources: Resources { cpu_milli, memory_bytes, gpu_milli },
                retry: Retry { attempts, first_ms, factor_milli, cap_ms, jitter_milli, never, never_errors },
                run_timeout_ms: timeout,
                queued_timeout_ms: timeout.map(|timeout| timeout + 1),
                silent_timeout_ms: timeout.map(|timeout| timeout + 1_000),
                place: Place {
                    regions: if place.0 { vec!["eu".parse().expect("a name")] } else { Vec::new() },
                    clusters: if place.1 { vec!["eu-1".parse().expect("a name")] } else { Vec::new() },
                    spread: [Spread::Pack, Spread::Node, Spread::Cluster][place.2],
                    labels: place.3.clone(),
                    pools: if place.0 { vec!["gpu".parse().expect("a name")] } else { Vec::new() },
                    tolerate: place.3,
                    prefer: place::wishes(place.4.0, place.4.1, place.4.2, place.4.3),
                    cheap: place.4.4,
                    near: place::near(place.4.0),
                    company: place::company(place.4.0),
                    condition: place::condition(place.4.0),
                    reservation: (place.4.0 == 1).then(|| "spring".parse().unwrap()),
                },
                on_node_loss,
                role: Role::Work,
                templated: false,
                when: None,
                each: None,
                on_region_loss: match (gang_kind, count % 3) {
                    (0, 0) => Some(OnRegionLoss::Stay),
                    (0, 1) => {
                        let spill = if place.1 { vec!["eu".parse().expect("a name")] } else { Vec::new() };
                        Some(OnRegionLoss::MoveAfter { after_ms: first_ms, spill })
                    }
                    _ => None,
                },
                accept_failed: 0,
                sub_run: None,
                gang: match (on_node_loss, gang_kind) {
                    (OnNodeLoss::AtMostOnce, _) | (_, 0) => None,
                    (OnNodeLoss::AtLeastOnce | OnNodeLoss::Fenced, kind) => {
                        let within =
                            [None, Some(Within::Cluster), Some(Within::Region), Some(Within::Label("rack".into()))];
                        let start_ms = (kind == 2).then_some(300_000);
                        Some(GangSpec { within: within[kind].clone(), start_ms })
                    }
                },
                preemptible: true,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spec_written_out_is_read_back_the_same(
        tasks in (any_task(0), any_task(1), any_task(2)),
        labels in proptest::collection::btree_map(any_text(), any_text(), 0..3),
        priority in 0..=100_u8,
        cancel in any::<bool>(),
    ) {
        let spec = JobSpec {
            namespace: "acme".parse().expect("a name"),
            name: "job".parse().expect("a name"),
            priority,
            labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
            on_failure: if cancel { OnFailure::Cancel } else { OnFailure::Finish },
            timeout_ms: cancel.then_some(90_061_001),
            params: BTreeMap::new(),
            result: BTreeMap::new(),
            tasks: vec![tasks.0, tasks.1, tasks.2],
        };
        prop_assume!(spec.check(&Settings::default()).is_ok());
        let text = render_toml(&spec);
        prop_assert_eq!(read(&text, Format::Toml).map_err(|e| TestCaseError::fail(format!("{text}\n{e}")))?, spec);
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), edit in 0..2_000_usize, with in "[\\[\\]{}=:,\"'#&*!|>\\-\n a0]{0,3}") {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            let _ = parse(&bytes, format, "x", &Settings::default());
        }
        for (text, format) in [(TOML, Format::Toml), (YAML, Format::Yaml), (JSON, Format::Json)] {
            let at = text.char_indices().map(|(at, _)| at).nth(edit % text.chars().count()).unwrap_or(0);
            let broken = format!("{}{with}{}", &text[..at], text[at..].chars().skip(1).collect::<String>());
            let _ = read(&broken, format);
        }
    }
}

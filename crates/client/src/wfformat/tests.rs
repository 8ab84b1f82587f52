//! Recordings in, jobs out.

use std::path::Path;

use super::*;

fn options() -> ImportOptions {
    ImportOptions::new("lab".parse().expect("a name"))
}

fn import_text(text: &str, options: &ImportOptions) -> Result<Imported, Error> {
    import(text.as_bytes(), options)
}

/// Two readers of one file, joined again; ids with characters that names must not have.
const DIAMOND: &str = r#"{
  "name": "a small diamond!", "schemaVersion": "1.5", "createdAt": "2026-01-01T00:00:00Z",
  "workflow": {
    "specification": {
      "tasks": [
        {"name": "split", "id": "lab:split/1", "parents": [], "children": ["left", "right"], "inputFiles": ["in"]},
        {"name": "side", "id": "left", "parents": ["lab:split/1"], "children": ["join"]},
        {"name": "side", "id": "right", "parents": ["lab:split/1"], "children": ["join"]},
        {"name": "join", "id": "join", "parents": ["left"], "children": []}
      ],
      "files": [{"id": "in", "sizeInBytes": 12}]
    },
    "execution": {
      "makespanInSeconds": 30,
      "tasks": [
        {"id": "lab:split/1", "runtimeInSeconds": 12.3456, "command": {"program": "split", "arguments": []}, "avgCPU": 99.0},
        {"id": "left", "runtimeInSeconds": 100, "coreCount": 64, "memoryInBytes": 99000000000},
        {"id": "right", "runtimeInSeconds": 0.0, "coreCount": 0.5, "memoryInBytes": 1000000}
      ],
      "machines": [{"nodeName": "m1"}]
    }
  }
}"#;

#[test]
fn a_recording_keeps_its_shape_and_its_scaled_times() {
    let options = ImportOptions {
        time_scale: 0.1,
        run_ms_max: Some(2_000),
        cpu_milli_max: Some(1_000),
        memory_bytes_max: Some(128 << 20),
        ..options()
    };
    let Imported { spec, unmapped } = import_text(DIAMOND, &options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(spec.name.as_str(), "a_small_diamond_");
    let shape: Vec<_> = spec
        .tasks
        .iter()
        .map(|task| {
            let needs: Vec<_> = task.needs.iter().map(TaskName::as_str).collect();
            let Resources { cpu_milli, memory_bytes, gpu_milli: _ } = task.resources;
            format!("{} <- {}: {} {cpu_milli}m {memory_bytes}", task.name, needs.join("+"), task.argv.join(" "))
        })
        .collect();
    assert_eq!(
        shape,
        [
            "lab_split_1 <- : sleep 1.235 1000m 67108864",
            "left <- lab_split_1: sleep 2.000 1000m 134217728",
            "right <- lab_split_1: sleep 0.000 500m 1000000",
            "join <- left+right: sleep 0.000 1000m 67108864",
        ]
    );
    let all = unmapped.join("\n");
    for part in [
        "1 recorded commands",
        "1 files",
        "1 machines",
        "1 tasks have measurements",
        "1 tasks have no recorded execution",
        "1 tasks have a name that differs",
        "1 tasks ask for less",
        "1 tasks run shorter",
        "scaled by 0.1",
    ] {
        assert!(all.contains(part), "{part} is missing in:\n{all}");
    }
}

#[test]
fn an_imported_job_can_be_written_out_and_read_again() {
    let Imported { spec, .. } = import_text(DIAMOND, &options()).unwrap_or_else(|e| panic!("{e}"));
    let text = crate::jobfile::render_toml(&spec);
    let read = crate::jobfile::parse(text.as_bytes(), crate::jobfile::Format::Toml, "x", &Settings::default());
    assert_eq!(read.unwrap_or_else(|e| panic!("{e}")), spec);
}

#[test]
fn ids_that_become_equal_names_stay_apart() {
    let long = "x".repeat(2 * NAME_BYTES_MAX);
    let ids = ["a:b", "a/b", "a_b", "a_b-2", "::", "//", &format!("{long}1"), &format!("{long}2")];
    let mut unique = Names::default();
    let taken: BTreeSet<_> = ids.iter().map(|id| unique.unique(id)).collect();
    assert_eq!(taken.len(), ids.len(), "{taken:?}");
    let names: Vec<_> = taken.iter().map(TaskName::as_str).collect();
    assert!(names.contains(&"a_b-3") && names.contains(&"task-2"), "{names:?}");
}

#[test]
fn what_is_no_workflow_is_refused() {
    let task = |tasks: &str| {
        format!(r#"{{"name":"w","schemaVersion":"1.5","workflow":{{"specification":{{"tasks":[{tasks}]}}}}}}"#)
    };
    let executed = DIAMOND.replace("\"runtimeInSeconds\": 100", "\"runtimeInSeconds\": -1");
    for (text, complaint) in [
        ("", "line 1"),
        ("{\"name\": \"x\",\n}", "line 2, column 1"),
        ("{\"schemaVersion\":\"1.5\"}", "missing field `workflow`"),
        (&DIAMOND.replace("\"1.5\"", "\"1.4\""), "schemaVersion is \"1.4\""),
        (&task(r#"{"id":"a","parents":["b"]}"#), "\"a\" has the parent \"b\", which is not there"),
        (&task(r#"{"id":"a","children":["b"]}"#), "\"a\" has the child \"b\", which is not there"),
        (&task(r#"{"id":"a"},{"id":"a"}"#), "two tasks have the id \"a\""),
        (&task(r#"{"id":"a","parents":["b"]},{"id":"b","parents":["a"]}"#), "cycle"),
        (&task(""), "at least one task"),
        (&executed, "ran for -1 seconds"),
        (&DIAMOND.replace("\"id\": \"right\", \"runtime", "\"id\": \"nobody\", \"runtime"), "execution of \"nobody\""),
        (&DIAMOND.replace("\"coreCount\": 64", "\"coreCount\": 1e300"), "resources.cpu"),
    ] {
        let error = import_text(text, &options()).expect_err(text).to_string();
        assert!(error.contains(complaint), "expected {complaint:?} in {error:?}");
    }
    let negative = ImportOptions { time_scale: -1.0, ..options() };
    assert!(matches!(import_text(DIAMOND, &negative), Err(Error::Option(_))));
}

/// Real recordings are too large for the repository: point QUORATE_DATA at a folder that has them.
#[test]
fn recordings_of_real_workflows_are_imported() {
    let Some(folder) = std::env::var_os("QUORATE_DATA") else {
        tracing::info!("skipped: QUORATE_DATA names no folder with WfFormat files");
        return;
    };
    let files = std::fs::read_dir(Path::new(&folder)).expect("QUORATE_DATA is a folder");
    let mut imported = 0;
    for file in files.map(|file| file.expect("readable").path()) {
        if file.extension().is_some_and(|extension| extension == "json") {
            let bytes = std::fs::read(&file).expect("readable");
            let Imported { spec, .. } =
                import(&bytes, &options()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(!spec.tasks.is_empty(), "{}", file.display());
            imported += 1;
        }
    }
    assert!(imported > 0, "no .json file in QUORATE_DATA");
}

#[test]
fn files_are_handed_on_by_name_and_size_from_who_writes_to_who_reads_them() {
    let text = r#"{
      "name": "w", "schemaVersion": "1.5",
      "workflow": {"specification": {
        "tasks": [
          {"id": "a", "children": ["b"], "inputFiles": ["in${x}"], "outputFiles": ["one", "two${y}"]},
          {"id": "b", "parents": ["a"], "inputFiles": ["two${y}", "in${x}", "late"], "outputFiles": ["three"]},
          {"id": "c", "inputFiles": ["in${x}"], "outputFiles": ["late"]}
        ],
        "files": [{"id": "one", "sizeInBytes": 1}, {"id": "two${y}", "sizeInBytes": 22}, {"id": "in${x}", "sizeInBytes": 7}]
      }}
    }"#;
    let options = ImportOptions { files: true, ..options() };
    let Imported { spec, unmapped } = import_text(text, &options).unwrap_or_else(|e| panic!("{e}"));
    let [a, b, c] = &spec.tasks[..] else { panic!("three tasks") };
    assert_eq!(a.env["FILES_MADE"], r#"[{"bytes":1,"file":"one"},{"bytes":22,"file":"two${y}"}]"#);
    assert_eq!((a.templated, &*a.env["FILE_0"]), (false, "in${x} 7"), "as it is where nothing is looked into");
    assert_eq!((b.templated, &*b.env["FILE_0"]), (true, "${a.result.1.file} ${a.result.1.bytes}"));
    assert_eq!((&*b.env["FILE_1"], b.env.get("FILE_2")), ("in$${x} 7", None));
    assert_eq!(b.env["FILES_MADE"], r#"[{"bytes":0,"file":"three"}]"#);
    assert_eq!((c.argv[0].as_str(), c.argv.len(), c.argv[4].as_str()), ("sh", 5, "0.000"));
    let all = unmapped.join("\n");
    assert!(all.contains("3 files are names and sizes") && all.contains("1 readings are of files of tasks"), "{all}");
    let text = crate::jobfile::render_toml(&spec);
    let read = crate::jobfile::parse(text.as_bytes(), crate::jobfile::Format::Toml, "x", &Settings::default());
    assert_eq!(read.unwrap_or_else(|e| panic!("{e}")), spec, "{text}");
}

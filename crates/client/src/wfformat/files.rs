//! Files of a recording as data: each task hands on the names and sizes of what it writes, and is given those of what it
//! reads. The files themselves are not in a recording, and are not made.

use std::collections::BTreeMap;

use quorate_state::{TaskName, TaskSpec};
use serde_json::{Value, json};

use super::document::Document;

/// Bytes of what a task hands on: the limit that a cluster begins with (`result_bytes_max`).
const MADE_BYTES_MAX: usize = 8 * 1024;
/// Files that a task is given; of more the rest is left out.
const TAKEN_MAX: usize = 500;
/// What a task runs: it sleeps, and then says what it has written. The words behind it are its own name and the time.
const SCRIPT: &str = r#"sleep "$1" && printf '{"result": %s}\n' "$FILES_MADE" >>"$QUORATE_REPORT""#;
/// What a task that writes nothing runs is `sleep` alone, as everywhere.
const MADE: &str = "FILES_MADE";

/// What of the files is not in the job.
#[derive(Default)]
pub(super) struct Left {
    /// Tasks that write more than can be handed on.
    pub(super) too_many_made: usize,
    /// Readings of files by tasks that do not wait for whoever writes them.
    pub(super) unordered: usize,
    /// Readings beyond what a task is given.
    pub(super) too_many_taken: usize,
}

/// Gives every task the files that it reads, and lets it hand on those that it writes. `tasks` are those of the document, in
/// its order.
pub(super) fn connect(document: &Document, tasks: &mut [TaskSpec]) -> Left {
    let specification = &document.workflow.specification;
    let sizes: BTreeMap<&str, u64> =
        specification.files.iter().map(|file| (file.id.as_str(), file.size_in_bytes)).collect();
    let size = |file: &str| sizes.get(file).copied().unwrap_or_default();
    let mut left = Left::default();
    // By file: who hands it on, and the how manieth of theirs it is.
    let mut made: BTreeMap<&str, Vec<(TaskName, usize)>> = BTreeMap::new();
    for (recorded, task) in specification.tasks.iter().zip(tasks.iter_mut()) {
        let files: Vec<Value> =
            recorded.output_files.iter().map(|file| json!({ "file": file, "bytes": size(file) })).collect();
        let text = Value::Array(files).to_string();
        if recorded.output_files.is_empty() {
            continue;
        }
        if text.len() > MADE_BYTES_MAX {
            left.too_many_made += 1;
            continue;
        }
        for (place, file) in recorded.output_files.iter().enumerate() {
            made.entry(file).or_default().push((task.name.clone(), place));
        }
        let time = task.argv.last().cloned().unwrap_or_default();
        task.argv = ["sh", "-c", SCRIPT, "recorded", &time].map(str::to_owned).to_vec();
        task.env.insert(MADE.to_owned(), text);
    }
    for (recorded, task) in specification.tasks.iter().zip(tasks) {
        let mut taken = BTreeMap::new();
        for (number, file) in recorded.input_files.iter().enumerate() {
            if number >= TAKEN_MAX {
                left.too_many_taken += 1;
                continue;
            }
            let makers = made.get(file.as_str()).map_or(&[][..], Vec::as_slice);
            let maker = makers.iter().find(|(name, _)| task.needs.contains(name));
            let words = match maker {
                Some((name, place)) => {
                    task.templated = true;
                    format!("${{{name}.result.{place}.file}} ${{{name}.result.{place}.bytes}}")
                }
                // It was there before.
                None if makers.is_empty() => format!("{} {}", quorate_values::escape(file), size(file)),
                None => {
                    left.unordered += 1;
                    continue;
                }
            };
            taken.insert(format!("FILE_{number}"), words);
        }
        // Without a reference nothing is looked into, and nothing has to be marked as meant.
        let is_plain = !task.templated;
        for (name, words) in taken {
            task.env.insert(name, if is_plain { words.replace("$${", "${") } else { words });
        }
        if let Some(text) = task.env.get_mut(MADE).filter(|_| !is_plain) {
            *text = quorate_values::escape(text);
        }
    }
    left
}

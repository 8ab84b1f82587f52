//! The parts of a WfFormat 1.5 file that are read, in the words of its JSON schema.

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(default)]
    pub(super) name: String,
    pub(super) schema_version: String,
    pub(super) workflow: Workflow,
}

#[derive(Debug, Deserialize)]
pub(super) struct Workflow {
    pub(super) specification: Specification,
    #[serde(default)]
    pub(super) execution: Option<Executions>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Specification {
    pub(super) tasks: Vec<Task>,
    #[serde(default)]
    pub(super) files: Vec<File>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub(super) id: String,
    #[serde(default)]
    pub(super) size_in_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) id: String,
    #[serde(default)]
    pub(super) parents: Vec<String>,
    #[serde(default)]
    pub(super) children: Vec<String>,
    #[serde(default)]
    pub(super) input_files: Vec<String>,
    #[serde(default)]
    pub(super) output_files: Vec<String>,
}

impl Task {
    pub(super) fn has_files(&self) -> bool {
        !self.input_files.is_empty() || !self.output_files.is_empty()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Executions {
    #[serde(default)]
    pub(super) tasks: Vec<Execution>,
    #[serde(default)]
    pub(super) machines: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Execution {
    pub(super) id: String,
    #[serde(default)]
    pub(super) runtime_in_seconds: f64,
    #[serde(default)]
    pub(super) core_count: Option<f64>,
    #[serde(default)]
    pub(super) memory_in_bytes: Option<u64>,
    #[serde(default)]
    pub(super) command: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) priority: Option<IgnoredAny>,
    #[serde(default, rename = "avgCPU")]
    avg_cpu: Option<IgnoredAny>,
    #[serde(default)]
    read_bytes: Option<IgnoredAny>,
    #[serde(default)]
    written_bytes: Option<IgnoredAny>,
    #[serde(default, rename = "energyInKWh")]
    energy_in_kwh: Option<IgnoredAny>,
}

impl Execution {
    pub(super) fn has_usage(&self) -> bool {
        self.avg_cpu.is_some()
            || self.read_bytes.is_some()
            || self.written_bytes.is_some()
            || self.energy_in_kwh.is_some()
    }
}

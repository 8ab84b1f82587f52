//! What a run is told: `--param` and `--params-file`.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_state::{JobSpec, Violation};
use serde_json::{Map, Value};

use crate::cli::source::Source;
use crate::exit::Error;

/// Values for the job's params.
#[derive(Args, Debug)]
pub(super) struct Told {
    /// A value for one of the job's params, such as day=2026-11-21; a list or a map as JSON
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    /// A file with values for the job's params: a JSON object, or - for standard input; --param wins
    #[arg(long, value_name = "FILE")]
    params_file: Option<PathBuf>,
}

impl Told {
    /// What is given, as JSON, after checking that it is what the job in `file` asks for. The control plane adds defaults.
    pub(super) fn args(&self, spec: &JobSpec, file: &Path) -> Result<String, Error> {
        let mut given = self.in_file(file)?;
        let mut wrong = Vec::new();
        for (name, text) in &self.params {
            match quorate_flow::arg(spec, name, text) {
                Ok(value) => drop(given.insert(name.clone(), value)),
                Err(violation) => wrong.push(violation),
            }
        }
        let given = if given.is_empty() { String::new() } else { Value::Object(given).to_string() };
        if wrong.is_empty() {
            wrong = quorate_flow::complete_args(spec, &given).err().unwrap_or_default();
        }
        if wrong.is_empty() { Ok(given) } else { Err(Error::Usage(lines(&wrong))) }
    }

    fn in_file(&self, file: &Path) -> Result<Map<String, Value>, Error> {
        let Some(path) = &self.params_file else { return Ok(Map::new()) };
        if path.as_os_str() == "-" && file.as_os_str() == "-" {
            return Err(Error::Usage("the job and --params-file cannot both be standard input".to_owned()));
        }
        let source = Source::read(path)?;
        match serde_json::from_slice(&source.bytes) {
            Ok(given) => Ok(given),
            Err(error) => Err(Error::Usage(format!("{} is no JSON object: {error}", source.name))),
        }
    }
}

fn lines(violations: &[Violation]) -> String {
    let line = |violation: &Violation| match violation.field.strip_prefix("args.") {
        Some(name) => format!("the parameter {name}: {}", violation.message),
        None => violation.message.clone(),
    };
    violations.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '=': write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use quorate_client::jobfile;

    use super::*;

    const JOB: &str = "name = \"y\"\n[params]\nday = \"date\"\nparts = { type = \"integer\", default = 4 }\n\
                       tags = { type = \"list\", default = [] }\n[task.a]\nrun = [\"x\", \"${params.day}\"]\n";

    fn args(params: &[&str], file: Option<&str>) -> Result<String, String> {
        let settings = quorate_state::Settings::default();
        let spec = jobfile::parse(JOB.as_bytes(), jobfile::Format::Toml, "job.toml", &settings).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("params.json");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let params = params.iter().map(|text| pair(text).unwrap()).collect();
        let told = Told { params, params_file: file.map(|_| path) };
        told.args(&spec, Path::new("job.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_given_goes_as_it_is_and_the_flag_wins() {
        assert_eq!(args(&["day=2026-11-21"], None).as_deref(), Ok("{\"day\":\"2026-11-21\"}"));
        let file = "{\"day\": \"2026-11-21\", \"parts\": 7}";
        let both = args(&["parts=9", "tags=[1, \"a=b\"]"], Some(file));
        assert_eq!(both.as_deref(), Ok("{\"day\":\"2026-11-21\",\"parts\":9,\"tags\":[1,\"a=b\"]}"));
    }

    #[test]
    fn what_the_job_does_not_ask_for_is_refused_here() {
        for (params, file, expected) in [
            (&[][..], None, "the parameter day is missing"),
            (&["day=yesterday"], None, "the parameter day: expected a day of the calendar"),
            (&["day=2026-11-21", "prats=1"], None, "the job has no parameter \"prats\": did you mean parts?"),
            (&["day=2026-11-21", "parts=1.5"], None, "the parameter parts: expected a whole number"),
            (&[], Some("[1]"), "params.json is no JSON object"),
        ] {
            let error = args(params, file).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(pair("day").is_err());
    }
}

//! What a run is told: a value for each parameter of its job.

use std::collections::BTreeMap;

use quorate_state::{ARGS_BYTES_MAX, JobSpec, Violation};
use quorate_values::{Flaw, Param, ParamType, Value, complete, parse};

/// What a run of the job is told that is given `args`, a JSON object: a value for each of its parameters, by name, as
/// [`quorate_state::Run::args`] keeps it. Nothing of a job without parameters.
///
/// # Errors
/// Everything that is wrong: what is missing, of another type, or unknown to the job, and what takes more than
/// [`ARGS_BYTES_MAX`].
pub fn complete_args(spec: &JobSpec, args: &str) -> Result<String, Vec<Violation>> {
    let given = read(args).map_err(|flaw| vec![violation(flaw)])?;
    let params = spec.params.iter().map(|(name, param)| {
        let kind = param.kind.parse()?;
        let default = default_of(name, kind, param)?;
        Ok((name.clone(), Param { kind, default, description: String::new() }))
    });
    let params: BTreeMap<String, Param> = params.collect::<Result<_, Flaw>>().map_err(|flaw| vec![violation(flaw)])?;
    let values = complete(&params, &given).map_err(|flaws| flaws.into_iter().map(violation).collect::<Vec<_>>())?;
    if values.is_empty() {
        return Ok(String::new());
    }
    let text = Value::Object(values.into_iter().collect()).to_string();
    if text.len() > ARGS_BYTES_MAX {
        let message = format!(
            "with defaults they take {} bytes, ARGS_BYTES_MAX is {ARGS_BYTES_MAX}: put large input into a file and give its name",
            text.len()
        );
        return Err(vec![violation(message)]);
    }
    Ok(text)
}

/// The value that a text on a command line stands for, as one of this parameter. For a parameter that the job does not
/// have it is the text: [`complete_args`] says that there is none.
///
/// # Errors
/// It is none of the parameter's type.
pub fn arg(spec: &JobSpec, name: &str, text: &str) -> Result<Value, Violation> {
    let Some(param) = spec.params.get(name) else { return Ok(Value::from(text)) };
    let value = param.kind.parse().and_then(|kind: ParamType| kind.from_text(text));
    value.map_err(|flaw| Violation { field: format!("args.{name}"), message: flaw.to_string() })
}

/// The value that a parameter has when nobody gives one.
pub(crate) fn default_of(name: &str, kind: ParamType, param: &quorate_state::Param) -> Result<Option<Value>, Flaw> {
    let Some(text) = &param.default else { return Ok(None) };
    let value = parse(text.as_bytes(), "the default")?;
    let default = Param { kind, default: None, description: String::new() };
    default.check(name, &value).map(|()| Some(value))
}

fn read(args: &str) -> Result<BTreeMap<String, Value>, Flaw> {
    if args.is_empty() {
        return Ok(BTreeMap::new());
    }
    match parse(args.as_bytes(), "what the run is told")? {
        Value::Object(given) => Ok(given.into_iter().collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Flaw::new("expected a JSON object with a value for each parameter"))
        }
    }
}

fn violation(message: impl ToString) -> Violation {
    Violation { field: "args".into(), message: message.to_string() }
}

//! How a run and a task are named on the command line.

use quorate_client::Client;
use quorate_proto::{ApiError, v1};

use super::Context;
use crate::exit::Error;

/// The shortest prefix of a run id that is looked up.
const PREFIX_CHARS_MIN: usize = 4;
/// Characters of a whole run id.
const RUN_ID_CHARS: usize = 13;

/// The ways a text may name a run, in the order to try them.
///
/// A whole run id is one before it is a job's name, because nobody names a job so; a prefix is a
/// job's name first, because people do name jobs `test`.
fn candidates(text: &str, namespace: &str) -> Vec<v1::run_ref::Ref> {
    let job = |namespace: &str, name: &str| {
        v1::run_ref::Ref::Job(v1::JobRef { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    if let Some((namespace, name)) = text.split_once('/') {
        return vec![job(namespace, name)];
    }
    let lower = text.to_ascii_lowercase();
    let is_base32 = lower.bytes().all(|byte| b"0123456789abcdefghjkmnpqrstvwxyz".contains(&byte));
    let id = v1::run_ref::Ref::RunId(lower.clone());
    match lower.len() {
        RUN_ID_CHARS if is_base32 => vec![id, job(namespace, text)],
        PREFIX_CHARS_MIN..RUN_ID_CHARS if is_base32 => vec![job(namespace, text), id],
        _ => vec![job(namespace, text)],
    }
}

/// The run that `text` names: an id or its prefix, or the latest run of a job.
pub(crate) async fn resolve(context: &Context, client: &Client, text: &str) -> Result<v1::GetRunResponse, Error> {
    let namespace = context.connection()?.namespace;
    for candidate in candidates(text, namespace.as_str()) {
        let request = v1::GetRunRequest { run: Some(v1::RunRef { r#ref: Some(candidate) }) };
        match client.get_run(request).await {
            // A text that cannot be a job's name may still be an id, and the other way round.
            Err(quorate_client::Error::Api(ApiError::NotFound { .. } | ApiError::Invalid(_))) => {}
            other => return Ok(other?),
        }
    }
    Err(Error::Missing(missing(text, namespace.as_str())))
}

/// Says of a text that names no run what it could have been.
fn missing(text: &str, namespace: &str) -> String {
    if let Some((namespace, name)) = text.split_once('/') {
        return format!("there is no job {name:?} in namespace {namespace:?}");
    }
    let short = if text.len() < PREFIX_CHARS_MIN {
        format!(" (a prefix has at least {PREFIX_CHARS_MIN} characters)")
    } else {
        String::new()
    };
    format!("{text:?} is neither a run id, nor a unique prefix of one{short}, nor a job in namespace {namespace}")
}

/// The reference to a run known by its whole id.
pub(crate) fn by_id(id: &str) -> Option<v1::RunRef> {
    Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(id.to_owned())) })
}

/// `name` or `name[index]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskArg {
    /// The task's name.
    pub(crate) name: String,
    /// Its index, 0 when none is given.
    pub(crate) index: u32,
}

impl std::str::FromStr for TaskArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, rest)) = text.split_once('[') else {
            return Ok(Self { name: text.to_owned(), index: 0 });
        };
        let index = rest.strip_suffix(']').and_then(|index| index.parse().ok());
        let index = index.filter(|_| !name.is_empty());
        index.map(|index| Self { name: name.to_owned(), index }).ok_or_else(|| {
            format!("{text:?} does not name a task: write its name, or name[index] with an index from 0")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::run_ref::Ref;

    fn words(text: &str) -> Vec<String> {
        let word = |candidate| match candidate {
            Ref::RunId(id) => format!("id {id}"),
            Ref::Job(job) => format!("job {}/{}", job.namespace, job.name),
        };
        candidates(text, "default").into_iter().map(word).collect()
    }

    #[test]
    fn a_run_is_named_by_id_prefix_or_job() {
        assert_eq!(words("0123456789ABC"), ["id 0123456789abc", "job default/0123456789ABC"]);
        assert_eq!(words("test"), ["job default/test", "id test"]);
        assert_eq!(words("abc"), ["job default/abc"]);
        assert_eq!(words("nightly-claims"), ["job default/nightly-claims"]);
        assert_eq!(words("acme/test"), ["job acme/test"]);
    }

    #[test]
    fn a_missing_run_is_looked_for_where_it_was_asked_for() {
        assert_eq!(missing("acme/nope", "default"), "there is no job \"nope\" in namespace \"acme\"");
        assert!(missing("abc", "default").contains("at least 4 characters"));
        let text = missing("nightly", "default");
        assert!(text.contains("namespace default") && !text.contains("at least"), "{text}");
    }

    #[test]
    fn a_task_is_named_with_or_without_an_index() {
        assert_eq!("split".parse(), Ok(TaskArg { name: "split".into(), index: 0 }));
        assert_eq!("split[12]".parse(), Ok(TaskArg { name: "split".into(), index: 12 }));
        for text in ["split[", "split[]", "split[-1]", "split[1]x", "[1]", "split[99999999999]"] {
            assert!(text.parse::<TaskArg>().is_err(), "{text}");
        }
    }
}

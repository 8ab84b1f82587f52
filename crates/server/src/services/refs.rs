//! Which run, task or attempt a request means.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::Parts;
use quorate_state::{AttemptId, JobName, Namespace, Run, RunId, State, TaskId, TaskName};

use super::{name, violation};
use crate::core::{Core, read_error};

/// A prefix of a run id has at least so many characters.
const PREFIX_CHARS_MIN: usize = 4;
/// A whole run id.
const RUN_ID_CHARS: usize = 13;
/// Attempts of one archived task that are read at once, for its newest ones.
const ATTEMPTS_READ_MAX: usize = 10_000;
/// What is the case with a run that is to be changed and is archived, for machines.
const RUN_ARCHIVED: &str = "RUN_ARCHIVED";
/// The bits of one character.
const BITS_PER_CHAR: usize = 5;

/// The run that a request means, among those in memory: by id, by a prefix that only one run has, or a job's latest.
pub(crate) fn resolve<'a>(view: &'a State, reference: Option<&v1::RunRef>) -> Result<&'a Arc<Run>, ApiError> {
    let wanted = Wanted::of(view, reference)?;
    let id = wanted.id(view, &[])?;
    tracing::Span::current().record("run", tracing::field::display(id));
    view.run(id).ok_or_else(|| wanted.absent())
}

/// The same for a request that changes the run: of one that is archived it says that nothing can be changed.
pub(crate) fn resolve_live<'a>(
    core: &Core,
    view: &'a State,
    reference: Option<&v1::RunRef>,
) -> Result<&'a Arc<Run>, ApiError> {
    resolve(view, reference).map_err(|error| match resolve_kept(core, view, reference, |_| Ok(Parts::default())) {
        Ok((_, run)) => is_archived(&run),
        Err(_) => error,
    })
}

/// A run that a request means, archived or not, and a state that has it: the view, with these parts of a run that is
/// archived in it.
pub(crate) fn resolve_kept(
    core: &Core,
    view: &State,
    reference: Option<&v1::RunRef>,
    parts: impl FnOnce(&Run) -> Result<Parts, ApiError>,
) -> Result<(State, Arc<Run>), ApiError> {
    let wanted = Wanted::of(view, reference)?;
    let archive = core.replica.archive(view);
    let kept = match wanted {
        Wanted::Prefix { first, last, .. } => archive.ids_between(first, last, 2).map_err(read_error)?,
        Wanted::Id(_) => Vec::new(),
    };
    let id = wanted.id(view, &kept)?;
    tracing::Span::current().record("run", tracing::field::display(id));
    if let Some(run) = view.run(id) {
        return Ok((view.clone(), run.clone()));
    }
    let archived = archive.run(id).map_err(read_error)?.ok_or_else(|| wanted.absent())?;
    let parts = parts(&archived.run)?;
    let shown = archive.shown(view, &archived, &parts).map_err(read_error)?;
    Ok((shown, archived.run))
}

/// The run that a request means, and its namespace, for a request that changes the run: what becomes of
/// that, `apply` decides. A whole id means the same run for ever, in a namespace that never changes, so a
/// view that is out of date will do as long as it has the run; whatever else may name a run, or a view
/// without it, costs a round of the quorum.
pub(crate) async fn resolve_fixed(core: &Core, reference: Option<&v1::RunRef>) -> Result<(RunId, Namespace), ApiError> {
    use v1::run_ref::Ref;
    if let Some(Ref::RunId(text)) = reference.and_then(|reference| reference.r#ref.as_ref())
        && text.len() == RUN_ID_CHARS
        && let Some(run) = core.replica.view().run(name("run.run_id", text)?)
    {
        tracing::Span::current().record("run", tracing::field::display(run.id));
        return Ok((run.id, run.spec.namespace.clone()));
    }
    let view = core.read().await?;
    // Also of one that is archived: the request may have been carried out before, and is answered as it was then.
    let (_, run) = resolve_kept(core, &view, reference, |_| Ok(Parts::default()))?;
    Ok((run.id, run.spec.namespace.clone()))
}

/// A run that `apply` does not know: one that is archived, or that was never there.
pub(crate) fn unknown(core: &Core, run: RunId) -> ApiError {
    match core.replica.archive(&core.replica.view()).run(run) {
        Ok(Some(archived)) => is_archived(&archived.run),
        Ok(None) => absent("run", &run.to_string()),
        Err(error) => read_error(error),
    }
}

/// True of what [`unknown`] says of a run that is archived.
pub(crate) fn says_archived(error: &ApiError) -> bool {
    matches!(error, ApiError::Precondition { what, .. } if what == RUN_ARCHIVED)
}

/// What a request says of the run that it means.
#[derive(Debug)]
enum Wanted {
    Id(RunId),
    Prefix { first: RunId, last: RunId, text: String },
}

impl Wanted {
    fn of(view: &State, reference: Option<&v1::RunRef>) -> Result<Self, ApiError> {
        use v1::run_ref::Ref;
        match reference.and_then(|reference| reference.r#ref.as_ref()) {
            Some(Ref::RunId(text)) if text.len() == RUN_ID_CHARS => Ok(Self::Id(name("run.run_id", text)?)),
            Some(Ref::RunId(prefix)) => Self::prefix(prefix),
            Some(Ref::Job(job)) => {
                let namespace: Namespace = name("run.job.namespace", &job.namespace)?;
                let job: JobName = name("run.job.name", &job.name)?;
                let known = view.job(&namespace, &job);
                Ok(Self::Id(known.ok_or_else(|| absent("job", &format!("{namespace}/{job}")))?.latest_run))
            }
            None => Err(violation("run", "is missing: name a run id, or a job")),
        }
    }

    fn prefix(prefix: &str) -> Result<Self, ApiError> {
        let chars = prefix.len();
        if !(PREFIX_CHARS_MIN..RUN_ID_CHARS).contains(&chars) {
            let why = format!(
                "{prefix:?} has {chars} characters: a run id has {RUN_ID_CHARS}, a prefix of one at least {PREFIX_CHARS_MIN}"
            );
            return Err(violation("run.run_id", why));
        }
        // The first id with that prefix is the prefix filled up with zeros.
        let first: RunId = name("run.run_id", &format!("{prefix:0<RUN_ID_CHARS$}"))?;
        let span = (1_u64 << ((RUN_ID_CHARS - chars) * BITS_PER_CHAR)) - 1;
        Ok(Self::Prefix { first, last: RunId(first.0 | span), text: prefix.to_owned() })
    }

    /// The only id that is meant, of those in the view and of `kept` ones.
    fn id(&self, view: &State, kept: &[RunId]) -> Result<RunId, ApiError> {
        let (first, last, prefix) = match self {
            Self::Id(id) => return Ok(*id),
            Self::Prefix { first, last, text } => (*first, *last, text),
        };
        let live = view.runs_between(first, last).take(2).map(|run| run.id);
        let ids: BTreeSet<RunId> = live.chain(kept.iter().copied()).collect();
        let mut ids = ids.into_iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(absent("run", prefix)),
            (Some(one), Some(other)) => Err(violation(
                "run.run_id",
                format!("{prefix} is ambiguous, it could be {one} or {other}: give more characters"),
            )),
        }
    }

    fn absent(&self) -> ApiError {
        match self {
            Self::Id(id) => absent("run", &id.to_string()),
            Self::Prefix { text, .. } => absent("run", text),
        }
    }
}

fn is_archived(run: &Run) -> ApiError {
    ApiError::Precondition {
        what: RUN_ARCHIVED.into(),
        subject: format!("run {}", run.id),
        why: format!(
            "run {} has ended and is archived: it can be read, and not changed any more; submit job {} again",
            run.id, run.spec.name
        ),
    }
}

/// All of the attempts of a task, and its row.
pub(crate) fn parts_of(task: TaskId) -> Parts {
    let after = TaskId { index: task.index.saturating_add(1), ..task };
    let attempt = |task| AttemptId { task, number: 0 };
    Parts { tasks: Some((task..after, 1)), attempts: Some((attempt(task)..attempt(after), ATTEMPTS_READ_MAX)) }
}

/// The position of a step in its run's spec.
pub(crate) fn step(run: &Run, task: &str) -> Result<u32, ApiError> {
    let wanted: TaskName = name("task", task)?;
    tracing::Span::current().record("task", task);
    let found = run.spec.tasks.iter().zip(0..).find(|(spec, _)| spec.name == wanted);
    found.map(|(_, step)| step).ok_or_else(|| absent("task", &format!("{task} of run {}", run.id)))
}

/// One task of a run.
pub(crate) fn task(view: &State, run: &Run, task: &str, index: u32) -> Result<TaskId, ApiError> {
    let id = TaskId { run: run.id, step: step(run, task)?, index };
    // What undoes something has a task once there is something to undo.
    let undone = run.graph.undoes(id.step).filter(|undone| index < view.elements(run.id, *undone));
    match view.element(id) {
        Some(_) => Ok(id),
        None if undone.is_some() => Ok(id),
        None => Err(absent("task", &format!("{task}[{index}] of run {}", run.id))),
    }
}

/// There is no such thing.
pub(crate) fn absent(kind: &str, name: &str) -> ApiError {
    ApiError::NotFound { kind: kind.into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn by_id(text: &str) -> v1::RunRef {
        v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(text.into())) }
    }

    #[test]
    fn a_prefix_names_a_run_as_long_as_only_one_has_it() {
        let mut world = World::new();
        let one = world.submit(&["a"]);
        assert_eq!(resolve(&world.state, Some(&by_id("0000"))).unwrap().id, one);
        world.submit(&["a"]);
        let error = resolve(&world.state, Some(&by_id("0000"))).unwrap_err();
        assert!(error.to_string().contains("ambiguous"), "{error}");
        assert_eq!(resolve(&world.state, Some(&by_id(&one.to_string()))).unwrap().id, one);
    }

    #[test]
    fn what_names_no_run_is_refused() {
        let mut world = World::new();
        world.submit(&["a"]);
        for (text, is_absent) in
            [("abcd", true), ("7zzzzzzzzzzzz", true), ("000", false), ("0u00", false), ("ä000", false)]
        {
            let error = resolve(&world.state, Some(&by_id(text))).unwrap_err();
            assert_eq!(matches!(error, ApiError::NotFound { .. }), is_absent, "{text}: {error}");
        }
        assert!(resolve(&world.state, None).is_err());
    }

    #[test]
    fn steps_and_elements_are_found_by_name_and_index() {
        let mut world = World::new();
        let id = world.submit(&["a", "b"]);
        let run = world.state.run(id).unwrap();
        assert_eq!(task(&world.state, run, "b", 0).unwrap(), TaskId { run: id, step: 1, index: 0 });
        assert!(task(&world.state, run, "b", 1).is_err());
        assert!(task(&world.state, run, "c", 0).is_err());
    }
}

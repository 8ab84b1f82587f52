//! What an element of a step runs: its command, with what its references come to in their places.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{Run, RunId, State, TaskId, TaskSpec};
use quorate_values::{Each, Flaw, Reference, Template};

use crate::elements::elements;
use crate::facts::{Facts, undone};

/// What an attempt runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
}

/// Renders commands of one state, and keeps what it has read of the step that was asked for last: its elements come together.
#[derive(Debug, Default)]
pub struct Commands {
    last: Option<((RunId, u32), Arc<Prepared>)>,
}

impl Commands {
    /// The command of a task of `run`; none of one without references, which is as the spec says.
    ///
    /// # Errors
    /// A reference comes to nothing, what it names is not there any more (a task that was begun in an earlier life of the
    /// cluster's data), or the command is larger than a command may be.
    pub fn render(&mut self, state: &State, run: &Run, task: TaskId) -> Option<Result<Command, Flaw>> {
        let spec = run.spec.tasks.get(task.step as usize).filter(|spec| spec.templated)?;
        Some(self.prepared(state, run, task, spec).and_then(|prepared| prepared.command(state, run, task)))
    }

    fn prepared(&mut self, state: &State, run: &Run, task: TaskId, spec: &TaskSpec) -> Result<Arc<Prepared>, Flaw> {
        let key = (run.id, task.step);
        if let Some((_, known)) = self.last.as_ref().filter(|(last, _)| *last == key) {
            return Ok(known.clone());
        }
        let prepared = Arc::new(Prepared::of(state, run, task.step, spec)?);
        self.last = Some((key, prepared.clone()));
        Ok(prepared)
    }
}

/// The expressions of a step, read, with what they name.
#[derive(Debug)]
struct Prepared {
    argv: Vec<Template>,
    env: Vec<(String, Template)>,
    each: Option<Each>,
    facts: Facts,
    several: bool,
}

impl Prepared {
    fn of(state: &State, run: &Run, step: u32, spec: &TaskSpec) -> Result<Self, Flaw> {
        let argv = spec.argv.iter().map(|text| Template::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let env = spec.env.iter().map(|(name, text)| Ok((name.clone(), Template::parse(text)?)));
        let env = env.collect::<Result<Vec<_>, Flaw>>()?;
        // What undoes a task is for the same elements.
        let undoes = run.graph.undoes(step);
        let elements_of = undoes.and_then(|undone| run.spec.tasks.get(undone as usize)).unwrap_or(spec);
        let each = elements(elements_of)?;
        let several = elements_of.count > 1 || each.is_some();
        let needs = run.graph.needs(undoes.unwrap_or(step));
        if let Some(open) = needs.iter().find(|need| !state.is_done(run, **need)) {
            let name = run.spec.tasks.get(*open as usize).map_or("a task", |task| task.name.as_str());
            return Err(Flaw::new(format!(
                "what {name} left behind is not there: the data of the cluster was restored"
            )));
        }
        let texts = argv.iter().chain(env.iter().map(|(_, text)| text)).flat_map(Template::references);
        let references: Vec<&Reference> = texts.chain(each.as_ref().and_then(Each::reference)).collect();
        let facts = Facts::of(state, run, step, references)?;
        Ok(Self { argv, env, each, facts, several })
    }

    fn command(&self, state: &State, run: &Run, task: TaskId) -> Result<Command, Flaw> {
        let index = self.several.then_some(task.index);
        let each = self.each.as_ref().map(|each| each.element(&self.facts.at(None, None), task.index)).transpose()?;
        let scope = self.facts.at(each, index).undoing(undone(state, run, task.step, task.index));
        let most = state.settings().map_or(0, |settings| settings.argv_bytes_max as usize);
        let mut left = most;
        // What is over the limit is not built first.
        let mut render = |text: &Template, more: usize| -> Result<String, Flaw> {
            let rendered = text.render_within(&scope, left)?;
            left = left.saturating_sub(rendered.len() + more);
            Ok(rendered)
        };
        let argv = self.argv.iter().map(|text| render(text, 1)).collect::<Result<Vec<_>, _>>()?;
        let env = self.env.iter().map(|(name, text)| Ok((name.clone(), render(text, name.len() + 2)?)));
        let command = Command { argv, env: env.collect::<Result<_, Flaw>>()? };
        command.check(most)?;
        Ok(command)
    }
}

impl Command {
    /// As a spec is checked that says it without references.
    fn check(&self, bytes_max: usize) -> Result<(), Flaw> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(Flaw::new("the name of the program comes to nothing"));
        }
        if self.argv.iter().chain(self.env.values()).any(|text| text.contains('\0')) {
            return Err(Flaw::new("a reference comes to a text with a NUL byte, which no program can be given"));
        }
        let argv: usize = self.argv.iter().map(|argument| argument.len() + 1).sum();
        let env: usize = self.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let bytes = argv + env;
        if bytes > bytes_max {
            return Err(Flaw::new(format!(
                "run and env come to {bytes} bytes, over argv_bytes_max ({bytes_max}): pass large input in a file"
            )));
        }
        Ok(())
    }
}

//! What must be right of the expressions of a job before it is accepted.

use std::collections::BTreeMap;

use quorate_state::{JobSpec, TaskSpec, Violation};
use quorate_values::{Condition, Each, Reference, Root, Template};

use crate::args::default_of;
use crate::elements::elements;
use crate::filling::{Filling, references};
use crate::names::{Names, Place};

/// No answer lists more.
pub const FLAWS_MAX: usize = 100;

/// Checks that all expressions of a job mean something where they stand: references and conditions can be read, and name
/// parameters that there are and results of tasks that are needed; parameters have types, and defaults of those.
///
/// What else makes a spec valid is for [`JobSpec::check`] to say.
///
/// # Errors
/// All violations, in file order, up to [`FLAWS_MAX`].
pub fn check(spec: &JobSpec) -> Result<(), Vec<Violation>> {
    let mut found = Found { names: Names::of(spec), violations: Vec::new() };
    for (name, param) in &spec.params {
        let field = format!("params.{name}");
        match param.kind.parse() {
            Ok(kind) => {
                if let Err(flaw) = default_of(name, kind, param) {
                    found.add(&format!("{field}.default"), flaw);
                }
            }
            Err(flaw) => found.add(&format!("{field}.type"), flaw),
        }
    }
    for (name, json) in &spec.result {
        found.check_result(&format!("result.{name}"), name, json);
    }
    for task in &spec.tasks {
        found.check_task(task);
        if found.violations.len() >= FLAWS_MAX {
            break;
        }
    }
    if found.violations.is_empty() { Ok(()) } else { Err(found.violations) }
}

/// Whether an expression of a job names payloads. What cannot be read names nothing.
pub fn names_payloads(spec: &JobSpec) -> bool {
    let is_named = |reference: &Reference| matches!(reference.root, Root::Payload(_));
    let in_values = |values: &BTreeMap<String, String>| {
        Filling::read(values).is_ok_and(|filling| filling.references().into_iter().any(is_named))
    };
    let in_text = |text: &String| Template::parse(text).is_ok_and(|text| text.references().any(is_named));
    let in_condition = |text: &String| Condition::parse(text).is_ok_and(|text| text.references().any(is_named));
    in_values(&spec.result)
        || spec.tasks.iter().any(|task| {
            let each = elements(task).ok().flatten();
            task.sub_run.as_ref().is_some_and(|sub_run| in_values(&sub_run.args))
                || task.templated && task.argv.iter().chain(task.env.values()).any(in_text)
                || task.when.as_ref().is_some_and(in_condition)
                || each.as_ref().and_then(Each::reference).is_some_and(is_named)
        })
}

struct Found<'s> {
    names: Names<'s>,
    violations: Vec<Violation>,
}

impl Found<'_> {
    fn add(&mut self, field: &str, flaw: impl ToString) {
        if self.violations.len() < FLAWS_MAX {
            self.violations.push(Violation { field: field.into(), message: flaw.to_string() });
        }
    }

    fn check_task(&mut self, task: &TaskSpec) {
        let at = |key: &str| format!("task.{}.{key}", task.name);
        if task.templated {
            for (position, text) in task.argv.iter().enumerate() {
                self.check_text(task, &at(&format!("run[{position}]")), text);
            }
            for (name, text) in &task.env {
                self.check_text(task, &at(&format!("env.{name}")), text);
            }
        }
        for (name, json) in task.sub_run.iter().flat_map(|sub_run| &sub_run.args) {
            match references(name, json) {
                Ok(named) => self.check_references(task, Place::Command, &at(&format!("args.{name}")), &named),
                Err(flaw) => self.add(&at(&format!("args.{name}")), flaw),
            }
        }
        if let Some(when) = &task.when {
            match Condition::parse(when) {
                Ok(condition) => {
                    self.check_references(task, Place::Decision, &at("when"), condition.references());
                }
                Err(flaw) => self.add(&at("when"), flaw),
            }
        }
        match elements(task) {
            Ok(Some(each)) => self.check_references(task, Place::Decision, &at("each"), each.reference()),
            Ok(None) => {}
            Err(flaw) => self.add(&at("each"), flaw),
        }
    }

    /// What comes out of a run may name what its work left behind.
    fn check_result(&mut self, field: &str, name: &str, json: &str) {
        match references(name, json) {
            Ok(named) => {
                for reference in &named {
                    if let Some(flaw) = self.names.flaw_at_end(reference) {
                        self.add(field, format!("`{}`: {flaw}", reference.short()));
                    }
                }
            }
            Err(flaw) => self.add(field, flaw),
        }
    }

    fn check_text(&mut self, task: &TaskSpec, field: &str, text: &str) {
        match Template::parse(text) {
            Ok(template) => self.check_references(task, Place::Command, field, template.references()),
            Err(flaw) => self.add(field, flaw),
        }
    }

    fn check_references<'r>(
        &mut self,
        task: &TaskSpec,
        place: Place,
        field: &str,
        references: impl IntoIterator<Item = &'r Reference>,
    ) {
        for reference in references {
            if self.violations.len() >= FLAWS_MAX {
                return;
            }
            if let Some(flaw) = self.names.flaw(task, place, reference) {
                self.add(field, format!("`{}`: {flaw}", reference.short()));
            }
        }
    }
}

#[cfg(test)]
mod tests;

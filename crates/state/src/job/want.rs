//! What a task takes where it may be one of several things: its alternatives, the best first.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::TaskSpec;
use crate::{GpuModel, Resources};

/// Alternatives of one task, the first among them.
pub const ALTERNATIVES_MAX: usize = 4;

/// Which of the alternatives of a task an attempt of it takes, from the first on, which is the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice(u8);

impl Choice {
    /// The best one; of a task that leaves nothing to choose, what it takes.
    pub const FIRST: Self = Self(0);

    /// By its number from 0, if a task can have so many.
    pub fn of(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| usize::from(*number) < ALTERNATIVES_MAX).map(Self)
    }

    /// Its number, from 0.
    pub fn number(self) -> u32 {
        self.0.into()
    }
}

/// What one element of a task may take in the place of what it would rather have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// So much of its node.
    pub resources: Resources,
    /// Models of which its GPUs may be; none: of any.
    pub gpu_models: Vec<GpuModel>,
}

impl Alternative {
    fn parts(&self) -> (u64, u64, u64, &[GpuModel]) {
        let Resources { cpu_milli, memory_bytes, gpu_milli } = self.resources;
        (cpu_milli, memory_bytes, gpu_milli, &self.gpu_models)
    }

    /// True if what does for `other` does for this as well, so that `other` is never taken behind it.
    pub(super) fn does_with(&self, other: &Self) -> bool {
        let allows = |model: &GpuModel| self.gpu_models.is_empty() || self.gpu_models.contains(model);
        let is_any = other.gpu_models.is_empty() && !self.gpu_models.is_empty();
        let models = self.resources.gpu_milli == 0 || (!is_any && other.gpu_models.iter().all(allows));
        // A share is left where whole devices are, and fewer whole ones where more are.
        self.resources.fits(other.resources) && models
    }
}

impl Ord for Alternative {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Alternative {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TaskSpec {
    /// True of one that may take one of several things.
    pub fn has_choice(&self) -> bool {
        !self.alternatives.is_empty()
    }

    /// All that it may take, the best first.
    pub fn choices(&self) -> impl Iterator<Item = Choice> + use<> {
        (0..=self.alternatives.len()).filter_map(|number| Choice::of(u32::try_from(number).ok()?))
    }

    /// The same task, of which nothing is left to choose: this is what feasibility, devices and the planner's search are asked of.
    /// None if it has no such alternative.
    pub fn chosen(&self, choice: Choice) -> Option<Cow<'_, Self>> {
        if choice == Choice::FIRST && !self.has_choice() {
            return Some(Cow::Borrowed(self));
        }
        let Alternative { resources, gpu_models } = self.alternative(choice)?;
        Some(Cow::Owned(Self { resources, gpu_models, alternatives: Vec::new(), ..self.clone() }))
    }

    /// What one element takes by a choice; nothing if it has no such alternative.
    pub fn resources_of(&self, choice: Choice) -> Resources {
        match choice.0.checked_sub(1) {
            None => self.resources,
            Some(other) => self.alternatives.get(usize::from(other)).map_or(Resources::ZERO, |other| other.resources),
        }
    }

    /// Of a choice that it has.
    pub fn alternative(&self, choice: Choice) -> Option<Alternative> {
        match choice.0.checked_sub(1) {
            None => Some(Alternative { resources: self.resources, gpu_models: self.gpu_models.clone() }),
            Some(other) => self.alternatives.get(usize::from(other)).cloned(),
        }
    }

    /// What is taken when it is placed by a choice: by one element, or by all of them if they are a gang.
    pub fn taken_at_once(&self, choice: Choice) -> Resources {
        let elements = if self.gang.is_some() { u64::from(self.count) } else { 1 };
        let Resources { cpu_milli, memory_bytes, gpu_milli } = self.resources_of(choice);
        Resources {
            cpu_milli: cpu_milli.saturating_mul(elements),
            memory_bytes: memory_bytes.saturating_mul(elements),
            gpu_milli: gpu_milli.saturating_mul(elements),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alternative(cpu_milli: u64, gpu_milli: u64, models: &[&str]) -> Alternative {
        let gpu_models = models.iter().map(|model| model.parse().expect("a model")).collect();
        Alternative { resources: Resources { cpu_milli, memory_bytes: 1 << 20, gpu_milli }, gpu_models }
    }

    #[test]
    fn what_does_for_more_does_for_less_of_the_models_that_are_allowed() {
        let of = alternative;
        assert!(of(1, 0, &[]).does_with(&of(2, 0, &[])) && of(1, 0, &[]).does_with(&of(1, 500, &["T4"])));
        assert!(of(1, 500, &[]).does_with(&of(1, 1_000, &["T4"])) && of(1, 1_000, &[]).does_with(&of(1, 2_000, &[])));
        assert!(of(1, 500, &["A", "B"]).does_with(&of(1, 500, &["B"])));
        assert!(!of(2, 1_000, &[]).does_with(&of(16, 0, &[])), "it takes a GPU");
        assert!(!of(2, 0, &[]).does_with(&of(1, 1_000, &[])), "it takes more cores");
        assert!(!of(1, 500, &["A"]).does_with(&of(1, 500, &[])), "which may be of another model");
        assert!(!of(1, 500, &["A"]).does_with(&of(1, 500, &["A", "B"])));
    }

    #[test]
    fn choices_are_numbered_from_the_best_on() {
        let numbers: Vec<u32> = (0..9).filter_map(Choice::of).map(Choice::number).collect();
        assert_eq!(numbers, (0..ALTERNATIVES_MAX as u32).collect::<Vec<_>>());
        assert_eq!(Choice::of(0), Some(Choice::FIRST));
    }
}

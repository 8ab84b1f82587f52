//! The journal's records summed up: what is known after reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{AttemptId, Choice, ClusterId, Driver, GpuHold, Revision, Token, Uuid};

use super::row::{Fact, Over};
use crate::reconcile::Seen;

/// What the journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The journal's own identity.
    pub journal: Uuid,
    /// The cluster that this agent serves.
    pub cluster: Option<ClusterId>,
    /// The newest word seen.
    pub seen: Seen,
    /// The boot during which the facts that follow happen.
    pub boot_id: Arc<str>,
    /// Every attempt started and not forgotten.
    pub attempts: BTreeMap<AttemptId, Attempt>,
}

/// An attempt that was started, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its fencing token.
    pub token: Token,
    /// What runs it.
    pub driver: Driver,
    /// The GPUs that are its own.
    pub gpus: GpuHold,
    /// Which of the alternatives of its task it takes.
    pub choice: Choice,
    /// The boot during which it was started.
    pub boot_id: Arc<str>,
    /// Its process and when that began, in the kernel's ticks since boot; absent when the agent
    /// died before it wrote that down.
    pub process: Option<(u32, u64)>,
    /// How it ended, once all its processes were gone.
    pub over: Option<Over>,
}

impl Image {
    /// Adds a fact.
    pub fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Begun { journal } => self.journal = journal,
            Fact::Booted { boot_id } => self.boot_id = boot_id,
            Fact::Joined { cluster } => self.cluster = Some(cluster),
            Fact::Saw(seen) => self.seen = self.seen.max(seen),
            Fact::Started { attempt, token, driver, gpus, choice } => {
                let boot_id = self.boot_id.clone();
                let known = Attempt { token, driver, gpus, choice, boot_id, process: None, over: None };
                self.attempts.insert(attempt, known);
            }
            Fact::Spawned { attempt, pid, ticks } => {
                if let Some(known) = self.attempts.get_mut(&attempt) {
                    known.process = Some((pid, ticks));
                }
            }
            Fact::Gone { attempt, over } => {
                if let Some(known) = self.attempts.get_mut(&attempt) {
                    known.over = Some(over);
                }
            }
            Fact::Forgotten { attempt } => {
                self.attempts.remove(&attempt);
            }
        }
    }

    /// The facts that give this image again, and nothing else: the compacted journal.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Begun { journal: self.journal }, Fact::Saw(self.seen)];
        facts.extend(self.cluster.map(|cluster| Fact::Joined { cluster }));
        let mut boot_id: Arc<str> = "".into();
        for (id, one) in &self.attempts {
            let attempt = *id;
            if one.boot_id != boot_id {
                boot_id = one.boot_id.clone();
                facts.push(Fact::Booted { boot_id: boot_id.clone() });
            }
            let Attempt { token, driver, gpus, choice, .. } = *one;
            facts.push(Fact::Started { attempt, token, driver, gpus, choice });
            facts.extend(one.process.map(|(pid, ticks)| Fact::Spawned { attempt, pid, ticks }));
            facts.extend(one.over.clone().map(|over| Fact::Gone { attempt, over }));
        }
        facts.push(Fact::Booted { boot_id: self.boot_id.clone() });
        facts
    }

    /// The newest word seen, as the revision in its life.
    pub fn revision(&self) -> Revision {
        self.seen.revision
    }
}

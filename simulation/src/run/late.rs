//! Between the planned end of the faults and the heal: what a valid run still lacks is brought about, so
//! that a run that shows nothing is not a matter of luck. Most runs lack nothing and heal at once.

use std::time::Duration;

use super::{Violation, World};
use crate::scenario::{Chore, Class, FaultPlan, FaultWhat, Kind, Target};

/// The heal is put off by no more than this.
const PUT_OFF_MAX: Duration = Duration::from_secs(55);
/// Who is still away then, to miss a snapshot, comes back after this, for another try.
pub(super) const ABSENT_LATE_MAX: Duration = Duration::from_secs(20);
/// Between two looks at what is lacking.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A fault that strikes late lasts no longer, and shows within so much more what it does.
const LATE_MS_MAX: u64 = 2_000;
const SHOWS_WITHIN: Duration = Duration::from_secs(2);
/// A swarm has so many faults at least.
pub(super) const FAULTS_MIN: u64 = 5;
/// And every run so many tasks.
pub(super) const TASKS_MIN: u64 = 200;

/// What a run must have shown before it may heal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// A class of the scenario has not struck.
    Strike(Class),
    /// Disks were troubled, and no replica has felt it.
    Felt(Class),
    /// Nobody has led after somebody else.
    LeaderChange,
    /// Nobody has needed a snapshot.
    Install,
    /// No change of membership has come to its end.
    Change,
    /// Nothing that an operator asked about nodes has been done.
    Chore,
    /// Too little went wrong.
    Faults(u64),
    /// So few tasks were accepted: clients could not be heard for most of the time.
    Tasks(u64),
}

/// How far the end of the faults has come.
#[derive(Default)]
pub(super) struct Late {
    has_begun: bool,
    next_look: Duration,
    /// What was brought about last has had its time by then.
    next_strike: Duration,
}

impl World {
    /// What the run lacks of what faults must have done to it.
    pub(super) fn lacks(&self) -> Option<Lack> {
        let stats = self.stats();
        let classes = &self.scenario.classes;
        if let Some(class) = classes.iter().find(|class| !stats.faults.contains_key(class)) {
            return Some(Lack::Strike(*class));
        }
        if classes.contains(&Class::Restore) && self.before.is_none() {
            return Some(Lack::Strike(Class::Restore));
        }
        let of_disks = |class: &&Class| matches!(class, Class::DiskError | Class::DiskFull | Class::SlowDisk);
        let is_felt = self.replicas.iter().any(|replica| replica.disk.felt() > 0);
        if let Some(class) = classes.iter().find(of_disks).filter(|_| !is_felt) {
            return Some(Lack::Felt(*class));
        }
        let has_others = self.replicas.len() >= 3;
        let is_swarm = self.scenario.kind == Kind::Swarm;
        if is_swarm && has_others && stats.leader_changes == 0 {
            return Some(Lack::LeaderChange);
        }
        if has_others && classes.contains(&Class::Absence) && stats.snapshots_installed == 0 {
            return Some(Lack::Install);
        }
        if classes.contains(&Class::Membership) && stats.changes == 0 {
            return Some(Lack::Change);
        }
        if classes.contains(&Class::Upkeep) && stats.chores == 0 {
            return Some(Lack::Chore);
        }
        let faults = stats.faults.values().sum();
        let few_faults = (is_swarm && faults < FAULTS_MIN).then_some(Lack::Faults(faults));
        few_faults.or((stats.tasks < TASKS_MIN).then_some(Lack::Tasks(stats.tasks)))
    }

    /// The planned end of the faults has come: ends them, brings about what is lacking, and heals.
    pub(super) fn wind_down(&mut self, now: Duration) -> Result<(), Violation> {
        if !self.late.has_begun {
            self.late.has_begun = true;
            self.end_faults(now)?;
        }
        if now < self.late.next_look {
            return Ok(());
        }
        self.late.next_look = now + LOOK_EVERY;
        // Clients can be heard again, whatever else is lacking.
        if let Some(tasks) = TASKS_MIN.checked_sub(self.stats.tasks).filter(|tasks| *tasks > 0) {
            self.common.reserve.ask(tasks);
        }
        if now >= Duration::from_millis(self.scenario.heal_ms) + PUT_OFF_MAX {
            return self.heal(now);
        }
        match self.lacks() {
            Some(lack) => self.bring_about(now, lack),
            None if self.is_all_up() && self.striking.is_idle() && self.is_roomy(now) => self.heal(now),
            None => Ok(()),
        }
    }

    fn bring_about(&mut self, now: Duration, lack: Lack) -> Result<(), Violation> {
        // One thing at a time: what is on its way may be all that is needed.
        if !self.is_all_up() || now < self.late.next_strike {
            return Ok(());
        }
        let crash = |target| FaultWhat::Crash { target, kept_percent: 0 };
        let (class, what) = match lack {
            Lack::Strike(class) => (class, self.planned(class)),
            Lack::Felt(class) => (class, self.planned(class).filter(|_| !self.is_leader_troubled())),
            Lack::LeaderChange => (Class::Crash, self.leader().map(|_| crash(Target::Leader))),
            Lack::Install => (Class::Absence, self.planned(Class::Absence)),
            // The first that is planned meets no trouble of its own.
            Lack::Change => (Class::Membership, self.planned(Class::Membership)),
            // It is on its way, or asked for again.
            Lack::Chore => (Class::Upkeep, self.planned(Class::Upkeep).filter(|_| self.common.duties.is_clear())),
            Lack::Faults(_) => (Class::Crash, Some(crash(Target::Follower(0)))),
            // They are on their way.
            Lack::Tasks(_) => return Ok(()),
        };
        let Some(what) = what else { return Ok(()) };
        // The leader writes whatever happens.
        let what = match what {
            FaultWhat::SlowDisk { sync_ms, .. } => FaultWhat::SlowDisk { target: Target::Leader, sync_ms },
            FaultWhat::DiskError { on_sync, .. } => FaultWhat::DiskError { target: Target::Leader, after: 0, on_sync },
            FaultWhat::DiskFull { .. } => FaultWhat::DiskFull { target: Target::Leader },
            other => other,
        };
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if self.begin(now, &FaultPlan { at_ms, for_ms: LATE_MS_MAX, class, what })? {
            let shown = matches!(lack, Lack::Strike(_) | Lack::Faults(_));
            self.late.next_strike = if shown { now } else { now + Duration::from_millis(LATE_MS_MAX) + SHOWS_WITHIN };
        }
        Ok(())
    }

    /// What a class was to do first.
    fn planned(&self, class: Class) -> Option<FaultWhat> {
        let of_class = |fault: &&FaultPlan| fault.class == class;
        // A backup is taken long before, and there may be no transfer any more.
        let shows = |fault: &&FaultPlan| match &fault.what {
            FaultWhat::Backup | FaultWhat::BreakTransfer { .. } => false,
            // The others take longer, or are the agents' business.
            FaultWhat::Upkeep { chore, .. } => matches!(chore, Chore::Cordon | Chore::Drain { .. }),
            _ => true,
        };
        self.scenario.faults.iter().filter(of_class).find(shows).map(|fault| fault.what.clone())
    }

    fn is_leader_troubled(&self) -> bool {
        let leader = self.leader();
        leader.is_some() && self.striking.under_way().any(|undo| undo.disk() == leader)
    }
}

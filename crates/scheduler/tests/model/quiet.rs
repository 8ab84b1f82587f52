//! The quiet time after a history: faults stop, the nodes return or are gone for good, every program
//! succeeds, and everything that can end must.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_scheduler::Budget;
use quorate_state::{OnRegionLoss, RegionName, Resources, Run, RunId, Served, TaskSpec};

use crate::history::{CLUSTERS, CopyAct, Of, holds};
use crate::nodes::{labels, offer};
use crate::world::World;

/// Rounds until everything has ended. A round moves every task by at least one state, and the
/// histories have a few dozen tasks in chains of three.
const ROUNDS_MAX: usize = 250;
/// How often agents renew, in milliseconds.
const RENEW_MS: u64 = 3_000;

impl World {
    pub(crate) fn rest(&mut self) {
        self.deliver(usize::MAX, usize::MAX, true);
        for at in 0..self.ground.agents.len() {
            let agent = &mut self.ground.agents[at];
            agent.connected = !agent.shape.dies;
            if agent.shape.dies {
                continue;
            }
            if agent.cpu != agent.shape.cpu {
                agent.restart(false);
                agent.cpu = agent.shape.cpu;
            }
        }
        for at in 0..self.ground.agents.len() {
            for of in [Of::Node, Of::Cluster, Of::Region] {
                self.undrain(at, of);
            }
        }
        // A step with a small budget may have left work that nothing announces.
        self.leader.desks.iter_mut().for_each(|desk| desk.seen = None);
        for _ in 0..ROUNDS_MAX {
            if self.unended().is_empty() {
                return;
            }
            self.quiet_round();
        }
        let left = self.unended();
        let tasks: Vec<_> =
            left.iter().flat_map(|run| self.state.tasks_of(*run)).filter(|task| !task.state.is_terminal()).collect();
        let attempts: Vec<_> =
            left.iter().flat_map(|run| self.state.attempts_of_run(*run)).filter(|attempt| !attempt.gone).collect();
        panic!("these do not end: {tasks:#?} {attempts:#?}");
    }

    fn quiet_round(&mut self) {
        let before = self.state.revision();
        for at in 0..self.ground.agents.len() {
            self.renew(at);
            self.deliver(0, usize::MAX, true);
            self.ground.sync(at, &self.state, self.clock);
        }
        for (at, id) in self.ground.copies() {
            self.ground.act(at, id, CopyAct::Heed);
            self.ground.act(at, id, CopyAct::Proceed);
            self.ground.act(at, id, CopyAct::Exit { code: 0, gone: true });
        }
        for at in 0..self.ground.agents.len() {
            self.tell(at, false, false);
            self.deliver(0, usize::MAX, true);
        }
        let served = self.leader.now(&self.state, self.clock).served;
        for desk in 0..self.leader.desks.len() {
            let it = &self.leader.desks[desk];
            let sight = Some((self.state.revision().0, self.leader.news));
            // As the server does, without its look every second: what is due must have been announced.
            if it.seen != sight || it.wake_at.is_some_and(|at| at <= served) {
                self.lead(desk, Budget::STEPS_DEFAULT, false);
                self.deliver(usize::MAX, 0, false);
            }
        }
        let is_idle = self.state.revision() == before;
        let wake_at = self.leader.desks.iter().filter_map(|desk| desk.wake_at).filter(|at| *at > served).min();
        let pause = wake_at.filter(|at| is_idle && *at != Served::NEVER).map_or(RENEW_MS, |at| at.0 - served.0);
        self.wait(pause);
    }

    /// Runs that have to end and have not: all that were cancelled, and all whose tasks fit somewhere.
    fn unended(&self) -> BTreeSet<RunId> {
        let unfinished = self.state.unfinished_runs().filter_map(|run| self.state.run(run));
        let ends = |run: &&Arc<Run>| {
            let open = self.state.tasks_of(run.id).filter(|task| !task.state.is_terminal());
            let mut homed = open.filter_map(|task| Some((task, task.home.as_ref()?)));
            run.spec.tasks.iter().all(|task| self.fits_somewhere(task, |_| true))
                && homed.all(|(task, home)| self.finds_room(&run.spec.tasks[task.id.step as usize], home))
        };
        let due = unfinished.filter(|run| run.cancelling || ends(run));
        due.map(|run| run.id).collect()
    }

    /// True of a task that ran in `home` and may go where there is room: there if anything of it lives, or where its job says.
    fn finds_room(&self, task: &TaskSpec, home: &RegionName) -> bool {
        let mut living = self.ground.agents.iter().filter(|agent| !agent.shape.dies);
        if living.any(|agent| CLUSTERS[agent.shape.cluster].0 == home.as_str()) {
            return self.fits_somewhere(task, |region| region == home.as_str());
        }
        match &task.on_region_loss {
            None => true,
            Some(OnRegionLoss::Stay) => false,
            Some(OnRegionLoss::MoveAfter { spill, .. }) => {
                self.fits_somewhere(task, |region| spill.is_empty() || spill.iter().any(|name| name.as_str() == region))
            }
        }
    }

    /// True if a node that is not gone for good, in a region that `allows` says, is large enough and takes it.
    fn fits_somewhere(&self, task: &TaskSpec, allows: impl Fn(&str) -> bool) -> bool {
        self.ground.agents.iter().filter(|agent| !agent.shape.dies).any(|agent| {
            let (region, cluster) = CLUSTERS[agent.shape.cluster];
            let place = &task.place;
            let room = Resources { cpu_milli: agent.shape.cpu, memory_bytes: 1 << 30, gpu_milli: 0 };
            allows(region)
                && (place.regions.is_empty() || place.regions.iter().any(|name| name.as_str() == region))
                && (place.clusters.is_empty() || place.clusters.iter().any(|name| name.as_str() == cluster))
                && place.accepts_labels(&labels(agent.shape.cluster))
                && place.accepts_pool(&offer(agent.shape.cluster).pool)
                && place.refuses(&offer(agent.shape.cluster).taints).is_none()
                && holds(task, cluster, &labels(agent.shape.cluster), &offer(agent.shape.cluster))
                // A gang may fit on several together, too.
                && task.choices().any(|choice| task.taken_at_once(choice).fits(room))
        })
    }
}

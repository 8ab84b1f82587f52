//! What a planner keeps between plans, with and without GPUs: it never decides, nor do names, orders and numbers.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use quorate_scheduler::placement::pack::{GpuWant, Mix, Models, Packer, Room, WHOLE, Want};
use quorate_scheduler::placement::{Plan, Planner, SHAPES_KEPT_MAX, plan};
use quorate_scheduler::{Budget, Latencies};
use quorate_state::{
    AttemptPhase, Change, Command, Feature, FeatureRow, GPU_MILLI, Millis, Node, NodeName, NodeStatus, Preemption,
    Registration, Resources, Revision, TaskId, TaskSpec,
};

use crate::world::{World, job, node_name, resources, task};

const SHAPES: [(&str, &str, &[&str]); 51] = [
    ("500m", "512Mi", &[]),
    ("1000m", "2048Mi", &[]),
    ("3000m", "1Gi", &["regions=eu"]),
    ("1000m", "1Gi", &["spread=node"]),
    ("1000m", "1Gi", &["spread=cluster"]),
    ("500m", "1Gi", &["label=disk:ssd"]),
    ("9000m", "1Gi", &[]),
    ("500m", "512Mi", &["gpu=300"]),
    ("1000m", "1Gi", &["gpu=1000"]),
    ("1000m", "1Gi", &["gpu=2000", "model=A"]),
    ("500m", "1Gi", &["gpu=700", "model=B", "model=C", "spread=node"]),
    ("500m", "512Mi", &["gpu=1000", "spread=cluster"]),
    ("500m", "1Gi", &["cheap=20"]),
    ("500m", "1Gi", &["tolerate=spot:yes", "pools=default,other", "prefer=cluster:eu-2:50", "spread=cluster"]),
    ("500m", "512Mi", &["prefer=disk=ssd:30", "prefer=region:us:-40", "cheap=3", "spread=node"]),
    ("1000m", "512Mi", &["gang=anywhere"]),
    ("2000m", "1Gi", &["gang=cluster", "spread=node"]),
    ("500m", "512Mi", &["gang=disk", "label=disk:ssd"]),
    ("500m", "512Mi", &["gang=region", "gpu=600"]),
    ("1000m", "1Gi", &["timeout=60000"]),
    ("3000m", "512Mi", &["timeout=200000", "spread=node"]),
    ("2000m", "1Gi", &["timeout=20000", "spread=cluster"]),
    ("500m", "512Mi", &["gpu=1000", "timeout=90000"]),
    ("1000m", "512Mi", &["home=stay"]),
    ("1000m", "512Mi", &["home=move:0:us,eu", "spread=node"]),
    ("2000m", "512Mi", &["home=move:5000", "timeout=60000"]),
    ("500m", "512Mi", &["home=move:20000:eu", "regions=eu,us"]),
    ("500m", "512Mi", &["home=move:0", "gpu=300", "spread=cluster"]),
    ("500m", "512Mi", &["atmost=node/1"]),
    ("1000m", "512Mi", &["atmost=cluster/2", "group=db", "spread=cluster"]),
    ("500m", "1Gi", &["apart=db/node", "spread=node"]),
    ("500m", "512Mi", &["group=db", "apart=db/label:disk", "balance=cluster/eu-1=2,us-1=1"]),
    ("500m", "512Mi", &["balance=region", "atmost=node/2", "cheap=20"]),
    ("500m", "512Mi", &["gang=anywhere", "atmost=node/1", "group=db"]),
    ("500m", "512Mi", &["near=us:100,ap:300"]),
    ("500m", "512Mi", &["near=ap:1", "spread=cluster", "cheap=1"]),
    ("2000m", "2048Mi", &["or=500m/512Mi"]),
    ("500m", "512Mi", &["gpu=1000", "or=3000m/512Mi", "or=1000m/512Mi"]),
    ("500m", "512Mi", &["gpu=2000", "model=A", "or=500m/512Mi/300", "spread=node"]),
    ("2000m", "1Gi", &["gpu=1000", "or=2000m/512Mi", "spread=cluster", "cheap=20"]),
    ("3000m", "1Gi", &["or=1000m/1Gi", "home=move:0:us,eu"]),
    ("3000m", "1Gi", &["or=1000m/512Mi", "atmost=node/1", "group=db"]),
    ("4000m", "1Gi", &["or=2000m/1Gi", "timeout=60000"]),
    ("500m", "512Mi", &["where=node.labels.disk==\"ssd\"||node.gpus>1"]),
    ("500m", "512Mi", &["where=!(node.region==\"us\")&&node.cpu_milli>4000", "spread=cluster", "cheap=3"]),
    ("1000m", "512Mi", &["where=node.price<100000", "gpu=1000", "timeout=60000"]),
    ("500m", "512Mi", &["where=node.labels.disk==\"ssd\"", "gang=anywhere"]),
    ("2000m", "512Mi", &["gang=anywhere", "timeout=60000"]),
    ("3000m", "1Gi", &["gang=cluster", "timeout=20000", "spread=node"]),
    ("1000m", "512Mi", &["gang=region", "gpu=1000", "timeout=90000"]),
    ("1000m", "1Gi", &["gang=disk", "label=disk:ssd", "timeout=120000"]),
];

const FLAGS: [&str; 14] = [
    "lost",
    "cordoned",
    "draining",
    "silent",
    "unheard",
    "disk=ssd",
    "gpus=A:2",
    "gpus=B:4",
    "gpus=C:1",
    "taint=spot:yes",
    "taint=team:ml",
    "pool=other",
    "price=0.5",
    "price=2",
];

const CLUSTERS: [(&str, &str); 3] = [("eu", "eu-1"), ("eu", "eu-2"), ("us", "us-1")];

/// What happens between two plans. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A job of so many tasks of a shape is submitted, as urgent as that.
    Submit(usize, u32, u8),
    /// What the last plan says is done.
    Commit,
    /// One of the attempts ends, and is gone.
    End(usize),
    /// All that were asked to stop do.
    Stop,
    /// Room is kept for nobody any more.
    Expire,
    /// A node comes: its cluster and its size.
    Join(usize, u64),
    /// One comes back, with another lease and perhaps another size.
    Return(usize, u64),
    /// Something becomes of a node.
    Flag(usize, usize),
    /// A node is heard of again.
    Hear(usize),
    /// A node takes work again.
    Open(usize),
    /// A node is of two models.
    Mixed(usize),
    /// A lost node is forgotten.
    Forget(usize),
    /// A cluster or its region takes nothing new, or does so again.
    Withdraw(usize, bool, bool),
    /// So many seconds pass.
    Pass(u64),
    /// All nodes of a region are lost.
    Lose(usize),
    /// A region turns out to be so many milliseconds from another.
    Measure(usize, u64),
    /// All that happened since the last time did not happen.
    Rewind,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0_usize..64;
    prop_oneof![
        4 => (0..SHAPES.len(), 1_u32..6, prop_oneof![Just(0), Just(50), Just(100)])
            .prop_map(|(shape, count, priority)| Step::Submit(shape, count, priority)),
        6 => Just(Step::Commit),
        4 => node.clone().prop_map(Step::End),
        2 => Just(Step::Stop),
        1 => Just(Step::Expire),
        2 => (0..CLUSTERS.len(), 1_u64..9).prop_map(|(cluster, size)| Step::Join(cluster, size)),
        1 => (node.clone(), 1_u64..9).prop_map(|(node, size)| Step::Return(node, size)),
        3 => (node.clone(), 0..FLAGS.len()).prop_map(|(node, flag)| Step::Flag(node, flag)),
        2 => node.clone().prop_map(Step::Hear),
        1 => node.clone().prop_map(Step::Open),
        1 => node.clone().prop_map(Step::Mixed),
        1 => node.prop_map(Step::Forget),
        2 => (0..CLUSTERS.len(), any::<bool>(), any::<bool>())
            .prop_map(|(cluster, region, out)| Step::Withdraw(cluster, region, out)),
        1 => (1_u64..30).prop_map(Step::Pass),
        1 => (0..CLUSTERS.len()).prop_map(Step::Lose),
        1 => (0..CLUSTERS.len(), 1_u64..300).prop_map(|(cluster, millis)| Step::Measure(cluster, millis)),
        1 => Just(Step::Rewind),
    ]
}

/// What happens where room is short: much is submitted, and those behind are stopped for those before.
fn crowded_step() -> impl Strategy<Value = Step> {
    let submit = (0..SHAPES.len(), 1_u32..6, prop_oneof![3 => Just(0), 1 => Just(50), 2 => Just(100)]);
    prop_oneof![
        4 => submit.prop_map(|(shape, count, priority)| Step::Submit(shape, count, priority)),
        6 => Just(Step::Commit),
        2 => Just(Step::Stop),
        1 => step(),
    ]
}

/// A world with a past that it can go back to.
struct History {
    world: World,
    past: World,
    jobs: usize,
    nodes: usize,
}

impl History {
    fn new() -> Self {
        let mut world = World::empty();
        let of_nodes = [Feature::NodeForget, Feature::NodeCordon, Feature::NodeDrain, Feature::RegionPolicy];
        for feature in of_nodes.into_iter().chain([Feature::Preemption, Feature::GangPreemption]) {
            world.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
        }
        let preemption = Preemption { by_priority: true, gap: 20, spare_ms: 0, times_max: 3, ..Preemption::OFF };
        world.apply(Command::SetPreemption { preemption });
        let mut history = Self { past: world.clone(), world, jobs: 0, nodes: 0 };
        (0..4).for_each(|node| history.join(node % CLUSTERS.len(), 4 + node as u64));
        history.past = history.world.clone();
        history
    }

    fn join(&mut self, cluster: usize, size: u64) {
        let (region, cluster) = CLUSTERS[cluster];
        // Names do not come in the order in which nodes do.
        let name = format!("n{}", self.nodes * 7 % 10 * 10 + self.nodes);
        self.nodes += 1;
        self.world.node(&name, region, cluster, resources(&format!("{}m", size * 1_000), &format!("{size}Gi")));
    }

    fn name(&self, at: usize) -> Option<String> {
        let names: Vec<String> = self.world.state.nodes().map(|node| node.name.to_string()).collect();
        names.get(at.checked_rem(names.len())?).cloned()
    }

    fn happen(&mut self, step: &Step, last: &Plan) {
        match *step {
            Step::Submit(shape, count, priority) => self.submit(shape, count, priority),
            // A plan that was made of another past fits no more.
            Step::Commit if *last == self.world.plan() => {
                self.world.commit(last);
                // From now on the limits of these count.
                for placed in last.all_placements() {
                    let attempt = self.world.state.task(placed.task).and_then(|task| task.newest_attempt());
                    self.world.report(attempt.unwrap(), AttemptPhase::Running, None);
                }
                // What was placed beside them takes nothing of what they are to have.
                let Plan { preemptions, gang_preemptions, expired, .. } = last.clone();
                let rest = Plan { preemptions, gang_preemptions, expired, ..Plan::default() };
                rest.into_commands().into_iter().for_each(|command| drop(self.world.apply(command)));
            }
            Step::Commit => {}
            Step::Stop => drop(self.world.stop_all()),
            Step::Expire => self.world.pass(100_000),
            Step::End(at) => self.end(at),
            Step::Join(cluster, size) if self.nodes < 12 => self.join(cluster, size),
            Step::Join(..) => {}
            Step::Return(at, size) => self.with(at, |world, name| {
                let node = world.get(name);
                world.apply(Command::RegisterNode(Box::new(Registration {
                    gpus: node.gpus.clone(),
                    node: node.name.clone(),
                    uuid: node.uuid,
                    journal: node.journal,
                    boot_id: node.boot_id.clone(),
                    machine_id: node.machine_id.clone(),
                    region: node.region.clone(),
                    cluster: node.cluster.clone(),
                    capacity: Resources { gpu_milli: node.capacity.gpu_milli, ..sized(size) },
                    labels: node.labels.clone(),
                    offer: node.offer.clone(),
                    attempts: Vec::new(),
                    seen: world.state.revision(),
                })));
            }),
            Step::Flag(at, flag) => self.with(at, |world, name| {
                let is_used = world.state.used_on(&node_name(name)).gpu_milli > 0;
                if world.get(name).status == NodeStatus::Up && !(is_used && FLAGS[flag].starts_with("gpus=")) {
                    world.flag(name, FLAGS[flag]);
                }
            }),
            Step::Hear(at) => self.with(at, |world, name| world.see(name, |_| {})),
            Step::Open(at) => self.with(at, |world, name| {
                world.change(name, |node| (node.cordoned, node.withdrawal) = (false, None));
            }),
            Step::Mixed(at) => self.with(at, |world, name| {
                if world.state.used_on(&node_name(name)).gpu_milli == 0 {
                    world.change(name, |node| {
                        node.gpus = ["A", "B"].map(|model| model.parse().unwrap()).into();
                        node.capacity.gpu_milli = 2 * GPU_MILLI;
                    });
                }
            }),
            Step::Forget(at) => self.with(at, |world, name| {
                let node = world.get(name);
                if node.status != NodeStatus::Up {
                    world.pass(1_000_000);
                    world.apply(Command::ForgetNode { node: node.name.clone() });
                }
            }),
            Step::Withdraw(at, of_region, is_out) => {
                let (region, cluster) = CLUSTERS[at];
                let scope = if of_region { format!("region {region}") } else { format!("cluster {cluster}") };
                match is_out {
                    true => self.world.withdraw(&scope, None),
                    false => self.world.restore(&scope),
                }
            }
            Step::Pass(seconds) => self.world.pass(seconds * 1_000),
            Step::Measure(cluster, millis) => {
                let region = CLUSTERS[cluster].0.parse().expect("a name");
                let measured = [(region, "ap".parse().expect("a name"), millis * 1_000)];
                self.world.observed.latencies = Latencies::new(measured);
            }
            Step::Lose(cluster) => {
                let stands =
                    |node: &&Arc<Node>| node.region.as_str() == CLUSTERS[cluster].0 && node.status == NodeStatus::Up;
                let nodes = self.world.state.nodes().filter(stands);
                let leases = nodes.map(|node| (node.name.clone(), node.epoch)).collect();
                self.world.apply(Command::ExpireLeases { leases });
                self.world.release();
            }
            Step::Rewind => std::mem::swap(&mut self.world, &mut self.past),
        }
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut World, &str)) {
        if let Some(name) = self.name(at) {
            act(&mut self.world, &name);
        }
    }

    fn submit(&mut self, shape: usize, count: u32, priority: u8) {
        let (cpu, memory, options) = SHAPES[shape];
        let mut spec = job(&format!("j{}", self.jobs), &[&format!("priority={priority}")]);
        self.jobs += 1;
        spec.tasks.push(TaskSpec { count, ..task("x", resources(cpu, memory), options) });
        self.world.submit(spec);
        self.world.release();
    }

    fn end(&mut self, at: usize) {
        let nodes: Vec<NodeName> = self.world.state.nodes().map(|node| node.name.clone()).collect();
        let live: Vec<_> = nodes
            .iter()
            .filter(|node| self.world.state.node(node).unwrap().status == NodeStatus::Up)
            .flat_map(|node| self.world.state.attempts_on(node))
            .filter(|attempt| !attempt.state.is_terminal())
            .filter(|attempt| self.world.state.node(&attempt.node).unwrap().epoch == attempt.epoch)
            .map(|attempt| attempt.id)
            .collect();
        if let Some(place) = at.checked_rem(live.len()) {
            self.world.report(live[place], AttemptPhase::Ended, Some(0));
            self.world.release();
        }
    }
}

fn sized(size: u64) -> Resources {
    resources(&format!("{}m", size * 1_000), &format!("{size}Gi"))
}

/// Plans after each step, with one planner and with new ones.
fn plans_as_a_new_one(steps: &[Step], small: u32) -> Result<(), TestCaseError> {
    let mut history = History::new();
    let mut planner = Planner::default();
    let mut last = Plan::default();
    for step in steps {
        history.happen(step, &last);
        let World { state, observed, .. } = &history.world;
        let now = history.world.now();
        for budget in [Budget { steps: small }, Budget::default()] {
            last = planner.plan(state, observed, now, 7, budget);
            prop_assert_eq!(&last, &plan(state, observed, now, 7, budget), "after {:?}", step);
            let placed: BTreeSet<TaskId> = last.all_placements().map(|placement| placement.task).collect();
            prop_assert_eq!(placed.len(), last.placed(), "a task has two places after {:?}", step);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened, and whatever became of its plans, a planner says what one says that knows nothing.
    #[test]
    fn a_planner_that_has_worked_plans_as_one_that_knows_nothing(
        steps in prop::collection::vec(step(), 1..60),
        small in 1_u32..40,
    ) {
        plans_as_a_new_one(&steps, small)?;
    }

    /// The same where room is made for some, and kept for them.
    #[test]
    fn a_planner_that_preempts_plans_as_one_that_knows_nothing(
        steps in prop::collection::vec(crowded_step(), 20..60),
        small in 1_u32..40,
    ) {
        plans_as_a_new_one(&steps, small)?;
    }

    /// More room never keeps a task from fitting somewhere, whatever it takes.
    #[test]
    fn what_ends_makes_nothing_infeasible(
        steps in prop::collection::vec(step(), 1..40),
        ends in 0_usize..64,
        shape in 0..SHAPES.len(),
    ) {
        let mut history = History::new();
        for step in &steps {
            let last = history.world.plan();
            history.happen(step, &last);
        }
        let fits = |world: &World| {
            let mut world = world.clone();
            world.cancel_all_but("none");
            let mut probe = History { past: world.clone(), world, jobs: 1_000, nodes: 0 };
            probe.submit(shape, 1, 0);
            probe.world.plan().placed()
        };
        let before = fits(&history.world);
        history.end(ends);
        prop_assert!(fits(&history.world) >= before);
    }

    /// Nodes with GPUs, by other names or registered in another order, are given the same.
    #[test]
    fn names_and_orders_of_nodes_with_gpus_do_not_matter(
        nodes in prop::collection::vec((0..CLUSTERS.len(), 1_u64..5, 0_usize..4), 1..9),
        jobs in prop::collection::vec((0..SHAPES.len(), 1_u32..6), 1..8),
    ) {
        let build = |name: &dyn Fn(usize) -> String, backwards: bool| {
            let mut world = World::empty();
            let mut order: Vec<usize> = (0..nodes.len()).collect();
            if backwards {
                order.reverse();
            }
            for at in order {
                let (cluster, size, gpus) = nodes[at];
                world.node(&name(at), CLUSTERS[cluster].0, CLUSTERS[cluster].1, sized(size));
                if let Some(flag) = ["gpus=A:2", "gpus=B:4", "gpus=C:1"].get(gpus) {
                    world.flag(&name(at), flag);
                }
            }
            let mut history = History { past: world.clone(), world, jobs: 0, nodes: 0 };
            jobs.iter().for_each(|(shape, count)| history.submit(*shape, *count, 0));
            let plan = history.world.plan();
            let node = |name: &NodeName| {
                let row = history.world.state.node(name).unwrap();
                format!("{} {:?} {:?}", row.cluster, row.capacity, row.gpus)
            };
            let by_content = |placed: &quorate_state::Placement| (placed.task, node(&placed.node), placed.gpus);
            let by_name = |placed: &quorate_state::Placement| (placed.task, placed.node.clone(), placed.gpus);
            let contents: Vec<_> = plan.all_placements().map(by_content).collect();
            let names: Vec<_> = plan.all_placements().map(by_name).collect();
            (contents, names)
        };
        let one = build(&|at| format!("n{at}"), false);
        prop_assert_eq!(&one.1, &build(&|at| format!("n{at}"), true).1);
        prop_assert_eq!(&one.0, &build(&|at| format!("m{}", 9 - at), false).0);
    }
}

/// What is not kept any more is found out again.
#[test]
fn more_shapes_than_are_kept_are_planned_as_by_one_that_keeps_none() {
    let mut world = World::empty();
    world.node("a", "eu", "eu-1", resources("5000m", "1Gi"));
    world.node("b", "eu", "eu-1", resources("9000m", "1Gi"));
    let mut spec = job("j", &[]);
    for at in 0..SHAPES_KEPT_MAX as u64 + 100 {
        let wants = Resources { cpu_milli: 1, memory_bytes: at, gpu_milli: 0 };
        spec.tasks.push(task(&format!("t{at}"), wants, &[]));
    }
    world.submit(spec);
    world.release();
    let mut planner = Planner::default();
    let mut placed = 0;
    for round in 0..6 {
        let plan = planner.plan(&world.state, &world.observed, world.now(), 7, Budget::default());
        assert_eq!(plan, world.plan(), "in round {round}");
        placed += plan.placements.len();
        world.commit(&plan);
    }
    assert_eq!((placed, world.state.ready_count()), (SHAPES_KEPT_MAX + 100, 0));
}

/// The planner fills nodes with GPUs as the packer on its own would, which is measured against other policies.
#[test]
fn plans_pack_as_the_packer_does() {
    let mut world = World::empty();
    let mut rooms = vec![];
    for at in 0..60_u64 {
        let (name, cores, devices) = (format!("n{at:02}"), [16, 32, 64][at as usize % 3], 1 << (at % 4));
        world.node(&name, "eu", "eu-1", resources(&format!("{}m", cores * 1_000), &format!("{}Gi", 4 * cores)));
        world.flag(&name, &format!("gpus=A:{devices}"));
        let room = Room::new(cores * 1_000, cores << 32, 0, &vec![WHOLE; devices as usize]).unwrap();
        rooms.push(room);
    }
    let wants = [(4, 500), (2, 300), (8, 1_000), (6, 700), (12, 2_000), (16, 4_000), (1, 100)];
    let mut spec = job("j", &[]);
    let mut tasks = vec![];
    for at in 0..400_u64 {
        let (cores, gpu) = wants[(quorate_state::mix(at) % 7) as usize];
        let gpu_option = format!("gpu={gpu}");
        spec.tasks.push(task(&format!("t{at:03}"), resources(&format!("{cores}000m"), "1Gi"), &[&gpu_option]));
        let gpu = GpuWant::from_milli(gpu).unwrap();
        tasks.push(Want { cpu_milli: cores * 1_000, memory_bytes: 1 << 30, gpu, models: Models::ANY });
    }
    world.submit(spec);
    world.release();
    let mut packer = Packer::new(&rooms, &Mix::of(tasks.iter().map(|want| (*want, 1))));
    let packed: u64 = tasks.iter().filter_map(|want| packer.place(want)).map(|(_, hold)| hold.total_milli()).sum();
    let plan = world.plan();
    let planned: u64 = plan.placements.iter().map(|placed| placed.gpus.total_milli()).sum();
    let total: u64 = rooms.iter().map(Room::gpu_milli).sum();
    assert!(planned.abs_diff(packed) * 200 <= total && packed * 100 > total * 85, "{planned}, {packed} of {total}");
    world.commit(&plan);
}

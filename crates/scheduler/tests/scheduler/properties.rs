//! What holds of every plan, whatever the nodes and the queue.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_scheduler::explain::{Explanation, Survey, explain, preview, survey};
use quorate_scheduler::placement::{CANDIDATES_MAX, Candidate, Plan, SEARCH_ONE_IN, plan};
use quorate_scheduler::{Budget, Presence};
use quorate_state::{
    ALTERNATIVES_MAX, ClusterName, Node, NodeName, NodeStatus, Preference, Resources, Room, Spread, TaskId, TaskSpec,
    Trait, feasible,
};

use crate::world::{World, job, task};

#[derive(Clone, Debug)]
struct NodeShape {
    cluster: usize,
    capacity: Resources,
    used: Vec<Resources>,
    flag: Option<&'static str>,
    offer: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct TaskShape {
    priority: u8,
    want: Resources,
    count: u32,
    options: Vec<&'static str>,
}

const CLUSTERS: [(&str, &str); 4] = [("eu", "eu-1"), ("eu", "eu-2"), ("us", "us-1"), ("us", "us-2")];

fn amounts(max: u64) -> impl Strategy<Value = Resources> {
    (0..=max, 0..=max).prop_map(|(cpu, memory)| Resources {
        cpu_milli: cpu * 500,
        memory_bytes: memory << 28,
        gpu_milli: 0,
    })
}

fn nodes() -> impl Strategy<Value = Vec<NodeShape>> {
    let flag = prop_oneof![
        8 => Just(None),
        1 => Just(Some("cordoned")),
        1 => Just(Some("lost")),
        1 => Just(Some("silent")),
        1 => Just(Some("unheard")),
    ];
    let offer = prop_oneof![
        6 => Just(vec![]),
        1 => Just(vec!["taint=spot:yes", "price=0.1"]),
        1 => Just(vec!["taint=spot:no"]),
        1 => Just(vec!["pool=other", "disk=ssd"]),
        1 => Just(vec!["price=1.5", "disk=hdd"]),
    ];
    let node = (0..CLUSTERS.len(), amounts(12), prop::collection::vec(amounts(4), 0..3), flag, offer)
        .prop_map(|(cluster, capacity, used, flag, offer)| NodeShape { cluster, capacity, used, flag, offer });
    prop::collection::vec(node, 0..10)
}

fn tasks() -> impl Strategy<Value = Vec<TaskShape>> {
    let place = prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec!["regions=eu"]),
        1 => Just(vec!["regions=us", "clusters=us-1"]),
        1 => Just(vec!["clusters=eu-1,us-2"]),
    ];
    let spread = prop_oneof![Just("spread=pack"), Just("spread=node"), Just("spread=cluster")];
    let wish = prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec!["tolerate=spot:*", "cheap=30"]),
        1 => Just(vec!["tolerate=spot:yes", "pools=default,other", "prefer=pool:other:10"]),
        1 => Just(vec!["prefer=region:us:40", "prefer=disk=ssd:-50", "prefer=disk=*:20"]),
        1 => Just(vec![ON_NO_SLOW_DISK, "tolerate=spot:*"]),
        1 => Just(vec![CHEAP_OR_IN_EU, "cheap=30"]),
    ];
    let task = (0_u8..3, amounts(8), 1_u32..6, place, spread, wish).prop_map(
        |(priority, want, count, mut options, spread, wish)| {
            options.push(spread);
            options.extend(wish);
            TaskShape { priority, want, count, options }
        },
    );
    prop::collection::vec(task, 1..8)
}

/// Conditions, of which [`Oracle::suits`] knows what they say.
const ON_NO_SLOW_DISK: &str = "where=node.labels.disk!=\"hdd\"";
const CHEAP_OR_IN_EU: &str = "where=node.price<50000||node.region==\"eu\"";

/// The same, and of some what else they are content with.
fn choosy_tasks() -> impl Strategy<Value = Vec<TaskShape>> {
    let others = prop::sample::subsequence(vec!["or=4000m/512Mi", "or=2000m/2048Mi", "or=500m/1Gi"], 0..=3);
    (tasks(), prop::collection::vec(others, 8)).prop_map(|(mut tasks, others)| {
        for (task, others) in tasks.iter_mut().zip(others) {
            // One that would never be taken is refused.
            let words: Vec<&str> = task.options.iter().copied().chain(others).collect();
            let spec = crate::spec::task("x", task.want, &words);
            let all: Vec<Resources> = spec.choices().map(|choice| spec.resources_of(choice)).collect();
            let is_taken = |(at, other): (usize, &Resources)| all[..at].iter().all(|before| !before.fits(*other));
            if all.iter().enumerate().all(is_taken) {
                task.options = words;
            }
        }
        tasks
    })
}

/// Nodes that say nothing of themselves but their prices: what else they could say never breaks a tie.
fn priced() -> impl Strategy<Value = Vec<NodeShape>> {
    let only_prices = |mut nodes: Vec<NodeShape>| {
        nodes.iter_mut().for_each(|node| node.offer.retain(|offer| offer.starts_with("price=")));
        nodes
    };
    nodes().prop_map(only_prices)
}

/// Many nodes that value the same though they are not alike: every tie-break is needed.
fn rivals() -> impl Strategy<Value = Vec<NodeShape>> {
    let units =
        |(cpu, memory): (u64, u64)| Resources { cpu_milli: cpu * 1_000, memory_bytes: memory << 28, gpu_milli: 0 };
    let capacity = prop::sample::select(vec![(1, 1), (1, 2), (2, 1), (2, 2), (2, 4), (4, 2)]).prop_map(units);
    let used = prop::sample::select(vec![(0, 0), (1, 0), (0, 1)]).prop_map(units);
    let node = (0..CLUSTERS.len(), capacity, used).prop_map(|(cluster, capacity, used)| NodeShape {
        cluster,
        capacity,
        used: vec![used],
        flag: None,
        offer: vec![],
    });
    prop::collection::vec(node, 2..10)
}

/// Nodes named by `name` and registered in the order of `order`.
fn build(nodes: &[NodeShape], tasks: &[TaskShape], name: impl Fn(usize) -> String, order: &[usize]) -> World {
    let mut world = World::empty();
    for at in order {
        let (region, cluster) = CLUSTERS[nodes[*at].cluster];
        world.node(&name(*at), region, cluster, nodes[*at].capacity);
    }
    for (at, node) in nodes.iter().enumerate() {
        for used in &node.used {
            if used.fits(world.state.free_on(&world.get(&name(at)))) {
                world.occupy(&name(at), *used, &[]);
            }
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        for offer in &node.offer {
            world.flag(&name(at), offer);
        }
        if let Some(flag) = node.flag {
            world.flag(&name(at), flag);
        }
    }
    for (at, shape) in tasks.iter().enumerate() {
        let mut spec = job(&format!("j{at}"), &[&format!("priority={}", shape.priority)]);
        let count = format!("count={}", shape.count);
        let options: Vec<&str> = shape.options.iter().copied().chain([count.as_str()]).collect();
        spec.tasks.push(task("x", shape.want, &options));
        world.submit(spec);
    }
    world.release();
    world
}

fn plain(nodes: &[NodeShape], tasks: &[TaskShape]) -> World {
    build(nodes, tasks, |at| format!("n{at}"), &(0..nodes.len()).collect::<Vec<_>>())
}

fn spec_of(world: &World, task: TaskId) -> TaskSpec {
    world.state.run(task.run).unwrap().spec.tasks[task.step as usize].clone()
}

/// The planner's promise, task by task, with no heap and no shapes.
struct Oracle<'a> {
    world: &'a World,
    used: BTreeMap<NodeName, Resources>,
}

impl<'a> Oracle<'a> {
    fn new(world: &'a World) -> Self {
        let used = world.state.nodes().map(|node| (node.name.clone(), world.state.used_on(&node.name))).collect();
        Self { world, used }
    }

    fn free(&self, node: &Node) -> Resources {
        node.capacity.saturating_sub(self.used[&node.name])
    }

    /// No task here takes a GPU.
    fn room(&self, node: &Node) -> Room<'static> {
        Room { free: self.free(node), ..Room::empty(node) }
    }

    fn candidates(&self, task: &TaskSpec) -> Vec<&'a Node> {
        let nodes = self.world.state.nodes().map(|node| &**node);
        nodes
            .filter(|node| self.world.observed.presence(node) != Presence::Silent)
            .filter(|node| feasible(node, self.room(node), task).is_ok() && Self::suits(node, task))
            .collect()
    }

    /// By the words of the job file alone.
    fn suits(node: &Node, task: &TaskSpec) -> bool {
        let pool = node.offer.pool.as_str();
        let is_tolerated = |(key, value): (&String, &String)| {
            task.place.tolerate.get(key).is_some_and(|said| said == "*" || said == value)
        };
        let holds = match task.place.condition.as_ref().map(|condition| format!("where={condition}")).as_deref() {
            None => true,
            Some(ON_NO_SLOW_DISK) => node.labels.get("disk").is_some_and(|disk| disk != "hdd"),
            Some(CHEAP_OR_IN_EU) => {
                node.offer.price.is_some_and(|price| price.0 < 50_000) || node.region.as_str() == "eu"
            }
            Some(other) => panic!("nobody knows what {other} says"),
        };
        let is_asked_for = task.place.pools.iter().any(|asked| asked.as_str() == pool);
        holds
            && (is_asked_for || (task.place.pools.is_empty() && pool == "default"))
            && node.offer.taints.iter().all(is_tolerated)
    }

    /// What speaks against a node, as far as the prices here go: one is fifteen times the other, which is not quite four doublings.
    fn dislike(node: &Node, task: &TaskSpec) -> i64 {
        let weight = |wish: &Preference| {
            let is_so = match &wish.of {
                Trait::Label { key, value } => node.labels.get(key).is_some_and(|has| value == "*" || has == value),
                Trait::Pool(pool) => node.offer.pool == *pool,
                Trait::Region(region) => node.region == *region,
                Trait::Cluster(cluster) => node.cluster == *cluster,
            };
            if is_so { i64::from(wish.weight) } else { 0 }
        };
        let cheapness = node.offer.price.map_or(0, |price| if price.0 < 50_000 { 1_039 } else { 1_000 });
        -task.place.prefer.iter().map(weight).sum::<i64>() - i64::from(task.place.cheap) * cheapness
    }

    fn share(part: u64, whole: u64) -> u128 {
        if part == 0 { 0 } else { (u128::from(part) << 32) / u128::from(whole) }
    }

    /// The less the better.
    fn value(&self, node: &Node, task: &TaskSpec) -> (Presence, i64, u128) {
        let left = self.free(node).checked_sub(task.resources).unwrap();
        let left = match task.place.spread {
            Spread::Pack => left,
            Spread::Node | Spread::Cluster => node.capacity.checked_sub(left).unwrap(),
        };
        let shares = [
            Self::share(left.cpu_milli, node.capacity.cpu_milli),
            Self::share(left.memory_bytes, node.capacity.memory_bytes),
        ];
        (self.world.observed.presence(node), Self::dislike(node, task), shares[0].max(shares[1]))
    }

    fn cluster_fill(&self, cluster: &ClusterName) -> u128 {
        let open: Vec<_> = self
            .world
            .state
            .nodes()
            .filter(|node| node.cluster == *cluster && node.status == NodeStatus::Up && !node.cordoned)
            .collect();
        let sum = |amount: &dyn Fn(&Node) -> u64| open.iter().map(|node| amount(node)).sum::<u64>();
        let cpu = Self::share(sum(&|node| self.used[&node.name].cpu_milli), sum(&|node| node.capacity.cpu_milli));
        let memory =
            Self::share(sum(&|node| self.used[&node.name].memory_bytes), sum(&|node| node.capacity.memory_bytes));
        cpu.max(memory)
    }

    /// Follows a plan through the queue and fails where it breaks its promise.
    fn follow(mut self, plan: &Plan) -> Result<(), TestCaseError> {
        let mut placements = plan.placements.iter().peekable();
        for key in self.world.state.ready() {
            let spec = spec_of(self.world, key.task);
            let ways = spec.choices().map(|choice| (choice, spec.chosen(choice).unwrap()));
            let ways: Vec<_> = ways.map(|(choice, way)| (choice, self.candidates(&way), way)).collect();
            // The first alternative that fits anywhere, if there is one.
            let way = ways.iter().find(|(_, candidates, _)| !candidates.is_empty()).or(ways.last());
            let (choice, candidates, task) = way.map(|(choice, at, way)| (*choice, at, way.as_ref())).unwrap();
            let Some(placement) = placements.next_if(|placement| placement.task == key.task) else {
                let names: Vec<_> = candidates.iter().map(|node| &node.name).collect();
                prop_assert!(names.is_empty(), "{:?} was passed over though it fits on {names:?}", key.task);
                continue;
            };
            prop_assert_eq!(placement.choice, choice, "{:?} was placed by another alternative", key.task);
            let chosen = candidates.iter().find(|node| node.name == placement.node);
            prop_assert!(chosen.is_some(), "{:?} does not fit on {}", key.task, placement.node);
            let chosen = chosen.unwrap();
            let mut rivals = candidates.clone();
            if task.place.spread == Spread::Cluster {
                // A cluster is as welcome as the node that it would be; one that was not heard of yet may be the best it has.
                let wish = |cluster: &ClusterName| {
                    let own = candidates.iter().filter(|node| node.cluster == *cluster);
                    let best = own.min_by_key(|node| self.value(node, task));
                    best.map(|node| (Self::dislike(node, task), self.cluster_fill(cluster)))
                };
                let best = candidates.iter().map(|node| wish(&node.cluster)).min();
                prop_assert_eq!(Some(wish(&chosen.cluster)), best, "{:?} is not in the best cluster", key.task);
                rivals.retain(|node| node.cluster == chosen.cluster);
            }
            let best = rivals.iter().map(|node| self.value(node, task)).min();
            prop_assert_eq!(Some(self.value(chosen, task)), best, "{:?} is not on the best node", key.task);
            let used = self.used.get_mut(&placement.node).unwrap();
            *used = used.checked_add(task.resources).unwrap();
        }
        prop_assert!(placements.next().is_none(), "placements out of queue order");
        Ok(())
    }
}

/// How many tasks like this one all nodes together have room for.
fn room_for(world: &World, task: &TaskSpec) -> u64 {
    let oracle = Oracle::new(world);
    let copies = |room: u64, want: u64| room.checked_div(want).unwrap_or(u64::MAX);
    let on = |node: &Node| {
        let free = oracle.free(node);
        copies(free.cpu_milli, task.resources.cpu_milli).min(copies(free.memory_bytes, task.resources.memory_bytes))
    };
    oracle.candidates(task).into_iter().map(on).fold(0, u64::saturating_add)
}

/// What a node is, apart from its name and lease.
fn content(world: &World, node: &NodeName) -> String {
    let row = world.state.node(node).unwrap();
    let (used, presence) = (world.state.used_on(node), world.observed.presence(row));
    format!("{} {:?} {used:?} {presence:?} {:?} {:?}", row.cluster, row.capacity, row.offer, row.labels)
}

fn by_content(world: &World, plan: &Plan) -> Vec<(String, String)> {
    plan.placements.iter().map(|placed| (world.name(placed.task), content(world, &placed.node))).collect()
}

fn by_name(world: &World, plan: &Plan) -> Vec<(String, String)> {
    plan.placements.iter().map(|placed| (world.name(placed.task), placed.node.to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_in_turn_gets_the_best_node_for_the_first_of_its_alternatives_that_fits_anywhere(
        nodes in nodes(),
        tasks in choosy_tasks(),
    ) {
        let world = plain(&nodes, &tasks);
        Oracle::new(&world).follow(&world.plan())?;
    }

    #[test]
    fn apply_accepts_every_placement(nodes in nodes(), tasks in choosy_tasks()) {
        let mut world = plain(&nodes, &tasks);
        let plan = world.plan();
        world.commit(&plan);
        prop_assert!(world.plan().placements.is_empty(), "nothing was left that fitted");
    }

    #[test]
    fn the_same_input_gives_the_same_plan(nodes in nodes(), tasks in tasks(), seed: u64) {
        let world = plain(&nodes, &tasks);
        let other = plan(&world.state, &world.observed, world.now(), seed, Budget::default());
        prop_assert_eq!(world.plan(), other);
    }

    #[test]
    fn the_order_of_registration_does_not_matter(nodes in nodes(), tasks in choosy_tasks()) {
        let backwards: Vec<usize> = (0..nodes.len()).rev().collect();
        let (one, other) = (plain(&nodes, &tasks), build(&nodes, &tasks, |at| format!("n{at}"), &backwards));
        prop_assert_eq!(by_name(&one, &one.plan()), by_name(&other, &other.plan()));
    }

    #[test]
    fn renaming_nodes_only_swaps_nodes_that_are_alike(
        nodes in prop_oneof![priced(), rivals()],
        tasks in choosy_tasks(),
    ) {
        let order: Vec<usize> = (0..nodes.len()).collect();
        let (one, other) = (plain(&nodes, &tasks), build(&nodes, &tasks, |at| format!("m{}", 9 - at), &order));
        prop_assert_eq!(by_content(&one, &one.plan()), by_content(&other, &other.plan()));
    }

    #[test]
    fn a_smaller_budget_gives_a_beginning_of_the_plan_and_then_a_piece_from_further_back(
        nodes in nodes(),
        tasks in tasks(),
        steps in 1_u32..60,
        seed: u64,
    ) {
        let mut world = plain(&nodes, &tasks);
        let whole = world.plan();
        let part = plan(&world.state, &world.observed, world.now(), seed, Budget { steps });
        let again = plan(&world.state, &world.observed, world.now(), seed, Budget { steps });
        prop_assert_eq!(&part, &again);
        prop_assert!(part.report.truncated || part == whole);
        // Too small for a search.
        prop_assert!(steps >= SEARCH_ONE_IN || whole.placements.starts_with(&part.placements));
        let order: Vec<TaskId> = world.state.ready().map(|key| key.task).collect();
        let places: Vec<_> =
            part.placements.iter().map(|placed| order.iter().position(|task| *task == placed.task)).collect();
        prop_assert!(places.is_sorted_by(|one, next| one < next), "out of queue order, or twice: {places:?}");
        world.commit(&part);
    }

    #[test]
    fn any_budget_places_all_that_fits_if_it_is_given_often_enough(
        nodes in nodes(),
        tasks in choosy_tasks(),
        // A search has room for a look at each alternative.
        steps in SEARCH_ONE_IN * ALTERNATIVES_MAX as u32..60,
    ) {
        let mut world = plain(&nodes, &tasks);
        // What is in the way of a task is at most every other one, and each seed looks at one at least.
        for seed in 0..1_000 {
            let part = plan(&world.state, &world.observed, world.now(), seed, Budget { steps });
            if !part.placements.is_empty() {
                world.commit(&part);
            } else if !part.report.truncated {
                break;
            }
        }
        prop_assert_eq!(world.plan().placements, vec![], "still waiting though it fits");
    }

    /// Of one shape, and of no other: what is placed first of two shapes leaves the other more room or
    /// less, and a node that grows may change which node is best for the first
    /// (`more_room_can_change_who_gets_it` in placement.rs). No planner that keeps the order of the
    /// queue promises more of several shapes.
    #[test]
    fn tasks_of_one_shape_use_all_the_room_so_that_more_room_never_places_fewer(
        nodes in nodes(),
        tasks in tasks(),
        lucky in 0_usize..10,
        more in amounts(8),
    ) {
        let mut world = plain(&nodes, &tasks[..1]);
        // What ran on a node that is lost waits for another one, and is of other shapes.
        world.cancel_all_but("j0");
        let spec = world.state.run(world.find("j0/x[0]").run).unwrap().spec.clone();
        let (placed, fits) = (world.plan().placements.len(), preview(&world.state, &spec)[0].clone());
        prop_assert_eq!(placed as u64, room_for(&world, &spec.tasks[0]).min(spec.tasks[0].count.into()));
        let lucky = world.state.nodes().nth(lucky).map(|node| node.name.to_string());
        if let Some(name) = lucky {
            world.change(&name, |node| node.capacity = node.capacity.checked_add(more).unwrap());
        }
        prop_assert!(world.plan().placements.len() >= placed);
        let after = preview(&world.state, &spec)[0].clone();
        prop_assert!(after.fits_now >= fits.fits_now && after.fits_empty >= fits.fits_empty);
    }

    #[test]
    fn a_node_that_gets_what_it_misses_takes_the_task(nodes in nodes(), tasks in tasks()) {
        let mut world = plain(&nodes, &tasks);
        world.commit(&world.plan());
        let waiting: Vec<_> = world.state.ready().collect();
        for (at, key) in waiting.iter().enumerate() {
            let explanation = explain(&world.state, &world.observed, world.now(), key.task);
            let Explanation::NoNodeFits(why) = explanation else {
                return Err(TestCaseError::fail(format!("{explanation:?} of a task that was not placed")));
            };
            prop_assert_eq!(why.checks.iter().map(|(_, nodes)| nodes as usize).sum::<usize>(), nodes.len());
            let Some(nearest) = why.nearest.filter(|nearest| nearest.check.is_about_room()) else { continue };
            let mut granted = world.clone();
            granted.change(nearest.node.as_str(), |node| {
                node.capacity.cpu_milli += nearest.missing.cpu_milli;
                node.capacity.memory_bytes += nearest.missing.memory_bytes;
            });
            let next = granted.plan();
            let first = next.placements.first().map(|placement| placement.task);
            // Only that node has room now, and only tasks before this one in the queue come first.
            let in_front: Vec<TaskId> = waiting[..=at].iter().map(|key| key.task).collect();
            prop_assert!(first.is_some_and(|first| in_front.contains(&first)), "{:?} after {}", first, nearest.node);
            if at == 0 {
                prop_assert_eq!(next.placements.first().map(|placement| &placement.node), Some(&nearest.node));
            }
        }
    }

    #[test]
    fn the_first_candidate_is_where_the_plan_puts_the_first_task(nodes in nodes(), tasks in tasks()) {
        let world = plain(&nodes, &tasks);
        let plan = world.plan();
        let Some(key) = world.state.ready().next() else { return Ok(()) };
        let Survey { candidates, misses } = survey(&world.state, &world.observed, world.now(), key.task);
        let first = plan.placements.first().filter(|placement| placement.task == key.task);
        prop_assert_eq!(first.map(|placement| &placement.node), candidates.first().map(|candidate| &candidate.node));
        // What is told of them is in the same order, as far as thousandths can tell, where no sum and no other cluster comes between.
        let deciding = |candidate: &Candidate| {
            let value = |name| candidate.terms.iter().find(|term| term.name == name).map_or(0, |term| term.value_milli);
            (value("reported"), value("preferences") + value("price"))
        };
        let is_flat = spec_of(&world, key.task).place.spread != Spread::Cluster;
        prop_assert!(!is_flat || candidates.is_sorted_by_key(|candidate| std::cmp::Reverse(deciding(candidate))));
        let fitting = Oracle::new(&world).candidates(&spec_of(&world, key.task));
        prop_assert_eq!(candidates.len(), fitting.len().min(CANDIDATES_MAX));
        prop_assert_eq!(misses.len(), (nodes.len() - fitting.len()).min(CANDIDATES_MAX));
        prop_assert!(misses.iter().all(|miss| fitting.iter().all(|node| node.name != miss.node)));
    }

    #[test]
    fn an_explanation_agrees_with_the_plan(nodes in nodes(), tasks in choosy_tasks()) {
        let world = plain(&nodes, &tasks);
        let placed: BTreeMap<TaskId, NodeName> =
            world.plan().placements.into_iter().map(|placed| (placed.task, placed.node)).collect();
        for key in world.state.ready() {
            let explanation = explain(&world.state, &world.observed, world.now(), key.task);
            match placed.get(&key.task) {
                Some(node) => prop_assert_eq!(explanation, Explanation::FitsNow { node: node.clone() }),
                None => prop_assert!(
                    matches!(
                        explanation,
                        Explanation::NoNodeFits(_) | Explanation::NoAlternative(_) | Explanation::Queued { .. }
                    ),
                    "{:?}",
                    explanation
                ),
            }
        }
    }
}

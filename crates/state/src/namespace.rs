//! Namespaces as tenants: a tree in which each has a weight, what is guaranteed to it, and what it may hold at most.

use std::fmt;
use std::sync::Arc;

use quorate_planted::Bug;

use crate::{Feature, Millis, Namespace, NodeStatus, Resources, Served, State, Violation};

/// Namespaces of one cluster, once there are shares. Part of what feature `fair-share` means, as are the four below.
pub const NAMESPACES_MAX: usize = 10_000;
/// Namespaces directly below another one.
pub const NAMESPACE_CHILDREN_MAX: usize = 1_000;
/// Namespaces from one that stands below no other down to the last, both counted.
pub const NAMESPACES_DEEP_MAX: usize = 8;
/// The largest weight.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// The weight of a namespace of which none was said, and of what a namespace with others below it runs itself. Above one, so
/// that another can have less without a change of all the rest.
pub const WEIGHT_FIRST: u32 = 100;
/// The most that can be guaranteed or allowed of anything.
const AMOUNT_MAX: u64 = 1 << 60;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRow {
    /// Its name.
    pub name: Namespace,
    /// When it was made.
    pub created_at: Millis,
    /// Its part of the cluster. Anything but the default needs [`Feature::FairShare`].
    pub share: Share,
    /// What its tasks have held, those of namespaces below it not counted.
    pub past: Past,
}

impl NamespaceRow {
    /// A new one.
    pub fn new(name: Namespace, created_at: Millis) -> Self {
        Self { name, created_at, share: Share::default(), past: Past::default() }
    }
}

/// The part of the cluster that a namespace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The namespace that it stands below; what it holds counts there too.
    pub parent: Option<Namespace>,
    /// Its part beside those of its siblings, from 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// Below this it goes before its siblings; nothing is kept free for it. That of all children together is at most
    /// that of their parent.
    pub guaranteed: Amounts,
    /// It never holds more, with all below it.
    pub maximum: Amounts,
}

impl Default for Share {
    fn default() -> Self {
        Self { parent: None, weight: WEIGHT_FIRST, guaranteed: Amounts::default(), maximum: Amounts::default() }
    }
}

impl Share {
    /// With these parts of it changed.
    pub fn with(&self, change: &ShareChange) -> Self {
        Self {
            parent: change.parent.clone().unwrap_or_else(|| self.parent.clone()),
            weight: change.weight.unwrap_or(self.weight),
            guaranteed: change.guaranteed.unwrap_or(self.guaranteed),
            maximum: change.maximum.unwrap_or(self.maximum),
        }
    }

    /// What is wrong with it in itself.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let mut flaws = Vec::new();
        let mut complain = |field: String, message: String| flaws.push(Violation { field, message });
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            complain("weight".into(), format!("{} is not between 1 and WEIGHT_MAX ({WEIGHT_MAX})", self.weight));
        }
        for resource in Resource::ALL {
            let (least, most) = (self.guaranteed.of(resource), self.maximum.of(resource));
            if least.max(most).is_some_and(|amount| amount > AMOUNT_MAX) {
                complain(format!("maximum.{resource}"), format!("nothing can be above {AMOUNT_MAX}"));
            }
            if let (Some(least), Some(most)) = (least, most)
                && most < least
            {
                let (least, most) = (resource.written(least), resource.written(most));
                complain(format!("maximum.{resource}"), format!("{most} is below the guarantee, {least}"));
            }
        }
        flaws
    }
}

/// What is to be changed of a [`Share`]; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareChange {
    /// Another parent, or none.
    pub parent: Option<Option<Namespace>>,
    /// Another weight.
    pub weight: Option<u32>,
    /// Another guarantee, in the place of the whole.
    pub guaranteed: Option<Amounts>,
    /// Another maximum, in the place of the whole.
    pub maximum: Option<Amounts>,
}

/// Amounts of those resources of which something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a CPU core.
    pub cpu_milli: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Thousandths of GPUs.
    pub gpu_milli: Option<u64>,
}

impl Amounts {
    /// What is said of a resource.
    pub fn of(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Cpu => self.cpu_milli,
            Resource::Memory => self.memory_bytes,
            Resource::Gpu => self.gpu_milli,
        }
    }

    /// The first resource of which there would be more than this, if `asked` came to what is `held`. What nothing is asked
    /// of cannot be too much.
    pub fn exceeded(&self, held: Resources, asked: Resources) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| {
            let (held, asked) = (resource.of(held), resource.of(asked));
            asked > 0 && self.of(*resource).is_some_and(|most| held.saturating_add(asked) > most)
        })
    }

    /// True when `asked` is about something of which there is an amount here, and lies within it on top of what is `held`.
    pub fn cover(&self, held: Resources, asked: Resources) -> bool {
        let concerns = |resource: &Resource| self.of(*resource).is_some() && resource.of(asked) > 0;
        Resource::ALL.iter().any(concerns) && self.exceeded(held, asked).is_none()
    }
}

/// A resource that a namespace can have guaranteed or limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
    /// GPUs.
    Gpu,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Gpu];

    /// How much of it is in `resources`, in its unit there.
    pub fn of(self, resources: Resources) -> u64 {
        match self {
            Self::Cpu => resources.cpu_milli,
            Self::Memory => resources.memory_bytes,
            Self::Gpu => resources.gpu_milli,
        }
    }

    /// An amount of it for people: cores and GPUs with up to three decimals, or bytes.
    pub fn written(self, amount: u64) -> String {
        match self {
            Self::Memory => format!("{amount} bytes"),
            Self::Cpu | Self::Gpu => {
                let text = format!("{}.{:03}", amount / 1_000, amount % 1_000);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Gpu => "gpu",
        })
    }
}

/// Why a task is not placed whatever the room: a namespace would hold more than its maximum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    /// Whose maximum it is: that of the task's namespace, or of one above it.
    pub namespace: Namespace,
    /// Of what.
    pub resource: Resource,
    /// What it holds of that, with all below it.
    pub used: u64,
    /// What it may hold.
    pub maximum: u64,
    /// What the task asks for.
    pub asked: u64,
}

impl OverQuota {
    /// Whether `asked` on top of what is `held` is more than `namespace` may hold.
    pub fn of(namespace: &Namespace, maximum: Amounts, held: Resources, asked: Resources) -> Option<Self> {
        let resource = maximum.exceeded(held, asked)?;
        let (used, asked) = (resource.of(held), resource.of(asked));
        let maximum = maximum.of(resource).unwrap_or_default();
        Some(Self { namespace: namespace.clone(), resource, used, maximum, asked })
    }
}

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, resource, used, maximum, asked } = self;
        let (used, maximum, asked) = (resource.written(*used), resource.written(*maximum), resource.written(*asked));
        write!(f, "quota of namespace {namespace}: {used} of {maximum} {resource} in use, and {asked} asked for")
    }
}

/// How namespaces are kept even over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fairness {
    /// What was held so long ago counts half, in milliseconds; zero: only what runs counts.
    pub half_life_ms: u64,
    /// A task that has waited longer goes before all that have not, in milliseconds; zero: never.
    pub overdue_ms: u64,
}

/// With what fairness begins: part of what enabling the feature means, for good.
pub(crate) const FAIRNESS_FIRST: Fairness = Fairness { half_life_ms: 600_000, overdue_ms: 4 * 3_600_000 };

impl Fairness {
    /// The least and the most that each of them may be where it is not zero, by its name.
    pub fn limits(&self) -> [(&'static str, u64, u64, u64); 2] {
        const DAY: u64 = 24 * 3_600_000;
        [("half_life_ms", self.half_life_ms, 60_000, 30 * DAY), ("overdue_ms", self.overdue_ms, 60_000, 365 * DAY)]
    }

    /// How often what namespaces hold is sampled, in milliseconds: often enough for the half-life, and seldom enough that
    /// rounding costs nothing.
    pub fn sample_ms(&self) -> u64 {
        (self.half_life_ms / 16).max(SAMPLE_MS_MIN)
    }
}

/// What namespaces hold is sampled no more often.
const SAMPLE_MS_MIN: u64 = 60_000;

/// Namespaces of which one entry samples what they hold.
pub const SAMPLES_AT_ONCE_MAX: usize = 1_000;

/// What a namespace has held: an average in which what is long ago counts less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The average.
    pub held: Resources,
    /// When it was sampled last; none while it is nothing.
    pub sampled_at: Option<Served>,
}

impl Past {
    /// It is nothing, and nothing is known of it.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The same at `now`, since when `held` has been held all the time.
    pub fn sampled(self, held: Resources, now: Served, half_life_ms: u64) -> Self {
        let Some(since) = self.sampled_at.filter(|_| half_life_ms > 0) else {
            let begins = half_life_ms > 0 && held != Resources::ZERO;
            return Self { held: Resources::ZERO, sampled_at: begins.then_some(now) };
        };
        let kept = left(now.0.saturating_sub(since.0), half_life_ms);
        let mixed = |past: u64, present: u64| {
            let sum = u128::from(past) * kept + u128::from(present) * (ONE - kept);
            u64::try_from(sum >> 32).unwrap_or(u64::MAX)
        };
        let average = Resources {
            cpu_milli: mixed(self.held.cpu_milli, held.cpu_milli),
            memory_bytes: mixed(self.held.memory_bytes, held.memory_bytes),
            gpu_milli: mixed(self.held.gpu_milli, held.gpu_milli),
        };
        let is_over = average == Resources::ZERO && held == Resources::ZERO;
        Self { held: average, sampled_at: (!is_over).then_some(now) }
    }
}

/// One, in parts of 2^32.
const ONE: u128 = 1 << 32;

/// 2^(-1/2), 2^(-1/4), 2^(-1/8) and so on, in parts of 2^32.
const ROOTS: [u64; 16] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
];

/// What is left of one after so long, in parts of 2^32: the half after each half-life.
fn left(elapsed_ms: u64, half_life_ms: u64) -> u128 {
    let Some(halvings) = elapsed_ms.checked_div(half_life_ms) else { return 0 };
    let part = (u128::from(elapsed_ms % half_life_ms) << ROOTS.len()) / u128::from(half_life_ms);
    let roots = ROOTS.iter().enumerate().filter(|(at, _)| (part >> (ROOTS.len() - 1 - at)) & 1 == 1);
    let whole = roots.fold(ONE, |left, (_, root)| (left * u128::from(*root)) >> 32);
    u32::try_from(halvings).ok().and_then(|halvings| whole.checked_shr(halvings)).unwrap_or(0)
}

/// The part of `all` that `held` is, of the resource of which it is most, in so many parts. What is held of something of which
/// there is nothing any more is all of it.
pub fn dominant(held: Resources, all: Resources, parts: u128) -> u128 {
    let part = |resource: &Resource| {
        let (held, all) = (resource.of(held), resource.of(all));
        let all = if all == 0 { held.max(1) } else { all };
        u128::from(held) * parts / u128::from(all)
    };
    Resource::ALL.iter().map(part).max().unwrap_or(0)
}

impl State {
    /// What all nodes that are up have together.
    pub fn capacity(&self) -> Resources {
        let up = self.nodes().filter(|node| node.status == NodeStatus::Up);
        up.fold(Resources::ZERO, |sum, node| sum.saturating_add(node.capacity))
    }

    /// How namespaces are kept even; none before the feature is enabled.
    pub fn fairness(&self) -> Option<Fairness> {
        self.settings().and_then(|settings| settings.fairness).filter(|_| self.has_feature(Feature::FairShare))
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<NamespaceRow>> {
        self.namespaces.values()
    }

    /// A namespace.
    pub fn namespace(&self, namespace: &Namespace) -> Option<&Arc<NamespaceRow>> {
        self.namespaces.get(namespace)
    }

    /// True when the namespace exists.
    pub fn has_namespace(&self, namespace: &Namespace) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// A namespace and those above it, from below.
    pub fn lineage<'a>(&'a self, namespace: &Namespace) -> impl Iterator<Item = &'a Arc<NamespaceRow>> {
        let above = |row: &&'a Arc<NamespaceRow>| row.share.parent.as_ref().and_then(|parent| self.namespace(parent));
        std::iter::successors(self.namespace(namespace), above).take(NAMESPACES_DEEP_MAX)
    }

    /// The namespaces directly below one, by name.
    pub fn namespaces_below(&self, namespace: &Namespace) -> impl Iterator<Item = &Arc<NamespaceRow>> {
        self.index.tenants().children(namespace).filter_map(|child| self.namespace(child))
    }

    /// What the tasks of a namespace hold that are placed or run: each once, however many copies of it are not known to be
    /// gone. Those of namespaces below it are not counted.
    pub fn held_by(&self, namespace: &Namespace) -> Resources {
        self.index.tenants().held(namespace)
    }

    /// The same with all below it.
    pub fn held_below(&self, namespace: &Namespace) -> Resources {
        self.index.tenants().held_below(namespace)
    }

    /// What a namespace has held, with all below it: [`Past::held`].
    pub fn past_below(&self, namespace: &Namespace) -> Resources {
        self.index.tenants().past_below(namespace)
    }

    /// Why a task of `namespace` that takes so much may not be placed whatever the room.
    pub fn over_quota(&self, namespace: &Namespace, asked: Resources) -> Option<OverQuota> {
        if quorate_planted::is(Bug::QuotaUnchecked) {
            return None;
        }
        self.lineage(namespace)
            .find_map(|row| OverQuota::of(&row.name, row.share.maximum, self.held_below(&row.name), asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(cpu_milli: u64) -> Resources {
        Resources { cpu_milli, ..Resources::ZERO }
    }

    #[test]
    fn what_is_left_is_a_power_of_one_half() {
        for elapsed in (0..6_000_000).step_by(7_919) {
            let exact = (-(elapsed as f64) / 600_000.0).exp2();
            let ours = left(elapsed, 600_000) as f64 / (1_u64 << 32) as f64;
            assert!((exact - ours).abs() < 2e-5, "{elapsed}: {ours} instead of {exact}");
        }
        assert_eq!((left(0, 1), left(600_000, 600_000), left(u64::MAX, 1), left(1, 0)), (ONE, ONE / 2, 0, 0));
    }

    #[test]
    fn an_average_follows_what_is_held_and_ends_with_it() {
        let mut past = Past::default().sampled(cores(8_000), Served(5), 600_000);
        assert_eq!(past, Past { held: Resources::ZERO, sampled_at: Some(Served(5)) });
        past = past.sampled(cores(8_000), Served(600_005), 600_000);
        assert_eq!(past.held, cores(4_000));
        // Said again at the same instant, it changes nothing.
        assert_eq!(past.sampled(cores(8_000), Served(600_005), 600_000), past);
        past = past.sampled(Resources::ZERO, Served(1_200_005), 600_000);
        assert_eq!(past.held, cores(2_000));
        for minute in 0..400 {
            past = past.sampled(Resources::ZERO, Served(1_200_005 + minute * 60_000), 600_000);
        }
        assert!(past.is_none(), "{past:?}");
    }

    #[test]
    fn only_what_is_asked_for_counts_against_a_limit() {
        let limit = Amounts { cpu_milli: Some(4_000), gpu_milli: Some(0), ..Amounts::default() };
        assert_eq!(limit.exceeded(cores(3_000), cores(1_000)), None);
        assert_eq!(limit.exceeded(cores(3_001), cores(1_000)), Some(Resource::Cpu));
        // What is over a lower limit stays, and what takes nothing of it is not held up.
        assert_eq!(limit.exceeded(cores(9_000), Resources { memory_bytes: 1, ..Resources::ZERO }), None);
        assert!(limit.cover(cores(3_000), cores(1_000)) && !limit.cover(cores(3_000), cores(1_001)));
        assert!(!limit.cover(Resources::ZERO, Resources { memory_bytes: 1, ..Resources::ZERO }));
    }
}

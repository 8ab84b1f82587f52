//! Namespaces, and the part of the cluster that each has.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint};
use super::{Paint, View, time};

/// Amounts of those resources of which something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Amounts {
    cpu_milli: Option<u64>,
    memory_bytes: Option<u64>,
    gpu_milli: Option<u64>,
}

impl From<Option<v1::Amounts>> for Amounts {
    fn from(amounts: Option<v1::Amounts>) -> Self {
        let v1::Amounts { cpu_milli, memory_bytes, gpu_milli } = amounts.unwrap_or_default();
        Self { cpu_milli, memory_bytes, gpu_milli }
    }
}

impl Amounts {
    /// As they are written on a command line.
    fn text(&self) -> String {
        let cpu = self.cpu_milli.map(|milli| format!("cpu={}", time::cores(milli)));
        let memory = self.memory_bytes.map(|bytes| format!("memory={}", time::bytes(bytes)));
        let gpu = self.gpu_milli.map(|milli| format!("gpu={}", time::cores(milli)));
        let all: Vec<String> = [cpu, memory, gpu].into_iter().flatten().collect();
        if all.is_empty() { "-".into() } else { all.join(",") }
    }
}

/// What is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Held {
    cpu_milli: u64,
    memory_bytes: u64,
    gpu_milli: u64,
}

impl From<Option<v1::Resources>> for Held {
    fn from(resources: Option<v1::Resources>) -> Self {
        let v1::Resources { cpu_milli, memory_bytes, gpu_milli } = resources.unwrap_or_default();
        Self { cpu_milli, memory_bytes, gpu_milli }
    }
}

impl Held {
    fn text(self) -> String {
        let some = |amount: u64| (amount > 0).then_some(amount);
        let Self { cpu_milli, memory_bytes, gpu_milli } = self;
        let all = Amounts { cpu_milli: some(cpu_milli), memory_bytes: some(memory_bytes), gpu_milli: some(gpu_milli) };
        all.text()
    }

    /// What of it is beyond a guarantee.
    fn beyond(self, guaranteed: &Amounts) -> Self {
        let rest = |held: u64, guaranteed: Option<u64>| held.saturating_sub(guaranteed.unwrap_or(0));
        Self {
            cpu_milli: rest(self.cpu_milli, guaranteed.cpu_milli),
            memory_bytes: rest(self.memory_bytes, guaranteed.memory_bytes),
            gpu_milli: rest(self.gpu_milli, guaranteed.gpu_milli),
        }
    }
}

/// One namespace.
#[derive(Debug, Serialize)]
pub(crate) struct Namespace {
    name: String,
    created_at_ms: u64,
    parent: Option<String>,
    weight: u32,
    guaranteed: Amounts,
    maximum: Amounts,
    /// By its tasks that are placed or run, with all below it.
    used: Held,
    /// The same without those below it.
    used_alone: Held,
    /// What of it is beyond its guarantee.
    borrowed: Held,
    /// Tasks in the queue.
    waiting: u64,
    /// Of the resource of which it holds most, in millionths of the cluster.
    used_ppm: u64,
    /// The same of what it has held.
    past_ppm: u64,
    /// What its weight comes to now.
    fair_ppm: u64,
}

impl From<v1::NamespaceSummary> for Namespace {
    fn from(summary: v1::NamespaceSummary) -> Self {
        let share = summary.share.unwrap_or_default();
        let (guaranteed, used) = (Amounts::from(share.guaranteed), Held::from(summary.used));
        Self {
            name: summary.name,
            created_at_ms: summary.created_at_ms,
            parent: (!share.parent.is_empty()).then_some(share.parent),
            weight: share.weight,
            guaranteed,
            maximum: share.maximum.into(),
            used,
            used_alone: summary.used_alone.into(),
            borrowed: used.beyond(&guaranteed),
            waiting: summary.waiting,
            used_ppm: summary.used_ppm,
            past_ppm: summary.past_ppm,
            fair_ppm: summary.fair_ppm,
        }
    }
}

/// How namespaces are kept even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Fairness {
    half_life_ms: u64,
    overdue_ms: u64,
}

impl From<v1::Fairness> for Fairness {
    fn from(v1::Fairness { half_life_ms, overdue_ms }: v1::Fairness) -> Self {
        Self { half_life_ms, overdue_ms }
    }
}

impl Fairness {
    fn text(self) -> String {
        let past = match self.half_life_ms {
            0 => "only what runs counts".to_owned(),
            half => format!("what was held {} ago counts half", time::span(half)),
        };
        let overdue = match self.overdue_ms {
            0 => "a task never goes first for having waited".to_owned(),
            most => format!("a task that has waited {} goes before all that have not", time::span(most)),
        };
        format!("{past}; {overdue}")
    }
}

/// `namespace list`.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceList {
    namespaces: Vec<Namespace>,
    /// None while replicas are too old for it.
    fairness: Option<Fairness>,
    revision: u64,
}

impl From<v1::ListNamespacesResponse> for NamespaceList {
    fn from(response: v1::ListNamespacesResponse) -> Self {
        Self {
            namespaces: response.namespaces.into_iter().map(Namespace::from).collect(),
            fairness: response.fairness.map(Fairness::from),
            revision: response.revision,
        }
    }
}

impl View for NamespaceList {
    const SCHEMA: &'static str = "quorate.v1.namespace_list/1";

    fn human(&self, paint: Paint) -> String {
        table(&self.namespaces, paint)
    }
}

fn table(namespaces: &[Namespace], paint: Paint) -> String {
    let heads =
        ["NAMESPACE", "BELOW", "WEIGHT", "USED", "SHARE", "FAIR", "GUARANTEED", "MAXIMUM", "WAITING", "CREATED"];
    let mut rows = Rows::new(paint, &heads);
    for namespace in namespaces {
        rows.row(vec![
            entry(&namespace.name),
            entry(namespace.parent.as_deref().unwrap_or("-")),
            entry(namespace.weight.to_string()),
            entry(namespace.used.text()),
            entry(percent(namespace.used_ppm)),
            entry(percent(namespace.fair_ppm)),
            entry(namespace.guaranteed.text()),
            entry(namespace.maximum.text()),
            entry(namespace.waiting.to_string()),
            faint(time::instant(namespace.created_at_ms)),
        ]);
    }
    rows.text()
}

/// Millionths as percent, with a decimal.
fn percent(ppm: u64) -> String {
    format!("{}.{}%", ppm / 10_000, ppm % 10_000 / 1_000)
}

/// `namespace show`.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceShown {
    namespace: Namespace,
    /// Those directly below it.
    below: Vec<Namespace>,
    fairness: Option<Fairness>,
    revision: u64,
}

impl From<v1::GetNamespaceResponse> for NamespaceShown {
    fn from(response: v1::GetNamespaceResponse) -> Self {
        Self {
            namespace: response.namespace.unwrap_or_default().into(),
            below: response.below.into_iter().map(Namespace::from).collect(),
            fairness: response.fairness.map(Fairness::from),
            revision: response.revision,
        }
    }
}

impl View for NamespaceShown {
    const SCHEMA: &'static str = "quorate.v1.namespace/1";

    fn human(&self, paint: Paint) -> String {
        let Self { namespace, below, fairness, revision: _ } = self;
        let mut lines = vec![
            format!("Namespace   {}, created {}", namespace.name, time::instant(namespace.created_at_ms)),
            format!("Below       {}", namespace.parent.as_deref().unwrap_or("no other")),
            format!("Weight      {}, which is {} of the cluster now", namespace.weight, percent(namespace.fair_ppm)),
            format!(
                "Used        {}, which is {} of the cluster, and {} over time",
                namespace.used.text(),
                percent(namespace.used_ppm),
                percent(namespace.past_ppm)
            ),
            format!("Alone       {}", namespace.used_alone.text()),
            format!("Guaranteed  {}", namespace.guaranteed.text()),
            format!("Borrowed    {}", namespace.borrowed.text()),
            format!("Maximum     {}", namespace.maximum.text()),
            format!("Waiting     {}", time::count(namespace.waiting, "task")),
        ];
        lines.extend(fairness.map(|fairness| format!("Fairness    {}", fairness.text())));
        if !below.is_empty() {
            lines.push(String::new());
            lines.push(table(below, paint));
        }
        lines.join("\n")
    }
}

/// `namespace create`.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceCreated {
    /// Its name.
    pub(crate) namespace: String,
    /// When it came to be.
    pub(crate) revision: u64,
}

impl View for NamespaceCreated {
    const SCHEMA: &'static str = "quorate.v1.namespace_created/1";

    fn human(&self, _: Paint) -> String {
        format!("Namespace {} exists now", self.namespace)
    }
}

/// `namespace set`.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceSet {
    namespace: Namespace,
    /// Since when it is so.
    revision: u64,
}

impl From<v1::SetNamespaceResponse> for NamespaceSet {
    fn from(response: v1::SetNamespaceResponse) -> Self {
        Self { namespace: response.namespace.unwrap_or_default().into(), revision: response.revision }
    }
}

impl View for NamespaceSet {
    const SCHEMA: &'static str = "quorate.v1.namespace_set/1";

    fn human(&self, paint: Paint) -> String {
        table(std::slice::from_ref(&self.namespace), paint)
    }
}

/// `namespace fairness`.
#[derive(Debug, Serialize)]
pub(crate) struct FairnessShown {
    /// None while replicas are too old for it.
    fairness: Option<Fairness>,
    revision: u64,
}

impl FairnessShown {
    /// How it is at a revision.
    pub(crate) fn new(fairness: Option<v1::Fairness>, revision: u64) -> Self {
        Self { fairness: fairness.map(Fairness::from), revision }
    }
}

impl View for FairnessShown {
    const SCHEMA: &'static str = "quorate.v1.fairness/1";

    fn human(&self, _: Paint) -> String {
        let Some(fairness) = self.fairness else {
            return "Namespaces are served in the order of the queue: 'quorate replica list' shows which replica is too old".into();
        };
        let text = fairness.text();
        let mut letters = text.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }
}

//! Nodes and the clusters they make up.

use std::collections::BTreeMap;

use quorate_proto::v1;
use quorate_state::{ATTRIBUTE_PREFIX, PoolName, Price};
use serde::Serialize;

use super::table::{Rows, entry, faint, state, word};
use super::{Paint, View, time};

/// Who said that a node, or all of a cluster or a region, takes nothing new.
#[derive(Debug, Serialize)]
pub(crate) struct Withdrawal {
    pub(crate) by: String,
    pub(crate) at_ms: u64,
    pub(crate) reason: String,
    /// Set when what runs there is moved elsewhere: from so many milliseconds on.
    pub(crate) drain_in_ms: Option<u64>,
    /// Set when that ends by itself, and the node takes work again: in so many milliseconds.
    pub(crate) ends_in_ms: Option<u64>,
}

impl From<v1::Withdrawal> for Withdrawal {
    fn from(withdrawal: v1::Withdrawal) -> Self {
        let v1::Withdrawal { by, at_ms, reason, drain_in_ms, ends_in_ms } = withdrawal;
        Self { by, at_ms, reason, drain_in_ms, ends_in_ms }
    }
}

/// What is said of a node, a cluster or a region, of which so many attempts are left; none: it takes work.
pub(crate) fn out(withdrawal: Option<&Withdrawal>, attempts: u64) -> Option<String> {
    let withdrawal = withdrawal?;
    let ends = withdrawal.ends_in_ms.map_or_else(String::new, |ends| format!(" for another {}", time::span(ends)));
    Some(match withdrawal.drain_in_ms {
        None => "cordoned".to_owned(),
        Some(_) if attempts == 0 => format!("drained{ends}"),
        Some(_) => format!("draining{ends}"),
    })
}

/// One device of a node.
#[derive(Debug, Serialize)]
pub(crate) struct Gpu {
    pub(crate) model: String,
    /// Thousandths that are taken.
    pub(crate) used_milli: u32,
}

/// One node.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) status: String,
    pub(crate) cordoned: bool,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) used_cpu_milli: u64,
    pub(crate) used_memory_bytes: u64,
    pub(crate) gpu_milli: u64,
    pub(crate) used_gpu_milli: u64,
    /// By position.
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) attempts: u32,
    pub(crate) epoch: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) pool: String,
    pub(crate) taints: BTreeMap<String, String>,
    /// For an hour, if it says.
    pub(crate) price: Option<String>,
    pub(crate) registered_at_ms: u64,
    pub(crate) heard_ms_ago: Option<u64>,
    pub(crate) uuid: String,
    pub(crate) withdrawal: Option<Withdrawal>,
    /// The same of its cluster, and of its region.
    pub(crate) cluster_withdrawal: Option<Withdrawal>,
    pub(crate) region_withdrawal: Option<Withdrawal>,
    /// The reservation for which it is set aside now.
    pub(crate) reservation: Option<String>,
    /// The id of the join token that admitted it, if that took one.
    pub(crate) join_token: Option<String>,
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Self {
        let (capacity, used) = (node.capacity.unwrap_or_default(), node.used.unwrap_or_default());
        let status = v1::NodeStatus::try_from(node.status)
            .map_or_else(|_| format!("unknown-{}", node.status), |status| word("NODE_STATUS_", status.as_str_name()));
        let offer = node.offer.unwrap_or_default();
        Self {
            name: node.name,
            region: node.region,
            cluster: node.cluster,
            status,
            cordoned: node.cordoned,
            cpu_milli: capacity.cpu_milli,
            memory_bytes: capacity.memory_bytes,
            used_cpu_milli: used.cpu_milli,
            used_memory_bytes: used.memory_bytes,
            gpu_milli: capacity.gpu_milli,
            used_gpu_milli: used.gpu_milli,
            gpus: node.gpus.into_iter().map(|gpu| Gpu { model: gpu.model, used_milli: gpu.used_milli }).collect(),
            attempts: node.attempts,
            epoch: node.epoch,
            labels: node.labels.into_iter().map(|label| (label.key, label.value)).collect(),
            pool: if offer.pool.is_empty() { PoolName::default().to_string() } else { offer.pool },
            taints: offer.taints.into_iter().map(|taint| (taint.key, taint.value)).collect(),
            price: offer.price.map(|price| Price(price).to_string()),
            registered_at_ms: node.registered_at_ms,
            heard_ms_ago: node.heard_ms_ago,
            uuid: node.uuid,
            withdrawal: node.withdrawal.map(Into::into),
            cluster_withdrawal: node.cluster_withdrawal.map(Into::into),
            region_withdrawal: node.region_withdrawal.map(Into::into),
            reservation: (!node.reservation.is_empty()).then_some(node.reservation),
            join_token: (!node.join_token.is_empty()).then_some(node.join_token),
        }
    }
}

impl Node {
    /// The labels that its user gave it, as `key=value`.
    pub(crate) fn own_labels(&self) -> Vec<String> {
        let own = self.labels.iter().filter(|(key, _)| !key.starts_with(ATTRIBUTE_PREFIX));
        own.map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// What keeps tasks away that do not tolerate it, as `key=value`, or `key` where the value is empty.
    pub(crate) fn taint_words(&self) -> Vec<String> {
        let words =
            |(key, value): (&String, &String)| if value.is_empty() { key.clone() } else { format!("{key}={value}") };
        self.taints.iter().map(words).collect()
    }

    /// What its agent found out of it: names without the prefix that all have.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().filter_map(|(key, value)| Some((key.strip_prefix(ATTRIBUTE_PREFIX)?, value.as_str())))
    }

    /// The most important of that, such as `x86_64, debian 12, 2 gpu`.
    fn machine(&self) -> String {
        let get = |wanted: &str| self.attributes().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let os = get("os").map(|os| get("os-version").map_or(os.into(), |version| format!("{os} {version}")));
        let devices = self.attributes().filter_map(|(name, count)| {
            let device = name.strip_prefix("device.")?;
            Some(format!("{count} {device}"))
        });
        get("arch").map(Into::into).into_iter().chain(os).chain(devices).collect::<Vec<String>>().join(", ")
    }

    /// Whether its lease is live, and what is being done with it.
    pub(crate) fn standing(&self) -> String {
        let attempts = self.attempts.into();
        // It may have been said before that was kept.
        let own = out(self.withdrawal.as_ref(), attempts).or(self.cordoned.then(|| "cordoned".to_owned()));
        let of = |what: &str, withdrawal| out(withdrawal, attempts).map(|word| format!("{what} {word}"));
        let cluster = of("cluster", self.cluster_withdrawal.as_ref());
        let region = of("region", self.region_withdrawal.as_ref());
        let reserved = self.reservation.as_ref().map(|reservation| format!("reserved for {reservation}"));
        [Some(self.status.clone()), own, cluster, region, reserved].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Who said that it takes nothing new, with what that was said of.
    pub(crate) fn withdrawals(&self) -> impl Iterator<Item = (&'static str, &Withdrawal)> {
        let all = [
            ("", &self.withdrawal),
            ("its cluster ", &self.cluster_withdrawal),
            ("its region ", &self.region_withdrawal),
        ];
        all.into_iter().filter_map(|(of, withdrawal)| Some((of, withdrawal.as_ref()?)))
    }
}

/// `node list`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeList {
    /// By name.
    pub(crate) nodes: Vec<Node>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
}

impl View for NodeList {
    const SCHEMA: &'static str = "quorate.v1.node_list/1";

    fn human(&self, paint: Paint) -> String {
        let heads = [
            "NODE", "REGION", "CLUSTER", "POOL", "STATUS", "CPU", "MEMORY", "GPU", "PRICE", "ATTEMPTS", "HEARD",
            "MACHINE", "LABELS", "TAINTS",
        ];
        let mut rows = Rows::new(paint, &heads);
        for node in &self.nodes {
            rows.row(vec![
                entry(&node.name),
                entry(&node.region),
                entry(&node.cluster),
                entry(&node.pool),
                state(&node.standing()),
                entry(used(time::cores, node.used_cpu_milli, node.cpu_milli)),
                entry(used(time::bytes, node.used_memory_bytes, node.memory_bytes)),
                entry(if node.gpu_milli == 0 {
                    "-".to_owned()
                } else {
                    used(time::cores, node.used_gpu_milli, node.gpu_milli)
                }),
                entry(node.price.as_deref().unwrap_or("-")),
                entry(node.attempts.to_string()),
                faint(node.heard_ms_ago.map_or("-".to_owned(), |ago| format!("{} ago", time::span(ago)))),
                faint(node.machine()),
                faint(node.own_labels().join(",")),
                faint(node.taint_words().join(",")),
            ]);
        }
        rows.text()
    }
}

/// `node cordon` and `node uncordon`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeCordoned {
    /// Its name.
    pub(crate) node: String,
    /// Nothing more is placed on it.
    pub(crate) cordoned: bool,
    /// Since when.
    pub(crate) revision: u64,
}

impl View for NodeCordoned {
    const SCHEMA: &'static str = "quorate.v1.node_cordoned/1";

    fn human(&self, _: Paint) -> String {
        let Self { node, .. } = self;
        if self.cordoned {
            format!("Node {node} takes nothing new; what runs there goes on")
        } else {
            format!("Node {node} takes work again")
        }
    }
}

/// `node drain`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeDrained {
    /// Its name.
    pub(crate) node: String,
    /// Attempts may end by themselves for so long.
    pub(crate) wait_ms: u64,
    /// It takes work again after so long; none: when it is told to.
    pub(crate) for_ms: Option<u64>,
    /// Since when.
    pub(crate) revision: u64,
}

impl View for NodeDrained {
    const SCHEMA: &'static str = "quorate.v1.node_drained/1";

    fn human(&self, _: Paint) -> String {
        let Self { node, .. } = self;
        let lasts = self.for_ms.map_or_else(String::new, |lasts| format!(" for {}", time::span(lasts)));
        match self.wait_ms {
            0 => format!("Node {node} takes nothing new{lasts}; what runs there is moved elsewhere"),
            wait => {
                let wait = time::span(wait);
                format!("Node {node} takes nothing new{lasts}; what still runs there in {wait} is moved elsewhere")
            }
        }
    }
}

/// `node forget`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeForgotten {
    /// Its name.
    pub(crate) node: String,
    /// Since when.
    pub(crate) revision: u64,
}

impl View for NodeForgotten {
    const SCHEMA: &'static str = "quorate.v1.node_forgotten/1";

    fn human(&self, _: Paint) -> String {
        format!("Node {} is forgotten: what was on it is given up, and its name is free", self.node)
    }
}

/// One cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Cluster {
    name: String,
    region: String,
    nodes_up: u32,
    nodes_lost: u32,
    cpu_milli: u64,
    memory_bytes: u64,
    used_cpu_milli: u64,
    used_memory_bytes: u64,
    attempts: u32,
    /// Who said that it, or its region, takes nothing new.
    withdrawal: Option<Withdrawal>,
    region_withdrawal: Option<Withdrawal>,
}

impl Cluster {
    /// What is being done with it.
    fn standing(&self) -> String {
        let attempts = self.attempts.into();
        let own = out(self.withdrawal.as_ref(), attempts);
        let region = out(self.region_withdrawal.as_ref(), attempts).map(|word| format!("region {word}"));
        let words: Vec<String> = own.into_iter().chain(region).collect();
        if words.is_empty() { "in service".to_owned() } else { words.join(", ") }
    }
}

impl From<v1::ClusterSummary> for Cluster {
    fn from(cluster: v1::ClusterSummary) -> Self {
        let (capacity, used) = (cluster.capacity.unwrap_or_default(), cluster.used.unwrap_or_default());
        Self {
            name: cluster.name,
            region: cluster.region,
            nodes_up: cluster.nodes_up,
            nodes_lost: cluster.nodes_lost,
            cpu_milli: capacity.cpu_milli,
            memory_bytes: capacity.memory_bytes,
            used_cpu_milli: used.cpu_milli,
            used_memory_bytes: used.memory_bytes,
            attempts: cluster.attempts,
            withdrawal: cluster.withdrawal.map(Into::into),
            region_withdrawal: cluster.region_withdrawal.map(Into::into),
        }
    }
}

/// `cluster list`.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterList {
    /// By name.
    pub(crate) clusters: Vec<Cluster>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
}

impl View for ClusterList {
    const SCHEMA: &'static str = "quorate.v1.cluster_list/1";

    fn human(&self, paint: Paint) -> String {
        let heads = ["CLUSTER", "REGION", "STATUS", "NODES UP", "NODES LOST", "CPU", "MEMORY", "ATTEMPTS"];
        let mut rows = Rows::new(paint, &heads);
        for cluster in &self.clusters {
            rows.row(vec![
                entry(&cluster.name),
                entry(&cluster.region),
                entry(cluster.standing()),
                entry(cluster.nodes_up.to_string()),
                entry(cluster.nodes_lost.to_string()),
                entry(used(time::cores, cluster.used_cpu_milli, cluster.cpu_milli)),
                entry(used(time::bytes, cluster.used_memory_bytes, cluster.memory_bytes)),
                entry(cluster.attempts.to_string()),
            ]);
        }
        rows.text()
    }
}

/// `used/all`.
fn used(show: fn(u64) -> String, used: u64, all: u64) -> String {
    format!("{}/{}", show(used), show(all))
}

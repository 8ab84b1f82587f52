//! Regions: what stands in them.

use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;

use super::node::{Withdrawal, out};
use super::table::{Rows, entry};
use super::{Paint, View, time};

/// A region.
#[derive(Debug, Default, Serialize)]
struct Region {
    name: String,
    clusters: Vec<String>,
    nodes_up: u32,
    nodes_lost: u32,
    cpu_milli: u64,
    memory_bytes: u64,
    gpu_milli: u64,
    used_cpu_milli: u64,
    used_memory_bytes: u64,
    used_gpu_milli: u64,
    attempts: u64,
    /// Who said that it takes nothing new.
    withdrawal: Option<Withdrawal>,
    /// Ids of the replicas that vote there.
    voters: Vec<u64>,
    learners: Vec<u64>,
    /// The leader is one of them.
    leads: bool,
}

/// `region list`.
#[derive(Debug, Serialize)]
pub(crate) struct RegionList {
    /// By name.
    regions: Vec<Region>,
    revision: u64,
}

impl RegionList {
    /// All regions in which there is a cluster or a replica.
    pub(crate) fn new(clusters: v1::ListClustersResponse, replicas: v1::ListReplicasResponse) -> Self {
        let mut regions: BTreeMap<String, Region> = BTreeMap::new();
        let mut at = |name: &str, add: &dyn Fn(&mut Region)| {
            let region = regions.entry(name.to_owned()).or_default();
            name.clone_into(&mut region.name);
            add(region);
        };
        for cluster in clusters.clusters {
            let (all, used) = (cluster.capacity.unwrap_or_default(), cluster.used.unwrap_or_default());
            at(&cluster.region, &|region| {
                region.clusters.push(cluster.name.clone());
                region.withdrawal = cluster.region_withdrawal.clone().map(Into::into);
                region.nodes_up += cluster.nodes_up;
                region.nodes_lost += cluster.nodes_lost;
                region.cpu_milli = region.cpu_milli.saturating_add(all.cpu_milli);
                region.memory_bytes = region.memory_bytes.saturating_add(all.memory_bytes);
                region.gpu_milli = region.gpu_milli.saturating_add(all.gpu_milli);
                region.used_cpu_milli = region.used_cpu_milli.saturating_add(used.cpu_milli);
                region.used_memory_bytes = region.used_memory_bytes.saturating_add(used.memory_bytes);
                region.used_gpu_milli = region.used_gpu_milli.saturating_add(used.gpu_milli);
                region.attempts += u64::from(cluster.attempts);
            });
        }
        for replica in replicas.replicas {
            at(&replica.region, &|region| {
                let of_kind = if replica.voter { &mut region.voters } else { &mut region.learners };
                of_kind.push(replica.id);
                region.leads |= replica.leader;
            });
        }
        Self { regions: regions.into_values().collect(), revision: clusters.revision }
    }
}

impl View for RegionList {
    const SCHEMA: &'static str = "quorate.v1.region_list/1";

    fn human(&self, paint: Paint) -> String {
        let heads =
            ["REGION", "STATUS", "CLUSTERS", "NODES UP", "NODES LOST", "CPU", "MEMORY", "GPU", "ATTEMPTS", "REPLICAS"];
        let mut rows = Rows::new(paint, &heads);
        let of = |show: fn(u64) -> String, used: u64, all: u64| format!("{}/{}", show(used), show(all));
        for region in &self.regions {
            let replicas = region.voters.len() + region.learners.len();
            let leads = if region.leads { " (leads)" } else { "" };
            rows.row(vec![
                entry(&region.name),
                entry(out(region.withdrawal.as_ref(), region.attempts).unwrap_or_else(|| "in service".to_owned())),
                entry(region.clusters.len().to_string()),
                entry(region.nodes_up.to_string()),
                entry(region.nodes_lost.to_string()),
                entry(of(time::cores, region.used_cpu_milli, region.cpu_milli)),
                entry(of(time::bytes, region.used_memory_bytes, region.memory_bytes)),
                entry(of(time::cores, region.used_gpu_milli, region.gpu_milli)),
                entry(region.attempts.to_string()),
                entry(format!("{replicas}{leads}")),
            ]);
        }
        rows.text()
    }
}

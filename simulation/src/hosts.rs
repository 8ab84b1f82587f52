//! The simulated hosts: each starts the production code through the production's own `run`.

mod client;
mod job;
mod operator;
mod orders;
mod rack;
mod rebalances;
mod release;
mod replica;
mod reservations;
mod rivals;
mod tenants;
mod upkeep;

pub(crate) use client::{Common, start as start_client};
pub(crate) use job::a_job;
#[cfg(test)]
pub(crate) use job::spec;
pub(crate) use operator::{Order, Wish};
pub(crate) use rack::Rack;
pub(crate) use replica::{Begin, Replica};
pub(crate) use upkeep::Duty;

use quorate_state::{LeaseTerms, Preemption, Retention, SHARE_GAP_FIRST, Settings};

use crate::scenario::{Preempts, Scenario, Tunables};

pub(crate) const API_PORT: u16 = 7_001;
const AGENT_PORT: u16 = 7_002;
const RAFT_PORT: u16 = 7_003;

/// Addresses of all replicas on a port.
fn addresses(scenario: &Scenario, port: u16) -> Vec<String> {
    (0..scenario.replicas.len()).map(|at| format!("{}:{port}", Scenario::replica_host(at))).collect()
}

/// Limits with which runs leave memory, and none is forgotten.
fn retention(memory_runs_max: u64) -> Retention {
    Retention {
        memory_runs_max,
        memory_rows_max: 100_000_000,
        archive_runs_max: 1_000_000,
        archive_ms_max: 0,
        history_revisions_max: 1 << 40,
        segment_runs_max: 3,
    }
}

fn preemption(Preempts { by_priority, gap, spare_ms, times_max, share_gap }: Preempts) -> Preemption {
    let (by_share, share_gap) = (share_gap.is_some(), share_gap.unwrap_or(SHARE_GAP_FIRST));
    Preemption { by_priority, gap, spare_ms, times_max, by_share, share_gap }
}

/// The rows that the founder begins with.
fn settings(tunables: &Tunables) -> Settings {
    Settings {
        lease: LeaseTerms {
            server_ms: tunables.lease_server_ms,
            agent_ms: tunables.lease_agent_ms,
            kill_ms: tunables.lease_kill_ms,
            margin_ms: tunables.lease_margin_ms,
            rho_ppm: tunables.lease_rho_ppm,
        },
        node_losses_max: tunables.node_losses_max,
        unknown_ms_max: tunables.unknown_ms_max,
        event_revisions_max: tunables.event_revisions_max,
        retention: tunables.memory_runs_max.map(retention),
        preemption: Some(tunables.preempts.map_or(Preemption::OFF, preemption)),
        ..Settings::default()
    }
}

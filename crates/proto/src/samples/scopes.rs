//! What came with feature `region-policy`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{Change, Command, Drain, DrainTime, Event, Millis, Principal, Scope, ScopeRow, Served, Withdrawal};

fn scopes() -> [Scope; 2] {
    [Scope::Region("eu".parse().unwrap()), Scope::Cluster("eu-1".parse().unwrap())]
}

pub(super) fn scope_commands() -> Vec<Command> {
    let [region, cluster] = scopes();
    let drain = DrainTime { wait_ms: 600_000, for_ms: Some(7_200_000) };
    let withdraw =
        |scope: &Scope, drain| Command::WithdrawScope { scope: scope.clone(), drain, reason: "power".into() };
    vec![
        withdraw(&region, Some(drain)),
        withdraw(&cluster, Some(DrainTime { wait_ms: 0, for_ms: None })),
        withdraw(&cluster, None),
        Command::RestoreScope { scope: region.clone() },
        Command::RestoreScope { scope: cluster.clone() },
        Command::EndScopeDrains { drains: vec![(region, Served(7_290_000)), (cluster, Served(0))] },
    ]
}

pub(super) fn scope_events() -> Vec<Event> {
    let [region, cluster] = scopes();
    let by = Principal::anonymous_local();
    vec![
        Event::ScopeWithdrawn { scope: region.clone(), drains: true, by: by.clone() },
        Event::ScopeWithdrawn { scope: cluster.clone(), drains: false, by: by.clone() },
        Event::ScopeRestored { scope: region, by },
        Event::ScopeRestored { scope: cluster, by: Principal::controller() },
    ]
}

pub(super) fn scope_changes() -> Vec<Change> {
    let [region, cluster] = scopes();
    let row = |scope: &Scope, drain| {
        let (by, reason) = (Principal::anonymous_local(), "power".into());
        let withdrawal = Arc::new(Withdrawal { by, at: Millis(9), reason, drain });
        Change::Scope(Arc::new(ScopeRow { scope: scope.clone(), withdrawal }))
    };
    vec![
        row(&region, Some(Drain { due: Served(600_000), ends: Some(Served(7_290_000)) })),
        row(&cluster, Some(Drain { due: Served(0), ends: None })),
        row(&cluster, None),
        Change::ScopeGone(cluster),
    ]
}

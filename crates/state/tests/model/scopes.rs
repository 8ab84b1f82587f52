//! Clusters and regions that are taken out of service as one, and given back: what was said of nodes by themselves stays.

use proptest::prelude::*;
use quorate_state::{Command, DrainTime, Feature, Scope, Served};

use crate::{World, name};

/// What is said of the cluster or the region in which all nodes are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    /// It takes nothing new, for these milliseconds of waiting and until then.
    Drain { region: bool, wait_ms: u64, for_ms: Option<u64> },
    /// It takes nothing new.
    Cordon { region: bool },
    /// It takes work again.
    Restore { region: bool },
    /// What should have ended has; `early`: as if it were sooner than it is.
    End { early: bool },
}

pub(crate) fn said() -> impl Strategy<Value = Said> {
    let drain = (any::<bool>(), 0..10_000_u64, proptest::option::of(0..20_000_u64));
    prop_oneof![
        2 => drain.prop_map(|(region, wait_ms, for_ms)| Said::Drain { region, wait_ms, for_ms }),
        1 => any::<bool>().prop_map(|region| Said::Cordon { region }),
        2 => any::<bool>().prop_map(|region| Said::Restore { region }),
        2 => prop::bool::weighted(0.2).prop_map(|early| Said::End { early }),
    ]
}

fn scope(region: bool) -> Scope {
    if region { Scope::Region(name("eu")) } else { Scope::Cluster(name("eu-a")) }
}

impl World {
    pub(super) fn restore_scopes(&mut self) {
        self.say_of_scope(Said::Restore { region: true });
        self.say_of_scope(Said::Restore { region: false });
    }

    pub(super) fn say_of_scope(&mut self, said: Said) {
        let before = self.state.clone();
        let has = |feature| before.has_feature(feature);
        let may = has(Feature::NodeDrain) && has(Feature::RegionPolicy) && before.clusters().next().is_some();
        match said {
            Said::Drain { region, wait_ms, for_ms } => {
                let drain = Some(DrainTime { wait_ms, for_ms });
                let command = Command::WithdrawScope { scope: scope(region), drain, reason: "why".into() };
                let result = self.run(None, command);
                let may = may && for_ms.is_none_or(|for_ms| wait_ms < for_ms);
                assert_eq!(result.is_ok(), may, "{result:?}");
                assert!(!may || self.state.nodes().all(|node| node.is_out() && node.drain().is_some()));
            }
            Said::Cordon { region } => {
                let command = Command::WithdrawScope { scope: scope(region), drain: None, reason: "why".into() };
                let result = self.run(None, command);
                assert_eq!(result.is_ok(), may, "{result:?}");
                assert!(!may || self.state.nodes().all(|node| node.is_out()));
                let was = before.scope(&scope(region));
                assert!(was.is_none() || self.state.scope(&scope(region)) == was, "a cordon leaves a drain alone");
            }
            Said::Restore { region } => {
                let result = self.run(None, Command::RestoreScope { scope: scope(region) });
                assert_eq!(result.is_ok(), has(Feature::RegionPolicy) && before.clusters().next().is_some());
                assert!(result.is_err() || self.state.scope(&scope(region)).is_none());
            }
            Said::End { early } => {
                let ending = before.scopes().filter_map(|row| Some((row.scope.clone(), row.withdrawal.drain?.ends?)));
                let less = |ends: Served| if early { Served(ends.0.saturating_sub(1)) } else { ends };
                let drains = ending.map(|(scope, ends)| (scope, less(ends))).collect();
                let result = self.run(None, Command::EndScopeDrains { drains });
                assert_eq!(result.is_ok(), has(Feature::RegionPolicy), "{result:?}");
                let served = self.state.meta().served;
                for row in before.scopes() {
                    let ends = row.withdrawal.drain.and_then(|drain| drain.ends);
                    let is_over = !early && ends.is_some_and(|ends| ends <= served);
                    assert_eq!(self.state.scope(&row.scope).is_none(), is_over, "{}", row.scope);
                }
            }
        }
        for node in before.nodes() {
            let now = self.state.node(&node.name).unwrap();
            assert_eq!((now.cordoned, &now.withdrawal), (node.cordoned, &node.withdrawal), "its own row is its own");
        }
    }
}

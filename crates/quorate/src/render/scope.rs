//! Clusters and regions that are taken out of service as one.

use serde::Serialize;

use super::{Paint, View, time};

/// `region drain`, `region cordon`, and the same of clusters.
#[derive(Debug, Serialize)]
pub(crate) struct ScopeWithdrawn {
    /// `region` or `cluster`.
    pub(crate) scope: &'static str,
    pub(crate) name: String,
    /// What runs there is moved elsewhere.
    pub(crate) drain: bool,
    /// Attempts may end by themselves for so long.
    pub(crate) wait_ms: u64,
    /// It takes work again after so long; none: when it is told to.
    pub(crate) for_ms: Option<u64>,
    /// Since when.
    pub(crate) revision: u64,
}

impl View for ScopeWithdrawn {
    const SCHEMA: &'static str = "quorate.v1.scope_withdrawn/1";

    fn human(&self, _: Paint) -> String {
        let Self { scope, name, .. } = self;
        let lasts = self.for_ms.map_or_else(String::new, |lasts| format!(" for {}", time::span(lasts)));
        let rest = match (self.drain, self.wait_ms) {
            (false, _) => "what runs there goes on".to_owned(),
            (true, 0) => "what runs there is moved elsewhere".to_owned(),
            (true, wait) => format!("what still runs there in {} is moved elsewhere", time::span(wait)),
        };
        format!("No node of {scope} {name} takes anything new{lasts}; {rest}")
    }
}

/// `region uncordon`, `cluster uncordon`.
#[derive(Debug, Serialize)]
pub(crate) struct ScopeRestored {
    /// `region` or `cluster`.
    pub(crate) scope: &'static str,
    pub(crate) name: String,
    /// Since when.
    pub(crate) revision: u64,
}

impl View for ScopeRestored {
    const SCHEMA: &'static str = "quorate.v1.scope_restored/1";

    fn human(&self, _: Paint) -> String {
        let Self { scope, name, .. } = self;
        format!(
            "The nodes of {scope} {name} take work again, but for those that were taken out of service by themselves"
        )
    }
}

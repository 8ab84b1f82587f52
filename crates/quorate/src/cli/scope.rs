//! Taking a cluster or a region out of service as one, and back: verbs of two nouns.

use clap::{Args, Subcommand};
use quorate_client::Client;
use quorate_proto::v1;
use quorate_proto::v1::restore_scope_request::Scope as Restored;
use quorate_proto::v1::withdraw_scope_request::Scope as Withdrawn;

use super::Context;
use super::node::{DrainTerms, LOOK_EVERY};
use crate::exit::{Code, Error};
use crate::render::scope::{ScopeRestored, ScopeWithdrawn};
use crate::render::time;

/// What is named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Region,
    Cluster,
}

#[derive(Debug, Subcommand)]
pub(super) enum Service {
    /// Place nothing more on any node of it, and move what runs there elsewhere; nodes that come later are drained as well
    Drain(Drain),
    /// Place nothing more on any node of it; what runs there goes on
    Cordon(One),
    /// Place work on its nodes again, but for those that were cordoned or drained by themselves
    #[command(visible_alias = "undrain")]
    Uncordon(One),
}

#[derive(Args, Debug)]
pub(super) struct One {
    /// Its name
    name: String,
}

#[derive(Args, Debug)]
pub(super) struct Drain {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    terms: DrainTerms,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Cluster => "cluster",
        }
    }

    fn withdrawn(self, name: &str) -> Option<Withdrawn> {
        Some(match self {
            Self::Region => Withdrawn::Region(name.to_owned()),
            Self::Cluster => Withdrawn::Cluster(name.to_owned()),
        })
    }

    fn restored(self, name: &str) -> Option<Restored> {
        Some(match self {
            Self::Region => Restored::Region(name.to_owned()),
            Self::Cluster => Restored::Cluster(name.to_owned()),
        })
    }
}

impl Service {
    pub(super) async fn execute(self, context: &Context, kind: Kind) -> Result<Code, Error> {
        match self {
            Self::Drain(drain) => drain.execute(context, kind).await,
            Self::Cordon(One { name }) => {
                let request = v1::WithdrawScopeRequest { scope: kind.withdrawn(&name), ..Default::default() };
                let revision = context.client()?.withdraw_scope(request).await?.revision;
                let scope = kind.word();
                context.output.show(&ScopeWithdrawn {
                    scope,
                    name,
                    drain: false,
                    wait_ms: 0,
                    for_ms: None,
                    revision,
                })?;
                Ok(Code::Ok)
            }
            Self::Uncordon(One { name }) => {
                let request = v1::RestoreScopeRequest { scope: kind.restored(&name), request_id: String::new() };
                let revision = context.client()?.restore_scope(request).await?.revision;
                context.output.show(&ScopeRestored { scope: kind.word(), name, revision })?;
                Ok(Code::Ok)
            }
        }
    }
}

impl Drain {
    async fn execute(self, context: &Context, kind: Kind) -> Result<Code, Error> {
        let Self { one: One { name }, terms } = self;
        let (wait_ms, for_ms) = terms.millis();
        let DrainTerms { reason, wait, .. } = terms;
        let client = if wait { context.patient_client()? } else { context.client()? };
        let (scope, request_id) = (kind.withdrawn(&name), String::new());
        let request = v1::WithdrawScopeRequest { scope, drain: true, wait_ms, for_ms, reason, request_id };
        let revision = client.withdraw_scope(request).await?.revision;
        if wait {
            to_empty(context, &client, kind, &name).await?;
        }
        let scope = kind.word();
        context.output.show(&ScopeWithdrawn { scope, name, drain: true, wait_ms, for_ms, revision })?;
        Ok(Code::Ok)
    }
}

/// Returns when nothing is left on the nodes of what is drained.
async fn to_empty(context: &Context, client: &Client, kind: Kind, name: &str) -> Result<(), Error> {
    let of = format!("{} {name}", kind.word());
    let mut said = String::new();
    loop {
        let clusters = client.list_clusters(v1::ListClustersRequest {}).await?.clusters;
        let is_its = |cluster: &&v1::ClusterSummary| match kind {
            Kind::Region => cluster.region == name,
            Kind::Cluster => cluster.name == name,
        };
        let (mut left, mut drains) = (0_u64, false);
        for cluster in clusters.iter().filter(is_its) {
            left += u64::from(cluster.attempts);
            let withdrawal = match kind {
                Kind::Region => &cluster.region_withdrawal,
                Kind::Cluster => &cluster.withdrawal,
            };
            drains |= withdrawal.as_ref().is_some_and(|withdrawal| withdrawal.drain_in_ms.is_some());
        }
        let progress =
            format!("{of}: {} left; 'quorate node status' says what each waits for", time::count(left, "attempt"));
        if progress != said && left > 0 {
            context.output.note(&progress);
            said = progress;
        }
        if left == 0 {
            return Ok(());
        }
        if !drains {
            return Err(Error::DrainEnded { of });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

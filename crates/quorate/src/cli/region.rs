//! `quorate region`: the places where clusters stand.

use clap::{Args, Subcommand};
use quorate_proto::v1;
use quorate_proto::v1::forecast_loss_request::Scope;

use super::Context;
use super::scope::{Kind, Service};
use super::stale::Stale;
use super::whatif::WhatIf;
use crate::exit::{Code, Error};
use crate::render::region::RegionList;

/// `quorate region`.
#[derive(Args, Debug)]
pub(crate) struct Region {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List regions with the clusters, nodes and replicas in them
    List {
        #[command(flatten)]
        stale: Stale,
    },
    /// Say what would become of the work in a region if all of its nodes went away now; changes nothing
    #[command(name = "whatif")]
    WhatIf(WhatIf),
    #[command(flatten)]
    Service(Service),
}

impl Region {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::List { stale } => list(context, &stale).await,
            Verb::Service(service) => service.execute(context, Kind::Region).await,
            Verb::WhatIf(whatif) => whatif.execute(context, "region", Scope::Region).await,
        }
    }
}

async fn list(context: &Context, stale: &Stale) -> Result<Code, Error> {
    let client = stale.client(context)?;
    let clusters = client.list_clusters(v1::ListClustersRequest {}).await?;
    let replicas = client.list_replicas(v1::ListReplicasRequest {}).await?;
    context.output.show_read(&RegionList::new(clusters, replicas), client.staleness())?;
    Ok(Code::Ok)
}

//! `quorate cluster`: clusters of machines.

use clap::{Args, Subcommand};
use quorate_proto::v1;

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::node::ClusterList;

/// `quorate cluster`.
#[derive(Args, Debug)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List clusters with what they hold
    List {
        #[command(flatten)]
        stale: Stale,
    },
}

impl Cluster {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let Verb::List { stale } = self.verb;
        let client = stale.client(context)?;
        let response = client.list_clusters(v1::ListClustersRequest {}).await?;
        let clusters = response.clusters.into_iter().map(Into::into).collect();
        context.output.show_read(&ClusterList { clusters, revision: response.revision }, client.staleness())?;
        Ok(Code::Ok)
    }
}

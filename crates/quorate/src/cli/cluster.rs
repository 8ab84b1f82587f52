//! `quorate cluster`: clusters of machines.

use clap::{Args, Subcommand};
use quorate_proto::v1;
use quorate_proto::v1::forecast_loss_request::Scope;

use super::Context;
use super::scope::{Kind, Service};
use super::stale::Stale;
use super::whatif::WhatIf;
use crate::exit::{Code, Error};
use crate::render::join_token::NodeAdmissionSet;
use crate::render::node::ClusterList;
use crate::render::table::word;

/// `quorate cluster`.
#[derive(Args, Debug)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Change a setting of the whole control plane: node-admission=open, or token, with which new nodes need a join token
    Set {
        /// The setting and its value
        #[arg(value_name = "KEY=VALUE", value_parser = setting)]
        setting: v1::NodeAdmission,
    },
    /// Say what would become of the work in a cluster if all of its nodes went away now; changes nothing
    #[command(name = "whatif")]
    WhatIf(WhatIf),
    #[command(flatten)]
    Service(Service),
    /// List clusters with what they hold
    List {
        #[command(flatten)]
        stale: Stale,
    },
}

impl Cluster {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::List { stale } => {
                let client = stale.client(context)?;
                let response = client.list_clusters(v1::ListClustersRequest {}).await?;
                let clusters = response.clusters.into_iter().map(Into::into).collect();
                context.output.show_read(&ClusterList { clusters, revision: response.revision }, client.staleness())?;
            }
            Verb::Service(service) => return service.execute(context, Kind::Cluster).await,
            Verb::WhatIf(whatif) => return whatif.execute(context, "cluster", Scope::Cluster).await,
            Verb::Set { setting } => {
                let request = v1::SetNodeAdmissionRequest { admission: setting.into(), request_id: String::new() };
                let revision = context.client()?.set_node_admission(request).await?.revision;
                let node_admission = word("NODE_ADMISSION_", setting.as_str_name());
                context.output.show(&NodeAdmissionSet { node_admission, revision })?;
            }
        }
        Ok(Code::Ok)
    }
}

fn setting(text: &str) -> Result<v1::NodeAdmission, String> {
    match text {
        "node-admission=open" => Ok(v1::NodeAdmission::Open),
        "node-admission=token" => Ok(v1::NodeAdmission::Token),
        _ => Err("there is one setting so far: node-admission=open or node-admission=token".to_owned()),
    }
}

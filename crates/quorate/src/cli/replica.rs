//! `quorate replica`: the replicas of the control plane.

use clap::{Args, Subcommand};
use quorate_proto::v1;

use super::Context;
use crate::exit::{Code, Error};
use crate::render::replica::ReplicaList;

/// `quorate replica`.
#[derive(Args, Debug)]
pub(crate) struct Replica {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List replicas, and which one leads
    List,
}

impl Replica {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let Verb::List = self.verb;
        let response = context.client()?.list_replicas(v1::ListReplicasRequest {}).await?;
        context.output.show(&ReplicaList::from(response))?;
        Ok(Code::Ok)
    }
}

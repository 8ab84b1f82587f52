//! `quorate namespace`: the key spaces that jobs live in.

use clap::{Args, Subcommand};
use quorate_proto::v1;

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::namespace::{NamespaceCreated, NamespaceList};

/// `quorate namespace`.
#[derive(Args, Debug)]
pub(crate) struct Namespace {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a namespace
    Create {
        /// Its name: letters, digits, '.', '_' and '-'
        name: String,
    },
    /// List namespaces
    List {
        #[command(flatten)]
        stale: Stale,
    },
}

impl Namespace {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Create { name } => {
                let client = context.client()?;
                let request = v1::CreateNamespaceRequest { namespace: name.clone(), request_id: String::new() };
                let revision = client.create_namespace(request).await?.revision;
                context.output.show(&NamespaceCreated { namespace: name, revision })?;
            }
            Verb::List { stale } => {
                let client = stale.client(context)?;
                let response = client.list_namespaces(v1::ListNamespacesRequest {}).await?;
                context.output.show_read(&NamespaceList::from(response), client.staleness())?;
            }
        }
        Ok(Code::Ok)
    }
}

//! `quorate node`: the machines that run work.

use clap::{Args, Subcommand};
use quorate_proto::v1;

use super::stale::Stale;
use super::{Context, PAGE_ROWS};
use crate::exit::{Code, Error};
use crate::render::node::{NodeCordoned, NodeList};

/// `quorate node`.
#[derive(Args, Debug)]
pub(crate) struct Node {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List nodes with their capacity and lease
    List {
        #[command(flatten)]
        stale: Stale,
    },
    /// Place nothing more on a node; what runs there goes on
    Cordon(One),
    /// Place work on a cordoned node again
    Uncordon(One),
}

#[derive(Args, Debug)]
struct One {
    /// The node's name, as in 'node list'
    name: String,
}

impl Node {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::List { stale } => list(context, &stale).await,
            Verb::Cordon(One { name }) => cordon(context, name, true).await,
            Verb::Uncordon(One { name }) => cordon(context, name, false).await,
        }
    }
}

async fn cordon(context: &Context, node: String, cordoned: bool) -> Result<Code, Error> {
    let request = v1::CordonNodeRequest { node: node.clone(), cordoned, request_id: String::new() };
    let revision = context.client()?.cordon_node(request).await?.revision;
    context.output.show(&NodeCordoned { node, cordoned, revision })?;
    Ok(Code::Ok)
}

async fn list(context: &Context, stale: &Stale) -> Result<Code, Error> {
    let client = stale.client(context)?;
    let mut list = NodeList { nodes: Vec::new(), revision: 0 };
    let mut page_token = String::new();
    loop {
        let page = client.list_nodes(v1::ListNodesRequest { page_size: PAGE_ROWS, page_token }).await?;
        list.revision = page.revision;
        list.nodes.extend(page.nodes.into_iter().map(Into::into));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.show_read(&list, client.staleness())?;
    if list.nodes.is_empty() {
        context.output.hint("no node yet: start one with 'quorate agent'");
    }
    Ok(Code::Ok)
}

//! `quorate node`: the machines that run work.

mod token;
mod why_not;

use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_client::Client;
use quorate_proto::v1::forecast_loss_request::Scope;
use quorate_proto::{ApiError, v1};

use super::stale::Stale;
use super::whatif::WhatIf;
use super::{Context, PAGE_ROWS};
use crate::exit::{Code, Error};
use crate::render::node::{NodeCordoned, NodeDrained, NodeForgotten, NodeList};
use crate::render::node_status::NodeStatus;
use crate::settings;

/// How often a command that waits looks at the node.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A name that differs in so many characters is probably the one that was meant.
const NEAREST_EDITS_MAX: usize = 3;

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
    /// Place work on a node again that was cordoned or drained
    #[command(visible_alias = "undrain")]
    Uncordon(One),
    /// Show what a node has, what is on it, and what a drain of it waits for
    Status(Status),
    /// Place nothing more on a node, and move what runs there elsewhere; at_most_once tasks are waited for
    Drain(Drain),
    /// Give up a lost node that will not be back, and what was on it; its name is free then
    Forget(One),
    /// Say whether a node could take a task, and every check that it fails
    WhyNot(why_not::WhyNot),
    /// Say what would become of the work on a node if it went away now; changes nothing
    #[command(name = "whatif")]
    WhatIf(WhatIf),
    /// Make, list and revoke join tokens, which admit new nodes
    Token(token::Token),
}

#[derive(Args, Debug)]
struct One {
    /// The node's name, as in 'node list'
    name: String,
}

#[derive(Args, Debug)]
struct Status {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    stale: Stale,
}

#[derive(Args, Debug)]
struct Drain {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    terms: DrainTerms,
}

/// How a drain goes, of a node as of a cluster or a region.
#[derive(Args, Debug)]
pub(super) struct DrainTerms {
    /// Let what runs there end by itself for this time, such as 10m, and move only what is left then
    #[arg(long, value_name = "TIME", value_parser = settings::timeout)]
    pub(super) after: Option<Duration>,
    /// Take work again by itself after this time, such as 2h; without it the drain lasts until 'undrain'
    #[arg(long = "for", value_name = "TIME", value_parser = settings::timeout)]
    pub(super) lasts: Option<Duration>,
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) reason: String,
    /// Return when nothing is left there, and say meanwhile what it waits for
    #[arg(long)]
    pub(super) wait: bool,
}

impl DrainTerms {
    /// The milliseconds of `--after` and `--for`.
    pub(super) fn millis(&self) -> (u64, Option<u64>) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        (self.after.map_or(0, millis), self.lasts.map(millis))
    }
}

impl Node {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::List { stale } => list(context, &stale).await,
            Verb::Cordon(One { name }) => cordon(context, name, true).await,
            Verb::Uncordon(One { name }) => cordon(context, name, false).await,
            Verb::Status(Status { one: One { name }, stale }) => {
                let client = stale.client(context)?;
                let status = get(&client, &name).await?;
                context.output.show_read(&status, client.staleness())?;
                Ok(Code::Ok)
            }
            Verb::Drain(drain) => drain.execute(context).await,
            Verb::Forget(One { name }) => forget(context, name).await,
            Verb::WhyNot(why_not) => why_not.execute(context).await,
            Verb::WhatIf(whatif) => whatif.execute(context, "node", Scope::Node).await,
            Verb::Token(token) => token.execute(context).await,
        }
    }
}

impl Drain {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let Self { one: One { name: node }, terms } = self;
        let ((wait_ms, for_ms), request_id) = (terms.millis(), String::new());
        let DrainTerms { reason, wait, .. } = terms;
        let client = if wait { context.patient_client()? } else { context.client()? };
        let revision = match for_ms {
            None => {
                let request = v1::DrainNodeRequest { node: node.clone(), wait_ms, reason, request_id };
                known(&client, &node, client.drain_node(request).await).await?.revision
            }
            Some(for_ms) => {
                let request = v1::MaintainNodeRequest { node: node.clone(), wait_ms, for_ms, reason, request_id };
                known(&client, &node, client.maintain_node(request).await).await?.revision
            }
        };
        if wait {
            to_empty(context, &client, &node).await?;
        }
        context.output.show(&NodeDrained { node, wait_ms, for_ms, revision })?;
        Ok(Code::Ok)
    }
}

/// Returns when nothing is left on a node that is drained.
async fn to_empty(context: &Context, client: &Client, node: &str) -> Result<(), Error> {
    let mut said = String::new();
    loop {
        let status = get(client, node).await?;
        let progress = status.progress();
        if progress != said {
            context.output.note(&progress);
            said = progress;
        }
        if status.is_empty() {
            return Ok(());
        }
        if !status.is_draining() {
            return Err(Error::DrainEnded { of: format!("node {node}") });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn get(client: &Client, node: &str) -> Result<NodeStatus, Error> {
    let found = client.get_node(v1::GetNodeRequest { node: node.to_owned() }).await;
    Ok(known(client, node, found).await?.into())
}

async fn forget(context: &Context, node: String) -> Result<Code, Error> {
    let client = context.client()?;
    let request = v1::ForgetNodeRequest { node: node.clone(), request_id: String::new() };
    let forgotten = client.forget_node(request).await;
    let revision = known(&client, &node, forgotten).await?.revision;
    context.output.show(&NodeForgotten { node, revision })?;
    Ok(Code::Ok)
}

/// An answer about a node; when there is no such node, the name that was probably meant goes with the error.
async fn known<T>(client: &Client, node: &str, answer: Result<T, quorate_client::Error>) -> Result<T, Error> {
    let error = match answer {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let is_unknown = matches!(error.api(), Some(ApiError::NotFound { kind, .. }) if kind == "node");
    if !is_unknown {
        return Err(error.into());
    }
    // Of the first page: this is a help, not an answer.
    let page = client.list_nodes(v1::ListNodesRequest { page_size: PAGE_ROWS, page_token: String::new() }).await;
    let names = page.map(|page| page.nodes).unwrap_or_default().into_iter().map(|known| known.name);
    let near = names.map(|name| (strsim::damerau_levenshtein(node, &name), name)).min();
    let near = near.filter(|(edits, _)| *edits <= NEAREST_EDITS_MAX).map(|(_, name)| name);
    Err(Error::UnknownNode { node: node.to_owned(), near })
}

async fn cordon(context: &Context, node: String, cordoned: bool) -> Result<Code, Error> {
    let request = v1::CordonNodeRequest { node: node.clone(), cordoned, request_id: String::new() };
    let client = context.client()?;
    let answer = client.cordon_node(request).await;
    let revision = known(&client, &node, answer).await?.revision;
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

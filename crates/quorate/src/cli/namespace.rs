//! `quorate namespace`: the key spaces that jobs live in, and the part of the cluster that each has.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use quorate_client::jobfile::amounts;
use quorate_proto::v1;

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::namespace::{FairnessShown, NamespaceCreated, NamespaceList, NamespaceSet, NamespaceShown};

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
        #[command(flatten)]
        share: Share,
    },
    /// Change the part of the cluster that a namespace has; what runs goes on
    #[command(group = ArgGroup::new("change").required(true).multiple(true).args(["parent", "weight", "guarantee", "maximum"]))]
    Set {
        /// Its name
        name: String,
        #[command(flatten)]
        share: Share,
    },
    /// Show a namespace and those directly below it, with what they hold and may hold
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        stale: Stale,
    },
    /// List namespaces with what they hold and what waits
    List {
        #[command(flatten)]
        stale: Stale,
    },
    /// Show or change how namespaces are kept even over time
    Fairness {
        /// What a namespace held so long ago counts half, such as 10m; 0s: only what runs counts
        #[arg(long, value_name = "TIME", value_parser = time)]
        half_life: Option<Duration>,
        /// A task that has waited longer goes before all that have not, such as 4h; 0s: never
        #[arg(long, value_name = "TIME", value_parser = time)]
        overdue_after: Option<Duration>,
    },
}

/// Parts of a share.
#[derive(Args, Debug)]
struct Share {
    /// The namespace that it stands below, within whose part it has its own; none: below no other
    #[arg(long, value_name = "NAMESPACE")]
    parent: Option<String>,
    /// Its part beside those of its siblings that want something: 1 to 1000000, 100 for those of which none was said
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u32>,
    /// Below this it goes before its siblings, such as cpu=4,memory=8Gi,gpu=1; none: nothing
    ///
    /// Nothing is kept free for it. It takes the place of all that was guaranteed before, and has to lie within what is
    /// guaranteed to the parent, together with what is to its siblings.
    #[arg(long, value_name = "AMOUNTS", value_parser = amounts)]
    guarantee: Option<v1::Amounts>,
    /// It never holds more, with all below it, such as cpu=40; none: no limit
    ///
    /// It takes the place of all that was limited before. What runs beyond a lower maximum goes on.
    #[arg(long, value_name = "AMOUNTS", value_parser = amounts)]
    maximum: Option<v1::Amounts>,
}

impl Share {
    /// None when nothing is said.
    fn change(self) -> Option<v1::ShareChange> {
        let change = v1::ShareChange {
            parent: self.parent.map(|parent| if parent == "none" { String::new() } else { parent }),
            weight: self.weight,
            guaranteed: self.guarantee,
            maximum: self.maximum,
        };
        (change != v1::ShareChange::default()).then_some(change)
    }
}

impl Namespace {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Create { name, share } => {
                let client = context.client()?;
                let namespace = name.clone();
                let revision = match share.change() {
                    None => {
                        let request = v1::CreateNamespaceRequest { namespace, request_id: String::new() };
                        client.create_namespace(request).await?.revision
                    }
                    // A replica that is too old for shares refuses it, instead of leaving them out.
                    share => {
                        let request = v1::SetNamespaceRequest { namespace, share, create: true, ..Default::default() };
                        client.set_namespace(request).await.map_err(older)?.revision
                    }
                };
                context.output.show(&NamespaceCreated { namespace: name, revision })?;
            }
            Verb::Set { name, share } => {
                let client = context.client()?;
                let share = share.change();
                let request = v1::SetNamespaceRequest { namespace: name, share, ..Default::default() };
                let response = client.set_namespace(request).await.map_err(older)?;
                context.output.show(&NamespaceSet::from(response))?;
            }
            Verb::Show { name, stale } => {
                let client = stale.client(context)?;
                let response =
                    client.get_namespace(v1::GetNamespaceRequest { namespace: name }).await.map_err(older)?;
                context.output.show_read(&NamespaceShown::from(response), client.staleness())?;
            }
            Verb::List { stale } => {
                let client = stale.client(context)?;
                let response = client.list_namespaces(v1::ListNamespacesRequest {}).await?;
                context.output.show_read(&NamespaceList::from(response), client.staleness())?;
            }
            Verb::Fairness { half_life: None, overdue_after: None } => {
                let response = context.client()?.list_namespaces(v1::ListNamespacesRequest {}).await?;
                context.output.show(&FairnessShown::new(response.fairness, response.revision))?;
            }
            Verb::Fairness { half_life, overdue_after } => {
                let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let request = v1::SetFairnessRequest {
                    half_life_ms: half_life.map(millis),
                    overdue_ms: overdue_after.map(millis),
                    request_id: String::new(),
                };
                let response = context.client()?.set_fairness(request).await.map_err(older)?;
                context.output.show(&FairnessShown::new(response.fairness, response.revision))?;
            }
        }
        Ok(Code::Ok)
    }
}

fn older(error: quorate_client::Error) -> Error {
    Error::of_older(error, "shares of namespaces")
}

/// How long: what is too long is for the cluster to say.
fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| format!("{text:?} is not a duration ({why}): write 10m, 4h or 0s"))
}

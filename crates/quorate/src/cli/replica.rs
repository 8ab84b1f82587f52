//! `quorate replica`: the replicas of the control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_client::{Client, ClientConfig};
use quorate_proto::v1;
use quorate_seams::{Network, SystemEntropy};

use super::Context;
use crate::exit::{Code, Error};
use crate::render::replica::{ReplicaAddition, ReplicaChanged, ReplicaList, ReplicaStatusList};

/// For one replica to say how it stands; it asks all others meanwhile.
const STATUS_PATIENCE: Duration = Duration::from_secs(4);

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
    /// Ask every replica that can be reached how it stands; works without a quorum, and says why there is none
    Status,
    /// Say how to add a replica: the command that its machine has to run
    Add(Add),
    /// Let a learner vote
    Promote(One),
    /// Remove a replica for good; refused where too few voters would be left that answer
    Remove(One),
    /// Pass leadership on, as before maintenance of the leader's machine
    Transfer(Transfer),
}

#[derive(Args, Debug)]
struct Add {
    /// One that follows without a vote, as in a far region, until 'replica promote'
    #[arg(long)]
    learner: bool,
}

#[derive(Args, Debug)]
struct One {
    /// The replica's number, as in 'replica list'
    id: u64,
}

#[derive(Args, Debug)]
struct Transfer {
    /// To this replica; else to the one with most of the log
    to: Option<u64>,
}

impl Replica {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        match self.verb {
            Verb::List => {
                let response = client.list_replicas(v1::ListReplicasRequest {}).await?;
                context.output.show(&ReplicaList::from(response))?;
            }
            Verb::Status => return status(context).await,
            Verb::Add(Add { learner }) => {
                let response = client.list_replicas(v1::ListReplicasRequest {}).await?;
                context.output.show(&ReplicaAddition::of(response, learner))?;
            }
            Verb::Promote(One { id }) => {
                client.promote_replica(v1::PromoteReplicaRequest { id }).await?;
                context.output.show(&ReplicaChanged::promoted(id))?;
            }
            Verb::Remove(One { id }) => {
                client.remove_replica(v1::RemoveReplicaRequest { id }).await?;
                context.output.show(&ReplicaChanged::removed(id))?;
            }
            Verb::Transfer(Transfer { to }) => {
                // The term makes the request safe to repeat: leadership moves once.
                let term = client.list_replicas(v1::ListReplicasRequest {}).await?.term;
                let request = v1::TransferLeadershipRequest { to: to.unwrap_or_default(), term };
                let leader = client.transfer_leadership(request).await?.leader;
                context.output.show(&ReplicaChanged::leads(leader))?;
            }
        }
        Ok(Code::Ok)
    }
}

/// Asks the configured replicas, and those that they name.
async fn status(context: &Context) -> Result<Code, Error> {
    let network = context.network()?;
    let mut unasked: BTreeSet<String> = context.connection()?.servers.into_iter().collect();
    let mut answers = BTreeMap::new();
    while !unasked.is_empty() {
        let asked: Vec<_> = unasked
            .iter()
            .map(|address| {
                let (address, network) = (address.clone(), network.clone());
                tokio::spawn(async move {
                    let answer = ask(&address, network).await;
                    (address, answer)
                })
            })
            .collect();
        for task in asked {
            // Only a panic of ours ends such a task without an answer.
            let Ok((address, answer)) = task.await else { continue };
            answers.insert(address, answer);
        }
        let named = answers.values().filter_map(|answer| answer.as_ref().ok()).flat_map(|answer| &answer.peers);
        unasked = named.map(|peer| peer.api_address.clone()).filter(|api| !answers.contains_key(api)).collect();
    }
    let list = ReplicaStatusList::new(answers);
    let code = if list.quorum() { Code::Ok } else { Code::Unavailable };
    context.output.show(&list)?;
    Ok(code)
}

async fn ask(address: &str, network: Arc<dyn Network>) -> Result<v1::GetReplicaStatusResponse, String> {
    let config = ClientConfig {
        deadline: STATUS_PATIENCE,
        attempt_timeout: STATUS_PATIENCE,
        ..ClientConfig::new(vec![address.to_owned()])
    };
    let client = Client::new(config, network, Arc::new(SystemEntropy));
    client.replica_status(v1::GetReplicaStatusRequest {}).await.map_err(|error| error.to_string())
}

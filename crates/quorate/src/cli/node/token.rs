//! `quorate node token`: what admits new nodes.

use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_proto::convert::join_token::secret_digest;
use quorate_proto::v1;
use quorate_seams::{Entropy as _, SystemEntropy};

use crate::cli::Context;
use crate::exit::{Code, Error};
use crate::render::join_token::{JoinTokenCreated, JoinTokenList, JoinTokenRevoked};

/// Begins every secret, so that people and scanners know one when they see it.
const SECRET_PREFIX: &str = "qjt-";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// `quorate node token`.
#[derive(Args, Debug)]
pub(super) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a join token; its secret is shown this once
    Create(Create),
    /// List join tokens, and say whether new nodes need one
    List,
    /// End a join token; the nodes that it has admitted stay
    Revoke {
        /// Its id, as in 'node token list'
        id: String,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// How long it admits nodes, such as 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
    ttl: Duration,
    /// How many nodes it admits
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uses: u32,
    /// The region that those nodes must stand in
    #[arg(long)]
    region: Option<String>,
    /// The cluster that they must belong to
    #[arg(long)]
    cluster: Option<String>,
    /// A label that they get, whatever they say; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

impl Token {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Create(create) => create.execute(context).await?,
            Verb::List => {
                let response = context.client()?.list_join_tokens(v1::ListJoinTokensRequest {}).await?;
                context.output.show(&JoinTokenList::from(response))?;
            }
            Verb::Revoke { id } => {
                let request = v1::RevokeJoinTokenRequest { id: id.clone(), request_id: String::new() };
                let revision = context.client()?.revoke_join_token(request).await?.revision;
                context.output.show(&JoinTokenRevoked { id, revision })?;
            }
        }
        Ok(Code::Ok)
    }
}

impl Create {
    async fn execute(self, context: &Context) -> Result<(), Error> {
        let Self { ttl, uses, region, cluster, labels } = self;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        // Drawn here: the cluster never has it, and a request that is repeated asks for the same token.
        let secret = secret();
        let request = v1::CreateJoinTokenRequest {
            digest: secret_digest(&secret).0.to_vec().into(),
            ttl_ms,
            uses_max: uses,
            region: region.unwrap_or_default(),
            cluster: cluster.unwrap_or_default(),
            labels: labels.into_iter().map(|(key, value)| v1::Label { key, value }).collect(),
            request_id: String::new(),
        };
        let response = context.client()?.create_join_token(request.clone()).await?;
        context.output.show(&JoinTokenCreated::new(response, request, secret))?;
        context.output.hint("it is shown this once; a new agent takes it with --join-token or agent.join_token_file");
        Ok(())
    }
}

fn secret() -> String {
    let mut bytes = [0; SECRET_BYTES];
    SystemEntropy.fill(&mut bytes);
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{SECRET_PREFIX}{digits}")
}

/// How long a token lives: what is too long is for the cluster to say.
fn lifetime(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| format!("{text:?} is not a duration ({why}): write 30m, 24h or 7d"))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not a label: write key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_its_own() {
        let (one, other) = (secret(), secret());
        assert_eq!(one.len(), SECRET_PREFIX.len() + 2 * SECRET_BYTES);
        assert_ne!(one, other);
    }
}

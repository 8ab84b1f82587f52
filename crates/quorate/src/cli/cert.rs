//! `quorate cert`: an authority and certificates, for development and for clusters without one of their own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_seams::SystemClock;
use quorate_tls::{Authority, Peer, PeerError, Request, Role};

use super::Context;
use crate::exit::{Code, Error};
use crate::render::cert::Certificate;

/// `quorate cert`.
#[derive(Args, Debug)]
pub(crate) struct Cert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an authority (a CA): its certificate for everybody's tls.ca, its key for nobody but you
    Ca(Ca),
    /// Issue a certificate and its key
    Issue(Issue),
}

#[derive(Args, Debug)]
struct Ca {
    /// Directory for its files, ca.pem and ca.key
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How long its certificate is valid
    #[arg(long, default_value_t = 3650)]
    days: u32,
}

#[derive(Args, Debug)]
struct Issue {
    /// Directory of the authority; the certificate is put there too
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What its holder may be: replica, node, operator or user
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// What its holder is called; for a node the name that its agent registers (agent.node)
    #[arg(long)]
    name: String,
    /// Names and addresses under which others reach a replica, separated by commas
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// How long it is valid
    #[arg(long, default_value_t = 365)]
    days: u32,
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|_: PeerError| "write replica, node, operator or user".to_owned())
}

impl Cert {
    pub(crate) fn execute(self, context: &Context) -> Result<Code, Error> {
        let certificate = match self.verb {
            Verb::Ca(Ca { dir, days }) => Certificate::new(None, Authority::at(dir).create(days, &SystemClock)?),
            Verb::Issue(Issue { dir, role, name, host, days }) => {
                let peer = Peer::new(role, &name).map_err(|error| Error::Usage(format!("the certificate {error}")))?;
                let principal = Some(peer.to_string());
                let request = Request { peer, hosts: host, days };
                Certificate::new(principal, Authority::at(dir).issue(&request, &SystemClock)?)
            }
        };
        context.output.show(&certificate)?;
        Ok(Code::Ok)
    }
}

//! The flags of commands that can do with what one replica has.

use std::time::Duration;

use clap::Args;
use quorate_client::Client;

use super::Context;
use crate::exit::Error;
use crate::settings;

/// Flags of a command that reads.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Stale {
    /// Take what the replica that answers has, also without a quorum, and say how old that may be
    #[arg(long)]
    stale: bool,
    /// The same, but nothing that may be older than this, such as 5s
    #[arg(long, value_name = "TIME", value_parser = settings::timeout)]
    max_stale: Option<Duration>,
}

impl Stale {
    /// The client to read with.
    pub(crate) fn client(self, context: &Context) -> Result<Client, Error> {
        let client = context.client()?;
        Ok(if self.stale || self.max_stale.is_some() { client.stale(self.max_stale) } else { client })
    }
}

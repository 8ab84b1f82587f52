//! Who makes the namespaces that want their part: every session the one that it submits to, and those above it.

use std::time::Duration;

use quorate_client::{Client, Error};
use quorate_proto::v1;

use crate::scenario::rivals::{Rival, rivals};

/// Between two times of asking for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// So often it is asked for; then the submit is refused, which is an answer.
const TRIES: u32 = 60;

/// Makes the namespace of a job, if that is none of those that every cluster has.
pub(super) async fn make(seed: u64, client: &Client, namespace: &str) {
    let all = rivals(seed);
    let find = |name: &str| all.iter().find(|rival| rival.namespace == name);
    let Some(own) = find(namespace) else { return };
    let above = own.parent.and_then(find);
    for rival in above.into_iter().chain([own]) {
        for _ in 0..TRIES {
            match create(client, rival).await {
                Ok(()) => break,
                // Somebody else was quicker.
                Err(error) if error.to_string().contains("exists already") => break,
                Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }
}

async fn create(client: &Client, rival: &Rival) -> Result<(), Error> {
    let guaranteed = rival.guaranteed_milli.map(|milli| v1::Amounts { cpu_milli: Some(milli), ..Default::default() });
    let share = v1::ShareChange {
        parent: Some(rival.parent.unwrap_or_default().to_owned()),
        weight: Some(rival.weight),
        guaranteed,
        ..Default::default()
    };
    let (namespace, share) = (rival.namespace.to_owned(), Some(share));
    let request = v1::SetNamespaceRequest { namespace, share, create: true, ..Default::default() };
    client.set_namespace(request).await.map(drop)
}

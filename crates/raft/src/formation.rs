//! How a store becomes a replica of a cluster, once, and stays it.

use std::time::Duration;

use quorate_proto::format::GROUP;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Shutdown, Table};
use quorate_state::Uuid;

use crate::join::{self, Applicant, Refusal};
use crate::store::{self, STORE_FORMAT};
use crate::type_config::ReplicaId;
use crate::{Error, Formation, Identity, Seams, wire};

/// The replica that makes a cluster has this id; others follow from there.
const FOUNDER: ReplicaId = 1;

/// What a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formed {
    pub(crate) identity: Identity,
    /// It made the cluster and is its first member.
    pub(crate) founder: bool,
    /// This start of the store.
    pub(crate) start: pb::Start,
}

/// What the store says of itself.
enum Found {
    /// It is empty.
    Nothing,
    /// It asked to join, and does not know the answer.
    Joining(Uuid),
    /// It is a replica.
    Member(Identity, bool),
}

/// A member that starts again waits no longer for anyone to contradict it.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(1);

/// Finds out, or decides, what this store is. The applicant's peer names no store yet.
pub(crate) async fn form(
    formation: &Formation,
    applicant: &Applicant,
    seams: &Seams,
    shutdown: &Shutdown,
) -> Result<Formed, Error> {
    let (identity, founder) = match (formation, read(seams)?) {
        (Formation::Init, Found::Nothing) => (found_cluster(seams).await?, true),
        (Formation::Init | Formation::Run, Found::Joining(_)) => return Err(Error::JoinUnderWay),
        (Formation::Init, Found::Member(Identity { cluster, replica, .. }, _)) => {
            return Err(Error::AlreadyInitialised { cluster, replica });
        }
        (Formation::Run, Found::Nothing) => return Err(Error::NoIdentity),
        (Formation::Run, Found::Member(identity, founder)) => (identity, founder),
        (Formation::Join { peers }, Found::Nothing) => {
            let store = Uuid(seams.entropy.u128());
            // Before anyone is asked: asking again after a crash must be the same store asking.
            let record = pb::Identity { format: STORE_FORMAT, store: wire::uuid_to(store), ..Default::default() };
            store::save(&*seams.disk, store::IDENTITY, &record).await?;
            (enter(peers, store, applicant, seams, shutdown).await?, false)
        }
        (Formation::Join { peers }, Found::Joining(store)) => {
            (enter(peers, store, applicant, seams, shutdown).await?, false)
        }
        (Formation::Join { peers }, Found::Member(identity, founder)) => {
            confirm(peers, identity, applicant, seams).await?;
            (identity, founder)
        }
    };
    let before = store::read::<pb::Start>(&*seams.disk.view(), store::START)?.unwrap_or_default();
    let start = pb::Start { count: before.count + 1, nonce: seams.entropy.u64() };
    store::save(&*seams.disk, store::START, &start).await?;
    Ok(Formed { identity, founder, start })
}

fn read(seams: &Seams) -> Result<Found, Error> {
    let view = seams.disk.view();
    let Some(record) = store::read::<pb::Identity>(&*view, store::IDENTITY)? else {
        for table in Table::ALL {
            if view.last(table, None)?.is_some() {
                return Err(Error::Format("it has rows but no identity".into()));
            }
        }
        return Ok(Found::Nothing);
    };
    if record.format > STORE_FORMAT {
        return Err(Error::NewerFormat { found: record.format, max: STORE_FORMAT });
    }
    let format = |error: wire::WireError| Error::Format(format!("the identity: {error}"));
    let store = wire::uuid_from("store", &record.store).map_err(format)?;
    if record.cluster.is_empty() {
        return Ok(Found::Joining(store));
    }
    if record.group != GROUP {
        return Err(Error::Format(format!("it belongs to group {}, this version knows {GROUP}", record.group)));
    }
    let cluster = wire::uuid_from("cluster", &record.cluster).map_err(format)?;
    Ok(Found::Member(Identity { cluster, replica: record.replica, store }, record.founder))
}

async fn found_cluster(seams: &Seams) -> Result<Identity, Error> {
    let (cluster, store) = (Uuid(seams.entropy.u128()), Uuid(seams.entropy.u128()));
    let identity = Identity { cluster, replica: FOUNDER, store };
    write(identity, true, seams).await?;
    Ok(identity)
}

async fn enter(
    peers: &[String],
    store: Uuid,
    applicant: &Applicant,
    seams: &Seams,
    shutdown: &Shutdown,
) -> Result<Identity, Error> {
    if peers.is_empty() {
        return Err(Error::NoPeers);
    }
    let request = join::request(None, store, applicant);
    let accepted = join::ask_until_accepted(&seams.network, peers, &request, shutdown).await?;
    let format = |error: wire::WireError| Error::Format(format!("the answer to a join: {error}"));
    let cluster = wire::uuid_from("cluster", &accepted.cluster).map_err(format)?;
    let identity = Identity { cluster, replica: accepted.replica, store };
    write(identity, false, seams).await?;
    Ok(identity)
}

/// Joining again what one is a member of is fine; joining another cluster is not. Peers that do not
/// answer say nothing against it.
async fn confirm(peers: &[String], identity: Identity, applicant: &Applicant, seams: &Seams) -> Result<(), Error> {
    let request = join::request(Some(identity), identity.store, applicant);
    // Where most replicas start again at once, nobody answers before they have all gone on.
    match tokio::time::timeout(CONFIRM_DEADLINE, join::ask(&seams.network, peers, &request)).await {
        Ok(Err(Refusal::Final(why))) => Err(Error::JoinRefused(why)),
        Ok(Ok(_) | Err(Refusal::ForNow(_))) | Err(_) => Ok(()),
    }
}

async fn write(identity: Identity, founder: bool, seams: &Seams) -> Result<(), Error> {
    let record = pb::Identity {
        format: STORE_FORMAT,
        store: wire::uuid_to(identity.store),
        cluster: wire::uuid_to(identity.cluster),
        group: GROUP,
        replica: identity.replica,
        founder,
    };
    Ok(store::save(&*seams.disk, store::IDENTITY, &record).await?)
}

//! After the loss of a quorum: the survivor's data goes on as a new cluster of one replica.
//!
//! The survivor cannot know what the others had that it has not: entries may be missing that were
//! acknowledged, and entries at the end of its log may never have been committed. It keeps all it has,
//! because an entry that nobody heard of is a request whose outcome is unknown, and losing one that was
//! acknowledged is worse. Should the others still run somewhere, there would be two clusters; so a
//! person has to name each store that is destroyed.

use std::collections::BTreeSet;

use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Table};
use quorate_state::{ClusterId, FeatureSet, Revision, Uuid};

use crate::life::{self, Home, NewLife};
use crate::log_store::{LogStore, PurgeBound};
use crate::state_machine::{Published, StateMachine};
use crate::store::{self, Store};
use crate::{Addresses, Error, Seams, opening, wire};

/// Why a store was not recovered. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// It cannot be read, or is damaged itself.
    #[error("this store cannot go on")]
    Unusable(#[from] Error),
    /// There is no replica here, or one that is no member yet.
    #[error("this data directory holds no member of a cluster: nothing can go on from it")]
    NoMember,
    /// It has the quorum by itself.
    #[error("this replica is the only one of its cluster: nothing is lost, start it with 'quorate server run'")]
    Alone,
    /// What is said to be lost is not what is missing.
    #[error("{}", .0)]
    Lost(Lost),
    /// The clock of this machine is behind the data.
    #[error(transparent)]
    Clock(#[from] life::ClockBehind),
}

/// The other members, against what was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Members that were not named: replica, store and raft address of each.
    pub unnamed: Vec<(u64, Uuid, String)>,
    /// Named, and no member beside this one.
    pub unknown: Vec<Uuid>,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("every other member of the cluster must be destroyed for good, and be named with --lost")?;
        for (replica, store, address) in &self.unnamed {
            write!(f, "\n  not named: {store} (replica {replica} at {address})")?;
        }
        for store in &self.unknown {
            write!(f, "\n  no other member: {store}")?;
        }
        Ok(())
    }
}

/// What a recovery does, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The cluster that is no more.
    pub cluster: ClusterId,
    /// The replica whose data goes on.
    pub replica: u64,
    /// The last revision of the old life that is kept.
    pub revision: Revision,
    /// Entries at the end of the log that were not known to be committed and are kept.
    pub unconfirmed: u64,
    /// The stores that are lost.
    pub lost: Vec<Uuid>,
    /// The new life; none when it was only asked for what would be done.
    pub life: Option<NewLife>,
}

/// Makes the replica on `seams.disk` the only one of a new cluster, if `lost` names every other member.
/// Without `confirmed` it says what it would do, and changes nothing.
pub async fn recover(seams: &Seams, lost: &[Uuid], confirmed: bool) -> Result<Recovery, RecoverError> {
    opening::check(&*seams.disk)?;
    let view = seams.disk.view();
    let identity: pb::Identity = store::read(&*view, store::IDENTITY)?.ok_or(RecoverError::NoMember)?;
    if identity.cluster.is_empty() {
        return Err(RecoverError::NoMember);
    }
    let format = |error: wire::WireError| Error::Format(format!("the identity: {error}"));
    let own = wire::uuid_from("store", &identity.store).map_err(format)?;
    let cluster = wire::uuid_from("cluster", &identity.cluster).map_err(format)?;

    let stored = Store::new(seams.disk.clone());
    let published = std::sync::Arc::new(Published::new(PurgeBound::default(), 1));
    let mut machine = StateMachine::load(stored.clone(), published, FeatureSet::known())?;
    let committed: Option<pb::Mark> = store::read(&*view, store::COMMITTED)?;
    let committed = committed.and_then(|mark| mark.log_id).map_or(0, |id| id.index + 1);
    // Held back until all is decided: the rows of what may not be committed must not outlive a refusal.
    let mut rows = Batch::default();
    let replayed = if quorate_planted::is(quorate_planted::Bug::RecoverDropsTail) {
        0..0
    } else {
        machine.replay(&LogStore::new(stored, PurgeBound::default()), &mut rows)?
    };
    if machine.view().settings().is_none() {
        return Err(RecoverError::NoMember);
    }

    let members = machine.peers();
    let Some((_, me)) = members.iter().find(|(_, peer)| peer.store == own).cloned() else {
        return Err(RecoverError::NoMember);
    };
    let others: Vec<_> = members.into_iter().filter(|(_, peer)| peer.store != own).collect();
    if others.is_empty() {
        return Err(RecoverError::Alone);
    }
    let named: BTreeSet<Uuid> = lost.iter().copied().collect();
    let is_other = |store: &Uuid| others.iter().any(|(_, peer)| peer.store == *store);
    let unnamed = others.iter().filter(|(_, peer)| !named.contains(&peer.store));
    let wrong = Lost {
        unnamed: unnamed.map(|(id, peer)| (*id, peer.store, peer.raft.clone())).collect(),
        unknown: named.iter().copied().filter(|store| !is_other(store)).collect(),
    };
    if !wrong.unnamed.is_empty() || !wrong.unknown.is_empty() {
        return Err(RecoverError::Lost(wrong));
    }

    let mut recovery = Recovery {
        cluster,
        replica: identity.replica,
        revision: machine.view().revision(),
        unconfirmed: replayed.end.saturating_sub(committed.max(replayed.start)),
        lost: named.into_iter().collect(),
        life: None,
    };
    let base = life::base_at(seams.clock.wall(), recovery.revision)?;
    if !confirmed {
        return Ok(recovery);
    }
    let home = Home { region: me.region, addresses: Addresses { raft: me.raft, api: me.api, agent: me.agent } };
    let (life, begin) =
        life::begin(machine.view(), base, identity.replica, machine.replica_max(), home, &*seams.entropy);
    rows.writes.retain(|write| !matches!(write, quorate_seams::Write::Put { table: Table::Events, .. }));
    rows.writes.extend(begin.writes);
    // One batch: the old replica is there until the new one is.
    let replaced =
        seams.disk.replace(&[Table::Log, Table::Raft, Table::Events], Box::new(std::iter::empty()), rows).await;
    replaced.map_err(Error::Disk)?;
    recovery.life = Some(life);
    Ok(recovery)
}

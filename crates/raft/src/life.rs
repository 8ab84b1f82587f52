//! The next life of the data: what a store holds when it is the first replica of a new cluster that
//! goes on from an old state. The same for a backup and for the survivor of a lost quorum.
//!
//! The store looks as if its cluster had been formed with one entry, the membership, at index 0, and
//! that entry had been applied and cut off. It is cut off because whoever joins has to get the state:
//! an empty replica that was sent the log from index 0 on would apply it to nothing.

use quorate_proto::format::GROUP;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows::{RowWrite, encode_change};
use quorate_seams::{Batch, Entropy, Table, WallMillis};
use quorate_state::{Change, REVISIONS_PER_SECOND_BITS, RegionName, Revision, State, Uuid};

use crate::store::{self, STORE_FORMAT};
use crate::type_config::{Peer, ReplicaId};
use crate::{Addresses, Identity, wire};

/// The id of a cluster's first replica.
pub(crate) const FIRST_REPLICA: ReplicaId = 1;
/// Of the running digest.
const DIGEST_BYTES: usize = 32;
/// Revisions stay exact in JSON, with room for the log of one life.
const BASE_MAX: u64 = 1 << 52;

/// Where the replica stands and is reached; the others are told so when they join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Where it stands.
    pub region: RegionName,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// The life that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLife {
    /// The new cluster, and its only replica.
    pub identity: Identity,
    /// Which life of the data it is.
    pub incarnation: u64,
    /// The revision at which it begins.
    pub base: Revision,
}

/// The clock cannot give the next life a place after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of this machine ({}) is not after the data, which has come to revision {revision}: set the clock",
    humane(*.wall)
)]
pub struct ClockBehind {
    wall: WallMillis,
    revision: Revision,
}

fn humane(wall: WallMillis) -> String {
    format!("{} s since 1970", wall.0 / 1_000)
}

/// The base of a life that begins now: above everything that the life before has said.
pub(crate) fn base_at(wall: WallMillis, last: Revision) -> Result<Revision, ClockBehind> {
    if quorate_planted::is(quorate_planted::Bug::RestoreBaseKept) {
        return Ok(Revision(last.0 + 1));
    }
    let base = (wall.0 / 1_000).checked_mul(1 << REVISIONS_PER_SECOND_BITS).filter(|base| *base < BASE_MAX);
    base.map(Revision).filter(|base| *base > last).ok_or(ClockBehind { wall, revision: last })
}

/// What the store of the first replica holds beside the rows of `state`, whose meta row it replaces.
pub(crate) fn begin(
    state: &State,
    base: Revision,
    replica: ReplicaId,
    replica_max: ReplicaId,
    home: Home,
    entropy: &dyn Entropy,
) -> (NewLife, Batch) {
    let identity = Identity { cluster: Uuid(entropy.u128()), replica, store: Uuid(entropy.u128()) };
    let Home { region, addresses: Addresses { raft, api, agent } } = home;
    let peer = Peer { store: identity.store, region, raft, api, agent };
    let meta = state.next_life(identity.cluster, base);
    let life = NewLife { identity, incarnation: meta.incarnation, base };

    let mut batch = Batch::default();
    if let RowWrite::Put { key, value } = encode_change(&Change::Meta(meta)) {
        batch.put(Table::State, key, value);
    }
    let log_id = Some(pb::LogId { term: 0, index: 0 });
    let membership = pb::Membership {
        configs: vec![pb::Voters { replicas: vec![replica] }],
        peers: vec![wire::peer_to(replica, &peer)],
    };
    let applied = pb::Applied {
        log_id,
        membership: Some(pb::StoredMembership { log_id, membership: Some(membership) }),
        base: base.0,
        // The history that replicas compare begins anew.
        digest: [0; DIGEST_BYTES].to_vec().into(),
        replica_max: replica_max.max(replica),
    };
    store::put(&mut batch, store::PURGED, &pb::Mark { log_id: applied.log_id });
    store::put(&mut batch, store::APPLIED, &applied);
    let record = pb::Identity {
        format: STORE_FORMAT,
        store: wire::uuid_to(identity.store),
        cluster: wire::uuid_to(identity.cluster),
        group: GROUP,
        replica,
        founder: true,
    };
    store::put(&mut batch, store::IDENTITY, &record);
    (life, batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_above_the_data_or_refused() {
        let now = WallMillis(1_700_000_000_999);
        assert_eq!(base_at(now, Revision(5)), Ok(Revision(1_700_000_000 << 20)));
        assert!(base_at(now, Revision(1_700_000_000 << 20)).is_err(), "restored twice within a second");
        assert!(base_at(WallMillis(999), Revision(5)).is_err());
        assert!(base_at(WallMillis(u64::MAX), Revision(5)).is_err());
    }
}

//! Whether the heartbeat and election times fit the way to the others.

use std::time::Duration;

use crate::Tuning;
use crate::type_config::ReplicaId;

/// The shortest election time holds at least this many round trips: a vote may have to connect first, and
/// a lost sign of life must not be taken for a lost leader.
const ROUND_TRIPS_MIN: u32 = 5;
/// The shortest election time holds at least this many heartbeats, those of other replicas included.
const HEARTBEATS_MIN: u64 = 2;

/// What is wrong when a round trip to a replica takes this long, and what would be right.
pub(crate) fn too_short(tuning: &Tuning, peer: ReplicaId, round_trip: Duration) -> Option<String> {
    let heartbeat = Duration::from_millis(tuning.heartbeat_ms);
    let shortest = Duration::from_millis(tuning.election_ms_min);
    if round_trip < heartbeat && round_trip * ROUND_TRIPS_MIN <= shortest {
        return None;
    }
    let wide = Tuning::wan();
    let advice = if round_trip * ROUND_TRIPS_MIN <= Duration::from_millis(wide.election_ms_min) {
        "set server.raft.profile = \"wan\" on all replicas, one after the other".to_owned()
    } else {
        let round_trip = round_trip.as_millis();
        format!(
            "raise server.raft.heartbeat to {} ms, election_min to {} ms and election_max to {} ms on all replicas",
            round_trip * 3 / 2,
            round_trip * 15 / 2,
            round_trip * 9
        )
    };
    Some(format!(
        "a round trip to replica {peer} takes {} ms or more, too long for a heartbeat of {} ms and election times from {} ms: {advice}",
        round_trip.as_millis(),
        tuning.heartbeat_ms,
        tuning.election_ms_min
    ))
}

/// Refuses a replica whose times would disturb ours, or ours it: a follower that is less patient than its
/// leader is talkative stands for election all the time. One of a version that does not say (zero) passes.
pub(crate) fn go_together(ours: &Tuning, heartbeat_ms: u64, election_ms_min: u64) -> Result<(), String> {
    let fits = |heartbeat_ms: u64, election_ms_min: u64| election_ms_min >= HEARTBEATS_MIN.saturating_mul(heartbeat_ms);
    let silent = heartbeat_ms == 0 || election_ms_min == 0;
    if silent || (fits(ours.heartbeat_ms, election_ms_min) && fits(heartbeat_ms, ours.election_ms_min)) {
        return Ok(());
    }
    Err(format!(
        "its heartbeat of {heartbeat_ms} ms and election times from {election_ms_min} ms do not go with this cluster's \
         {} ms and {} ms: give it the same server.raft settings",
        ours.heartbeat_ms, ours.election_ms_min
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near() -> Tuning {
        Tuning { heartbeat_ms: 100, election_ms_min: 500, election_ms_max: 600, ..Tuning::default() }
    }

    fn told(tuning: &Tuning, millis: u64) -> Option<String> {
        too_short(tuning, 3, Duration::from_millis(millis))
    }

    #[test]
    fn times_fit_round_trips_or_say_what_would() {
        let (lan, wan) = (near(), Tuning::wan());
        assert_eq!(told(&lan, 1), None);
        assert_eq!(told(&lan, 90), None);
        let near = told(&lan, 120).unwrap();
        assert!(near.starts_with("a round trip to replica 3 takes 120 ms or more"), "{near}");
        assert!(near.contains("profile = \"wan\""), "{near}");
        assert_eq!(told(&wan, 200), None);
        let far = told(&wan, 400).unwrap();
        assert!(far.contains("heartbeat to 600 ms, election_min to 3000 ms and election_max to 3600 ms"), "{far}");
        let advised = Tuning { heartbeat_ms: 600, election_ms_min: 3_000, election_ms_max: 3_600, ..wan };
        assert_eq!(told(&advised, 400), None, "the advice helps");
    }

    #[test]
    fn a_replica_of_other_times_is_refused_where_they_would_disturb() {
        let (lan, wan) = (near(), Tuning::wan());
        assert!(go_together(&lan, lan.heartbeat_ms, lan.election_ms_min).is_ok());
        assert!(go_together(&lan, lan.heartbeat_ms * 2, lan.election_ms_min * 2).is_ok());
        let why = go_together(&wan, lan.heartbeat_ms, lan.election_ms_min).unwrap_err();
        assert!(why.contains("give it the same server.raft settings"), "{why}");
        assert!(go_together(&lan, wan.heartbeat_ms, wan.election_ms_min).is_err());
        assert!(go_together(&wan, 0, 0).is_ok(), "an older version does not say");
    }
}

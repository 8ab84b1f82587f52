//! How far other regions are: how long it takes to reach the places that the leader names, said to it again and again for as long as
//! the session lasts.
//!
//! Nothing rests on it. So what cannot be reached is left out, and what cannot be said at once is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message;
use quorate_seams::Network;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Node, Talk};

/// Landmarks that are measured; a leader names no more.
const LANDMARKS_MAX: usize = 16;
/// From the welcome to the first round: whoever begins has better things to do.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// From one round to the next.
const EVERY: Duration = Duration::from_secs(60);
/// Connections in one round to one landmark, of which the shortest counts: all others waited for something.
const TRIES: usize = 3;
/// Further away than this is nowhere.
const TRY_DEADLINE: Duration = Duration::from_secs(3);

/// What one round has found.
pub(super) type Found = Vec<v1::Distance>;

/// Who measures, and where what is found arrives.
#[derive(Debug)]
pub(super) struct Distances {
    /// Ends when this does.
    rounds: JoinSet<()>,
    pub(super) found: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
}

impl Default for Distances {
    fn default() -> Self {
        Self { rounds: JoinSet::new(), found: mpsc::channel(1) }
    }
}

impl Distances {
    /// The session is over, or another one begins.
    pub(super) fn end(&mut self) {
        self.rounds.abort_all();
    }
}

impl Node {
    /// A session has begun whose leader names these landmarks.
    pub(super) fn begin_distances(&mut self, landmarks: &[v1::Landmark]) {
        self.distances.end();
        if landmarks.is_empty() || !self.fixed.config.measure_latency {
            return;
        }
        let landmarks: Vec<v1::Landmark> = landmarks.iter().take(LANDMARKS_MAX).cloned().collect();
        let (network, found) = (self.fixed.network.clone(), self.distances.found.0.clone());
        self.distances.rounds = JoinSet::new();
        self.distances.rounds.spawn(async move {
            tokio::time::sleep(FIRST_AFTER).await;
            while found.send(round(&network, &landmarks).await).await.is_ok() {
                tokio::time::sleep(EVERY).await;
            }
        });
    }

    /// Says what was found, if it can be said now.
    pub(super) fn on_distances(&mut self, distances: Found) {
        if matches!(self.talk, Talk::Welcomed(_)) && !distances.is_empty() {
            self.send(Message::Distances(v1::Distances { distances }));
        }
    }
}

/// The shortest way to each region that can be reached.
async fn round(network: &Arc<dyn Network>, landmarks: &[v1::Landmark]) -> Found {
    let mut shortest: BTreeMap<&str, Duration> = BTreeMap::new();
    for landmark in landmarks {
        for _ in 0..TRIES {
            let Some(took) = reach(network, &landmark.address).await else { break };
            let known = shortest.entry(&landmark.region).or_insert(took);
            *known = took.min(*known);
        }
    }
    let distance = |(region, took): (&str, Duration)| v1::Distance {
        region: region.to_owned(),
        round_trip_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    };
    shortest.into_iter().map(distance).collect()
}

/// How long a word takes to a place and back, by the time until a connection to it is there.
async fn reach(network: &Arc<dyn Network>, address: &str) -> Option<Duration> {
    let began = Instant::now();
    let connected = tokio::time::timeout(TRY_DEADLINE, network.connect(address)).await;
    let took = began.elapsed();
    drop(connected.ok()?.ok()?);
    Some(took / network.round_trips_to_connect().max(1))
}

//! Connections to the leader that the sessions of a follower's agents share (ADR 0042).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use quorate_proto::status::{ApiError, to_status};
use quorate_seams::Network;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use super::SESSIONS_MAX;

/// Sessions on one connection: less than the streams that its other end allows, so that none waits for another to
/// end.
const SESSIONS_PER_CONNECTION_MAX: usize = 512;
/// Connections at once, those to a leader that was left included.
const CONNECTIONS_MAX: usize = 4 * SESSIONS_MAX / SESSIONS_PER_CONNECTION_MAX;
/// A connection on which nothing is heard for this long is asked for a sign of life, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Bytes under way in one session, either way.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Bytes under way on one connection: those of all sessions that it may have, so that one which takes nothing does not
/// hold up the others.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * 1_024;

/// The connections of this replica to a leader.
#[derive(Default)]
pub(crate) struct Upstreams {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: Vec<Connection>,
}

struct Connection {
    id: u64,
    /// Where it leads.
    address: Arc<str>,
    channel: Channel,
    sessions: usize,
    /// A session found it broken: no further one comes on it.
    is_suspect: bool,
}

/// A session's place on a connection. The connection is closed when the last one is dropped.
pub(super) struct Seat<'a> {
    upstreams: &'a Upstreams,
    id: u64,
    pub(super) channel: Channel,
}

impl Upstreams {
    /// A place on a connection to `address`, which is made when it is first used.
    pub(super) fn take(&self, address: &str, network: &Arc<dyn Network>) -> Result<Seat<'_>, Status> {
        let mut open = self.lock();
        let fits = |one: &&mut Connection| {
            *one.address == *address && !one.is_suspect && one.sessions < SESSIONS_PER_CONNECTION_MAX
        };
        if let Some(one) = open.connections.iter_mut().find(fits) {
            one.sessions += 1;
            return Ok(Seat { upstreams: self, id: one.id, channel: one.channel.clone() });
        }
        if open.connections.len() >= CONNECTIONS_MAX {
            return Err(to_status(&ApiError::Limit {
                limit: "CONNECTIONS_MAX".into(),
                max: CONNECTIONS_MAX as u64,
                advice: "this replica passes no more sessions on: connect to another".into(),
            }));
        }
        let channel = connection(address, network)?;
        open.next += 1;
        let id = open.next;
        open.connections.push(Connection {
            id,
            address: address.into(),
            channel: channel.clone(),
            sessions: 1,
            is_suspect: false,
        });
        Ok(Seat { upstreams: self, id, channel })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// The same if `status` is the connection's fault. A refusal has no source, and says nothing against the connection
    /// that it came on.
    pub(super) fn suspect_for(&self, status: &Status) {
        if std::error::Error::source(status).is_some() {
            self.suspect();
        }
    }

    /// The session could not be opened here: the next one tries a connection of its own.
    pub(super) fn suspect(&self) {
        let mut open = self.upstreams.lock();
        if let Some(one) = open.connections.iter_mut().find(|one| one.id == self.id) {
            one.is_suspect = true;
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut open = self.upstreams.lock();
        let Some(at) = open.connections.iter().position(|one| one.id == self.id) else { return };
        let one = &mut open.connections[at];
        one.sessions -= 1;
        if one.sessions == 0 {
            open.connections.remove(at);
        }
    }
}

fn connection(address: &str, network: &Arc<dyn Network>) -> Result<Channel, Status> {
    let wrong = |_| {
        let why = format!("the leader's agent address {address:?} is not an address");
        to_status(&ApiError::Unavailable(why))
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(wrong)?
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let network = network.clone();
    let target: Arc<str> = address.into();
    let connector = tower::service_fn(move |_: Uri| {
        let (network, target) = (network.clone(), target.clone());
        async move { network.connect(&target).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

#[cfg(test)]
mod tests {
    use quorate_seams::TcpNetwork;

    use super::*;

    fn ids(seats: &[Seat<'_>]) -> Vec<u64> {
        seats.iter().map(|seat| seat.id).collect()
    }

    #[tokio::test]
    async fn sessions_share_a_connection_until_it_is_full_or_suspect() {
        let network: Arc<dyn Network> = Arc::new(TcpNetwork);
        let upstreams = Upstreams::default();
        let take = |address: &str| upstreams.take(address, &network).unwrap();
        let mut seats: Vec<Seat<'_>> = (0..SESSIONS_PER_CONNECTION_MAX).map(|_| take("a:1")).collect();
        assert!(ids(&seats).iter().all(|id| *id == 1));
        seats.push(take("a:1"));
        assert_eq!(seats.last().unwrap().id, 2, "the first is full");
        drop(seats.remove(0));
        assert_eq!(take("a:1").id, 1, "and has room again");
        assert_eq!(take("b:1").id, 3, "another leader is another connection");
        seats.iter().for_each(Seat::suspect);
        assert_eq!(take("a:1").id, 4);
        drop(seats);
        assert_eq!(upstreams.lock().connections.len(), 0, "nobody uses any");
    }

    #[tokio::test]
    async fn connections_are_bounded_and_the_limit_is_named() {
        let network: Arc<dyn Network> = Arc::new(TcpNetwork);
        let upstreams = Upstreams::default();
        let seats: Vec<Seat<'_>> =
            (0..CONNECTIONS_MAX).map(|port| upstreams.take(&format!("a:{}", port + 1), &network).unwrap()).collect();
        let Err(refused) = upstreams.take("b:1", &network) else { panic!("one too many") };
        assert!(refused.message().contains("CONNECTIONS_MAX"), "{refused:?}");
        drop(seats);
        assert!(upstreams.take("not an address", &network).is_err());
    }
}

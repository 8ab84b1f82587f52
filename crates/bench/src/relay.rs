//! Between replicas: passes their bytes on, until one of them is cut off.
//!
//! Replicas advertise a listener of this relay in the place of their own, so that a partition between
//! processes of one host needs no rights. Connections of whoever is cut off stay open and are silent,
//! both ways, and go on when that is over, as TCP does after a cable was pulled for a while.

mod owner;

use std::sync::{Arc, Mutex, PoisonError};

use quorate_seams::{BoxedIo, Listener, Network as _, TcpNetwork};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Error;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Connections of one replica's listener at once: peers keep a few each.
const CONNECTIONS_MAX: usize = 1_024;

/// Listeners in front of some replicas. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    addresses: Vec<String>,
    _listeners: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// Who is cut off.
    cut: watch::Sender<Option<usize>>,
    /// The replicas' processes, by position.
    pids: Mutex<Vec<Option<u32>>>,
}

impl Relay {
    /// One listener for each of the replicas that listen at `targets`.
    pub(crate) async fn start(targets: Vec<String>) -> Result<Self, Error> {
        let shared = Arc::new(Shared { cut: watch::Sender::new(None), pids: Mutex::new(vec![None; targets.len()]) });
        let (mut addresses, mut listeners) = (Vec::new(), JoinSet::new());
        for (replica, target) in targets.into_iter().enumerate() {
            let listener = TcpNetwork.bind("127.0.0.1:0").await.map_err(Error::Relay)?;
            addresses.push(listener.local_addr().to_string());
            listeners.spawn(listen(shared.clone(), listener, replica, target));
        }
        Ok(Self { shared, addresses, _listeners: listeners })
    }

    /// What the replicas advertise, by position.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Replica `replica` is this process: that is how it is known by who connects.
    pub(crate) fn learn(&self, replica: usize, pid: Option<u32>) {
        self.shared.pids.lock().unwrap_or_else(PoisonError::into_inner)[replica] = pid;
    }

    /// Cuts a replica off from all others, or nobody.
    pub(crate) fn cut(&self, replica: Option<usize>) {
        self.shared.cut.send_replace(replica);
    }
}

async fn listen(shared: Arc<Shared>, listener: Box<dyn Listener>, to: usize, target: String) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        // What cannot be accepted is gone; the next one may come through.
        let Ok((near, peer)) = listener.accept().await else { continue };
        let pids = shared.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let from = owner::of(peer, listener.local_addr(), &pids);
        let between = Between { ends: [from, Some(to)], cut: shared.cut.subscribe() };
        connections.spawn(pass_on(near, target.clone(), between));
    }
}

/// The two replicas at the ends of a connection, and who is cut off.
#[derive(Clone)]
struct Between {
    ends: [Option<usize>; 2],
    cut: watch::Receiver<Option<usize>>,
}

impl Between {
    /// Waits as long as one of the two is cut off.
    async fn is_whole(&mut self) {
        let ends = self.ends;
        // An error: the relay is gone, and with it soon this task.
        let _ = self.cut.wait_for(|cut| cut.is_none() || !ends.contains(cut)).await;
    }
}

async fn pass_on(near: BoxedIo, target: String, mut between: Between) {
    between.is_whole().await;
    // Without anybody there, the end of our side says so.
    let Ok(far) = TcpNetwork.connect(&target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (tokio::io::split(near), tokio::io::split(far));
    tokio::join!(copy(near_in, far_out, between.clone()), copy(far_in, near_out, between));
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut between: Between) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        // Also the end of a connection is not heard of across a cut.
        between.is_whole().await;
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> (String, JoinSet<()>) {
        let listener = TcpNetwork.bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (io, _) = listener.accept().await.unwrap();
            let (mut input, mut output) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut input, &mut output).await;
        });
        (address, tasks)
    }

    #[tokio::test]
    async fn a_cut_is_silence_and_what_was_sent_arrives_after_it() {
        let (target, _echo) = echo().await;
        let relay = Relay::start(vec![target]).await.unwrap();
        let mut connection = TcpNetwork.connect(&relay.addresses()[0]).await.unwrap();
        let mut answer = [0; 4];
        connection.write_all(b"ping").await.unwrap();
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");

        relay.cut(Some(0));
        connection.write_all(b"pong").await.unwrap();
        let silent = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(silent, connection.read_exact(&mut answer)).await.is_err());
        relay.cut(None);
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"pong");
    }

    #[tokio::test]
    async fn others_do_not_notice_a_cut() {
        let (target, _echo) = echo().await;
        let relay = Relay::start(vec![target, "127.0.0.1:1".to_owned()]).await.unwrap();
        relay.cut(Some(1));
        let mut connection = TcpNetwork.connect(&relay.addresses()[0]).await.unwrap();
        connection.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
        // This process is replica 1 from now on: it is known by its connections, too.
        relay.learn(1, Some(std::process::id()));
        let pids = relay.shared.pids.lock().unwrap().clone();
        let (listener, probe) = {
            let listener = TcpNetwork.bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().to_string();
            (listener, TcpNetwork.connect(&address).await.unwrap())
        };
        let (_accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(owner::of(peer, listener.local_addr(), &pids), Some(1));
        drop(probe);
    }
}

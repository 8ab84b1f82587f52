//! Both ends of handshakes, over pipes in memory: who gets in, what the others are told, and what a
//! change of the files changes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_seams::{BootInstant, BoxedIo, Clock, Listener, Network, WallMillis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc};

use crate::tls::{Look, Seen};
use crate::{Accepts, Authority, Error, Files, IssueError, Peer, PlainNetwork, Request, Role, Tls, TlsNetwork};

/// Where the replica of these tests is.
const ADDRESS: &str = "replica.example:7401";
/// Bytes on their way in one direction.
const PIPE_BYTES: usize = 1 << 16;
/// Some day, in milliseconds since the epoch.
const NOW_MS: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// A clock that is set.
#[derive(Debug)]
struct Set(AtomicU64);

impl Set {
    fn to(millis: u64) -> Arc<Self> {
        Arc::new(Self(millis.into()))
    }

    fn pass(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for Set {
    fn boot(&self) -> BootInstant {
        BootInstant::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed))
    }
}

/// A directory with an authority.
struct World {
    dir: tempfile::TempDir,
    clock: Arc<Set>,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), clock: Set::to(NOW_MS) };
        world.authority().create(3650, &*world.clock).unwrap();
        world
    }

    fn authority(&self) -> Authority {
        Authority::at(self.dir.path())
    }

    fn issue(&self, role: Role, name: &str, days: u32) -> Files {
        let hosts = if role == Role::Replica { vec!["replica.example".into()] } else { vec![] };
        let request = Request { peer: Peer::new(role, name).unwrap(), hosts, days };
        let issued = self.authority().issue(&request, &*self.clock).unwrap();
        Files { ca: self.authority().cert(), cert: issued.cert, key: issued.key }
    }

    fn open(&self, files: Files) -> Arc<Tls> {
        Tls::open(files, self.clock.clone()).unwrap()
    }

    fn tls(&self, role: Role, name: &str) -> Arc<Tls> {
        self.open(self.issue(role, name, 90))
    }
}

fn pipe() -> (BoxedIo, BoxedIo) {
    let (one, other) = tokio::io::duplex(PIPE_BYTES);
    (Box::pin(one), Box::pin(other))
}

type Ends = (io::Result<BoxedIo>, io::Result<(BoxedIo, Peer)>);

/// Both sides of a handshake; the server speaks first, as HTTP/2 has it.
async fn shake(client: &Tls, server: &Tls, accepts: Accepts) -> Ends {
    let (ours, theirs) = pipe();
    let serve = async {
        let (mut io, peer) = server.accept(theirs, accepts).await?;
        io.write_all(b"!").await?;
        io.flush().await?;
        Ok((io, peer))
    };
    tokio::join!(client.connect(ours, ADDRESS), serve)
}

/// What both ends say of a handshake that fails.
async fn refused(client: &Tls, server: &Tls, accepts: Accepts) -> (io::Error, String) {
    let (client, server) = shake(client, server, accepts).await;
    let server = server.err().expect("the server refuses").to_string();
    (client.err().expect("the client is refused"), server)
}

async fn echo(client: &mut BoxedIo, server: &mut BoxedIo, word: &[u8]) {
    client.write_all(word).await.unwrap();
    client.flush().await.unwrap();
    let mut heard = vec![0; word.len()];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, word);
}

#[tokio::test]
async fn each_role_is_let_in_and_named() {
    let world = World::new();
    let replica = world.tls(Role::Replica, "1");
    for role in Role::ALL {
        let client = world.tls(role, "someone");
        let (ours, theirs) = shake(&client, &replica, Accepts::Every).await;
        let (mut theirs, peer) = theirs.unwrap();
        assert_eq!(peer, Peer::new(role, "someone").unwrap());
        let mut ours = ours.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'!', "what the server said first is not lost");
        echo(&mut ours, &mut theirs, b"hello").await;
    }
}

#[tokio::test]
async fn only_replicas_get_where_only_replicas_may_speak() {
    let world = World::new();
    let replica = world.tls(Role::Replica, "1");
    let (client, server) = shake(&world.tls(Role::Replica, "2"), &replica, Accepts::Replicas).await;
    client.unwrap();
    server.unwrap();
    for role in [Role::Node, Role::Operator, Role::User] {
        let (client, server) = refused(&world.tls(role, "someone"), &replica, Accepts::Replicas).await;
        assert_eq!(client.kind(), io::ErrorKind::PermissionDenied);
        assert!(client.to_string().contains("its role may not speak there"), "{client}");
        assert!(server.contains("a role that may not speak on this listener"), "{server}");
    }
}

/// What an authority of somebody's own may have issued: a node with the hosts and purposes of a server.
fn serving_node(world: &World) -> Files {
    let read = |path| std::fs::read_to_string(path).unwrap();
    let key = rcgen::KeyPair::from_pem(&read(world.authority().key())).unwrap();
    let authority = rcgen::Issuer::from_ca_cert_pem(&read(world.authority().cert()), key).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["replica.example".to_owned()]).unwrap();
    params.subject_alt_names.push(rcgen::SanType::URI("quorate:node/n1".try_into().unwrap()));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let file = |name: &str, text: &str| {
        let path = world.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (file("serving.pem", &certificate.pem()), file("serving.key", &key.serialize_pem()));
    Files { ca: world.authority().cert(), cert, key }
}

#[tokio::test]
async fn nobody_but_a_replica_serves() {
    let world = World::new();
    let node = world.open(serving_node(&world));
    let (error, _) = refused(&world.tls(Role::User, "alice"), &node, Accepts::Every).await;
    assert!(error.to_string().contains("is that of node:n1, and only a replica may serve"), "{error}");
}

#[tokio::test]
async fn a_stranger_is_refused_and_both_ends_say_why() {
    let (world, other) = (World::new(), World::new());
    let replica = world.tls(Role::Replica, "1");
    // It trusts us, and we do not trust it.
    let files = Files { ca: world.authority().cert(), ..other.issue(Role::User, "mallory", 90) };
    let error = Tls::open(files, world.clock.clone()).unwrap_err().to_string();
    assert!(error.contains("was not issued by a CA in tls.ca"), "{error}");
    let both = |one: &World, two: &World| {
        let read = |world: &World| std::fs::read_to_string(world.authority().cert()).unwrap();
        let path = one.dir.path().join("both.pem");
        std::fs::write(&path, read(one) + &read(two)).unwrap();
        path
    };
    let files = Files { ca: both(&other, &world), ..other.issue(Role::User, "eve", 90) };
    let (client, server) = refused(&other.open(files), &replica, Accepts::Every).await;
    assert_eq!(client.kind(), io::ErrorKind::PermissionDenied);
    assert!(client.to_string().contains("not issued by a CA in the tls.ca there"), "{client}");
    assert!(server.contains("its certificate was not issued by a CA in tls.ca"), "{server}");
    // It does not trust us.
    let (client, server) = refused(&other.tls(Role::User, "trent"), &replica, Accepts::Every).await;
    assert_eq!(client.kind(), io::ErrorKind::InvalidData);
    assert!(client.to_string().contains("was not issued by a CA in tls.ca"), "{client}");
    assert!(server.contains("it does not trust our certificate"), "{server}");
}

#[tokio::test]
async fn certificates_out_of_their_time_are_refused_with_the_date() {
    let world = World::new();
    let replica = world.tls(Role::Replica, "1");
    let short = world.issue(Role::User, "brief", 1);
    let brief = world.open(short.clone());
    world.clock.pass(2 * DAY_MS);
    let (client, server) = refused(&brief, &replica, Accepts::Every).await;
    assert_eq!(client.kind(), io::ErrorKind::PermissionDenied);
    assert!(client.to_string().contains("expired or is not valid yet"), "{client}");
    assert!(server.contains("its certificate expired on Jan 16"), "{server}");
    let error = Tls::open(short, world.clock.clone()).unwrap_err().to_string();
    assert!(error.contains("brief.pem expired on Jan 16"), "{error}");
    assert!(brief.expires_in_seconds() < 0);

    let behind = Set::to(NOW_MS - 30 * DAY_MS);
    let error = Tls::open(world.issue(Role::User, "early", 9), behind).unwrap_err().to_string();
    assert!(error.contains("is not valid before Jan 17"), "{error}");
}

#[tokio::test]
async fn an_address_that_the_certificate_does_not_name_is_refused() {
    let world = World::new();
    let (replica, client) = (world.tls(Role::Replica, "1"), world.tls(Role::User, "alice"));
    let (ours, theirs) = pipe();
    let (connected, _) = tokio::join!(client.connect(ours, "[::1]:7401"), replica.accept(theirs, Accepts::Every));
    let error = connected.err().unwrap().to_string();
    assert!(error.contains("does not name ::1 but replica.example: issue it"), "{error}");
}

#[tokio::test]
async fn a_peer_without_tls_is_told_so_from_either_side() {
    let world = World::new();
    let (replica, client) = (world.tls(Role::Replica, "1"), world.tls(Role::User, "alice"));
    let (mut ours, theirs) = pipe();
    ours.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let reading = async {
        let mut said = vec![];
        let _ = ours.read_to_end(&mut said).await;
        drop(ours);
        said
    };
    let (said, accepted) = tokio::join!(reading, replica.accept(theirs, Accepts::Every));
    assert_eq!(said.first(), Some(&0x15), "an alert: {said:?}");
    assert!(accepted.err().unwrap().to_string().starts_with("it does not speak TLS: set tls.ca"));

    let (ours, mut theirs) = pipe();
    theirs.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let error = client.connect(ours, ADDRESS).await.err().unwrap().to_string();
    assert!(error.starts_with("replica.example:7401 does not speak TLS"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_peers_certificate() {
    let world = World::new();
    let replica = world.tls(Role::Replica, "1");
    let client = world.open(world.issue(Role::User, "brief", 1));
    let (_ours, theirs) = shake(&client, &replica, Accepts::Every).await;
    let began = tokio::time::Instant::now();
    let error = theirs.unwrap().0.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert_eq!(began.elapsed().as_secs(), 24 * 3600);
}

#[tokio::test]
async fn new_files_are_for_new_connections_and_old_ones_live_on() {
    let (world, next) = (World::new(), World::new());
    let files = world.issue(Role::Replica, "1", 90);
    let (replica, client) = (world.open(files.clone()), world.tls(Role::User, "alice"));
    let (ours, theirs) = shake(&client, &replica, Accepts::Every).await;
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap().0);
    assert_eq!(ours.read_u8().await.unwrap(), b'!');

    // Another authority, and certificates of its own.
    let put = |from: &Files| {
        std::fs::copy(&from.ca, &files.ca).unwrap();
        std::fs::copy(&from.cert, &files.cert).unwrap();
        std::fs::copy(&from.key, &files.key).unwrap();
    };
    put(&next.issue(Role::Replica, "2", 90));
    let mut seen = Seen::default();
    assert!(matches!(replica.look(&mut seen, files.read()), Look::Changing), "the next file may be on its way");
    assert!(matches!(replica.look(&mut seen, files.read()), Look::Taken));
    assert!(matches!(replica.look(&mut seen, files.read()), Look::Same));
    assert_eq!(replica.own(), Peer::new(Role::Replica, "2").unwrap());
    let (refused, _) = refused(&client, &replica, Accepts::Every).await;
    assert!(refused.to_string().contains("was not issued by a CA"), "{refused}");
    let (fresh, _) = shake(&next.tls(Role::User, "bob"), &replica, Accepts::Every).await;
    fresh.unwrap();
    echo(&mut ours, &mut theirs, b"still here").await;
}

#[tokio::test]
async fn bad_files_change_nothing_and_are_complained_about_once() {
    let world = World::new();
    let files = world.issue(Role::Replica, "1", 90);
    let replica = world.open(files.clone());
    let good = files.read().unwrap();
    let mut seen = Seen::default();
    let mut look = || replica.look(&mut seen, files.read());

    std::fs::write(&files.key, "nonsense").unwrap();
    assert!(matches!(look(), Look::Changing));
    assert!(matches!(look(), Look::Refused(Error::Content { key: "tls.key", .. })));
    assert!(matches!(look(), Look::Changing));
    std::fs::remove_file(&files.key).unwrap();
    assert!(matches!(look(), Look::Changing));
    assert!(matches!(look(), Look::Refused(Error::Read { key: "tls.key", .. })));
    assert!(matches!(look(), Look::Changing));
    let (connected, _) = shake(&world.tls(Role::User, "alice"), &replica, Accepts::Every).await;
    connected.unwrap();
    std::fs::write(&files.key, &good.key).unwrap();
    assert!(matches!(look(), Look::Same));

    // The key of another certificate.
    let other = world.issue(Role::Replica, "2", 90);
    std::fs::copy(&other.key, &files.key).unwrap();
    assert!(matches!(look(), Look::Changing));
    let Look::Refused(error) = look() else { panic!("a key that does not fit") };
    assert!(error.to_string().contains("is not the key of tls.cert"), "{error}");
}

#[test]
fn keys_are_for_their_owner_and_nothing_is_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let files = world.issue(Role::User, "alice", 90);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&world.authority().key()), 0o600);
    let again = Request { peer: Peer::new(Role::User, "alice").unwrap(), hosts: vec![], days: 1 };
    assert!(
        matches!(world.authority().issue(&again, &*world.clock), Err(IssueError::Exists(path)) if path == files.cert)
    );
    assert!(matches!(world.authority().create(1, &*world.clock), Err(IssueError::Exists(_))));

    let wrong = |role, hosts: &[&str], days| {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let request = Request { peer: Peer::new(role, "x").unwrap(), hosts, days };
        assert!(matches!(world.authority().issue(&request, &*world.clock), Err(IssueError::Wrong(_))), "{request:?}");
    };
    wrong(Role::Replica, &[], 1);
    wrong(Role::Replica, &["host:7401"], 1);
    wrong(Role::Node, &["host"], 1);
    wrong(Role::User, &[], 0);
    let nowhere = Authority::at(world.dir.path().join("nowhere"));
    assert!(matches!(nowhere.issue(&again, &*world.clock), Err(IssueError::Read { .. })));
}

/// A network in memory with one listener.
struct Pipes {
    connect: mpsc::Sender<BoxedIo>,
    accepted: Arc<Mutex<mpsc::Receiver<BoxedIo>>>,
}

impl Pipes {
    fn new() -> Arc<Self> {
        let (connect, accepted) = mpsc::channel(8);
        Arc::new(Self { connect, accepted: Arc::new(Mutex::new(accepted)) })
    }
}

#[async_trait::async_trait]
impl Network for Pipes {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(Accepting(self.accepted.clone())))
    }

    async fn connect(&self, _: &str) -> io::Result<BoxedIo> {
        let (ours, theirs) = pipe();
        self.connect.send(theirs).await.unwrap_or_else(|_| panic!("somebody listens"));
        Ok(ours)
    }
}

struct Accepting(Arc<Mutex<mpsc::Receiver<BoxedIo>>>);

#[async_trait::async_trait]
impl Listener for Accepting {
    async fn accept(&self) -> io::Result<(BoxedIo, std::net::SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(io) => Ok((io, self.local_addr())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }
}

#[tokio::test]
async fn the_network_lets_replicas_in_past_silent_and_foreign_peers() {
    let world = World::new();
    let pipes = Pipes::new();
    let network = |role, name: &str| TlsNetwork::new(world.tls(role, name), pipes.clone());
    let listener = network(Role::Replica, "1").bind(ADDRESS).await.unwrap();
    let _silent = pipes.connect(ADDRESS).await.unwrap();
    let refused = network(Role::User, "alice").connect(ADDRESS).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
    let serve = async {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(b"!").await.unwrap();
        io.flush().await.unwrap();
        io
    };
    let client = network(Role::Replica, "2");
    let (connected, _server) = tokio::join!(client.connect(ADDRESS), serve);
    assert_eq!(connected.unwrap().read_u8().await.unwrap(), b'!');
}

#[tokio::test]
async fn a_plain_connection_to_a_tls_listener_says_what_is_missing() {
    let world = World::new();
    let pipes = Pipes::new();
    let replica = world.tls(Role::Replica, "1");
    let listener = pipes.bind(ADDRESS).await.unwrap();
    let ask = async {
        let mut io = PlainNetwork::new(pipes.clone()).connect(ADDRESS).await.unwrap();
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        io.read_u8().await.unwrap_err()
    };
    let serve = async { replica.accept(listener.accept().await.unwrap().0, Accepts::Every).await.err() };
    let (error, _) = tokio::join!(ask, serve);
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("tls.ca, tls.cert and tls.key"), "{error}");
}

//! Handshakes with the credentials of the moment, and the watch that replaces these.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate_seams::{BoxedIo, Clock};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::credentials::{Credentials, expiry};
use crate::files::{Contents, Error, Files};
use crate::network::Lapsing;
use crate::{Peer, words};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Our certificate is called old this many seconds before it expires,
const OLD_SECONDS: i64 = 14 * 24 * 3600;
/// and again as often as this.
const OLD_SAID_EVERY: Duration = Duration::from_secs(24 * 3600);
/// What a refused peer has sent is read this long, because a connection that is closed over unread bytes
/// takes the reason for the refusal with it.
const LINGER: Duration = Duration::from_millis(500);
/// No more of it is read, in bytes.
const LINGER_BYTES_MAX: u64 = 1 << 16;

/// Whose certificates a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Those of every role; what each may do is judged per request.
    Every,
    /// Replicas' only.
    Replicas,
}

/// The TLS of one process: who it is, whom it trusts, and where both are read.
pub struct Tls {
    files: Files,
    clock: Arc<dyn Clock>,
    current: RwLock<Arc<Credentials>>,
}

/// What a look at the files found.
#[derive(Debug)]
pub(crate) enum Look {
    /// What is in use.
    Same,
    /// Something else, which may not be complete yet.
    Changing,
    /// Something else, and it is in use now.
    Taken,
    /// Something else, and it is no good.
    Refused(Error),
}

/// What the watch remembers between looks.
#[derive(Default)]
pub(crate) enum Seen {
    /// All is as it was.
    #[default]
    Nothing,
    /// A file could not be read, once.
    Unread,
    /// Something new, once.
    New(Contents),
    /// Something that is no good; none: what cannot be read. It was said.
    Bad(Option<Contents>),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One is missing or wrong, or our certificate is not one that peers with the same `tls.ca` accept.
    pub fn open(files: Files, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        let credentials = Credentials::make(&files, files.read()?, &clock)?;
        let current = RwLock::new(Arc::new(credentials));
        Ok(Arc::new(Self { files, clock, current }))
    }

    /// Who we are.
    pub fn own(&self) -> Peer {
        self.current().own.clone()
    }

    /// Seconds until our certificate expires; negative when it has.
    pub fn expires_in_seconds(&self) -> i64 {
        self.current().expires - self.now_seconds()
    }

    /// The server's side of a handshake: the connection inside, and who is at its other end. The
    /// connection ends when the peer's certificate expires. The caller sets the deadline.
    ///
    /// # Errors
    /// The peer has gone, or is refused; the text is a sentence about it.
    pub async fn accept(&self, io: BoxedIo, accepts: Accepts) -> io::Result<(BoxedIo, Peer)> {
        let current = self.current();
        let config = match accepts {
            Accepts::Every => current.for_all.clone(),
            Accepts::Replicas => current.for_replicas.clone(),
        };
        let stream = match TlsAcceptor::from(config).accept(io).into_fallible().await {
            Ok(stream) => stream,
            Err((error, io)) => {
                let _ = tokio::time::timeout(LINGER, let_go(io)).await;
                return Err(words::of_accept(error));
            }
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let nobody = || io::Error::new(io::ErrorKind::PermissionDenied, "it shows no certificate");
        // Both were read once already, when the certificate was verified.
        let peer = Peer::of(chain.first().ok_or_else(nobody)?).map_err(io::Error::other)?;
        let left = expiry(chain).map_err(io::Error::other)? - self.now_seconds();
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Ok((Box::pin(Lapsing::new(stream, left)), peer))
    }

    /// The client's side: the connection inside, once the replica at `address` (`host:port`) has
    /// proved to be one and has accepted our certificate. The caller sets the deadline.
    ///
    /// # Errors
    /// `PermissionDenied`: it refuses our certificate. Else it cannot be reached or trusted.
    pub async fn connect(&self, io: BoxedIo, address: &str) -> io::Result<BoxedIo> {
        let wrong = |error| words::of_connect(address, error);
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} cannot be in a certificate")))?;
        let connector = TlsConnector::from(self.current().client.clone());
        let mut stream = connector.connect(name, io).await.map_err(wrong)?;
        // Our certificate is judged after our side of the handshake is done. Every listener of a replica
        // speaks first, as HTTP/2 has it: what it says, or the alert in its place, is the verdict.
        match stream.fill_buf().await {
            Ok([]) => Err(wrong(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(Box::pin(stream)),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Looks at the files for ever, and takes what is new in them for the connections to come.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut seen = Seen::default();
        let mut since_said = OLD_SAID_EVERY;
        loop {
            let left = self.expires_in_seconds();
            if left >= OLD_SECONDS {
                since_said = OLD_SAID_EVERY;
            } else if since_said >= OLD_SAID_EVERY {
                since_said = Duration::ZERO;
                let at = words::instant(self.current().expires);
                tracing::warn!(file = %self.files.cert.display(), "our certificate (tls.cert) expires on {at}: issue a new one");
            }
            tokio::time::sleep(LOOK_EVERY).await;
            since_said += LOOK_EVERY;
            let files = self.files.clone();
            // Only a panic of ours, or the end of the runtime, ends a read without a result.
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else { return };
            match self.look(&mut seen, read) {
                Look::Same | Look::Changing => {}
                Look::Taken => tracing::info!(own = %self.own(), "new certificates are in use"),
                Look::Refused(error) => {
                    let cause =
                        std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
                    tracing::error!("new certificates are no good, the old ones stay in use: {error}{cause}");
                }
            }
        }
    }

    /// Judges what was read. Files are replaced one after the other: contents are tried once two looks
    /// in a row have found them, and then at every look, because a certificate may become valid.
    pub(crate) fn look(&self, seen: &mut Seen, read: Result<Contents, Error>) -> Look {
        let before = std::mem::take(seen);
        let contents = match (read, before) {
            (Err(error), Seen::Unread) => {
                *seen = Seen::Bad(None);
                return Look::Refused(error);
            }
            (Err(_), before) => {
                *seen = if let Seen::Bad(None) = before { before } else { Seen::Unread };
                return Look::Changing;
            }
            (Ok(contents), _) if contents == self.current().made_of => return Look::Same,
            (Ok(contents), Seen::New(before)) if before == contents => contents,
            (Ok(contents), Seen::Bad(Some(before))) if before == contents => {
                *seen = Seen::Bad(Some(before));
                contents
            }
            (Ok(contents), _) => {
                *seen = Seen::New(contents);
                return Look::Changing;
            }
        };
        match Credentials::make(&self.files, contents.clone(), &self.clock) {
            Ok(credentials) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
                *seen = Seen::Nothing;
                Look::Taken
            }
            Err(_) if matches!(seen, Seen::Bad(_)) => Look::Changing,
            Err(error) => {
                *seen = Seen::Bad(Some(contents));
                Look::Refused(error)
            }
        }
    }

    fn current(&self) -> Arc<Credentials> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now_seconds(&self) -> i64 {
        i64::try_from(self.clock.wall().0 / 1_000).unwrap_or(i64::MAX)
    }
}

/// Ends a connection so that what was written last arrives.
async fn let_go(mut io: BoxedIo) -> io::Result<()> {
    io.shutdown().await?;
    let mut rest = io.take(LINGER_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(drop)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("own", &self.own()).finish_non_exhaustive()
    }
}

//! What is made of the files: the two ends of a handshake, as one set that is replaced as a whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use quorate_seams::Clock;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::files::{Contents, Error, Files};
use crate::verify::{VerifiedPeers, VerifiedReplica};
use crate::{Peer, Role, words};

/// What is spoken inside, as gRPC asks for.
const PROTOCOL: &[u8] = b"h2";

/// Everything for handshakes from one state of the files.
pub(crate) struct Credentials {
    /// For listeners on which every role may speak.
    pub(crate) for_all: Arc<ServerConfig>,
    /// For listeners on which only replicas may.
    pub(crate) for_replicas: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    /// Who we are.
    pub(crate) own: Peer,
    /// Seconds since the epoch at which our certificate, or one between it and the authority, expires.
    pub(crate) expires: i64,
    pub(crate) made_of: Contents,
}

impl Credentials {
    /// Checks the files as a peer would, so that what is wrong is said here first.
    pub(crate) fn make(files: &Files, contents: Contents, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(&files.ca, &contents.ca)?);
        let chain = certificates("tls.cert", &files.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| content("tls.key", &files.key, &format!("holds no private key in PEM ({error})")))?;

        let of_clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let of_clients = of_clients.build().map_err(|error| content("tls.ca", &files.ca, &error.to_string()))?;
        let of_servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        let of_servers = of_servers.build().map_err(|error| content("tls.ca", &files.ca, &error.to_string()))?;

        let wrong = |why: String| Error::Certificate { path: files.cert.clone(), why };
        let (own, intermediates) = chain.split_first().ok_or_else(|| wrong("is empty".into()))?;
        let time = ClockTime(clock.clone());
        of_clients.verify_client_cert(own, intermediates, time.now()).map_err(|error| wrong(words::of_own(&error)))?;
        let peer = Peer::of(own).map_err(|why| Error::Nobody { path: files.cert.clone(), why })?;
        let expires = expiry(&chain).map_err(wrong)?;

        let time: Arc<dyn TimeProvider> = Arc::new(time);
        let mismatch = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => content("tls.key", &files.key, "is not the key of tls.cert"),
            other => content("tls.key", &files.key, &format!("cannot be used: {other}")),
        };
        let server = |allowed: &'static [Role]| {
            let verifier = Arc::new(VerifiedPeers { inner: of_clients.clone(), allowed });
            let config = tls13(ServerConfig::builder_with_details(provider.clone(), time.clone()));
            let config = config.map(|config| config.with_client_cert_verifier(verifier));
            let config = config.and_then(|config| config.with_single_cert(chain.clone(), key.clone_key()));
            let mut config = config.map_err(mismatch)?;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config.alpn_protocols = vec![PROTOCOL.to_vec()];
            Ok(Arc::new(config))
        };
        let verifier = Arc::new(VerifiedReplica { inner: of_servers });
        let config = tls13(ClientConfig::builder_with_details(provider.clone(), time.clone()));
        let config = config.map(|config| config.dangerous().with_custom_certificate_verifier(verifier));
        let config = config.and_then(|config| config.with_client_auth_cert(chain.clone(), key.clone_key()));
        let mut client = config.map_err(mismatch)?;
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            for_all: server(&Role::ALL)?,
            for_replicas: server(&[Role::Replica])?,
            client: Arc::new(client),
            own: peer,
            expires,
            made_of: contents,
        })
    }
}

/// One version of the protocol: what speaks with us is as new as we are.
fn tls13<Side: rustls::ConfigSide>(
    builder: rustls::ConfigBuilder<Side, rustls::WantsVersions>,
) -> Result<rustls::ConfigBuilder<Side, rustls::WantsVerifier>, rustls::Error> {
    builder.with_protocol_versions(&[&rustls::version::TLS13])
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.ca", path, pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| content("tls.ca", path, &format!("holds what is no certificate of a CA ({error})")))?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| content(key, path, &format!("is not PEM ({error})")))?;
    if read.is_empty() {
        return Err(content(key, path, "holds no certificate in PEM"));
    }
    Ok(read)
}

/// The first end of validity in the chain.
pub(crate) fn expiry(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let mut first = i64::MAX;
    for certificate in chain {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|error| format!("cannot be read: {error}"))?;
        first = first.min(certificate.validity().not_after.timestamp());
    }
    Ok(first)
}

fn content(key: &'static str, path: &Path, why: &str) -> Error {
    Error::Content { key, path: path.to_path_buf(), why: why.to_owned() }
}

/// The time of day through the seam.
pub(crate) struct ClockTime(pub(crate) Arc<dyn Clock>);

impl ClockTime {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_millis(self.0.wall().0))
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

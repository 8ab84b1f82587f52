//! An authority and certificates for development and for clusters without one of their own.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_seams::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};

use crate::{Peer, Role};

/// Certificates are valid from this long ago: clocks of machines differ.
const BACKDATED: Duration = Duration::from_secs(3600);
/// No certificate is valid for longer, in days.
const DAYS_MAX: u32 = 36_500;
/// Hosts of one certificate.
const HOSTS_MAX: usize = 64;

/// The directory of an authority, and what it issued.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
}

/// A certificate that is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// For whom.
    pub peer: Peer,
    /// Names and addresses under which a replica is reached; empty for the other roles.
    pub hosts: Vec<String>,
    /// How long it is valid.
    pub days: u32,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key, for its owner alone.
    pub key: PathBuf,
    /// Seconds since the epoch at which it expires.
    pub expires: i64,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A value cannot be right.
    #[error("{0}")]
    Wrong(String),
    /// There is a file already.
    #[error("{} exists, and nothing is overwritten: move it away first", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: make an authority first, with 'quorate cert ca'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The authority's files are of no use, or the certificate cannot be made.
    #[error("{what}: {why}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the library says.
        why: String,
    },
}

impl Authority {
    /// The authority whose files are in `dir`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its own certificate, for `tls.ca`.
    pub fn cert(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Its key, which no replica, agent or client needs.
    pub fn key(&self) -> PathBuf {
        self.dir.join("ca.key")
    }

    /// Makes a new authority.
    ///
    /// # Errors
    /// There is one, or the files cannot be written.
    pub fn create(&self, days: u32, clock: &dyn Clock) -> Result<Issued, IssueError> {
        let key = KeyPair::generate().map_err(failed("cannot make a key"))?;
        let mut params = params(days, clock)?;
        // Of its own: authorities of one name make refusals hard to understand.
        let mark: String = key.der_bytes().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name = name(&format!("quorate authority {mark}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let expires = params.not_after.unix_timestamp();
        let certificate = params.self_signed(&key).map_err(failed("cannot sign"))?;
        let issued = Issued { cert: self.cert(), key: self.key(), expires };
        self.write(&issued, &certificate.pem(), &key)?;
        Ok(issued)
    }

    /// Issues a certificate into the authority's directory.
    ///
    /// # Errors
    /// There is no authority, a value is wrong, there is such a certificate, or a file cannot be written.
    pub fn issue(&self, request: &Request, clock: &dyn Clock) -> Result<Issued, IssueError> {
        let Request { peer, hosts, days } = request;
        if hosts.len() > HOSTS_MAX {
            return Err(IssueError::Wrong(format!("{} hosts, HOSTS_MAX is {HOSTS_MAX}", hosts.len())));
        }
        let mut purposes = vec![ExtendedKeyUsagePurpose::ClientAuth];
        match (peer.role(), hosts.is_empty()) {
            (Role::Replica, false) => purposes.push(ExtendedKeyUsagePurpose::ServerAuth),
            (Role::Replica, true) => {
                return Err(IssueError::Wrong("a replica needs the hosts under which others reach it".into()));
            }
            (Role::Node | Role::Operator | Role::User, true) => {}
            (role, false) => {
                return Err(IssueError::Wrong(format!("hosts are for replicas: nobody connects to a {role}")));
            }
        }
        let mut params = params(*days, clock)?;
        params.distinguished_name = name(&peer.to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(SanType::URI(peer.uri().try_into().map_err(failed("cannot name"))?));
        for host in hosts {
            let name = match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if rustls::pki_types::DnsName::try_from(host.as_str()).is_ok() => {
                    SanType::DnsName(host.as_str().try_into().map_err(failed("cannot name"))?)
                }
                Err(_) => {
                    return Err(IssueError::Wrong(format!(
                        "{host:?} is no host: write a name or an address, without a port"
                    )));
                }
            };
            params.subject_alt_names.push(name);
        }

        let authority_key = KeyPair::from_pem(&read(&self.key())?).map_err(failed("ca.key is no private key"))?;
        let authority = Issuer::from_ca_cert_pem(&read(&self.cert())?, authority_key);
        let authority = authority.map_err(failed("ca.pem is not the certificate of a CA"))?;
        let key = KeyPair::generate().map_err(failed("cannot make a key"))?;
        let expires = params.not_after.unix_timestamp();
        let certificate = params.signed_by(&key, &authority).map_err(failed("cannot sign"))?;
        let file = |extension| self.dir.join(format!("{}-{}.{extension}", peer.role(), peer.name()));
        let issued = Issued { cert: file("pem"), key: file("key"), expires };
        self.write(&issued, &certificate.pem(), &key)?;
        Ok(issued)
    }

    fn write(&self, issued: &Issued, certificate: &str, key: &KeyPair) -> Result<(), IssueError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| IssueError::Write { path, source }
        };
        for path in [&issued.cert, &issued.key] {
            if path.exists() {
                return Err(IssueError::Exists(path.clone()));
            }
        }
        let mut dir = std::fs::DirBuilder::new();
        dir.recursive(true).mode(0o700).create(&self.dir).map_err(failed(&self.dir))?;
        create(&issued.key, 0o600, &key.serialize_pem()).map_err(failed(&issued.key))?;
        create(&issued.cert, 0o644, certificate).map_err(failed(&issued.cert))
    }
}

/// What all certificates have in common.
fn params(days: u32, clock: &dyn Clock) -> Result<CertificateParams, IssueError> {
    if days == 0 || days > DAYS_MAX {
        return Err(IssueError::Wrong(format!("{days} days is out of range: from 1 to {DAYS_MAX}")));
    }
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(clock.wall().0);
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::from_secs(u64::from(days) * 24 * 3600);
    Ok(params)
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn read(path: &Path) -> Result<String, IssueError> {
    std::fs::read_to_string(path).map_err(|source| IssueError::Read { path: path.to_path_buf(), source })
}

fn create(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn failed(what: &'static str) -> impl FnOnce(rcgen::Error) -> IssueError {
    move |error| IssueError::Failed { what, why: error.to_string() }
}

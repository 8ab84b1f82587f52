//! What a certificate says of its holder: a role and a name, in its one URI `quorate:ROLE/NAME`.

use std::fmt;
use std::str::FromStr;

use quorate_state::NodeName;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What the URI of a certificate begins with.
const SCHEME: &str = "quorate:";

/// What the holder of a certificate may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A replica: speaks with the other replicas, and passes sessions of nodes on.
    Replica,
    /// A node: its agent speaks for it, and for no other.
    Node,
    /// May do everything that the public API offers.
    Operator,
    /// May submit, cancel and read.
    User,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Replica, Self::Node, Self::Operator, Self::User];

    /// The word in a certificate, and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Node => "node",
            Self::Operator => "operator",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| PeerError::Role(text.into()))
    }
}

/// Who a certificate was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    role: Role,
    name: NodeName,
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Its bytes make no sense.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It names nobody, or several.
    #[error("has {0} URIs as alternative names, and needs one, quorate:ROLE/NAME")]
    Count(usize),
    /// It is somebody else's URI.
    #[error("has the URI {0:?} and needs one of the form quorate:ROLE/NAME")]
    Form(String),
    /// Perhaps of a version to come.
    #[error("has the role {0:?}: the roles are replica, node, operator and user")]
    Role(String),
    /// The name has wrong characters, or too many.
    #[error("has the name {0:?}: use up to 128 letters, digits, '.', '_' and '-', beginning with one of the first two")]
    Name(String),
}

impl Peer {
    /// A role's holder. Names follow the rule for names of nodes.
    ///
    /// # Errors
    /// The name does not.
    pub fn new(role: Role, name: &str) -> Result<Self, PeerError> {
        let name = NodeName::new(name).map_err(|_| PeerError::Name(name.into()))?;
        Ok(Self { role, name })
    }

    /// What it may be.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What it is called among those of its role.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What its certificate says.
    pub(crate) fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.role, self.name)
    }

    /// Reads a certificate that has been verified.
    pub(crate) fn of(der: &[u8]) -> Result<Self, PeerError> {
        let unreadable = |error: &dyn fmt::Display| PeerError::Unreadable(error.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
        let names = certificate.subject_alternative_name().map_err(|error| unreadable(&error))?;
        let names = names.map_or(&[][..], |extension| &extension.value.general_names);
        let uris: Vec<&str> =
            names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None }).collect();
        let [uri] = uris[..] else { return Err(PeerError::Count(uris.len())) };
        let named = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/'));
        let (role, name) = named.ok_or_else(|| PeerError::Form(uri.into()))?;
        Self::new(role.parse()?, name)
    }
}

/// As principals are written: `user:alice`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role, self.name)
    }
}

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        let (role, name) = text.split_once(':').ok_or_else(|| PeerError::Form(text.into()))?;
        Self::new(role.parse()?, name)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    /// What a certificate with these URIs, and a host name, says.
    fn read(uris: &[&str]) -> Result<String, PeerError> {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Peer::of(certificate.der()).map(|peer| peer.to_string())
    }

    #[test]
    fn each_role_is_read_from_its_uri() {
        for role in Role::ALL {
            let peer = Peer::new(role, "some-1.x").unwrap();
            assert_eq!(read(&[&peer.uri()]), Ok(peer.to_string()));
            assert_eq!(peer.to_string().parse(), Ok(peer));
        }
        assert_eq!(Peer::new(Role::User, "alice").unwrap().to_string(), "user:alice");
    }

    #[test]
    fn a_certificate_that_names_nobody_or_several_is_nobodys() {
        assert_eq!(read(&[]), Err(PeerError::Count(0)));
        assert_eq!(read(&["quorate:user/alice", "quorate:operator/alice"]), Err(PeerError::Count(2)));
        assert_eq!(read(&["quorate:user/alice", "spiffe://x/y"]), Err(PeerError::Count(2)));
        assert_eq!(read(&["quorate:root/alice"]), Err(PeerError::Role("root".into())));
        for uri in ["spiffe://x/y", "quorate:user", "quorate-user/alice", "QUORATE:user/alice"] {
            assert_eq!(read(&[uri]), Err(PeerError::Form(uri.into())));
        }
        for uri in ["quorate:user/", "quorate:user/a/b", "quorate:user/a%20b", "quorate:user/-a"] {
            assert!(matches!(read(&[uri]), Err(PeerError::Name(_))), "{uri}");
        }
        assert!(matches!(Peer::of(b"nothing"), Err(PeerError::Unreadable(_))));
    }
}

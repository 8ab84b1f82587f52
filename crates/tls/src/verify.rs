//! Who is let in: a certificate of a trusted authority, valid now, that names a role which may speak here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use crate::{Peer, Role};

/// A server's view of its clients.
#[derive(Debug)]
pub(crate) struct VerifiedPeers {
    pub(crate) inner: Arc<dyn ClientCertVerifier>,
    /// Who may speak on this listener.
    pub(crate) allowed: &'static [Role],
}

/// A client's view of its server.
#[derive(Debug)]
pub(crate) struct VerifiedReplica {
    pub(crate) inner: Arc<dyn ServerCertVerifier>,
}

/// Somebody other than a replica answers for one.
#[derive(Debug, thiserror::Error)]
#[error("is that of {0}, and only a replica may serve")]
struct NotAReplica(Peer);

fn peer(certificate: &CertificateDer<'_>) -> Result<Peer, Error> {
    Peer::of(certificate).map_err(|error| invalid(CertificateError::Other(OtherError(Arc::new(error)))))
}

fn invalid(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}

impl ClientCertVerifier for VerifiedPeers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Nobody chooses between certificates here, and strangers need not learn whom we trust.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        if self.allowed.contains(&peer(end_entity)?.role()) {
            return Ok(verified);
        }
        // The one error that is told to the client as a lack of rights.
        Err(invalid(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for VerifiedReplica {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        match peer(end_entity)? {
            peer if peer.role() == Role::Replica => Ok(verified),
            peer => Err(invalid(CertificateError::Other(OtherError(Arc::new(NotAReplica(peer)))))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

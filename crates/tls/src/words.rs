//! What a failed handshake means and what helps, for the end that reads it.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use x509_parser::time::ASN1Time;

/// A failure seen by the connecting end. A refusal of our own certificate is `PermissionDenied`: no
/// other replica would say anything else.
pub(crate) fn of_connect(address: &str, error: io::Error) -> io::Error {
    let said = |kind, text: String| io::Error::new(kind, text);
    match rustls_error(&error) {
        Some(Error::InvalidCertificate(why)) => {
            said(io::ErrorKind::InvalidData, format!("the certificate of {address} {}", problem(why)))
        }
        Some(Error::AlertReceived(alert)) => match refusal(*alert) {
            Some(why) => said(io::ErrorKind::PermissionDenied, format!("{address} refuses {why}")),
            None => said(io::ErrorKind::InvalidData, format!("{address} ended the TLS handshake ({alert:?})")),
        },
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => said(
            io::ErrorKind::InvalidData,
            format!("{address} does not speak TLS: it is another port, or a replica that was started without tls.cert"),
        ),
        Some(other) => said(io::ErrorKind::InvalidData, format!("no TLS connection to {address}: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            said(error.kind(), format!("{address} ended the TLS handshake without a word; its log may say why"))
        }
        None => error,
    }
}

/// A failure seen by the accepting end, as a sentence about the peer.
pub(crate) fn of_accept(error: io::Error) -> io::Error {
    let said = |text: String| io::Error::new(io::ErrorKind::PermissionDenied, text);
    match rustls_error(&error) {
        Some(Error::NoCertificatesPresented) => said("it shows no certificate: set tls.cert and tls.key there".into()),
        Some(Error::InvalidCertificate(why)) => said(format!("its certificate {}", problem(why))),
        Some(Error::AlertReceived(alert)) => {
            said(format!("it does not trust our certificate ({alert:?}): compare tls.ca there with tls.cert here"))
        }
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            said("it does not speak TLS: set tls.ca, tls.cert and tls.key there".into())
        }
        Some(other) => said(other.to_string()),
        None => error,
    }
}

/// What is wrong with our own certificate, by our own authorities.
pub(crate) fn of_own(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => problem(why),
        other => format!("is not valid: {other}"),
    }
}

/// What an alert says against our certificate.
fn refusal(alert: AlertDescription) -> Option<String> {
    match alert {
        AlertDescription::CertificateRequired => {
            Some("connections without a certificate: set tls.cert and tls.key".into())
        }
        AlertDescription::UnknownCA => {
            Some("our certificate (tls.cert): it was not issued by a CA in the tls.ca there".into())
        }
        AlertDescription::CertificateExpired => Some(
            "our certificate (tls.cert): by the clock there it has expired or is not valid yet; issue a new one, \
             or set the clocks right"
                .into(),
        ),
        AlertDescription::AccessDenied => Some("our certificate (tls.cert): its role may not speak there".into()),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => {
            Some(format!("our certificate (tls.cert, {alert:?}); the log there says why"))
        }
        _ => None,
    }
}

/// What is wrong with a certificate, as the rest of a sentence that begins with it.
fn problem(why: &CertificateError) -> String {
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}: issue a new one", day(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, time } => {
            format!("is not valid before {}, and here it is {}: set the clocks right", day(*not_before), day(*time))
        }
        CertificateError::UnknownIssuer => "was not issued by a CA in tls.ca".into(),
        CertificateError::BadSignature => {
            "was not issued by a CA in tls.ca, but by another one of the same name".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let wanted = expected.to_str();
            let names: Vec<&str> = presented.iter().filter_map(|name| host(name)).collect();
            let names = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
            format!("does not name {wanted} but {names}: issue it with {wanted}, or use an address that it names")
        }
        CertificateError::InvalidPurposeContext { required, presented } => {
            format!("is for {presented:?} and not for {required:?}: issue it with both")
        }
        CertificateError::ApplicationVerificationFailure => {
            "has a role that may not speak on this listener: it is for replicas".into()
        }
        CertificateError::Other(other) => other.to_string(),
        other => format!("is not valid: {other}"),
    }
}

/// The host in what rustls writes of an alternative name: `DnsName("a")`, `IpAddress(::1)`.
fn host(name: &str) -> Option<&str> {
    let inner = name.strip_prefix("DnsName(").or_else(|| name.strip_prefix("IpAddress("))?;
    Some(inner.strip_suffix(')')?.trim_matches('"'))
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn day(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    instant(seconds)
}

/// Seconds since the epoch as people write it.
pub(crate) fn instant(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

//! Data that tasks leave behind, as it is sent and as it is written down.

use bytes::Bytes;
use quorate_state::{Payload, PayloadDigest, Payloads};

use crate::v1;

/// Payloads in order of their names; none of an attempt that has none.
pub fn payloads_to_wire(payloads: Option<&Payloads>) -> Vec<v1::PayloadRef> {
    let payloads = payloads.unwrap_or(Payloads::none()).iter();
    payloads
        .map(|(name, payload)| v1::PayloadRef {
            uri: payload.uri().to_owned(),
            size: payload.size,
            digest: payload.digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(digest.bytes())),
            name: name.to_string(),
            digest_kind: payload.digest.map_or(v1::PayloadDigestKind::Unspecified, kind_of).into(),
        })
        .collect()
}

/// The payloads of an attempt.
///
/// # Errors
/// In words: a name, an address or a digest is none, a name comes twice, or there are more than there may be.
pub fn payloads_from_wire(references: Vec<v1::PayloadRef>) -> Result<Payloads, String> {
    let mut payloads = Payloads::default();
    for reference in references {
        let v1::PayloadRef { uri, size, digest, name, digest_kind } = reference;
        let digest = digest_from(&digest, digest_kind)?;
        let name = name.parse().map_err(|error| format!("{error}"))?;
        if payloads.get(&name).is_some() {
            return Err(format!("the payload {name} comes twice"));
        }
        let payload = Payload::new(&uri, size, digest).map_err(|error| error.to_string())?;
        payloads.put(name, payload).map_err(|error| error.to_string())?;
    }
    Ok(payloads)
}

/// A digest as people write it; none where there is none that this version knows.
pub fn payload_digest(reference: &v1::PayloadRef) -> Option<PayloadDigest> {
    digest_from(&reference.digest, reference.digest_kind).ok().flatten()
}

fn kind_of(digest: PayloadDigest) -> v1::PayloadDigestKind {
    match digest {
        PayloadDigest::Sha256(_) => v1::PayloadDigestKind::Sha256,
        PayloadDigest::Blake3(_) => v1::PayloadDigestKind::Blake3,
    }
}

fn digest_from(bytes: &[u8], kind: i32) -> Result<Option<PayloadDigest>, String> {
    let kind = v1::PayloadDigestKind::try_from(kind)
        .map_err(|_| format!("the digest is of the kind {kind}, which this version does not know"))?;
    let whole = || <[u8; 32]>::try_from(bytes).map_err(|_| format!("a digest has 32 bytes, not {}", bytes.len()));
    match kind {
        v1::PayloadDigestKind::Unspecified if bytes.is_empty() => Ok(None),
        v1::PayloadDigestKind::Unspecified => Err("a digest is of no kind".to_owned()),
        v1::PayloadDigestKind::Sha256 => whole().map(|bytes| Some(PayloadDigest::Sha256(bytes))),
        v1::PayloadDigestKind::Blake3 => whole().map(|bytes| Some(PayloadDigest::Blake3(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn payloads_survive_the_wire() {
        let payloads = samples::payloads();
        assert_eq!(payloads_from_wire(payloads_to_wire(Some(&payloads))), Ok(payloads));
        assert_eq!(payloads_to_wire(None), []);
        assert_eq!(payloads_from_wire(Vec::new()), Ok(Payloads::default()));
    }

    #[test]
    fn what_is_no_payload_is_refused_in_words() {
        let good =
            payloads_to_wire(Some(&samples::payloads())).into_iter().find(|reference| !reference.digest.is_empty());
        let good = good.expect("one with a digest");
        let refused = |references: &[v1::PayloadRef]| payloads_from_wire(references.to_vec()).unwrap_err();
        for (flawed, what) in [
            (v1::PayloadRef { name: String::new(), ..good.clone() }, "payload name"),
            (v1::PayloadRef { uri: "nowhere".into(), ..good.clone() }, "is no uri"),
            (v1::PayloadRef { digest: vec![1; 31].into(), ..good.clone() }, "32 bytes, not 31"),
            (v1::PayloadRef { digest_kind: 0, ..good.clone() }, "of no kind"),
            (v1::PayloadRef { digest_kind: 9, ..good.clone() }, "kind 9"),
            (v1::PayloadRef { digest: Bytes::new(), ..good.clone() }, "32 bytes, not 0"),
        ] {
            let why = refused(&[flawed]);
            assert!(why.contains(what), "{why}");
        }
        assert!(refused(&[good.clone(), good.clone()]).contains("comes twice"));
        let many = |number| v1::PayloadRef { name: format!("p{number}"), ..good.clone() };
        assert!(refused(&(0..65).map(many).collect::<Vec<_>>()).contains("PAYLOADS_MAX"));
    }
}

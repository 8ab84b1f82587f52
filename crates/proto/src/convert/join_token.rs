//! Join tokens, and what a machine needs to become a node.

use std::sync::Arc;

use quorate_state::{Command, Digest, JoinTerms, JoinToken, JoinTokenId, NodeAdmission, Served, Violation};

use super::Found;
use super::job::{labels_from_wire, labels_to_wire};
use crate::v1;

/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// What the cluster keeps of the secret of a join token: its SHA-256.
pub fn secret_digest(secret: &str) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
    let mut bytes = [0; DIGEST_BYTES];
    bytes.copy_from_slice(digest.as_ref());
    Digest(bytes)
}

/// The wish for a token, as a command.
///
/// # Errors
/// A digest that is none, names that are none, a label given twice.
pub fn create_from_wire(request: v1::CreateJoinTokenRequest) -> Result<(JoinTokenId, Command), Vec<Violation>> {
    let mut found = Found::default();
    let digest = <[u8; DIGEST_BYTES]>::try_from(&request.digest[..]).ok().map(Digest);
    if digest.is_none() {
        found.add("digest", format!("has {} bytes, a SHA-256 has {DIGEST_BYTES}", request.digest.len()));
    }
    let region = (!request.region.is_empty()).then(|| found.parse(|| "region".into(), &request.region));
    let cluster = (!request.cluster.is_empty()).then(|| found.parse(|| "cluster".into(), &request.cluster));
    let labels = labels_from_wire("labels", request.labels, &mut found);
    let command = digest.map(|digest| {
        let terms = Arc::new(JoinTerms { region: region.flatten(), cluster: cluster.flatten(), labels });
        let (ttl_ms, uses_max) = (request.ttl_ms, request.uses_max);
        (JoinTokenId::of(digest), Command::CreateJoinToken { digest, ttl_ms, uses_max, terms })
    });
    found.finish(command)
}

/// A token as operators see it, when log time is `served`.
pub fn join_token_to_wire(token: &JoinToken, served: Served) -> v1::JoinToken {
    let text = |name: Option<String>| name.unwrap_or_default();
    v1::JoinToken {
        id: token.id().to_string(),
        by: token.by.to_string(),
        at_ms: token.at.0,
        expires_in_ms: token.expires_at.0.saturating_sub(served.0),
        uses: token.uses,
        uses_max: token.uses_max,
        region: text(token.terms.region.as_ref().map(ToString::to_string)),
        cluster: text(token.terms.cluster.as_ref().map(ToString::to_string)),
        labels: labels_to_wire(&token.terms.labels),
    }
}

/// What a new node needs, as sent.
pub fn node_admission_to_wire(admission: NodeAdmission) -> v1::NodeAdmission {
    match admission {
        NodeAdmission::Open => v1::NodeAdmission::Open,
        NodeAdmission::Token => v1::NodeAdmission::Token,
    }
}

/// What a new node needs; none when unspecified.
pub fn node_admission_from_wire(admission: v1::NodeAdmission) -> Option<NodeAdmission> {
    match admission {
        v1::NodeAdmission::Unspecified => None,
        v1::NodeAdmission::Open => Some(NodeAdmission::Open),
        v1::NodeAdmission::Token => Some(NodeAdmission::Token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_secret_is_known_by_its_sha_256() {
        let digest = secret_digest("abc").to_string();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_wish_for_a_token_says_all_that_is_wrong_with_it() {
        let label = v1::Label { key: "a".into(), value: String::new() };
        let wrong = v1::CreateJoinTokenRequest {
            digest: vec![1; 31].into(),
            region: "e u".into(),
            cluster: "-".into(),
            labels: vec![label.clone(), label],
            ..v1::CreateJoinTokenRequest::default()
        };
        let fields: Vec<String> = create_from_wire(wrong).unwrap_err().into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["digest", "region", "cluster", "labels.a"]);
    }

    #[test]
    fn a_token_shows_what_it_admits_and_nothing_of_its_secret() {
        let [token, ..] = &samples::join_tokens()[..] else { panic!("a sample") };
        let wire = join_token_to_wire(token, Served(1_000));
        assert_eq!((wire.id.as_str(), wire.region.as_str()), ("abababababababab", "eu"));
        assert_eq!(wire.expires_in_ms, token.expires_at.0 - 1_000);
        assert!(!format!("{wire:?}").contains(&token.digest.to_string()));
    }
}

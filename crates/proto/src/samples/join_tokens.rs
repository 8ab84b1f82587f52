//! Join tokens, one with all that may be demanded and one with nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{Digest, JoinTerms, JoinToken, Millis, Principal, Served};

pub(crate) fn join_tokens() -> Vec<JoinToken> {
    let terms = JoinTerms {
        region: Some("eu".parse().unwrap()),
        cluster: Some("eu-1".parse().unwrap()),
        labels: BTreeMap::from([("disk".into(), "ssd".into())]),
    };
    let token = |digest: u8, terms| JoinToken {
        digest: Digest([digest; 32]),
        by: Principal::anonymous_local(),
        at: Millis(150),
        expires_at: Served(90_000),
        uses: u32::from(digest & 1),
        uses_max: 2,
        terms: Arc::new(terms),
    };
    vec![token(0xab, terms), token(0xac, JoinTerms::default())]
}

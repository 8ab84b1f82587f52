//! Request ids seen: what makes "the same request twice" one effect.

use crate::{Digest, Namespace, Principal, Reply, RequestId, Served};

/// Key of a remembered request.
pub type DedupKey = (Option<Namespace>, Principal, RequestId);

/// A remembered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// The namespace it acted in.
    pub namespace: Option<Namespace>,
    /// Who asked.
    pub principal: Principal,
    /// What they called it.
    pub id: RequestId,
    /// Digest of its body.
    pub digest: Digest,
    /// What was answered.
    pub reply: Reply,
    /// When it is forgotten.
    pub expires_at: Served,
}

impl RequestRow {
    /// Its key.
    pub fn key(&self) -> DedupKey {
        (self.namespace.clone(), self.principal.clone(), self.id.clone())
    }
}

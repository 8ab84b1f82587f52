//! Who becomes a node: whoever reaches an agent listener, or whoever shows a join token.
//!
//! A token admits machines; it does not say who they are, and once admitted a node needs none: it is known by the uuid
//! of its data directory. What a token demands of a node holds for as long as the node is known, restarts included.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{
    ATTRIBUTE_PREFIX, ClusterName, Digest, JoinTokenId, LABEL_BYTES_MAX, LIST_MAX, Millis, Principal, RegionName,
    Registration, Served, State, Violation,
};

/// Tokens at once that have not expired. This and the next two are part of what feature `join-tokens` means: other
/// numbers would be another feature.
pub const JOIN_TOKENS_MAX: usize = 1_000;
/// The longest life of a token, in milliseconds: one year.
pub const JOIN_TTL_MS_MAX: u64 = 366 * 24 * 3_600_000;
/// Nodes that one token may admit.
pub const JOIN_USES_MAX: u32 = 1_000_000;

/// What a machine that is not known needs to become a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeAdmission {
    /// To reach an agent listener; with TLS, the certificate of a node.
    #[default]
    Open,
    /// A join token as well.
    Token,
}

/// Admits machines for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Of its secret, which is nowhere in the cluster.
    pub digest: Digest,
    /// Who made it.
    pub by: Principal,
    /// When.
    pub at: Millis,
    /// From then on it admits nobody.
    pub expires_at: Served,
    /// Nodes that it has admitted.
    pub uses: u32,
    /// Nodes that it may admit: from 1 to [`JOIN_USES_MAX`].
    pub uses_max: u32,
    /// What is demanded of those nodes.
    pub terms: Arc<JoinTerms>,
}

impl JoinToken {
    /// What it is called.
    pub fn id(&self) -> JoinTokenId {
        JoinTokenId::of(self.digest)
    }
}

/// What is demanded of the nodes that a token admits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinTerms {
    /// They stand in this region; in any, if there is none.
    pub region: Option<RegionName>,
    /// They belong to this cluster; to any, if there is none.
    pub cluster: Option<ClusterName>,
    /// Labels that they have, whatever they say.
    pub labels: BTreeMap<String, String>,
}

impl JoinTerms {
    /// Why `arrival` may not join on these terms.
    pub(crate) fn refuse(&self, arrival: &Registration) -> Option<TokenFlaw> {
        let region = self.region.as_ref().filter(|region| **region != arrival.region);
        let cluster = self.cluster.as_ref().filter(|cluster| **cluster != arrival.cluster);
        let region = region.map(|region| TokenFlaw::Region(region.clone()));
        region.or_else(|| cluster.map(|cluster| TokenFlaw::Cluster(cluster.clone())))
    }

    /// Everything that is wrong with the labels.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut complain = |message: String| found.push(Violation { field: "labels".into(), message });
        if self.labels.len() > LIST_MAX {
            complain(format!("more than {LIST_MAX} labels"));
        }
        for (key, value) in self.labels.iter().take(LIST_MAX) {
            if key.is_empty() || key.len() > LABEL_BYTES_MAX || value.len() > LABEL_BYTES_MAX {
                complain(format!("a key has 1 to {LABEL_BYTES_MAX} bytes and a value at most {LABEL_BYTES_MAX}"));
            }
            if key.starts_with(ATTRIBUTE_PREFIX) {
                complain(format!("{key:?}: {ATTRIBUTE_PREFIX} begins what agents find out themselves"));
            }
        }
        found
    }
}

/// How a node was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// By this token.
    pub token: JoinTokenId,
    /// When.
    pub at: Millis,
    /// What is demanded of it.
    pub terms: Arc<JoinTerms>,
}

/// The labels of a node that says it has `said`: those of its admission win.
pub fn labels_of(said: &BTreeMap<String, String>, admission: Option<&Admission>) -> BTreeMap<String, String> {
    let granted = admission.into_iter().flat_map(|admission| admission.terms.labels.clone());
    said.clone().into_iter().chain(granted).collect()
}

/// Why a join token does not admit a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFlaw {
    /// There is none with that secret (any more).
    Unknown,
    /// Its time is over.
    Expired,
    /// It has admitted as many nodes as it may.
    UsedUp,
    /// It is for another region.
    Region(RegionName),
    /// It is for another cluster.
    Cluster(ClusterName),
}

impl fmt::Display for TokenFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let another = "make another one with 'quorate node token create' and start the agent with it";
        match self {
            Self::Unknown => write!(f, "is not known here, or was revoked: {another}"),
            Self::Expired => write!(f, "has expired: {another}"),
            Self::UsedUp => write!(f, "has admitted as many nodes as it may: {another}"),
            Self::Region(region) => write!(f, "is for region {region}: set agent.region to that, or {another}"),
            Self::Cluster(cluster) => write!(f, "is for cluster {cluster}: set agent.cluster to that, or {another}"),
        }
    }
}

impl State {
    /// A join token, which may have expired.
    pub fn join_token(&self, token: JoinTokenId) -> Option<&Arc<JoinToken>> {
        self.join_tokens.get(&token)
    }

    /// The join tokens, by id; some may have expired.
    pub fn join_tokens(&self) -> impl Iterator<Item = &Arc<JoinToken>> {
        self.join_tokens.values()
    }
}

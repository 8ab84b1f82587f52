//! Join tokens.

use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint, word};
use super::{Paint, View, time};

/// `node token create`.
#[derive(Debug, Serialize)]
pub(crate) struct JoinTokenCreated {
    id: String,
    /// The secret: shown here and nowhere else.
    token: String,
    ttl_ms: u64,
    uses_max: u32,
    region: Option<String>,
    cluster: Option<String>,
    labels: BTreeMap<String, String>,
    revision: u64,
}

impl JoinTokenCreated {
    /// What was asked for and is there now.
    pub(crate) fn new(
        response: v1::CreateJoinTokenResponse,
        request: v1::CreateJoinTokenRequest,
        token: String,
    ) -> Self {
        Self {
            id: response.id,
            token,
            ttl_ms: request.ttl_ms,
            uses_max: request.uses_max,
            region: some(request.region),
            cluster: some(request.cluster),
            labels: map(request.labels),
            revision: response.revision,
        }
    }
}

impl View for JoinTokenCreated {
    const SCHEMA: &'static str = "quorate.v1.join_token_created/1";

    fn human(&self, _: Paint) -> String {
        let nodes = time::count(self.uses_max.into(), "node");
        format!("Join token {} admits {nodes} for {}:\n{}", self.id, time::span(self.ttl_ms), self.token)
    }
}

/// A token in a list.
#[derive(Debug, Serialize)]
struct JoinToken {
    id: String,
    by: String,
    at_ms: u64,
    /// Zero: it has expired.
    expires_in_ms: u64,
    uses: u32,
    uses_max: u32,
    region: Option<String>,
    cluster: Option<String>,
    labels: BTreeMap<String, String>,
}

impl From<v1::JoinToken> for JoinToken {
    fn from(token: v1::JoinToken) -> Self {
        Self {
            id: token.id,
            by: token.by,
            at_ms: token.at_ms,
            expires_in_ms: token.expires_in_ms,
            uses: token.uses,
            uses_max: token.uses_max,
            region: some(token.region),
            cluster: some(token.cluster),
            labels: map(token.labels),
        }
    }
}

/// `node token list`.
#[derive(Debug, Serialize)]
pub(crate) struct JoinTokenList {
    /// What a new node needs: `open` (nothing) or `token`.
    node_admission: String,
    tokens: Vec<JoinToken>,
    revision: u64,
}

impl From<v1::ListJoinTokensResponse> for JoinTokenList {
    fn from(response: v1::ListJoinTokensResponse) -> Self {
        Self {
            node_admission: word("NODE_ADMISSION_", response.admission().as_str_name()),
            tokens: response.tokens.into_iter().map(Into::into).collect(),
            revision: response.revision,
        }
    }
}

impl View for JoinTokenList {
    const SCHEMA: &'static str = "quorate.v1.join_token_list/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["TOKEN", "EXPIRES", "USES", "REGION", "CLUSTER", "MADE", "BY", "LABELS"]);
        let any = |name: &Option<String>| name.clone().unwrap_or_else(|| "any".into());
        for token in &self.tokens {
            let labels: Vec<String> = token.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let expires = match token.expires_in_ms {
                0 => "expired".to_owned(),
                rest => format!("in {}", time::span(rest)),
            };
            rows.row(vec![
                entry(&token.id),
                entry(expires),
                entry(format!("{}/{}", token.uses, token.uses_max)),
                entry(any(&token.region)),
                entry(any(&token.cluster)),
                faint(time::instant(token.at_ms)),
                faint(&token.by),
                faint(labels.join(",")),
            ]);
        }
        let needs = if self.node_admission == "token" {
            "New nodes need a join token."
        } else {
            "New nodes need no join token; 'quorate cluster set node-admission=token' changes that."
        };
        format!("{needs}\n\n{}", rows.text())
    }
}

/// `node token revoke`.
#[derive(Debug, Serialize)]
pub(crate) struct JoinTokenRevoked {
    /// Its id.
    pub(crate) id: String,
    /// Since when it admits nobody.
    pub(crate) revision: u64,
}

impl View for JoinTokenRevoked {
    const SCHEMA: &'static str = "quorate.v1.join_token_revoked/1";

    fn human(&self, _: Paint) -> String {
        format!("Join token {} admits nobody any more; the nodes that it has admitted stay", self.id)
    }
}

/// `cluster set node-admission=...`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeAdmissionSet {
    /// `open` or `token`.
    pub(crate) node_admission: String,
    /// Since when.
    pub(crate) revision: u64,
}

impl View for NodeAdmissionSet {
    const SCHEMA: &'static str = "quorate.v1.node_admission_set/1";

    fn human(&self, _: Paint) -> String {
        match self.node_admission.as_str() {
            "token" => "New nodes need a join token from now on; those that are known stay".to_owned(),
            _ => "New nodes need no join token from now on".to_owned(),
        }
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn map(labels: Vec<v1::Label>) -> BTreeMap<String, String> {
    labels.into_iter().map(|label| (label.key, label.value)).collect()
}

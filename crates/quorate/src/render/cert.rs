//! Certificates that were made.

use std::path::Path;

use quorate_tls::Issued;
use serde::Serialize;

use super::{Paint, View, time};

/// `cert ca` and `cert issue`.
#[derive(Debug, Serialize)]
pub(crate) struct Certificate {
    /// Whose it is; none: the authority's own.
    principal: Option<String>,
    cert: String,
    key: String,
    expires_at_ms: u64,
}

impl Certificate {
    /// What was written, and for whom.
    pub(crate) fn new(principal: Option<String>, issued: Issued) -> Self {
        let text = |path: &Path| path.display().to_string();
        let expires_at_ms = u64::try_from(issued.expires).unwrap_or(0).saturating_mul(1_000);
        Self { principal, cert: text(&issued.cert), key: text(&issued.key), expires_at_ms }
    }
}

impl View for Certificate {
    const SCHEMA: &'static str = "quorate.v1.certificate/1";

    fn human(&self, _: Paint) -> String {
        let Self { principal, cert, key, .. } = self;
        let until = time::instant(self.expires_at_ms);
        match principal {
            Some(principal) => format!("{principal}, valid until {until}\n  tls.cert  {cert}\n  tls.key   {key}"),
            None => format!(
                "authority, valid until {until}\n  tls.ca  {cert}\n  {key} signs whatever it is asked to: keep it off \
                 the machines of the cluster"
            ),
        }
    }
}

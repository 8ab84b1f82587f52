//! Namespaces.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint};
use super::{Paint, View, time};

/// One namespace.
#[derive(Debug, Serialize)]
pub(crate) struct Namespace {
    name: String,
    created_at_ms: u64,
}

/// `namespace list`.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceList {
    namespaces: Vec<Namespace>,
    revision: u64,
}

impl From<v1::ListNamespacesResponse> for NamespaceList {
    fn from(response: v1::ListNamespacesResponse) -> Self {
        let one = |namespace: v1::NamespaceSummary| Namespace {
            name: namespace.name,
            created_at_ms: namespace.created_at_ms,
        };
        Self { namespaces: response.namespaces.into_iter().map(one).collect(), revision: response.revision }
    }
}

impl View for NamespaceList {
    const SCHEMA: &'static str = "quorate.v1.namespace_list/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["NAMESPACE", "CREATED"]);
        for namespace in &self.namespaces {
            rows.row(vec![entry(&namespace.name), faint(time::instant(namespace.created_at_ms))]);
        }
        rows.text()
    }
}

/// `namespace create`.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceCreated {
    /// Its name.
    pub(crate) namespace: String,
    /// When it came to be.
    pub(crate) revision: u64,
}

impl View for NamespaceCreated {
    const SCHEMA: &'static str = "quorate.v1.namespace_created/1";

    fn human(&self, _: Paint) -> String {
        format!("Namespace {} exists now", self.namespace)
    }
}

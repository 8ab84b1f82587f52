//! Data that tasks have left behind, as people and scripts see it.

use quorate_proto::convert::payload::payload_digest;
use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry};
use super::{Paint, plain, time};

/// One of them.
#[derive(Debug, Serialize)]
pub(crate) struct Payload {
    name: String,
    uri: String,
    size: Option<u64>,
    /// The algorithm, a colon and hexadecimal digits.
    digest: Option<String>,
}

impl From<v1::PayloadRef> for Payload {
    fn from(reference: v1::PayloadRef) -> Self {
        let digest = payload_digest(&reference).map(|digest| digest.to_string());
        Self { name: reference.name, uri: reference.uri, size: reference.size, digest }
    }
}

/// A line for each.
pub(super) fn table(payloads: &[Payload], paint: Paint) -> String {
    let mut rows = Rows::new(paint, &["PAYLOAD", "SIZE", "URI", "DIGEST"]);
    for payload in payloads {
        let digest = payload.digest.clone().unwrap_or_else(|| "-".to_owned());
        let size = payload.size.map_or_else(|| "-".to_owned(), time::bytes);
        rows.row(vec![entry(&payload.name), entry(size), entry(plain(&payload.uri)), entry(digest)]);
    }
    rows.text()
}

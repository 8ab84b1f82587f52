//! What two namespaces had beside their parts, when one took the room of the other.

use quorate_proto::v1;
use serde::Serialize;

use super::plain;

/// In millionths of the cluster.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShareTaken {
    /// The one that took it; none of runs that are known no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    had_ppm: u32,
    part_ppm: u32,
    /// The one that it was taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    from_had_ppm: u32,
    from_part_ppm: u32,
    guaranteed: bool,
}

impl From<v1::ShareTaken> for ShareTaken {
    fn from(share: v1::ShareTaken) -> Self {
        let v1::ShareTaken { had_ppm, part_ppm, from_had_ppm, from_part_ppm, guaranteed, namespace, from } = share;
        let [namespace, from] = [namespace, from].map(|name| Some(name).filter(|name| !name.is_empty()));
        Self { namespace, had_ppm, part_ppm, from, from_had_ppm, from_part_ppm, guaranteed }
    }
}

impl ShareTaken {
    /// `namespace b had 0.0% of the cluster of the 50.0% that are its part, and a 100.0% of 50.0%`.
    pub(crate) fn words(&self) -> String {
        let Self { namespace, had_ppm, part_ppm, from, from_had_ppm, from_part_ppm, guaranteed } = self;
        let [had, part, from_had, from_part] = [had_ppm, part_ppm, from_had_ppm, from_part_ppm].map(percent);
        let namespace = namespace.as_ref().map_or("its namespace".into(), |name| format!("namespace {}", plain(name)));
        let from = from.as_ref().map_or("the other one".into(), |name| plain(name));
        let within = if *guaranteed { ", within its guarantee" } else { "" };
        format!(
            "{namespace} had {had} of the cluster of the {part} that are its part{within}, and {from} {from_had} of {from_part}"
        )
    }
}

/// With one decimal.
fn percent(ppm: &u32) -> String {
    format!("{}.{}%", ppm / 10_000, ppm / 1_000 % 10)
}

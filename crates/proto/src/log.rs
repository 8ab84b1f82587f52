//! Log entries as bytes.

mod command;

/// The persisted messages, generated.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
    tonic::include_proto!("quorate.log.v1");
}

use bytes::Bytes;
use prost::Message;
use quorate_state::{Entry, Item, Millis, Principal, RequestId, RequestKey, Stamp};

use crate::format::parts::{digest_from, digest_to, parsed, required};
use crate::format::{ENTRY_FORMAT, FormatError, GROUP};

/// The bytes of an entry, the same for equal entries.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let message = v1::Entry {
        format: ENTRY_FORMAT,
        group: GROUP,
        stamp: Some(v1::Stamp {
            wall_ms: entry.stamp.wall.0,
            term: entry.stamp.term,
            elapsed_ms: entry.stamp.elapsed_ms,
        }),
        items: entry.items.iter().map(item_to).collect(),
    };
    message.encode_to_vec().into()
}

/// The entry of these bytes.
///
/// # Errors
/// Anything in them that this version does not know, so that nothing is ever applied in part: the
/// entry is encoded again and must give the same bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, FormatError> {
    let message = v1::Entry::decode(bytes).map_err(|source| FormatError::Bytes { what: "a log entry", source })?;
    if message.format != ENTRY_FORMAT {
        return Err(FormatError::Number { what: "a log entry", found: message.format, known: ENTRY_FORMAT });
    }
    if message.group != GROUP {
        return Err(FormatError::Group { found: message.group });
    }
    let stamp = required("stamp", message.stamp)?;
    let entry = Entry {
        stamp: Stamp { wall: Millis(stamp.wall_ms), term: stamp.term, elapsed_ms: stamp.elapsed_ms },
        items: message.items.into_iter().map(item_from).collect::<Result<_, _>>()?,
    };
    if encode_entry(&entry) == bytes { Ok(entry) } else { Err(FormatError::Unfaithful("a log entry")) }
}

/// The bytes of an entry, after checking that they decode to it: what a proposer calls, so that an
/// entry which would halt the replicas is refused before it enters the log.
///
/// # Errors
/// As [`decode_entry`].
pub fn encode_checked(entry: &Entry) -> Result<Bytes, FormatError> {
    let bytes = encode_entry(entry);
    if decode_entry(&bytes)? == *entry { Ok(bytes) } else { Err(FormatError::Unfaithful("a log entry")) }
}

fn item_to(item: &Item) -> v1::Item {
    v1::Item {
        principal: item.principal.to_string(),
        request: item.request.as_ref().map(|request| v1::RequestKey {
            id: request.id.0.to_string(),
            namespace: request.namespace.as_ref().map(ToString::to_string),
            digest: digest_to(request.digest),
        }),
        command: Some(command::to(&item.command)),
    }
}

fn item_from(item: v1::Item) -> Result<Item, FormatError> {
    let request = item.request.map(|request| {
        Ok::<_, FormatError>(RequestKey {
            id: RequestId(request.id.into()),
            namespace: request.namespace.map(|name| parsed("request.namespace", &name)).transpose()?,
            digest: digest_from("request.digest", &request.digest)?,
        })
    });
    Ok(Item {
        principal: Principal(item.principal.into()),
        request: request.transpose()?,
        command: command::from(required("command", item.command)?)?,
    })
}

#[cfg(test)]
mod tests;

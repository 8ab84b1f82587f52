//! Log entries as bytes.

mod command;
mod places;
mod reservation;

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

/// The field of an entry that holds its items: the last one, so that encoded items can follow the rest.
const ITEMS: u32 = 4;

/// The bytes of an entry, the same for equal entries.
pub fn encode_entry(entry: &Entry) -> Bytes {
    message(entry.stamp, entry.items.iter().map(item_to).collect()).encode_to_vec().into()
}

fn message(stamp: Stamp, items: Vec<v1::Item>) -> v1::Entry {
    v1::Entry {
        format: ENTRY_FORMAT,
        group: GROUP,
        stamp: Some(v1::Stamp { wall_ms: stamp.wall.0, term: stamp.term, elapsed_ms: stamp.elapsed_ms }),
        items,
    }
}

/// Items that are encoded before it is known which entry will carry them, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedItems(Vec<u8>);

impl EncodedItems {
    /// Adds an item, after checking that its bytes decode to it: an item that would halt the replicas
    /// is refused before it enters the log. Nothing is added when it is refused.
    ///
    /// # Errors
    /// As [`decode_entry`].
    pub fn push(&mut self, item: &Item) -> Result<(), FormatError> {
        let (message, before) = (item_to(item), self.0.len());
        prost::encoding::message::encode(ITEMS, &message, &mut self.0);
        let bytes = &self.0[self.0.len() - message.encoded_len()..];
        let decoded = v1::Item::decode(bytes)
            .map_err(|source| FormatError::Bytes { what: "an item", source })
            .and_then(item_from);
        let refused = match decoded {
            Ok(decoded) if decoded == *item => return Ok(()),
            Ok(_) => FormatError::Unfaithful("an item"),
            Err(error) => error,
        };
        self.0.truncate(before);
        Err(refused)
    }

    /// Adds items that were encoded apart.
    pub fn append(&mut self, more: Self) {
        if self.0.is_empty() {
            *self = more;
        } else {
            self.0.extend(more.0);
        }
    }

    /// Bytes that they take up of an entry.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The bytes of an entry of these items, in this order: those that [`encode_entry`] gives.
pub fn join_items<'a>(stamp: Stamp, parts: impl Iterator<Item = &'a EncodedItems> + Clone) -> Bytes {
    let head = message(stamp, vec![]);
    let mut bytes = Vec::with_capacity(head.encoded_len() + parts.clone().map(EncodedItems::bytes).sum::<usize>());
    bytes.extend(head.encode_to_vec());
    parts.for_each(|part| bytes.extend(&part.0));
    bytes.into()
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

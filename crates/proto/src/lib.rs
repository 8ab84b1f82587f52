//! Wire types and the only conversions wire ⇄ domain, errors ⇄ `Status`, and the persisted encoding.
//!
//! Read in this order: `v1` (the public and agent API, generated), `convert` (between it and the
//! domain), `status` (errors), `staleness` (what reads may ask for beside their request), then `format`, `log`, `rows` and `backup` (bytes that outlive the code).
//!
//! **Invariant:** no business rules, because a rule outside `state` is one that `apply` does not check.
//! **Invariant:** what is read from a log or a store is encoded again and compared with the bytes it
//! came from, because a field that this version does not know must halt it, never be dropped.

/// Messages, clients and servers of the public API and of the agents' session.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
    tonic::include_proto!("quorate.v1");
}

/// What replicas say to each other.
pub mod raft {
    /// The first version of it.
    pub mod v1 {
        #![allow(clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
        tonic::include_proto!("quorate.raft.v1");
    }
}

pub mod convert;
pub mod staleness;
pub mod status;

pub mod backup;
pub mod format;
pub mod log;
pub mod rows;

/// Descriptors of every file under `/proto`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use format::FormatError;
pub use status::ApiError;

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use prost::Message;

    #[test]
    fn reflection_knows_every_service() {
        let descriptors = prost_types::FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).unwrap();
        let mut services: Vec<String> = descriptors
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())))
            .filter(|service| service.starts_with("quorate.v1."))
            .collect();
        services.sort();
        assert_eq!(
            services,
            [
                "quorate.v1.Admin",
                "quorate.v1.Agents",
                "quorate.v1.Batches",
                "quorate.v1.Cluster",
                "quorate.v1.Jobs",
                "quorate.v1.Relays",
                "quorate.v1.Runs"
            ]
        );
    }
}

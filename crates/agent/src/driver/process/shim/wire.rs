//! What an agent and the host of its shims say to each other: protobuf behind its length. Both are one binary, so that
//! this is no format that lasts.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use prost::Message;

use super::record::Begun;

/// Bytes of one message: arguments and environment of a task are far below.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A process to start.
#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Request {
    /// The program, then its arguments.
    #[prost(string, repeated, tag = "1")]
    pub(in super::super) argv: Vec<String>,
    /// All of its environment.
    #[prost(message, repeated, tag = "2")]
    pub(in super::super) env: Vec<Variable>,
    #[prost(bytes = "vec", tag = "3")]
    pub(in super::super) directory: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(in super::super) stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(in super::super) stderr: Vec<u8>,
    /// Files into which it writes "0" to enter its control groups of version 1.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub(in super::super) entrances: Vec<Vec<u8>>,
    /// Where the shim writes what it knows.
    #[prost(bytes = "vec", tag = "7")]
    pub(in super::super) record: Vec<u8>,
    /// The beginning of that, without the numbers of processes.
    #[prost(message, required, tag = "8")]
    pub(in super::super) begun: Begun,
    /// The lease, if it must not run without one.
    #[prost(message, optional, tag = "9")]
    pub(in super::super) lease: Option<Lease>,
    /// It ends with the agent.
    #[prost(bool, tag = "10")]
    pub(in super::super) ends_with_agent: bool,
    /// The directory of its control group of version 2, where there is one.
    #[prost(bytes = "vec", optional, tag = "11")]
    pub(in super::super) group: Option<Vec<u8>>,
    /// Bytes kept of each stream of its output.
    #[prost(uint64, tag = "12")]
    pub(in super::super) log_bytes_max: u64,
    /// Where the attempt may say something of itself.
    #[prost(bytes = "vec", tag = "13")]
    pub(in super::super) report: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Variable {
    #[prost(bytes = "vec", tag = "1")]
    pub(in super::super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(in super::super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Lease {
    /// When it is over as far as is known, in milliseconds since boot.
    #[prost(uint64, tag = "1")]
    pub(in super::super) deadline_ms: u64,
    /// The file to look into then.
    #[prost(bytes = "vec", tag = "2")]
    pub(in super::super) file: Vec<u8>,
}

/// What became of a request: the processes, or why there are none.
#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Reply {
    #[prost(message, optional, tag = "1")]
    pub(in super::super) begun: Option<Begun>,
    #[prost(string, tag = "2")]
    pub(in super::super) why: String,
    /// The job is to blame.
    #[prost(bool, tag = "3")]
    pub(in super::super) is_job: bool,
}

/// A path as it is sent.
pub(in super::super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// A path as it was sent.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Sends a message.
pub(super) fn send(mut to: impl Write, message: &impl Message) -> io::Result<()> {
    let length = u32::try_from(message.encoded_len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = length.to_le_bytes().to_vec();
    message.encode(&mut bytes).map_err(io::Error::other)?;
    to.write_all(&bytes)
}

/// Waits for a message.
pub(super) fn receive<M: Message + Default>(mut from: impl Read) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    M::decode(&body[..]).map_err(io::Error::other)
}

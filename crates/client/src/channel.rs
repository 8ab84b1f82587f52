//! Connections to replicas over the network seam, one per address, made when first used.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use quorate_proto::ApiError;
use quorate_proto::status::from_status;
use quorate_seams::Network;
use tonic::transport::{Channel, Endpoint};

use crate::Error;

/// A connection that is not there by then is given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of one message, either way: the largest spec has a tenth of it.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections kept; one more replaces them all. No cluster has as many replicas.
const CHANNELS_MAX: usize = 64;
/// A connection is asked for a sign of life this often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// and given up after this long without one: a host that is gone sends no reset.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A channel to `host:port` that connects when it is first used, and again when it was cut.
pub(crate) fn connect_lazily(address: &str, network: &Arc<dyn Network>) -> Result<Channel, Error> {
    let wrong = |why: String| Error::Address { address: address.to_owned(), why };
    let host_port = host_port(address).ok_or_else(|| wrong("the host or the port is missing".into()))?.to_owned();
    let endpoint = Endpoint::from_shared(format!("http://{host_port}")).map_err(|error| {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        wrong(cause)
    })?;
    let endpoint = endpoint
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let network = Arc::clone(network);
    let connector = tower::service_fn(move |_| {
        let (network, host_port) = (Arc::clone(&network), host_port.clone());
        async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, network.connect(&host_port)).await {
                Ok(connection) => connection.map(TokioIo::new),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {host_port} in time"))),
            }
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// The address as `host:port`, if it is one.
pub(crate) fn host_port(address: &str) -> Option<&str> {
    let host_port = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let (host, port) = host_port.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(host_port)
}

/// The channels in use, by address.
pub(crate) struct Channels {
    network: Arc<dyn Network>,
    open: Mutex<BTreeMap<String, Channel>>,
}

impl Channels {
    pub(crate) fn new(network: Arc<dyn Network>) -> Self {
        Self { network, open: Mutex::default() }
    }

    pub(crate) fn get(&self, address: &str) -> Result<Channel, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(address) {
            return Ok(channel.clone());
        }
        if open.len() >= CHANNELS_MAX {
            open.clear();
        }
        let channel = connect_lazily(address, &self.network)?;
        open.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Makes the next use of the address connect anew: this connection is silent or broken.
    pub(crate) fn forget(&self, address: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }
}

/// True for the network's way to say that who we are is not welcome; HTTP/2 hides it in an error of its own.
fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    let io = io.or_else(|| error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io));
    // A firewall's refusal has the kernel's number, and is that of one address.
    io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied && io.raw_os_error().is_none())
}

/// A failed try.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: ApiError,
    /// The request never left this host.
    pub(crate) is_unsent: bool,
}

impl Failure {
    /// What a status says; tonic makes statuses of broken connections too, under various codes, and
    /// only those have a source.
    pub(crate) fn of(status: &tonic::Status) -> Self {
        let Some(source) = status.source() else {
            return Self { error: from_status(status), is_unsent: false };
        };
        let chain = || std::iter::successors(Some(source), |error| (*error).source());
        let is_unsent = chain().any(|error| error.is::<tonic::ConnectError>());
        let cause = chain().last().map_or_else(String::new, ToString::to_string);
        let text = if cause.is_empty() { status.message().to_owned() } else { cause };
        let error = if chain().any(is_refusal) { ApiError::Denied(text) } else { ApiError::Transport(text) };
        Self { error, is_unsent }
    }

    /// No answer came in time.
    pub(crate) fn silence(waited: Duration) -> Self {
        let text = format!("no answer within {} s", waited.as_secs_f32());
        Self { error: ApiError::DeadlineExceeded(text), is_unsent: false }
    }
}

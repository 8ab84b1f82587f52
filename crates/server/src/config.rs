//! What a replica is told at start, and the checks that name the key at fault.

use std::net::IpAddr;
use std::sync::Arc;

use quorate_raft::{Formation, Tuning};
use quorate_state::{RegionName, Settings};
use quorate_tls::{Role, Tls};
use tokio::runtime::Handle;

use crate::Error;

/// Connections open at once on one listener, when nothing else is said.
pub const CONNECTIONS_MAX_DEFAULT: usize = 10_000;

/// Bytes that are kept free on a replica's disk for what cannot wait, when nothing else is said: enough to
/// end what runs, to cut the log and to take in a snapshot of a usual size.
pub const DISK_RESERVE_DEFAULT: u64 = 512 << 20;

/// A namespace that exists from the start, so that a first job needs no preparation.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What a replica is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Form a cluster, join one, or go on with the one on the disk.
    pub formation: Formation,
    /// Where this replica stands.
    pub region: RegionName,
    /// Where it listens.
    pub listen: Listeners,
    /// What it tells others to connect to, where that differs from `listen`.
    pub advertise: Advertise,
    /// Take part without a vote, until somebody promotes this replica.
    pub learner: bool,
    /// Accept other than loopback addresses without TLS.
    pub insecure: bool,
    /// TLS for clients, agents and replicas, with the certificate of a replica.
    pub tls: Option<Arc<Tls>>,
    /// Limits and defaults of a new cluster; a cluster that exists keeps its own.
    pub settings: Settings,
    /// Raft's timing and snapshots.
    pub tuning: Tuning,
    /// Connections open at once, per listener.
    pub connections_max: usize,
    /// While fewer bytes than these are free on the disk, this replica accepts no new work when it leads.
    /// Zero: it always does.
    pub disk_reserve_bytes: u64,
    /// Where calls of clients are answered; none: where everything else runs. On threads of their own a flood of calls
    /// takes its share of the processors, and consensus and agents do not stand in one line with it.
    pub clients: Option<Handle>,
}

/// Where a replica listens: `host:port` each; port 0 lets the kernel choose.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Clients.
    pub api: String,
    /// Agents.
    pub agent: String,
    /// Other replicas.
    pub raft: String,
    /// `/metrics`, `/healthz` and `/readyz`; none: not served.
    pub ops: Option<String>,
}

/// What others are told to connect to; `None` is the address bound.
#[derive(Clone, Debug, Default)]
pub struct Advertise {
    /// For clients.
    pub api: Option<String>,
    /// For agents.
    pub agent: Option<String>,
    /// For replicas.
    pub raft: Option<String>,
}

/// The addresses a replica is reached at, once it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Clients.
    pub api: String,
    /// Agents.
    pub agent: String,
    /// Other replicas.
    pub raft: String,
    /// Metrics and health, when served.
    pub ops: Option<String>,
}

impl Config {
    /// A replica with product defaults that listens where it is told.
    pub fn new(formation: Formation, region: RegionName, listen: Listeners) -> Self {
        Self {
            formation,
            region,
            listen,
            advertise: Advertise::default(),
            learner: false,
            insecure: false,
            tls: None,
            settings: Settings::default(),
            tuning: Tuning::default(),
            connections_max: CONNECTIONS_MAX_DEFAULT,
            disk_reserve_bytes: DISK_RESERVE_DEFAULT,
            clients: None,
        }
    }

    /// Checks every value; the error names the key.
    pub fn check(&self) -> Result<(), Error> {
        let listen = [
            ("listen.api", Some(&self.listen.api)),
            ("listen.agent", Some(&self.listen.agent)),
            ("listen.raft", Some(&self.listen.raft)),
            ("listen.ops", self.listen.ops.as_ref()),
        ];
        for (key, address) in listen {
            let Some(address) = address else { continue };
            let (host, _) = split(key, address)?;
            if !self.insecure && self.tls.is_none() && !is_loopback(host) {
                return Err(wrong(
                    key,
                    format!(
                        "{address} is not a loopback address and this listener has no TLS: use 127.0.0.1, \
                         set tls.ca, tls.cert and tls.key, or set insecure = true on a network you trust"
                    ),
                ));
            }
        }
        if let Some(own) = self.tls.as_ref().map(|tls| tls.own())
            && own.role() != Role::Replica
        {
            return Err(wrong("tls.cert", format!("it is the certificate of {own}: a replica needs one of its own")));
        }
        let advertise = [
            ("advertise.api", &self.advertise.api),
            ("advertise.agent", &self.advertise.agent),
            ("advertise.raft", &self.advertise.raft),
        ];
        for (key, address) in advertise {
            let Some(address) = address else { continue };
            let (_, port) = split(key, address)?;
            if port == 0 {
                return Err(wrong(key, format!("{address} has port 0: nobody can connect to it")));
            }
        }
        if self.connections_max == 0 {
            return Err(wrong("connections_max", "must be at least 1".into()));
        }
        check_settings(&self.settings)
    }
}

fn check_settings(settings: &Settings) -> Result<(), Error> {
    if !settings.lease.is_safe() {
        return Err(wrong(
            "settings.lease",
            format!(
                "{:?} is unsafe: server_ms (1 - rho) must be at least agent_ms (1 + rho) + kill_ms + margin_ms",
                settings.lease
            ),
        ));
    }
    let at_least_one = [
        ("settings.lease.agent_ms", settings.lease.agent_ms),
        ("settings.request_window_ms", settings.request_window_ms),
        ("settings.requests_max", settings.requests_max),
        ("settings.request_expiries_max", u64::from(settings.request_expiries_max)),
        ("settings.event_revisions_max", settings.event_revisions_max),
        ("settings.steps_max", u64::from(settings.steps_max)),
        ("settings.tasks_per_run_max", u64::from(settings.tasks_per_run_max)),
        ("settings.argv_bytes_max", u64::from(settings.argv_bytes_max)),
        ("settings.runs_unfinished_max", u64::from(settings.runs_unfinished_max)),
    ];
    match at_least_one.into_iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => Err(wrong(key, "must be at least 1".into())),
        None => Ok(()),
    }
}

fn wrong(key: &'static str, why: String) -> Error {
    Error::Config { key, why }
}

/// Host and port of `host:port`, where an IPv6 host stands in brackets.
fn split<'a>(key: &'static str, address: &'a str) -> Result<(&'a str, u16), Error> {
    let (host, port) =
        address.rsplit_once(':').ok_or_else(|| wrong(key, format!("{address:?} is not of the form host:port")))?;
    let port =
        port.parse().map_err(|_| wrong(key, format!("{address:?} has no port number from 0 to 65535 after ':'")))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(wrong(key, format!("{address:?} has no host before ':'")));
    }
    Ok((host, port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let listen = Listeners {
            api: "127.0.0.1:0".into(),
            agent: "[::1]:0".into(),
            raft: "localhost:7003".into(),
            ops: Some("127.0.0.1:0".into()),
        };
        Config::new(Formation::Init, RegionName::new("eu").unwrap(), listen)
    }

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config();
        change(&mut config);
        config.check().expect_err("must be refused").to_string()
    }

    #[test]
    fn loopback_addresses_are_accepted() {
        config().check().unwrap();
    }

    #[test]
    fn every_error_names_the_key() {
        for (change, key) in [
            ((|config| config.listen.api = "0.0.0.0:1".into()) as fn(&mut Config), "listen.api"),
            (|config| config.listen.agent = "example.org:1".into(), "listen.agent"),
            (|config| config.listen.raft = "127.0.0.1".into(), "listen.raft"),
            (|config| config.listen.ops = Some("127.0.0.1:70000".into()), "listen.ops"),
            (|config| config.advertise.api = Some("a:0".into()), "advertise.api"),
            (|config| config.advertise.agent = Some(":1".into()), "advertise.agent"),
            (|config| config.connections_max = 0, "connections_max"),
            (|config| config.settings.lease.server_ms = 1, "settings.lease"),
            (|config| config.settings.steps_max = 0, "settings.steps_max"),
        ] {
            let message = refused(change);
            assert!(message.starts_with(&format!("{key}: ")), "{key} is not named in: {message}");
        }
    }

    #[test]
    fn insecure_opens_other_addresses() {
        let mut config = config();
        config.insecure = true;
        config.listen.api = "0.0.0.0:1".into();
        config.check().unwrap();
    }
}

//! The hosts of a run, and where they stand: three regions, each with a network of its own.

use std::net::Ipv4Addr;

/// Regions, in the order of their networks.
pub(crate) const REGIONS: [&str; 3] = ["eu", "us", "ap"];
/// Replicas, one in each region.
pub(crate) const REPLICAS: usize = 3;
/// Agents, in the regions by turns.
pub(crate) const AGENTS: usize = 4;

/// Ports of a replica's listeners: for clients, agents, and other replicas.
pub(crate) const API: u16 = 7401;
pub(crate) const AGENT: u16 = 7402;
pub(crate) const RAFT: u16 = 7403;
/// Port of the sink that tasks write to.
pub(crate) const SINK: u16 = 7500;

/// What an agent says that its machine has for tasks,
pub(crate) const CPU: (&str, u64) = ("4", 4_000);
/// as it is typed, and in thousandths of a processor and in bytes.
pub(crate) const MEMORY: (&str, u64) = ("4Gi", 4 << 30);

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its name, which is that of its network namespace too.
    pub(crate) name: String,
    /// Position of its region.
    pub(crate) region: usize,
    pub(crate) address: Ipv4Addr,
}

impl Host {
    fn new(kind: &str, number: usize, first: u8) -> Self {
        let (region, row) = ((number - 1) % REGIONS.len(), (number - 1) / REGIONS.len());
        let last = first + u8::try_from(row).unwrap_or(0);
        Self { name: format!("{kind}-{number}"), region, address: subnet(region, last) }
    }

    /// `host:port` of one of its listeners.
    pub(crate) fn listens_at(&self, port: u16) -> String {
        format!("{}:{port}", self.address)
    }
}

/// Address `last` in the network of a region.
pub(crate) fn subnet(region: usize, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(region + 1).unwrap_or(0), last)
}

/// The region that an address belongs to.
pub(crate) fn region_of(address: [u8; 4]) -> Option<usize> {
    let [10, 77, region, _] = address else { return None };
    usize::from(region).checked_sub(1).filter(|region| *region < REGIONS.len())
}

pub(crate) fn replicas() -> Vec<Host> {
    (1..=REPLICAS).map(|number| Host::new("replica", number, 11)).collect()
}

pub(crate) fn agents() -> Vec<Host> {
    (1..=AGENTS).map(|number| Host::new("node", number, 21)).collect()
}

/// A replica without a vote that keeps the whole log. Nothing strikes it.
pub(crate) fn scribe() -> Host {
    let region = REGIONS.len() - 1;
    Host { name: "scribe".to_owned(), region, address: subnet(region, 51) }
}

/// Where clients are, one host in each region.
pub(crate) fn clients() -> Vec<Host> {
    (1..=REGIONS.len()).map(|number| Host::new("client", number, 31)).collect()
}

/// Where tasks write to, with their tokens.
pub(crate) fn sink() -> Host {
    Host::new("sink", 1, 41)
}

/// All of them.
pub(crate) fn all() -> Vec<Host> {
    [replicas(), agents(), clients(), vec![sink(), scribe()]].concat()
}

/// Those that a fault of one host or one link parts from it. The sink is none: a copy that nobody else hears and that
/// still writes is the one that tokens are for. Only a region that is isolated loses it.
pub(crate) fn peers() -> Vec<Host> {
    [replicas(), agents(), clients()].concat()
}

/// Those that a region which is isolated parts from the others.
pub(crate) fn parted() -> Vec<Host> {
    [peers(), vec![sink()]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_hosts_have_an_address_or_a_name_in_common() {
        let hosts = all();
        let addresses: std::collections::BTreeSet<_> = hosts.iter().map(|host| host.address).collect();
        let names: std::collections::BTreeSet<_> = hosts.iter().map(|host| &host.name).collect();
        assert_eq!((addresses.len(), names.len()), (hosts.len(), hosts.len()));
        assert!(hosts.iter().all(|host| region_of(host.address.octets()) == Some(host.region)));
        assert_eq!(region_of([10, 77, 9, 1]), None);
    }
}

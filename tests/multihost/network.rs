//! Network namespaces: one per host, joined by a bridge per region, and the regions by the wide area.
//!
//! All of it is made with `ip` and `nft`, below a mount of our own over the directory of named
//! namespaces, so that nothing has to be cleaned up: it is gone with the last process of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::hosts::{Host, REGIONS, subnet};

/// The namespace in the middle, in which packets are routed between regions.
pub(crate) const HUB: &str = "hub";
/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// The routes of packets that have yet to cross the wide area.
const WIDE: &str = "100";

/// The hosts' network, and what does not pass in it.
pub(crate) struct Network {
    hosts: Vec<Host>,
    /// By sender: to whom nothing passes.
    dropped: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

impl Network {
    /// Makes the namespaces and joins them within regions. Between regions nothing passes until
    /// [`Network::join_regions`].
    pub(crate) fn make(hosts: Vec<Host>) -> Result<Self, String> {
        std::fs::create_dir_all(NAMES).map_err(|error| format!("{NAMES}: {error}"))?;
        run("mount", &["-t", "tmpfs", "tmpfs", NAMES])?;
        ip(&["netns", "add", HUB])?;
        ip(&["-n", HUB, "link", "set", "lo", "up"])?;
        for (region, name) in REGIONS.iter().enumerate() {
            let gateway = format!("{}/24", subnet(region, 1));
            ip(&["-n", HUB, "link", "add", name, "type", "bridge"])?;
            ip(&["-n", HUB, "addr", "add", &gateway, "dev", name])?;
            ip(&["-n", HUB, "link", "set", name, "up"])?;
        }
        for host in &hosts {
            let address = format!("{}/24", host.address);
            let gateway = subnet(host.region, 1).to_string();
            ip(&["netns", "add", &host.name])?;
            ip(&["-n", HUB, "link", "add", &host.name, "type", "veth", "peer", "name", "eth0", "netns", &host.name])?;
            ip(&["-n", HUB, "link", "set", &host.name, "master", REGIONS[host.region], "up"])?;
            ip(&["-n", &host.name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &host.name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &host.name, "link", "set", "lo", "up"])?;
            ip(&["-n", &host.name, "route", "add", "default", "via", &gateway])?;
        }
        Ok(Self { hosts, dropped: BTreeMap::new() })
    }

    /// Sends everything between regions through `device`, which must be there by now.
    pub(crate) fn join_regions(&self, device: &str) -> Result<(), String> {
        ip(&["-n", HUB, "link", "set", device, "up"])?;
        ip(&["-n", HUB, "route", "add", "default", "dev", device, "table", WIDE])?;
        for region in REGIONS {
            ip(&["-n", HUB, "rule", "add", "iif", region, "lookup", WIDE])?;
        }
        run("ip", &["netns", "exec", HUB, "sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        // What comes out of the device did not come in where the reverse path would have it.
        for scope in REGIONS.iter().chain(&["all", "default", device]) {
            let off = format!("net.ipv4.conf.{scope}.rp_filter=0");
            run("ip", &["netns", "exec", HUB, "sysctl", "-qw", &off])?;
        }
        Ok(())
    }

    /// From now on nothing passes from the first host of a pair to the second, and everything else does.
    pub(crate) fn drop_between(&mut self, pairs: &BTreeSet<(Ipv4Addr, Ipv4Addr)>) -> Result<(), String> {
        for host in &self.hosts {
            let to: BTreeSet<Ipv4Addr> =
                pairs.iter().filter(|(from, _)| *from == host.address).map(|(_, to)| *to).collect();
            if self.dropped.get(&host.name).map_or(to.is_empty(), |before| *before == to) {
                continue;
            }
            filter(&host.name, &to)?;
            self.dropped.insert(host.name.clone(), to);
        }
        Ok(())
    }
}

/// Replaces what a host may not send.
fn filter(host: &str, to: &BTreeSet<Ipv4Addr>) -> Result<(), String> {
    let mut rules = String::from("add table ip cut\ndelete table ip cut\n");
    if !to.is_empty() {
        let addresses: Vec<String> = to.iter().map(ToString::to_string).collect();
        rules += "table ip cut { chain out { type filter hook output priority 0;";
        rules += &format!(" ip daddr {{ {} }} drop; }}; }}\n", addresses.join(", "));
    }
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host, "nft", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).map_err(|error| format!("nft: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("nft: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr))) }
}

/// Moves the calling thread to a host: what it connects and listens from now on is there.
pub(crate) fn enter(host: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot enter the namespace {host}: {error}");
    let namespace = std::fs::File::open(Path::new(NAMES).join(host)).map_err(failed)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| failed(error.into()))
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments)
}

/// Runs a command that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

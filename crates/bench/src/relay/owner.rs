//! Which process of this host a connection comes from, as the kernel's tables say.

use std::net::{IpAddr, SocketAddr};

/// The position in `pids` of the process whose socket connects `near` with `far`. Both, because connections to
/// different places may share a local port.
pub(super) fn of(near: SocketAddr, far: SocketAddr, pids: &[Option<u32>]) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, near, far)?);
    pids.iter().position(|pid| pid.is_some_and(|pid| holds(pid, &socket)))
}

/// The inode of the socket with these two addresses, its own and the other.
fn inode(table: &str, near: SocketAddr, far: SocketAddr) -> Option<&str> {
    let (near, far) = (printed(near)?, printed(far)?);
    let is_it = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next() == Some(&*near) && columns.next() == Some(&*far)
    };
    table.lines().find(is_it)?.split_whitespace().nth(9)
}

/// An address as the kernel prints it: as the number that its bytes are in memory.
fn printed(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_both_of_its_addresses() {
        let ip = u32::from_ne_bytes([127, 0, 0, 1]);
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: {ip:08X}:1F90 {ip:08X}:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
             1: {ip:08X}:1F91 {ip:08X}:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n   \
             2: {ip:08X}:1F91 {ip:08X}:0050 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n   \
             3: {ip:08X}:1F91 {ip:08X}:0051 01 00000000:00000000 00:00000000 00000000     0        0 4713 1\n"
        );
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(inode(&table, at(8_081), at(8_080)), Some("4712"));
        assert_eq!(inode(&table, at(8_081), at(81)), Some("4713"), "the same port, to another place");
        assert_eq!(inode(&table, at(8_080), at(80)), Some("4711"));
        assert_eq!(inode(&table, at(80), at(8_080)), None, "a remote address is none of ours");
    }
}

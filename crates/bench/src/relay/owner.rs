//! Which process of this host a connection comes from, as the kernel's tables say.

use std::net::{IpAddr, SocketAddr};

/// The position in `pids` of the process whose socket has this local address.
pub(super) fn of(address: SocketAddr, pids: &[Option<u32>]) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, address)?);
    pids.iter().position(|pid| pid.is_some_and(|pid| holds(pid, &socket)))
}

/// The inode of the socket with this local address.
fn inode(table: &str, address: SocketAddr) -> Option<&str> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    // Addresses are printed as the number that their bytes are in memory.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&*local))?;
    line.split_whitespace().nth(9)
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_local_address() {
        let ip = u32::from_ne_bytes([127, 0, 0, 1]);
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: {ip:08X}:1F90 {ip:08X}:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
             1: {ip:08X}:1F91 {ip:08X}:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n"
        );
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(inode(&table, at(8_081)), Some("4712"));
        assert_eq!(inode(&table, at(8_080)), Some("4711"));
        assert_eq!(inode(&table, at(80)), None, "a remote address is none of ours");
    }
}

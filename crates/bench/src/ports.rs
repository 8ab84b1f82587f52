//! Ports that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_seams::{Entropy as _, SystemEntropy};

use crate::Error;

/// Ports are taken from here, below the range the kernel gives to outgoing connections: a replica
/// comes back to its own port after it was killed, and meanwhile a client's connection could
/// otherwise have taken it.
const LOWEST: u64 = 15_000;
const HIGHEST: u64 = 32_000;

/// Clusters of one process ask one after the other, so that two never get the same port.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// `count` different ports of 127.0.0.1 that could be bound a moment ago.
pub(crate) fn free(count: usize) -> Result<Vec<u16>, Error> {
    free_after(&NEXT, count)
}

fn free_after(next: &AtomicU64, count: usize) -> Result<Vec<u16>, Error> {
    let span = HIGHEST - LOWEST;
    // Each process begins somewhere else, as another one may be choosing right now.
    let start = SystemEntropy.u64() % span;
    let _ = next.compare_exchange(0, start + 1, Ordering::Relaxed, Ordering::Relaxed);
    let mut ports = Vec::with_capacity(count);
    for _ in 0..span {
        if ports.len() == count {
            return Ok(ports);
        }
        let offset = next.fetch_add(1, Ordering::Relaxed) % span;
        let Ok(port) = u16::try_from(LOWEST + offset) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    Err(Error::Ports(count))
}

/// True when a log says that a port was taken in between.
pub(crate) fn is_clash(log: &str) -> bool {
    log.contains("Address already in use") || log.contains("address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_of_one_process_get_different_ports() {
        let mut ports = free(20).unwrap();
        ports.extend(free(20).unwrap());
        assert!(ports.iter().all(|port| (LOWEST..HIGHEST).contains(&u64::from(*port))), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 40);
    }

    #[test]
    fn a_taken_port_is_not_given() {
        let next = AtomicU64::new(0);
        let port = free_after(&next, 1).unwrap()[0];
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        next.store(u64::from(port) - LOWEST, Ordering::Relaxed);
        assert!(!free_after(&next, 3).unwrap().contains(&port));
    }
}

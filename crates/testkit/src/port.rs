//! Owns ports for programs that a test starts, and for addresses at which nobody must listen.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The lowest port of tests: most servers that a machine may run listen below it.
const LOWEST: u16 = 10_000;

/// The fewest ports that are worth a range of their own.
const COUNT_MIN: u16 = 1000;

/// How far apart test programs begin whose process ids follow one another: more ports than one of
/// them uses.
const STRIDE: u32 = 211;

/// A port on which nothing listens. Each call returns another one.
///
/// It is outside the range from which the kernel picks ports, so neither a connection nor a
/// listener on port 0 takes it before the test uses it. A port that the kernel has picked and that
/// is free again may be taken at any time.
#[track_caller]
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Some(range) = own_range() else { return picked_by_the_kernel() };
    let count = u32::from(range.end - range.start);
    let start = process::id().wrapping_mul(STRIDE);
    for _ in 0..count {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = range.start + (number % count) as u16;
        if is_free(port) {
            return port;
        }
    }
    panic!("all ports of {range:?} are in use");
}

/// Ports below those that the kernel picks (`ip_local_port_range` in ip(7)); none if it picks
/// almost any port.
fn own_range() -> Option<Range<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let first = text.split_whitespace().next()?.parse().ok()?;
    (first >= LOWEST + COUNT_MIN).then_some(LOWEST..first)
}

/// Whether the port is free on every address of both families.
fn is_free(port: u16) -> bool {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        // This machine has no IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok(),
    }
}

fn picked_by_the_kernel() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_port_is_another_one_and_none_that_the_kernel_picks() {
        let Some(range) = own_range() else { return };
        let ports: BTreeSet<_> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| range.contains(port)), "{ports:?} of {range:?}");
    }

    #[test]
    fn a_port_in_use_is_not_free_whatever_address_uses_it() {
        for address in ["127.0.0.1:0", "127.18.4.8:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            assert!(!is_free(listener.local_addr().unwrap().port()), "{address}");
        }
    }
}

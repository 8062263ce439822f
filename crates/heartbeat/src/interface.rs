//! Owns the lookup of network interfaces by their names.

use std::net::{Ipv4Addr, UdpSocket};

use rustix::net::netdevice::name_to_index;

/// The index of the network interface that `interface` names, or the number that `interface` is.
/// None if it is neither.
pub(crate) fn index(interface: &str) -> Option<u32> {
    // The request needs a socket of any kind (netdevice(7)).
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    name_to_index(socket, interface)
        .ok()
        .or_else(|| interface.parse().ok())
        .filter(|index| *index != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_loopback_by_its_name_and_by_its_index() {
        let loopback = index("lo").expect("a loopback interface");
        assert_eq!(index(&loopback.to_string()), Some(loopback));
        for interface in ["", "0", "-1", "no-such-interface", "much-too-long-for-an-interface"] {
            assert_eq!(index(interface), None, "{interface}");
        }
    }
}

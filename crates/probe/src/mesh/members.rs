//! Looks up which nodes are behind the name, and chooses which of them this node asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::alone::{self, Search};
use super::dns::{Dns, Found, ResolvConf};
use super::ring::Ring;
use super::state::Mesh;
use super::watch::{Watch, WatchSettings};
use crate::stop::Stop;

/// How neighbours are found and asked.
#[derive(Clone, Debug)]
pub(super) struct MemberSettings {
    pub(super) name: String,
    pub(super) neighbors: usize,
    pub(super) lookup_interval: Duration,
    pub(super) dns: Option<SocketAddr>,
    pub(super) own_address: Option<IpAddr>,
    pub(super) watch: WatchSettings,
}

/// The addresses of both families. A family whose look-up fails keeps its addresses, so that a
/// silent name service does not remove a neighbour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl Members {
    /// Stores the result of a look-up; returns its error.
    pub(crate) fn update(&mut self, found: Found) -> Option<String> {
        let mut error = None;
        for (known, found) in [(&mut self.v4, found.v4), (&mut self.v6, found.v6)] {
            match found {
                Ok(addresses) => *known = addresses,
                Err(failure) => error = Some(failure.to_string()),
            }
        }
        error
    }

    /// The addresses of one family: that of `own` if it is known, else IPv4 if there are any. In a
    /// Service with both families, a node has two addresses and is asked at one.
    pub(crate) fn of_one_family(&self, own: Option<IpAddr>) -> &[IpAddr] {
        match own {
            Some(IpAddr::V4(_)) => &self.v4,
            Some(IpAddr::V6(_)) => &self.v6,
            None if self.v4.is_empty() => &self.v6,
            None => &self.v4,
        }
    }

    fn all(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.iter().chain(&self.v6).copied()
    }
}

/// Looks the name up again and again, and asks the neighbours, until `stop`.
pub(super) async fn follow(mesh: &Arc<Mesh>, settings: &MemberSettings, stop: &mut Stop) {
    let mut dns = Dns::new(settings.dns);
    let mut members = Members::default();
    let mut watches = Watches::default();
    // A prober that is no member gets a random place on the ring; otherwise all such probers would
    // ask the same nodes.
    let elsewhere = IpAddr::V6(Ipv6Addr::from(fastrand::u128(..)));
    let mut own = settings.own_address;
    loop {
        let conf = ResolvConf::parse(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        let found = tokio::select! {
            found = dns.look_up(&conf, &settings.name) => found,
            () = stop.asked() => return,
        };
        let error = members.update(found);
        mesh.note_lookup(error.clone()).await;
        own = own.or_else(|| local_among(members.all()));
        mesh.lock().own.address = own;
        let ring = Ring::new(members.of_one_family(own).iter().copied());
        let is_empty = ring.is_empty();
        let wanted = ring.successors(own.unwrap_or(elsewhere), settings.neighbors);
        let (gone, new) = mesh.follow(ring, &wanted).await;
        let found: Vec<_> = members.all().collect();
        let alone = wanted.is_empty().then(|| {
            alone::why(Search {
                name: &settings.name,
                port: settings.watch.port,
                error: error.as_deref(),
                found: &found,
                own,
            })
        });
        mesh.note_alone(alone).await;
        watches.stop(&gone);
        watches.start(&new, mesh, &settings.watch);
        let pause = async {
            tokio::time::sleep(jittered(LOOKUP_GAP_MIN.min(settings.lookup_interval))).await;
            // Without a result, the next answer may change at any time, so the look-up is repeated
            // soon.
            if error.is_some() || is_empty {
                return;
            }
            let rest = settings.lookup_interval.saturating_sub(LOOKUP_GAP_MIN);
            let rest = jittered(rest);
            let _ = tokio::time::timeout(rest, mesh.doubted()).await;
        };
        tokio::select! {
            () = pause => {}
            () = stop.asked() => return,
        }
    }
}

/// The tasks that ask, by the address that they ask.
#[derive(Default)]
struct Watches(HashMap<IpAddr, AbortHandle>);

impl Watches {
    fn stop(&mut self, gone: &[IpAddr]) {
        for address in gone {
            if let Some(watch) = self.0.remove(address) {
                watch.abort();
            }
        }
    }

    fn start(&mut self, new: &[IpAddr], mesh: &Arc<Mesh>, settings: &WatchSettings) {
        for (index, address) in new.iter().enumerate() {
            let place = SocketAddr::new(*address, settings.port);
            // The prefix was checked with the command line, so it can be written in HTTP.
            if let Ok(watch) = Watch::new(Arc::clone(mesh), settings, place) {
                let phase = settings.interval.mul_f64(index as f64 / new.len() as f64);
                self.0.insert(*address, tokio::spawn(watch.run(phase)).abort_handle());
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

/// The first of `addresses` that belongs to this host. No packet is sent to find out: to a local
/// address, the kernel sends from that same address.
fn local_among(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let is_local = |address: &IpAddr| {
        let any: IpAddr = match address {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok();
        let from = socket.and_then(|socket| {
            socket.connect((*address, DISCARD_PORT)).ok()?;
            socket.local_addr().ok()
        });
        from.is_some_and(|from| from.ip() == *address)
    };
    addresses.filter(|address| !address.is_unspecified()).find(is_local)
}

/// Varies the interval by a tenth, so that nodes that started together do not always ask together.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The least time between two look-ups, unless `--lookup-interval` is shorter: CoreDNS gives the
/// records of Services this TTL by default.
const LOOKUP_GAP_MIN: Duration = Duration::from_secs(5);
/// Any port will do, because nothing is sent.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::super::dns::DnsError;
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn both() -> Members {
        let mut members = Members::default();
        let v4 = Ok(addresses(&["10.0.0.1", "10.0.0.2"]));
        let v6 = Ok(addresses(&["fd00::1", "fd00::2"]));
        assert_eq!(members.update(Found { v4, v6 }), None);
        members
    }

    #[test]
    fn a_family_whose_look_up_fails_keeps_its_addresses() {
        let mut members = both();
        let found = Found { v4: Err(DnsError::Silent), v6: Ok(addresses(&["fd00::1"])) };
        assert_eq!(members.update(found), Some("no DNS server answered in time".to_owned()));
        assert_eq!(members.v4.len(), 2);
        assert_eq!(members.v6, addresses(&["fd00::1"]));
    }

    #[test]
    fn a_name_without_addresses_has_no_members() {
        let mut members = both();
        members.update(Found { v4: Ok(Vec::new()), v6: Ok(Vec::new()) });
        assert_eq!(members.all().count(), 0);
    }

    #[test]
    fn a_node_with_two_families_is_asked_at_one_address() {
        let members = both();
        let own = |text: &str| text.parse().ok();
        assert_eq!(members.of_one_family(own("10.0.0.1")), members.v4);
        assert_eq!(members.of_one_family(own("fd00::1")), members.v6);
        assert_eq!(members.of_one_family(None), members.v4);
        let only_v6 = Members { v4: Vec::new(), ..members.clone() };
        assert_eq!(only_v6.of_one_family(None), members.v6);
    }

    #[test]
    fn finds_its_own_address_among_others() {
        let found = local_among(addresses(&["192.0.2.1", "127.0.0.1", "192.0.2.2"]).into_iter());
        assert_eq!(found, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(local_among(addresses(&["192.0.2.1"]).into_iter()), None);
        assert_eq!(local_among(addresses(&["0.0.0.0"]).into_iter()), None);
    }

    #[test]
    fn look_up_intervals_vary_by_a_tenth() {
        let interval = Duration::from_secs(30);
        for _ in 0..100 {
            let jittered = jittered(interval);
            assert!((27.0..=33.0).contains(&jittered.as_secs_f64()), "{jittered:?}");
        }
    }
}

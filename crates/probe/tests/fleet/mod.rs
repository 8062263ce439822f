//! An invented mesh with every kind of fault, for its pages: what the servers and the probers of its
//! nodes answer.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heartbeat_probe::ring::Ring;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::nodes::{answer, node, number_of, server_with, size_of};

/// The nodes of the mesh, with their faults.
pub(crate) struct Fleet {
    count: u16,
    ring: Ring,
    odd: Vec<IpAddr>,
}

/// What is wrong with a node, or with the path to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    Down,
    BlackHole,
    Loss,
    SomeLoss,
    SmallMtu,
    Slow,
    Leaving,
    SilentProber,
}

impl Fleet {
    /// The first neighbours of node 0 have the faults.
    pub(crate) fn new(count: u16) -> Self {
        let ring = Ring::new((0..count).map(|number| node(number).into()));
        let mut odd = ring.successors(node(0).into(), usize::from(count));
        // The prober of the last one is the silent one: node 0 does not ask its server.
        let last = odd.pop().unwrap();
        odd.truncate(FAULTS.len() - 1);
        odd.push(last);
        Self { count, ring, odd }
    }

    pub(crate) fn name(number: u16) -> String {
        format!("edge-{number:03}")
    }

    pub(crate) fn zone(number: u16) -> &'static str {
        ["eu-west-1a", "eu-west-1b", "eu-west-1c"][usize::from(number % 3)]
    }

    /// A neighbour of node 0 that does not get large packets through.
    pub(crate) fn black_hole(&self) -> IpAddr {
        self.odd[FAULTS.iter().position(|fault| *fault == Fault::BlackHole).unwrap()]
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        (0..self.count).map(|number| node(number).into()).collect()
    }

    /// What the node at `own` answers; its server and its prober listen on one port.
    pub(crate) fn answer(&self, own: Ipv4Addr, path: &str) -> Option<Vec<u8>> {
        let fault = self.fault(own.into());
        match (fault, path) {
            (Fault::Down, _) | (Fault::SilentProber, "/mesh.json") => None,
            (_, "/mesh.json") => Some(answer(200, "", &self.report(own).to_string())),
            (Fault::Leaving, "/readyz") => Some(answer(503, "Connection: close\r\n", "")),
            (Fault::BlackHole, path) if size_of(path) > Some(LARGEST_THAT_PASSES) => {
                std::thread::sleep(SWALLOWED);
                None
            }
            _ => {
                std::thread::sleep(delay(number_of(own)));
                let number = number_of(own);
                let (name, zone) = (Self::name(number), Self::zone(number));
                Some(server_with(path, &name, zone, &fields(fault)))
            }
        }
    }

    fn fault(&self, at: IpAddr) -> Fault {
        let place = self.odd.iter().position(|odd| *odd == at);
        place.map_or(Fault::Nothing, |place| FAULTS[place])
    }

    fn report(&self, own: Ipv4Addr) -> Value {
        let number = number_of(own);
        let me = json!({"node": Self::name(number), "zone": Self::zone(number), "address": own});
        let others = self.ring.successors(own.into(), NEIGHBORS);
        let peers: Vec<_> = others.into_iter().map(|other| self.peer(number, other)).collect();
        json!({"self": me, "peers": peers})
    }

    /// How node `from` sees the one at `address`.
    fn peer(&self, from: u16, address: IpAddr) -> Value {
        let IpAddr::V4(v4) = address else { unreachable!("the nodes have IPv4") };
        let (fault, to) = (self.fault(address), number_of(v4));
        let is_far = Self::zone(from) != Self::zone(to);
        let spread = u64::from(to) * 37 % 90 + u64::from(from) * 11 % 40;
        let way = if is_far { 870 } else { 190 };
        let rtt = if fault == Fault::Slow { 14_200 } else { way + spread };
        let size = |more: u64| json!({"p50": rtt + more, "p99": 4 * rtt + 3 * more});
        let again = match fault {
            Fault::Loss => 250,
            Fault::SomeLoss => 60,
            _ => spread % 3,
        };
        let is_down = fault == Fault::Down;
        let is_hole = fault == Fault::BlackHole;
        json!({
            "node": Self::name(to), "zone": Self::zone(to), "address": address,
            "up": !is_down, "last_error": error(fault), "rtt_us": rtt,
            "latency_us": {"17": size(110), "1024": size(130), "65536": size(420)},
            "throughput_bps": (!is_down && !is_hole).then_some(940_000_000),
            "retransmitted": again, "sent": 5000,
            "path_mtu": if fault == Fault::SmallMtu { 1400 } else { 1500 },
            "black_hole": is_hole, "black_hole_down": is_hole, "black_hole_up": false
        })
    }
}

fn error(fault: Fault) -> Option<String> {
    let what = match fault {
        Fault::Down => "GET 17: no connection within 5s",
        Fault::BlackHole => "GET 1048576: no complete answer within 5s",
        Fault::Leaving => return Some("is leaving: its /readyz says 503".to_owned()),
        _ => return None,
    };
    Some(format!("{:.0}: {what}", Timestamp::now()))
}

fn fields(fault: Fault) -> String {
    let again = match fault {
        Fault::Loss => 4,
        Fault::SomeLoss => 1,
        _ => 0,
    };
    let mtu = if fault == Fault::SmallMtu { 1400 } else { 1500 };
    let close = if fault == Fault::Leaving { "Connection: close\r\n" } else { "" };
    format!(
        "Server-Timing: app;dur=0.01, retrans;desc=\"{again}\", segs;desc=\"60\", \
         pmtu;desc=\"{mtu}\"\r\n{close}"
    )
}

/// So long that the curves on the page are not flat.
fn delay(number: u16) -> Duration {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let noise = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
    let way = if number.is_multiple_of(3) { 100 } else { 700 };
    Duration::from_micros(way + noise)
}

const NEIGHBORS: usize = 10;
/// Of the first neighbours of node 0, and of the one before it on the ring.
const FAULTS: [Fault; 8] = [
    Fault::Down,
    Fault::BlackHole,
    Fault::Loss,
    Fault::SmallMtu,
    Fault::SomeLoss,
    Fault::Leaving,
    Fault::Slow,
    Fault::SilentProber,
];
const LARGEST_THAT_PASSES: usize = 1400;
/// Longer than the time limit of the prober in the tests.
const SWALLOWED: Duration = Duration::from_millis(1500);

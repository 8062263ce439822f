//! The JSON of `/mesh.json` and `/cluster.json`, which this prober writes and reads from others.

use std::fmt;
use std::net::IpAddr;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::args::{NEIGHBORS_MAX, SIZES_MAX};
use super::identity::clean;
use super::turns::UPLOAD;

/// What one node knows about its neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    /// The node itself.
    #[serde(rename = "self")]
    pub own: Own,
    /// Its neighbours.
    pub peers: Vec<Peer>,
}

/// A node, and its report or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClusterNode {
    /// The node.
    #[serde(rename = "self")]
    pub own: Own,
    /// Its neighbours, if its prober has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<Peer>>,
    /// Why its prober has not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ClusterReport {
    /// The nodes in no particular order.
    pub nodes: Vec<ClusterNode>,
}

/// The identity of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// Its name.
    #[serde(default)]
    pub node: Option<String>,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its address.
    #[serde(default)]
    pub address: Option<IpAddr>,
}

/// A neighbour as a node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Its name, if it has reported one.
    pub node: Option<String>,
    /// Its zone, if it has reported one.
    pub zone: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// Whether it answers; null before it was first asked.
    pub up: Option<bool>,
    /// The last error within the last quarter of an hour, with its time.
    pub last_error: Option<String>,
    /// The round-trip time, as this kernel smooths it.
    pub rtt_us: Option<u64>,
    /// Latencies of the latest requests, by size.
    pub latency_us: Latencies,
    /// Throughput of the last download of the largest size.
    pub throughput_bps: Option<u64>,
    /// Segments retransmitted recently, in both directions.
    pub retransmitted: Option<u64>,
    /// Segments sent recently, in both directions.
    pub sent: Option<u64>,
    /// Bytes of the largest IP packet, of the direction in which it is smaller.
    pub path_mtu: Option<u32>,
    /// Whether small requests pass and large ones do not, in at least one direction.
    pub black_hole: bool,
    /// The same for packets from the neighbour to the node.
    #[serde(default)]
    pub black_hole_down: bool,
    /// The same for packets from the node to the neighbour.
    #[serde(default)]
    pub black_hole_up: bool,
}

/// Quantiles by size, in the order in which the sizes are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latencies(pub Vec<(String, Latency)>);

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The median.
    pub p50: u64,
    /// The time that 99 of 100 requests do not exceed.
    pub p99: u64,
}

impl NodeReport {
    /// Parses what the prober at `address` has answered; `None` if it is no such report. Everything
    /// that could be large or strange is limited.
    pub(crate) fn read(body: &[u8], address: IpAddr) -> Option<Self> {
        let mut report: Self = serde_json::from_slice(body).ok()?;
        if report.peers.len() > NEIGHBORS_MAX {
            return None;
        }
        report.own.node = report.own.node.and_then(clean);
        report.own.zone = report.own.zone.and_then(clean);
        // A node may be wrong about its own address, and others know it by the address that was
        // asked.
        report.own.address = Some(address);
        for peer in &mut report.peers {
            peer.node = peer.node.take().and_then(clean);
            peer.zone = peer.zone.take().and_then(clean);
            peer.last_error = peer.last_error.take().and_then(clean);
        }
        Some(report)
    }
}

impl From<NodeReport> for ClusterNode {
    fn from(report: NodeReport) -> Self {
        Self { own: report.own, peers: Some(report.peers), error: None }
    }
}

impl Own {
    /// Its name, or else its address.
    pub(crate) fn label(&self) -> String {
        label(self.node.as_deref(), self.address)
    }
}

impl Peer {
    /// Its name, or else its address.
    pub(crate) fn label(&self) -> String {
        label(self.node.as_deref(), Some(self.address))
    }

    /// The quantiles of the smallest download that was answered.
    pub(crate) fn smallest(&self) -> Option<Latency> {
        let (key, latency) = *self.latency_us.by_size().first()?;
        let (is_upload, _) = read_key(key);
        (!is_upload).then_some(*latency)
    }

    /// The share of segments that were retransmitted recently, if there were enough for a rate.
    pub(crate) fn loss(&self) -> Option<f64> {
        let (again, sent) = (self.retransmitted?, self.sent?);
        (sent >= SEGMENTS_MIN).then(|| again as f64 / sent as f64)
    }
}

impl Latencies {
    /// All sizes: the downloads, then the uploads, each from small to large.
    pub(crate) fn by_size(&self) -> Vec<(&str, &Latency)> {
        let sizes = self.0.iter().map(|(key, latency)| (key.as_str(), latency));
        let mut sizes: Vec<_> = sizes.collect();
        sizes.sort_by_key(|(key, _)| size_order(key));
        sizes
    }

    /// The key of the largest download, which is that of the throughput.
    pub(crate) fn largest_download(&self) -> Option<&str> {
        let mut sizes = self.by_size().into_iter().map(|(key, _)| key);
        sizes.rfind(|key| !read_key(key).0)
    }
}

/// The order of the keys of sizes: the downloads, then the uploads, each from small to large.
pub(crate) fn size_order(key: &str) -> (bool, u64) {
    let (is_upload, bytes) = read_key(key);
    (is_upload, bytes.unwrap_or(u64::MAX))
}

/// Whether the key of a size is that of an upload, and its bytes, if it is such a key at all.
pub(crate) fn read_key(key: &str) -> (bool, Option<u64>) {
    let digits = key.strip_suffix(UPLOAD);
    (digits.is_some(), digits.unwrap_or(key).parse().ok())
}

fn label(node: Option<&str>, address: Option<IpAddr>) -> String {
    match (node, address) {
        (Some(node), _) => node.to_owned(),
        (None, Some(address)) => address.to_string(),
        (None, None) => "this node".to_owned(),
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (size, latency) in &self.0 {
            map.serialize_entry(size, latency)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Latencies;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("quantiles by size")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Latencies, A::Error> {
        let mut latencies = Vec::new();
        while let Some((size, latency)) = map.next_entry::<String, Latency>()? {
            if latencies.len() < 2 * SIZES_MAX {
                latencies.extend(clean(size).map(|size| (size, latency)));
            }
        }
        Ok(Latencies(latencies))
    }
}

/// With fewer segments, a single retransmission would distort the rate.
const SEGMENTS_MIN: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"self":{"node":"n1","zone":"a","address":"10.0.0.1"},"peers":[{"node":
        "n2","zone":"b","address":"10.0.0.2","up":true,"last_error":null,"rtt_us":210,"latency_us":
        {"17":{"p50":300,"p99":900},"1048576":{"p50":9000,"p99":9900}},"throughput_bps":940000000,
        "retransmitted":0,"sent":1200,"path_mtu":1500,"black_hole":false,
        "black_hole_down":false,"black_hole_up":false}]}"#;

    fn at() -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }

    #[test]
    fn reads_back_what_it_writes() {
        let report = NodeReport::read(ONE.as_bytes(), at()).unwrap();
        assert_eq!(report.peers[0].latency_us.0[1].0, "1048576");
        let written = serde_json::to_string(&report).unwrap();
        let flat: String = ONE.split_whitespace().collect();
        assert_eq!(written, flat);
    }

    #[test]
    fn an_older_prober_does_not_report_the_direction_of_a_black_hole() {
        let ways = r#","black_hole_down":false,"black_hole_up":false"#;
        let flat: String = ONE.split_whitespace().collect();
        let older = flat.replace(ways, "").replace(r#"hole":false"#, r#"hole":true"#);
        let peer = NodeReport::read(older.as_bytes(), at()).unwrap().peers.remove(0);
        assert!(peer.black_hole && !peer.black_hole_down && !peer.black_hole_up);
    }

    #[test]
    fn knows_a_node_by_the_address_that_was_asked() {
        let other = IpAddr::from([10, 0, 0, 9]);
        let report = NodeReport::read(ONE.as_bytes(), other).unwrap();
        assert_eq!(report.own.address, Some(other));
    }

    #[test]
    fn limits_what_a_peer_reports() {
        let mut report = NodeReport::read(ONE.as_bytes(), at()).unwrap();
        report.peers[0].last_error = Some("e".repeat(10_000));
        report.peers = vec![report.peers[0].clone(); NEIGHBORS_MAX];
        let most = NodeReport::read(&serde_json::to_vec(&report).unwrap(), at()).unwrap();
        assert_eq!(most.peers[0].last_error.as_ref().map(String::len), Some(253));
        report.peers.push(report.peers[0].clone());
        assert_eq!(NodeReport::read(&serde_json::to_vec(&report).unwrap(), at()), None);
        for wrong in ["", "{}", "[]", r#"{"self":{},"peers":[{"address":"x"}]}"#] {
            assert_eq!(NodeReport::read(wrong.as_bytes(), at()), None, "{wrong}");
        }
    }

    #[test]
    fn a_node_without_a_report_has_an_error_in_its_place() {
        let own = Own { address: Some(at()), ..Own::default() };
        let node = ClusterNode { own, peers: None, error: Some("silent".to_owned()) };
        assert_eq!(
            serde_json::to_string(&node).unwrap(),
            r#"{"self":{"node":null,"zone":null,"address":"10.0.0.1"},"error":"silent"}"#
        );
    }

    #[test]
    fn the_smallest_download_is_found_in_any_order() {
        let of = |keys: &[&str]| {
            let latency = |index: usize| Latency { p50: index as u64, p99: index as u64 };
            let all = keys.iter().enumerate().map(|(at, key)| ((*key).to_owned(), latency(at)));
            let mut peer = NodeReport::read(ONE.as_bytes(), at()).unwrap().peers.remove(0);
            peer.latency_us = Latencies(all.collect());
            let sorted: Vec<_> = peer.latency_us.by_size().iter().map(|(key, _)| *key).collect();
            (sorted.join(" "), peer.smallest().map(|latency| latency.p50))
        };
        let sorted = "17 1024 1048576 1-up 65536-up".to_owned();
        let mixed = ["65536-up", "1-up", "1048576", "17", "1024"];
        assert_eq!(of(&mixed), (sorted, Some(3)));
        assert_eq!(of(&["17-up"]), ("17-up".to_owned(), None));
        assert_eq!(of(&[]), (String::new(), None));
    }

    #[test]
    fn a_share_of_few_segments_is_no_loss() {
        let mut peer = NodeReport::read(ONE.as_bytes(), at()).unwrap().peers.remove(0);
        (peer.retransmitted, peer.sent) = (Some(5), Some(100));
        assert_eq!(peer.loss(), Some(0.05));
        peer.sent = Some(99);
        assert_eq!(peer.loss(), None);
    }
}

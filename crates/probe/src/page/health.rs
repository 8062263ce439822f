//! Judges a measurement: how bad it is, why, and what helps. Codes and words are those of `path`.

use std::collections::BTreeMap;

use crate::mesh::LEAVING;
use crate::mesh::report::{ClusterReport, Own, Peer};
use crate::page::words;

/// The state of a path, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing is wrong.
    Good,
    /// It was not asked yet, or it is about to leave.
    Unknown,
    /// Something is unusual.
    Warning,
    /// Something does not work.
    Fault,
    /// There is no answer.
    Down,
}

/// One finding about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The code that `path` uses.
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) remedy: &'static str,
}

/// The usual figures of this cluster, by which unusual ones are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usual {
    rtt_within_zone_us: Option<u64>,
    rtt_between_zones_us: Option<u64>,
    path_mtu: Option<u32>,
}

impl Level {
    pub(super) const ALL: [Self; 5] =
        [Self::Good, Self::Warning, Self::Fault, Self::Down, Self::Unknown];

    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Down => "down",
        }
    }

    /// Its sign, for people who cannot distinguish the colors.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Good => "●",
            Self::Unknown => "○",
            Self::Warning => "▲",
            Self::Fault => "◆",
            Self::Down => "✕",
        }
    }

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "well",
            Self::Unknown => "not known, or leaving",
            Self::Warning => "slow, lossy or odd",
            Self::Fault => "faulty",
            Self::Down => "no answer",
        }
    }
}

impl Usual {
    /// The usual figures of all paths of a cluster.
    pub(super) fn of_cluster(report: &ClusterReport) -> Self {
        let paths = report
            .nodes
            .iter()
            .flat_map(|node| node.peers.iter().flatten().map(|peer| (&node.own, peer)));
        Self::of(paths)
    }

    /// The usual figures of the paths of one node.
    pub(super) fn of_node(own: &Own, peers: &[Peer]) -> Self {
        Self::of(peers.iter().map(|peer| (own, peer)))
    }

    fn of<'a>(paths: impl Iterator<Item = (&'a Own, &'a Peer)>) -> Self {
        let (mut within, mut between) = (Vec::new(), Vec::new());
        let mut mtus = BTreeMap::new();
        for (own, peer) in paths.filter(|(_, peer)| peer.up == Some(true)) {
            let list = if own.zone == peer.zone { &mut within } else { &mut between };
            list.extend(peer.rtt_us);
            if let Some(mtu) = peer.path_mtu {
                *mtus.entry(mtu).or_insert(0_usize) += 1;
            }
        }
        Self {
            rtt_within_zone_us: median(within),
            rtt_between_zones_us: median(between),
            path_mtu: mtus.into_iter().max_by_key(|(_, count)| *count).map(|(mtu, _)| mtu),
        }
    }
}

/// The worst level of a path.
pub(super) fn level(own: &Own, peer: &Peer, usual: &Usual) -> Level {
    let worst = findings(own, peer, usual).iter().map(|finding| finding.level).max();
    worst.unwrap_or(Level::Good)
}

/// All findings, the worst first.
pub(super) fn findings(own: &Own, peer: &Peer, usual: &Usual) -> Vec<Finding> {
    let mut findings: Vec<_> = [
        reachable(peer),
        black_hole(peer),
        loss(peer),
        mtu(peer, usual),
        slow(own, peer, usual),
        errors(peer),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

fn reachable(peer: &Peer) -> Option<Finding> {
    match peer.up {
        Some(true) => None,
        Some(false) => Some(Finding {
            level: Level::Down,
            code: "address-unreachable",
            text: said(peer, "it does not answer"),
            remedy: "Is the pod running on that node? If it is, look for a network policy, a \
                     firewall, or a route that one of the two nodes lacks.",
        }),
        None => Some(Finding {
            level: Level::Unknown,
            code: "not-asked",
            text: "it was not asked yet".to_owned(),
            remedy: "Wait for a moment.",
        }),
    }
}

fn black_hole(peer: &Peer) -> Option<Finding> {
    let (code, what) = match (peer.black_hole_down, peer.black_hole_up) {
        (true, false) => ("mtu-black-hole-down", "large packets from it disappear"),
        (false, true) => ("mtu-black-hole-up", "large packets to it disappear"),
        (true, true) => ("mtu-black-hole", "large packets from it and to it disappear"),
        // An older prober does not report the direction.
        (false, false) => ("mtu-black-hole", "large ones never arrive"),
    };
    peer.black_hole.then(|| Finding {
        level: Level::Fault,
        code,
        text: said(peer, &format!("small requests pass, {what}")),
        remedy: "Give the pod network an MTU that fits the smallest link (an overlay takes 50 to \
                 80 bytes), or let ICMP \"fragmentation needed\" pass.",
    })
}

fn loss(peer: &Peer) -> Option<Finding> {
    let loss = peer.loss().filter(|loss| *loss >= LOSS_WARNING)?;
    Some(Finding {
        level: if loss >= LOSS_FAULT { Level::Fault } else { Level::Warning },
        code: "loss",
        text: format!("{} of the segments were sent again", words::share(loss)),
        remedy: "Look at the error and drop counters of both nodes' interfaces and of the switches \
                 between them.",
    })
}

fn mtu(peer: &Peer, usual: &Usual) -> Option<Finding> {
    let (mtu, usual) = (peer.path_mtu?, usual.path_mtu?);
    (mtu < usual).then(|| Finding {
        level: Level::Warning,
        code: if mtu < ETHERNET { "mtu-below-1500" } else { "mtu-differs" },
        text: format!("the path MTU is {mtu}, most others have {usual}"),
        remedy: "Make the MTU of that node's interface that of the others.",
    })
}

fn slow(own: &Own, peer: &Peer, usual: &Usual) -> Option<Finding> {
    let is_within = own.zone == peer.zone;
    let usual = if is_within { usual.rtt_within_zone_us } else { usual.rtt_between_zones_us };
    let (rtt, usual) = (peer.rtt_us?, usual?);
    let is_slow = rtt > usual.saturating_mul(SLOW_FACTOR) && rtt > usual + SLOW_BY_US;
    is_slow.then(|| Finding {
        level: Level::Warning,
        code: "slow",
        text: format!(
            "the round trip takes {}, usual {} is {}",
            words::micros(rtt),
            if is_within { "within a zone" } else { "between zones" },
            words::micros(usual),
        ),
        remedy: "Look for a busy node, a long way round, or a full link on this path.",
    })
}

fn errors(peer: &Peer) -> Option<Finding> {
    let error = peer.last_error.as_ref().filter(|_| peer.up == Some(true) && !peer.black_hole)?;
    let level = if error.starts_with(LEAVING) { Level::Unknown } else { Level::Warning };
    let code = if level == Level::Unknown { "leaving" } else { "errors" };
    let remedy = "If it happens again, watch the path while it does.";
    Some(Finding { level, code, text: words::error(error), remedy })
}

fn said(peer: &Peer, otherwise: &str) -> String {
    match &peer.last_error {
        Some(error) => format!("{otherwise} ({})", words::error(error)),
        None => otherwise.to_owned(),
    }
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// A healthy network in a data center loses one segment in ten thousand.
const LOSS_WARNING: f64 = 0.005;
/// At this loss, TCP reaches only a fraction of its rate.
const LOSS_FAULT: f64 = 0.03;
const ETHERNET: u32 = 1500;
/// Both must be exceeded, because four times a very short time is still short.
const SLOW_FACTOR: u64 = 4;
const SLOW_BY_US: u64 = 2000;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::mesh::report::Latencies;

    fn peer() -> Peer {
        Peer {
            node: Some("n2".to_owned()),
            zone: Some("a".to_owned()),
            address: IpAddr::from([10, 0, 0, 2]),
            up: Some(true),
            last_error: None,
            rtt_us: Some(200),
            latency_us: Latencies::default(),
            throughput_bps: None,
            retransmitted: Some(0),
            sent: Some(10_000),
            path_mtu: Some(1500),
            black_hole: false,
            black_hole_down: false,
            black_hole_up: false,
        }
    }

    fn own() -> Own {
        Own { zone: Some("a".to_owned()), ..Own::default() }
    }

    fn usual() -> Usual {
        Usual::of_node(&own(), &[peer(), peer(), peer()])
    }

    fn found(change: impl FnOnce(&mut Peer)) -> Option<(Level, &'static str)> {
        let mut peer = peer();
        change(&mut peer);
        let findings = findings(&own(), &peer, &usual());
        findings.first().map(|finding| (finding.level, finding.code))
    }

    #[test]
    fn a_good_path_has_no_finding() {
        assert_eq!(found(|_| {}), None);
        assert_eq!(level(&own(), &peer(), &usual()), Level::Good);
    }

    #[test]
    fn each_fault_has_its_code_and_level() {
        let warning = |code| Some((Level::Warning, code));
        assert_eq!(found(|p| p.up = Some(false)), Some((Level::Down, "address-unreachable")));
        assert_eq!(found(|p| p.up = None), Some((Level::Unknown, "not-asked")));
        assert_eq!(found(|p| p.path_mtu = Some(1400)), warning("mtu-below-1500"));
        assert_eq!(found(|p| p.last_error = Some("e".to_owned())), warning("errors"));
        let leaving = Some((Level::Unknown, "leaving"));
        assert_eq!(found(|p| p.last_error = Some(LEAVING.to_owned())), leaving);
    }

    #[test]
    fn a_black_hole_has_its_direction_if_that_is_known() {
        for (down, up, code, text) in [
            (true, false, "mtu-black-hole-down", "large packets from it disappear"),
            (false, true, "mtu-black-hole-up", "large packets to it disappear"),
            (true, true, "mtu-black-hole", "large packets from it and to it disappear"),
            (false, false, "mtu-black-hole", "large ones never arrive"),
        ] {
            let (black_hole_down, black_hole_up) = (down, up);
            let peer = Peer { black_hole: true, black_hole_down, black_hole_up, ..peer() };
            let found = findings(&own(), &peer, &usual()).remove(0);
            assert_eq!((found.level, found.code), (Level::Fault, code));
            assert!(found.text.ends_with(text), "{}", found.text);
        }
    }

    #[test]
    fn loss_and_slowness_are_found_from_their_limits_on() {
        let with_loss = |again| found(|p| p.retransmitted = Some(again)).map(|(level, _)| level);
        assert_eq!(with_loss(49), None);
        assert_eq!(with_loss(50), Some(Level::Warning));
        assert_eq!(with_loss(299), Some(Level::Warning));
        assert_eq!(with_loss(300), Some(Level::Fault));
        let with_rtt = |rtt| found(|p| p.rtt_us = Some(rtt)).map(|(_, code)| code);
        assert_eq!(with_rtt(2200), None);
        assert_eq!(with_rtt(2201), Some("slow"));
    }

    #[test]
    fn the_path_to_another_zone_is_compared_with_such_paths() {
        let far = |rtt| Peer { zone: Some("b".to_owned()), rtt_us: Some(rtt), ..peer() };
        let usual = Usual::of_node(&own(), &[peer(), peer(), far(9000), far(9100), far(9200)]);
        assert_eq!(findings(&own(), &far(9300), &usual), []);
        let near = Peer { rtt_us: Some(9300), ..peer() };
        assert_eq!(findings(&own(), &near, &usual)[0].code, "slow");
    }

    #[test]
    fn a_path_that_is_down_does_not_count_as_usual() {
        let down = Peer { up: Some(false), path_mtu: Some(9000), ..peer() };
        let usual = Usual::of_node(&own(), &[down.clone(), down, peer()]);
        assert_eq!(usual.path_mtu, Some(1500));
    }

    #[test]
    fn levels_are_ordered_from_good_to_bad() {
        assert!(Level::Down > Level::Fault && Level::Fault > Level::Warning);
        assert!(Level::Warning > Level::Unknown && Level::Unknown > Level::Good);
    }
}

//! Prints the result after `--duration`: a table for people, or an object for programs.

use std::fmt::Write;

use super::report::{NodeReport, Peer};
use crate::page::words;
use crate::paragraph;

/// Whether every path is well. Without any path the answer is no.
pub(super) fn is_well(report: &NodeReport) -> bool {
    let well = |peer: &Peer| peer.up == Some(true) && !peer.black_hole;
    !report.peers.is_empty() && report.peers.iter().all(well)
}

/// One object on one line.
pub(super) fn json(report: &NodeReport) -> String {
    // Keys are text and numbers are finite, so JSON can represent them all.
    serde_json::to_string(report).unwrap_or_default() + "\n"
}

/// A line for each neighbour, within 80 columns, and its last error below it; without neighbours,
/// the reason.
pub(super) fn table(report: &NodeReport, alone: Option<String>) -> String {
    if report.peers.is_empty() {
        let mut text = "no neighbours found\n".to_owned();
        paragraph::add(&mut text, "", 0, &alone.unwrap_or_default());
        return text;
    }
    let mut text = row(["neighbour", "state", "p50", "p99", "loss", "MTU", "throughput"]);
    for peer in &report.peers {
        let state = match (peer.up, peer.black_hole) {
            (Some(true), true) => "MTU fault",
            (Some(true), false) => "up",
            (Some(false), _) => "down",
            (None, _) => "not asked",
        };
        let latency = peer.smallest();
        let micros = |value: Option<u64>| value.map_or_else(dash, words::micros);
        text.push_str(&row([
            &peer.label(),
            state,
            &micros(latency.map(|latency| latency.p50)),
            &micros(latency.map(|latency| latency.p99)),
            &peer.loss().map_or_else(dash, words::share),
            &peer.path_mtu.map_or_else(dash, |mtu| mtu.to_string()),
            &peer.throughput_bps.map_or_else(dash, words::bits_per_second),
        ]));
        let ways = [
            (peer.black_hole_down, "large packets from it to this node disappear"),
            (peer.black_hole_up, "large packets from this node to it disappear"),
        ];
        let ways = ways.into_iter().filter(|(disappear, _)| *disappear).map(|(_, what)| what);
        for what in ways.chain(peer.last_error.as_deref()) {
            let what: String = what.chars().take(ERROR_CHARS_MAX).collect();
            let _ = writeln!(text, "  {what}");
        }
    }
    text
}

fn row(cells: [&str; 7]) -> String {
    let [name, state, p50, p99, loss, mtu, throughput] = cells;
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    format!("{name:<24} {state:<9} {p50:>8} {p99:>8} {loss:>6} {mtu:>5} {throughput:>12}\n")
}

fn dash() -> String {
    "-".to_owned()
}

const NAME_CHARS_MAX: usize = 24;
const ERROR_CHARS_MAX: usize = 78;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::report::{Latencies, Latency, Own};
    use super::*;

    fn report() -> NodeReport {
        let peer = Peer {
            node: Some("a-node-with-a-name-that-is-far-too-long".to_owned()),
            zone: None,
            address: IpAddr::from([10, 0, 0, 2]),
            up: Some(true),
            last_error: Some("e".repeat(200)),
            rtt_us: None,
            latency_us: Latencies(vec![("17".to_owned(), Latency { p50: 210, p99: 1_500_000 })]),
            throughput_bps: Some(9_400_000_000),
            retransmitted: Some(50),
            sent: Some(1000),
            path_mtu: Some(65_535),
            black_hole: false,
            black_hole_down: false,
            black_hole_up: false,
        };
        NodeReport { own: Own::default(), peers: vec![peer] }
    }

    #[test]
    fn no_line_is_longer_than_80_columns() {
        let table = table(&report(), None);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.contains("5.0 %"), "{table}");
    }

    #[test]
    fn a_black_hole_has_its_direction() {
        let mut report = report();
        (report.peers[0].black_hole, report.peers[0].black_hole_up) = (true, true);
        let table = table(&report, None);
        assert!(table.contains("MTU fault"), "{table}");
        assert!(table.contains("\n  large packets from this node to it disappear\n"), "{table}");
    }

    #[test]
    fn is_well_if_every_neighbour_is() {
        let mut report = report();
        assert!(is_well(&report));
        report.peers[0].black_hole = true;
        assert!(!is_well(&report));
        report.peers[0].black_hole = false;
        for up in [Some(false), None] {
            report.peers[0].up = up;
            assert!(!is_well(&report));
        }
        report.peers.clear();
        assert!(!is_well(&report));
    }
}

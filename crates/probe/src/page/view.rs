//! What the pages of the cluster derive from its report: the nodes, and how each sees the others.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::health::{Level, Usual, level};
use crate::mesh::report::{ClusterNode, ClusterReport, Peer};

/// A report and what is derived from it.
pub(super) struct View<'a> {
    // The worst first.
    pub(super) rows: Vec<Row<'a>>,
    pub(super) usual: Usual,
    names: HashMap<IpAddr, String>,
}

/// A node and its neighbours.
pub(super) struct Row<'a> {
    pub(super) node: &'a ClusterNode,
    pub(super) address: IpAddr,
    // The worst first.
    pub(super) cells: Vec<(&'a Peer, Level)>,
    // How many others see a problem with it.
    pub(super) seen_badly: usize,
    // The worst level that any of them sees.
    pub(super) seen: Level,
}

impl<'a> View<'a> {
    pub(super) fn of(report: &'a ClusterReport) -> Self {
        let usual = Usual::of_cluster(report);
        let mut names = HashMap::new();
        let mut seen: HashMap<IpAddr, (usize, Level)> = HashMap::new();
        let mut rows = Vec::with_capacity(report.nodes.len());
        for node in &report.nodes {
            let peers = node.peers.iter().flatten();
            let mut cells: Vec<_> =
                peers.map(|peer| (peer, level(&node.own, peer, &usual))).collect();
            cells.sort_by_key(|(peer, level)| (Reverse(*level), Reverse(peer.rtt_us)));
            for (peer, level) in &cells {
                names.entry(peer.address).or_insert_with(|| peer.label());
                let seen = seen.entry(peer.address).or_insert((0, Level::Good));
                seen.0 += usize::from(*level > Level::Unknown);
                seen.1 = seen.1.max(*level);
            }
            if let Some(address) = node.own.address {
                rows.push(Row { node, address, cells, seen_badly: 0, seen: Level::Good });
            }
        }
        for row in &mut rows {
            if let Some((badly, worst)) = seen.get(&row.address) {
                (row.seen_badly, row.seen) = (*badly, *worst);
            }
            if let Some(name) = &row.node.own.node {
                names.insert(row.address, name.clone());
            }
        }
        rows.sort_by(|one, other| {
            other.badness().cmp(&one.badness()).then(one.address.cmp(&other.address))
        });
        Self { rows, usual, names }
    }

    pub(super) fn name(&self, address: IpAddr) -> String {
        self.names.get(&address).cloned().unwrap_or_else(|| address.to_string())
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = (&Row<'a>, &'a Peer, Level)> + '_ {
        self.rows
            .iter()
            .flat_map(|row| row.cells.iter().map(move |(peer, level)| (row, *peer, *level)))
    }
}

impl Row<'_> {
    /// The order of nodes: the worst level of the paths from it and to it, and how many of them are
    /// bad.
    pub(super) fn badness(&self) -> (Level, usize) {
        let worst = self.cells.first().map_or(self.seen, |(_, level)| self.seen.max(*level));
        let worst = if self.node.error.is_some() { worst.max(Level::Unknown) } else { worst };
        let bad = self.cells.iter().filter(|(_, level)| *level > Level::Unknown).count();
        (worst, bad + self.seen_badly)
    }
}

/// The link to the page of two nodes.
pub(super) fn link(from: IpAddr, to: IpAddr) -> String {
    format!("/cluster?from={from}&amp;to={to}")
}

//! A simulated mesh of a thousand nodes: which node asks which, what changes, and what it costs.

mod name_server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use heartbeat_probe::dns::{Dns, ResolvConf};
use heartbeat_probe::ring::Ring;
use name_server::{NameServer, Zone};

const NEIGHBORS: usize = 10;

type Edge = (IpAddr, IpAddr);

fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::from([10, 64, high, low])
}

fn nodes(count: u16) -> Vec<IpAddr> {
    (0..count).map(address).collect()
}

fn edges(nodes: &[IpAddr]) -> BTreeSet<Edge> {
    let ring = Ring::new(nodes.iter().copied());
    let of = |node: &IpAddr| {
        let node = *node;
        ring.successors(node, NEIGHBORS).into_iter().map(move |neighbour| (node, neighbour))
    };
    nodes.iter().flat_map(of).collect()
}

fn degrees(edges: &BTreeSet<Edge>, end: impl Fn(&Edge) -> IpAddr) -> BTreeMap<IpAddr, usize> {
    let mut degrees = BTreeMap::new();
    for edge in edges {
        *degrees.entry(end(edge)).or_insert(0) += 1;
    }
    degrees
}

#[test]
fn each_of_a_thousand_asks_ten_and_is_asked_by_ten() {
    let edges = edges(&nodes(1000));
    assert_eq!(edges.len(), 10_000);
    for end in [|edge: &Edge| edge.0, |edge: &Edge| edge.1] {
        let degrees = degrees(&edges, end);
        assert_eq!(degrees.len(), 1000);
        assert!(degrees.values().all(|degree| *degree == NEIGHBORS));
    }
    assert!(edges.iter().all(|(from, to)| from != to));
}

#[test]
fn a_node_of_a_thousand_asks_as_many_as_one_of_twenty() {
    for count in [11, 20, 100, 1000] {
        let edges = edges(&nodes(count));
        assert_eq!(edges.len(), usize::from(count) * NEIGHBORS);
    }
    // With fewer than eleven nodes, each asks all others.
    assert_eq!(edges(&nodes(5)).len(), 5 * 4);
}

#[test]
fn neighbours_are_spread_over_the_whole_cluster() {
    // Every node is reached in few steps: no part of the cluster watches only itself.
    let edges = edges(&nodes(1000));
    let mut reached = BTreeSet::from([address(0)]);
    for _ in 0..1000 / NEIGHBORS {
        let next: Vec<_> =
            edges.iter().filter(|(from, _)| reached.contains(from)).map(|(_, to)| *to).collect();
        reached.extend(next);
    }
    assert_eq!(reached.len(), 1000);
    // Addresses of one rack are adjacent; neighbours on the ring are not.
    let near = edges.iter().filter(|(from, to)| {
        let last = |address: &IpAddr| match address {
            IpAddr::V4(address) => i64::from(u32::from(*address)),
            IpAddr::V6(_) => 0,
        };
        (last(from) - last(to)).abs() < 10
    });
    let near = near.count();
    assert!(near < 500, "{near} of 10000 lead to one of the nearest twenty addresses");
}

#[test]
fn a_node_that_joins_changes_only_the_edges_of_its_predecessors() {
    let before = edges(&nodes(1000));
    let after = edges(&nodes(1001));
    let (new, old) = (address(1000), before.difference(&after).count());
    let added: Vec<_> = after.difference(&before).collect();
    assert_eq!((added.len(), old), (2 * NEIGHBORS, NEIGHBORS));
    assert!(added.iter().all(|(from, to)| *from == new || *to == new), "{added:?}");
}

#[test]
fn a_node_that_leaves_gives_its_edges_only_to_its_predecessors() {
    let all = nodes(1000);
    let before = edges(&all);
    for gone in [0, 499, 999] {
        let mut rest = all.clone();
        let gone = rest.remove(gone);
        let after = edges(&rest);
        let removed: Vec<_> = before.difference(&after).collect();
        assert_eq!(removed.len(), 2 * NEIGHBORS);
        assert!(removed.iter().all(|(from, to)| *from == gone || *to == gone));
        assert_eq!(after.difference(&before).count(), NEIGHBORS);
    }
}

#[test]
fn a_rolling_update_changes_each_edge_a_limited_number_of_times() {
    let mut present = nodes(200);
    let mut moved = 0;
    let mut before = edges(&present);
    for number in 0..200 {
        // The pod comes back with another address.
        present.remove(0);
        let gone = edges(&present);
        present.push(address(1000 + number));
        let back = edges(&present);
        moved += gone.difference(&before).count() + back.difference(&gone).count();
        before = back;
    }
    // Ten edges for each node that leaves, and twenty for each that joins.
    assert_eq!(moved, 200 * 3 * NEIGHBORS);
}

#[test]
fn a_look_up_of_a_thousand_costs_three_questions_and_sixteen_kilobytes() {
    let zone = Zone { name: "mesh.test".to_owned(), addresses: nodes(1000), ..Zone::default() };
    let server = NameServer::local(zone);
    let mut dns = Dns::new(Some(server.address));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let conf = ResolvConf::parse("search mesh.test");
    let found = runtime.block_on(dns.look_up(&conf, "mesh.test."));
    assert_eq!(found.v4.unwrap().len(), 1000);
    let asked = server.asked();
    let bytes: usize = asked.iter().map(|asked| asked.answer_bytes).sum();
    // A over UDP, truncated; AAAA over UDP, none; A over TCP.
    assert_eq!(asked.len(), 3);
    assert!((16_000..16_200).contains(&bytes), "{bytes}");
}

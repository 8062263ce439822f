//! The page of two nodes: what each sees of the other, and what helps.

use std::net::IpAddr;

use super::health::{Level, Usual, findings};
use super::html::{Escaped, add, document};
use super::words;
use crate::mesh::report::{ClusterNode, ClusterReport, Peer};

/// Renders what the nodes at `from` and `to` know of each other.
pub(crate) fn pair(report: &ClusterReport, from: IpAddr, to: IpAddr) -> String {
    let usual = Usual::of_cluster(report);
    let (first, second) = (name(report, from), name(report, to));
    let mut body = String::new();
    body.push_str("<nav><a href=\"/cluster\">cluster</a> <a href=\"/\">this node</a></nav>\n");
    add!(body, "<h1>{} ⇄ {}</h1>\n", Escaped(&first), Escaped(&second));
    let ends = [(from, to, &first, &second), (to, from, &second, &first)];
    for (own, other, own_name, other_name) in ends {
        add!(body, "<h2>{} asks {}</h2>\n", Escaped(own_name), Escaped(other_name));
        match find(report, own) {
            None => body.push_str("<p>This node is not known any more.</p>\n"),
            Some(node) => one_way(&mut body, node, other, &usual),
        }
    }
    add!(
        body,
        "<h2>Look closer</h2>\n<p>From a shell on {}, or in its prober's container:</p>\n\
         <pre><code>heartbeat-probe path http://{}/</code></pre>\n\
         <p class=\"soft\">It takes some ten seconds, measures both directions, and says which of \
         them is at fault. The port is the server's, 8080 unless the mesh was given another.</p>\n",
        Escaped(&first),
        host(to),
    );
    document(&format!("{first} and {second} · Heartbeat mesh"), REFRESH_S, &body)
}

fn one_way(body: &mut String, node: &ClusterNode, other: IpAddr, usual: &Usual) {
    let Some(peers) = &node.peers else {
        let error = node.error.as_deref().unwrap_or_default();
        add!(body, "<p>Its prober did not answer: {}.</p>\n", Escaped(error));
        return;
    };
    let Some(peer) = peers.iter().find(|peer| peer.address == other) else {
        body.push_str(
            "<p>It does not: the other is none of its neighbours on the ring. The measurements of \
             the other direction cover both ways of the path.</p>\n",
        );
        return;
    };
    let findings = findings(&node.own, peer, usual);
    if findings.is_empty() {
        let level = Level::Good;
        let (class, sign) = (level.class(), level.sign());
        add!(body, "<p><span class=\"mark {class}\">{sign}</span> Nothing is wrong.</p>\n");
    }
    for finding in &findings {
        add!(
            body,
            "<p><span class=\"mark {}\">{} {}</span> {}<br><span class=\"soft\">{}</span></p>\n",
            finding.level.class(),
            finding.level.sign(),
            finding.code,
            Escaped(&finding.text),
            finding.remedy,
        );
    }
    figures(body, peer);
}

fn figures(body: &mut String, peer: &Peer) {
    body.push_str("<table class=\"cards\">\n<tbody>\n");
    let mut row = |name: &str, text: Option<String>| {
        let text = text.unwrap_or_else(|| "not known".to_owned());
        add!(
            body,
            "<tr><td class=\"wide\">{}</td><td class=\"wide\">{}</td></tr>\n",
            Escaped(name),
            Escaped(text)
        );
    };
    row("round trip", peer.rtt_us.map(words::micros));
    for (size, latency) in &peer.latency_us.0 {
        let (p50, p99) = (words::micros(latency.p50), words::micros(latency.p99));
        row(
            &format!("answer of {}", words::size_key(size)),
            Some(format!("{p50} median, {p99} for 99 of 100")),
        );
    }
    row("throughput", peer.throughput_bps.map(words::bits_per_second));
    let segments = peer.retransmitted.zip(peer.sent);
    let segments = segments.map(|(again, sent)| format!("{again} of {sent}"));
    row("segments sent again, of the last 15 to 30 minutes", segments);
    row("path MTU", peer.path_mtu.map(|mtu| format!("{mtu} bytes")));
    body.push_str("</tbody>\n</table>\n");
}

fn find(report: &ClusterReport, address: IpAddr) -> Option<&ClusterNode> {
    report.nodes.iter().find(|node| node.own.address == Some(address))
}

/// What a node calls itself, else what others call it, else its address.
fn name(report: &ClusterReport, address: IpAddr) -> String {
    if let Some(name) = find(report, address).and_then(|node| node.own.node.clone()) {
        return name;
    }
    let peers = report.nodes.iter().flat_map(|node| node.peers.iter().flatten());
    let mut names =
        peers.filter(|peer| peer.address == address).filter_map(|peer| peer.node.clone());
    names.next().unwrap_or_else(|| address.to_string())
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:8080"),
        IpAddr::V6(address) => format!("[{address}]:8080"),
    }
}

const REFRESH_S: u32 = 30;

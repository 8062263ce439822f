//! The page of two nodes: what each sees of the other, and what helps.

use std::net::IpAddr;

use super::health::{Level, Usual, findings};
use super::html::{Escaped, add, document};
use super::words;
use crate::mesh::report::{ClusterNode, ClusterReport, Peer};

/// Renders what the nodes at `from` and `to` know about each other.
pub(crate) fn pair(report: &ClusterReport, from: IpAddr, to: IpAddr) -> String {
    let usual = Usual::of_cluster(report);
    let (first, second) = (name(report, from), name(report, to));
    let mut body = String::new();
    body.push_str("<nav><a href=\"/cluster\">cluster</a> <a href=\"/\">this node</a></nav>\n");
    add!(body, "<h1>{} ⇄ {}</h1>\n", Escaped(&first), Escaped(&second));
    let ends = [(from, to, &first, &second), (to, from, &second, &first)];
    if seen(report, from, to).chain(seen(report, to, from)).any(|peer| peer.black_hole) {
        body.push_str("<h2>Large packets</h2>\n");
        for (own, other, own_name, other_name) in ends {
            large_packets(&mut body, report, (own, own_name), (other, other_name));
        }
    }
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

/// Renders the page in the place of two nodes of which one is no longer known. A page that is open
/// reloads itself, and a pod that is started again has another address.
pub(crate) fn unknown_pair() -> String {
    let body = "<nav><a href=\"/cluster\">cluster</a> <a href=\"/\">this node</a></nav>\n\
                <h1>No such pair</h1>\n<p>One of the two addresses is not a node of this mesh, or \
                no longer one: a pod that was started again has another address. \
                <a href=\"/cluster\">The cluster</a> has all nodes.</p>\n";
    document("No such pair · Heartbeat mesh", REFRESH_S, body)
}

/// Shows what both ends know about the large packets of one direction: the sender from its uploads,
/// the receiver from its downloads.
fn large_packets(
    body: &mut String,
    report: &ClusterReport,
    (from, sender): (IpAddr, &str),
    (to, receiver): (IpAddr, &str),
) {
    let by_sender = seen(report, from, to).any(|peer| peer.black_hole_up);
    let by_receiver = seen(report, to, from).any(|peer| peer.black_hole_down);
    let who = match (by_sender, by_receiver) {
        (true, true) => "both nodes say so",
        (true, false) => "the sender says so",
        (false, true) => "the receiver says so",
        (false, false) => {
            add!(
                body,
                "<p>From {} to {} there is no sign of it.</p>\n",
                Escaped(sender),
                Escaped(receiver),
            );
            return;
        }
    };
    let level = Level::Fault;
    add!(
        body,
        "<p><span class=\"mark {}\">{}</span> From {} to {} they disappear: {who}.</p>\n",
        level.class(),
        level.sign(),
        Escaped(sender),
        Escaped(receiver),
    );
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
    for (size, latency) in peer.latency_us.by_size() {
        let (p50, p99) = (words::micros(latency.p50), words::micros(latency.p99));
        row(&words::request_of(size), Some(format!("median {p50}, 99 of 100 within {p99}")));
    }
    let throughput = words::throughput_of(peer.latency_us.largest_download());
    row(&throughput, peer.throughput_bps.map(words::bits_per_second));
    let segments = peer.retransmitted.zip(peer.sent);
    let segments = segments.map(|(again, sent)| format!("{again} of {sent}"));
    row("segments sent again, of the last 15 to 30 minutes", segments);
    row("path MTU", peer.path_mtu.map(|mtu| format!("{mtu} bytes")));
    body.push_str("</tbody>\n</table>\n");
}

/// How the node at `own` sees the one at `other`, if that is its neighbour.
fn seen(report: &ClusterReport, own: IpAddr, other: IpAddr) -> impl Iterator<Item = &Peer> {
    let node = find(report, own).and_then(|node| node.peers.as_ref());
    node.into_iter().flatten().filter(move |peer| peer.address == other)
}

fn find(report: &ClusterReport, address: IpAddr) -> Option<&ClusterNode> {
    report.nodes.iter().find(|node| node.own.address == Some(address))
}

/// The name that a node has reported, else the name that others know, else its address.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::report::NodeReport;

    fn node(number: u8, other: u8, down: bool, up: bool) -> ClusterNode {
        let text = serde_json::json!({
            "self": {"node": format!("n{number}")},
            "peers": [{
                "node": format!("n{other}"), "zone": null, "address": format!("10.0.0.{other}"),
                "up": true, "last_error": null, "rtt_us": 100, "latency_us": {},
                "throughput_bps": null, "retransmitted": null, "sent": null, "path_mtu": 1500,
                "black_hole": down || up, "black_hole_down": down, "black_hole_up": up
            }]
        });
        let at = IpAddr::from([10, 0, 0, number]);
        NodeReport::read(text.to_string().as_bytes(), at).unwrap().into()
    }

    fn page(first: (bool, bool), second: (bool, bool)) -> String {
        let nodes = vec![node(1, 2, first.0, first.1), node(2, 1, second.0, second.1)];
        pair(&ClusterReport { nodes }, [10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    }

    #[test]
    fn shows_in_which_direction_large_packets_disappear_and_which_node_reports_it() {
        let page = page((true, false), (false, true));
        assert!(page.contains("From n1 to n2 there is no sign of it."), "{page}");
        assert!(page.contains("From n2 to n1 they disappear: both nodes say so."), "{page}");
        for (code, what) in [("down", "from it"), ("up", "to it")] {
            let text =
                format!("mtu-black-hole-{code}</span> small requests pass, large packets {what}");
            assert!(page.contains(&text), "{text}: {page}");
        }
    }

    #[test]
    fn one_end_is_enough() {
        let sender = page((false, true), (false, false));
        assert!(sender.contains("From n1 to n2 they disappear: the sender says so."), "{sender}");
        let receiver = page((true, true), (false, false));
        assert!(receiver.contains("From n2 to n1 they disappear: the receiver says so."));
        assert!(receiver.contains("From n1 to n2 they disappear: the sender says so."));
    }

    #[test]
    fn large_packets_that_pass_are_not_mentioned() {
        assert!(!page((false, false), (false, false)).contains("Large packets"));
    }
}

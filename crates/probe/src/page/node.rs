//! The page of one node of a mesh: its neighbours, the worst first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::health::{Finding, Level, Usual, findings};
use super::html::{Escaped, add, document, tile};
use super::sparkline::{Point, sparkline};
use super::words;
use crate::mesh::report::{NodeReport, Peer, size_order};

/// What the page of a node shows.
pub(crate) struct NodeView {
    /// The report as in `/mesh.json`.
    pub report: NodeReport,
    /// The latest durations in microseconds of the smallest download, by neighbour.
    pub latest: BTreeMap<IpAddr, Vec<u32>>,
    /// The number of nodes.
    pub nodes: usize,
    /// Why the last look-up of the name failed, if it did.
    pub lookup_error: Option<String>,
    /// Why there are no neighbours, if there are none.
    pub alone: Option<String>,
}

/// Renders the page.
pub(crate) fn node(view: &NodeView) -> String {
    let report = &view.report;
    let usual = Usual::of_node(&report.own, &report.peers);
    let mut rows: Vec<_> =
        report.peers.iter().map(|peer| (peer, findings(&report.own, peer, &usual))).collect();
    rows.sort_by_key(|(peer, findings)| {
        (std::cmp::Reverse(worst(findings)), std::cmp::Reverse(peer.rtt_us))
    });
    let mut body = String::new();
    add!(
        body,
        "<nav><a href=\"/cluster\">cluster</a> <a href=\"/mesh.json\">JSON</a> \
         <a href=\"/metrics\">metrics</a></nav>\n<h1>{}</h1>\n<p class=\"soft\">{}</p>\n",
        Escaped(report.own.label()),
        Escaped(place(report)),
    );
    if let Some(error) = view.lookup_error.as_ref().filter(|_| !rows.is_empty()) {
        add!(
            body,
            "<p><span class=\"mark warning\">▲</span> The name service: {}. The neighbours below \
             are those of the last answer.</p>\n",
            Escaped(error),
        );
    }
    tiles(&mut body, view, &rows);
    if rows.is_empty() {
        let why = view.alone.as_deref().unwrap_or("it has not looked for them yet.");
        add!(body, "<p>This node has no neighbours: {}</p>\n", Escaped(why));
    } else {
        table(&mut body, view, &rows);
    }
    let title = format!("{} · Heartbeat mesh", report.own.label());
    document(&title, REFRESH_S, &body)
}

fn worst(findings: &[Finding]) -> Level {
    findings.first().map_or(Level::Good, |finding| finding.level)
}

fn place(report: &NodeReport) -> String {
    let zone = report.own.zone.as_ref().map(|zone| format!("zone {zone}"));
    let address = report.own.address.map(|address| address.to_string());
    [zone, address].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn tiles(body: &mut String, view: &NodeView, rows: &[(&Peer, Vec<Finding>)]) {
    body.push_str("<ul class=\"tiles\">\n");
    tile(body, "", view.nodes, if view.nodes == 1 { "node" } else { "nodes" });
    tile(body, "", rows.len(), if rows.len() == 1 { "neighbour" } else { "neighbours" });
    for level in Level::ALL {
        let count = rows.iter().filter(|(_, findings)| worst(findings) == level).count();
        if count > 0 {
            tile(body, level.class(), format!("{} {count}", level.sign()), level.name());
        }
    }
    body.push_str("</ul>\n");
}

fn table(body: &mut String, view: &NodeView, rows: &[(&Peer, Vec<Finding>)]) {
    let sizes: Vec<_> = sizes(rows.iter().map(|(peer, _)| *peer));
    body.push_str(
        "<div class=\"scroll\"><table class=\"cards\">\n<thead><tr><th>neighbour</th>\
         <th>smallest answer</th><th class=\"number\">round trip</th>",
    );
    for size in &sizes {
        add!(body, "<th class=\"number\">{}</th>", Escaped(words::size_key(size)));
    }
    body.push_str(
        "<th class=\"number\">loss</th><th class=\"number\">MTU</th>\
         <th class=\"number\">throughput</th></tr></thead>\n<tbody>\n",
    );
    for (peer, findings) in rows {
        row(body, view, peer, findings, &sizes);
    }
    body.push_str("</tbody>\n</table></div>\n");
    body.push_str(
        "<p class=\"soft\">Sizes show the median, and below it the time that 99 of 100 stay \
         within.</p>\n",
    );
}

fn row(body: &mut String, view: &NodeView, peer: &Peer, findings: &[Finding], sizes: &[&str]) {
    let level = worst(findings);
    let zone = peer.zone.as_deref().unwrap_or_default();
    let own = view.report.own.address.map(|address| address.to_string()).unwrap_or_default();
    add!(
        body,
        "<tr><td class=\"wide name\"><span class=\"mark {}\" title=\"{}\">{}</span> \
         <a href=\"/cluster?from={own}&amp;to={}\">{}</a><small>{} {}</small>",
        level.class(),
        level.name(),
        level.sign(),
        peer.address,
        Escaped(peer.label()),
        Escaped(zone),
        peer.address,
    );
    for finding in findings {
        add!(body, "<div>{}</div>", Escaped(&finding.text));
    }
    body.push_str("</td><td class=\"wide\">");
    chart(body, view.latest.get(&peer.address).map_or(&[], Vec::as_slice));
    body.push_str("</td>");
    number(body, "round trip", peer.rtt_us.map(words::micros));
    for size in sizes {
        let latency = peer.latency_us.0.iter().find(|(key, _)| key == size);
        let text = latency.map(|(_, latency)| {
            let (p50, p99) = (words::micros(latency.p50), words::micros(latency.p99));
            format!("{p50}<small>{p99}</small>")
        });
        number(body, &words::size_key(size), text);
    }
    number(body, "loss", peer.loss().map(words::share));
    number(body, "MTU", peer.path_mtu.map(|mtu| mtu.to_string()));
    number(body, "throughput", peer.throughput_bps.map(words::bits_per_second));
    body.push_str("</tr>\n");
}

/// A cell; `text` consists of figures and markup of this program, so it is not escaped.
fn number(body: &mut String, name: &str, text: Option<String>) {
    let text = text.unwrap_or_default();
    add!(body, "<td class=\"number\" data-name=\"{}\">{text}</td>", Escaped(name));
}

fn chart(body: &mut String, latest: &[u32]) {
    let point = |micros: &u32| Point {
        value: Some(f64::from(*micros)),
        top: f64::from(*micros),
        is_error: false,
    };
    let points: Vec<_> = latest.iter().map(point).collect();
    let longest = latest.iter().max().map_or(0, |micros| u64::from(*micros));
    let count = words::count(latest.len(), "request", "requests");
    let title = format!("the latest {count}; the longest took {}", words::micros(longest));
    sparkline(body, &points, &title);
}

/// Every size that any neighbour was asked for: downloads, then uploads, each from small to large.
fn sizes<'a>(peers: impl Iterator<Item = &'a Peer>) -> Vec<&'a str> {
    let mut sizes: Vec<&str> = Vec::new();
    for (key, _) in peers.flat_map(|peer| &peer.latency_us.0) {
        if !sizes.contains(&key.as_str()) {
            sizes.push(key);
        }
    }
    sizes.sort_by_key(|key| size_order(key));
    sizes
}

const REFRESH_S: u32 = 10;

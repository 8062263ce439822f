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
         <a href=\"/metrics\">metrics</a></nav>\n<h1>{}</h1>\n\
         <p class=\"soft\">{}What this node sees of its neighbours, the worst first</p>\n",
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
    [zone, address].into_iter().flatten().map(|part| part + " · ").collect()
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
    let sizes = Sizes::of(rows.iter().map(|(peer, _)| *peer));
    body.push_str(
        "<p class=\"soft\">A size shows the median of its latest requests, and below it the time \
         that 99 of 100 of them stay within. The curve is that of the smallest download.</p>\n\
         <div class=\"scroll\"><table class=\"cards neighbours\">\n<thead><tr>\
         <th>neighbour</th><th>latest</th><th class=\"number\">round trip</th>",
    );
    for size in &sizes.keys {
        add!(body, "<th class=\"number\">{}</th>", Escaped(words::size_key(size)));
    }
    add!(
        body,
        "<th class=\"number\">loss</th><th class=\"number\">MTU</th>\
         <th class=\"number\">{}</th></tr></thead>\n",
        Escaped(&sizes.throughput),
    );
    for (peer, findings) in rows {
        body.push_str("<tbody>\n");
        row(body, view, peer, worst(findings), &sizes);
        says(body, findings, sizes.columns());
        body.push_str("</tbody>\n");
    }
    body.push_str("</table></div>\n");
}

fn row(body: &mut String, view: &NodeView, peer: &Peer, level: Level, sizes: &Sizes<'_>) {
    let zone = peer.zone.as_deref().unwrap_or_default();
    let own = view.report.own.address.map(|address| address.to_string()).unwrap_or_default();
    add!(
        body,
        "<tr><td class=\"wide name\"><span class=\"mark {}\" title=\"{}\">{}</span> \
         <a href=\"/cluster?from={own}&amp;to={}\">{}</a><small>{} {}</small></td>\
         <td class=\"wide\">",
        level.class(),
        level.name(),
        level.sign(),
        peer.address,
        Escaped(peer.label()),
        Escaped(zone),
        peer.address,
    );
    // A single request is no curve, and would fill the whole chart.
    if let Some(latest) = view.latest.get(&peer.address).filter(|latest| latest.len() > 1) {
        chart(body, latest);
    }
    body.push_str("</td>");
    number(body, "round trip", peer.rtt_us.map(words::micros));
    for size in &sizes.keys {
        let latency = peer.latency_us.0.iter().find(|(key, _)| key == size);
        let text = latency.map(|(_, latency)| {
            let (p50, p99) = (words::micros(latency.p50), words::micros(latency.p99));
            format!("{p50}<small>{p99}</small>")
        });
        number(body, &words::size_key(size), text);
    }
    number(body, "loss", peer.loss().map(words::share));
    number(body, "MTU", peer.path_mtu.map(|mtu| mtu.to_string()));
    number(body, &sizes.throughput, peer.throughput_bps.map(words::bits_per_second));
    body.push_str("</tr>\n");
}

/// The findings about a neighbour in a row of their own, which is as wide as the table.
fn says(body: &mut String, findings: &[Finding], columns: usize) {
    if findings.is_empty() {
        return;
    }
    add!(body, "<tr><td class=\"wide says\" colspan=\"{columns}\">");
    for finding in findings {
        add!(body, "<div>{}</div>", Escaped(&finding.text));
    }
    body.push_str("</td></tr>\n");
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

/// The columns that depend on what was asked for.
struct Sizes<'a> {
    /// Every size that any neighbour has answered: downloads, then uploads, from small to large.
    keys: Vec<&'a str>,
    /// The name of the throughput, which is that of the largest download.
    throughput: String,
}

impl<'a> Sizes<'a> {
    fn of(peers: impl Iterator<Item = &'a Peer>) -> Self {
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in peers.flat_map(|peer| &peer.latency_us.0) {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys.sort_by_key(|key| size_order(key));
        let largest = keys.iter().copied().rfind(|key| !size_order(key).0);
        Self { throughput: words::throughput_of(largest), keys }
    }

    /// The number of columns of the table.
    fn columns(&self) -> usize {
        OTHER_COLUMNS + self.keys.len()
    }
}

const REFRESH_S: u32 = 10;
/// Neighbour, curve, round trip, loss, MTU and throughput.
const OTHER_COLUMNS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn view(latency: serde_json::Value) -> NodeView {
        let text = serde_json::json!({
            "self": {"node": "n1", "zone": "a"},
            "peers": [{
                "node": "n2", "zone": "a", "address": "10.0.0.2", "up": true,
                "last_error": "2026-11-28T04:52:50Z: GET 17: no connection within 5s",
                "rtt_us": 100, "latency_us": latency, "throughput_bps": 940_000_000,
                "retransmitted": null, "sent": null, "path_mtu": 1500, "black_hole": false
            }]
        });
        let at = IpAddr::from([10, 0, 0, 1]);
        let report = NodeReport::read(text.to_string().as_bytes(), at).unwrap();
        let latest = BTreeMap::new();
        NodeView { report, latest, nodes: 2, lookup_error: None, alone: None }
    }

    #[test]
    fn sizes_are_in_order_and_the_throughput_has_its_size() {
        let latency = serde_json::json!({"p50": 1, "p99": 1});
        let page = node(&view(serde_json::json!({
            "65536-up": latency, "65536": latency, "17": latency, "1024-up": latency
        })));
        let head: Vec<_> = page.split("<th class=\"number\">").skip(1).collect();
        let head: Vec<_> = head.iter().map(|cell| cell.split('<').next().unwrap()).collect();
        let sizes = ["17 B", "64 KB", "1 KB up", "64 KB up"];
        assert_eq!(head[0], "round trip");
        assert_eq!(head[1..5], sizes);
        assert_eq!(head[5..], ["loss", "MTU", "throughput at 64 KB"]);
    }

    #[test]
    fn findings_are_below_the_figures_over_the_whole_width() {
        let page = node(&view(serde_json::json!({"17": {"p50": 1, "p99": 1}})));
        let wanted = "<td class=\"wide says\" colspan=\"7\"><div>GET 17: no connection within 5s, \
                      at 04:52:50 UTC</div>";
        assert!(page.contains(wanted), "{page}");
        assert_eq!(page.matches("<th").count() - page.matches("<thead").count(), 7);
    }
}

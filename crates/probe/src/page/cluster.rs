//! The page of all nodes: what each sees of the others, the worst first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::health::Level;
use super::html::{Escaped, add, document, tile};
use super::view::{Row, View, link};
use super::words;
use super::worst::worst_paths;
use crate::mesh::report::{ClusterReport, Peer};

/// Renders the page.
pub(crate) fn cluster(report: &ClusterReport) -> String {
    let view = View::of(report);
    let mut body = String::new();
    body.push_str(
        "<nav><a href=\"/\">this node</a> <a href=\"/cluster.json\">JSON</a> \
         <a href=\"/metrics\">metrics</a></nav>\n<h1>Cluster</h1>\n\
         <p class=\"soft\">What every node sees of its neighbours, gathered just now</p>\n",
    );
    tiles(&mut body, &view);
    worst_paths(&mut body, &view);
    rows(&mut body, &view);
    zones(&mut body, &view);
    silent(&mut body, &view);
    document("Cluster · Heartbeat mesh", REFRESH_S, &body)
}

fn tiles(body: &mut String, view: &View<'_>) {
    let mut counts = BTreeMap::new();
    for (_, _, level) in view.paths() {
        *counts.entry(level).or_insert(0_usize) += 1;
    }
    let silent = view.rows.iter().filter(|row| row.node.error.is_some()).count();
    body.push_str("<ul class=\"tiles\">\n");
    tile(body, "", view.rows.len(), if view.rows.len() == 1 { "node" } else { "nodes" });
    tile(body, "", counts.values().sum::<usize>(), "paths");
    for level in Level::ALL {
        if let Some(count) = counts.get(&level) {
            tile(body, level.class(), format!("{} {count}", level.sign()), level.name());
        }
    }
    if silent > 0 {
        let name = if silent == 1 { "prober is silent" } else { "probers are silent" };
        tile(body, "warning", silent, name);
    }
    body.push_str("</ul>\n");
}

/// The paths from one zone to another.
#[derive(Default)]
struct ZonePair {
    paths: usize,
    worst: Option<Level>,
    rtts: Vec<u64>,
    bad: usize,
}

fn zones(body: &mut String, view: &View<'_>) {
    let mut pairs: BTreeMap<(&str, &str), ZonePair> = BTreeMap::new();
    for (row, peer, level) in view.paths() {
        let zones = (zone(&row.node.own.zone), zone(&peer.zone));
        let pair = pairs.entry(zones).or_default();
        pair.paths += 1;
        pair.worst = pair.worst.max(Some(level));
        pair.bad += usize::from(level > Level::Unknown);
        pair.rtts.extend(peer.rtt_us);
    }
    // Nodes without a zone count as one zone, which has nothing to be compared with.
    if pairs.len() < 2 {
        return;
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(zones, pair)| (Reverse(pair.worst), Reverse(pair.bad), *zones));
    body.push_str(
        "<h2>Between zones</h2>\n<table class=\"cards\">\n<thead><tr><th>from → to</th>\
         <th class=\"number\">paths</th><th class=\"number\">not well</th>\
         <th class=\"number\">median round trip</th><th class=\"number\">longest</th></tr>\
         </thead>\n\
         <tbody>\n",
    );
    for ((from, to), pair) in pairs.iter_mut().take(ZONE_PAIRS_MAX) {
        pair.rtts.sort_unstable();
        let middle = pair.rtts.get(pair.rtts.len().saturating_sub(1) / 2);
        let level = pair.worst.unwrap_or(Level::Good);
        let micros = |value: Option<&u64>| value.map_or_else(String::new, |us| words::micros(*us));
        add!(
            body,
            "<tr><td class=\"wide\"><span class=\"mark {}\" title=\"{}\">{}</span> {} → {}</td>\
             <td class=\"number\" data-name=\"paths\">{}</td>\
             <td class=\"number\" data-name=\"not well\">{}</td>\
             <td class=\"number\" data-name=\"median round trip\">{}</td>\
             <td class=\"number\" data-name=\"longest\">{}</td></tr>\n",
            level.class(),
            level.name(),
            level.sign(),
            Escaped(from),
            Escaped(to),
            pair.paths,
            pair.bad,
            micros(middle),
            micros(pair.rtts.last()),
        );
    }
    body.push_str("</tbody>\n</table>\n");
}

fn rows(body: &mut String, view: &View<'_>) {
    body.push_str("<h2>Who sees whom</h2>\n<ul class=\"legend\">\n");
    for level in Level::ALL {
        add!(
            body,
            "<li><span class=\"mark {}\">{}</span> {}</li>\n",
            level.class(),
            level.sign(),
            level.name()
        );
    }
    body.push_str("</ul>\n");
    if view.rows.len() <= ROWS_MAX { matrix(body, view) } else { worst_rows(body, view) }
}

/// A table with a row and a column for each node.
fn matrix(body: &mut String, view: &View<'_>) {
    body.push_str("<div class=\"scroll\"><table class=\"matrix\">\n<thead><tr><th></th>");
    for number in 1..=view.rows.len() {
        add!(body, "<th>{number}</th>");
    }
    body.push_str("</tr></thead>\n<tbody>\n");
    for (index, row) in view.rows.iter().enumerate() {
        let name = view.name(row.address);
        add!(body, "<tr><th title=\"{0}\">{1} {0}</th>", Escaped(&name), index + 1);
        let cells: HashMap<_, _> =
            row.cells.iter().map(|(peer, level)| (peer.address, (*peer, *level))).collect();
        for column in &view.rows {
            match cells.get(&column.address) {
                Some((peer, level)) => cell(body, view, row, peer, *level),
                None if column.address == row.address => body.push_str("<td class=\"self\"></td>"),
                None => body.push_str("<td></td>"),
            }
        }
        body.push_str("</tr>\n");
    }
    body.push_str(
        "</tbody>\n</table></div>\n<p class=\"soft\">A row asks, a column is asked; an empty cell \
         is a pair that is not on the ring.</p>\n",
    );
}

/// A row for each of the worst nodes, with its neighbours, the worst first.
fn worst_rows(body: &mut String, view: &View<'_>) {
    add!(
        body,
        "<p class=\"soft\">The {ROWS_MAX} worst of {} nodes; in each row its neighbours, the worst \
         first.</p>\n<div class=\"scroll\"><table class=\"matrix\">\n<tbody>\n",
        view.rows.len(),
    );
    for row in view.rows.iter().take(ROWS_MAX) {
        add!(body, "<tr><th title=\"{0}\">{0}</th>", Escaped(view.name(row.address)));
        for (peer, level) in &row.cells {
            cell(body, view, row, peer, *level);
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody>\n</table></div>\n");
}

fn cell(body: &mut String, view: &View<'_>, row: &Row<'_>, peer: &Peer, level: Level) {
    let rtt = peer.rtt_us.map_or_else(String::new, |rtt| format!(", {}", words::micros(rtt)));
    add!(
        body,
        "<td class=\"{}\"><a href=\"{}\" title=\"{} → {}: {}{rtt}\">{}</a></td>",
        level.class(),
        link(row.address, peer.address),
        Escaped(view.name(row.address)),
        Escaped(view.name(peer.address)),
        level.name(),
        level.sign(),
    );
}

fn silent(body: &mut String, view: &View<'_>) {
    let silent: Vec<_> =
        view.rows.iter().filter_map(|row| Some((row, row.node.error.as_ref()?))).collect();
    if silent.is_empty() {
        return;
    }
    body.push_str(
        "<h2>Probers that did not answer</h2>\n<table class=\"cards\">\n\
         <thead><tr><th>node</th><th>why</th></tr></thead>\n<tbody>\n",
    );
    for (row, error) in silent.iter().take(ROWS_MAX) {
        add!(
            body,
            "<tr><td class=\"wide\">{}<small>{}</small></td><td class=\"wide says\">{}</td></tr>\n",
            Escaped(view.name(row.address)),
            row.address,
            Escaped(error),
        );
    }
    body.push_str("</tbody>\n</table>\n");
    if silent.len() > ROWS_MAX {
        add!(body, "<p class=\"soft\">{} more are in the JSON.</p>\n", silent.len() - ROWS_MAX);
    }
}

fn zone(zone: &Option<String>) -> &str {
    zone.as_deref().unwrap_or("no zone")
}

/// Each refresh costs each node a request.
const REFRESH_S: u32 = 30;
/// A person does not compare more rows.
const ROWS_MAX: usize = 50;
const ZONE_PAIRS_MAX: usize = 20;

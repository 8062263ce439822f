//! The list of the worst paths. If most paths to a node, or from it, have the same fault, they are
//! one line, because the fault is probably the node's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::health::{Level, findings};
use super::html::{Escaped, add};
use super::view::{Row, View, link};
use super::words;
use crate::mesh::report::Peer;

/// A path that is not well.
struct Bad<'v, 'a> {
    row: &'v Row<'a>,
    peer: &'a Peer,
    level: Level,
    code: &'static str,
    text: String,
}

/// Paths with the same fault at the same end; the worst of them represents all.
struct Group {
    ends: Ends,
    worst: usize,
    count: usize,
}

enum Ends {
    Pair,
    /// Paths to one node, and how many nodes ask it in all.
    Asked(usize),
    /// Paths from one node, and how many nodes it asks in all.
    Asking(usize),
}

/// Adds the list.
pub(super) fn worst_paths(body: &mut String, view: &View<'_>) {
    let bad = bad_paths(view);
    body.push_str("<h2>What is wrong</h2>\n");
    if bad.is_empty() {
        body.push_str("<p><span class=\"mark good\">●</span> Every path is well.</p>\n");
        return;
    }
    let groups = groups(view, &bad);
    body.push_str(
        "<table class=\"cards\">\n<thead><tr><th>path</th><th>what is wrong</th>\
         <th class=\"number\">round trip</th><th class=\"number\">loss</th>\
         <th class=\"number\">MTU</th></tr></thead>\n<tbody>\n",
    );
    for group in groups.iter().take(GROUPS_MAX) {
        line(body, view, &bad[group.worst], group);
    }
    body.push_str("</tbody>\n</table>\n");
    let beyond: usize = groups.iter().skip(GROUPS_MAX).map(|group| group.count).sum();
    if beyond > 0 {
        let paths = words::count(beyond, "more path is", "more paths are");
        add!(body, "<p class=\"soft\">{paths} in the JSON.</p>\n");
    }
}

/// All bad paths, the worst first.
fn bad_paths<'v, 'a>(view: &'v View<'a>) -> Vec<Bad<'v, 'a>> {
    let bad = view.paths().filter(|(_, _, level)| *level > Level::Unknown);
    let mut bad: Vec<_> = bad
        .filter_map(|(row, peer, level)| {
            let worst = findings(&row.node.own, peer, &view.usual).into_iter().next()?;
            Some(Bad { row, peer, level, code: worst.code, text: worst.text })
        })
        .collect();
    bad.sort_by_key(|bad| (Reverse(bad.level), Reverse(bad.peer.rtt_us)));
    bad
}

fn groups(view: &View<'_>, bad: &[Bad<'_, '_>]) -> Vec<Group> {
    let mut asked: HashMap<IpAddr, usize> = HashMap::new();
    for (_, peer, _) in view.paths() {
        *asked.entry(peer.address).or_default() += 1;
    }
    let mut left: Vec<usize> = (0..bad.len()).collect();
    let mut groups = Vec::new();
    let to = |index: usize| (bad[index].peer.address, bad[index].code);
    take(&mut left, &mut groups, to, |index| {
        let of = asked.get(&bad[index].peer.address).copied().unwrap_or(0);
        (of, Ends::Asked(of))
    });
    let from = |index: usize| (bad[index].row.address, bad[index].code);
    take(&mut left, &mut groups, from, |index| {
        let of = bad[index].row.cells.len();
        (of, Ends::Asking(of))
    });
    let pair = |worst| Group { ends: Ends::Pair, worst, count: 1 };
    groups.extend(left.into_iter().map(pair));
    groups.sort_by_key(|group| {
        let bad = &bad[group.worst];
        (Reverse(bad.level), Reverse(group.count), group.worst)
    });
    groups
}

/// Moves paths with the same `key` into one group, if they are at least half of all at that end.
fn take(
    left: &mut Vec<usize>,
    groups: &mut Vec<Group>,
    key: impl Fn(usize) -> (IpAddr, &'static str),
    end: impl Fn(usize) -> (usize, Ends),
) {
    let mut by_key: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for index in left.iter().copied() {
        by_key.entry(key(index)).or_default().push(index);
    }
    for members in by_key.into_values() {
        let (all, ends) = end(members[0]);
        if members.len() > 1 && members.len() * 2 >= all {
            left.retain(|index| !members.contains(index));
            groups.push(Group { ends, worst: members[0], count: members.len() });
        }
    }
}

fn line(body: &mut String, view: &View<'_>, bad: &Bad<'_, '_>, group: &Group) {
    let (from, to) = (view.name(bad.row.address), view.name(bad.peer.address));
    let path = match group.ends {
        Ends::Pair => format!("{from} → {to}"),
        Ends::Asked(of) => format!("{} of {of} nodes → {to}", group.count),
        Ends::Asking(of) => format!("{from} → {} of {of} nodes", group.count),
    };
    let cell = |text: Option<String>| text.unwrap_or_default();
    add!(
        body,
        "<tr><td class=\"wide path\"><span class=\"mark {}\" title=\"{}\">{}</span> \
         <a href=\"{}\">{}</a></td><td class=\"wide says\">{}</td>\
         <td class=\"number\" data-name=\"round trip\">{}</td>\
         <td class=\"number\" data-name=\"loss\">{}</td>\
         <td class=\"number\" data-name=\"MTU\">{}</td></tr>\n",
        bad.level.class(),
        bad.level.name(),
        bad.level.sign(),
        link(bad.row.address, bad.peer.address),
        Escaped(path),
        Escaped(&bad.text),
        cell(bad.peer.rtt_us.map(words::micros)),
        cell(bad.peer.loss().map(words::share)),
        cell(bad.peer.path_mtu.map(|mtu| mtu.to_string())),
    );
}

const GROUPS_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::super::cluster;
    use crate::mesh::report::{ClusterReport, NodeReport};

    /// Ten nodes that each ask the next five; `fault` decides which paths are down.
    fn page(fault: impl Fn(u8, u8) -> bool) -> String {
        let node = |number: u8| {
            let peers: Vec<_> = (1..=5)
                .map(|step| {
                    let to = (number + step) % 10;
                    serde_json::json!({
                        "node": format!("n{to}"), "zone": null, "address": format!("10.0.0.{to}"),
                        "up": !fault(number, to), "last_error": null, "rtt_us": 100,
                        "latency_us": {}, "throughput_bps": null, "retransmitted": null,
                        "sent": null, "path_mtu": 1500, "black_hole": false
                    })
                })
                .collect();
            let own = serde_json::json!({"node": format!("n{number}"), "zone": null});
            let text = serde_json::json!({"self": own, "peers": peers}).to_string();
            NodeReport::read(text.as_bytes(), [10, 0, 0, number].into()).unwrap().into()
        };
        cluster(&ClusterReport { nodes: (0..10).map(node).collect() })
    }

    #[test]
    fn a_node_that_nobody_reaches_is_one_line() {
        let page = page(|_, to| to == 4);
        assert!(page.contains("5 of 5 nodes → n4</a>"), "{page}");
        assert_eq!(page.matches("class=\"wide path\"").count(), 1);
    }

    #[test]
    fn a_node_that_reaches_nobody_is_one_line() {
        let page = page(|from, _| from == 4);
        assert!(page.contains("n4 → 5 of 5 nodes</a>"), "{page}");
        assert_eq!(page.matches("class=\"wide path\"").count(), 1);
    }

    #[test]
    fn a_single_bad_path_is_a_line() {
        let page = page(|from, to| (from, to) == (4, 5) || (from, to) == (7, 8));
        assert!(page.contains("n4 → n5</a>") && page.contains("n7 → n8</a>"), "{page}");
        assert_eq!(page.matches("class=\"wide path\"").count(), 2);
    }

    #[test]
    fn a_cluster_that_is_well_says_so() {
        assert!(page(|_, _| false).contains("Every path is well."));
    }
}

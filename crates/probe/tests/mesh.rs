//! The mesh as a process: what it reports about neighbours that behave well or badly.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod name_server;
mod nodes;
mod process;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use name_server::{NameServer, Zone};
use nodes::{Nodes, answer, get, node, number_of, report, server, wait_for};
use process::{Background, Folder, finish, free_port, program, run};
use serde_json::Value;

const NAME: &str = "mesh.test.";

struct Mesh {
    names: NameServer,
    nodes: Nodes,
    at: String,
    background: Background,
    _folder: Folder,
}

impl Mesh {
    /// Starts the prober of node 0, which has no server.
    fn start(names: NameServer, nodes: Nodes, more: &[&str]) -> Self {
        let folder = Folder::new();
        let port = free_port();
        let mut command = mesh(&folder, &names, &nodes);
        command.args(["--port", &port.to_string(), "--interval", "100ms"]);
        command.args(["--lookup-interval", "200ms", "--timeout", "5s"]).args(more);
        let background = Background::start(&mut command);
        Self { names, nodes, at: format!("127.0.0.1:{port}"), background, _folder: folder }
    }

    fn json(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let parse = |page: &str| serde_json::from_str::<Value>(page).unwrap_or_default();
        parse(&wait_for(&self.at, path, |page| wanted(&parse(page))))
    }

    fn metrics(&self, wanted: impl Fn(&str) -> bool) -> String {
        wait_for(&self.at, "/metrics", wanted)
    }
}

fn mesh(folder: &Folder, names: &NameServer, nodes: &Nodes) -> Command {
    let mut command = program(folder);
    command.args(["mesh", &format!("{NAME}:{}", nodes.port), "--self", &node(0).to_string()]);
    command.args(["--node", "n0", "--zone", "a", "--dns", &names.address.to_string()]);
    command
}

fn names(count: u16) -> NameServer {
    let addresses = (0..count).map(|number| node(number).into()).collect();
    NameServer::local(Zone { name: "mesh.test".to_owned(), addresses, ..Zone::default() })
}

fn good(own: Ipv4Addr, path: &str) -> Option<Vec<u8>> {
    let number = number_of(own);
    Some(server(path, &format!("n{number}"), if number < 2 { "a" } else { "b" }))
}

fn peers(report: &Value) -> Vec<&Value> {
    report["peers"].as_array().map(|peers| peers.iter().collect()).unwrap_or_default()
}

fn all_up(report: &Value, count: usize) -> bool {
    let peers = peers(report);
    peers.len() == count && peers.iter().all(|peer| peer["up"] == true)
}

#[test]
fn reports_identity_and_path_of_each_neighbour() {
    let mesh = Mesh::start(names(4), Nodes::start(good), &[]);
    let measured = |report: &Value| {
        let sizes = |peer: &&Value| peer["latency_us"].as_object().map_or(0, |sizes| sizes.len());
        all_up(report, 3) && peers(report).iter().all(|peer| sizes(peer) == 6)
    };
    let report = mesh.json("/mesh.json", measured);
    let own = serde_json::json!({"node": "n0", "zone": "a", "address": node(0).to_string()});
    assert_eq!(report["self"], own);
    let peer = &report["peers"][1];
    let keys: Vec<_> = peer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "node",
            "zone",
            "address",
            "up",
            "last_error",
            "rtt_us",
            "latency_us",
            "throughput_bps",
            "retransmitted",
            "sent",
            "path_mtu",
            "black_hole",
            "black_hole_down",
            "black_hole_up"
        ]
    );
    assert_eq!((&peer["node"], &peer["zone"]), (&Value::from("n2"), &Value::from("b")));
    assert_eq!((&peer["last_error"], &peer["black_hole"]), (&Value::Null, &Value::from(false)));
    let sizes: Vec<_> = peer["latency_us"].as_object().unwrap().keys().collect();
    assert_eq!(sizes, ["17", "1024", "65536", "1048576", "1024-up", "65536-up"]);
    assert!(peer["latency_us"]["17"]["p99"].as_u64() >= peer["latency_us"]["17"]["p50"].as_u64());
    // The smaller of this side's loopback MTU and the one that the server has reported.
    assert_eq!(peer["path_mtu"], 9001);
    for key in ["rtt_us", "throughput_bps", "sent"] {
        assert!(peer[key].as_u64().unwrap() > 0, "{key}: {peer}");
    }
}

#[test]
fn asks_for_the_identity_of_a_neighbour_once_and_never_asks_itself() {
    let mesh = Mesh::start(names(3), Nodes::start(good), &[]);
    mesh.metrics(|page| page.contains("heartbeat_mesh_throughput"));
    let asked = mesh.nodes.asked();
    let versions = |number| {
        asked
            .iter()
            .filter(|(own, path)| *own == node(number) && path == "/version?format=json")
            .count()
    };
    assert_eq!((versions(1), versions(2)), (1, 1));
    assert!(asked.iter().all(|(own, _)| *own != node(0)), "{asked:?}");
}

#[test]
fn has_the_metrics_of_the_contract_and_at_most_forty_series_per_neighbour() {
    let bad = Arc::new(AtomicU64::new(0));
    let turn = Arc::clone(&bad);
    let nodes = Nodes::start(move |own, path| {
        // Each kind of fault that a server can cause, with good answers in between.
        let is_sized = path.starts_with("/heartbeat/");
        match turn.fetch_add(u64::from(is_sized), Ordering::Relaxed) % 9 {
            1 if is_sized => Some(answer(404, "", "")),
            3 if is_sized => Some(answer(200, "", "short")),
            5 if is_sized => Some(b"nonsense\r\n\r\n".to_vec()),
            7 if is_sized => Some(answer(200, "", &"x".repeat(17))),
            _ => good(own, path),
        }
    });
    let six = "1,2,3,4,5,6";
    let mesh = Mesh::start(names(2), nodes, &["--sizes", six, "--upload-sizes", six]);
    let last = |page: &str| page.matches("heartbeat_mesh_last_duration_seconds{").count() == 12;
    let kinds = |page: &str| page.matches("heartbeat_mesh_errors_total{").count() >= 3;
    let page = mesh.metrics(|page| last(page) && kinds(page));
    for name in [
        "heartbeat_mesh_up{peer=\"n1\",zone=\"a\"} 1",
        "heartbeat_mesh_request_duration_seconds_count{same_zone=\"true\",size=\"1\"}",
        "heartbeat_mesh_rtt_seconds{peer=\"n1\",zone=\"a\"}",
        "heartbeat_mesh_retransmitted_segments_total{direction=\"up\",peer=\"n1\",zone=\"a\"} 0",
        "heartbeat_mesh_retransmitted_segments_total{direction=\"down\",peer=\"n1\",zone=\"a\"} 0",
        "heartbeat_mesh_path_mtu_bytes{peer=\"n1\",zone=\"a\"} 9001",
        "heartbeat_mesh_throughput_bits_per_second{peer=\"n1\",zone=\"a\"}",
        "heartbeat_mesh_errors_total{kind=\"status\",peer=\"n1\",zone=\"a\"}",
        "heartbeat_mesh_nodes 2",
        "heartbeat_mesh_lookups_total{result=\"succeeded\"}",
    ] {
        assert!(page.contains(name), "{name}: {page}");
    }
    let series = page.lines().filter(|line| line.contains("peer=\"n1\"")).count();
    // Every other kind of error could still add a series.
    let errors = page.matches("heartbeat_mesh_errors_total{").count();
    let most = series - errors + heartbeat_probe::Fault::ALL.len();
    assert!((20..=40).contains(&most), "{most}: {page}");
}

#[test]
fn a_leaving_neighbour_is_no_error_and_one_that_is_gone_has_no_series() {
    let state = Arc::new(AtomicU8::new(0));
    let told = Arc::clone(&state);
    let nodes =
        Nodes::start(move |own, path| match (number_of(own), told.load(Ordering::Relaxed)) {
            // It drains: every answer closes the connection, and `/readyz` returns 503.
            (1, 1) if path == "/readyz" => Some(answer(503, "Connection: close\r\n", "")),
            (1, 1) => Some(answer(200, "Connection: close\r\n", "0123456789ABCDEF0")),
            // It is gone, although DNS still has its address.
            (1, 2) => None,
            _ => good(own, path),
        });
    let more = ["--sizes", "17", "--upload-sizes", "none"];
    let mesh = Mesh::start(names(3), nodes, &more);
    mesh.json("/mesh.json", |report| all_up(report, 2));
    state.store(1, Ordering::Relaxed);
    let leaving = |report: &Value| {
        peers(report)[0]["last_error"].as_str().is_some_and(|error| error.contains("is leaving"))
    };
    let report = mesh.json("/mesh.json", leaving);
    assert_eq!(report["peers"][0]["up"], true);
    let asked = |nodes: &Nodes| {
        nodes.asked().iter().filter(|(own, path)| *own == node(1) && path != "/readyz").count()
    };
    state.store(2, Ordering::Relaxed);
    let before = asked(&mesh.nodes);
    let ready = mesh.nodes.asked().len();
    while mesh.nodes.asked().len() < ready + 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // It is only asked whether it is ready again.
    assert_eq!(asked(&mesh.nodes), before);
    let page = mesh.metrics(|page| page.contains("peer=\"n1\""));
    assert!(!page.contains("errors_total{"), "{page}");
    assert!(page.contains("heartbeat_mesh_up{peer=\"n1\",zone=\"a\"} 1"), "{page}");
    mesh.names.change(|zone| zone.addresses.retain(|address| *address != node(1)));
    let page = mesh.metrics(|page| !page.contains("peer=\"n1\""));
    assert!(page.contains("peer=\"n2\""), "{page}");
    mesh.json("/mesh.json", |report| all_up(report, 1));
}

#[test]
fn a_neighbour_without_answers_is_down_and_comes_back_under_its_new_name() {
    let state = Arc::new(AtomicU8::new(0));
    let told = Arc::clone(&state);
    let nodes = Nodes::start(move |own, path| match told.load(Ordering::Relaxed) {
        1 => None,
        2 => Some(server(path, "new", "c")),
        _ => good(own, path),
    });
    let mut mesh = Mesh::start(names(2), nodes, &["--sizes", "17", "--upload-sizes", "none"]);
    mesh.json("/mesh.json", |report| all_up(report, 1));
    state.store(1, Ordering::Relaxed);
    let report = mesh.json("/mesh.json", |report| peers(report)[0]["up"] == false);
    let error = report["peers"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("GET 17: "), "{error}");
    mesh.metrics(|page| page.contains("heartbeat_mesh_up{peer=\"n1\",zone=\"a\"} 0"));
    state.store(2, Ordering::Relaxed);
    mesh.metrics(|page| page.contains("heartbeat_mesh_up{peer=\"new\",zone=\"c\"} 1"));
    let events: Vec<_> = (0..4).map(|_| mesh.background.line()).collect();
    let of = |index: usize| events[index].split(' ').nth(1).unwrap();
    assert_eq!([of(0), of(1), of(2), of(3)], ["found", "up", "down", "up"], "{events:?}");
}

#[test]
fn a_silent_name_service_removes_no_neighbour() {
    let mesh = Mesh::start(names(3), Nodes::start(good), &[]);
    mesh.json("/mesh.json", |report| all_up(report, 2));
    mesh.names.change(|zone| zone.fails = true);
    let failed = |page: &str| page.contains("heartbeat_mesh_lookups_total{result=\"failed\"}");
    let page = mesh.metrics(|page| {
        failed(page) && !page.contains("heartbeat_mesh_lookups_total{result=\"failed\"} 0")
    });
    assert!(page.contains("peer=\"n1\"") && page.contains("peer=\"n2\""), "{page}");
    let (_, page) = get(&mesh.at, "/").unwrap();
    assert!(page.contains("the DNS server answered SERVFAIL"), "{page}");
    mesh.names.change(|zone| zone.fails = false);
    wait_for(&mesh.at, "/", |page| !page.contains("SERVFAIL"));
}

#[test]
fn a_new_node_is_asked_soon() {
    let mesh = Mesh::start(names(2), Nodes::start(good), &[]);
    mesh.json("/mesh.json", |report| all_up(report, 1));
    mesh.names.change(|zone| zone.addresses.push(node(2).into()));
    mesh.json("/mesh.json", |report| all_up(report, 2));
}

#[test]
fn asks_at_most_as_many_neighbours_as_configured() {
    let mesh = Mesh::start(names(30), Nodes::start(good), &["--neighbors", "3"]);
    mesh.json("/mesh.json", |report| all_up(report, 3));
    let mut asked: Vec<_> = mesh.nodes.asked().into_iter().map(|(own, _)| own).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 3);
}

const HOSTILE: &str = "<script>alert(1)</script>\"'&";

#[test]
fn nothing_that_a_peer_reports_is_shown_unescaped() {
    let nodes = Nodes::start(|_, path| match path {
        "/mesh.json" => {
            let peer = serde_json::json!({
                "node": HOSTILE, "zone": HOSTILE, "address": node(1).to_string(), "up": true,
                "last_error": HOSTILE, "rtt_us": 1, "latency_us": {HOSTILE: {"p50": 1, "p99": 1}},
                "throughput_bps": null, "retransmitted": null, "sent": null, "path_mtu": 1400,
                "black_hole": true
            });
            let own = serde_json::json!({"node": HOSTILE, "zone": HOSTILE, "address": "10.0.0.1"});
            Some(answer(200, "", &serde_json::json!({"self": own, "peers": [peer]}).to_string()))
        }
        path => Some(server(path, HOSTILE, HOSTILE)),
    });
    let peer_port = nodes.port.to_string();
    let mesh = Mesh::start(names(3), nodes, &["--peer-port", &peer_port]);
    mesh.json("/mesh.json", |report| all_up(report, 2));
    let pair = format!("/cluster?from={}&to={}", node(0), node(1));
    for path in ["/", "/cluster", &pair] {
        let page = wait_for(&mesh.at, path, |page| page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script") && !page.contains("\"'&"), "{path}: {page}");
        let (head, _) = get(&mesh.at, path).unwrap();
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    }
}

#[test]
fn pages_are_found_or_not_and_a_pair_must_be_of_this_cluster() {
    let mesh = Mesh::start(names(2), Nodes::start(good), &[]);
    mesh.json("/mesh.json", |report| all_up(report, 1));
    let status = |path: &str| get(&mesh.at, path).unwrap().0[9..12].to_owned();
    let pair = |from: Ipv4Addr, to: Ipv4Addr| format!("/cluster?from={from}&to={to}");
    for path in ["/", "/cluster", "/mesh.json", "/cluster.json", "/metrics", "/healthz", "/readyz"]
    {
        assert_eq!(status(path), "200", "{path}");
    }
    assert_eq!(status(&pair(node(0), node(1))), "200");
    let stranger = pair(node(0), node(9));
    for path in ["/x", "/cluster?from=1", "/cluster?from=x&to=y", &stranger] {
        assert_eq!(status(path), "404", "{path}");
    }
    // A page of two nodes that is open stays useful when one of them is gone.
    let (head, page) = get(&mesh.at, &stranger).unwrap();
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(page.contains("No such pair") && page.contains("href=\"/cluster\""), "{page}");
    assert_eq!(get(&mesh.at, "/x").unwrap().1, "");
}

fn gathering(count: u16, silent: u16) -> Mesh {
    let nodes = Nodes::start(move |own, path| match path {
        "/mesh.json" if number_of(own) == silent => None,
        "/mesh.json" => Some(report(number_of(own), count)),
        path => good(own, path),
    });
    // The servers and the probers of the other nodes listen on the same port here.
    let peer_port = nodes.port.to_string();
    let more = ["--sizes", "17", "--upload-sizes", "none", "--peer-port", &peer_port];
    Mesh::start(names(count), nodes, &more)
}

#[test]
fn a_small_cluster_is_a_matrix_of_all_nodes() {
    let mesh = gathering(12, 3);
    let cluster = mesh.json("/cluster.json", |cluster| {
        // On a busy machine a prober may not answer in time, and is asked again.
        let reports =
            |nodes: &Vec<Value>| nodes.iter().filter(|node| node["peers"].is_array()).count() == 11;
        cluster["nodes"].as_array().is_some_and(|nodes| nodes.len() == 12 && reports(nodes))
    });
    let nodes = cluster["nodes"].as_array().unwrap();
    let by: BTreeMap<_, _> =
        nodes.iter().map(|node| (node["self"]["address"].as_str().unwrap(), node)).collect();
    let of = |number: u16| by[node(number).to_string().as_str()];
    assert!(of(3)["error"].is_string() && of(3).get("peers").is_none(), "{}", of(3));
    assert_eq!(of(4)["peers"].as_array().unwrap().len(), 10);
    assert_eq!(of(0)["self"]["node"], "n0");
    let page = wait_for(&mesh.at, "/cluster", |page| page.contains(" nodes → n5</a>"));
    assert_eq!(page.matches("<td class=\"self\">").count(), 12);
    assert!(page.contains("Probers that did not answer") && page.contains("Between zones"));
}

#[test]
fn a_thousand_nodes_show_the_fifty_worst_and_only_addresses_of_the_service_are_asked() {
    let mesh = gathering(1000, 3);
    let cluster = mesh.json("/cluster.json", |cluster| {
        let reports = |nodes: &Vec<Value>| {
            nodes.iter().filter(|node| node["peers"].is_array()).count() == 999
        };
        cluster["nodes"].as_array().is_some_and(|nodes| nodes.len() == 1000 && reports(nodes))
    });
    assert_eq!(cluster["nodes"].as_array().unwrap().len(), 1000);
    let (_, page) = get(&mesh.at, "/cluster").unwrap();
    assert!(page.contains("The 50 worst of 1000 nodes"), "{page}");
    assert_eq!(page.matches("<tr><th title").count(), 50);
    let asked = mesh.nodes.asked();
    let gathered = asked.iter().filter(|(_, path)| path == "/mesh.json");
    assert!(gathered.clone().all(|(own, _)| number_of(*own) < 1000 && *own != node(0)));
}

#[test]
fn ends_after_its_duration_with_a_code_that_depends_on_the_paths() {
    let folder = Folder::new();
    let (names, nodes) = (names(3), Nodes::start(good));
    let port = free_port().to_string();
    let more = ["--port", &port, "--interval", "100ms", "--duration", "5s"];
    let outcome = finish(mesh(&folder, &names, &nodes).args(more));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.out.lines().all(|line| line.chars().count() <= 80), "{}", outcome.out);
    assert!(outcome.out.contains("n1") && outcome.out.contains("n2"), "{}", outcome.out);
    names.change(|zone| zone.addresses.push(node(0x00fe).into()));
    let nodes =
        Nodes::start(|own, path| if number_of(own) == 0xfe { None } else { good(own, path) });
    let outcome = finish(mesh(&folder, &names, &nodes).args(more).arg("--json"));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let result: Value = serde_json::from_str(outcome.out.lines().last().unwrap()).unwrap();
    assert_eq!(peers(&result).len(), 3);
    let event: Value = serde_json::from_str(outcome.out.lines().next().unwrap()).unwrap();
    assert_eq!(event["event"], "found");
}

#[test]
fn a_node_without_neighbours_reports_what_was_looked_up_and_found() {
    let (folder, nodes) = (Folder::new(), Nodes::start(good));
    let port = free_port().to_string();
    let more = ["--port", &port, "--duration", "3s"];
    let outcome = finish(mesh(&folder, &names(1), &nodes).args(more));
    assert_eq!(outcome.code, 1);
    let (events, table) = outcome.out.split_once("\nno neighbours found\n").unwrap();
    let own = node(0);
    let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = format!("mesh.test has the address {own}. {own} is this node itself, which it");
    assert!(flat.starts_with(&start), "{flat}");
    assert!(flat.ends_with(&format!("path http://{own}:{}", nodes.port)), "{flat}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert_eq!(events.matches("no-neighbours: mesh.test has the address").count(), 1, "{events}");
    // The page says the same, and no longer does so once a neighbour exists.
    let mesh = Mesh::start(names(0), nodes, &[]);
    wait_for(&mesh.at, "/", |page| page.contains("DNS has no address for mesh.test"));
    mesh.names.change(|zone| zone.addresses.push(node(1).into()));
    wait_for(&mesh.at, "/", |page| !page.contains("This node has no neighbours"));
}

#[test]
fn a_signal_ends_it_with_exit_code_0() {
    let mesh = Mesh::start(names(3), Nodes::start(good), &[]);
    mesh.json("/mesh.json", |report| all_up(report, 2));
    mesh.background.signal(heartbeat_testkit::Signal::Terminate);
    assert_eq!(mesh.background.end().0, 0);
}

#[test]
fn a_wrong_command_line_is_explained() {
    let folder = Folder::new();
    let outcome = run(&folder, &["mesh"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("NAME[:PORT]"), "{}", outcome.err);
    let outcome = run(&folder, &["mesh", "m", "--neighbors", "0"]);
    assert!(outcome.err.contains("expected 1 to 100"), "{}", outcome.err);
    let taken = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome = run(&folder, &["mesh", "m", "--port", &port]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("choose another port"), "{}", outcome.err);
}

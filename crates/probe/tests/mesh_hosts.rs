//! Eight hosts: compares what their probers report with what was done to the network.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod hosts;
mod name_server;
mod nodes;

use std::time::{Duration, Instant};

use hosts::{HOSTS, Hosts, address};
use nodes::{get, wait_for};
use serde_json::Value;

/// The rows of the table that is printed at the end.
struct Story {
    hosts: Hosts,
    rows: Vec<(String, String)>,
}

#[test]
fn eight_hosts_report_what_was_done_to_the_network() {
    if let Some(why) = hosts::missing() {
        eprintln!("left out: eight hosts: {why}");
        return;
    }
    let mut story = Story { hosts: Hosts::new(), rows: Vec::new() };
    story.seven_see_each_other();
    story.one_joins();
    story.one_is_cut_off();
    story.one_restarts();
    story.dns_is_silent_while_one_loses_and_one_swallows();
    story.one_has_another_mtu();
    story.the_pages_say_the_same();
    println!("what was done, and what the others say:");
    for (done, said) in &story.rows {
        println!("{done:<44} {said}");
    }
}

impl Story {
    fn seven_see_each_other(&mut self) {
        for host in 1..=7 {
            self.hosts.start_server(host);
            self.hosts.name(host);
        }
        for host in 1..=7 {
            self.hosts.start_prober(host);
        }
        let start = Instant::now();
        for host in 1..=7 {
            wait(host, |report| {
                let peers = peers(report);
                let sizes = |peer: &Value| peer["latency_us"].as_object().map(|sizes| sizes.len());
                peers.len() == 6
                    && peers.iter().all(|peer| peer["up"] == true && sizes(peer) == Some(6))
            });
        }
        self.row("seven hosts start", format!("42 paths up, {}", after(start)));
        for host in 1..=7 {
            let report = report(host);
            for other in (1..=7).filter(|other| *other != host) {
                let peer = peer(&report, other);
                let told = (peer["node"].as_str(), peer["zone"].as_str());
                let node = format!("h{other}");
                assert_eq!(told, (Some(node.as_str()), Some(hosts::zone(other))), "{peer}");
                assert_eq!(peer["path_mtu"], 1500, "{peer}");
            }
        }
        self.row("each server has its --node and --zone", "all 42 paths have both names".into());
    }

    fn one_joins(&mut self) {
        self.hosts.start_server(8);
        self.hosts.start_prober(8);
        self.hosts.name(8);
        let start = Instant::now();
        for host in 1..=HOSTS {
            wait(host, |report| peers(report).len() == 7 && all_up(report));
        }
        self.row("h8 joins", format!("56 paths up, {}", after(start)));
    }

    fn one_is_cut_off(&mut self) {
        self.hosts.set_cable(8, false);
        let start = Instant::now();
        for host in 1..=7 {
            wait(host, |report| peer(report, 8)["up"] == false);
        }
        let took = after(start);
        for host in 1..=7 {
            let report = report(host);
            let down = peers(&report).iter().filter(|peer| peer["up"] == false).count();
            assert_eq!(down, 1, "{report}");
            let metrics = get(&at(host), "/metrics").unwrap().1;
            let label = label(&report, 8);
            let up =
                format!("heartbeat_mesh_up{{peer=\"{label}\",zone=\"{}\"}} 0", zone(&report, 8));
            assert!(metrics.contains(&up), "{up}: {metrics}");
        }
        let error = peer(&report(1), 8)["last_error"].as_str().unwrap().to_owned();
        let text = error.split_once("Z: ").unwrap().1.to_owned();
        self.row("h8 is cut off", format!("7 of 7 say down, others up, {took}: {text}"));
        self.hosts.set_cable(8, true);
        let start = Instant::now();
        for host in 1..=HOSTS {
            wait(host, all_up);
        }
        self.row("h8 is connected again", format!("56 paths up, {}", after(start)));
    }

    fn one_restarts(&mut self) {
        let before: Vec<_> = (1..=HOSTS).map(|host| errors_of(host, 5)).collect();
        self.hosts.stop_server(5);
        self.hosts.start_server(5);
        for host in (1..=HOSTS).filter(|host| *host != 5) {
            wait(host, |report| all_up(report) && !is_leaving(peer(report, 5)));
        }
        let after: Vec<_> = (1..=HOSTS).map(|host| errors_of(host, 5)).collect();
        assert_eq!(before, after, "a drain is no error");
        self.row("h5's server drains and restarts", "7 of 7 say leaving, then up; no error".into());
    }

    /// Lasts a minute.
    fn dns_is_silent_while_one_loses_and_one_swallows(&mut self) {
        self.hosts.names.change(|zone| zone.is_silent = true);
        let silent_since = Instant::now();
        self.hosts.add_rule(7, "numgen random mod 100 < 5 drop");
        let start = Instant::now();
        for host in 1..=6 {
            wait(host, |report| loses_more_than_others(report, 7));
        }
        let seen: Vec<_> = (1..=6).map(|host| loss(peer(&report(host), 7)).unwrap()).collect();
        let (least, most) = bounds(&seen);
        let took = after(start);
        self.row(
            "h7 loses 5 % each way",
            format!("6 of 6 say {:.1} to {:.1} % sent again, {took}", least * 100.0, most * 100.0),
        );
        // Only the servers themselves know their retransmissions.
        let down: Vec<_> = (1..=6).map(|host| again(host, 7, "down")).collect();
        assert!(down.iter().all(|again| *again > 0), "{down:?}");
        let (least, most) = (down.iter().min().unwrap(), down.iter().max().unwrap());
        self.row(
            "what h7's server says itself (?timing)",
            format!("6 of 6 were told of {least} to {most} segments sent again"),
        );
        self.hosts.clear_rules();
        self.hosts.add_rule(6, "meta length > 1400 drop");
        let start = Instant::now();
        for host in (1..=HOSTS).filter(|host| *host != 6) {
            wait(host, |report| peer(report, 6)["black_hole"] == true);
        }
        for host in (1..=HOSTS).filter(|host| *host != 6) {
            let report = report(host);
            assert_eq!(peer(&report, 6)["up"], true, "{report}");
            let holes = peers(&report).iter().filter(|peer| peer["black_hole"] == true).count();
            assert_eq!(holes, 1, "{report}");
        }
        let took = after(start);
        self.row("h6 drops packets above 1400", format!("7 of 7 say black hole, and up, {took}"));
        self.hosts.clear_rules();
        for host in 1..=HOSTS {
            wait(host, |report| peers(report).iter().all(|peer| peer["black_hole"] == false));
        }
        self.large_packets_to_one_disappear();
        while silent_since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
        }
        for host in 1..=HOSTS {
            assert_eq!(peers(&report(host)).len(), 7);
            let (_, page) = get(&at(host), "/").unwrap();
            assert!(page.contains("no DNS server answered in time"), "{page}");
        }
        self.row("DNS is silent for a minute", "7 neighbours each, and the page says so".into());
        self.hosts.names.change(|zone| zone.is_silent = false);
        for host in 1..=HOSTS {
            wait_for(&at(host), "/", |page| !page.contains("no DNS server answered"));
        }
    }

    fn large_packets_to_one_disappear(&mut self) {
        self.hosts.add_rule_towards(3, "meta length > 1400 drop");
        let start = Instant::now();
        let ways = |peer: &Value| {
            [&peer["black_hole_down"], &peer["black_hole_up"]].map(|way| way == true)
        };
        for host in (1..=HOSTS).filter(|host| *host != 3) {
            wait(host, |report| ways(peer(report, 3)) == [false, true]);
        }
        wait(3, |report| peers(report).iter().all(|peer| ways(peer) == [true, false]));
        let (from, to) = (address(1), address(3));
        let pair = format!("/cluster?from={from}&to={to}");
        wait_for(&at(2), &pair, |page| {
            page.contains("From h1 to h3 they disappear: both nodes say so.")
                && page.contains("From h3 to h1 there is no sign of it.")
        });
        let took = after(start);
        self.row("large packets to h3 alone disappear", format!("8 of 8 say to h3, {took}"));
        self.hosts.clear_rules();
        for host in 1..=HOSTS {
            wait(host, |report| peers(report).iter().all(|peer| peer["black_hole"] == false));
        }
    }

    fn one_has_another_mtu(&mut self) {
        self.hosts.set_mtu(4, 1400);
        let start = Instant::now();
        for host in (1..=HOSTS).filter(|host| *host != 4) {
            wait(host, |report| peer(report, 4)["path_mtu"] == 1400);
        }
        let report = report(1);
        assert!(peers(&report).iter().filter(|peer| peer["path_mtu"] == 1400).count() == 1);
        self.row("h4's interface has MTU 1400", format!("7 of 7 say 1400, {}", after(start)));
    }

    fn the_pages_say_the_same(&mut self) {
        let cluster = wait_for(&at(1), "/cluster.json", |page| page.contains("\"nodes\""));
        let cluster: Value = serde_json::from_str(&cluster).unwrap();
        let nodes = cluster["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), usize::from(HOSTS));
        assert!(nodes.iter().all(|node| node["peers"].as_array().unwrap().len() == 7));
        let (_, page) = get(&at(1), "/cluster").unwrap();
        assert!(page.contains("title=\"h1 → h4: slow, lossy or odd"), "{page}");
        let (_, page) = get(&at(2), "/").unwrap();
        assert!(page.contains("the path MTU is 1400"), "{page}");
        let (memory, cpu) = cost(self.hosts.prober(1));
        self.row(
            "a prober of 7 neighbours, two asks a second",
            format!("{memory} KiB, {cpu} s CPU"),
        );
    }

    fn row(&mut self, done: &str, said: String) {
        self.rows.push((done.to_owned(), said));
    }
}

fn at(host: u8) -> String {
    format!("{}:8081", address(host))
}

fn wait(host: u8, wanted: impl Fn(&Value) -> bool) {
    wait_for(&at(host), "/mesh.json", |page| {
        serde_json::from_str(page).is_ok_and(|report| wanted(&report))
    });
}

fn report(host: u8) -> Value {
    serde_json::from_str(&get(&at(host), "/mesh.json").unwrap().1).unwrap()
}

fn peers(report: &Value) -> Vec<&Value> {
    report["peers"].as_array().map(|peers| peers.iter().collect()).unwrap_or_default()
}

fn peer(report: &Value, host: u8) -> &Value {
    let address = address(host).to_string();
    let found = peers(report).into_iter().find(|peer| peer["address"] == address.as_str());
    found.unwrap_or(&Value::Null)
}

fn label(report: &Value, host: u8) -> String {
    let node = peer(report, host)["node"].as_str().map(str::to_owned);
    node.unwrap_or_else(|| address(host).to_string())
}

fn zone(report: &Value, host: u8) -> String {
    peer(report, host)["zone"].as_str().unwrap_or_default().to_owned()
}

fn all_up(report: &Value) -> bool {
    peers(report).iter().all(|peer| peer["up"] == true)
}

fn is_leaving(peer: &Value) -> bool {
    peer["last_error"].as_str().is_some_and(|error| error.starts_with("is leaving"))
}

fn loss(peer: &Value) -> Option<f64> {
    let (again, sent) = (peer["retransmitted"].as_f64()?, peer["sent"].as_f64()?);
    (sent >= 100.0).then(|| again / sent)
}

/// Whether a host loses by far the most. A busy machine answers some segments so late that they are
/// retransmitted without having been lost; and what was sent to h8 while it was cut off was lost,
/// too.
fn loses_more_than_others(report: &Value, host: u8) -> bool {
    let odd = [host, 8].map(|host| peer(report, host));
    let others = peers(report).into_iter().filter(|other| !odd.contains(other)).filter_map(loss);
    let most = others.fold(0.0, f64::max);
    loss(peer(report, host)).is_some_and(|loss| loss >= 0.02 && loss >= 2.0 * most)
}

fn bounds(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(0.0, f64::max))
}

/// How many segments were retransmitted on the path from one host to another.
fn again(host: u8, of: u8, direction: &str) -> u64 {
    let name = "heartbeat_mesh_retransmitted_segments_total{";
    let labels = [format!("peer=\"h{of}\""), format!("direction=\"{direction}\"")];
    let (_, page) = get(&at(host), "/metrics").unwrap();
    let line = page.lines().find(|line| {
        line.starts_with(name) && labels.iter().all(|label| line.contains(label.as_str()))
    });
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// How many errors of a host a prober has counted.
fn errors_of(host: u8, of: u8) -> u64 {
    let label = format!("peer=\"{}\"", label(&report(host), of));
    let (_, page) = get(&at(host), "/metrics").unwrap();
    let of = page
        .lines()
        .filter(|line| line.starts_with("heartbeat_mesh_errors_total{") && line.contains(&label));
    of.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn after(start: Instant) -> String {
    format!("after {:.0} s", start.elapsed().as_secs_f64())
}

/// Resident memory in KiB, and seconds of CPU since the start of a process.
fn cost(process: u32) -> (u64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let memory = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime of proc(5), which follow the name, in hundredths of a second.
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    (memory, ticks as f64 / 100.0)
}

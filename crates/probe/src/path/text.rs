//! Prints a report for a terminal: at most 80 columns, one paragraph for each finding.

use std::fmt::Write;
use std::time::Duration;

use super::middle::BODIES;
use super::report::{Direction, Level, Report, Segments};
use super::verdict::{decimals, shown};
use crate::paragraph;

/// The whole report.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in facts(report) {
        push(&mut text, name, &value);
    }
    let table = table(report);
    if !table.is_empty() {
        let _ = writeln!(text, "\n{:INDENT$}{:<WIDTH$}up", "", "down");
        for (name, down, up) in table {
            let line = format!("  {name:<NAME$}{down:<WIDTH$}{up}");
            text.push_str(&(line.trim_end().to_owned() + "\n"));
        }
    }
    if !report.skipped.is_empty() {
        text.push('\n');
        for (what, why) in &report.skipped {
            push(&mut text, "skipped", &format!("{what}: {why}"));
        }
    }
    text.push('\n');
    for finding in &report.findings {
        let level = match finding.level {
            Level::Note => "note",
            Level::Warning => "WARNING",
            Level::Fault => "FAULT",
        };
        push(&mut text, level, &format!("{} [{}]", finding.text, finding.code));
        if let Some(remedy) = &finding.remedy {
            push(&mut text, "", remedy);
        }
    }
    let is_good = !report.findings.iter().any(|finding| finding.level > Level::Note);
    match (is_good, report.latency_us.p50) {
        (true, Some(_)) => push(&mut text, "ok", "Nothing is wrong with this path."),
        (true, None) => push(&mut text, "FAULT", "The path could not be measured."),
        (false, _) => {}
    }
    text
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = vec![("path to", report.url.clone())];
    let beside = &report.beside;
    for address in &report.addresses {
        let what = match (address.connect_us, &address.error) {
            (Some(us), _) => format!("connects in {}", shown(us)),
            (None, Some(error)) => error.clone(),
            (None, None) => String::new(),
        };
        let used = report.addresses.len() > 1 && beside.chosen.as_ref() == Some(&address.address);
        let mark = if used { " (used here)" } else { "" };
        facts.push(("address", format!("{}: {what}{mark}", address.address)));
    }
    if let Some(time) = beside.resolve {
        facts.push(("name", format!("resolves in {}", span(time))));
    }
    facts.extend(server(report).map(|server| ("server", server)));
    facts.extend(protocol(report).map(|protocol| ("protocol", protocol)));
    facts.extend(middle(report).map(|middle| ("between", middle)));
    facts.extend(latency(report));
    let used = report.bytes_used;
    if used > 0 {
        facts.push(("used", format!("{} sent and received", size(used))));
    }
    facts
}

fn server(report: &Report) -> Option<String> {
    let Some(server) = &report.server else {
        return report.beside.is_identified.then(|| "not a Heartbeat".to_owned());
    };
    let mut text = server.product.clone().unwrap_or_default();
    if let Some(version) = &server.version {
        let _ = write!(text, " {version}");
    }
    for (name, value) in [("node", &server.node), ("zone", &server.zone)] {
        if let Some(value) = value {
            let _ = write!(text, ", {name} {value}");
        }
    }
    if let (Some(driver), Some(send)) = (&server.driver, &server.send) {
        let _ = write!(text, " ({driver}, {send})");
    }
    Some(text)
}

fn protocol(report: &Report) -> Option<String> {
    let mut text = report.http_version.clone()?;
    match &report.tls {
        None => text += ", no TLS",
        Some(tls) => {
            let _ = write!(text, ", {}", tls.version.as_deref().unwrap_or("TLS"));
            if let Some(expires) = &tls.expires {
                // With the time of day, the line would not fit.
                let day = expires.split('T').next().unwrap_or_default();
                let _ = write!(text, ", certificate until {day}");
            }
            text += if tls.trusted { ", trusted" } else { ", not trusted" };
        }
    }
    Some(text)
}

fn middle(report: &Report) -> Option<String> {
    report.beside.chosen.as_ref()?;
    let middle = &report.middle;
    let mut parts: Vec<String> = middle.via.iter().cloned().collect();
    parts.extend(report.beside.rewritten.iter().cloned());
    let says = |flag: Option<bool>, text: &str| flag.unwrap_or(false).then(|| text.to_owned());
    parts.extend(says(middle.compresses, "compresses"));
    parts.extend(says(middle.buffers_uploads, "buffers uploads"));
    parts.extend(says(middle.expect.map(|handled| !handled), "ignores Expect"));
    parts.extend(middle.body_max.map(|bytes| match bytes {
        0 => format!("no bodies of {} MB", BODIES[0] >> 20),
        bytes => format!("accepts bodies of {} MB", bytes >> 20),
    }));
    if parts.is_empty() && !report.is_heartbeat() {
        return None;
    }
    if report.beside.is_direct {
        parts.insert(0, "no proxy seen".to_owned());
    }
    Some(parts.join("; "))
}

fn latency(report: &Report) -> Vec<(&'static str, String)> {
    let latency = &report.latency_us;
    let mut facts = Vec::new();
    if let (Some(p50), Some(p99)) = (latency.p50, latency.p99) {
        let jitter = latency.jitter.map_or(String::new(), |us| format!(", jitter {}", shown(us)));
        let requests = report.beside.requests;
        let (p50_text, p99) = (shown(p50), shown(p99));
        let text = format!("p50 {p50_text}, p99 {p99}{jitter} ({requests} small requests)");
        facts.push(("latency", text));
        facts.extend(sum(report, p50).map(|sum| ("", sum)));
    }
    if let Some(us) = latency.rtt_client {
        let there = latency.rtt_server.map(|us| match report.beside.is_direct {
            true => format!(", {} by the server's", shown(us)),
            // The server's connection ends at the proxy.
            false => format!(", {} from server to proxy", shown(us)),
        });
        let there = there.unwrap_or_default();
        facts.push(("round trip", format!("{} by this kernel's account{there}", shown(us))));
    }
    if let Some(opening) = &report.beside.opening {
        let phases = [
            ("name", report.beside.resolve),
            ("connect", Some(opening.connect)),
            ("TLS", opening.tls),
            ("answer", Some(opening.answer)),
        ];
        let known: Vec<_> = phases.iter().filter_map(|(n, time)| Some((*n, (*time)?))).collect();
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let grid = Grid::of(known.iter().map(|(_, time)| us(*time)).sum());
        let parts = known.iter().map(|(name, time)| (*name, grid.steps(us(*time))));
        let parts: Vec<_> = parts.collect();
        let total = parts.iter().map(|(_, steps)| steps).sum();
        facts.push(("new", format!("{} ms = {}", grid.shown(total), grid.addends(&parts))));
    }
    facts
}

/// The median as a sum: the server's share, if it is known, the network's, and the rest.
fn sum(report: &Report, p50: f64) -> Option<String> {
    let latency = &report.latency_us;
    let grid = Grid::of(p50);
    let total = grid.steps(p50);
    let server = latency.server.map(|us| grid.steps(us).min(total));
    // The kernel's time ends with the acknowledgement. The answer carries it, so the time includes
    // the server's share.
    let network = latency.rtt_client? - latency.server.unwrap_or_default();
    let network = grid.steps(network).min(total - server.unwrap_or_default());
    let rest = total - server.unwrap_or_default() - network;
    let has_proxies = report.is_heartbeat() && !report.beside.is_direct;
    let name = match (server, has_proxies) {
        (Some(_), false) => "network",
        (Some(_), true) => "network and proxies",
        (None, false) => "network and server",
        (None, true) => "network, proxies and server",
    };
    let mut parts = vec![(name, network), ("software", rest)];
    if let Some(server) = server {
        parts.insert(0, ("server", server));
    }
    Some(format!("= {}", grid.addends(&parts)))
}

/// The steps between times as they are shown. Parts of a time are rounded to the steps of the
/// whole, so that the figures add up.
struct Grid {
    decimals: usize,
}

impl Grid {
    fn of(total_us: f64) -> Self {
        Self { decimals: decimals(total_us) }
    }

    fn step_us(&self) -> f64 {
        10f64.powi(3 - self.decimals as i32)
    }

    fn steps(&self, us: f64) -> u64 {
        (us.max(0.0) / self.step_us()).round() as u64
    }

    fn shown(&self, steps: u64) -> String {
        format!("{:.*}", self.decimals, steps as f64 * self.step_us() / 1e3)
    }

    /// The unit stands only at the end, so that the longest sum fits into a line.
    fn addends(&self, parts: &[(&str, u64)]) -> String {
        let parts = parts.iter().map(|(name, steps)| format!("{name} {}", self.shown(*steps)));
        parts.collect::<Vec<_>>().join(" + ") + " ms"
    }
}

type Row = (&'static str, String, String);

fn table(report: &Report) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |name: &'static str, cell: &dyn Fn(Direction) -> Option<String>| {
        let (down, up) = (cell(Direction::Down), cell(Direction::Up));
        if down.is_some() || up.is_some() {
            let shown = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
            rows.push((name, shown(down), shown(up)));
        }
    };
    row("packets", &|direction| {
        let packets = report.mtu.of(direction);
        let hole = if packets.black_hole == Some(true) { ", larger vanish" } else { "" };
        match packets.largest {
            Some(largest) => Some(format!("up to {largest} bytes{hole}")),
            None => packets.black_hole.map(|_| "none passes".to_owned()),
        }
    });
    row("path MTU", &|direction| {
        report.mtu.of(direction).path_mtu.map(|mtu| format!("{mtu} by the kernel"))
    });
    let rates = &report.throughput_bps;
    row("1 stream", &|direction| match direction {
        Direction::Down => rates.down_1.map(rate),
        Direction::Up => rates.up_1.map(rate),
    });
    row("8 streams", &|direction| match direction {
        Direction::Down => rates.down_8.map(rate),
        Direction::Up => rates.up_8.map(rate),
    });
    row("sent again", &|direction| share(report.retransmitted.of(direction)));
    row("  calmly", &|direction| share(report.beside.calm.of(direction)));
    row("under load", &|direction| {
        let loaded = report.loaded_latency_us.of(direction);
        Some(format!("p50 {}, p99 {}", shown(loaded.p50?), shown(loaded.p99?)))
    });
    row("", &|direction| report.rpm.of(direction).map(|rpm| format!("{rpm} round trips/min")));
    rows
}

fn share(segments: &Segments) -> Option<String> {
    let (again, sent) = (segments.segments?, segments.sent?);
    let percent = again as f64 * 100.0 / (sent as f64).max(1.0);
    Some(format!("{again} of {sent} ({percent:.2} %)"))
}

fn rate(bits_per_second: u64) -> String {
    match bits_per_second as f64 {
        bits if bits >= 10e9 => format!("{:.1} Gbit/s", bits / 1e9),
        bits if bits >= 1e9 => format!("{:.2} Gbit/s", bits / 1e9),
        bits if bits >= 100e6 => format!("{:.0} Mbit/s", bits / 1e6),
        bits if bits >= 1e6 => format!("{:.1} Mbit/s", bits / 1e6),
        bits => format!("{:.0} kbit/s", bits / 1e3),
    }
}

/// In the units of `--max-bytes`, which are binary.
fn size(bytes: u64) -> String {
    match bytes {
        ..MB => format!("{:.0} KB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MB", bytes as f64 / MB as f64),
    }
}

fn span(time: Duration) -> String {
    shown(time.as_secs_f64() * 1e6)
}

/// Adds a line that begins with a name; it continues on further lines if it is too long.
fn push(text: &mut String, name: &str, value: &str) {
    paragraph::add(text, &format!("  {name:<NAME$}"), INDENT, value);
}

const NAME: usize = 11;
const INDENT: usize = NAME + 2;
/// The width of the column of one direction.
const WIDTH: usize = 33;
const MB: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paragraph::COLUMNS;
    use crate::path::report::{
        Address, Finding, Latency, Opening, Packets, Quantiles, Server, Throughput, TlsFacts,
    };

    fn report() -> Report {
        let packets = Packets {
            mss: Some(65_483),
            path_mtu: Some(65_535),
            largest: Some(65_535),
            black_hole: Some(true),
        };
        let loaded = Quantiles { p50: Some(12_345_678.0), p99: Some(23_456_789.0) };
        let segments = Segments { segments: Some(123_456), sent: Some(1_234_567) };
        let gigabits = Some(123_456_789_012);
        let mut report = Report {
            url: format!("http://{}/", "long.".repeat(40)),
            server: Some(Server { product: Some("heartbeat".to_owned()), ..Server::default() }),
            addresses: vec![Address::default(); 2],
            throughput_bps: Throughput {
                down_8: gigabits,
                up_1: gigabits,
                ..Throughput::default()
            },
            ..Report::default()
        };
        (report.mtu.down, report.mtu.up) = (packets, packets);
        (report.loaded_latency_us.down, report.loaded_latency_us.up) = (loaded, loaded);
        (report.retransmitted.down, report.retransmitted.up) = (segments, segments);
        report.findings.push(Finding {
            level: Level::Fault,
            code: "mtu-black-hole-down",
            text: "words ".repeat(60),
            remedy: Some("do ".repeat(60)),
        });
        report.skip("one thing", "because ".repeat(30));
        report
    }

    #[test]
    fn no_line_is_longer_than_80_columns() {
        let text = render(&report());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert_eq!(line.trim_end(), line);
        }
        assert!(text.contains("FAULT      words words"), "{text}");
        assert!(!text.contains("Nothing is wrong"), "{text}");
    }

    #[test]
    fn a_path_without_findings_is_good() {
        let mut report = Report::default();
        assert!(render(&report).contains("  FAULT      The path could not be measured"));
        report.latency_us.p50 = Some(1.0);
        assert!(render(&report).contains("  ok         Nothing is wrong"));
    }

    #[test]
    fn the_median_is_a_sum() {
        let mut report = Report { server: Some(Server::default()), ..Report::default() };
        report.beside.is_direct = true;
        report.latency_us.server = Some(10.0);
        report.latency_us.rtt_client = Some(70.0);
        let text = sum(&report, 100.0).unwrap();
        assert_eq!(text, "= server 0.010 + network 0.060 + software 0.030 ms");
        report.beside.is_direct = false;
        let text = sum(&report, 100.0).unwrap();
        assert_eq!(text, "= server 0.010 + network and proxies 0.060 + software 0.030 ms");
        report.latency_us.server = None;
        let text = sum(&report, 100.0).unwrap();
        assert_eq!(text, "= network, proxies and server 0.070 + software 0.030 ms");
        report.server = None;
        let text = sum(&report, 100.0).unwrap();
        assert_eq!(text, "= network and server 0.070 + software 0.030 ms");
    }

    #[test]
    fn the_parts_of_a_time_add_up_as_they_are_shown() {
        let figures = |text: &str| {
            let words = text.split(' ').filter_map(|word| word.parse::<f64>().ok());
            words.map(|ms| (ms * 1000.0).round() as i64).collect::<Vec<_>>()
        };
        for (p50, server, rtt) in [
            (53.0, 0.6, 66.0),
            (53.4, 0.5, 53.0),
            (999.6, 333.4, 666.6),
            (20_444.0, 12.4, 20_343.0),
            (141_400.0, 12.0, 123_456.0),
            (10.0, 20.0, 5.0),
        ] {
            let latency_us =
                Latency { server: Some(server), rtt_client: Some(rtt), ..Latency::default() };
            let report = Report { latency_us, ..Report::default() };
            let total = figures(&shown(p50))[0];
            let text = sum(&report, p50).unwrap();
            assert_eq!(figures(&text).iter().sum::<i64>(), total, "{p50}: {text}");
        }
        let mut report = Report::default();
        let ns = |ns| Duration::from_nanos(ns);
        report.beside.resolve = Some(ns(1_234_400));
        let (connect, answer) = (ns(20_004_400), ns(20_104_400));
        report.beside.opening = Some(Opening { connect, tls: Some(ns(41_004_400)), answer });
        let (_, text) = latency(&report).pop().unwrap();
        let figures = figures(&text);
        assert_eq!(figures[1..].iter().sum::<i64>(), figures[0], "{text}");
    }

    #[test]
    fn a_servers_round_trips_behind_a_proxy_are_those_to_the_proxy() {
        let mut report = Report::default();
        (report.latency_us.rtt_client, report.latency_us.rtt_server) = (Some(66.0), Some(74.0));
        let text = |report: &Report| latency(report)[0].1.clone();
        assert!(text(&report).ends_with(", 0.074 ms from server to proxy"));
        report.beside.is_direct = true;
        assert!(text(&report).ends_with(", 0.074 ms by the server's"));
    }

    #[test]
    fn a_proxy_that_accepts_no_body_is_said_to() {
        let mut report = Report::default();
        report.beside.chosen = Some(String::new());
        report.middle.body_max = Some(0);
        assert_eq!(middle(&report).unwrap(), "no bodies of 1 MB");
        report.middle.body_max = Some(10 << 20);
        assert_eq!(middle(&report).unwrap(), "accepts bodies of 10 MB");
    }

    #[test]
    fn the_lines_about_tls_and_proxies_fit_into_one_line_each() {
        let tls = TlsFacts {
            version: Some("TLSv1.3".to_owned()),
            expires: Some("2027-02-26T15:07:01Z".to_owned()),
            ..TlsFacts::default()
        };
        let http_version = Some("HTTP/1.1".to_owned());
        let mut report = Report { http_version, tls: Some(tls), ..Report::default() };
        report.server = Some(Server::default());
        let text = protocol(&report).unwrap();
        assert_eq!(text, "HTTP/1.1, TLSv1.3, certificate until 2027-02-26, not trusted");
        let time = Duration::from_micros(99_990);
        report.beside.resolve = Some(Duration::from_nanos(10));
        report.beside.opening = Some(Opening { connect: time, tls: Some(time), answer: time });
        for us in [999.0, 99_990.0, 100_000.0] {
            (report.latency_us.p50, report.latency_us.p99) = (Some(us), Some(us));
            (report.latency_us.rtt_client, report.latency_us.rtt_server) = (Some(us), Some(us));
            for server in [None, Some(us)] {
                report.latency_us.server = server;
                for (_, line) in latency(&report) {
                    assert!(line.chars().count() + INDENT <= COLUMNS, "{line}");
                }
            }
        }
    }

    #[test]
    fn sizes_have_the_units_of_the_limit() {
        assert_eq!([size(1 << 20), size(256 << 20)], ["1.0 MB", "256.0 MB"]);
        assert_eq!(size((1 << 20) - 1), "1024 KB");
    }

    #[test]
    fn rates_have_three_digits() {
        assert_eq!(rate(941_000_000), "941 Mbit/s");
        assert_eq!(rate(19_100_000), "19.1 Mbit/s");
        assert_eq!(rate(9_410_000_000), "9.41 Gbit/s");
        assert_eq!(rate(64_000), "64 kbit/s");
    }
}

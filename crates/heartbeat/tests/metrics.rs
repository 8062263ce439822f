//! The text of a scrape, checked against the exposition format, the names of the contract and the
//! requests that were sent, and by Prometheus's own tool if it is installed.

mod binary;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use binary::{drivers, is_emulated, not_tested, start};
use heartbeat_testkit::{Program, eventually, request};

/// Most series of a node.
const SERIES_MAX: usize = 90;

/// Requests of each client.
const REQUESTS: usize = 500;
const CLIENTS: usize = 4;

const DURATION: &str = "heartbeat_http_request_duration_seconds";

/// The metrics from TCP_INFO. They are missing if the kernel does not report it.
const TCP_INFO_NAMES: [&str; 2] = ["heartbeat_tcp_rtt_seconds", "heartbeat_tcp_path_mtu_bytes"];

/// The families that every scrape has.
const NAMES: [&str; 22] = [
    "heartbeat_build_info",
    "heartbeat_io_info",
    "heartbeat_threads",
    "heartbeat_http_requests_total",
    DURATION,
    "heartbeat_http_response_body_bytes_total",
    "heartbeat_http_request_body_bytes_total",
    "heartbeat_connections",
    "heartbeat_connections_total",
    "heartbeat_connection_ends_total",
    "heartbeat_log_lines_dropped_total",
    "heartbeat_draining",
    "heartbeat_tcp_segments_sent_total",
    "heartbeat_tcp_segments_retransmitted_total",
    "heartbeat_tcp_rtt_seconds",
    "heartbeat_tcp_path_mtu_bytes",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
];

/// A metric family.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

type Families = BTreeMap<String, Family>;

/// Parses the text as strictly as the format is written down: each family in one piece, its HELP
/// and TYPE before its samples, no series twice.
#[track_caller]
fn parse(text: &str) -> Families {
    assert!(text.ends_with('\n'), "no newline at the end");
    let mut families = Families::new();
    let (mut helped, mut current) = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a text of help");
            assert!(!help.is_empty() && !families.contains_key(name), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "TYPE follows HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name.to_owned();
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            assert!(families.insert(current.clone(), family).is_none(), "{line}");
        } else {
            let sample = parse_sample(line);
            let (series, _) = line.rsplit_once(' ').expect("a value");
            assert!(seen.insert(series.to_owned()), "twice: {line}");
            let family = families.get_mut(&current).expect("HELP and TYPE come first");
            let suffix = sample.name.strip_prefix(&current).expect("a sample of its family");
            let is_part = ["_bucket", "_sum", "_count"].contains(&suffix);
            assert!(if family.kind == "histogram" { is_part } else { suffix.is_empty() }, "{line}");
            family.samples.push(sample);
        }
    }
    families
}

#[track_caller]
fn parse_sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let is_name = |text: &str| {
        text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
    };
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    for label in rest.strip_suffix('}').expect("a brace").split_terminator(',') {
        let (label, text) = label.split_once('=').expect("a label");
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let text = text.expect("quotes");
        // No label of this program needs an escape or holds a comma.
        assert!(is_name(label) && !text.contains(['"', '\\', '\n']), "{line}");
        assert!(labels.insert(label.to_owned(), text.to_owned()).is_none(), "{line}");
    }
    let value = value.parse().expect("a number");
    Sample { name: name.to_owned(), labels, value }
}

/// Checks that no bucket counts less than the one before, that the bucket +Inf equals the count,
/// and that there is a sum.
#[track_caller]
fn check_histogram(family: &Family) {
    let mut sizes: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        sizes.entry(&sample.labels["size"]).or_default().push(sample);
    }
    for (size, samples) in sizes {
        let buckets: Vec<_> = samples
            .iter()
            .filter(|sample| sample.name.ends_with("_bucket"))
            .map(|sample| {
                let bound = sample.labels["le"].replace("+Inf", "inf");
                (bound.parse::<f64>().expect("a bound"), sample.value)
            })
            .collect();
        let one = |suffix: &str| {
            let found: Vec<_> =
                samples.iter().filter(|sample| sample.name.ends_with(suffix)).collect();
            assert_eq!(found.len(), 1, "{suffix} of {size}");
            found[0].value
        };
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{size}: {buckets:?}");
        let (first, last) = (buckets[0], buckets[buckets.len() - 1]);
        assert!((first.0 - 1e-5).abs() < f64::EPSILON, "{size}: from 10 us");
        assert!((buckets[buckets.len() - 2].0 - 10.0).abs() < f64::EPSILON, "{size}: to 10 s");
        assert!(last.0.is_infinite() && same(last.1, one("_count")), "{size}: {buckets:?}");
        assert!(one("_sum") >= 0.0 && one("_count") > 0.0, "{size}");
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.5
}

fn scrape(program: &Program) -> String {
    let (head, text) = program.get_text("/metrics");
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(head.field("Content-Type"), Some(media_type), "{}", head.text);
    text
}

/// The value of a series, its labels in any order; none if there is no such series.
fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family =
        families.values().find(|family| family.samples.iter().any(|sample| sample.name == name))?;
    let wanted: BTreeMap<_, _> =
        labels.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let sample =
        family.samples.iter().find(|sample| sample.name == name && sample.labels == wanted)?;
    Some(sample.value)
}

/// A program after everything that a node sees on a normal day.
fn after_a_normal_day(driver: &str) -> Program {
    let program = start(driver, &["--threads", "2"]);
    let mut peer = program.connect();
    // The baseline file of WebV's fleets.
    for (path, status) in [
        ("/heartbeat/1048577", 400),
        ("/heartbeat/0", 400),
        ("/heartbeat/1024", 200),
        ("/heartbeat/65536", 200),
        ("/heartbeat/1048576", 200),
        ("/heartbeat/17", 200),
        ("/", 301),
        ("/favicon.ico", 404),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/heartbeat/healthz", 200),
        ("/version", 200),
        ("/version?format=json", 200),
        ("/metrics", 200),
    ] {
        assert_eq!(peer.get_text(path).0.status, status, "{path}");
    }
    let upload = "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789";
    peer.send(upload);
    assert_eq!(peer.answer().status, 200);
    drop(peer);
    eventually("it is over", || program.metric("heartbeat_connections") < 2.0);
    program
}

#[test]
fn a_scrape_keeps_to_the_format_and_has_every_name() {
    for driver in drivers() {
        let program = after_a_normal_day(driver);
        let families = parse(&scrape(&program));
        for name in NAMES {
            if is_emulated() && TCP_INFO_NAMES.contains(&name) {
                not_tested(&format!("{name}, since the emulator has no TCP_INFO"));
                continue;
            }
            assert!(families.get(name).is_some_and(|it| !it.samples.is_empty()), "no {name}");
        }
        let known = |name: &String| {
            NAMES.contains(&name.as_str()) || name == "heartbeat_zerocopy_sends_total"
        };
        assert!(families.keys().all(known), "{:?}", families.keys());
        check_histogram(&families[DURATION]);
        let labels = |name: &str| -> Vec<String> {
            families[name].samples[0].labels.keys().cloned().collect()
        };
        assert_eq!(labels("heartbeat_build_info"), ["revision", "version"]);
        assert_eq!(labels("heartbeat_io_info"), ["driver", "reason", "send"]);
        assert_eq!(labels("heartbeat_http_requests_total"), ["code", "route"]);
        assert_eq!(labels("heartbeat_connection_ends_total"), ["reason"]);
        assert_eq!(value(&families, "heartbeat_threads", &[]), Some(2.0));
        assert_eq!(value(&families, "heartbeat_draining", &[]), Some(0.0));
    }
}

#[test]
fn a_normal_day_makes_no_more_series_than_a_node_may_have() {
    for driver in drivers() {
        let program = after_a_normal_day(driver);
        let families = parse(&scrape(&program));
        let series: usize = families.values().map(|family| family.samples.len()).sum();
        assert!(series <= SERIES_MAX, "{series} series: {families:#?}");
    }
}

#[test]
fn the_sums_over_two_workers_are_exact() {
    for driver in drivers() {
        let program = start(driver, &["--threads", "2"]);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..REQUESTS / 20 {
                        let mut peer = program.connect();
                        peer.send(request("GET", "/heartbeat/17").repeat(20));
                        for _ in 0..20 {
                            assert!(peer.answer().is_payload(17));
                        }
                    }
                    assert!(program.get("/heartbeat/65536").is_payload(65536));
                    assert_eq!(program.get("/heartbeat/x").status, 400);
                });
            }
        });
        check_sums(&program);
    }
}

/// Checks the exact sums. They may be complete only a moment later, because a worker counts an
/// answer after it has sent it, and another worker may answer the scrape.
#[track_caller]
fn check_sums(program: &Program) {
    let (clients, requests) = (CLIENTS as f64, (CLIENTS * REQUESTS) as f64);
    let total = |families: &Families, route: &str, code: &str| {
        let labels = [("route", route), ("code", code)];
        value(families, "heartbeat_http_requests_total", &labels)
    };
    let (mut families, mut scrapes) = (Families::new(), 0.0);
    eventually("every answer is counted", || {
        families = parse(&scrape(program));
        scrapes += 1.0;
        total(&families, "heartbeat", "200") == Some(requests + clients)
            // A path below the prefix that names no size belongs to the route `other`.
            && total(&families, "other", "400") == Some(clients)
            && value(&families, "heartbeat_connections", &[]) == Some(1.0)
    });
    let count = |size: &str| value(&families, &format!("{DURATION}_count"), &[("size", size)]);
    assert_eq!((count("1k"), count("64k")), (Some(requests), Some(clients)));
    assert_eq!((count("1m"), count("64m"), count("1g")), (None, None, None));
    let opened = clients * (REQUESTS / 20 + 2) as f64 + scrapes;
    assert_eq!(value(&families, "heartbeat_connections_total", &[]), Some(opened));
    let sent = value(&families, "heartbeat_http_response_body_bytes_total", &[]);
    assert!(sent.is_some_and(|sent| sent >= requests * 17.0 + clients * 65536.0), "{sent:?}");
}

#[test]
fn what_was_moved_of_messages_that_do_not_end_is_counted() {
    const SENT: &str = "heartbeat_http_response_body_bytes_total";
    const RECEIVED: &str = "heartbeat_http_request_body_bytes_total";
    const PART: usize = 10_000_000;
    for driver in drivers() {
        let program = start(driver, &["--threads", "1", "--max", "1G"]);
        let mut peer = program.connect();
        let head = format!(
            "POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            2 * PART
        );
        peer.send(&head);
        peer.try_send_pattern(PART).expect("half of a body");
        drop(peer);
        eventually("bytes of an aborted upload count", || program.metric(RECEIVED) > 0.0);
        let mut peer = program.connect();
        peer.send(request("GET", "/heartbeat/1000000000"));
        assert_eq!(peer.head().status, 200);
        peer.payload(PART as u64);
        drop(peer);
        eventually("bytes of an aborted answer count", || program.metric(SENT) >= PART as f64);
        assert!(program.metric(SENT) < 1e9);
        assert!((program.metric(RECEIVED) - PART as f64).abs() < f64::EPSILON);
    }
}

/// `promtool` is in Debian's package prometheus.
#[test]
fn promtool_finds_no_problem() {
    let promtool = |text: &str| {
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().expect("a pipe").write_all(text.as_bytes())?;
        child.wait_with_output()
    };
    for driver in drivers() {
        let program = after_a_normal_day(driver);
        match promtool(&scrape(&program)) {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                assert!(output.status.success() && said.trim().is_empty(), "{said}");
            }
            Err(error) => {
                not_tested(&format!("promtool: {error}"));
                return;
            }
        }
    }
}

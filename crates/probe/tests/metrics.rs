//! The page of metrics, parsed as strictly as Prometheus does, and the pages beside it.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;
mod stub;

use std::collections::{BTreeMap, HashMap};

use process::{Background, Folder, free_port, get, program, request, wait_for};
use stub::{Reply, Stub, answer};

const FILE: &str = r#"{"requests": [
    {"path": "/good", "validation": {}},
    {"path": "/tagged", "tag": "a \"tag\"", "validation": {}},
    {"path": "/missing", "validation": {}},
    {"path": "/moved", "validation": {"statusCode": 301}},
    {"path": "/busy", "validation": {"statusCode": 429}},
    {"path": "/broken", "validation": {}}]}"#;

fn documents() -> Stub {
    Stub::start(|seen| match seen.path.as_str() {
        "/missing" => Reply::Raw(answer(404, "", "")),
        "/moved" => Reply::Raw(answer(301, "", "")),
        "/busy" => Reply::Raw(answer(429, "", "")),
        "/broken" => Reply::RawClose(Vec::new()),
        _ => Reply::Raw(answer(200, "application/json", "{}")),
    })
}

struct Probe {
    _background: Background,
    _folder: Folder,
    port: u16,
}

fn start(stub: &Stub, more: &[&str]) -> Probe {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string()]);
    command.args(["-l", "5", "-g", "None"]).args(more);
    Probe { _background: Background::start(&mut command), _folder: folder, port }
}

type Labels = BTreeMap<String, String>;

struct Page {
    types: HashMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Page {
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut page = Self { types: HashMap::new(), samples: Vec::new() };
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let twice = page.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} has two types");
            } else if !line.starts_with("# HELP ") {
                page.samples.push(sample(line));
            }
        }
        for (name, labels, _) in &page.samples {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| page.types.contains_key(*family))
                .unwrap_or(name);
            assert!(page.types.contains_key(family), "{name} has no type");
            let same = |other: &&(String, Labels, f64)| other.0 == *name && other.1 == *labels;
            assert_eq!(page.samples.iter().filter(same).count(), 1, "{name} {labels:?}");
        }
        page
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matches = |have: &Labels| {
            labels.iter().all(|(name, value)| have.get(*name).is_some_and(|text| text == value))
        };
        let found = self.samples.iter().find(|(have, own, _)| have == name && matches(own))?;
        Some(found.2)
    }

    fn label_names(&self, name: &str) -> Vec<String> {
        let (_, labels, _) = self.samples.iter().find(|(have, ..)| have == name).unwrap();
        labels.keys().cloned().collect()
    }

    fn buckets(&self, name: &str) -> Vec<String> {
        let name = format!("{name}_bucket");
        let mut series: BTreeMap<Vec<String>, Vec<(String, f64)>> = BTreeMap::new();
        for (_, labels, value) in self.samples.iter().filter(|(have, ..)| *have == name) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap();
            series.entry(labels.into_values().collect()).or_default().push((bound, *value));
        }
        for buckets in series.values() {
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
        }
        let first = series.into_values().next().unwrap();
        first.into_iter().map(|(bound, _)| bound).collect()
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, rest)) = series.split_once('{') else {
        return (series.to_owned(), Labels::new(), value);
    };
    let rest = rest.strip_suffix('}').unwrap();
    let mut labels = Labels::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").unwrap();
        let end = (0..after.len())
            .find(|end| after[*end..].starts_with('"') && !after[..*end].ends_with('\\'))
            .unwrap();
        labels.insert(label.to_owned(), after[..end].replace("\\\"", "\""));
        rest = after[end + 1..].trim_start_matches(',');
    }
    (name.to_owned(), labels, value)
}

const PATHS: [&str; 6] = ["/good", "a \"tag\"", "/missing", "/moved", "/busy", "/broken"];

// The page once each request of the file was answered at least twice.
fn page(probe: &Probe) -> Page {
    let name = "heartbeat_probe_request_duration_seconds_count";
    let text = wait_for(probe.port, |text| {
        let page = Page::parse(text);
        let is_counted = |path| page.value(name, &[("path", path)]).is_some_and(|n| n >= 2.0);
        PATHS.into_iter().all(is_counted)
    });
    Page::parse(&text)
}

#[test]
fn the_metrics_of_webv_have_their_labels() {
    let stub = documents();
    let probe = start(&stub, &[]);
    let page = page(&probe);
    assert_eq!(page.types["WebVDuration"], "histogram");
    assert_eq!(page.types["WebVSummary"], "summary");
    assert_eq!(page.label_names("WebVDuration_count"), ["failed", "server", "status"]);
    let bounds = ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "+Inf"];
    assert_eq!(page.buckets("WebVDuration"), bounds);
    for (status, failed) in [
        ("OK", "False"),
        ("Warn", "True"),
        ("Redirect", "False"),
        ("Retry", "False"),
        ("Error", "True"),
    ] {
        let url = stub.url();
        let labels = [("status", status), ("failed", failed), ("server", url.as_str())];
        let count = page.value("WebVDuration_count", &labels).unwrap();
        assert!(count >= 2.0, "{status}");
        assert_eq!(page.value("WebVSummary_count", &labels), Some(count));
        assert_eq!(page.value("WebVSummary_sum", &labels), page.value("WebVDuration_sum", &labels));
        for quantile in ["0.9", "0.95", "0.99", "1"] {
            let labels = [&labels[..], &[("quantile", quantile)]].concat();
            assert!(page.value("WebVSummary", &labels).unwrap() > 0.0, "{status} {quantile}");
        }
    }
}

#[test]
fn region_and_zone_are_labels_only_if_they_are_set() {
    let probe = start(&documents(), &["--region", "dev", "--zone", "z1"]);
    let page = page(&probe);
    for name in ["WebVDuration_count", "WebVSummary_count"] {
        assert_eq!(page.label_names(name), ["failed", "region", "server", "status", "zone"]);
        assert!(page.value(name, &[("region", "dev"), ("zone", "z1")]).is_some());
    }
}

#[test]
fn durations_and_phases_are_in_seconds_by_path_and_class() {
    let stub = documents();
    let probe = start(&stub, &[]);
    let page = page(&probe);
    let name = "heartbeat_probe_request_duration_seconds";
    let buckets = page.buckets(name);
    assert_eq!(buckets.len(), 26);
    assert_eq!(buckets[..5], ["0.00001", "0.00002", "0.00003", "0.00005", "0.0001"]);
    assert_eq!(buckets[20..], ["1", "2", "3", "5", "10", "+Inf"]);
    let phases = ["0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "10", "+Inf"];
    assert_eq!(page.buckets("heartbeat_probe_phase_duration_seconds"), phases);
    assert_eq!(page.label_names(&format!("{name}_count")), ["path", "server", "status"]);
    for (path, status) in [
        ("/good", "2xx"),
        ("a \"tag\"", "2xx"),
        ("/missing", "4xx"),
        ("/moved", "3xx"),
        ("/broken", "none"),
    ] {
        let count = page.value(&format!("{name}_count"), &[("path", path), ("status", status)]);
        assert!(count.is_some_and(|count| count >= 2.0), "{path} {status}");
        let sum = page.value(&format!("{name}_sum"), &[("path", path)]).unwrap();
        assert!(sum > 0.0 && sum < 60.0, "{path} {sum}");
    }
    let phases = "heartbeat_probe_phase_duration_seconds_count";
    for phase in ["connect", "first_byte", "transfer"] {
        assert!(page.value(phases, &[("phase", phase)]).is_some_and(|n| n >= 1.0), "{phase}");
    }
    // The server is an address, and does not speak TLS.
    for phase in ["resolve", "tls"] {
        assert_eq!(page.value(phases, &[("phase", phase)]), None);
    }
}

#[test]
fn buckets_are_those_of_the_user() {
    let probe = start(&documents(), &["--buckets", "0.002,0.25"]);
    let name = "heartbeat_probe_request_duration_seconds";
    assert_eq!(page(&probe).buckets(name), ["0.002", "0.25", "+Inf"]);
}

#[test]
fn only_the_metrics_of_webv_are_served_if_asked_for() {
    let probe = start(&documents(), &["--metrics", "webv"]);
    let text = wait_for(probe.port, |text| text.contains("status=\"Redirect\""));
    let page = Page::parse(&text);
    for name in page.types.keys() {
        let of_webv = name.starts_with("WebV") || name.starts_with("process_");
        assert!(of_webv || name == "heartbeat_probe_build_info", "{name}");
    }
}

#[test]
fn errors_are_counted_by_the_first_of_them() {
    let probe = start(&documents(), &[]);
    let page = page(&probe);
    let name = "heartbeat_probe_errors_total";
    for (kind, is_seen) in [
        ("resolve", false),
        ("connect", false),
        ("tls", false),
        ("timeout", false),
        ("truncated", true),
        ("broken", false),
        ("protocol", false),
        ("status", true),
        ("content_type", false),
        ("length", false),
        ("pattern", false),
        ("validation", false),
    ] {
        let count = page.value(name, &[("kind", kind)]).unwrap_or_else(|| panic!("{kind}"));
        assert_eq!(count >= 2.0, is_seen, "{kind} {count}");
    }
    assert_eq!(page.label_names(name), ["kind"]);
    assert_eq!(page.samples.iter().filter(|(have, ..)| have == name).count(), 12);
}

#[test]
fn the_phases_of_a_failed_request_are_counted_if_they_were_reached() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n01".to_vec();
    let stub = Stub::start(move |_| Reply::RawClose(head.clone()));
    let probe = start(&stub, &[]);
    let page = page(&probe);
    let name = "heartbeat_probe_phase_duration_seconds_count";
    for phase in ["connect", "first_byte"] {
        let count = page.value(name, &[("phase", phase)]);
        assert!(count.is_some_and(|count| count >= 2.0), "{phase} {count:?}");
    }
    assert_eq!(page.value(name, &[("phase", "transfer")]), None);
    assert_eq!(page.value("heartbeat_probe_errors_total", &[("kind", "timeout")]), Some(0.0));
}

#[test]
fn bytes_ticks_and_the_process_are_counted() {
    let probe = start(&documents(), &[]);
    let page = page(&probe);
    let value = |name: &str| page.value(name, &[]).unwrap_or_else(|| panic!("{name}"));
    assert!(value("heartbeat_probe_received_bytes_total") > 100.0);
    assert!(value("heartbeat_probe_sent_bytes_total") > 100.0);
    assert_eq!(value("heartbeat_probe_dropped_ticks_total"), 0.0);
    assert_eq!(value("heartbeat_probe_log_lines_dropped_total"), 0.0);
    assert!(value("heartbeat_probe_requests_in_flight") <= 100.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(page.value("heartbeat_probe_build_info", &version), Some(1.0));
    assert!(value("process_resident_memory_bytes") > 0.0);
    for (name, kind) in &page.types {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} {kind}");
    }
}

#[test]
fn the_page_of_the_loop_is_also_json() {
    let stub = documents();
    let probe = start(&stub, &[]);
    page(&probe);
    let (_, html) = get(probe.port, "/").unwrap();
    assert!(html.contains("<a href=\"/probes.json\">JSON</a>"), "{html}");
    let (head, body) = get(probe.port, "/probes.json").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["left_out"], false);
    let rows = json["probes"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["server"] == stub.url()), "{body}");
    let row = |path: &str| rows.iter().find(|row| row["path"] == path).unwrap();
    // The worst come first.
    let paths: Vec<_> = rows.iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), 6, "{paths:?}");
    assert!(paths[..2].contains(&"/missing") && paths[..2].contains(&"/broken"), "{paths:?}");
    for (path, error) in [
        ("/good", None),
        ("/missing", Some("StatusCode: 404 Expected: 200")),
        ("/broken", Some("the connection closed before a complete answer")),
    ] {
        let row = row(path);
        let number = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name}: {row}"));
        assert!(number("requests") >= 2, "{row}");
        assert!(number("p50_us") > 0 && number("p99_us") >= number("p50_us"), "{row}");
        let minutes = row["minutes"].as_array().unwrap();
        assert_eq!(minutes.len(), 60);
        let known: Vec<_> = minutes.iter().filter(|minute| !minute.is_null()).collect();
        assert!((1..=2).contains(&known.len()), "{row}");
        let latest = &minutes[59];
        assert!(latest["longest_us"].as_u64() >= latest["mean_us"].as_u64(), "{row}");
        let errors: u64 = known.iter().map(|minute| minute["errors"].as_u64().unwrap()).sum();
        assert_eq!(errors, number("errors"));
        match error {
            None => assert!(errors == 0 && row["last_error"].is_null(), "{row}"),
            Some(text) => {
                assert_eq!(errors, number("requests"));
                assert_eq!(row["last_error"]["text"], text);
                let date = row["last_error"]["date"].as_str().unwrap();
                assert!(date.parse::<jiff::Timestamp>().is_ok(), "{date}");
            }
        }
    }
    assert!(row("/good")["throughput_bps"].as_u64().is_some_and(|bits| bits > 0), "{body}");
    assert!(row("/broken")["throughput_bps"].is_null(), "{body}");
}

#[test]
fn the_other_pages_are_those_of_webv() {
    let probe = start(&documents(), &[]);
    page(&probe);
    for (path, text) in [
        ("/healthz", "pass"),
        ("/HealthZ", "pass"),
        ("/readyz", "ready"),
        ("/version", env!("CARGO_PKG_VERSION")),
    ] {
        let (head, body) = get(probe.port, path).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain"), "{head}");
        assert_eq!(body, text);
    }
    assert!(get(probe.port, "/x").unwrap().0.starts_with("HTTP/1.1 404 "));
    let (head, _) = get(probe.port, "/").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/html"), "{head}");
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (head, _) = request(probe.port, post).unwrap();
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD"), "{head}");
    let (head, body) =
        request(probe.port, "HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
    assert!(head.contains("content-length: 4") && body.is_empty(), "{head} {body}");
}

//! `heartbeat-probe path`, against servers whose behavior is known.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod path_twin;
mod process;
mod real;

use std::time::Duration;

use path_twin::Manners;
use process::{Background, Folder, Outcome, ask, free_port, program, run, wait_for};
use serde_json::Value;

fn path(url: &str, more: &[&str]) -> Outcome {
    let folder = Folder::new();
    let mut arguments = vec!["path", url];
    arguments.extend(more);
    let outcome = run(&folder, &arguments);
    // `--nocapture` shows it.
    println!("{}{}", outcome.out, outcome.err);
    outcome
}

fn url(manners: Manners) -> String {
    format!("http://{}", path_twin::start("127.0.0.1:0", manners, || {}))
}

/// The report, and the codes of its findings.
fn json(url: &str, more: &[&str]) -> (Value, Vec<String>, i32) {
    let mut arguments = vec!["--json", "--quick"];
    arguments.extend(more);
    let outcome = path(url, &arguments);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
    let codes = codes.collect();
    (report, codes, outcome.code)
}

#[test]
fn a_good_path_has_every_figure_and_no_finding() {
    let outcome = path(&real::url(), &["--json"]);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(outcome.code, 0);
    assert_eq!(report["findings"], serde_json::json!([]));
    let server = &report["server"];
    // All crates of the workspace have the same version.
    assert_eq!(server["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&server["node"], &server["zone"]), (&real::NODE.into(), &real::ZONE.into()));
    assert_eq!(report["http_version"], "HTTP/1.1");
    assert_eq!(report["tls"], Value::Null);
    for group in ["latency_us", "throughput_bps"] {
        for (name, value) in report[group].as_object().unwrap() {
            assert!(value.as_f64().unwrap() > 0.0, "{group} {name}: {value}");
        }
    }
    for way in ["down", "up"] {
        assert_eq!(report["mtu"][way]["black_hole"], false);
        assert!(report["mtu"][way]["largest"].as_u64().unwrap() > 1500);
        assert!(report["rpm"][way].as_u64().unwrap() > 100);
        assert!(report["loaded_latency_us"][way]["p50"].as_f64().unwrap() > 0.0);
        assert!(report["retransmitted"][way]["sent"].as_u64().unwrap() > 100);
    }
    let middle = serde_json::json!({
        "via": null, "compresses": false, "buffers_uploads": false,
        "body_max": 104_857_600, "chunks": false, "expect": true
    });
    assert_eq!(report["middle"], middle);
    assert!(report["bytes_used"].as_u64().unwrap() <= 256 << 20);
}

#[test]
fn a_quick_measurement_leaves_out_what_takes_long_and_reports_it() {
    let (report, codes, code) = json(&url(Manners::default()), &[]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["throughput_bps"]["down_8"], Value::Null);
    assert_eq!(report["rpm"], serde_json::json!({"down": null, "up": null}));
    assert_eq!(report["skipped"]["throughput, latency under load"], "--quick");
    let text = path(&url(Manners::default()), &["--quick"]);
    assert!(text.out.contains("throughput, latency under load: --quick"), "{}", text.out);
    assert!(text.out.contains("ok         Nothing is wrong"), "{}", text.out);
}

#[test]
fn uses_no_more_bytes_than_the_limit() {
    for (most, bytes) in [("1M", 1 << 20), ("8M", 8 << 20)] {
        let url = url(Manners::default());
        let outcome = path(&url, &["--json", "--duration", "5s", "--max-bytes", most]);
        let report: Value = serde_json::from_str(&outcome.out).unwrap();
        let used = report["bytes_used"].as_u64().unwrap();
        assert!(used <= bytes && used > 10_000, "{used} of {most}");
    }
}

#[test]
fn no_line_of_the_text_is_longer_than_80_columns() {
    let manners = Manners { fields: "Via: 1.0 a-proxy-with-a-name\r\n", ..Manners::default() };
    let outcome = path(&url(manners), &["--max-bytes", "16M", "--duration", "5s"]);
    assert!(outcome.out.lines().all(|line| line.chars().count() <= 80), "{}", outcome.out);
}

#[test]
fn a_server_that_is_no_heartbeat_is_measured_as_far_as_possible() {
    let (report, codes, code) =
        json(&url(Manners { foreign: Some(100_000), ..Default::default() }), &[]);
    assert_eq!((codes, code), (vec!["not-heartbeat".to_owned()], 0));
    assert_eq!(report["server"], Value::Null);
    assert!(report["mtu"]["down"]["largest"].as_u64().unwrap() > 1500);
    assert!(report["mtu"]["up"]["largest"].as_u64().unwrap() > 1500);
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
    assert_eq!(report["latency_us"]["server"], Value::Null);
    let large = url(Manners { foreign: Some(1 << 20), ..Manners::default() });
    let (report, _, _) = json(&large, &["--max-bytes", "8M"]);
    assert!(report["bytes_used"].as_u64().unwrap() <= 8 << 20);
    let (report, _, _) = json(&url(Manners { foreign: Some(100), ..Default::default() }), &[]);
    assert_eq!(report["mtu"]["down"]["largest"], Value::Null);
}

#[test]
fn a_server_that_closes_each_connection_is_measured() {
    let fields = "Connection: close\r\n";
    let manners = Manners { foreign: Some(100_000), fields, ..Manners::default() };
    let (report, _, code) = json(&url(manners), &[]);
    assert_eq!(code, 0);
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_heartbeat_without_timing_is_measured_without_its_facts() {
    let (report, codes, code) = json(&url(Manners { silent: true, ..Manners::default() }), &[]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["latency_us"]["rtt_server"], Value::Null);
    assert!(report["latency_us"]["rtt_client"].as_f64().unwrap() > 0.0);
    assert_eq!(report["middle"]["buffers_uploads"], Value::Null);
}

#[test]
fn a_proxy_that_needs_the_body_that_it_asked_for_keeps_running() {
    let (report, codes, code) = json(&url(Manners { fragile: true, ..Manners::default() }), &[]);
    assert_eq!((codes.len(), code), (0, 0));
    assert_eq!(report["middle"]["body_max"], 100 << 20);
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_limit_of_bodies_is_found_by_their_length() {
    let manners = Manners { told_body_max: Some(1 << 20), ..Manners::default() };
    let (report, codes, code) = json(&url(manners), &[]);
    assert_eq!((codes, code), (vec!["body-capped".to_owned()], 0));
    assert_eq!(report["middle"]["body_max"], 1 << 20);
    let (_, _, code) = json(&url(manners), &["--strict"]);
    assert_eq!(code, 1);
    let none = Manners { told_body_max: Some((1 << 20) - 1), ..Manners::default() };
    assert_eq!(json(&url(none), &[]).0["middle"]["body_max"], 0);
}

#[test]
fn a_limit_of_bodies_is_found_by_their_bytes() {
    let manners = Manners { read_body_max: Some(1 << 20), ..Manners::default() };
    let outcome = path(&url(manners), &["--json", "--duration", "5s"]);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(report["middle"]["body_max"], 1 << 20);
}

#[test]
fn what_a_proxy_adds_and_the_lower_version_are_reported() {
    let manners = Manners { fields: "Via: 1.0 old\r\n", chunked: true, ..Manners::default() };
    let (report, codes, code) = json(&url(manners), &[]);
    assert_eq!((codes, code), (vec!["http-downgraded".to_owned()], 0));
    assert_eq!(report["middle"]["via"], "1.0 old");
    assert_eq!(report["middle"]["chunks"], true);
    // The server's facts are then about the path to the proxy.
    assert_eq!(report["mtu"]["down"]["path_mtu"], Value::Null);
    assert_eq!(report["retransmitted"]["down"]["sent"], Value::Null);
}

#[test]
fn a_connection_that_is_closed_while_it_is_idle_is_found() {
    let manners = Manners { idle_max: Some(Duration::from_millis(900)), ..Manners::default() };
    let (_, codes, code) = json(&url(manners), &["--idle", "3s", "--strict"]);
    assert_eq!((codes, code), (vec!["idle-closed".to_owned()], 1));
    let (_, codes, code) = json(&url(Manners::default()), &["--idle", "1s", "--strict"]);
    assert_eq!((codes.len(), code), (0, 0));
}

#[test]
fn a_server_that_does_not_answer_is_a_fault() {
    let closed = format!("http://127.0.0.1:{}", free_port());
    let (report, codes, code) = json(&closed, &[]);
    assert_eq!((codes, code), (vec!["address-unreachable".to_owned()], 1));
    assert!(report["addresses"][0]["error"].as_str().unwrap().contains("refused"));
    let (_, codes, code) = json("http://name.invalid", &[]);
    assert_eq!((codes, code), (vec!["address-unreachable".to_owned()], 1));
}

#[test]
fn an_unusable_command_line_ends_with_exit_code_2() {
    for arguments in [
        &["ftp://a"][..],
        &["http://a", "--duration", "1s"],
        &["http://a", "--max-bytes", "1K"],
        &["http://a", "--idle", "x"],
        &["https://a", "--ca-file", "missing.pem"],
    ] {
        let outcome = path(arguments[0], &arguments[1..]);
        assert_eq!(outcome.code, 2, "{arguments:?} {outcome:?}");
        assert!(outcome.out.is_empty() && !outcome.err.is_empty());
    }
    assert_eq!(path("--help", &[]).code, 0);
}

const TWO_REQUESTS: &str = r#"{"requests": [
    {"path": "/heartbeat/17", "validation": {"contentType": "text/plain", "length": 17}},
    {"path": "/heartbeat/1024?a=b",
     "validation": {"contentType": "text/plain", "length": 1024}}]}"#;

#[test]
fn the_loop_counts_the_facts_about_the_path_of_its_requests() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.file("test.json", TWO_REQUESTS);
    let server = url(Manners::default());
    let mut command = program(&folder);
    command.args(["--server", &server, "--files", &file, "--run-loop", "--sleep", "20"]);
    command.args(["--port", &port.to_string(), "--timing", "--log-format", "None"]);
    let _running = Background::start(&mut command);
    let counted = |page: &str, name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let page = wait_for(port, |page| {
        counted(page, "heartbeat_probe_server_seconds_count").is_some_and(|count| count > 3.0)
    });
    assert!(counted(&page, "heartbeat_probe_rtt_seconds_count").unwrap() > 3.0);
    assert!(counted(&page, "heartbeat_probe_rtt_seconds_sum").unwrap() > 0.0);
    for direction in ["down", "up"] {
        let name = "heartbeat_probe_retransmitted_segments_total";
        let name = format!("{name}{{direction=\"{direction}\"");
        assert!(counted(&page, &name).is_some(), "{page}");
    }
}

#[test]
fn json_logs_split_a_latency_if_the_server_reports_its_time() {
    let server = url(Manners::default());
    let more = ["--log-format", "Json", "--verbose"];
    let keys = |more: &[&str]| {
        let outcome = ask(&server, TWO_REQUESTS, more);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let lines = outcome.out.lines().filter(|line| line.contains("/heartbeat/"));
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{outcome:?}");
        lines.iter().map(|line| (line["ServerRttUs"].clone(), line["RttUs"].clone())).collect()
    };
    let told: Vec<(Value, Value)> = keys(&[&more[..], &["--timing"]].concat());
    assert!(told.iter().all(|(server, own)| server.is_u64() && own.is_u64()), "{told:?}");
    let own: Vec<(Value, Value)> = keys(&more);
    assert!(own.iter().all(|(server, own)| server.is_null() && own.is_u64()), "{own:?}");
}

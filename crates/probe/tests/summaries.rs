//! The end of a single run: summaries, limits, exit codes.

mod junit;
mod process;
mod stub;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_testkit::{Signal, eventually};
use process::{Background, Folder, ask, program, run};
use stub::{Reply, Stub, answer};

fn documents() -> Stub {
    Stub::start(|seen| match seen.path.as_str() {
        "/missing" => Reply::Raw(answer(404, "", "")),
        _ => Reply::Raw(answer(200, "application/json", "{}")),
    })
}

/// A file with this many requests of each kind.
fn file(good: usize, invalid: usize, failed: usize) -> String {
    let good = vec![r#"{"path": "/good", "validation": {}}"#; good];
    let invalid = vec![r#"{"path": "/<&\">", "validation": {"length": 1}}"#; invalid];
    let failed = vec![r#"{"path": "/missing", "validation": {}}"#; failed];
    format!(r#"{{"requests": [{}]}}"#, [good, invalid, failed].concat().join(","))
}

fn code(file: &str, more: &[&str]) -> i32 {
    ask(&documents().url(), file, &[&["-g", "None"], more].concat()).code
}

#[test]
fn the_exit_code_counts_errors_if_a_request_failed_or_the_limit_is_reached() {
    assert_eq!(code(&file(3, 0, 0), &[]), 0);
    assert_eq!(code(&file(1, 9, 0), &[]), 0);
    assert_eq!(code(&file(1, 10, 0), &[]), 10);
    assert_eq!(code(&file(1, 2, 1), &[]), 3);
    assert_eq!(code(&file(0, 0, 1), &["--max-errors", "100"]), 1);
}

#[test]
fn the_run_ends_at_the_limit() {
    for (limit, requests) in [("1", 1), ("3", 3), ("0", 1)] {
        let stub = documents();
        ask(&stub.url(), &file(0, 2, 5), &["--max-errors", limit]);
        assert_eq!(stub.seen().len(), requests, "{limit}");
    }
}

#[test]
fn an_exit_code_never_overflows() {
    for (failed, expected) in [(255, 255), (256, 255), (257, 255)] {
        assert_eq!(code(&file(0, 0, failed), &["--max-errors", "1000"]), expected);
    }
}

#[test]
fn failures_of_every_server_count() {
    let stub = documents();
    let folder = Folder::new();
    let file = folder.file("t.json", &file(1, 0, 0));
    // The first server fails, the last one is good.
    let outcome = run(&folder, &["-s", "http://127.0.0.1:9", &stub.url(), "-f", &file, "-v"]);
    assert_eq!(outcome.code, 1);
    assert_eq!(stub.seen().len(), 1);
    // As in WebV, there is an empty line between the servers.
    assert_eq!(outcome.out.lines().nth(1), Some(""));
}

#[test]
fn tsv() {
    let summary = |file: &str, more: &[&str]| {
        let more = [&["-g", "None", "--summary", "Tsv"], more].concat();
        ask(&documents().url(), file, &more).out
    };
    assert_eq!(
        summary(&file(2, 1, 1), &[]),
        "Test Completed\tErrors\t1\tValidationErrorCount\t1\tMaxErrors\t10\n"
    );
    assert_eq!(
        summary(&file(2, 1, 1), &["--max-errors", "2"]),
        "Test Failed\tErrors\t1\tValidationErrorCount\t1\tMaxErrors\t2\n"
    );
}

#[test]
fn json() {
    let keys = [
        "Date",
        "Status",
        "ValidationErrorCount",
        "ErrorCount",
        "MaxErrors",
        "RequestCount",
        "SuccessCount",
        "Start",
        "End",
        "Duration",
    ];
    for (format, is_camel) in [("Json", false), ("JsonCamel", true)] {
        let more = ["-g", "None", "--summary", format];
        let outcome = ask(&documents().url(), &file(2, 1, 1), &more);
        let summary: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
        let key = |name: &str| match is_camel {
            true => name[..1].to_ascii_lowercase() + &name[1..],
            false => name.to_owned(),
        };
        let found: Vec<_> = summary.as_object().unwrap().keys().cloned().collect();
        assert_eq!(found, keys.map(key));
        let value = |name: &str| summary[key(name)].clone();
        assert_eq!(value("Status"), "Test Completed");
        for (name, count) in [
            ("ErrorCount", 1),
            ("ValidationErrorCount", 1),
            ("MaxErrors", 10),
            ("RequestCount", 4),
            ("SuccessCount", 2),
        ] {
            assert_eq!(value(name), count, "{name}");
        }
        assert!(value("Start").as_str() <= value("End").as_str());
        assert!(value("Duration").as_u64().unwrap() < 60_000);
    }
}

#[test]
fn xml_is_junit_as_its_schema_demands() {
    let stub = documents();
    let outcome =
        ask(&stub.url(), &file(1, 1, 1), &["-g", "None", "--summary", "Xml", "--tag", "t"]);
    let suites = junit::suites(&outcome.out);
    assert_eq!(suites.len(), 1);
    let suite = &suites[0];
    let values = ["name", "package", "tests", "failures", "skipped"].map(|name| suite.get(name));
    assert_eq!(values, ["WebVToJUnit", "heartbeat-probe", "3", "2", "0"]);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(suite.get("hostname"), host.trim());
    assert_eq!(suite.properties()["server"], stub.url());
    assert_eq!(
        suite.cases(),
        [
            ("t: GET: /good", None),
            ("t: GET: /&lt;&amp;&quot;&gt;", Some(("length", "Length: 2 Expected: 1"))),
            ("t: GET: /missing", Some(("status", "StatusCode: 404 Expected: 200"))),
        ]
    );
    assert!(suite.all("testcase").all(|case| case.get("classname") == case.get("name")));
}

#[test]
fn xml_is_one_document_for_all_servers_and_counts_requests_that_were_not_sent() {
    let (one, two) = (documents(), documents());
    let folder = Folder::new();
    let file = folder.file("t.json", &file(1, 0, 3));
    let (first, second) = (one.url(), two.url());
    let mut line = vec!["-s", first.as_str(), second.as_str(), "-f", file.as_str()];
    line.extend(["-g", "None", "--summary", "Xml", "--max-errors", "2"]);
    let outcome = run(&folder, &line);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let suites = junit::suites(&outcome.out);
    assert_eq!(suites.len(), 2, "{outcome:?}");
    for (suite, url) in suites.iter().zip([first, second]) {
        let name = format!("WebVToJUnit {url}");
        let values = ["name", "tests", "failures", "skipped"].map(|name| suite.get(name));
        assert_eq!(values, [name.as_str(), "4", "2", "1"]);
        assert_eq!(suite.properties()["server"], url);
    }
}

#[test]
fn a_request_that_must_not_fail_ends_the_run() {
    let stub = documents();
    let file = r#"{"requests": [{"path": "/missing", "validation": {}},
        {"path": "/2", "failOnValidationError": true, "validation": {"length": 1}},
        {"path": "/3"}]}"#;
    assert_eq!(ask(&stub.url(), file, &[]).code, 2);
    let paths: Vec<_> = stub.seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, ["/missing", "/2"]);
}

#[test]
fn a_single_run_waits_for_a_slow_reader_and_loses_no_line() {
    let stub = documents();
    let folder = Folder::new();
    // More than the queue and a pipe hold.
    let request = format!(r#"{{"path": "/{}"}}"#, "a".repeat(8000));
    let requests = vec![request; 500].join(",");
    let file = folder.file("t.json", &format!(r#"{{"requests": [{requests}]}}"#));
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-v", "--summary", "Tsv"]);
    let background = Background::start(&mut command);
    let mut before = usize::MAX;
    // Waits until the run stops, because nobody reads.
    while stub.seen().len() != before || before == 0 {
        before = stub.seen().len();
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(before < 500, "{before}");
    let (code, out) = background.end();
    assert_eq!((code, out.lines().count()), (0, 501));
    assert!(out.lines().last().is_some_and(|line| line.starts_with("Test Completed")));
}

#[test]
fn without_a_summary_nothing_is_added() {
    assert_eq!(ask(&documents().url(), &file(1, 0, 0), &[]).out, "");
}

/// Sends a signal while the first of `count` requests is under way, which is then answered with
/// `status`; returns the exit code and the summary.
fn signalled(count: usize, status: u16) -> (i32, serde_json::Value) {
    let gate = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&gate);
    let stub = Stub::start(move |_| {
        eventually("the signal is sent", || answers.load(Ordering::SeqCst));
        Reply::Raw(answer(status, "application/json", "{}"))
    });
    let folder = Folder::new();
    let file = folder.file("t.json", &file(count, 0, 0));
    let mut command = program(&folder);
    // The pause after the first request is so long that only the signal ends it.
    command.args(["-s", &stub.url(), "-f", &file, "-l", "600000", "-g", "None"]);
    let background = Background::start(command.args(["--summary", "Json"]));
    eventually("the first request", || !stub.seen().is_empty());
    background.signal(Signal::Terminate);
    gate.store(true, Ordering::SeqCst);
    let (code, out) = background.end();
    assert_eq!(stub.seen().len(), 1);
    (code, serde_json::from_str(&out).expect("JSON"))
}

#[test]
fn a_signal_waits_for_the_request_under_way_and_tells_that_others_were_not_sent() {
    for (count, status, expected, state, errors) in [
        (2, 200, 1, "Test Stopped", 0),
        (2, 500, 1, "Test Stopped", 1),
        (1, 200, 0, "Test Completed", 0),
        (1, 500, 1, "Test Completed", 1),
    ] {
        let (code, summary) = signalled(count, status);
        assert_eq!(code, expected, "{count} {status}: {summary}");
        assert_eq!(summary["Status"], state, "{count} {status}: {summary}");
        assert_eq!(summary["RequestCount"], 1, "{summary}");
        assert_eq!(summary["ErrorCount"], errors, "{summary}");
    }
}

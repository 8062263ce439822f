//! `heartbeat-probe load` in CI: conditions, files, common starts, progress.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod junit;
mod process;
mod stub;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heartbeat_testkit::Signal;
use process::{Background, Folder, Outcome, finish, free_port, program, unless_starved};
use serde_json::Value;
use stub::{Reply, Seen, Stub, answer};

fn quick(seen: &Seen) -> Reply {
    match seen.path.as_str() {
        "/missing" => Reply::Raw(answer(404, "", "")),
        _ => Reply::Raw(answer(200, "text/plain", "0123456789ABCDEF0")),
    }
}

fn load(folder: &Folder, arguments: &[&str]) -> Outcome {
    finish(program(folder).arg("load").args(arguments))
}

#[test]
fn a_condition_that_holds_exits_with_3_and_reports_the_reason() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let (good, missing) =
        (format!("{}/heartbeat/17", stub.url()), format!("{}/missing", stub.url()));
    for (url, conditions, code, reason) in [
        (&good, &["p99>1us"][..], 3, "--fail-if p99>1us: p99 is "),
        (&good, &["p99>1h"], 2, "a time with its unit"),
        (&good, &["p99>60s", "rate<1000000"], 3, "--fail-if rate<1000000: rate is "),
        (&good, &["p99>60s", "errors>0", "rate<0.001"], 0, ""),
        (&missing, &["errors>0.1%"], 3, "50 of 50 requests failed: 100.0000 %"),
        (&missing, &["errors>100%"], 0, ""),
        (&missing, &[], 1, ""),
    ] {
        let mut line = vec![url.as_str(), "-n", "50", "-c", "2"];
        for condition in conditions {
            line.extend(["--fail-if", condition]);
        }
        let outcome = load(&folder, &line);
        assert_eq!(outcome.code, code, "{conditions:?} {outcome:?}");
        assert!(outcome.err.contains(reason), "{conditions:?} {outcome:?}");
    }
}

#[test]
fn without_a_server_a_condition_about_times_holds() {
    let url = format!("http://127.0.0.1:{}/heartbeat/17", free_port());
    let outcome = load(&Folder::new(), &[&url, "-n", "2", "--fail-if", "p99>5ms"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.err.contains("there is no p99: no request was answered"), "{outcome:?}");
}

#[test]
fn junit_and_markdown_are_written_beside_the_result() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let url = format!("{}/heartbeat/17", stub.url());
    let files = ["--junit", "load.xml", "--markdown", "load.md", "--fail-if", "p99>1us"];
    let line = [&[url.as_str(), "-n", "20", "--rate", "200"], &files[..]].concat();
    let outcome = unless_starved(|| load(&folder, &line));
    assert_eq!(outcome.code, 3, "{outcome:?}");
    let xml = fs::read_to_string(folder.path().join("load.xml")).unwrap();
    let suites = junit::suites(&xml);
    assert_eq!(suites.len(), 1, "{xml}");
    assert_eq!(["tests", "failures"].map(|name| suites[0].get(name)), ["5", "1"]);
    assert_eq!(suites[0].properties()["requests"], "20");
    let failed: Vec<_> = suites[0].cases().into_iter().filter(|case| case.1.is_some()).collect();
    assert_eq!((failed.len(), failed[0].0), (1, "--fail-if p99&gt;1us"));
    let page = fs::read_to_string(folder.path().join("load.md")).unwrap();
    assert!(page.starts_with("### Load: failed\n"), "{page}");
    assert!(page.contains("| `every request was sent` | passed |"), "{page}");
}

#[test]
fn a_file_that_cannot_be_written_is_reported_before_the_load() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    for option in ["--junit", "--markdown"] {
        let outcome = load(&Folder::new(), &[&url, "-n", "2", option, "/nowhere/x"]);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");
        assert!(outcome.err.contains("/nowhere/x: cannot be written"), "{outcome:?}");
    }
    assert!(stub.seen().is_empty());
}

#[test]
fn a_load_begins_at_the_given_moment_and_not_before() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let url = format!("{}/heartbeat/17", stub.url());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // So late that the program has read its arguments by then, even on a busy machine.
    let moment = (now + 5).to_string();
    let outcome = load(&folder, &[&url, "-n", "5", "--json", "--start-at", &moment]);
    let json: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((outcome.code, outcome.err.contains("--start-at")), (0, false), "{outcome:?}");
    let start: jiff::Timestamp = json["start"].as_str().unwrap().parse().unwrap();
    assert!(start.as_second() as u64 >= now + 5, "{start}");

    let outcome = load(&folder, &[&url, "-n", "5", "--start-at", "2020-01-01T00:00:00Z"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.err.contains("it begins now"), "{outcome:?}");
}

#[test]
fn a_signal_before_the_common_start_ends_the_load_and_nothing_is_sent() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let moment = (now + 3600).to_string();
    let running =
        Background::start(program(&Folder::new()).args(["load", &url, "--start-at", &moment]));
    // A handler shows in the mask of caught signals (proc(5)): SIGTERM is bit 14.
    let status = format!("/proc/{}/status", running.id());
    let catches = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> 14 & 1 == 1)
    };
    while !catches(&fs::read_to_string(&status).unwrap()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::Terminate);
    let (code, out) = running.end();
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(stub.seen().is_empty());
}

#[test]
fn progress_is_a_new_line_if_standard_error_is_no_terminal() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let url = format!("{}/heartbeat/17", stub.url());
    let line = [&url, "--rate", "100", "-z", "900ms", "--warm-up", "2s"];
    let progress = [&line[..], &["--progress", "200ms"]].concat();
    let outcome = unless_starved(|| load(&folder, &progress));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<_> = outcome.err.lines().filter(|line| line.ends_with(" left")).collect();
    assert!(lines.len() >= 2, "{outcome:?}");
    assert!(lines[0].starts_with("warm-up ") && lines[0].contains(" s of 2.0 s  "), "{outcome:?}");
    assert!(lines[lines.len() - 1].contains("  total "), "{outcome:?}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{outcome:?}");
    assert!(!outcome.err.contains('\r'), "{outcome:?}");

    let outcome = load(&folder, &[&line[..], &["--progress", "0s"]].concat());
    assert!(!outcome.err.contains(" left"), "{outcome:?}");
}

#[test]
fn the_option_names_of_other_tools_work() {
    let stub = Stub::start(quick);
    let url = format!("{}/17", stub.url());
    let line = [
        url.as_str(),
        "-z",
        "200ms",
        "-q",
        "100",
        "-c",
        "2",
        "-m",
        "put",
        "-H",
        "X-A: b",
        "-u",
        "/p/",
    ];
    let outcome = unless_starved(|| load(&Folder::new(), &line));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = stub.seen();
    // Each load sends 20.
    assert!(!seen.is_empty() && seen.len().is_multiple_of(20), "{}", seen.len());
    for one in seen {
        assert_eq!((one.method.as_str(), one.path.as_str()), ("PUT", "/p/17"));
        assert_eq!(one.headers["x-a"], "b");
    }
}

#[test]
fn a_prefix_also_goes_before_the_paths_of_test_files() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let file = folder.file("test.json", r#"{"requests": [{"path": "/heartbeat/17"}]}"#);
    let line = [&stub.url(), "--files", &file, "-n", "3", "--url-prefix", "edge", "--json"];
    let outcome = load(&folder, &line);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(stub.seen().iter().all(|seen| seen.path == "/edge/heartbeat/17"));
    let json: Value = serde_json::from_str(&outcome.out).unwrap();
    assert!(json["targets"][0]["url"].as_str().unwrap().ends_with("/edge/heartbeat/17"));
}

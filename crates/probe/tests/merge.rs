//! `heartbeat-probe merge`: combines the results of several processes.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;
mod stub;

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use process::{Background, Folder, Outcome, is_good, program, run};
use serde_json::Value;
use stub::{Reply, Seen, Stub, answer};

fn quick(seen: &Seen) -> Reply {
    match seen.path.as_str() {
        "/missing" => Reply::Raw(answer(404, "", "")),
        _ => Reply::Raw(answer(200, "text/plain", "0123456789ABCDEF0")),
    }
}

/// The result of a small load as one line.
fn load(url: &str, more: &[&str]) -> String {
    let line = [&["load", url, "-n", "40", "-c", "2", "--json"], more].concat();
    run(&Folder::new(), &line).out
}

fn merge_input(folder: &Folder, input: &str, arguments: &[&str]) -> Outcome {
    let mut command = program(folder);
    command.arg("merge").args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn files_become_one_result_that_is_printed_and_written() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let url = format!("{}/heartbeat/17", stub.url());
    let (a, b) = (folder.file("a.json", &load(&url, &[])), folder.file("b.json", &load(&url, &[])));
    let outcome = run(&folder, &["merge", &a, &b, "--output", "all.json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for part in ["requests     80 in", "merged       2 results", "p99", "histogram"] {
        assert!(outcome.out.contains(part), "{part} is not in {}", outcome.out);
    }
    assert!(outcome.out.lines().all(|line| line.chars().count() <= 80), "{}", outcome.out);

    let text = fs::read_to_string(folder.path().join("all.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&written["requests"], &written["ok"]), (&80.into(), &80.into()));
    assert_eq!(written["latency_us"]["service"]["count"], 80);
    assert_eq!(written["parts"].as_array().unwrap().len(), 2);
    let printed = run(&folder, &["merge", &a, &b, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed.out).unwrap(), written);
    // The written result can be merged again.
    let again = run(&folder, &["merge", "all.json", &a, "--json"]);
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&again["requests"], again["parts"].as_array().unwrap().len()), (&120.into(), 3));
}

#[test]
fn standard_input_is_read_like_the_logs_of_pods() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let result = load(&format!("{}/heartbeat/17", stub.url()), &[]);
    let log = format!(
        "heartbeat-probe load: 10 s  100/s\n{result}[pod/load-1-x/load] {result}{result}noise\n"
    );
    for arguments in [&["--json"][..], &["-", "--json"]] {
        let outcome = merge_input(&folder, &log, arguments);
        let json: Value = serde_json::from_str(&outcome.out).unwrap();
        assert_eq!((outcome.code, &json["requests"]), (0, &120.into()), "{outcome:?}");
    }
}

#[test]
fn a_merged_result_is_judged_as_a_load_is() {
    let stub = Stub::start(quick);
    let folder = Folder::new();
    let good = load(&format!("{}/heartbeat/17", stub.url()), &[]);
    let bad = load(&format!("{}/missing", stub.url()), &[]);
    let code = |more: &[&str]| merge_input(&folder, &format!("{good}{bad}"), more).code;
    assert_eq!(code(&[]), 1);
    assert_eq!(code(&["--fail-if", "errors>40%"]), 3);
    assert_eq!(code(&["--fail-if", "errors>50%"]), 0);
    assert_eq!(code(&["--junit", "all.xml", "--markdown", "all.md"]), 1);
    let xml = fs::read_to_string(folder.path().join("all.xml")).unwrap();
    assert!(xml.contains("40 of 80 failed (status: 40)"), "{xml}");
    assert!(fs::read_to_string(folder.path().join("all.md")).unwrap().contains("80 requests"));
}

#[test]
fn text_without_a_result_is_rejected_in_one_line_with_exit_code_2() {
    let folder = Folder::new();
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let open = folder.file("open.json", &load(&url, &["--rate", "500"]));
    let closed = folder.file("closed.json", &load(&url, &[]));
    let other = folder.file("other.json", "{\"requests\": 1}");
    for (line, word) in [
        (&["merge", "/nowhere.json"][..], "/nowhere.json: "),
        (&["merge", &other], "other.json: line 1 is not a result"),
        (&["merge", &open, &closed], "cannot be added"),
        (&["merge", &open, "--output", "/nowhere/x"], "/nowhere/x"),
        (&["merge", &open, "--fail-if", "p99"], "< or >"),
    ] {
        let outcome = run(&folder, line);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{line:?} {outcome:?}");
        assert!(outcome.err.contains(word), "{line:?} {outcome:?}");
    }
    let nothing = merge_input(&folder, "", &[]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    assert!(run(&folder, &["merge", "--help"]).out.lines().all(|line| line.len() <= 80));
}

#[test]
fn five_processes_begin_together_and_their_loads_are_one() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let moment = (now + 5).to_string();
    let folder = Folder::new();
    let line = ["load", &url, "--rate", "20", "-z", "2s", "-c", "2", "--start-at", &moment];
    let running: Vec<_> =
        (0..5).map(|_| Background::start(program(&folder).args(line).arg("--json"))).collect();
    let results: String = running.into_iter().map(|one| one.end().1).collect();
    let outcome = merge_input(&folder, &results, &["--json"]);
    let json: Value = serde_json::from_str(&outcome.out).unwrap();
    assert!(is_good(outcome.code, &json), "{outcome:?}");
    assert_eq!(json["requests"], 200, "{outcome:?}");
    assert_eq!(json["rate_wanted"], 100.0);
    assert_eq!((stub.seen().len(), &json["connections"]), (200, &10.into()));
    for part in json["parts"].as_array().unwrap() {
        let start: jiff::Timestamp = part["start"].as_str().unwrap().parse().unwrap();
        assert!(start.as_second() as u64 >= now + 5, "{part}");
    }
}

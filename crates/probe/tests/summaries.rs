//! The end of a single run: summaries, limits, exit codes.

mod process;
mod stub;

use std::time::Duration;

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
    let outcome =
        ask(&documents().url(), &file(1, 1, 1), &["-g", "None", "--summary", "Xml", "--tag", "t"]);
    // Times and the host differ from run to run; everything else does not.
    let mut text = outcome.out.clone();
    for name in ["time", "timestamp", "hostname"] {
        let start = format!(" {name}=\"");
        let parts: Vec<_> = text.split(&start).collect();
        let cut = |part: &&str| part.split_once('"').unwrap().1.to_owned();
        let rest: Vec<_> = parts[1..].iter().map(cut).collect();
        text = [&[parts[0].to_owned()], &rest[..]].concat().join(&format!(" {name}=?"));
    }
    let case = |path: &str, failure: Option<(&str, &str)>| {
        let name = format!("t: GET: {path}");
        let case = format!("  <testcase classname=\"{name}\" name=\"{name}\" time=?");
        match failure {
            None => format!("{case} />\n"),
            Some((kind, told)) => format!(
                "{case}>\n    <failure type=\"{kind}\" message=\"{told}\" />\n  </testcase>\n"
            ),
        }
    };
    let expected = [
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>\n".to_owned(),
        "<testsuite name=\"WebVToJUnit\" tests=\"3\" failures=\"2\" errors=\"0\" skipped=\"0\" \
         time=? timestamp=? hostname=?>\n  <properties />\n"
            .to_owned(),
        case("/good", None),
        case("/&lt;&amp;&quot;&gt;", Some(("length", "Length: 2 Expected: 1"))),
        case("/missing", Some(("status", "StatusCode: 404 Expected: 200"))),
        "  <system-out />\n  <system-err />\n</testsuite>\n</testsuites>\n".to_owned(),
    ];
    assert_eq!(text, expected.concat());
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

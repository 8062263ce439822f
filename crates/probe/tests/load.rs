//! `heartbeat-probe load`: counts, times, exit codes and ends.

mod process;
mod stub;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heartbeat_testkit::Signal;
use process::{Background, Folder, Outcome, finish, free_port, is_good, program, unless_starved};
use serde_json::Value;
use stub::{Reply, Seen, Stub, answer, heartbeat};

fn load(arguments: &[&str]) -> Outcome {
    finish(program(&Folder::new()).arg("load").args(arguments))
}

/// The exit code and the result.
fn result(arguments: &[&str]) -> (i32, Value) {
    let outcome = load(&[arguments, &["--json"]].concat());
    let json = serde_json::from_str(&outcome.out).unwrap_or_else(|_| panic!("{outcome:?}"));
    (outcome.code, json)
}

/// Sends 17 bytes in one write: a second write would wait for the acknowledgement of the first.
fn quick(_: &Seen) -> Reply {
    Reply::Raw(answer(200, "text/plain", "0123456789ABCDEF0"))
}

fn ms(times: &Value, name: &str) -> f64 {
    times[name].as_f64().expect("a number") / 1e3
}

#[test]
fn sends_exactly_as_many_requests_as_asked_for() {
    let stub = Stub::start(heartbeat);
    let url = format!("{}/heartbeat/1024", stub.url());
    for more in [&["-c", "4"][..], &["-c", "64"], &["-c", "4", "--rate", "2000"]] {
        let before = stub.seen().len();
        let (code, json) = result(&[&[url.as_str(), "-n", "101"], more].concat());
        assert!(is_good(code, &json), "{code} {json}");
        assert_eq!(stub.seen().len() - before, 101);
        assert_eq!((&json["requests"], &json["ok"]), (&101.into(), &101.into()));
        assert_eq!(json["status"], serde_json::json!({"200": 101}));
        assert_eq!(json["bytes_received"], 101 * 1024);
        assert_eq!(json["latency_us"]["service"]["count"], 101);
    }
}

#[test]
fn a_rate_sends_as_many_requests_as_fit_into_its_duration() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let line = [&url, "--rate", "500", "--duration", "600ms", "--warm-up", "100ms"];
    let (code, json) = result(&line);
    assert!(is_good(code, &json), "{code} {json}");
    // The warm-up has 50 more, which are sent but not counted.
    assert_eq!((stub.seen().len(), &json["requests"]), (350, &300.into()));
    assert_eq!((&json["mode"], &json["unsent"]), (&"open".into(), &0.into()));
    let elapsed = json["elapsed_s"].as_f64().unwrap();
    assert!(elapsed >= 0.6, "{json}");
    let rate = json["rate"].as_f64().unwrap();
    assert!((rate - 300.0 / elapsed).abs() < 0.1, "{json}");
}

#[test]
fn connections_are_reused_unless_forbidden() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let (_, json) = result(&[&url, "-n", "50", "-c", "2"]);
    assert_eq!(json["connections_opened"], 2);
    let (code, json) = result(&[&url, "-n", "50", "-c", "2", "--no-keep-alive"]);
    assert_eq!((code, &json["connections_opened"]), (0, &50.into()));
    let closing = |seen: &Seen| seen.headers.get("connection").is_some_and(|text| text == "close");
    assert_eq!(stub.seen().iter().filter(|seen| closing(seen)).count(), 50);
}

#[test]
fn a_stall_shows_in_the_latency_but_hardly_in_the_service_time() {
    let count = AtomicU64::new(0);
    let stub = Stub::start(move |seen| {
        if count.fetch_add(1, Ordering::Relaxed) == 250 {
            // The stub has one thread, so nobody is answered meanwhile.
            std::thread::sleep(Duration::from_millis(200));
        }
        quick(seen)
    });
    let url = format!("{}/heartbeat/17", stub.url());
    let (code, json) = result(&[&url, "--rate", "400", "-c", "2", "-n", "1000"]);
    assert!(is_good(code, &json), "{code} {json}");
    assert_eq!(json["requests"], 1000, "{json}");
    let latency = &json["latency_us"];
    // 80 requests were due while the server stalled, and two of them were under way.
    assert!(ms(&latency["corrected"], "p99") > 100.0, "{json}");
    assert!(ms(&latency["service"], "p99") < ms(&latency["corrected"], "p99") / 2.0, "{json}");
    assert!(ms(&latency["service"], "max") > 190.0, "{json}");
    // Most requests were due at another time; how long they take depends on the machine.
    assert!(ms(&latency["corrected"], "p50") < ms(&latency["corrected"], "p99") / 2.0, "{json}");
}

#[test]
fn requests_without_a_free_connection_are_reported_as_unsent_and_fail() {
    let late = |seen: &Seen| {
        let Reply::Stream(head, _) = heartbeat(seen) else { panic!("{seen:?}") };
        Reply::Late([&head[..], b"0"].concat(), Duration::from_secs(1))
    };
    let stub = Stub::start(late);
    let url = format!("{}/heartbeat/1", stub.url());
    let options = ["--rate", "100", "--duration", "200ms", "-c", "1", "--timeout", "3s"];
    let (code, json) = result(&[&[url.as_str()], &options[..]].concat());
    let (requests, unsent) = (json["requests"].as_u64().unwrap(), json["unsent"].as_u64().unwrap());
    assert_eq!((code, json["failed"].as_u64()), (1, Some(0)), "{json}");
    assert!(requests >= 1 && unsent >= 1, "{json}");
    assert_eq!(requests + unsent, 20, "{json}");
}

#[test]
fn each_kind_of_error_is_counted_by_its_name() {
    let head = |length: u64| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let stub = Stub::start(move |seen| match seen.path.as_str() {
        "/status/404" => Reply::Raw(answer(404, "", "")),
        "/length/5" => Reply::Raw(format!("{}0123", head(4)).into_bytes()),
        "/pattern/4" => Reply::Raw(format!("{}012x", head(4)).into_bytes()),
        "/truncated/4" => Reply::RawClose(format!("{}01", head(4)).into_bytes()),
        "/protocol" => Reply::RawClose(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        "/timeout" => Reply::Hang(head(4).into_bytes()),
        _ => heartbeat(seen),
    });
    let paths = ["status/404", "length/5", "pattern/4", "truncated/4", "protocol", "timeout"];
    let urls: Vec<_> = paths.iter().map(|path| format!("{}/{path}", stub.url())).collect();
    let mut line: Vec<_> = urls.iter().map(String::as_str).collect();
    let good = format!("{}/heartbeat/17", stub.url());
    line.extend([good.as_str(), "-n", "14", "-c", "1", "--timeout", "2s"]);
    let (code, json) = result(&line);
    assert_eq!(code, 1);
    let expected = serde_json::json!({
        "status": 2, "length": 2, "pattern": 2, "truncated": 2, "protocol": 2, "timeout": 2,
    });
    assert_eq!(json["errors"], expected, "{json}");
    assert_eq!((&json["ok"], &json["failed"]), (&2.into(), &12.into()));
    assert_eq!(json["targets"].as_array().map(Vec::len), Some(7));
    assert!(json["error_examples"]["length"].as_str().unwrap().contains("4 bytes, expected 5"));
}

#[test]
fn without_a_server_each_request_is_an_error() {
    let url = format!("http://127.0.0.1:{}/heartbeat/17", free_port());
    let (code, json) = result(&[&url, "-n", "3"]);
    assert_eq!((code, &json["errors"]), (1, &serde_json::json!({"connect": 3})));
    assert_eq!(json["latency_us"]["service"]["count"], 0);
}

#[test]
fn test_files_are_sent_in_turns_and_decide_which_answers_are_good() {
    let stub = Stub::start(heartbeat);
    let folder = Folder::new();
    let file = folder.file(
        "test.json",
        r#"{"requests": [
            {"path": "/heartbeat/0", "validation": {"statusCode": 400}},
            {"path": "/heartbeat/17", "validation": {"contentType": "text/plain", "length": 17}},
            {"path": "/heartbeat/1024", "validation": {"contentType": "text/plain", "length": 99}}
        ]}"#,
    );
    let (code, json) = result(&[&stub.url(), "--files", &file, "-n", "30", "-c", "1"]);
    assert_eq!((code, &json["errors"]), (1, &serde_json::json!({"length": 10})), "{json}");
    assert_eq!(json["status"], serde_json::json!({"200": 20, "400": 10}));
    let paths: Vec<_> = stub.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths[..4], ["/heartbeat/0", "/heartbeat/17", "/heartbeat/1024", "/heartbeat/0"]);
}

#[test]
fn uploads_have_the_pattern_as_body() {
    let stub = Stub::start(heartbeat);
    let url = format!("{}/heartbeat/17", stub.url());
    let (code, json) = result(&[&url, "--body-size", "100K", "-n", "4", "--header", "X-A: b"]);
    assert_eq!((code, &json["bytes_sent"]), (0, &(4 * 102_400).into()), "{json}");
    for seen in stub.seen() {
        assert_eq!((seen.method.as_str(), seen.body_length), ("POST", 102_400));
        assert!(seen.body.starts_with(b"0123456789ABCDEF0123"));
        assert_eq!(seen.headers["x-a"], "b");
    }
    let (code, _) = result(&[&url, "--method", "put", "-n", "1"]);
    assert_eq!((code, stub.seen()[4].method.as_str()), (0, "PUT"));
}

#[test]
fn an_upload_that_ends_early_counts_what_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/heartbeat/4", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n0123";
        stream.write_all(head.as_bytes()).unwrap();
        stream
    });
    let (code, json) = result(&[&url, "--body-size", "1G", "-n", "1"]);
    assert_eq!((code, &json["ok"]), (0, &1.into()), "{json}");
    let sent = json["bytes_sent"].as_u64().unwrap();
    server.join().unwrap();
    assert!(sent > 0 && sent < 1 << 29, "{json}");
}

#[test]
fn a_signal_ends_the_load_early_and_the_result_is_printed() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let folder = Folder::new();
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let line = ["load", &url, "--rate", "100", "--duration", "1h", "--json"];
        let seen = stub.seen().len();
        let running = Background::start(program(&folder).args(line));
        while stub.seen().len() < seen + 10 {
            std::thread::sleep(Duration::from_millis(10));
        }
        running.signal(signal);
        let (code, out) = running.end();
        let json: Value = serde_json::from_str(&out).unwrap();
        assert!(is_good(code, &json), "{code} {json}");
        assert_eq!(json["interrupted"], true, "{json}");
        assert!(json["requests"].as_u64().unwrap() >= 9, "{json}");
        assert!(json["elapsed_s"].as_f64().unwrap() < 600.0, "{json}");
    }
}

#[test]
fn requests_under_way_at_a_signal_are_not_counted_as_failed() {
    let stub = Stub::start(|_| Reply::Hang(Vec::new()));
    let running = Background::start(program(&Folder::new()).args([
        "load",
        &stub.url(),
        "-c",
        "3",
        "-n",
        "9",
        "--json",
    ]));
    while stub.seen().len() < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::Interrupt);
    let (code, out) = running.end();
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["abandoned"], &json["failed"]), (&3.into(), &0.into()), "{json}");
    // No request was answered, so the result is not good.
    assert_eq!(code, 1);
}

#[test]
fn the_text_shows_counts_times_and_a_histogram() {
    let stub = Stub::start(quick);
    let url = format!("{}/heartbeat/17", stub.url());
    let outcome = unless_starved(|| load(&[&url, "--rate", "1000", "-n", "200"]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // The only warning that is allowed says that this machine is busy.
    assert!(outcome.err.lines().all(|line| line.contains(": warning: ")), "{outcome:?}");
    for part in ["200: 200", "errors       none", "p99", "latency ", "service time", "|#"] {
        assert!(outcome.out.contains(part), "{part} is not in {}", outcome.out);
    }
}

#[test]
fn unusable_arguments_are_reported_in_one_line_with_exit_code_2() {
    let folder = Folder::new();
    let bad = folder.file("bad.json", "{");
    let good = folder.file("good.json", r#"{"requests": [{"path": "/"}]}"#);
    for (line, word) in [
        (&["http://a/1", "--rate", "0"][..], "--rate"),
        (&["http://a/1", "--rat", "1"], "did you mean --rate?"),
        (&["http://a/1", "--fail-if", "p99"], "expected < or >"),
        (&["ftp://a/1"], "scheme"),
        (&["http://localhost:1/x", "--files", &good], "without a path"),
        (&["http://localhost:1", "--files", &bad], "bad.json"),
        (&["http://localhost:1", "--ca-file", "/nowhere"], "/nowhere"),
        (&["http://localhost:1/1", "--method", "a b"], "method"),
        (&[], "URL"),
    ] {
        let outcome = load(line);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{line:?} {outcome:?}");
        assert!(outcome.err.contains(word), "{line:?} {outcome:?}");
        assert!(outcome.err.starts_with("heartbeat-probe load: "), "{line:?} {outcome:?}");
        assert_eq!(outcome.err.lines().count(), 1, "{line:?} {outcome:?}");
    }
    let help = load(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("--no-keep-alive"));
}

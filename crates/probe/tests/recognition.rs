//! Which servers are asked for their timing, and which requests they see.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;
mod real;
mod stub;

use std::net::SocketAddr;
use std::process::Command;

use heartbeat_testkit::eventually;
use process::{Background, Folder, ask, free_port, program, run, wait_for};
use serde_json::Value;
use stub::{Reply, Stub, answer, heartbeat};

const FILE: &str = r#"{"requests": [
    {"path": "/heartbeat/17", "validation": {"contentType": "text/plain", "length": 17}},
    {"path": "/heartbeat/1024?a=b", "tag": "large",
     "validation": {"contentType": "text/plain", "length": 1024, "pattern": true}},
    {"path": "/heartbeat/wire/400",
     "validation": {"contentType": "text/plain", "minLength": 200}},
    {"path": "/healthz", "validation": {"contentType": "text/plain", "exactMatch": "Pass\n"}}]}"#;
const PATHS: [&str; 4] =
    ["/heartbeat/17", "/heartbeat/1024?a=b", "/heartbeat/wire/400", "/healthz"];
const WHO: &str = "/heartbeat/version?format=json";
const ABOUT: &str = r#"{"version":"0.6.0","driver":"epoll","send":"splice","threads":1,
    "uri":"/heartbeat/","min":1,"max":1048576}"#;

/// A loop over the requests of the file, with the metrics on `port`.
fn looping(folder: &Folder, server: &str, port: u16, more: &[&str]) -> Command {
    let file = folder.file("t.json", FILE);
    let mut command = program(folder);
    command.args(["-s", server, "-f", &file, "-r", "-p", &port.to_string(), "-l", "5"]);
    command.args(more);
    command
}

fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn paths(stub: &Stub) -> Vec<String> {
    stub.seen().into_iter().map(|seen| seen.path).collect()
}

fn is_timed(path: &str) -> bool {
    path.ends_with("timing")
}

/// A server that answers with payloads and says that it is a Heartbeat; its answers to `?timing`
/// have this `field`.
fn recognized(field: &'static str) -> impl Fn(&stub::Seen) -> Reply {
    move |seen| {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        if seen.path == WHO {
            return Reply::Raw(answer(200, "application/json", ABOUT));
        }
        let size = path.strip_prefix("/heartbeat/").and_then(|size| size.parse().ok());
        let Some(size) = size else { return Reply::Raw(answer(404, "", "")) };
        let body: String = "0123456789ABCDEF".chars().cycle().take(size).collect();
        let field = if query.ends_with("timing") { field } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{field}");
        Reply::Raw(format!("{head}Content-Length: {size}\r\n\r\n{body}").into_bytes())
    }
}

#[test]
fn a_loop_asks_a_heartbeat_for_its_timing() {
    let (folder, port) = (Folder::new(), free_port());
    let more = ["-g", "Tsv", "-v"];
    let mut probe = Background::start(&mut looping(&folder, &real::url(), port, &more));
    let page = wait_for(port, |page| {
        let count = value(page, "heartbeat_probe_server_seconds_count");
        count.is_some_and(|count| count > 8.0)
    });
    assert!(value(&page, "heartbeat_probe_server_seconds_sum").unwrap() > 0.0);
    assert!(value(&page, "heartbeat_probe_rtt_seconds_count").unwrap() > 8.0);
    for direction in ["down", "up"] {
        let name = "heartbeat_probe_retransmitted_segments_total";
        assert!(value(&page, &format!("{name}{{direction=\"{direction}\"")).is_some(), "{page}");
    }
    // The log and the metrics have the paths of the file.
    for path in ["/heartbeat/17", "large", "/heartbeat/wire/400", "/healthz"] {
        assert!(page.contains(&format!("path=\"{path}\"")), "{path}: {page}");
    }
    assert!(!page.contains("timing\""), "{page}");
    for name in ["validation", "length", "status", "pattern"] {
        let series = format!("heartbeat_probe_errors_total{{kind=\"{name}\"}}");
        assert_eq!(value(&page, &series), Some(0.0), "{name}");
    }
    let mut requests = 0;
    while requests < 40 {
        let line = probe.line();
        if line.contains("\tGET\t") {
            assert!(PATHS.iter().any(|path| line.ends_with(path)), "{line}");
            requests += 1;
        }
    }
}

#[test]
fn a_single_run_whose_log_shows_timing_asks_from_the_first_request_on() {
    let outcome = ask(&real::url(), FILE, &["-g", "Json", "-v"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<Value> =
        outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged: Vec<_> = lines.iter().map(|line| line["Path"].as_str().unwrap()).collect();
    assert_eq!(logged, PATHS);
    let told: Vec<_> = lines.iter().map(|line| line["ServerRttUs"].is_u64()).collect();
    assert_eq!(told, [true, true, false, false]);
}

#[test]
fn another_server_sees_the_requests_of_the_file_and_is_asked_for_its_identity_once() {
    let stub = Stub::start(heartbeat);
    let (folder, port) = (Folder::new(), free_port());
    let probe = Background::start(&mut looping(&folder, &stub.url(), port, &["-g", "None"]));
    eventually("many requests", || stub.seen().len() > 100);
    drop(probe);
    let seen = stub.seen();
    let asked: Vec<_> = seen.iter().filter(|seen| seen.path == WHO).collect();
    assert_eq!(asked.len(), 1);
    let on_its_connection = seen.iter().filter(|seen| seen.connection == asked[0].connection);
    assert_eq!(on_its_connection.count(), 1);
    for seen in seen.iter().filter(|seen| seen.path != WHO) {
        assert!(PATHS.contains(&seen.path.as_str()), "{}", seen.path);
    }
}

#[test]
fn no_server_is_asked_if_nothing_shows_timing_or_it_is_forbidden() {
    for more in [
        &["-g", "Json", "-v", "--timing", "false"][..],
        &["-g", "Tsv", "-v"],
        &["-r", "-l", "5", "--duration", "1", "-g", "Tsv", "--metrics", "webv"],
        &["-r", "-l", "5", "--duration", "1", "-g", "Json", "--timing", "false"],
    ] {
        let stub = Stub::start(recognized("Server-Timing: app;dur=0.1\r\n"));
        let folder = Folder::new();
        let file = folder.file("t.json", FILE);
        let port = free_port().to_string();
        let mut arguments = vec!["-s", "X", "-f", &file];
        let url = stub.url();
        arguments[1] = &url;
        arguments.extend(more);
        if more.contains(&"-r") {
            arguments.extend(["-p", &port]);
        }
        run(&folder, &arguments);
        let seen = paths(&stub);
        assert!(seen.len() >= 4, "{more:?} {seen:?}");
        assert!(seen.iter().all(|path| PATHS.contains(&path.as_str())), "{more:?} {seen:?}");
    }
}

#[test]
fn every_server_is_asked_for_timing_if_the_user_demands_it() {
    let stub = Stub::start(recognized(""));
    ask(&stub.url(), FILE, &["-g", "Tsv", "--timing"]);
    let seen = paths(&stub);
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|path| is_timed(path)), "{seen:?}");
}

#[test]
fn a_server_that_reports_no_timing_is_not_asked_again() {
    let stub = Stub::start(recognized(""));
    ask(&stub.url(), FILE, &["-g", "Json"]);
    let timed = "/heartbeat/17?timing";
    assert_eq!(paths(&stub), [WHO, timed, PATHS[1], PATHS[2], PATHS[3]]);
}

#[test]
fn a_server_that_is_down_at_the_start_is_asked_when_it_is_up() {
    let (folder, port, later) = (Folder::new(), free_port(), free_port());
    let url = format!("http://127.0.0.1:{later}");
    let _probe = Background::start(&mut looping(&folder, &url, port, &["-g", "None"]));
    let failed = "heartbeat_probe_errors_total{kind=\"connect\"}";
    wait_for(port, |page| value(page, failed).is_some_and(|count| count > 5.0));
    real::start([127, 0, 0, 1].into(), later, || {});
    wait_for(port, |page| {
        let count = value(page, "heartbeat_probe_server_seconds_count");
        count.is_some_and(|count| count > 3.0)
    });
}

#[test]
fn another_address_of_the_same_name_is_asked_as_well() {
    let own = free_port();
    let address = |last| SocketAddr::from(([127, 0, 0, last], own));
    let timed = "Server-Timing: app;dur=0.1\r\n";
    let first = Stub::start_at(address(1), None, recognized(timed));
    let (folder, port) = (Folder::new(), free_port());
    // The other address is tried first, and does not answer yet.
    let fixed = format!("heartbeat.test:{own}:127.0.0.2,127.0.0.1");
    let url = format!("http://heartbeat.test:{own}");
    let more = ["-g", "None", "--no-keep-alive", "--resolve", &fixed];
    let _probe = Background::start(&mut looping(&folder, &url, port, &more));
    eventually("timing of the first", || paths(&first).iter().any(|path| is_timed(path)));
    let second = Stub::start_at(address(2), None, heartbeat);
    eventually("the second is asked who it is", || paths(&second).contains(&WHO.to_owned()));
    let before = second.seen().len();
    eventually("some more requests", || second.seen().len() > before + 40);
    let seen = paths(&second);
    assert_eq!(seen.iter().filter(|path| *path == WHO).count(), 1);
    let last = &seen[seen.len() - 20..];
    assert!(last.iter().all(|path| PATHS.contains(&path.as_str())), "{last:?}");
    assert_eq!(paths(&first).iter().filter(|path| *path == WHO).count(), 1);
}

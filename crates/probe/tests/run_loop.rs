//! The endless run: its pace, its limits, its end.

mod process;
mod stub;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heartbeat_testkit::{Signal, eventually};
use process::{Background, Folder, finish, free_port, get, program, run, wait_for};
use stub::{Reply, Stub, answer};

const FILE: &str = r#"{"requests": [{"path": "/1", "validation": {}}, {"path": "/2"}]}"#;

fn ok() -> Stub {
    Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")))
}

fn looping(folder: &Folder, servers: &[String], more: &[&str]) -> Command {
    let file = folder.file("t.json", FILE);
    let mut command = program(folder);
    command.arg("-s").args(servers).args(["-f", &file, "-r", "-p", &free_port().to_string()]);
    command.args(more);
    command
}

#[test]
fn the_schedule_does_not_wait_for_answers() {
    let late = Duration::from_secs(2);
    let stub = Stub::start(move |_| Reply::Late(answer(200, "application/json", "{}"), late));
    let folder = Folder::new();
    let more = ["-l", "10", "--duration", "3", "--max-concurrent", "1000", "-g", "None"];
    let outcome = finish(&mut looping(&folder, &[stub.url()], &more));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // 300 are due; a loop that waits for answers would have sent 2 or 3.
    let requests = stub.seen().len();
    assert!((200..=305).contains(&requests), "{requests}");
}

#[test]
fn a_rate_sets_the_interval() {
    let stub = ok();
    let more = ["--rate", "50", "--duration", "2", "-g", "None"];
    assert_eq!(finish(&mut looping(&Folder::new(), &[stub.url()], &more)).code, 0);
    let requests = stub.seen().len();
    assert!((60..=105).contains(&requests), "{requests}");
}

#[test]
fn each_server_has_a_schedule_even_if_it_is_named_twice() {
    let (one, two) = (ok(), ok());
    let servers = [one.url(), two.url(), two.url()];
    let more = ["-l", "600", "--duration", "2", "-g", "None"];
    assert_eq!(finish(&mut looping(&Folder::new(), &servers, &more)).code, 0);
    // The schedules begin at 0, 200 and 400 milliseconds and have an interval of 600: 4 and 6
    // requests, minus those that a busy machine delays past the end. A server with one schedule for
    // both of its names would be asked 4 times.
    let (one, two) = (one.seen().len(), two.seen().len());
    assert!((3..=4).contains(&one) && (5..=6).contains(&two), "{one} {two}");
}

#[test]
fn servers_are_asked_at_different_times() {
    let times = || Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (times(), times());
    let noting = |times: &Arc<Mutex<Vec<Instant>>>| {
        let times = Arc::clone(times);
        Stub::start(move |_| {
            times.lock().unwrap().push(Instant::now());
            Reply::Raw(answer(200, "application/json", "{}"))
        })
    };
    let (one, two) = (noting(&first), noting(&second));
    let more = ["-l", "4000", "--duration", "4", "-g", "None"];
    let servers = [one.url(), two.url()];
    assert_eq!(finish(&mut looping(&Folder::new(), &servers, &more)).code, 0);
    let (first, second) = (first.lock().unwrap()[0], second.lock().unwrap()[0]);
    // Half of the interval, minus what a busy machine takes.
    let apart = second.saturating_duration_since(first);
    assert!(apart > Duration::from_millis(500), "{apart:?}");
}

#[test]
fn a_signal_waits_for_requests_under_way() {
    let pause = Duration::from_secs(3);
    let stub = Stub::start(move |_| Reply::Late(answer(200, "application/json", "{}"), pause));
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.file("t.json", r#"{"requests": [{"path": "/"}]}"#);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string()]);
    let background = Background::start(command.args(["-l", "600000", "-v", "-g", "Json"]));
    while stub.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    background.signal(Signal::Terminate);
    // The pages are served until the end.
    let (head, _) = get(port, "/healthz").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (code, out) = background.end();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((code, lines.len()), (0, 3), "{out}");
    assert!(lines[1].contains("\"StatusCode\":200"), "{out}");
}

#[test]
fn requests_are_sent_in_turn_or_at_random() {
    let stub = ok();
    // Requests do not wait for one another, so two of them that come close may overtake each other.
    let more = ["-l", "100", "--duration", "2", "-g", "None"];
    finish(&mut looping(&Folder::new(), &[stub.url()], &more));
    let paths: Vec<_> = stub.seen().iter().map(|seen| seen.path.clone()).collect();
    assert!(paths.len() > 10, "{paths:?}");
    for (index, path) in paths.iter().enumerate() {
        assert_eq!(*path, ["/1", "/2"][index % 2]);
    }
    let stub = ok();
    finish(&mut looping(&Folder::new(), &[stub.url()], &[&more[..], &["--random"]].concat()));
    let seen = stub.seen();
    let repeated = seen.windows(2).any(|pair| pair[0].path == pair[1].path);
    assert!(repeated, "20 picks of two in perfect turn: one chance in 2^19");
}

#[test]
fn unanswered_requests_are_limited_and_dropped_ticks_counted() {
    let stub = Stub::start(|_| Reply::Hang(Vec::new()));
    let folder = Folder::new();
    let port = free_port();
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string(), "-l", "10"]);
    command.args(["--max-concurrent", "5", "-g", "None", "-t", "20"]);
    let background = Background::start(&mut command);
    let page = wait_for(port, |page| value(page, "dropped_ticks_total").is_some_and(|n| n >= 20.0));
    assert_eq!(value(&page, "requests_in_flight"), Some(5.0));
    eventually("all five have arrived", || stub.seen().len() >= 5);
    assert_eq!(stub.seen().len(), 5);
    background.signal(Signal::Terminate);
    assert_eq!(background.end().0, 0);
}

#[test]
fn a_reader_of_the_log_that_stops_delays_nothing_and_learns_what_it_missed() {
    let stub = ok();
    let folder = Folder::new();
    let port = free_port();
    // A line is so long that the buffer of the pipe hardly matters.
    let path = "a".repeat(8000);
    let file = folder.file("t.json", &format!(r#"{{"requests": [{{"path": "/{path}"}}]}}"#));
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string(), "-l", "1"]);
    let mut background = Background::start(command.args(["-v", "-g", "Json"]));
    let dropped = |page: &str| value(page, "log_lines_dropped_total").unwrap_or(0.0);
    let page = wait_for(port, |page| dropped(page) >= 20.0);
    let before = dropped(&page);
    // The schedule continues.
    wait_for(port, |page| dropped(page) >= before + 20.0);
    let (mut lines, mut told) = (0, 0);
    while told == 0 {
        let line: serde_json::Value = serde_json::from_str(&background.line()).unwrap();
        match line["EventType"].as_str() {
            Some("Dropped") => told = line["Lines"].as_u64().unwrap(),
            Some(event) => assert_eq!(event, "Startup"),
            None => lines += 1,
        }
    }
    assert!(told as f64 >= before + 20.0, "{told}");
    // A mebibyte of lines, and what fits into the pipe, which has 16 pages.
    assert!((120..400).contains(&lines), "{lines}");
    background.signal(Signal::Terminate);
    assert_eq!(background.end().0, 0);
}

fn value(page: &str, name: &str) -> Option<f64> {
    let name = format!("heartbeat_probe_{name}");
    let line = page
        .lines()
        .find(|line| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' '])))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_signal_ends_it_with_exit_code_0_and_start_and_end_are_logged() {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let stub = ok();
        let folder = Folder::new();
        let more = ["-g", "Json", "-l", "50", "--region", "r", "--tag", "t"];
        let mut background = Background::start(&mut looping(&folder, &[stub.url()], &more));
        let start: serde_json::Value = serde_json::from_str(&background.line()).unwrap();
        assert_eq!(start["EventType"], "Startup");
        assert_eq!((&start["Host"], &start["Sleep"]), (&stub.url().into(), &50.into()));
        assert_eq!((&start["Random"], &start["Verbose"]), (&false.into(), &false.into()));
        assert_eq!((&start["Region"], &start["Tag"]), (&"r".into(), &"t".into()));
        assert!(start.get("Zone").is_none());
        background.signal(signal);
        let (code, rest) = background.end();
        assert_eq!(code, 0, "{signal:?}");
        let end: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
        assert_eq!(end["EventType"], "Shutdown");
    }
}

#[test]
fn start_and_end_have_keys_in_camel_case_if_asked_for() {
    let (stub, folder) = (ok(), Folder::new());
    let more = ["-g", "JsonCamel", "-l", "50", "--region", "r", "--zone", "z", "--tag", "t"];
    let mut background = Background::start(&mut looping(&folder, &[stub.url()], &more));
    let start: serde_json::Value = serde_json::from_str(&background.line()).unwrap();
    let keys: Vec<_> = start.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "date",
        "eventType",
        "version",
        "host",
        "files",
        "sleep",
        "duration",
        "random",
        "verbose",
        "tag",
        "region",
        "zone",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&start["eventType"], &start["sleep"]), (&"Startup".into(), &50.into()));
    background.signal(Signal::Terminate);
    let (code, rest) = background.end();
    assert_eq!(code, 0);
    let end: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(end["eventType"], "Shutdown");
    assert!(end["date"].is_string() && end.as_object().unwrap().len() == 2, "{end}");
}

#[test]
fn a_hangup_does_not_end_it() {
    let stub = ok();
    let folder = Folder::new();
    let more = ["-g", "None", "-l", "20"];
    let mut background = Background::start(&mut looping(&folder, &[stub.url()], &more));
    while stub.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    background.signal(Signal::HangUp);
    let before = stub.seen().len();
    while stub.seen().len() < before + 5 {
        assert_eq!(background.code(), None);
        std::thread::sleep(Duration::from_millis(10));
    }
    background.signal(Signal::Terminate);
    assert_eq!(background.end().0, 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let stub = Stub::start(|_| Reply::Hang(Vec::new()));
    let folder = Folder::new();
    let mut background = Background::start(&mut looping(&folder, &[stub.url()], &[]));
    while stub.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    background.signal(Signal::Interrupt);
    // Repeated, because signals that come close to each other count as one.
    let mut code = None;
    while code.is_none() {
        background.signal(Signal::Terminate);
        std::thread::sleep(Duration::from_millis(5));
        code = background.code();
    }
    assert_eq!(code, Some(130));
}

#[test]
fn the_start_is_also_logged_in_columns() {
    let stub = ok();
    let folder = Folder::new();
    let more = ["-l", "100", "--duration", "1", "-v", "--random", "-u", "p", "--tag", "t"];
    let outcome = finish(&mut looping(&folder, &[stub.url()], &more));
    let (first, rest) = outcome.out.split_once('\n').unwrap();
    assert!(first.ends_with("\tStarting Web Validation Test"), "{first}");
    let file = folder.path().join("t.json");
    let expected = format!(
        "\t\tVersion: {}\n\t\tHost: {}\n\t\tURL Prefix: /p\n\t\tTag: t\n\t\tFiles: {}\n\
         \t\tSleep: 100\n\t\tDuration: 1\n\t\tRandom\n\t\tVerbose\n\n",
        env!("CARGO_PKG_VERSION"),
        stub.url(),
        file.display()
    );
    assert!(rest.starts_with(&expected), "{rest}");
}

#[test]
fn a_signal_also_ends_the_delay_before_the_start() {
    let stub = ok();
    let folder = Folder::new();
    let port = free_port();
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string()]);
    let background = Background::start(command.args(["--delay-start", "1000"]));
    wait_for(port, |page| !page.is_empty());
    background.signal(Signal::Terminate);
    assert_eq!(background.end(), (0, String::new()));
    assert_eq!(stub.seen().len(), 0);
}

#[test]
fn sleep_in_a_single_run_is_the_time_between_two_starts() {
    let stub = ok();
    let folder = Folder::new();
    let file = folder.file("t.json", FILE);
    let start = Instant::now();
    assert_eq!(run(&folder, &["-s", &stub.url(), "-f", &file, "-l", "500"]).code, 0);
    assert!(start.elapsed() >= Duration::from_millis(495), "{:?}", start.elapsed());
}

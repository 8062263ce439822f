//! The access log, seen by the program that collects it: every line is whole, and the server does
//! not wait for a reader.

mod binary;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{ChildStdout, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use binary::{drivers, serving, start_with};
use heartbeat_testkit::{
    Client, Deadline, PATIENCE, Program, Sandbox, Signal, comes_true_within, eventually, free_port,
    request, send_signal,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const DROPPED: &str = "heartbeat_log_lines_dropped_total";

/// Requests of each client in the tests in which two workers write to one log.
const REQUESTS: usize = 2000;
const CLIENTS: usize = 4;

/// Requests in one write of a client.
const PIPELINED: usize = 20;

/// Answers while nobody reads the log: many times the lines that a pipe and a worker can hold.
const UNREAD: usize = 20_000;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    status: u64,
    bytes_out: u64,
    bytes_in: u64,
    remote: String,
    verb: String,
    path: String,
}

/// Checks for a date of RFC 3339, in UTC, with microseconds.
#[track_caller]
fn check_date(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{text}");
}

#[track_caller]
fn number(text: &str) -> u64 {
    assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    text.parse().expect("a number")
}

/// Parses a line of tab-separated values, without its line feed.
#[track_caller]
fn parse_tsv(line: &str) -> Line {
    let columns: Vec<_> = line.split('\t').collect();
    let [date, status, bytes_out, bytes_in, duration, remote, verb, path] = columns[..] else {
        panic!("not eight columns: {line:?}");
    };
    check_date(date);
    number(duration);
    Line {
        status: number(status),
        bytes_out: number(bytes_out),
        bytes_in: number(bytes_in),
        remote: remote.to_owned(),
        verb: verb.to_owned(),
        path: path.to_owned(),
    }
}

/// The members of an object of strings and whole numbers, in their order.
#[track_caller]
fn parse_object(line: &str) -> Vec<(String, String)> {
    let mut members = Vec::new();
    let mut rest = line.strip_prefix('{').expect("an object");
    loop {
        let (name, value) = rest[1..].split_once("\":").expect("a name");
        let end = if value.starts_with('"') {
            let is_end = |at: usize| {
                let before = &value[1..at];
                before.len() == before.trim_end_matches('\\').len()
                    || (before.len() - before.trim_end_matches('\\').len()) % 2 == 0
            };
            let end = value.match_indices('"').skip(1).find(|(at, _)| is_end(*at));
            end.expect("the end of a string").0 + 1
        } else {
            value.find([',', '}']).expect("the end of a number")
        };
        let text = &value[..end];
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let plain = text.map_or(value[..end].to_owned(), |text| text.replace("\\\\", "\\"));
        members.push((name.to_owned(), plain));
        if &value[end..] == "}" {
            return members;
        }
        rest = value[end..].strip_prefix(',').expect("a comma");
    }
}

#[track_caller]
fn parse_json(line: &str) -> Line {
    let members = parse_object(line);
    let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
    let order = ["date", "status", "bytesOut", "bytesIn", "durationUs", "remote", "verb", "path"];
    assert_eq!(names, order, "{line}");
    let values: BTreeMap<_, _> = members.into_iter().collect();
    check_date(&values["date"]);
    number(&values["durationUs"]);
    Line {
        status: number(&values["status"]),
        bytes_out: number(&values["bytesOut"]),
        bytes_in: number(&values["bytesIn"]),
        remote: values["remote"].clone(),
        verb: values["verb"].clone(),
        path: values["path"].clone(),
    }
}

fn line(status: u64, bytes_out: u64, bytes_in: u64, verb: &str, path: &str) -> Line {
    let remote = "127.0.0.1".to_owned();
    Line { status, bytes_out, bytes_in, remote, verb: verb.to_owned(), path: path.to_owned() }
}

/// A file for one test. It is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("heartbeat-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn create(&self) -> Stdio {
        File::create(&self.0).expect("a temporary file").into()
    }

    /// The lines that have been written so far. Each must be whole.
    #[track_caller]
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "a torn last line");
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_line_says_what_was_asked_and_answered() {
    for driver in drivers() {
        for (format, parse) in [("tsv", parse_tsv as fn(&str) -> Line), ("json", parse_json)] {
            let scratch = Scratch::new(&format!("{driver}-{format}"));
            let options = ["--threads", "1", "--log", "--log-format", format];
            let program = start_with(driver, &options, scratch.create());
            let mut peer = program.connect();
            let (long, cut) = (format!("/{}", "a".repeat(300)), format!("/{}", "a".repeat(255)));
            let upload =
                "PUT /heartbeat/5 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789";
            peer.send(upload);
            peer.answer();
            for path in ["/heartbeat/17?a=b", "/heartbeat/70000", "/heartbeat/0", &long] {
                peer.get(path);
            }
            peer.send(request("HEAD", "/heartbeat/17"));
            peer.head();
            for path in ["/a\tb", "/a\\b"] {
                assert_eq!(program.get(path).status, 400);
            }
            let expected = [
                line(200, 5, 9, "PUT", "/heartbeat/5"),
                line(200, 17, 0, "GET", "/heartbeat/17?a=b"),
                line(200, 70000, 0, "GET", "/heartbeat/70000"),
                line(400, 0, 0, "GET", "/heartbeat/0"),
                line(404, 0, 0, "GET", &cut),
                line(200, 0, 0, "HEAD", "/heartbeat/17"),
                line(400, 0, 0, "GET", "/a\\x09b"),
                line(400, 0, 0, "GET", "/a\\x5cb"),
            ];
            eventually("all lines are there", || scratch.lines().len() >= expected.len());
            let lines: Vec<_> = scratch.lines().iter().map(|line| parse(line)).collect();
            assert_eq!(lines, expected);
        }
    }
}

/// Sends pipelined requests. Each asks for as many bytes as its number, so that its line in the log
/// can be recognized.
fn ask_all(program: &Program) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut peer = program.connect();
                for first in (1..=REQUESTS).step_by(PIPELINED) {
                    let numbers = first..first + PIPELINED;
                    let path = |n: usize| format!("/heartbeat/{n}?client={client}");
                    let requests: String =
                        numbers.clone().map(|n| request("GET", &path(n))).collect();
                    peer.send(requests);
                    for n in numbers {
                        assert!(peer.answer().is_payload(n as u64));
                    }
                }
            });
        }
    });
}

/// Checks that every request of [`ask_all`] has its line, and that the lines of each connection are
/// in order.
#[track_caller]
fn check_all(lines: &[String]) {
    assert_eq!(lines.len(), CLIENTS * REQUESTS);
    let mut next = [1; CLIENTS];
    for text in lines {
        let got = parse_tsv(text);
        let (path, client) = got.path.split_once("?client=").expect("a query");
        let client: usize = client.parse().expect("a number");
        let n = next[client];
        assert_eq!(path, format!("/heartbeat/{n}"), "{text}");
        assert_eq!((got.status, got.bytes_out, got.bytes_in), (200, n, 0), "{text}");
        next[client] += 1;
    }
}

#[test]
fn two_workers_write_every_line_whole_and_in_order_to_a_file() {
    for driver in drivers() {
        let scratch = Scratch::new(&format!("{driver}-whole"));
        let options = ["--threads", "2", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, scratch.create());
        ask_all(&program);
        // At its end the program writes the lines that are left.
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
        check_all(&scratch.lines());
    }
}

#[test]
fn two_workers_write_every_line_whole_and_in_order_to_a_pipe() {
    for driver in drivers() {
        let options = ["--threads", "2", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, Stdio::piped());
        let stdout = BufReader::new(program.take_stdout());
        let reader = thread::spawn(|| stdout.lines().map(|line| line.expect("UTF-8")).collect());
        ask_all(&program);
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
        let lines: Vec<String> = reader.join().expect("a reader");
        check_all(&lines);
    }
}

/// Sends `count` requests. A server that waited 100 ms for each write to its log would not answer
/// [`UNREAD`] of them in time.
fn ask(program: &Program, count: usize) {
    let deadline = Deadline::new();
    let mut peer = program.connect();
    let requests = request("GET", "/heartbeat/17").repeat(PIPELINED);
    for _ in 0..count / PIPELINED {
        peer.send(&requests);
        for _ in 0..PIPELINED {
            assert!(peer.answer().is_payload(17));
        }
        deadline.check("the requests beside a log");
    }
}

/// Reads lines until they account for this many requests, answered or dropped. Returns how many
/// lines were dropped, as the log itself reports it. Counts in `told` the lines that it has read.
/// The lines have the columns of `--log-tcp`.
fn read_until_told(stdout: ChildStdout, requests: u64, told: &AtomicUsize) -> u64 {
    let (mut answered, mut dropped) = (0, 0);
    let mut lines = BufReader::new(stdout).lines();
    while answered + dropped < requests {
        let text = lines.next().expect("more lines").expect("UTF-8");
        let (text, _retransmits) = text.rsplit_once('\t').expect("columns of --log-tcp");
        let (text, _rtt) = text.rsplit_once('\t').expect("columns of --log-tcp");
        let line = parse_tsv(text);
        if line.verb == "DROPPED" {
            assert_eq!((line.status, line.remote.as_str()), (0, "-"), "{text}");
            dropped += number(&line.path);
        } else if line.path == "/heartbeat/17" {
            assert_eq!(line.status, 200, "{text}");
            answered += 1;
        }
        told.fetch_add(1, Ordering::Relaxed);
    }
    dropped
}

#[test]
fn a_stalled_pipe_delays_no_client_and_its_log_reports_how_many_lines_were_dropped() {
    for driver in drivers() {
        let options = ["--threads", "1", "--log", "--log-tcp"];
        let mut program = start_with(driver, &options, Stdio::piped());
        let stdout = program.take_stdout();
        ask(&program, UNREAD);
        eventually("lines are dropped", || program.metric(DROPPED) > 0.0);
        // It continues to serve while its log is full.
        ask(&program, UNREAD);
        let counted = program.metric(DROPPED);
        assert!(counted > UNREAD as f64 / 2.0, "{counted}");
        // Some lines of the requests for metrics may have been dropped as well.
        let told = AtomicUsize::new(0);
        let dropped = read_until_told(stdout, 2 * UNREAD as u64, &told);
        assert!(dropped as f64 >= counted, "{dropped} were told of {counted}");
        program.assert_is_running();
    }
}

#[test]
fn a_stalled_pipe_does_not_delay_the_exit() {
    for driver in drivers() {
        let options = ["--threads", "2", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, Stdio::piped());
        let _unread = program.take_stdout();
        ask(&program, UNREAD / 2);
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

/// A terminal that nobody reads, and the end that a program writes to (pty(7)).
fn stopped_terminal() -> (OwnedFd, File) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal");
    grantpt(&near).expect("its access rights");
    unlockpt(&near).expect("its other end");
    let name = ptsname(&near, Vec::new()).expect("its name");
    let path = name.to_str().expect("UTF-8");
    let far = File::options().write(true).custom_flags(libc::O_NOCTTY).open(path);
    (near, far.expect("its other end"))
}

#[test]
fn a_stopped_terminal_delays_neither_clients_nor_the_exit() {
    for driver in drivers() {
        let (_unread, terminal) = stopped_terminal();
        let options = ["--threads", "1", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, terminal.into());
        ask(&program, UNREAD);
        assert_eq!(program.get_text("/healthz").1, "Pass\n");
        eventually("lines are dropped", || program.metric(DROPPED) > UNREAD as f64 / 2.0);
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_stopped_terminal_for_all_output_delays_no_signal() {
    for driver in drivers() {
        let (_unread, terminal) = stopped_terminal();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let port = address.port().to_string();
        let mut command = serving(&["--io", driver, "--log", "--port", &port]);
        command.stdout(terminal.try_clone().expect("a descriptor")).stderr(terminal);
        let mut child = command.spawn().expect("the program");
        eventually("it serves", || TcpStream::connect(address).is_ok());
        let mut peer = Client::connect(address);
        for _ in 0..UNREAD / PIPELINED {
            peer.send(request("GET", "/heartbeat/17").repeat(PIPELINED));
            (0..PIPELINED).for_each(|_| assert!(peer.answer().is_payload(17)));
        }
        send_signal(child.id(), Signal::Terminate);
        let mut status = None;
        let has_ended = comes_true_within(PATIENCE, || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        if !has_ended {
            child.kill().expect("a child");
        }
        assert_eq!(status.and_then(|status| status.code()), Some(0), "--io {driver}");
    }
}

#[test]
fn a_slow_pipe_loses_nothing_that_a_worker_can_hold() {
    for driver in drivers() {
        let options = ["--threads", "2", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, Stdio::piped());
        let mut stdout = program.take_stdout();
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            let mut part = [0; 1000];
            loop {
                match stdout.read(&mut part).expect("a pipe") {
                    0 => return String::from_utf8(text).expect("UTF-8"),
                    count => text.extend_from_slice(&part[..count]),
                }
                thread::sleep(Duration::from_micros(200));
            }
        });
        ask(&program, REQUESTS);
        assert!(program.metric(DROPPED) < 1.0);
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
        let text = reader.join().expect("a reader");
        let lines = text.lines().filter(|line| parse_tsv(line).path == "/heartbeat/17");
        assert_eq!(lines.count(), REQUESTS);
    }
}

#[test]
fn a_closed_pipe_loses_lines_of_the_log_and_nothing_else() {
    for driver in drivers() {
        let options = ["--threads", "2", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, Stdio::piped());
        drop(program.take_stdout());
        ask(&program, REQUESTS);
        eventually("lines are counted", || program.metric(DROPPED) >= REQUESTS as f64);
        ask(&program, REQUESTS);
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_full_disk_loses_lines_of_the_log_and_nothing_else() {
    for driver in drivers() {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let options = ["--threads", "2", "--log", "--drain-delay", "0s"];
        let mut program = start_with(driver, &options, full.into());
        ask(&program, REQUESTS);
        eventually("lines are counted", || program.metric(DROPPED) >= REQUESTS as f64);
        ask(&program, REQUESTS);
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_log_file_that_may_not_grow_loses_lines_and_ends_nothing() {
    for driver in drivers() {
        let scratch = Scratch::new(&format!("{driver}-limited"));
        let options = ["--threads", "1", "--log", "--io", driver];
        let mut command = serving(&options).limit(libc::RLIMIT_FSIZE, 1000);
        command.stdout(scratch.create());
        let mut program = Program::start(command);
        ask(&program, 100);
        eventually("lines are dropped", || program.metric(DROPPED) > 0.0);
        ask(&program, 100);
        program.assert_is_running();
        assert_eq!(fs::read(&scratch.0).expect("the log").len(), 1000);
    }
}

//! What the program tells of the path of a connection, on real sockets: in the field Server-Timing,
//! in the last columns of the access log, and in the metrics.

mod binary;

use std::io::Read;
use std::process::Stdio;

use binary::{drivers, is_emulated, not_tested, start, start_with};
use heartbeat_testkit::{Client, Head, Signal, eventually};

/// The names of Server-Timing after that of the server's own time, in their order: durations and
/// numbers.
const DURATIONS: [&str; 3] = ["rtt", "rttvar", "minrtt"];
const NUMBERS: [&str; 5] = ["retrans", "segs", "mss", "pmtu", "rate"];

/// The names that follow after an upload.
const OF_UPLOADS: [&str; 2] = ["recv", "recv-bytes"];

/// The shortest maximum segment size and path MTU that a path can have.
const MSS_MIN: f64 = 536.0;
const MTU_MIN: f64 = 1280.0;

/// The series of a path that every scrape has, and those that it has once there is a sample.
const COUNTERS: [&str; 2] =
    ["heartbeat_tcp_segments_sent_total", "heartbeat_tcp_segments_retransmitted_total"];
const HISTOGRAMS: [&str; 2] =
    ["heartbeat_tcp_rtt_seconds_count", "heartbeat_tcp_path_mtu_bytes_count"];

const LAST_COLUMNS: [&str; 2] = ["rtt_us", "retransmits"];

/// The names and values of the field Server-Timing, whose syntax must be that of the W3C.
#[track_caller]
fn timing_of(head: &Head) -> Vec<(String, f64)> {
    assert_eq!(head.field("Timing-Allow-Origin"), Some("*"), "{}", head.text);
    let field = head.field("Server-Timing").unwrap_or_else(|| panic!("{}", head.text));
    let metrics = field.split(", ").map(|metric| {
        let (name, value) = metric.split_once(';').expect("a parameter");
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(duration) = value.strip_prefix("dur=") {
            let (whole, thousandths) = duration.split_once('.').expect("a decimal point");
            assert!(is_number(whole) && is_number(thousandths), "{field}");
            assert_eq!(thousandths.len(), 3, "{field}");
            return (name.to_owned(), duration.parse().expect("a number"));
        }
        let text = value.strip_prefix("desc=\"").and_then(|text| text.strip_suffix('"'));
        let text = text.unwrap_or_else(|| panic!("{field}"));
        assert!(is_number(text), "{field}");
        (name.to_owned(), text.parse().expect("a number"))
    });
    metrics.collect()
}

/// Checks that an answer names the parts of the path, then those of `rest`, and nothing else.
#[track_caller]
fn check_timing(head: &Head, rest: &[&str]) -> Vec<(String, f64)> {
    let timing = timing_of(head);
    let names: Vec<_> = timing.iter().map(|(name, _)| name.as_str()).collect();
    if is_emulated() {
        let own = [&["app"], rest].concat();
        let kept = |name: &&str| own.contains(name);
        assert_eq!(names.into_iter().filter(kept).collect::<Vec<_>>(), own);
        not_tested("the values of TCP_INFO, which the emulator does not have");
        return timing;
    }
    assert_eq!(names, [&["app"], DURATIONS.as_slice(), &NUMBERS, rest].concat());
    let value = |name: &str| value_of(&timing, name);
    assert!(value("rtt") > 0.0 && value("minrtt") > 0.0, "{timing:?}");
    assert!(value("segs") >= 1.0 && value("rate") > 0.0, "{timing:?}");
    assert!(value("mss") >= MSS_MIN && value("pmtu") >= MTU_MIN, "{timing:?}");
    assert!(value("mss") < value("pmtu"), "{timing:?}");
    timing
}

#[track_caller]
fn value_of(timing: &[(String, f64)], name: &str) -> f64 {
    let found = timing.iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("{name} in {timing:?}")).1
}

/// A connection on which payload has been sent and acknowledged.
fn after_a_payload(mut client: Client) -> Client {
    assert!(client.get("/heartbeat/65536").is_payload(65536));
    client
}

#[test]
fn an_answer_names_the_parts_of_its_path_if_asked() {
    for driver in drivers() {
        let program = start(driver, &[]);
        let mut client = after_a_payload(program.connect());
        for bytes in [17, 4096, 65536, 1 << 20] {
            let head = client.get(&format!("/heartbeat/{bytes}?timing"));
            assert!(head.is_payload(bytes));
            check_timing(&head, &[]);
            let plain = client.get(&format!("/heartbeat/{bytes}"));
            assert_eq!(plain.field("Server-Timing"), None);
            assert_eq!(plain.field("Timing-Allow-Origin"), None);
        }
        let (received, _) = client.traffic();
        let head = client.get("/heartbeat/wire/2000?timing");
        check_timing(&head, &[]);
        assert_eq!(client.traffic().0 - received, 2000, "the whole message");
    }
}

#[test]
fn the_answer_to_an_upload_also_names_its_length_and_how_long_it_took() {
    for driver in drivers() {
        let program = start(driver, &[]);
        let mut client = after_a_payload(program.connect());
        for bytes in [1_u32, 5000, 1 << 20] {
            client.send(format!(
                "POST /heartbeat/17?timing HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n"
            ));
            client.send(vec![b'x'; bytes as usize]);
            let timing = check_timing(&client.answer(), &OF_UPLOADS);
            assert!((value_of(&timing, "recv-bytes") - f64::from(bytes)).abs() < 0.5);
        }
        client.send("PUT /heartbeat/17?timing HTTP/1.1\r\nHost: a\r\n");
        client.send(
            "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n10\r\n0123456789ABCDEF\r\n0\r\n\r\n",
        );
        let timing = check_timing(&client.answer(), &OF_UPLOADS);
        assert!((value_of(&timing, "recv-bytes") - 21.0).abs() < 0.5, "{timing:?}");
        // A body without content has taken no time.
        client.send("POST /heartbeat/17?timing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        check_timing(&client.answer(), &[]);
    }
}

/// The lines of a log after requests of several kinds on one connection.
fn log_lines(driver: &str, options: &[&str]) -> Vec<String> {
    let options = [&["--threads", "1", "--log"], options].concat();
    let mut program = start_with(driver, &options, Stdio::piped());
    let mut client = after_a_payload(program.connect());
    for path in ["/heartbeat/17", "/heartbeat/1048576", "/heartbeat/17?timing", "/nowhere"] {
        client.get(path);
    }
    client.send("POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert!(client.answer().is_payload(17));
    client.finish();
    program.signal(Signal::Terminate);
    assert_eq!(program.expect_exit(), Some(0), "{}", program.said());
    let mut text = String::new();
    program.take_stdout().read_to_string(&mut text).expect("UTF-8");
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 6, "{text}");
    lines
}

#[track_caller]
fn check_last_columns(rtt_us: &str, retransmits: &str, line: &str) {
    let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("{line}"));
    let (rtt_us, _) = (number(rtt_us), number(retransmits));
    assert!(rtt_us > 0 || is_emulated(), "{line}");
}

#[test]
fn the_log_ends_each_line_with_the_path_if_asked() {
    for driver in drivers() {
        for line in log_lines(driver, &["--log-tcp"]) {
            let columns: Vec<_> = line.split('\t').collect();
            let [.., path, rtt_us, retransmits] = columns[..] else { panic!("{line}") };
            assert!(columns.len() == 10 && path.starts_with('/'), "{line}");
            check_last_columns(rtt_us, retransmits, &line);
        }
        for line in log_lines(driver, &["--log-tcp", "--log-format", "json"]) {
            let inner = line.strip_prefix('{').and_then(|it| it.strip_suffix('}')).expect("JSON");
            let members: Vec<_> = inner.split(',').collect();
            let [.., path, rtt_us, retransmits] = members[..] else { panic!("{line}") };
            assert!(members.len() == 10 && path.starts_with("\"path\":\"/"), "{line}");
            let [rtt_us, retransmits] = [(rtt_us, 0), (retransmits, 1)].map(|(member, index)| {
                let name = format!("\"{}\":", LAST_COLUMNS[index]);
                member.strip_prefix(&name).unwrap_or_else(|| panic!("{line}"))
            });
            check_last_columns(rtt_us, retransmits, &line);
        }
        for line in log_lines(driver, &[]) {
            assert_eq!(line.split('\t').count(), 8, "{line}");
        }
        for line in log_lines(driver, &["--log-format", "json"]) {
            assert!(!LAST_COLUMNS.iter().any(|name| line.contains(name)), "{line}");
        }
    }
}

#[test]
fn the_metrics_tell_of_paths_unless_that_is_switched_off() {
    for driver in drivers() {
        for options in [&[] as &[&str], &["--tcp-metrics", "on"], &["--tcp-metrics=off"]] {
            let program = start(driver, options);
            after_a_payload(program.connect()).finish();
            let is_over = || program.metric("heartbeat_connections") < 2.0;
            eventually("the connection is over", is_over);
            let (_, text) = program.get_text("/metrics");
            if options.contains(&"--tcp-metrics=off") {
                assert!(!text.contains("heartbeat_tcp_"), "{text}");
                assert!(text.contains("\nheartbeat_connections_total "), "{text}");
                continue;
            }
            for name in COUNTERS {
                assert!(text.contains(&format!("\n{name} ")), "no {name}: {text}");
            }
            if is_emulated() {
                not_tested("the values of TCP_INFO, which the emulator does not have");
                continue;
            }
            for name in HISTOGRAMS.iter().chain(&COUNTERS[..1]) {
                assert!(program.metric(name) > 0.0, "{name}: {text}");
            }
        }
    }
}

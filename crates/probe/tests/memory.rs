//! Bodies of any size need no more memory than small ones.

mod process;
mod stub;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use heartbeat_testkit::eventually;
use process::{Background, Folder, ask, free_port, program, wait_for};
use stub::{Reply, Stub, answer};

const SIZE: u64 = 768 * 1024 * 1024;
/// Far above the limit of bodies that are kept.
const SEARCHED: u64 = 96 * 1024 * 1024;
/// The limit of all bodies that are kept, and what the prober needs besides.
const BUDGET_KILOBYTES_MAX: u64 = 40 * 1024;
/// Far more than the prober needs, and far less than the body.
const KILOBYTES_MAX: u64 = 32 * 1024;

/// The memory that the pod of the prober may use.
const POD_KILOBYTES: u64 = 64 * 1024;
/// As many elements of two bytes as a body may have that is kept.
const ELEMENTS: usize = 2 * 1024 * 1024 - 2;

fn peak_kilobytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

// The stub reads the prober's peak memory when the request after the big one arrives.
fn watched(big: &str, after: &str) -> (u64, String) {
    watched_of(SIZE, big, after)
}

fn watched_of(size: u64, big: &str, after: &str) -> (u64, String) {
    watched_reply(big, after, move || {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
        );
        Reply::Stream(head.into_bytes(), size)
    })
}

fn watched_reply(
    big: &str,
    after: &str,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> (u64, String) {
    let peak = Arc::new(AtomicU64::new(0));
    let prober = Arc::new(AtomicU32::new(0));
    let (peak_seen, prober_seen) = (Arc::clone(&peak), Arc::clone(&prober));
    let stub = Stub::start(move |seen| {
        if seen.path == "/after" {
            eventually("the process id is known", || prober_seen.load(Ordering::SeqCst) > 0);
            let process = prober_seen.load(Ordering::SeqCst);
            peak_seen.store(peak_kilobytes(process), Ordering::SeqCst);
        }
        if seen.path != "/big" || seen.method == "POST" {
            return Reply::Raw(answer(200, "text/plain", "0123"));
        }
        reply()
    });
    let folder = Folder::new();
    let file = folder.file("t.json", &format!(r#"{{"requests": [{big}, {after}]}}"#));
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-v", "-t", "300"]);
    let background = Background::start(&mut command);
    prober.store(background.id(), Ordering::SeqCst);
    let (code, out) = background.end();
    assert_eq!(code, 0, "{out}");
    let seen = stub.seen();
    assert_eq!(seen.len(), 2);
    (peak.load(Ordering::SeqCst), out)
}

const AFTER: &str = r#"{"path": "/after", "validation": {"contentType": "text/plain"}}"#;

#[test]
fn a_huge_answer_is_validated_in_little_memory() {
    let big = format!(
        r#"{{"path": "/big", "failOnValidationError": true,
            "validation": {{"contentType": "text/plain", "length": {SIZE}, "pattern": true}}}}"#
    );
    let (peak, out) = watched(&big, AFTER);
    assert!(peak > 0 && peak < KILOBYTES_MAX, "{peak} KB");
    assert!(out.contains(&format!("\t{SIZE}\tGET\t/big")), "{out}");
}

#[test]
fn a_huge_upload_is_generated_in_little_memory() {
    let big = format!(
        r#"{{"path": "/big", "verb": "POST", "bodyLength": {SIZE},
            "validation": {{"contentType": "text/plain", "length": 4}}}}"#
    );
    let (peak, _) = watched(&big, AFTER);
    assert!(peak > 0 && peak < KILOBYTES_MAX, "{peak} KB");
}

#[test]
fn a_large_answer_is_searched_and_compared_in_little_memory() {
    let big = r#"{"path": "/big", "validation": {"contentType": "text/plain",
        "contains": ["F0123", "no"], "notContains": ["FF"], "exactMatch": "0123"}}"#;
    let (peak, out) = watched_of(SEARCHED, big, AFTER);
    assert!(peak > 0 && peak < KILOBYTES_MAX, "{peak} KB");
    // Two errors: the second text of `contains`, and the exact match.
    assert!(out.contains("\t2\t") && out.contains("\tGET\t/big"), "{out}");
}

#[test]
fn a_large_body_of_json_is_checked_in_little_memory() {
    let ones = format!("[1{}]", ",1".repeat(ELEMENTS - 1));
    let objects = format!(r#"{{"items":[{{"a":1}}{}]}}"#, r#", {"a":1}"#.repeat(ELEMENTS / 5));
    let fields: Vec<_> = (0..ELEMENTS / 6).map(|number| format!(r#""{number:05}":1"#)).collect();
    let fields = format!("{{{}}}", fields.join(","));
    let cases = [
        (&ones, r#""jsonArray": {"count": 2097150}"#, 0),
        (&ones, r#""jsonArray": {"forEach": [{"jsonObject": [{"field": "a"}]}]}"#, ELEMENTS),
        (
            &ones,
            r#""jsonArray": {"forAny": [{"contains": ["2"]}], "byIndex": [{"index": 9, "value": 1}]}"#,
            1,
        ),
        (&ones, r#""exactMatch": [1, 1, 1]"#, 1),
        (
            &objects,
            r#""jsonObject": [{"field": "items", "validation": {"jsonArray":
                {"minCount": 9, "forEach": [{"jsonObject": [{"field": "a", "value": 1}]}]}}}]"#,
            0,
        ),
        (&fields, r#""jsonObject": [{"field": "00007", "value": 1}, {"field": "b"}]"#, 1),
    ];
    for (body, checks, errors) in cases {
        let big = format!(r#"{{"path": "/big", "validation": {{{checks}}}}}"#);
        let whole = answer(200, "application/json", body);
        let (peak, out) = watched_reply(&big, AFTER, move || Reply::Raw(whole.clone()));
        assert!(peak > 0 && peak < POD_KILOBYTES, "{peak} KB: {checks}");
        let columns: Vec<_> = out.lines().next().unwrap().split('\t').collect();
        assert_eq!(columns[2], errors.to_string(), "{checks}: {out}");
    }
}

#[test]
fn bodies_that_are_kept_share_one_limit() {
    let told = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&told);
    let body = format!("[\"{}", "x".repeat(3 * 1024 * 1024));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n";
    let stub = Stub::start(move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
        Reply::Hang(format!("{head}\r\n{body}").into_bytes())
    });
    let (folder, port) = (Folder::new(), free_port());
    let file = r#"{"requests": [{"path": "/", "validation": {"jsonArray": {"count": 1}}}]}"#;
    let file = folder.file("t.json", file);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string(), "-l", "20"]);
    let background = Background::start(command.args(["--max-concurrent", "30", "-t", "60"]));
    let name = "heartbeat_probe_received_bytes_total";
    wait_for(port, |page| page.contains(name) && told.load(Ordering::SeqCst) >= 30);
    // By then all thirty bodies have arrived as far as they are sent, 90 MiB in all.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let peak = peak_kilobytes(background.id());
    assert!(peak > 0 && peak < BUDGET_KILOBYTES_MAX, "{peak} KB");
}

#[test]
fn a_body_that_is_longer_than_max_body_is_an_error() {
    let stub = Stub::start(|_| Reply::Raw(answer(200, "application/json", "[1,2,3]")));
    let file = r#"{"requests": [{"path": "/", "failOnValidationError": true,
        "validation": {"jsonArray": {"count": 3}}}]}"#;
    assert_eq!(ask(&stub.url(), file, &["--max-body", "7"]).code, 0);
    let outcome = ask(&stub.url(), file, &["--verbose-errors", "--max-body", "6"]);
    assert_eq!(outcome.code, 1);
    let told = "Exception: the body is longer than the 6 bytes of --max-body";
    assert!(outcome.out.contains(told), "{}", outcome.out);
}

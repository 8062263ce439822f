//! Bodies of any size, in the memory of a small one.

mod process;
mod stub;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use process::{Background, Folder, ask, program};
use stub::{Reply, Stub, answer};

const SIZE: u64 = 768 * 1024 * 1024;
/// Far above what the prober takes, and far below the body.
const KILOBYTES_MAX: u64 = 32 * 1024;

fn peak_kilobytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

// The stub asks for the peak of the prober when the request after the big one comes.
fn watched(big: &str, after: &str) -> (u64, String) {
    let peak = Arc::new(AtomicU64::new(0));
    let prober = Arc::new(AtomicU32::new(0));
    let (peak_seen, prober_seen) = (Arc::clone(&peak), Arc::clone(&prober));
    let stub = Stub::start(move |seen| {
        if seen.path == "/after" {
            let process = prober_seen.load(Ordering::SeqCst);
            peak_seen.store(peak_kilobytes(process), Ordering::SeqCst);
        }
        if seen.path != "/big" || seen.method == "POST" {
            return Reply::Raw(answer(200, "text/plain", "0123"));
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n"
        );
        Reply::Stream(head.into_bytes(), SIZE)
    });
    let folder = Folder::new();
    let file = folder.file("t.json", &format!(r#"{{"requests": [{big}, {after}]}}"#));
    let mut command = program(&folder);
    // The pause lets the test know the process before the first request is answered.
    command.args(["-s", &stub.url(), "-f", &file, "-v", "--delay-start", "1", "-t", "300"]);
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
fn a_huge_upload_is_made_in_little_memory() {
    let big = format!(
        r#"{{"path": "/big", "verb": "POST", "bodyLength": {SIZE},
            "validation": {{"contentType": "text/plain", "length": 4}}}}"#
    );
    let (peak, _) = watched(&big, AFTER);
    assert!(peak > 0 && peak < KILOBYTES_MAX, "{peak} KB");
}

#[test]
fn a_huge_answer_that_must_be_searched_is_refused_not_kept() {
    let stub = Stub::start(|_| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n"
        );
        Reply::Stream(head.into_bytes(), SIZE)
    });
    let file = r#"{"requests": [{"path": "/", "failOnValidationError": true,
        "validation": {"contentType": "text/plain", "contains": ["x"]}}]}"#;
    let outcome = ask(&stub.url(), file, &["--verbose-errors", "-t", "300"]);
    assert_eq!(outcome.code, 1);
    let told = "Exception: the body is longer than the 67108864 bytes that are kept";
    assert!(outcome.out.contains(told), "{outcome:?}");
}

//! A gigabyte in either direction: exact to the byte, and without more memory than a small answer.

mod binary;

use binary::{is_emulated, not_tested, serving};
use heartbeat_testkit::Program;

const GIGABYTE: u64 = 1 << 30;

/// How much resident memory may grow while a gigabyte is transferred, in KiB.
const MOVE_KIB: u64 = 1024;

const KINDS: [[&str; 4]; 4] = [
    ["--io", "auto", "--send", "auto"],
    ["--io", "auto", "--send", "copy"],
    ["--io", "auto", "--send", "zerocopy"],
    ["--io", "epoll", "--send", "auto"],
];

/// Checks the peak of the memory of a program that had `before` KiB.
#[track_caller]
fn assert_memory_is_kept(server: &Program, before: u64, kind: &[&str]) {
    if is_emulated() {
        return not_tested("memory, which is the emulator's");
    }
    let peak = server.status_kib("VmHWM");
    assert!(peak <= before + MOVE_KIB, "{kind:?}: {before} KiB before, {peak} at the most");
}

#[test]
fn a_gigabyte_is_answered_to_the_byte_without_more_memory() {
    for kind in KINDS {
        let mut command = serving(&kind);
        let server = Program::start({
            command.args(["--max", "1G"]);
            command
        });
        let mut client = server.connect();
        assert_eq!(client.get("/heartbeat/1048576").status, 200);
        let before = server.status_kib("VmRSS").max(server.status_kib("VmHWM"));
        let head = client.get(&format!("/heartbeat/{GIGABYTE}"));
        assert_eq!((head.status, head.content_length()), (200, GIGABYTE));
        let head = client.get(&format!("/heartbeat/{}", GIGABYTE + 1));
        assert_eq!((head.status, head.closes()), (400, false));
        client.finish();
        assert_memory_is_kept(&server, before, &kind);
    }
}

#[test]
fn a_gigabyte_is_taken_without_more_memory() {
    for kind in [KINDS[0], KINDS[3]] {
        let server = Program::start(serving(&kind));
        let mut client = server.connect();
        assert_eq!(client.get("/heartbeat/1048576").status, 200);
        let before = server.status_kib("VmRSS").max(server.status_kib("VmHWM"));
        let part = vec![0; 1 << 20];
        let post = "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\n";
        client.send(format!("{post}Content-Length: {GIGABYTE}\r\n\r\n"));
        (0..1024).for_each(|_| client.send(&part));
        assert_eq!(client.answer().status, 200);
        client.send(format!("{post}Transfer-Encoding: chunked\r\n\r\n"));
        for _ in 0..1024 {
            client.send("100000\r\n");
            client.send(&part);
            client.send("\r\n");
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client.finish();
        assert_memory_is_kept(&server, before, &kind);
    }
}

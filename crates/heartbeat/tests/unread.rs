//! Peers that ask and never read: at a deadline they are reset, and the kernel keeps neither their
//! connections nor the answers in them.

mod binary;

use std::fs;
use std::io::{ErrorKind, Read};
use std::thread;
use std::time::Duration;

use binary::{drivers, start};
use heartbeat_testkit::{Client, Program, at_once, eventually, request};

const PEERS: u32 = 50;

/// An answer that the send buffer of the server takes whole, and the receive buffer of a peer does
/// not.
const BYTES: usize = 1 << 20;

/// The series that counts connections which ended for a reason.
fn ends(reason: &str) -> String {
    format!("heartbeat_connection_ends_total{{reason=\"{reason}\"}}")
}

/// The states in which /proc/net/tcp shows a listener, and a closed connection that holds nothing.
const STATES_WITHOUT_DATA: [&str; 2] = ["0A", "06"];

/// The states of the connections that the kernel keeps on the program's side, those included that
/// the program has closed.
fn kept_connections(program: &Program) -> Vec<String> {
    let port = format!(":{:04X}", program.address().port());
    let table = fs::read_to_string("/proc/net/tcp").expect("procfs");
    let states = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, _, state) = (columns.next()?, columns.next()?, columns.next()?);
        (local.ends_with(&port) && !STATES_WITHOUT_DATA.contains(&state)).then(|| state.to_owned())
    });
    states.collect()
}

/// Reads what a connection has received before its reset, and returns the number of bytes.
#[track_caller]
fn read_to_reset(peer: &Client) -> usize {
    let (mut stream, mut part, mut bytes) = (peer.stream(), vec![0; 65_536], 0);
    loop {
        match stream.read(&mut part) {
            Ok(0) => panic!("the connection ended in order after {bytes} bytes"),
            Ok(count) => bytes += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {bytes} bytes");
                return bytes;
            }
        }
    }
}

/// Lets peers send `requests`, read nothing, and say that they send no more if `is_half_closed`.
/// Checks that all end by a reset for this reason.
fn check(options: &[&str], requests: &str, is_half_closed: bool, reason: &str) {
    at_once(drivers(), |driver| {
        let program = start(driver, &[&["--threads", "1"], options].concat());
        let mut peers: Vec<_> = (0..PEERS).map(|_| program.connect()).collect();
        // Before they have asked, the deadlines of this test do not apply to them.
        assert!(kept_connections(&program).len() >= PEERS as usize, "the table shows them");
        for peer in &mut peers {
            peer.send(requests);
            if is_half_closed {
                peer.end_sending();
            }
        }
        eventually("all are over", || program.metric(&ends(reason)) >= f64::from(PEERS));
        eventually("nothing is kept", || kept_connections(&program).is_empty());
        for peer in &peers {
            let bytes = read_to_reset(peer);
            assert!((1..BYTES).contains(&bytes), "{bytes} bytes before the reset");
        }
        assert!(program.get(&format!("/heartbeat/{BYTES}")).is_payload(BYTES as u64));
    });
}

fn get() -> String {
    request("GET", &format!("/heartbeat/{BYTES}"))
}

fn get_and_close() -> String {
    format!("GET /heartbeat/{BYTES} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

const SHORT_IDLE: [&str; 2] = ["--idle-timeout", "1s"];
const SHORT_STALL: [&str; 2] = ["--stall-timeout", "1s"];

#[test]
fn peers_that_read_nothing_are_reset_at_the_idle_deadline_and_leave_no_connection_behind() {
    check(&SHORT_IDLE, &get(), false, "idle_timeout");
}

#[test]
fn peers_that_asked_to_close_and_read_nothing_are_reset_at_the_stall_timeout() {
    check(&SHORT_STALL, &get_and_close(), false, "stall_timeout");
    // The same with a byte behind the request, which nobody reads.
    check(&SHORT_STALL, &(get_and_close() + "x"), false, "stall_timeout");
}

#[test]
fn peers_that_send_no_more_and_read_nothing_are_reset_at_the_stall_timeout() {
    check(&SHORT_STALL, &get(), true, "stall_timeout");
    check(&SHORT_STALL, &get_and_close(), true, "stall_timeout");
    // The same with a request that never ends.
    check(&SHORT_STALL, &(get() + "GET /"), true, "stall_timeout");
}

#[test]
fn many_short_answers_that_nobody_reads_are_as_one_long_answer() {
    let short = request("GET", "/heartbeat/1024");
    check(&SHORT_STALL, &(short.repeat(BYTES / 1024) + &get_and_close()), false, "stall_timeout");
    check(&SHORT_STALL, &short.repeat(BYTES / 1024), true, "stall_timeout");
}

/// The connection of a peer that has read everything, or that resets its connection, has no reason
/// to stay. Only the connection that asks for the metric is open then.
#[test]
fn no_place_is_kept_for_a_peer_that_has_read_its_answer_or_is_gone() {
    for driver in drivers() {
        let program = start(driver, &["--threads", "1", "--stall-timeout", "1h"]);
        let mut peers: Vec<_> = (0..PEERS).map(|_| program.connect()).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.send(get_and_close());
            if number % 2 == 0 {
                peer.end_sending();
            }
        }
        eventually("their answers wait", || program.metric("heartbeat_connections") > 1.0);
        // To close with unread bytes is to reset.
        let mut readers = peers.split_off(PEERS as usize / 2);
        drop(peers);
        for peer in &mut readers {
            assert!(peer.answer().is_payload(BYTES as u64));
        }
        eventually("no place is kept", || program.metric("heartbeat_connections") <= 1.0);
    }
}

#[test]
fn a_peer_that_reads_slower_than_the_idle_timeout_gets_its_whole_answer() {
    at_once(drivers(), |driver| {
        let program = start(driver, &["--threads", "1", "--idle-timeout", "2s"]);
        at_once([get(), request("GET", "/heartbeat/1024").repeat(BYTES / 1024)], |requests| {
            let mut peer = program.connect();
            peer.send(&requests);
            read_slowly(&peer);
        });
    });
}

/// Reads a whole answer, in more time than the idle timeout.
fn read_slowly(peer: &Client) {
    let (mut part, mut bytes) = (vec![0; BYTES / 32], 0);
    while bytes < BYTES {
        // This is the pace of the peer, and not a wait for anything.
        thread::sleep(Duration::from_millis(100));
        let read = peer.stream().read(&mut part).expect("the rest of the answer");
        assert_ne!(read, 0, "the connection ended after {bytes} bytes");
        bytes += read;
    }
}
